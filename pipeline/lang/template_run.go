package lang

import (
	"errors"
	"fmt"
	"strconv"
	"text/template/parse"

	"github.com/rowmill/rowmill/pipeline"
)

// Bounds of one execution.
const (
	maxTemplateDepth = 100
	maxTurns         = 1_000_000
)

var errTurns = errors.New("the loops turn more than 1 million times")

// operand is a value in a template: a JSON value, or the record itself.
type operand struct {
	record *pipeline.Record
	value  pipeline.Value
}

// variable is a variable of a template.
type variable struct {
	name  string
	value operand
}

// execution renders one template for one record.
type execution struct {
	t         *Template
	record    *pipeline.Record
	dst       []byte
	limit     int
	depth     int
	turns     int
	variables []variable
}

// control is what a loop does next.
type control uint8

const (
	goOn control = iota
	breakLoop
	continueLoop
)

func (x *execution) list(list *parse.ListNode, dot operand) (control, error) {
	if list == nil {
		return goOn, nil
	}
	for _, node := range list.Nodes {
		if next, err := x.node(node, dot); next != goOn || err != nil {
			return next, err
		}
	}
	return goOn, nil
}

func (x *execution) node(node parse.Node, dot operand) (control, error) {
	switch n := node.(type) {
	case *parse.TextNode:
		return goOn, x.bounded(append(x.dst, n.Text...))
	case *parse.ActionNode:
		return goOn, x.action(n.Pipe, dot)
	case *parse.IfNode:
		return x.choose(&n.BranchNode, dot, false)
	case *parse.WithNode:
		return x.choose(&n.BranchNode, dot, true)
	case *parse.RangeNode:
		return x.loop(n, dot)
	case *parse.TemplateNode:
		return goOn, x.template(n, dot)
	case *parse.BreakNode:
		return breakLoop, nil
	case *parse.ContinueNode:
		return continueLoop, nil
	default: // a comment
		return goOn, nil
	}
}

// bounded takes what was written so far, unless it is too long.
func (x *execution) bounded(dst []byte) error {
	x.dst = dst
	if len(dst) > x.limit {
		return errLong
	}
	return nil
}

func (x *execution) action(p *parse.PipeNode, dot operand) error {
	v, err := x.pipe(p, dot)
	if err != nil || len(p.Decl) > 0 {
		return err
	}
	if v.record != nil {
		return x.bounded(v.record.AppendJSON(x.dst))
	}
	return x.bounded(v.value.AppendText(x.dst))
}

func (x *execution) choose(n *parse.BranchNode, dot operand, with bool) (control, error) {
	mark := len(x.variables)
	defer func() { x.variables = x.variables[:mark] }()
	v, err := x.pipe(n.Pipe, dot)
	if err != nil {
		return goOn, err
	}
	if !truth(v) {
		return x.list(n.ElseList, dot)
	}
	if with {
		dot = v
	}
	return x.list(n.List, dot)
}

// loop goes over a list, an object or the record, or a number's 0, 1, …, n-1.
func (x *execution) loop(n *parse.RangeNode, dot operand) (control, error) {
	mark := len(x.variables)
	defer func() { x.variables = x.variables[:mark] }()
	over, err := x.evaluate(n.Pipe, dot)
	if err != nil {
		return goOn, err
	}
	turns := 0
	turn := func(key, element pipeline.Value) (bool, error) {
		x.variables = x.variables[:mark]
		turns++
		if x.turns++; x.turns > maxTurns {
			return false, errTurns
		}
		x.declare(n.Pipe, key, element)
		next, err := x.list(n.List, operand{value: element})
		return next != breakLoop, err
	}
	if err := elements(n.Pipe, over, turn); err != nil || turns > 0 {
		return goOn, err
	}
	for _, v := range n.Pipe.Decl {
		x.set(v.Ident[0], over, n.Pipe.IsAssign)
	}
	return x.list(n.ElseList, dot)
}

// declare sets the variables of {{range $key, $element := …}}.
func (x *execution) declare(p *parse.PipeNode, key, element pipeline.Value) {
	values := []pipeline.Value{element}
	if len(p.Decl) == 2 {
		values = []pipeline.Value{key, element}
	}
	for i, v := range p.Decl {
		x.set(v.Ident[0], operand{value: values[i]}, p.IsAssign)
	}
}

func (x *execution) set(name string, v operand, assign bool) {
	if assign {
		for i := len(x.variables) - 1; i >= 0; i-- {
			if x.variables[i].name == name {
				x.variables[i].value = v
				return
			}
		}
	}
	x.variables = append(x.variables, variable{name, v})
}

// elements calls turn for each element until it says no.
func elements(at parse.Node, over operand, turn func(key, element pipeline.Value) (bool, error)) error {
	if over.record != nil {
		return members(over.record.Fields(), turn)
	}
	switch over.value.Kind() {
	case 'n':
		return nil
	case '{':
		fields, _ := over.value.Members()
		return members(fields, turn)
	case '[':
		list, _ := over.value.Elements()
		for i, v := range list {
			if more, err := turn(integer(i), v); !more || err != nil {
				return err
			}
		}
		return nil
	case '0':
		if n, ok := decodeNumber(over.value.JSON()).(int); ok {
			for i := range n {
				if more, err := turn(integer(i), integer(i)); !more || err != nil {
					return err
				}
			}
			return nil
		}
	}
	return fmt.Errorf("range %s: there is nothing to go over in %s", at, kindName(over.value))
}

func members(fields []pipeline.Field, turn func(key, element pipeline.Value) (bool, error)) error {
	for _, f := range fields {
		if more, err := turn(pipeline.Text(f.Name), f.Value); !more || err != nil {
			return err
		}
	}
	return nil
}

func integer(i int) pipeline.Value { return pipeline.RawJSON(strconv.Itoa(i)) }

func (x *execution) template(n *parse.TemplateNode, dot operand) error {
	if x.depth >= maxTemplateDepth {
		return fmt.Errorf("templates nest more than %d deep", maxTemplateDepth)
	}
	arg := operand{value: pipeline.Null()}
	if n.Pipe != nil {
		var err error
		if arg, err = x.pipe(n.Pipe, dot); err != nil {
			return err
		}
	}
	outer := x.variables
	x.variables = []variable{{"$", arg}}
	x.depth++
	_, err := x.list(x.t.defined[n.Name].Root, arg)
	x.depth--
	x.variables = outer
	return err
}

// pipe evaluates a pipeline and sets its variables.
func (x *execution) pipe(p *parse.PipeNode, dot operand) (operand, error) {
	v, err := x.evaluate(p, dot)
	if err != nil {
		return v, err
	}
	for _, d := range p.Decl {
		x.set(d.Ident[0], v, p.IsAssign)
	}
	return v, nil
}

func (x *execution) evaluate(p *parse.PipeNode, dot operand) (v operand, err error) {
	for i, cmd := range p.Cmds {
		var last *operand
		if i > 0 {
			piped := v
			last = &piped
		}
		if id, ok := cmd.Args[0].(*parse.IdentifierNode); ok {
			v, err = x.call(id, cmd.Args[1:], last, dot)
		} else {
			v, err = x.operand(cmd.Args[0], dot)
		}
		if err != nil {
			return operand{}, err
		}
	}
	return v, nil
}

func (x *execution) operand(node parse.Node, dot operand) (operand, error) {
	switch n := node.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.FieldNode:
		return descend(dot, "", n.Ident)
	case *parse.VariableNode:
		return descend(x.variable(n.Ident[0]), n.Ident[0], n.Ident[1:])
	case *parse.ChainNode:
		from, err := x.operand(n.Node, dot)
		if err != nil {
			return from, err
		}
		return descend(from, n.Node.String(), n.Field)
	case *parse.PipeNode:
		return x.pipe(n, dot)
	case *parse.IdentifierNode:
		return x.call(n, nil, nil, dot)
	case *parse.StringNode:
		return operand{value: pipeline.Text(n.Text)}, nil
	case *parse.NumberNode:
		v, _ := number(n)
		return operand{value: v}, nil
	case *parse.BoolNode:
		return operand{value: boolean(n.True)}, nil
	default: // nil
		return operand{value: pipeline.Null()}, nil
	}
}

func (x *execution) variable(name string) operand {
	for i := len(x.variables) - 1; i >= 0; i-- {
		if x.variables[i].name == name {
			return x.variables[i].value
		}
	}
	return operand{record: x.record} // $: the parser refuses every other name that is not declared
}

// descend goes into a value by the names of its members.
func descend(from operand, where string, names []string) (operand, error) {
	for _, name := range names {
		var v pipeline.Value
		var ok bool
		switch {
		case from.record != nil:
			if v, ok = from.record.Lookup(name); !ok {
				return operand{}, errMissing(name)
			}
		case from.value.Kind() == '{':
			if v, ok = from.value.Member(name); !ok {
				return operand{}, fmt.Errorf("%s.%s: the object has no %q", where, name, name)
			}
		default:
			return operand{}, fmt.Errorf("%s.%s: %s has no %q", where, name, kindName(from.value), name)
		}
		from = operand{value: v}
		where += "." + name
	}
	return from, nil
}

func errMissing(name string) error { return fmt.Errorf("the row has no field %q", name) }

// truth is false for false, 0, "", null and what is empty; the record is true.
func truth(v operand) bool {
	if v.record != nil {
		return true
	}
	switch v.value.Kind() {
	case 'n', 'f':
		return false
	case '"':
		return v.value.Text() != ""
	case '0':
		n := decodeNumber(v.value.JSON())
		f, isFloat := n.(float64)
		return n != 0 && (!isFloat || f != 0)
	case '[':
		list, _ := v.value.Elements()
		return len(list) > 0
	case '{':
		fields, _ := v.value.Members()
		return len(fields) > 0
	default:
		return true
	}
}

func boolean(b bool) pipeline.Value { return pipeline.RawJSON(strconv.FormatBool(b)) }

// number returns a number written in a template, and whether a row can hold it.
func number(n *parse.NumberNode) (pipeline.Value, bool) {
	switch {
	case n.IsInt:
		return pipeline.RawJSON(strconv.FormatInt(n.Int64, 10)), true
	case n.IsUint:
		return pipeline.RawJSON(strconv.FormatUint(n.Uint64, 10)), true
	case n.IsFloat:
		raw, err := appendFloat(nil, n.Float64)
		return pipeline.RawJSON(string(raw)), err == nil
	default:
		return pipeline.Null(), false
	}
}
