package aggregate_test

import (
	"bytes"
	"cmp"
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/aggregate"
	"github.com/rowmill/rowmill/pipeline"
)

// all is a plan with a column of each kind, over one value.
func all() *aggregate.Plan {
	p := &aggregate.Plan{By: []string{"k"}, Count: "n", AtMost: 3}
	for i, name := range []string{"sum", "mean", "min", "max", "first", "last", "list"} {
		p.Columns = append(p.Columns, aggregate.Column{Name: name, Kind: aggregate.Kind(i)})
	}
	return p
}

func value(raw string) pipeline.Value { return pipeline.RawJSON(raw) }

// of groups values, each of which goes into every column.
func of(p *aggregate.Plan, raw ...string) *aggregate.Group {
	g := p.Begin([]pipeline.Value{value(`"k"`)})
	for _, s := range raw {
		values := make([]pipeline.Value, len(p.Columns))
		for i := range values {
			values[i] = value(s)
		}
		p.Add(g, values)
	}
	return g
}

func shown(p *aggregate.Plan, g *aggregate.Group) string {
	return string(pipeline.NewRecord(p.Fields(g)...).AppendJSON(nil))
}

func TestWhatIsSaidOfAGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []string
		want   string
	}{
		"nothing": {nil, `{"k":"k","n":0,"sum":null,"mean":null,"min":null,"max":null,"first":null,"last":null,"list":[]}`},
		"nulls":   {[]string{"null", "null"}, `{"k":"k","n":2,"sum":null,"mean":null,"min":null,"max":null,"first":null,"last":null,"list":[null,null]}`},
		"exact":   {[]string{"0.1", "0.2"}, `{"k":"k","n":2,"sum":0.3,"mean":0.15,"min":0.1,"max":0.2,"first":0.1,"last":0.2,"list":[0.1,0.2]}`},
		"as it is spelled": {
			[]string{"10.0", "null", "1e1", "-5E-1"},
			`{"k":"k","n":4,"sum":19.5,"mean":6.5,"min":-5E-1,"max":10.0,"first":10.0,"last":-5E-1,"list":[10.0,null,1e1]}`,
		},
		"larger than an integer": {
			[]string{"9223372036854775807", "9223372036854775807", "1"},
			`{"k":"k","n":3,"sum":18446744073709551615,"mean":6148914691236517000,"min":1,"max":9223372036854775807,"first":9223372036854775807,"last":1,` +
				`"list":[9223372036854775807,9223372036854775807,1]}`,
		},
		"and back": {
			[]string{"9223372036854775807", "1", "-9223372036854775808"},
			`{"k":"k","n":3,"sum":0,"mean":0,"min":-9223372036854775808,"max":9223372036854775807,"first":9223372036854775807,"last":-9223372036854775808,` +
				`"list":[9223372036854775807,1,-9223372036854775808]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := all()
			if got := shown(p, of(p, c.values...)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Numbers come before texts, and each is compared as what it is.
func TestSmallestAndLargest(t *testing.T) {
	t.Parallel()
	p := &aggregate.Plan{Columns: []aggregate.Column{{Name: "min", Kind: aggregate.Min}, {Name: "max", Kind: aggregate.Max}}}
	for want, values := range map[string][]string{
		`{"min":9,"max":10}`:         {"9", "10", "9.0"},
		`{"min":"10","max":"9"}`:     {`"9"`, `"10"`},
		`{"min":100,"max":"\u0061"}`: {`"\u0061"`, "100", `"Z"`},
		`{"min":1e300,"max":1e301}`:  {"1e301", "1e300", "null"},
	} {
		if got := shown(p, of(p, values...)); got != want {
			t.Errorf("%v: got %s, want %s", values, got, want)
		}
	}
}

func TestWhatCannotBeComputed(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][2]string{ // of a sum, of a minimum
		`"1"`:                     {"is no number, it is a text", ""},
		"[1]":                     {"is no number, it is a list", "is neither a number nor a text, it is a list"},
		"{}":                      {"is no number, it is an object", "is neither a number nor a text, it is an object"},
		"true":                    {"is no number, it is a boolean", "is neither a number nor a text, it is a boolean"},
		"1e999":                   {"is too large or too small a number to compute with", "is too large or too small a number to compute with"},
		"1e-99999999999999999999": {"is too large or too small a number to compute with", "is too large or too small a number to compute with"},
		"null":                    {"", ""},
		"-0":                      {"", ""},
		"1e300":                   {"", ""},
	} {
		for i, kind := range []aggregate.Kind{aggregate.Sum, aggregate.Min} {
			got := ""
			if err := (aggregate.Column{Kind: kind}).Check(value(raw)); err != nil {
				got = err.Error()
			}
			if got != want[i] {
				t.Errorf("%s in a column of kind %d: got %q, want %q", raw, kind, got, want[i])
			}
		}
		if err := (aggregate.Column{Kind: aggregate.List}).Check(value(raw)); err != nil {
			t.Errorf("%s in a list: %v", raw, err)
		}
	}
}

// numbers are JSON numbers. A generator is not safe for tests that run at once.
func numbers() *rapid.Generator[string] { return rapid.Custom(oneNumber) }

func oneNumber(t *rapid.T) string {
	s := strconv.Itoa(rapid.OneOf(rapid.IntRange(-20, 20), rapid.Int()).Draw(t, "whole"))
	if rapid.Bool().Draw(t, "fraction") {
		s += "." + rapid.StringMatching("[0-9]{1,20}").Draw(t, "digits")
	}
	if rapid.Bool().Draw(t, "exponent") {
		s += "e" + strconv.Itoa(rapid.IntRange(-40, 40).Draw(t, "power"))
	}
	return s
}

// rational is a JSON number, computed by others.
func rational(t *rapid.T, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%s is no number", s)
	}
	return r
}

// The sum is that of exact arithmetic, and the mean the nearest float64.
func TestSumsAreExact(t *testing.T) {
	t.Parallel()
	p := &aggregate.Plan{Columns: []aggregate.Column{{Name: "sum", Kind: aggregate.Sum}, {Name: "mean", Kind: aggregate.Mean}}}
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(numbers(), 1, 20).Draw(t, "values")
		want := new(big.Rat)
		for _, v := range values {
			want.Add(want, rational(t, v))
		}
		fields := p.Fields(of(p, values...))
		if got := rational(t, fields[0].Value.JSON()); got.Cmp(want) != 0 {
			t.Fatalf("the sum of %v is %v, want %v", values, fields[0].Value.JSON(), want)
		}
		mean, _ := want.Quo(want, big.NewRat(int64(len(values)), 1)).Float64()
		if got, err := strconv.ParseFloat(fields[1].Value.JSON(), 64); err != nil || got != mean {
			t.Fatalf("the mean of %v is %v, want %v", values, fields[1].Value.JSON(), mean)
		}
	})
}

func scalars() *rapid.Generator[string] {
	return rapid.OneOf(numbers(), rapid.SampledFrom([]string{"null", `"a"`, `"\u0000"`, `"a\u0000b"`, `""`, `"é"`, `"\u00e9"`}))
}

// Wherever a group is parted, and whatever is written and read again, the whole is the same.
func TestPartsOfAGroup(t *testing.T) {
	t.Parallel()
	p := all()
	p.Columns = p.Columns[2:] // of any value
	p.Columns = append(p.Columns, aggregate.Column{Name: "sum", Kind: aggregate.Sum})
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(numbers()).Draw(t, "values")
		want := shown(p, of(p, values...))
		whole := of(p)
		for len(values) > 0 {
			n := rapid.IntRange(0, len(values)).Draw(t, "part")
			part := of(p, values[:n]...)
			if rapid.Bool().Draw(t, "written") {
				var err error
				if part, err = p.Decode(p.Append(nil, part)); err != nil {
					t.Fatal(err)
				}
			}
			p.Merge(whole, part)
			values = values[n:]
		}
		if got := shown(p, whole); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

// Rubbish is an error, and no panic.
func TestAGroupThatIsDamaged(t *testing.T) {
	t.Parallel()
	p := all()
	raw := p.Append(nil, of(p, "1.5", "null", "2"))
	for n := range raw {
		if _, err := p.Decode(raw[:n]); !errors.Is(err, aggregate.ErrDamaged) {
			t.Errorf("%d of %d bytes: got %v, want that it is damaged", n, len(raw), err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		_, _ = p.Decode(rapid.SliceOf(rapid.Byte()).Draw(t, "rubbish"))
	})
}

// rank is the order of the kinds of values in keys.
func rank(v pipeline.Value) int { return strings.IndexRune("nft0\"", rune(v.Kind())) }

// A text that ends like a key must not look like the end of one.
func TestKeysOfTextsWithZeros(t *testing.T) {
	t.Parallel()
	p := &aggregate.Plan{By: []string{"a", "b"}}
	one, err := p.Key(nil, []pipeline.Value{pipeline.Text("\x00\x00\x05x"), pipeline.Text("y")})
	other, err2 := p.Key(nil, []pipeline.Value{pipeline.Text(""), pipeline.Text("x\x00\x00\x05y")})
	if err := errors.Join(err, err2); err != nil || bytes.Equal(one, other) {
		t.Errorf("got %q and %q, %v; want two keys", one, other, err)
	}
}

// Two rows are in one group if their values are equal, and groups are in their order.
func TestKeys(t *testing.T) {
	t.Parallel()
	p := &aggregate.Plan{By: []string{"a", "b"}}
	parts := rapid.OneOf(scalars(), rapid.SampledFrom([]string{"true", "false"}))
	order := func(t *rapid.T, a, b pipeline.Value) int {
		if c := cmp.Compare(rank(a), rank(b)); c != 0 {
			return c
		}
		if a.Kind() == '0' {
			return rational(t, a.JSON()).Cmp(rational(t, b.JSON()))
		}
		return strings.Compare(a.Text(), b.Text())
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func() []pipeline.Value {
			return []pipeline.Value{value(parts.Draw(t, "a")), value(parts.Draw(t, "b"))}
		}
		one, other := draw(), draw()
		x, err := p.Key(nil, one)
		y, err2 := p.Key(nil, other)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		want := cmp.Or(order(t, one[0], other[0]), order(t, one[1], other[1]))
		got := bytes.Compare(x, y)
		near := slices.ContainsFunc([]int{0, 1}, func(i int) bool { return sameFloat(one[i], other[i]) })
		if (got == 0) != (want == 0) || got != want && !near {
			t.Fatalf("%v and %v: got %d, want %d", one, other, got, want)
		}
	})
}

// sameFloat reports whether two numbers are so near to each other that their order does not
// matter.
func sameFloat(a, b pipeline.Value) bool {
	x, err := strconv.ParseFloat(a.JSON(), 64)
	y, err2 := strconv.ParseFloat(b.JSON(), 64)
	return err == nil && err2 == nil && x == y
}
