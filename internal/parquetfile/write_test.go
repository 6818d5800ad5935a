package parquetfile_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

func given(t testing.TB, schema string) *parquetfile.Schema {
	t.Helper()
	root, err := parquetfile.ParseSchema(pipeline.RawJSON(schema))
	if err != nil {
		t.Fatal(err)
	}
	return parquetfile.Given(root)
}

func record(t testing.TB, row string) *pipeline.Record {
	t.Helper()
	r, err := pipeline.ParseRecord([]byte(row))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inferred returns the schema of rows, and what it is as text.
func inferred(t testing.TB, shape pipeline.Shape, rows ...string) (*parquetfile.Schema, string) {
	t.Helper()
	s := parquetfile.Inferred(shape, nil)
	for _, row := range rows {
		if err := s.Fit(record(t, row)); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
	}
	s.Seal()
	return s, string(s.Root().AppendJSON(nil))
}

// write returns a file of rows, all of which must fit.
func write(t testing.TB, s *parquetfile.Schema, o parquetfile.WriteOptions, rows ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := parquetfile.NewWriter(&out, s, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		r := record(t, row)
		if err := s.Fit(r); err != nil {
			t.Fatalf("%s does not fit: %v", row, err)
		}
		if err := w.Write(r); err != nil {
			t.Fatalf("%s: %v", row, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWriteEveryType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of string
		// same come back as they were; others are pairs of what is written and what is read.
		same   string
		others [][2]string
		refuse string
	}{
		{of: `"bool"`, same: `true false null`, refuse: `1 "true" []`},
		{of: `"int8"`, same: `-128 127 0`, others: [][2]string{{"1.0", "1"}, {"1e2", "100"}, {"-0", "0"}}, refuse: `128 -129 1.5 "1" true 1e9`},
		{of: `"int16"`, same: `-32768 32767`, refuse: `32768`},
		{of: `"int32"`, same: `-2147483648 2147483647`, refuse: `2147483648 1e400`},
		{of: `"int64"`, same: `-9223372036854775808 9223372036854775807`, refuse: `9223372036854775808 0.1 "7" {}`},
		{of: `"uint8"`, same: `0 255`, refuse: `256 -1`},
		{of: `"uint16"`, same: `65535`, refuse: `65536`},
		{of: `"uint32"`, same: `4294967295`, refuse: `4294967296`},
		{of: `"uint64"`, same: `18446744073709551615`, refuse: `18446744073709551616 -1`},
		{
			of: `"float"`, same: `0.1 1.5 -3.4028235e+38 16777216 "NaN" "Infinity" "-Infinity"`,
			others: [][2]string{{"0.100000001", "0.1"}}, refuse: `16777217 1e39 0.12345678901 "1"`,
		},
		{
			of: `"double"`, same: `0.1 1 -0 1.7976931348623157e+308 0.30000000000000004 9007199254740992 5e-324 "NaN" "Infinity" "-Infinity"`,
			others: [][2]string{{"1.0", "1"}, {"0.10000000000000000555", "0.1"}, {"1E2", "100"}, {"0.0", "0"}},
			refuse: `9007199254740993 1e400 0.12345678901234567890 1e-400 "nan" "1.5" true`,
		},
		{
			of: `"decimal(5, 2)"`, same: `12.30 -0.01 999.99 0.00`,
			others: [][2]string{{"1", "1.00"}, {`"12.3"`, "12.30"}, {"1e2", "100.00"}, {"1.230000", "1.23"}, {"-0", "0.00"}}, refuse: `1000 0.001 "x" "" true`,
		},
		{of: `"decimal(18, 0)"`, same: `999999999999999999 -999999999999999999`, refuse: `1000000000000000000`},
		{of: `"decimal(38, 3)"`, same: `-99999999999999999999999999999999999.999 0.001 -0.001`, refuse: `100000000000000000000000000000000000`},
		{of: `"string"`, same: `"" "ü" "a\"b"`, refuse: `1 true [] {}`},
		{of: `"json"`, same: `1.50 "a" [1,null] {"b":1,"a":[]} true 123456789012345678901234567890`},
		{of: `"binary"`, same: `"" "QUIA/w=="`, refuse: `"QUIA_w==" "?" 1`},
		{of: `"uuid"`, same: `"6ba7b810-9dad-11d1-80b4-00c04fd430c8"`, refuse: `"6ba7b8109dad11d180b400c04fd430c8" "" "6ba7b810-9dad-11d1-80b4-00c04fd430cg"`},
		{
			of: `"date"`, same: `"2026-11-23" "0001-01-01" "1969-12-31" "2024-02-29" "+012345-02-28" "-000001-01-01" "+012000-02-29"`,
			refuse: `"2026-02-29" "2026-1-1" "23.11.2026" "" "+9999999-01-01" 20000`,
		},
		{
			of: `"time"`, same: `"06:35:00.123456" "24:00:00.000000"`,
			others: [][2]string{{`"06:35:00"`, `"06:35:00.000000"`}, {`"06:35:00.1234560"`, `"06:35:00.123456"`}}, refuse: `"06:35:00.1234567" "25:00:00" "6:35:00" "24:00:01" "06:35:00."`,
		},
		{of: `"time(ms)"`, same: `"23:59:59.999"`, refuse: `"23:59:59.9999"`},
		{of: `"time(ns)"`, same: `"23:59:59.999999999"`},
		{
			of: `"timestamp"`, same: `"2026-11-23T06:35:00.123456Z" "1969-12-31T23:59:59.999999Z" "0001-01-01T00:00:00.000000Z" "+012345-01-01T00:00:00.000000Z"`,
			others: [][2]string{
				{`"2026-11-23T06:35:00+02:00"`, `"2026-11-23T04:35:00.000000Z"`},
				{`"2026-11-23 06:35:00.1Z"`, `"2026-11-23T06:35:00.100000Z"`},
				{`"2026-12-31T23:30:00-01:30"`, `"2027-01-01T01:00:00.000000Z"`},
			},
			refuse: `"2026-11-23T06:35:00" "2026-11-23" "2026-11-23T06:35:00.1234567Z" "2026-13-01T00:00:00Z" "+400000-01-01T00:00:00Z" 1700000000`,
		},
		{of: `"timestamp(ms)"`, same: `"2026-11-23T06:35:00.123Z"`},
		{of: `"timestamp(ns)"`, same: `"2026-11-23T06:35:00.123456789Z"`, refuse: `"2300-01-01T00:00:00Z"`},
		{of: `"local_timestamp(ms)"`, same: `"2026-11-23T06:35:00.123"`, refuse: `"2026-11-23T06:35:00.123Z"`},
		{of: `["int64"]`, same: `[1,null,3] [] null`, refuse: `1 ["x"] {}`},
		{of: `[["string"]]`, same: `[["a"],[],null,["b","c"]] [[]]`},
		{
			of: `{"a":"int64","b":{"c":["string"]}}`, same: `{"a":1,"b":{"c":["x"]}} {"a":null,"b":{"c":null}} {"a":null,"b":null} null`,
			others: [][2]string{{`{}`, `{"a":null,"b":null}`}, {`{"b":{},"a":1}`, `{"a":1,"b":{"c":null}}`}}, refuse: `{"x":1} [] 1`,
		},
		{of: `[{"k":"string","v":"double"}]`, same: `[{"k":"p","v":1.5},{"k":null,"v":null},null] []`},
		{of: `{"*":"int64"}`, same: `{"x":1,"y":null} {} null`, refuse: `{"x":"a"} [1]`},
		{of: `{"*":[{"*":"string"}]}`, same: `{"x":[{"y":"z"},{},null],"w":[]}`},
		{of: `"int64 not null"`, same: `1`, refuse: `null`},
		{of: `"json not null"`, same: `null 1`},
	} {
		t.Run(c.of, func(t *testing.T) {
			t.Parallel()
			schema := given(t, `{"before":"string","v":`+c.of+`,"after":"int64 not null"}`)
			row := func(v string) string { return fmt.Sprintf(`{"before":"b","v":%s,"after":7}`, v) }
			var rows, want []string
			for _, v := range strings.Fields(c.same) {
				rows, want = append(rows, row(v)), append(want, row(v))
			}
			for _, pair := range c.others {
				rows, want = append(rows, row(pair[0])), append(want, row(pair[1]))
			}
			data := write(t, schema, parquetfile.WriteOptions{}, rows...)
			if d := cmp.Diff(want, mustRead(t, data, 0, parquetfile.Options{})); d != "" {
				t.Errorf("read back (-want +got):\n%s", d)
			}
			for _, v := range strings.Fields(c.refuse) {
				if err := schema.Fit(record(t, row(v))); err == nil || !strings.HasPrefix(err.Error(), "v") {
					t.Errorf("%s is taken, or refused without the field: %v", v, err)
				}
			}
		})
	}
}

func TestSchemaMistakes(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		`{"a":"int63"}`:               `a: "int63" is no type; there are bool, int8`,
		`{"a":"int"}`:                 `a: "int" is no type`,
		`{"a":"int064"}`:              `is no type`,
		`{"a":"decimal"}`:             `is no type`,
		`{"a":"decimal(39, 2)"}`:      `is no type`,
		`{"a":"decimal(5, 6)"}`:       `is no type`,
		`{"a":"timestamp(s)"}`:        `is no type`,
		`{"a":"string(5)"}`:           `is no type`,
		`{"a":{"b":[]}}`:              `a.b: a list has one type`,
		`{"a":["string","int64"]}`:    `a: a list has one type`,
		`{"a":{}}`:                    `a: it has no fields`,
		`{"a":["x"]}`:                 `a[0]: "x" is no type`,
		`{"a":{"*":7}}`:               `a.*: a type is a text`,
		`"int64"`:                     `the columns are a mapping`,
		`["int64"]`:                   `the columns are a mapping`,
		`{"a":"string","a":"string"}`: `a: it is there twice`,
	} {
		if _, err := parquetfile.ParseSchema(pipeline.RawJSON(schema)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", schema, err, want)
		}
	}
}

func TestInfer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rows []string
		want string
	}{
		"numbers":              {[]string{`{"a":1}`, `{"a":-2}`}, `{"a":"int64"}`},
		"wider numbers":        {[]string{`{"a":1}`, `{"a":0.5}`, `{"a":2}`}, `{"a":"double"}`},
		"too wide for both":    {[]string{`{"a":9007199254740993}`, `{"a":0.5}`}, `{"a":"json"}`},
		"the same, turned":     {[]string{`{"a":0.5}`, `{"a":9007199254740993}`}, `{"a":"json"}`},
		"beyond int64":         {[]string{`{"a":1}`, `{"a":12345678901234567890}`}, `{"a":"json"}`},
		"texts":                {[]string{`{"a":"x"}`, `{"a":null}`, `{}`}, `{"a":"string"}`},
		"nothing but null":     {[]string{`{"a":null}`, `{"b":1}`}, `{"a":"json","b":"int64"}`},
		"mixed":                {[]string{`{"a":"x"}`, `{"a":1}`, `{"a":[1]}`}, `{"a":"json"}`},
		"objects":              {[]string{`{"a":{"b":1}}`, `{"a":{"c":"x","b":null}}`}, `{"a":{"b":"int64","c":"string"}}`},
		"empty objects":        {[]string{`{"a":{}}`}, `{"a":"json"}`},
		"lists":                {[]string{`{"a":[]}`, `{"a":[1,null]}`, `{"a":[0.5]}`}, `{"a":["double"]}`},
		"empty lists":          {[]string{`{"a":[]}`}, `{"a":["json"]}`},
		"lists of objects":     {[]string{`{"a":[{"b":1},{"c":true}]}`}, `{"a":[{"b":"int64","c":"bool"}]}`},
		"an object, then none": {[]string{`{"a":{"b":1}}`, `{"a":1}`}, `{"a":"json"}`},
	} {
		s, got := inferred(t, pipeline.Shape{}, c.rows...)
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		write(t, s, parquetfile.WriteOptions{}, c.rows...) // whatever decided on it fits
	}
	shape := pipeline.Shape{}.With("id", pipeline.NumberType).With("label", pipeline.StringType).With("ok", pipeline.BoolType)
	if _, got := inferred(t, shape, `{"x":1,"id":7}`); got != `{"x":"int64","id":"int64","label":"string","ok":"bool"}` {
		t.Errorf("with what is known of some: %s, want them behind those of the rows", got)
	}
	shape.Closed = true
	if _, got := inferred(t, shape, `{"ok":true,"id":7}`); got != `{"id":"int64","label":"string","ok":"bool"}` {
		t.Errorf("with what is known of all: %s, want their order", got)
	}
}

// TestInferredRowsFit: whatever the first rows are, each fits the schema that was made of
// them, and comes back as it was, but for fields that are null instead of missing.
func TestInferredRowsFit(t *testing.T) {
	t.Parallel()
	value := rapid.Deferred(func() *rapid.Generator[string] { return anyJSON(3) })
	rapid.Check(t, func(rt *rapid.T) {
		var rows []string
		for range rapid.IntRange(1, 6).Draw(rt, "rows") {
			rows = append(rows, fmt.Sprintf(`{"a":%s,"b":%s}`, value.Draw(rt, "a"), value.Draw(rt, "b")))
		}
		s, text := inferred(t, pipeline.Shape{}, rows...)
		data := write(t, s, parquetfile.WriteOptions{}, rows...)
		for i, got := range mustRead(t, data, 0, parquetfile.Options{}) {
			if !sameJSON(pipeline.RawJSON(rows[i]), pipeline.RawJSON(got)) {
				rt.Fatalf("row %d of %s:\nwritten %s\nread    %s", i+1, text, rows[i], got)
			}
		}
	})
}

func anyJSON(depth int) *rapid.Generator[string] {
	leaf := rapid.SampledFrom([]string{
		"null", "true", "1", "-7", "0.5", "2.0", "9007199254740993", "1e300", "1e999", "-0", "0.1234567890123456789", `""`, `"x"`, `"\u00fc"`,
	})
	if depth == 0 {
		return leaf
	}
	inner := rapid.Deferred(func() *rapid.Generator[string] { return anyJSON(depth - 1) })
	return rapid.OneOf(leaf, leaf, rapid.Custom(func(t *rapid.T) string {
		return "[" + strings.Join(rapid.SliceOfN(inner, 0, 3).Draw(t, "items"), ",") + "]"
	}), rapid.Custom(func(t *rapid.T) string {
		var members []string
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"k", "l", "m", "", "a.b", "a,b"}), 0, 3, rapid.ID).Draw(t, "names") {
			members = append(members, fmt.Sprintf("%q:%s", name, inner.Draw(t, name)))
		}
		return "{" + strings.Join(members, ",") + "}"
	}))
}

// sameJSON compares values: numbers by what they are, objects without what is null.
func sameJSON(a, b pipeline.Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case '[':
		x, _ := a.Elements()
		y, _ := b.Elements()
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameJSON(x[i], y[i]) {
				return false
			}
		}
		return true
	case '{':
		return within(a, b) && within(b, a)
	case '0':
		return a.Text() == b.Text() || number(a) == number(b)
	default:
		return a.Text() == b.Text()
	}
}

func within(a, b pipeline.Value) bool {
	members, _ := a.Members()
	for _, m := range members {
		other, ok := b.Member(m.Name)
		if !ok {
			other = pipeline.Null()
		}
		if !sameJSON(m.Value, other) {
			return false
		}
	}
	return true
}

func number(v pipeline.Value) any {
	n, err := v.Any()
	if err != nil {
		return v.Text()
	}
	if i, ok := n.(int); ok {
		return float64(i)
	}
	return n
}

func TestWriteRowGroups(t *testing.T) {
	t.Parallel()
	for _, compression := range parquetfile.Compressions() {
		var rows []string
		for i := range 2500 {
			rows = append(rows, fmt.Sprintf(`{"n":%d,"s":"text %d","l":[%d,null]}`, i, i%50, i))
		}
		schema := given(t, `{"n":"int64","s":"string","l":["int32"]}`)
		data := write(t, schema, parquetfile.WriteOptions{Compression: compression, GroupRows: 1000, Metadata: map[string]string{"who": "me"}}, rows...)
		f, err := parquetfile.Open(bytes.NewReader(data), int64(len(data)), parquetfile.Options{})
		if err != nil {
			t.Fatalf("%s: %v", compression, err)
		}
		defer f.Close()
		if who, _ := f.Metadata("who"); f.Groups() != 3 || f.Rows() != 2500 || who != "me" {
			t.Errorf("%s: %d row groups, %d rows, written by %q", compression, f.Groups(), f.Rows(), who)
		}
		if got := mustRead(t, data, 0, parquetfile.Options{}); !slices.Equal(got, rows) {
			t.Errorf("%s: other rows are read, %d", compression, len(got))
		}
	}
	data := write(t, given(t, `{"s":"string"}`), parquetfile.WriteOptions{GroupBytes: 1000}, `{"s":"`+strings.Repeat("x", 2000)+`"}`, `{"s":"y"}`)
	if f, err := parquetfile.Open(bytes.NewReader(data), int64(len(data)), parquetfile.Options{}); err != nil || f.Groups() != 2 {
		t.Errorf("by bytes: %v, %v", f, err)
	}
}

// TestWriteManyTexts has more different texts than a dictionary takes.
func TestWriteManyTexts(t *testing.T) {
	t.Parallel()
	var rows []string
	for i := range 4000 {
		rows = append(rows, fmt.Sprintf(`{"s":"%0400d"}`, i))
	}
	data := write(t, given(t, `{"s":"string"}`), parquetfile.WriteOptions{}, rows...)
	if got := mustRead(t, data, 0, parquetfile.Options{}); !slices.Equal(got, rows) {
		t.Errorf("other rows are read, %d", len(got))
	}
}

func TestWriteNoRows(t *testing.T) {
	t.Parallel()
	data := write(t, given(t, `{"a":"int64","b":["string"]}`), parquetfile.WriteOptions{})
	f, err := parquetfile.Open(bytes.NewReader(data), int64(len(data)), parquetfile.Options{})
	if err != nil || f.Rows() != 0 || len(f.Shape().Fields) != 2 {
		t.Errorf("%v, %v", f, err)
	}
}

func TestFieldsThatAreNoColumn(t *testing.T) {
	t.Parallel()
	s := given(t, `{"a":"int64","b":{"c":"string"}}`)
	for row, want := range map[string]string{
		`{"a":1,"x":null}`:                           "x is no column of the schema",
		`{"b":{"c":"","d":1}}`:                       "b.d is no column of the schema",
		`{"a":"` + strings.Repeat("long", 50) + `"}`: "…, and the column takes int64",
	} {
		if err := s.Fit(record(t, row)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", row, err, want)
		}
	}
	if err := s.Fit(pipeline.NewRecord(pipeline.Field{Name: "b", Value: pipeline.Null()})); err != nil {
		t.Error(err)
	}
	if err := given(t, `{"a":"string"}`).Fit(pipeline.NewRecord(pipeline.Field{Name: "a", Value: pipeline.Text("\xff")})); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("a text that is no UTF-8: %v", err)
	}
}
