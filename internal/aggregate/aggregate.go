// Package aggregate computes what is said of a group of rows: how many there are, sums,
// means, the smallest and the largest, the first and the last, lists. Two groups can be
// merged, so that parts of one may be computed apart from each other; what comes out does
// not hang on where it was parted.
package aggregate

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// Kind is what a Column computes of its values. Nulls are left out of all but First, Last
// and List.
type Kind uint8

// The kinds. Of no value at all Sum, Mean, Min and Max are null.
const (
	// Sum is exact.
	Sum Kind = iota
	// Mean is the nearest float64.
	Mean
	// Min and Max compare numbers by value, texts by their bytes, and a number is less
	// than any text.
	Min
	Max
	// First and Last are in the order of the rows.
	First
	Last
	// List has the first values, up to Plan.AtMost.
	List
)

// Column is a field that is computed.
type Column struct {
	Name string
	Kind Kind
}

// Plan is what is computed of each group.
type Plan struct {
	// By are the fields that the rows of a group have in common. Without any, all rows are
	// one group.
	By []string
	// Count is the field that says how many rows there are; "" for none.
	Count string
	// Columns are the other fields.
	Columns []Column
	// AtMost is how many values a List has.
	AtMost int
}

// Group is what is known of the rows of a group so far.
type Group struct {
	by    []pipeline.Value
	count int64
	cells []cell
}

// cell is a column of a group.
type cell struct {
	n     int64          // values that are no null
	total *decimal       // of Sum and Mean
	value pipeline.Value // of Min, Max, First and Last
	list  []pipeline.Value
}

// Key appends what two rows have in common if they are of the same group, and only then.
// Keys sort as the values do: null, false, true, numbers, texts. The error is a value by
// which nothing can be grouped.
func (p *Plan) Key(dst []byte, by []pipeline.Value) ([]byte, error) {
	for i, v := range by {
		var err error
		if dst, err = appendKey(dst, v); err != nil {
			return dst, fmt.Errorf("%s %w", p.By[i], err)
		}
	}
	return dst, nil
}

// What a part of a key begins with.
const (
	keyNull = iota + 1
	keyFalse
	keyTrue
	keyNumber
	keyText
)

func appendKey(dst []byte, v pipeline.Value) ([]byte, error) {
	switch v.Kind() {
	case 'n':
		return append(dst, keyNull), nil
	case 'f':
		return append(dst, keyFalse), nil
	case 't':
		return append(dst, keyTrue), nil
	case '0':
		d, err := parseDecimal(v.JSON())
		if err != nil {
			return dst, err
		}
		bits := math.Float64bits(d.float())
		if bits>>63 == 1 { // so that the order of the bytes is that of the numbers
			bits = ^bits
		} else {
			bits |= 1 << 63
		}
		dst = binary.BigEndian.AppendUint64(append(dst, keyNumber), bits)
		return append(append(dst, d.String()...), 0), nil
	case '"':
		dst = append(dst, keyText)
		for _, c := range []byte(v.Text()) { // a zero ends it, one within is escaped
			if dst = append(dst, c); c == 0 {
				dst = append(dst, 0xff)
			}
		}
		return append(dst, 0, 0), nil
	default:
		return dst, fmt.Errorf("is %s; rows are grouped by texts, numbers, booleans and nulls", described(v.Kind()))
	}
}

// Check says why a value cannot be part of a column; nil if it can.
func (c Column) Check(v pipeline.Value) error {
	kind := v.Kind()
	switch c.Kind {
	case Sum, Mean:
		switch kind {
		case 'n':
			return nil
		case '0':
			_, err := parseDecimal(v.JSON())
			return err
		}
		return fmt.Errorf("is no number, it is %s", described(kind))
	case Min, Max:
		switch kind {
		case 'n', '"':
			return nil
		case '0':
			_, err := parseDecimal(v.JSON())
			return err
		}
		return fmt.Errorf("is neither a number nor a text, it is %s", described(kind))
	default:
		return nil
	}
}

func described(k jsontext.Kind) string {
	switch k {
	case '"':
		return "a text"
	case '[':
		return "a list"
	case '{':
		return "an object"
	default:
		return "a boolean"
	}
}

// Begin returns a group without rows.
func (p *Plan) Begin(by []pipeline.Value) *Group {
	own := make([]pipeline.Value, len(by))
	for i, v := range by {
		own[i] = clone(v)
	}
	return &Group{by: own, cells: make([]cell, len(p.Columns))}
}

// clone returns the value without the record that it is a part of.
func clone(v pipeline.Value) pipeline.Value { return pipeline.RawJSON(strings.Clone(v.JSON())) }

// Add adds a row, one value for each column, each of which Check has let pass, and returns
// by how many bytes the group has become larger, about.
func (p *Plan) Add(g *Group, values []pipeline.Value) (grown int) {
	g.count++
	for i, c := range p.Columns {
		grown += p.add(c.Kind, &g.cells[i], values[i])
	}
	return grown
}

func (p *Plan) add(kind Kind, c *cell, v pipeline.Value) (grown int) {
	null := v.IsNull()
	switch {
	case kind == First || kind == Last || kind == List:
	case null:
		return 0
	}
	c.n++
	switch kind {
	case Sum, Mean:
		d, _ := parseDecimal(v.JSON()) // checked
		if c.total == nil {
			c.total = new(decimal)
			grown = decimalBytes
		}
		c.total.add(d)
		return grown
	case List:
		if len(c.list) >= p.AtMost {
			return 0
		}
		c.list = append(c.list, clone(v))
		return valueBytes + len(v.JSON())
	default:
		if c.n > 1 && !replaces(kind, v, c.value) {
			return 0
		}
		grown = len(v.JSON()) - len(c.value.JSON())
		c.value = clone(v)
		return grown
	}
}

// replaces reports whether a later value takes the place of the one that is there.
func replaces(kind Kind, v, was pipeline.Value) bool {
	switch kind {
	case Last:
		return true
	case Min:
		return compare(v, was) < 0
	case Max:
		return compare(v, was) > 0
	default: // First
		return false
	}
}

// compare orders numbers and texts.
func compare(a, b pipeline.Value) int {
	number, other := a.Kind() == '0', b.Kind() == '0'
	switch {
	case number && other:
		x, _ := parseDecimal(a.JSON()) // checked
		y, _ := parseDecimal(b.JSON())
		return x.compare(y)
	case number:
		return -1
	case other:
		return 1
	default:
		return strings.Compare(a.Text(), b.Text())
	}
}

// Merge adds the rows of later, all of which come behind those of g, and may take over
// what is in it.
func (p *Plan) Merge(g, later *Group) {
	g.count += later.count
	for i, c := range p.Columns {
		mine, theirs := &g.cells[i], &later.cells[i]
		switch {
		case theirs.n == 0:
			continue
		case mine.n == 0:
			*mine = *theirs
			continue
		}
		mine.n += theirs.n
		switch c.Kind {
		case Sum, Mean:
			mine.total.add(*theirs.total)
		case List:
			room := max(0, p.AtMost-len(mine.list))
			mine.list = append(mine.list, theirs.list[:min(room, len(theirs.list))]...)
		default:
			if replaces(c.Kind, theirs.value, mine.value) {
				mine.value = theirs.value
			}
		}
	}
}

// About how many bytes the parts of a group take.
const (
	groupBytes   = 160
	cellBytes    = 80
	valueBytes   = 24
	decimalBytes = 48
)

// Size is how many bytes a group without rows takes, about.
func (g *Group) Size() int {
	n := groupBytes + cellBytes*len(g.cells)
	for _, v := range g.by {
		n += valueBytes + len(v.JSON())
	}
	return n
}

// Fields returns the row that stands for the group: what its rows have in common, their
// number, and the columns.
func (p *Plan) Fields(g *Group) []pipeline.Field {
	fields := make([]pipeline.Field, 0, len(p.By)+1+len(p.Columns))
	for i, name := range p.By {
		fields = append(fields, pipeline.Field{Name: name, Value: g.by[i]})
	}
	if p.Count != "" {
		fields = append(fields, pipeline.Field{Name: p.Count, Value: pipeline.RawJSON(strconv.FormatInt(g.count, 10))})
	}
	for i, c := range p.Columns {
		fields = append(fields, pipeline.Field{Name: c.Name, Value: g.cells[i].result(c.Kind)})
	}
	return fields
}

// Name is what the rows of a group have in common, for messages.
func (g *Group) Name() string {
	parts := make([]string, len(g.by))
	for i, v := range g.by {
		if parts[i] = v.Text(); v.IsNull() {
			parts[i] = "null"
		}
	}
	return strings.Join(parts, ", ")
}

func (c *cell) result(kind Kind) pipeline.Value {
	switch {
	case kind == List:
		list := []byte{'['}
		for i, v := range c.list {
			if i > 0 {
				list = append(list, ',')
			}
			list = v.AppendJSON(list)
		}
		return pipeline.RawJSON(string(append(list, ']')))
	case c.n == 0:
		return pipeline.Null()
	case kind == Sum:
		return pipeline.RawJSON(c.total.String())
	case kind == Mean:
		return pipeline.RawJSON(c.total.over(c.n))
	default:
		return c.value
	}
}
