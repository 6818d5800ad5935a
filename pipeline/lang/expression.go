package lang

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/rowmill/rowmill/pipeline"
)

// Expression is a compiled expression over a record's fields. It is safe for
// concurrent use.
type Expression struct {
	src      string
	fields   []string
	result   pipeline.FieldType
	only     string // the slot that is all there is to it, or ""
	slots    []string
	program  *vm.Program
	machines sync.Pool // of *machine
}

var _ pipeline.Condition = (*Expression)(nil)

// machine is what one evaluation needs, kept for the next one.
type machine struct {
	vm  vm.VM
	env map[string]any
}

// memoryBudget bounds how many elements an evaluation may make in lists.
const memoryBudget = 1_000_000

// maxSource bounds the source of an expression in bytes, because expr's parser goes
// as deep as brackets nest.
const maxSource = 64 << 10

// CompileExpression compiles src for records of that shape. The error is a
// *[SyntaxError]: an expression that cannot be read, a name that no row can have, or
// types that cannot go together.
func CompileExpression(src string, shape pipeline.Shape) (*Expression, error) {
	e := &Expression{src: src}
	switch {
	case strings.TrimSpace(src) == "":
		return nil, &SyntaxError{Err: errors.New("the expression is empty")}
	case len(src) > maxSource:
		return nil, &SyntaxError{Err: fmt.Errorf("the expression is longer than %d KiB", maxSource>>10)}
	}
	tree, err := parser.ParseWithConfig(src, config(shape, nil, true))
	if err != nil {
		return nil, syntaxError(src, explainParse(src, err))
	}
	fields, unresolved := resolve(tree, shape)
	if unresolved != nil {
		return nil, syntaxError(src, unresolved)
	}
	e.fields = fields
	if err := e.compile(tree, shape); err != nil {
		return nil, syntaxError(src, err)
	}
	e.machines.New = func() any { return &machine{env: make(map[string]any, len(e.slots))} }
	return e, nil
}

// compile checks the types and makes the program.
func (e *Expression) compile(tree *parser.Tree, shape pipeline.Shape) (err error) {
	defer func() {
		if p := recover(); p != nil { // expr gives up on some mistakes that way
			err = fmt.Errorf("the expression cannot be compiled: %v", p)
		}
	}()
	if _, err := checker.Check(tree, config(shape, e.fields, true)); err != nil {
		var known *file.Error
		if errors.As(err, &known) {
			return &file.Error{Location: known.Location, Prev: advise(tree, shape, known)}
		}
		return err
	}
	e.result = resultType(tree.Node, shape)
	patch(&tree.Node)
	settings := config(shape, e.fields, false)
	if _, err := checker.Check(tree, settings); err != nil {
		return err
	}
	ast.Walk(&tree.Node, visit(func(node *ast.Node) {
		id, ok := (*node).(*ast.IdentifierNode)
		if ok && isSlot(id.Value) && !slices.Contains(e.slots, id.Value) {
			e.slots = append(e.slots, id.Value)
		}
	}))
	if id, ok := tree.Node.(*ast.IdentifierNode); ok {
		e.only = id.Value
	}
	program, err := compiler.Compile(tree, settings)
	e.program = program
	return err
}

// Fields returns the names of the top-level fields that the expression reads, in
// the order in which they first occur.
func (e *Expression) Fields() []string { return slices.Clone(e.fields) }

// Type returns the type of the result as far as it is known.
func (e *Expression) Type() pipeline.FieldType { return e.result }

// String returns the expression as it was written.
func (e *Expression) String() string { return e.src }

// Value evaluates the expression on a record. Fields that it only passes on keep
// their bytes; a field that the row lacks is null.
func (e *Expression) Value(r *pipeline.Record) (pipeline.Value, error) {
	x, err := e.run(r)
	if err != nil {
		return pipeline.Value{}, err
	}
	v, err := valueOf(x)
	if err != nil {
		return pipeline.Value{}, pipeline.Permanent("expression", err)
	}
	return v, nil
}

// Any evaluates the expression on a record and returns a Go value: nil, bool,
// int, float64, string, []any, map[string]any, a time.Time or time.Duration, or,
// for a number that neither int nor float64 holds, a [pipeline.Value].
func (e *Expression) Any(r *pipeline.Record) (any, error) {
	x, err := e.run(r)
	if err != nil {
		return nil, err
	}
	return unwrap(x), nil
}

// Bool evaluates the expression on a record. A result that is neither true nor
// false is an error.
func (e *Expression) Bool(r *pipeline.Record) (bool, error) {
	x, err := e.run(r)
	if err != nil {
		return false, err
	}
	switch x := x.(type) {
	case bool:
		return x, nil
	case pipeline.Value:
		if k := x.Kind(); k == 't' || k == 'f' {
			return k == 't', nil
		}
	}
	return false, e.fail(fmt.Sprintf("the result is %s, neither true nor false", typeName(x)), r)
}

func (e *Expression) run(r *pipeline.Record) (any, error) {
	if e.only != "" {
		return read(e.only, r), nil
	}
	m := e.machines.Get().(*machine)
	defer e.machines.Put(m)
	for _, s := range e.slots {
		m.env[s] = read(s, r)
	}
	m.vm.MemoryBudget = memoryBudget
	x, err := m.vm.Run(e.program, m.env)
	if err == nil {
		return x, nil
	}
	var known *file.Error
	if errors.As(err, &known) {
		return nil, e.fail(plainTypes(known.Message), r)
	}
	return nil, e.fail(err.Error(), r)
}

func isSlot(name string) bool { return len(name) >= 2 && name[1] == ':' }

// read returns what stands in a slot for a record.
func read(slot string, r *pipeline.Record) any {
	v, ok := r.Lookup(slot[2:])
	switch {
	case slot[0] == slotPresent:
		return ok
	case !ok || v.IsNull():
		return nil
	case slot[0] == slotUntouched:
		return v
	default:
		return decode(v)
	}
}

// fail makes the record's error: what went wrong, and what in the row may be why.
func (e *Expression) fail(message string, r *pipeline.Record) error {
	for _, name := range e.fields {
		v, ok := r.Lookup(name)
		switch {
		case !ok:
			message += fmt.Sprintf("; the row has no field %q", name)
		case v.IsNull():
			message += fmt.Sprintf("; field %q is null", name)
		default:
			if n, ok := findExact(decode(v)); ok {
				message += fmt.Sprintf("; field %q holds %s, a number too large to compute with", name, shorten(n.spelling))
			}
		}
	}
	return pipeline.Permanent("expression", errors.New(message))
}

// findExact returns a number that cannot be computed with.
func findExact(x any) (exactNumber, bool) {
	switch x := x.(type) {
	case exactNumber:
		return x, true
	case []any:
		for _, one := range x {
			if n, ok := findExact(one); ok {
				return n, true
			}
		}
	case map[string]any:
		for _, one := range x {
			if n, ok := findExact(one); ok {
				return n, true
			}
		}
	}
	return exactNumber{}, false
}
