package aggregate

import (
	"encoding/binary"
	"errors"

	"github.com/rowmill/rowmill/pipeline"
)

// ErrDamaged is why a group cannot be read that Append has written.
var ErrDamaged = errors.New("it is damaged")

// Append appends the group for Decode.
func (p *Plan) Append(dst []byte, g *Group) []byte {
	for _, v := range g.by {
		dst = appendValue(dst, v)
	}
	dst = binary.AppendUvarint(dst, uint64(g.count))
	for i, column := range p.Columns {
		c := &g.cells[i]
		if dst = binary.AppendUvarint(dst, uint64(c.n)); c.n == 0 {
			continue
		}
		switch column.Kind {
		case Sum, Mean:
			dst = appendValue(dst, pipeline.RawJSON(c.total.String()))
		case List:
			dst = binary.AppendUvarint(dst, uint64(len(c.list)))
			for _, v := range c.list {
				dst = appendValue(dst, v)
			}
		default:
			dst = appendValue(dst, c.value)
		}
	}
	return dst
}

func appendValue(dst []byte, v pipeline.Value) []byte {
	s := v.JSON()
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Decode reads a group that a Plan like this one has appended.
func (p *Plan) Decode(raw []byte) (*Group, error) {
	d := decoder{rest: raw}
	g := &Group{by: make([]pipeline.Value, len(p.By)), cells: make([]cell, len(p.Columns))}
	for i := range g.by {
		g.by[i] = d.value()
	}
	g.count = int64(d.uvarint())
	for i, column := range p.Columns {
		c := &g.cells[i]
		if c.n = int64(d.uvarint()); c.n == 0 {
			continue
		}
		switch column.Kind {
		case Sum, Mean:
			total := d.decimal()
			c.total = &total
		case List:
			c.list = d.values()
		default:
			c.value = d.value()
		}
	}
	if d.bad || len(d.rest) > 0 {
		return nil, ErrDamaged
	}
	return g, nil
}

// mostSum bounds the digits of a sum of numbers that have mostDigits at the most in front of
// the point and behind it.
const mostSum = 3 * mostDigits

// decoder reads what Append has written; once something is bad, all is.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.bad || n <= 0 || v>>62 != 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) value() pipeline.Value {
	n := d.uvarint()
	if d.bad || n == 0 || n > uint64(len(d.rest)) {
		d.bad = true
		return pipeline.Value{}
	}
	v := pipeline.RawJSON(string(d.rest[:n]))
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) values() []pipeline.Value {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	list := make([]pipeline.Value, n)
	for i := range list {
		list[i] = d.value()
	}
	return list
}

func (d *decoder) decimal() decimal {
	v := d.value()
	x, err := parseBounded(v.JSON(), mostSum)
	d.bad = d.bad || err != nil || v.Kind() != '0'
	return x
}
