package pipeline

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		v    Value
		kind byte
		text string
		json string
		any  any
	}{
		"zero":               {Value{}, 'n', "", "null", nil},
		"null":               {Null(), 'n', "", "null", nil},
		"text":               {Text("a\"b\n"), '"', "a\"b\n", `"a\"b\n"`, "a\"b\n"},
		"empty text":         {Text(""), '"', "", `""`, ""},
		"text like a number": {Text("1"), '"', "1", `"1"`, "1"},
		"bad UTF-8":          {Text("a\xffb"), '"', "a\xffb", "\"a\uFFFDb\"", "a\xffb"},
		"string":             {RawJSON(`"x\u00e9\n"`), '"', "xé\n", `"x\u00e9\n"`, "xé\n"},
		"plain string":       {RawJSON(`"x"`), '"', "x", `"x"`, "x"},
		"empty string":       {RawJSON(`""`), '"', "", `""`, ""},
		"true":               {RawJSON("true"), 't', "true", "true", true},
		"false":              {RawJSON("false"), 'f', "false", "false", false},
		"integer":            {RawJSON("9007199254740993"), '0', "9007199254740993", "9007199254740993", 9007199254740993},
		"huge integer":       {RawJSON("9223372036854775808"), '0', "9223372036854775808", "9223372036854775808", 9223372036854775808.0},
		"negative zero":      {RawJSON("-0.0"), '0', "-0.0", "-0.0", math.Copysign(0, -1)},
		"decimal":            {RawJSON("1.10"), '0', "1.10", "1.10", 1.1},
		"list":               {RawJSON(`[1, "a",null,true]`), '[', `[1, "a",null,true]`, `[1, "a",null,true]`, []any{1, "a", nil, true}},
		"object":             {RawJSON(`{"a": {"b":[]},"a":2}`), '{', `{"a": {"b":[]},"a":2}`, `{"a": {"b":[]},"a":2}`, map[string]any{"a": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.v.Any()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.any, got); diff != "" {
				t.Errorf("Any: %s", diff)
			}
			if f, ok := got.(float64); ok && math.Signbit(f) != math.Signbit(c.any.(float64)) {
				t.Errorf("Any: got %v with the wrong sign", f)
			}
			if byte(c.v.Kind()) != c.kind || c.v.Text() != c.text || c.v.JSON() != c.json || string(c.v.AppendJSON(nil)) != c.json {
				t.Errorf("got kind %c, text %q, JSON %s", byte(c.v.Kind()), c.v.Text(), c.v.JSON())
			}
			if c.v.IsNull() != (c.kind == 'n') {
				t.Errorf("IsNull is %v", c.v.IsNull())
			}
		})
	}
}

func TestAnyOutOfRange(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"1e400", "-1e400", "[1,1e400]"} {
		if v, err := RawJSON(raw).Any(); !errors.Is(err, errRange) {
			t.Errorf("%s: got %v, %v, want an error", raw, v, err)
		}
	}
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		" 1 ": "1", "-0.0": "-0.0", "1e400": "1e400", `{"a" : 1,"a":2}`: `{"a" : 1,"a":2}`, "\"\\u0041\"\r\n": `"\u0041"`, "null": "null",
	} {
		if v, err := ParseValue([]byte(raw)); err != nil || v.JSON() != want {
			t.Errorf("%q: got %s, %v", raw, v.JSON(), err)
		}
	}
	for _, raw := range []string{"", "1 2", "01", "+1", ".5", "NaN", "{", `"`, "\"\xff\"", "\u00a01", "tru", `{"a":1,}`} {
		if v, err := ParseValue([]byte(raw)); err == nil {
			t.Errorf("%q was read as %s", raw, v.JSON())
		}
	}
	buffer := []byte("123")
	v, _ := ParseValue(buffer)
	if buffer[0] = '9'; v.JSON() != "123" {
		t.Error("the value changes with the bytes it was read from")
	}
}

func TestValueOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, "null"},
		{true, "true"},
		{7, "7"},
		{int64(math.MinInt64), "-9223372036854775808"},
		{uint64(math.MaxUint64), "18446744073709551615"},
		{1.5, "1.5"},
		{math.Copysign(0, -1), "-0"},
		{"a<b>\"\xff", "\"a<b>\\\"\uFFFD\""},
		{map[string]any{"b": 1, "a": []any{nil}}, `{"a":[null],"b":1}`},
		{RawJSON("1e400"), "1e400"},
		{[]any{RawJSON(`{"a":1e400,"a":"\u0041"}`), Text("x"), Value{}}, `[{"a":1e400,"a":"\u0041"},"x",null]`},
		{struct {
			A string `json:"a"`
		}{"x"}, `{"a":"x"}`},
	} {
		if v, err := ValueOf(c.v); err != nil || v.JSON() != c.want {
			t.Errorf("%#v: got %s, %v, want %s", c.v, v.JSON(), err, c.want)
		}
	}
	for _, v := range []any{math.NaN(), math.Inf(1), []any{math.Inf(-1)}, make(chan int)} {
		if got, err := ValueOf(v); err == nil {
			t.Errorf("%v became %s", v, got.JSON())
		}
	}
}

func TestInvalidRawJSONEnds(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"[}", "[1,,2]", "[\"", "[[", "{\"a", "{,}", "[1 2"} {
		RawJSON(raw).Elements() // ends, and does not panic: what it finds means nothing
	}
	if got := fmt.Sprint(RawJSON("[1,2]").Elements()); got == "" {
		t.Error("no elements")
	}
}
