package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func parse(t testing.TB, raw string) *Record {
	t.Helper()
	r, err := ParseRecord([]byte(raw))
	if err != nil {
		t.Fatalf("ParseRecord(%s): %v", raw, err)
	}
	return r
}

func wantJSON(t testing.TB, r *Record, want string) {
	t.Helper()
	if got := string(r.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUntouchedFieldsStayByteForByte(t *testing.T) {
	t.Parallel()
	const row = `{ "b" : 9007199254740993, "a":1e400 ,"z":-0.0,"\u0062":0.10000000000000000000001, "n":null,"o":{"y":1, "x":[ 1,2 ]},"s":"\u00e9\/","a":2 }`
	for name, c := range map[string]struct {
		edit func(*Record)
		want string
	}{
		"untouched": {func(*Record) {}, row},
		"read":      {func(r *Record) { r.Fields(); r.Lookup("a") }, row},
		"set": {
			func(r *Record) { r.Set("new", Text("x\"y")) },
			`{"b":9007199254740993,"a":1e400,"z":-0.0,"\u0062":0.10000000000000000000001,"n":null,"o":{"y":1, "x":[ 1,2 ]},"s":"\u00e9\/","a":2,"new":"x\"y"}`,
		},
		"set in its place, repeated": {
			func(r *Record) { r.Set("a", RawJSON("3")); r.Set("n", Text("")) },
			`{"b":9007199254740993,"z":-0.0,"\u0062":0.10000000000000000000001,"n":"","o":{"y":1, "x":[ 1,2 ]},"s":"\u00e9\/","a":3}`,
		},
		"delete repeated": {
			func(r *Record) { r.Delete("a") },
			`{"b":9007199254740993,"z":-0.0,"\u0062":0.10000000000000000000001,"n":null,"o":{"y":1, "x":[ 1,2 ]},"s":"\u00e9\/"}`,
		},
		"rename over another, escaped": {
			func(r *Record) { r.Rename("s", "b"); r.Delete("o"); r.Delete("a") },
			`{"z":-0.0,"n":null,"b":"\u00e9\/"}`,
		},
		"rename an escaped, repeated name": {
			func(r *Record) { r.Rename("b", "c"); r.Delete("o"); r.Delete("a") },
			`{"z":-0.0,"c":0.10000000000000000000001,"n":null,"s":"\u00e9\/"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := parse(t, row)
			c.edit(r)
			wantJSON(t, r, c.want)
			if _, err := ParseRecord(r.AppendJSON(nil)); err != nil {
				t.Errorf("what was written cannot be read: %v", err)
			}
		})
	}
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``:                          "ends too early",
		`{"a":1`:                    "ends too early",
		`[1]`:                       "must be a JSON object",
		`null`:                      "must be a JSON object",
		`{"a":1} x`:                 "unexpected 'x' after the value at byte 9",
		`{"a":tru}`:                 "at byte 9",
		"{\"a\":\"\xff\"}":          "UTF-8",
		"\u00a0{}":                  "invalid",
		"\v{}":                      "invalid",
		strings.Repeat("[", 100000): "invalid",
	} {
		r, err := ParseRecord([]byte(raw))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRecord(%.20q): got %v, %v, want an error with %q", raw, r, err, want)
		}
	}
	wantJSON(t, parse(t, " \t\r\n{\"a\": 1}\r\n"), `{"a": 1}`)
}

func TestLookupFindsTheLastOfRepeatedNames(t *testing.T) {
	t.Parallel()
	v, ok := parse(t, `{"a":1,"b":2,"\u0061":3}`).Lookup("a")
	if !ok || v.JSON() != "3" {
		t.Errorf("got %s, %v, want 3", v.JSON(), ok)
	}
	if _, ok := parse(t, `{"a":1}`).Lookup("A"); ok {
		t.Error("found a field by a name in other letters")
	}
}

func TestACopiedFieldMayBeRenamed(t *testing.T) {
	t.Parallel()
	fields := slices.Clone(parse(t, `{"a":1,"\u0062":2}`).Fields())
	fields[0].Name, fields[1].Name = "x", "b"
	r := new(Record)
	r.SetFields(fields)
	wantJSON(t, r, `{"x":1,"\u0062":2}`)
}

func TestTheZeroRecordIsEmpty(t *testing.T) {
	t.Parallel()
	wantJSON(t, new(Record), `{}`)
	wantJSON(t, NewRecord(), `{}`)
	r := new(Record)
	r.Set("a", Text("x"))
	wantJSON(t, r, `{"a":"x"}`)
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	buffer := []byte(`{"a":` + "\xff")
	r := Unreadable(buffer)
	buffer[0] = 'X'
	raw, untouched := r.Raw()
	if r.Readable() || raw != "{\"a\":\xff" || untouched || len(r.Fields()) != 0 {
		t.Errorf("got readable %v, raw %q, untouched %v, fields %v", r.Readable(), raw, untouched, r.Fields())
	}
	wantJSON(t, r, `"{\"a\":`+"\uFFFD"+`"`)
}

func TestRaw(t *testing.T) {
	t.Parallel()
	r := parse(t, ` {"a":1} `)
	if raw, untouched := r.Raw(); raw != `{"a":1}` || !untouched {
		t.Errorf("got %q, %v", raw, untouched)
	}
	r.Set("a", Null())
	if _, untouched := r.Raw(); untouched {
		t.Error("untouched after Set")
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	r := parse(t, `{}`)
	r.Ref = Ref{Source: 1, Seq: 7, Path: "/2"}
	if got := r.ID(); got != "1:7/2" {
		t.Errorf("without origin: got %q", got)
	}
	r.Origin = Origin{Path: "a.jsonl", Line: 8}
	if got := r.ID(); got != "a.jsonl:8/2" {
		t.Errorf("with origin: got %q", got)
	}
	r.SetKey("k")
	if r.ID() != "k" || r.Key() != "k" {
		t.Errorf("with key: got %q, %q", r.ID(), r.Key())
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	for _, indexed := range []bool{false, true} {
		r := parse(t, `{"a":1,"b":2}`)
		if indexed {
			r.Set("c", Null())
		}
		want := string(r.AppendJSON(nil))
		saved := r.Snapshot()
		r.Set("a", Text("x"))
		r.Delete("b")
		r.Restore(saved)
		wantJSON(t, r, want)
		r.Set("b", Text("y"))
		again := saved
		r.Restore(again)
		wantJSON(t, r, want)
	}
}

func TestChildLeavesTheTicket(t *testing.T) {
	t.Parallel()
	r := parse(t, `{"a":1}`)
	r.SetTicket(1)
	if c := r.Child(); c.Ticket() != nil || r.Ticket() != 1 {
		t.Errorf("got child %v, record %v", c.Ticket(), r.Ticket())
	}
}

func TestSizeGrowsWithWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := parse(t, `{"a":1}`)
	before := r.Size()
	r.Set("b", Text(strings.Repeat("x", 1000)))
	if got := r.Size() - before; got < 1000 {
		t.Errorf("1,000 bytes more counted as %d", got)
	}
}

// model is a record as a plain list.
type model []struct{ name, value string }

func (m model) last(name string) int {
	for i := len(m) - 1; i >= 0; i-- {
		if m[i].name == name {
			return i
		}
	}
	return -1
}

func (m model) without(name string, keep int) model {
	out := model{}
	for i, f := range m {
		if f.name != name || i == keep {
			out = append(out, f)
		}
	}
	return out
}

func (m model) set(name, value string) model {
	m = slices.Clone(m)
	i := m.last(name)
	if i < 0 {
		return append(m, struct{ name, value string }{name, value})
	}
	m[i].value = value
	return m.without(name, i)
}

func (m model) rename(from, to string) model {
	if from == to || m.last(from) < 0 {
		return m
	}
	m = m.without(to, -1)
	i := m.last(from)
	m = m.without(from, i)
	m[m.last(from)].name = to
	return m
}

func (m model) json() string {
	var parts []string
	for _, f := range m {
		parts = append(parts, fmt.Sprintf("%q:%s", f.name, f.value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestRecordsAreIndependent draws edits of a record and of its copies, and holds
// each to a plain list: a copy that shares too much shows here.
func TestRecordsAreIndependent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		values := rapid.SampledFrom([]string{"1", `"x"`, "null", "[1, 2]"})
		first := model{}
		for range rapid.IntRange(0, 4).Draw(t, "fields") {
			first = append(first, struct{ name, value string }{names.Draw(t, "name"), values.Draw(t, "value")})
		}
		r, err := ParseRecord([]byte(first.json()))
		if err != nil {
			t.Fatal(err)
		}
		records, models := []*Record{r}, []model{first}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			i := rapid.IntRange(0, len(records)-1).Draw(t, "record")
			r, m := records[i], models[i]
			name, other, value := names.Draw(t, "name"), names.Draw(t, "other"), values.Draw(t, "value")
			switch rapid.IntRange(0, 6).Draw(t, "op") {
			case 0:
				r.Set(name, RawJSON(value))
				models[i] = m.set(name, value)
			case 1:
				if got, want := r.Delete(name), m.last(name) >= 0; got != want {
					t.Fatalf("Delete(%s) of %s: got %v", name, m.json(), got)
				}
				models[i] = m.without(name, -1)
			case 2:
				if got, want := r.Rename(name, other), m.last(name) >= 0; got != want {
					t.Fatalf("Rename(%s, %s) of %s: got %v", name, other, m.json(), got)
				}
				models[i] = m.rename(name, other)
			case 3:
				records, models = append(records, r.Clone()), append(models, m)
			case 4:
				records, models = append(records, r.Child()), append(models, m)
			case 5:
				saved := r.Snapshot()
				r.Set(name, RawJSON("false"))
				r.Delete(other)
				r.Restore(saved)
			case 6:
				v, ok := r.Lookup(name)
				if j := m.last(name); ok != (j >= 0) || ok && v.JSON() != m[j].value {
					t.Fatalf("Lookup(%s) in %s: got %s, %v", name, m.json(), v.JSON(), ok)
				}
			}
			for j := range records {
				if got, want := string(records[j].AppendJSON(nil)), models[j].json(); got != want {
					t.Fatalf("record %d is %s, want %s", j, got, want)
				}
			}
		}
	})
}

func TestEncodeAndDecode(t *testing.T) {
	t.Parallel()
	type row struct {
		Name  string `json:"name"`
		Count int64  `json:"count"`
		Rest  Value  `json:"rest"`
	}
	r, err := Encode(row{"x", 1 << 60, RawJSON(`{"a":1e400,"a":"\u0041"}`)})
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, r, `{"name":"x","count":1152921504606846976,"rest":{"a":1e400,"a":"\u0041"}}`)
	r.Set("more", Null())
	v, err := Decode[row](r)
	if err != nil || v.Name != "x" || v.Count != 1<<60 || v.Rest.JSON() != `{"a":1e400,"a":"\u0041"}` {
		t.Errorf("got %+v, %v", v, err)
	}
	if same, err := Encode(r); err != nil || same != r {
		t.Errorf("a record was not taken as it is: %v", err)
	}
	if same, err := Decode[*Record](r); err != nil || same != r {
		t.Errorf("a record was not given as it is: %v", err)
	}
	if _, err := Encode(7); err == nil || !strings.Contains(err.Error(), "encode int") {
		t.Errorf("a number became a record: %v", err)
	}
	if _, err := Decode[row](parse(t, `{"count":"x"}`)); err == nil || !strings.Contains(err.Error(), "decode pipeline.row") {
		t.Errorf("a string became a number: %v", err)
	}
}
