package lang

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/rowmill/rowmill/pipeline"
)

// Expression is a compiled expression over a record's fields. It is safe for
// concurrent use.
type Expression struct {
	program *vm.Program
	fields  []string
}

var _ pipeline.Condition = (*Expression)(nil)

// CompileExpression compiles src for records of that shape. The error is a
// *[SyntaxError].
func CompileExpression(src string, _ pipeline.Shape) (*Expression, error) {
	tree, err := parser.Parse(src)
	if err != nil {
		return nil, &SyntaxError{Err: err}
	}
	var found names
	ast.Walk(&tree.Node, &found)
	program, err := expr.Compile(src, expr.Env(map[string]any{}), expr.AllowUndefinedVariables())
	if err != nil {
		return nil, &SyntaxError{Err: err}
	}
	return &Expression{program: program, fields: found}, nil
}

type names []string

func (n *names) Visit(node *ast.Node) {
	if id, ok := (*node).(*ast.IdentifierNode); ok && !slices.Contains(*n, id.Value) {
		*n = append(*n, id.Value)
	}
}

// Fields returns the names of the top-level fields that the expression reads.
func (e *Expression) Fields() []string { return slices.Clone(e.fields) }

// Value evaluates the expression on a record.
func (e *Expression) Value(r *pipeline.Record) (pipeline.Value, error) {
	v, err := e.Any(r)
	if err != nil {
		return pipeline.Value{}, err
	}
	return pipeline.ValueOf(v)
}

// Any evaluates the expression and returns a Go value.
func (e *Expression) Any(r *pipeline.Record) (any, error) {
	env := make(map[string]any, len(e.fields))
	for _, name := range e.fields {
		v, ok := r.Lookup(name)
		if !ok {
			continue
		}
		x, err := v.Any()
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		env[name] = x
	}
	return vm.Run(e.program, env)
}

// Bool evaluates the expression; a result that is not a boolean is an error.
func (e *Expression) Bool(r *pipeline.Record) (bool, error) {
	v, err := e.Any(r)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the expression must be true or false, it is %T", v)
	}
	return b, nil
}
