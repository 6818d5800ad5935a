package lang

import (
	"reflect"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"
)

// Our own operations, under names that no expression can write.
const (
	opAdd      = "op:+"
	opSubtract = "op:-"
	opMultiply = "op:*"
	opSlice    = "op:slice"
	opIndex    = "op:index"
	opIn       = "op:in"
	opPath     = "op:path"
)

// patch replaces what expr does otherwise than this package promises, once the
// types are checked.
func patch(root *ast.Node) {
	pass(root)
	ast.Walk(root, visit(operate))
}

// pass makes what a node only passes on untouched: a field or a path in it, at
// the end of whatever chooses or collects.
func pass(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if field, ok := strings.CutPrefix(n.Value, slot(slotDecoded, "")); ok {
			ast.Patch(node, &ast.IdentifierNode{Value: slot(slotUntouched, field)})
		}
	case *ast.MemberNode, *ast.ChainNode:
		passPath(node)
	case *ast.ConditionalNode:
		pass(&n.Exp1)
		pass(&n.Exp2)
	case *ast.BinaryNode:
		if n.Operator == "??" {
			pass(&n.Left)
			pass(&n.Right)
		}
	case *ast.VariableDeclaratorNode:
		pass(&n.Expr)
	case *ast.SequenceNode:
		pass(&n.Nodes[len(n.Nodes)-1])
	case *ast.ArrayNode:
		for i := range n.Nodes {
			pass(&n.Nodes[i])
		}
	case *ast.MapNode:
		for i := range n.Pairs {
			pass(&n.Pairs[i].(*ast.PairNode).Value)
		}
	}
}

// step is one step of a path into a value.
type step struct {
	name     string
	index    int
	isIndex  bool
	optional bool // ?.
}

// path is a way into a field's value: payload.items[0]?.price.
type path struct {
	field string
	steps []step
}

// passPath replaces a path of constant steps that begins at a field.
func passPath(node *ast.Node) {
	at := *node
	if chain, ok := at.(*ast.ChainNode); ok {
		at = chain.Node
	}
	p := &path{}
	for {
		if id, ok := at.(*ast.IdentifierNode); ok {
			p.field, ok = strings.CutPrefix(id.Value, slot(slotDecoded, ""))
			if ok && len(p.steps) > 0 {
				from := &ast.IdentifierNode{Value: slot(slotUntouched, p.field)}
				from.SetLocation(id.Location())
				ast.Patch(node, call(opPath, from, &ast.ConstantNode{Value: p}))
			}
			return
		}
		m, ok := at.(*ast.MemberNode)
		if !ok || !p.prepend(m) {
			return
		}
		at = m.Node
	}
}

func (p *path) prepend(m *ast.MemberNode) bool {
	s := step{optional: m.Optional}
	switch property := m.Property.(type) {
	case *ast.StringNode:
		s.name = property.Value
	case *ast.IntegerNode:
		s.index, s.isIndex = property.Value, true
	default:
		return false
	}
	p.steps = append([]step{s}, p.steps...)
	return true
}

func call(function string, arguments ...ast.Node) *ast.CallNode {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: function}, Arguments: arguments}
}

// operate replaces operators: sums that would wrap around, texts that would be
// cut within a character, sets that expr would search by reflection.
func operate(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		operateBinary(node, n)
	case *ast.SliceNode:
		ast.Patch(node, call(opSlice, n.Node, orNil(n.From), orNil(n.To)))
	case *ast.MemberNode:
		if _, name := n.Property.(*ast.StringNode); !name && !n.Optional {
			ast.Patch(node, call(opIndex, n.Node, n.Property))
		}
	}
}

func operateBinary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "+", "-", "*":
		ast.Patch(node, call("op:"+n.Operator, n.Left, n.Right))
	case "in":
		if set := constants(n.Right); set != nil {
			ast.Patch(node, call(opIn, n.Left, &ast.ConstantNode{Value: set}))
		}
	}
}

func orNil(node ast.Node) ast.Node {
	if node == nil || reflect.ValueOf(node).IsNil() {
		return &ast.NilNode{}
	}
	return node
}

// constantSet is a list of constants to look a value up in.
type constantSet struct {
	texts  map[string]bool
	others []any
}

func (s *constantSet) has(x any) bool {
	if t, ok := x.(string); ok {
		return s.texts[t]
	}
	for _, other := range s.others {
		if runtime.Equal(x, other) {
			return true
		}
	}
	return false
}

// constants returns the set of a list of constants, nil for any other node.
func constants(node ast.Node) *constantSet {
	list, ok := node.(*ast.ArrayNode)
	if !ok {
		return nil
	}
	set := &constantSet{texts: map[string]bool{}}
	for _, item := range list.Nodes {
		switch item := item.(type) {
		case *ast.StringNode:
			set.texts[item.Value] = true
		case *ast.IntegerNode:
			set.others = append(set.others, item.Value)
		case *ast.FloatNode:
			set.others = append(set.others, item.Value)
		case *ast.BoolNode:
			set.others = append(set.others, item.Value)
		case *ast.NilNode:
			set.others = append(set.others, nil)
		default:
			return nil
		}
	}
	return set
}
