package lang

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"github.com/rowmill/rowmill/pipeline"
)

// Slots are the names under which a compiled expression finds what it reads of
// a record. They are no identifiers, so that a field may be called as a function
// is, and the other way round.
const (
	slotDecoded   = 'd' // the value, decoded
	slotUntouched = 'u' // the pipeline.Value, nil if null or missing
	slotPresent   = 'p' // whether the row has the field
)

func slot(kind byte, field string) string { return string(kind) + ":" + field }

// resolver turns the names in a parsed expression into slots.
type resolver struct {
	shape     pipeline.Shape
	fields    []string
	variables map[string]bool
	callees   map[ast.Node]bool
	err       *file.Error
}

// resolve replaces every name of a field by its slot, and notes the fields.
func resolve(tree *parser.Tree, shape pipeline.Shape) ([]string, *file.Error) {
	r := &resolver{shape: shape, variables: map[string]bool{}, callees: map[ast.Node]bool{}}
	ast.Walk(&tree.Node, visit(r.declare))
	ast.Walk(&tree.Node, visit(r.name))
	return r.fields, r.err
}

type visit func(*ast.Node)

func (f visit) Visit(node *ast.Node) { f(node) }

// declare notes which names are variables or functions.
func (r *resolver) declare(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.VariableDeclaratorNode:
		r.variables[n.Name] = true
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			r.callees[id] = true
		}
	}
}

// name replaces a field, field("…") and has("…"). Walk visits arguments before calls.
func (r *resolver) name(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if !r.callees[n] && !r.variables[n.Value] && !isSlot(n.Value) {
			r.replace(node, slotDecoded, n.Value)
		}
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			r.call(node, n, id.Value)
		}
	}
}

func (r *resolver) call(node *ast.Node, call *ast.CallNode, function string) {
	kind := byte(slotDecoded)
	switch function {
	case "field":
	case "has":
		kind = slotPresent
	default:
		if _, own := functions()[function]; !own && !r.variables[function] {
			r.fail(call, errNoFunction(function, functionNames()))
		}
		return
	}
	if len(call.Arguments) == 1 {
		if name, ok := call.Arguments[0].(*ast.StringNode); ok {
			r.replace(node, kind, name.Value)
			return
		}
	}
	r.fail(call, fmt.Errorf(`%s takes the name of a field in quotes: %[1]s("Best Answer")`, function))
}

func (r *resolver) replace(node *ast.Node, kind byte, field string) {
	switch {
	case field == "$env":
		r.fail(*node, fmt.Errorf(`there is no $env; read a field by its name or by field("name")`))
	case kind != slotPresent && !r.shape.MayHave(field):
		r.fail(*node, errNoField(field, r.shape, inExpression))
	}
	if !slices.Contains(r.fields, field) {
		r.fields = append(r.fields, field)
	}
	ast.Patch(node, &ast.IdentifierNode{Value: slot(kind, field)})
}

func (r *resolver) fail(node ast.Node, err error) {
	if r.err == nil || node.Location().From < r.err.From {
		r.err = &file.Error{Location: node.Location(), Message: err.Error(), Prev: err}
	}
}

// inExpression returns how a field is written in an expression.
func inExpression(name string) string {
	if isIdentifier(name) && !slices.Contains(words(), name) {
		return name
	}
	return "field(" + strconv.Quote(name) + ")"
}

// words returns the words of the language that can be no field's name.
func words() []string {
	return []string{"and", "or", "not", "in", "contains", "startsWith", "endsWith", "matches", "let", "if", "else", "true", "false", "nil"}
}

// environment returns the types of the slots. The first, typed check of an
// expression finds mistakes; the program is compiled without types, since a row
// may lack any field.
func environment(shape pipeline.Shape, fields []string, typed bool) types.Map {
	env := types.Map{}
	for _, name := range fields {
		env[slot(slotPresent, name)] = types.Bool
		env[slot(slotUntouched, name)] = types.Any
		env[slot(slotDecoded, name)] = types.Any
		if f, ok := shape.Lookup(name); ok && typed {
			env[slot(slotDecoded, name)] = typeOf(f.Type)
		}
	}
	return env
}

func typeOf(t pipeline.FieldType) types.Type {
	switch t {
	case pipeline.StringType:
		return types.String
	case pipeline.NumberType:
		return types.Int // whatever takes a float takes an int
	case pipeline.BoolType:
		return types.Bool
	default:
		return types.Any
	}
}

// resultType returns the type of a checked expression. What may also be null is no
// string.
func resultType(root ast.Node, shape pipeline.Shape) pipeline.FieldType {
	switch {
	case stringField(root, shape) != "":
		return pipeline.StringType
	case root.Nature().IsNumber():
		return pipeline.NumberType
	case root.Nature().IsBool():
		return pipeline.BoolType
	default:
		return pipeline.AnyType
	}
}

// config returns the settings of expr for these fields.
func config(shape pipeline.Shape, fields []string, typed bool) *conf.Config {
	c := conf.New(environment(shape, fields, typed))
	for name, fn := range functions() {
		c.Functions[name] = fn
	}
	return c
}

func functionNames() []string {
	names := append([]string{"field", "has"}, builtin.Names...)
	for name := range functions() {
		if isIdentifier(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// advise explains a type error: what expr says, in our words, and what to do
// where a field that is a string is used as a number.
func advise(tree *parser.Tree, shape pipeline.Shape, err *file.Error) error {
	message := plainTypes(err.Message)
	var field string
	ast.Walk(&tree.Node, visit(func(node *ast.Node) {
		if (*node).Location() == err.Location && field == "" {
			field = stringAsNumber(*node, shape)
		}
	}))
	if field == "" {
		return fmt.Errorf("%s", message)
	}
	written := inExpression(field)
	return fmt.Errorf("%s is a string here, as an untyped CSV column is, and is used as a number: "+
		"give the source `types: {%s: number}`, or write float(%s)", written, yamlKey(field), written)
}

// stringAsNumber returns the field of an operator's operands that is a string,
// where the other one is a number or the operator computes.
func stringAsNumber(node ast.Node, shape pipeline.Shape) string {
	switch n := node.(type) {
	case *ast.UnaryNode:
		return stringField(n.Node, shape)
	case *ast.BinaryNode:
		if f := stringField(n.Left, shape); f != "" && isNumeric(n.Right) {
			return f
		}
		if f := stringField(n.Right, shape); f != "" && isNumeric(n.Left) {
			return f
		}
		if strings.Contains("- * / % ** ^", n.Operator) {
			return stringField(n.Left, shape) + stringField(n.Right, shape)
		}
	}
	return ""
}

func isNumeric(node ast.Node) bool {
	if list, ok := node.(*ast.ArrayNode); ok && len(list.Nodes) > 0 {
		return isNumeric(list.Nodes[0])
	}
	return node.Nature().IsNumber()
}

func stringField(node ast.Node, shape pipeline.Shape) string {
	id, ok := node.(*ast.IdentifierNode)
	if !ok {
		return ""
	}
	name, ok := strings.CutPrefix(id.Value, slot(slotDecoded, ""))
	if f, known := shape.Lookup(name); ok && known && f.Type == pipeline.StringType {
		return name
	}
	return ""
}
