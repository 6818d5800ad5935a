package parquetfile

import (
	"math"
	"strconv"

	"github.com/rowmill/rowmill/pipeline"
)

// exactInDouble is up to where a Double holds every whole number.
const exactInDouble = 1 << 53

// widenField makes a field of an object fit a value. A new one comes at the end.
func (t *Type) widenField(name string, v pipeline.Value) {
	f := t.field(name)
	if f == nil {
		f = &Type{}
		t.Fields = append(t.Fields, Field{name, f})
	}
	f.widen(v)
}

// widen makes a type fit a value as well. What nothing else fits is JSON, so that no
// value is changed and none is refused.
func (t *Type) widen(v pipeline.Value) {
	switch kind := v.Kind(); {
	case t.Kind == JSON, kind == 'n':
	case kind == '{':
		members, _ := v.Members()
		if t.becomes(Object) {
			for _, m := range members {
				t.widenField(m.Name, m.Value)
			}
		}
	case kind == '[':
		items, _ := v.Elements()
		if !t.becomes(List) {
			return
		}
		if t.Item == nil {
			t.Item = &Type{}
		}
		for _, item := range items {
			t.Item.widen(item)
		}
	case kind == '"':
		t.becomes(String)
	case kind == '0':
		t.widenNumber(v.Text())
	default:
		t.becomes(Bool)
	}
}

// becomes gives a type a kind, or makes it JSON if it has another one, and reports
// whether it has that kind then.
func (t *Type) becomes(k Kind) bool {
	if t.Kind == Unknown {
		t.Kind = k
	}
	if t.Kind != k {
		*t = Type{Kind: JSON}
	}
	return t.Kind == k
}

func (t *Type) widenNumber(text string) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && text != "-0" {
		big := i > exactInDouble || i < -exactInDouble
		switch {
		case t.Kind == Unknown, t.Kind == Int:
			t.Kind, t.Bits, t.wide = Int, 64, t.wide || big
		case t.Kind == Double && !big:
		default:
			*t = Type{Kind: JSON}
		}
		return
	}
	if _, ok := fitsFloat(text, 64); !ok || t.Kind == Int && t.wide {
		*t = Type{Kind: JSON}
		return
	}
	if t.Kind == Int {
		*t = Type{Kind: Double}
	}
	t.becomes(Double)
}

// fitsFloat returns the number of that width that a text means, and whether it means that
// number: the shortest text that is read as it, or a longer one that says more of its
// digits.
func fitsFloat(text string, bits int) (float64, bool) {
	f, err := strconv.ParseFloat(text, bits)
	if err != nil || math.IsInf(f, 0) {
		return f, false
	}
	d, ok := parseDecimal(text)
	if !ok {
		return f, false
	}
	if f == 0 {
		return f, d.digits == ""
	}
	if digitsOf := map[int]int{32: 6, 64: 15}; len(d.digits) <= digitsOf[bits] && math.Abs(f) > 1e-30 {
		return f, true // so few are always kept
	}
	same, ok := parseDecimal(strconv.FormatFloat(f, 'e', len(d.digits)-1, bits))
	return f, ok && same == d
}
