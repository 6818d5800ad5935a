package pipeline

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// The rows of the benchmarks: a support ticket, and one row of a data set with
// long texts.
const (
	typicalRow = `{"id":123456,"channel":"email","subject":"Refund for order 8812","body":"Hello, I ordered a lamp on Monday and it came broken. Could you send me a new one, or pay me back? Thank you, Anna","lang":"en","score":0.87,"tags":["refund","lamp"],"created":"2024-05-06T07:08:09Z"}`
	longRow    = `{"question":"Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in dollars does she make every day at the farmers' market?","answer":"Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\nShe makes 9 * 2 = $<<9*2=18>>18 every day at the farmer’s market.\n#### 18"}`
)

func TestIndexObject(t *testing.T) {
	t.Parallel()
	type pair struct{ name, rawName, value string }
	for name, c := range map[string]struct {
		raw  string
		want []pair
	}{
		"empty":           {`{}`, nil},
		"spaced, empty":   {"{ \n\t\r}", nil},
		"one":             {`{"a":1}`, []pair{{"a", `"a"`, "1"}}},
		"white space":     {"{ \"a\" :\t1 ,\r\n \"b\": \"x\" }", []pair{{"a", `"a"`, "1"}, {"b", `"b"`, `"x"`}}},
		"escaped name":    {`{"\u0061\"":1}`, []pair{{`a"`, `"\u0061\""`, "1"}}},
		"empty name":      {`{"":null}`, []pair{{"", `""`, "null"}}},
		"repeated name":   {`{"a":1,"a":2}`, []pair{{"a", `"a"`, "1"}, {"a", `"a"`, "2"}}},
		"end of string":   {`{"a":"x\\","b":"\\\"","c":"\\\\"}`, []pair{{"a", `"a"`, `"x\\"`}, {"b", `"b"`, `"\\\""`}, {"c", `"c"`, `"\\\\"`}}},
		"signs in string": {`{"a":"}],{[:","b":true}`, []pair{{"a", `"a"`, `"}],{[:"`}, {"b", `"b"`, "true"}}},
		"nested":          {`{"a":{"b":[1,{"c":"]}"}]},"d":[],"e":{}}`, []pair{{"a", `"a"`, `{"b":[1,{"c":"]}"}]}`}, {"d", `"d"`, "[]"}, {"e", `"e"`, "{}"}}},
		"spelling":        {`{"a":-0.0,"b":1e400,"c":9007199254740993,"d":1.10}`, []pair{{"a", `"a"`, "-0.0"}, {"b", `"b"`, "1e400"}, {"c", `"c"`, "9007199254740993"}, {"d", `"d"`, "1.10"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []pair
			for _, f := range indexObject(c.raw) {
				got = append(got, pair{f.Name, f.rawName, f.Value.s})
			}
			if len(got) != len(c.want) {
				t.Fatalf("%s: got %q, want %q", c.raw, got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%s: field %d is %q, want %q", c.raw, i, got[i], c.want[i])
				}
			}
		})
	}
}

// FuzzIndex holds the index to what a JSON decoder finds, and an edited record to
// the bytes of the fields that were not edited.
func FuzzIndex(f *testing.F) {
	for _, seed := range []string{
		typicalRow, longRow, `{}`, ` { } `, `{"a":{"b":[{}]},"a":"\\\"}"}`, `{"\ud83d\ude00":"\u0000"}`, `{"":[[[]]]}`, `[1]`, `{"a":1}}`,
		"{\"a\" : -0.0 ,\n\"b\":1e400}", `{"a":tru}`, "{\"\xff\":1}", `{"a":"\`, `{"a":1,}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		trimmed := trimSpace(raw)
		valid := jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true)) && trimmed[0] == '{'
		r, err := ParseRecord(bytes.Clone(raw))
		if valid != (err == nil) {
			t.Fatalf("ParseRecord(%q): error %v, but valid is %v", raw, err, valid)
		}
		if !valid {
			return
		}
		want, rebuilt := decodeObject(t, trimmed)
		for _, f := range want {
			if got, ok := findIn(r.raw, f.Name); !ok || got != last(want, f.Name) {
				t.Fatalf("%q: found %v (%v) in field %q, want %v", raw, got, ok, f.Name, last(want, f.Name))
			}
		}
		got := r.Fields()
		if len(got) != len(want) {
			t.Fatalf("%q has %d fields, want %d", raw, len(got), len(want))
		}
		for i := range want {
			if got[i].Name != want[i].Name || got[i].rawName != want[i].rawName || got[i].Value.s != want[i].Value.s {
				t.Fatalf("%q: field %d is %+v, want %+v", raw, i, got[i], want[i])
			}
		}
		if out := r.AppendJSON(nil); !bytes.Equal(out, trimmed) {
			t.Fatalf("%q was written as %q", raw, out)
		}
		const name = "\x00 no such field" // a name that the fuzzer is not going to find
		r.Set(name, Null())
		r.Delete(name)
		if out := r.AppendJSON(nil); string(out) != rebuilt {
			t.Fatalf("%q was written as %q after an edit, want %q", raw, out, rebuilt)
		}
	})
}

// last is the value of the last field of a name.
func last(fields []Field, name string) (v Value) {
	for _, f := range fields {
		if f.Name == name {
			v = f.Value
		}
	}
	return v
}

// TestLookupTwice: what a row is asked for first is found without an index, all else with it.
func TestLookupTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ raw, field, want string }{
		"first":         {`{"a":1,"b":[2]}`, "a", "1"},
		"last":          {`{"a":1,"b":[2] }`, "b", "[2]"},
		"none":          {`{"a":1,"b":{"c":3}}`, "c", ""},
		"empty":         {`{}`, "a", ""},
		"repeated":      {`{"a":1,"b":2,"a":3}`, "a", "3"},
		"escaped":       {`{"\u0061\\":1}`, `a\`, "1"},
		"as written":    {`{"\u0061":1}`, `\u0061`, ""},
		"value as name": {`{"a":"b","c":1}`, "b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRecord([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			for i, indexed := range []bool{false, true} {
				if got, ok := r.Lookup(c.field); got.s != c.want || ok != (c.want != "") || r.indexed != indexed {
					t.Errorf("time %d: got %q, %v, indexed %v; want %q, indexed %v", i+1, got.s, ok, r.indexed, c.want, indexed)
				}
			}
		})
	}
}

// decodeObject is the index as the JSON library makes it, and the object put
// together again without white space between its parts.
func decodeObject(t *testing.T, raw []byte) (fields []Field, rebuilt string) {
	t.Helper()
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	read := func() string {
		v, err := d.ReadValue()
		if err != nil {
			t.Fatalf("decode %q: %v", raw, err)
		}
		return string(v)
	}
	if _, err := d.ReadToken(); err != nil {
		t.Fatalf("decode %q: %v", raw, err)
	}
	rebuilt = "{"
	for d.PeekKind() != '}' {
		quoted := read()
		name, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			t.Fatalf("unquote %q: %v", quoted, err)
		}
		value := read()
		if len(fields) > 0 {
			rebuilt += ","
		}
		rebuilt += quoted + ":" + value
		fields = append(fields, Field{Name: string(name), rawName: quoted, Value: Value{s: value}})
	}
	return fields, rebuilt + "}"
}

func BenchmarkIndex(b *testing.B) {
	for _, c := range []struct{ name, row string }{{"typical", typicalRow}, {"long", longRow}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.row)))
			for b.Loop() {
				indexObject(c.row)
			}
		})
	}
}

func BenchmarkParseRecord(b *testing.B) {
	b.SetBytes(int64(len(typicalRow)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecord([]byte(typicalRow)); err != nil {
			b.Fatal(err)
		}
	}
}
