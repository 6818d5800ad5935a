package parquetfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"github.com/rowmill/rowmill/pipeline"
)

// maxDepth bounds how deeply a schema may be nested.
const maxDepth = 64

// shape is what a node of a schema is in JSON.
type shape uint8

const (
	leafShape   shape = iota
	objectShape       // of the children
	listShape         // of the one child
	mapShape          // of two children, key and value
)

// node is a field of a schema as it is read: what stands around lists and maps in
// Parquet is gone.
type node struct {
	name   string
	quoted []byte // the name as JSON, with a colon behind
	shape  shape
	// optional is for leaves, objects, and lists and maps as a whole. There is a value from
	// the definition level def on.
	optional bool
	def      byte
	// Of lists and maps: there is an item from the definition level itemDef on, another
	// one where the repetition level is itemRep.
	itemDef, itemRep byte
	children         []*node
	leaf             int   // of leaves: which column it is
	leaves           []int // of all others: which are below, in order
	text             appendFunc
	kind             pipeline.FieldType
	key              bool // names are strings already
}

var errSchema = errors.New("the schema is damaged")

// builder makes nodes of the elements of a schema, which stand in a row.
type builder struct {
	elements []format.SchemaElement
	at       int
	leaves   int
	options  Options
}

// buildTree returns the root of a schema.
func buildTree(elements []format.SchemaElement, o Options) (*node, error) {
	if len(elements) == 0 || elements[0].Type.Valid {
		return nil, fmt.Errorf("%w: it has no root", errSchema)
	}
	elements = slices.Clone(elements)
	elements[0].RepetitionType.Valid = false // whatever it says, it counts for nothing
	b := builder{elements: elements, options: o}
	root, err := b.node(0, 0, 0)
	if err == nil && b.at != len(elements) {
		err = fmt.Errorf("%w: %d elements belong to nothing", errSchema, len(elements)-b.at)
	}
	return root, err
}

// node makes the node of the next element, which is there from levels on that are known.
func (b *builder) node(rep, def byte, depth int) (*node, error) {
	if b.at >= len(b.elements) || depth > maxDepth {
		return nil, fmt.Errorf("%w: it ends too early, or is nested too deeply", errSchema)
	}
	e := &b.elements[b.at]
	repeated := e.RepetitionType.Valid && e.RepetitionType.V == format.Repeated
	if !repeated {
		return b.single(rep, def, depth)
	}
	// A field that is repeated, without being called a list: it is one all the same.
	list := &node{name: e.Name, shape: listShape, def: def, itemRep: rep + 1, itemDef: def + 1}
	item, err := b.single(rep+1, def+1, depth)
	if err != nil {
		return nil, err
	}
	item.optional = false
	list.adopt(item)
	return list, nil
}

// single makes the node of an element, taken once.
func (b *builder) single(rep, def byte, depth int) (*node, error) {
	e := &b.elements[b.at]
	b.at++
	n := &node{name: e.Name, optional: e.RepetitionType.Valid && e.RepetitionType.V == format.Optional, def: def}
	n.quoted = append(pipeline.Text(e.Name).AppendJSON(nil), ':')
	if n.optional {
		n.def++
	}
	if e.Type.Valid {
		n.leaf = b.leaves
		n.leaves = []int{b.leaves}
		b.leaves++
		var err error
		n.text, n.kind, n.key, err = textOf(e, b.options)
		if err != nil {
			err = fmt.Errorf("column %q: %w", e.Name, err)
		}
		return n, err
	}
	count := int(e.NumChildren.V)
	if count < 0 || count > len(b.elements) {
		return nil, fmt.Errorf("%w: %q has %d fields", errSchema, e.Name, count)
	}
	switch kind := groupKind(e); {
	case kind == listShape && count == 1 && b.nextRepeats():
		return n, b.list(n, rep, depth)
	case kind == mapShape && count == 1 && b.nextRepeats() && b.elements[b.at].NumChildren.V == 2:
		return n, b.pairs(n, rep, depth)
	}
	n.shape = objectShape
	for range count {
		child, err := b.node(rep, n.def, depth+1)
		if err != nil {
			return nil, err
		}
		n.adopt(child)
	}
	return n, nil
}

func (n *node) adopt(child *node) {
	n.children = append(n.children, child)
	n.leaves = append(n.leaves, child.leaves...)
	n.quoted = append(pipeline.Text(n.name).AppendJSON(nil), ':')
}

// nextRepeats reports whether the next element is repeated.
func (b *builder) nextRepeats() bool {
	return b.at < len(b.elements) && b.elements[b.at].RepetitionType.V == format.Repeated
}

// groupKind is what a group says that it is.
func groupKind(e *format.SchemaElement) shape {
	switch e.LogicalType.Value.(type) {
	case *format.ListType:
		return listShape
	case *format.MapType:
		return mapShape
	}
	if e.ConvertedType.Valid {
		switch e.ConvertedType.V {
		case deprecated.List:
			return listShape
		case deprecated.Map, deprecated.MapKeyValue:
			return mapShape
		}
	}
	return objectShape
}

// list reads the group inside a list. Whether that is the item or only stands around it
// went through many fashions, which the Parquet format lists.
func (b *builder) list(n *node, rep byte, depth int) error {
	n.shape, n.itemRep, n.itemDef = listShape, rep+1, n.def+1
	e := &b.elements[b.at]
	var item *node
	var err error
	if e.Type.Valid || e.NumChildren.V != 1 || e.Name == "array" || e.Name == n.name+"_tuple" || b.wrapsRepeated() {
		if item, err = b.single(rep+1, n.def+1, depth+1); err == nil {
			item.optional = false
		}
	} else {
		b.at++
		item, err = b.node(rep+1, n.def+1, depth+2)
	}
	if err == nil {
		n.adopt(item)
	}
	return err
}

// wrapsRepeated reports whether the one field of the next element is repeated itself.
func (b *builder) wrapsRepeated() bool {
	return b.at+1 < len(b.elements) && b.elements[b.at+1].RepetitionType.V == format.Repeated
}

// pairs reads the group inside a map.
func (b *builder) pairs(n *node, rep byte, depth int) error {
	n.shape, n.itemRep, n.itemDef = mapShape, rep+1, n.def+1
	b.at++
	for range 2 {
		child, err := b.node(rep+1, n.def+1, depth+2)
		if err != nil {
			return err
		}
		n.adopt(child)
	}
	if n.children[0].shape == leafShape {
		return nil
	}
	// Keys that are no text: a list of objects.
	item := &node{name: "entry", shape: objectShape, def: n.def + 1, children: n.children, leaves: n.leaves}
	n.shape, n.children = listShape, []*node{item}
	return nil
}

// project leaves out all but some columns: names of fields, or paths with dots. They are
// given in the order in which they are named.
func (n *node) project(columns []string) (*node, error) {
	out := &node{shape: objectShape, def: n.def}
	for _, name := range columns {
		if err := n.pick(out, name); err != nil {
			return nil, err
		}
	}
	out.recount()
	return out, nil
}

// pick adds a field of n, or what is below it, to out.
func (n *node) pick(out *node, path string) error {
	if child := n.child(path); child != nil {
		if had := out.child(path); had != nil {
			*had = *child // all of it, where a part was named before
		} else {
			out.children = append(out.children, child)
		}
		return nil
	}
	for i := range path {
		if path[i] != '.' {
			continue
		}
		child := n.child(path[:i])
		if child == nil || child.shape != objectShape {
			continue
		}
		part := out.child(path[:i])
		if part == nil {
			copied := *child
			copied.children = nil
			part = &copied
		}
		if err := child.pick(part, path[i+1:]); err == nil {
			if out.child(path[:i]) == nil {
				out.children = append(out.children, part)
			}
			return nil
		}
	}
	names := make([]string, len(n.children))
	for i, c := range n.children {
		names[i] = c.name
	}
	return fmt.Errorf("there is no column %q; there are %s", path, strings.Join(names, ", "))
}

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// recount finds out which columns are below.
func (n *node) recount() {
	if n.shape == leafShape {
		return
	}
	n.leaves = nil
	for _, c := range n.children {
		c.recount()
		n.leaves = append(n.leaves, c.leaves...)
	}
}

// checkNames refuses what JSON could not tell apart.
func (n *node) checkNames() error {
	seen := map[string]bool{}
	for _, c := range n.children {
		if seen[c.name] {
			return fmt.Errorf("two columns are called %q; name those to be read with `columns`", c.name)
		}
		seen[c.name] = true
	}
	return nil
}

// fieldType is what can be said of a field before it is read.
func (n *node) fieldType() pipeline.FieldType {
	if n.shape != leafShape || n.kind == pipeline.StringType && n.optional {
		return pipeline.AnyType
	}
	return n.kind
}
