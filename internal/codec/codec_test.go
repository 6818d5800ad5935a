package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// show reads an input to its end and writes down what came: "line@offset row",
// "line@offset !code bytes" for an unreadable row, "error: …" for a failure.
func show(t testing.TB, src io.Reader, path string, o ReadOptions) []string {
	t.Helper()
	r, err := NewReader(Input{Path: path, Stream: src}, o)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	return rest(t, r, path)
}

// rest reads to the end.
func rest(t testing.TB, r Reader, path string) (out []string) {
	t.Helper()
	for range 1 << 20 {
		rec, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			if _, err := r.Read(); !errors.Is(err, io.EOF) {
				t.Errorf("after the end Read returned %v", err)
			}
			return out
		case rec == nil:
			return append(out, "error: "+err.Error())
		case rec.Origin.Path != path:
			t.Errorf("origin %q, want %q", rec.Origin.Path, path)
		}
		place := fmt.Sprintf("%d@%d ", rec.Origin.Line, rec.Origin.Offset)
		if err == nil {
			out = append(out, place+string(rec.AppendJSON(nil)))
			continue
		}
		if rec.Readable() {
			t.Errorf("an error came with a readable record: %v", err)
		}
		raw, _ := rec.Raw()
		class, code := pipeline.Classify(err)
		if class != pipeline.ClassRecord {
			t.Errorf("the error of a row has class %s: %v", class, err)
		}
		out = append(out, place+"!"+code+" "+raw)
	}
	t.Fatal("the reader does not end")
	return nil
}

// eachWay reads a text in several ways of arriving, which must not matter.
func eachWay(t *testing.T, text, path string, o ReadOptions) []string {
	t.Helper()
	got := show(t, strings.NewReader(text), path, o)
	for name, src := range map[string]io.Reader{
		"byte by byte":   iotest.OneByteReader(strings.NewReader(text)),
		"halves":         iotest.HalfReader(strings.NewReader(text)),
		"with its error": iotest.DataErrReader(strings.NewReader(text)),
		"seven bytes":    &chunkReader{text, 7},
	} {
		if diff := cmp.Diff(got, show(t, src, path, o)); diff != "" {
			t.Errorf("%s it is read differently:\n%s", name, diff)
		}
	}
	return got
}

// chunkReader gives n bytes at a time.
type chunkReader struct {
	rest string
	n    int
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.n, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, text string
		o          ReadOptions
		want       []string
	}{
		"jsonl": {"a.jsonl", "{\"a\":1}\n{\"a\": -0.0 }\n", ReadOptions{}, []string{`1@0 {"a":1}`, `2@8 {"a": -0.0 }`}},
		"jsonl, BOM, CRLF, blank lines, no last break": {
			"a.ndjson", "\xef\xbb\xbf{\"a\":1}\r\n\r\n \t\n  {\"a\":2}  \r\n{\"a\":3}",
			ReadOptions{},
			[]string{`1@3 {"a":1}`, `4@17 {"a":2}`, `5@30 {"a":3}`},
		},
		"jsonl, malformed rows": {
			"a.jsonl", "{\"a\":1}\n{\"a\":\n[{\"a\":1}]\n\"x\"\nnull\n{\"a\":\"\xff\"}\n{\"a\":1}{\"a\":2}\n{\"a\":2}",
			ReadOptions{},
			[]string{
				`1@0 {"a":1}`, `2@8 !invalid_json {"a":`, `3@14 !invalid_json [{"a":1}]`, `4@24 !invalid_json "x"`, `5@28 !invalid_json null`,
				"6@33 !invalid_json {\"a\":\"\xff\"}", `7@43 !invalid_json {"a":1}{"a":2}`, `8@58 {"a":2}`,
			},
		},
		"jsonl, empty":         {"a.jsonl", "", ReadOptions{}, nil},
		"jsonl, only a BOM":    {"a.jsonl", "\xef\xbb\xbf", ReadOptions{}, nil},
		"jsonl, part of a BOM": {"a.jsonl", "\xef\xbb", ReadOptions{}, []string{"1@0 !invalid_json \xef\xbb"}},
		"jsonl, too long": {
			"a.jsonl", "{\"a\":1}\n{\"a\":\"long\"}\n{\"b\":34}\r\n{\"b\":345}\r\n{\"b\":3456}",
			ReadOptions{MaxRecord: 8},
			[]string{`1@0 {"a":1}`, `2@8 !too_long {"a":"lo`, `3@21 {"b":34}`, `4@31 !too_long {"b":345`, `5@42 !too_long {"b":345`},
		},
		"UTF-16":           {"a.jsonl", "\xff\xfe{\x00", ReadOptions{}, []string{"error: a.jsonl: the text is UTF-16; convert it to UTF-8, e.g. with iconv -f UTF-16 -t UTF-8"}},
		"json, as lines":   {"a.json", "\n{\"a\":1}\n{\"a\":\n", ReadOptions{}, []string{`2@1 {"a":1}`, `3@9 !invalid_json {"a":`}},
		"json, a list":     {"a.JSON", "\xef\xbb\xbf [\n {\"a\": \"],\\\"\"} ,\n{\n\"b\":[{}, 1]} , {}\n]\n ", ReadOptions{}, []string{`2@7 {"a": "],\""}`, "3@23 {\n\"b\":[{}, 1]}", `4@40 {}`}},
		"json, empty list": {"a.json", "[ ]", ReadOptions{}, nil},
		"json, empty":      {"a.json", " \n", ReadOptions{}, nil},
		"json, bad elements": {
			"a.json", "[1,{\"a\":tru},{\"a\":}},,{\"b\":2},]",
			ReadOptions{},
			[]string{`1@1 !invalid_json 1`, `1@3 !invalid_json {"a":tru}`, `1@13 !invalid_json {"a":}}`, `1@21 !invalid_json `, `1@22 {"b":2}`, `1@30 !invalid_json `},
		},
		"json, cut short in an element": {
			"a.json", "[{\"a\":1},{\"b\":",
			ReadOptions{},
			[]string{`1@1 {"a":1}`, `1@9 !invalid_json {"b":`, `error: a.json: it ends inside its list, which begins with "[" and has no "]": unexpected EOF`},
		},
		"json, cut short between elements": {
			"a.json", "[{\"a\":1}, ",
			ReadOptions{},
			[]string{`1@1 {"a":1}`, `error: a.json: it ends inside its list, which begins with "[" and has no "]": unexpected EOF`},
		},
		"json, more behind the list": {
			"a.json", "[{\"a\":1}]\n{\"b\":1}",
			ReadOptions{},
			[]string{`1@1 {"a":1}`, `error: a.json: something follows the end of its list, in line 2`},
		},
		"json, one object over lines": {
			"a.json", "{\n  \"a\": 1\n}\n",
			ReadOptions{},
			[]string{"error: a.json: line 1 holds no whole object: rows must be the elements of one list, or stand one a line (jq -c . makes it so)"},
		},
		"json, too long": {
			"a.json", "[{\"a\":1},\n{\"a\":\"long\"} , {\"b\":34}\n]",
			ReadOptions{MaxRecord: 8},
			[]string{`1@1 {"a":1}`, `2@10 !too_long {"a":"lo`, `2@25 {"b":34}`},
		},
		"lines": {
			"a.txt", "\xef\xbb\xbfone\r\n\n\"two\"\t\nlatin \xe9\nthree",
			ReadOptions{},
			[]string{`1@3 {"text":"one"}`, `2@8 {"text":""}`, `3@9 {"text":"\"two\"\t"}`, "4@16 !not_utf8 latin \xe9", `5@24 {"text":"three"}`},
		},
		"lines, too long, other field": {"a.log", "12345\n1234\n1234\r\n", ReadOptions{MaxRecord: 4, Field: "line"}, []string{"1@0 !too_long 1234", `2@6 {"line":"1234"}`, `3@11 {"line":"1234"}`}},
		"whole":                        {"b/a.md", "\xef\xbb\xbfone\r\ntwo\n", ReadOptions{Format: Whole}, []string{`0@3 {"text":"one\r\ntwo\n","path":"b/a.md"}`}},
		"whole, empty":                 {"a", "", ReadOptions{Format: Whole, Field: "body"}, []string{`0@0 {"body":"","path":"a"}`}},
		"whole, too long":              {"a", "12345", ReadOptions{Format: Whole, MaxRecord: 4}, []string{"0@0 !too_long 1234"}},
		"whole, latin":                 {"a", "x\xe9", ReadOptions{Format: Whole}, []string{"0@0 !not_utf8 x\xe9"}},
		"unknown":                      {"a.dat", "", ReadOptions{}, []string{"error: a.dat: the name does not tell the format; set `format:` to jsonl, csv, tsv, lines or whole"}},
		"no such format":               {"a.csv", "", ReadOptions{Format: "xml"}, []string{`error: there is no format "xml"`}},
		"types of jsonl":               {"a.jsonl", "", ReadOptions{Types: map[string]ColumnType{"a": Number}}, []string{"error: a.jsonl: `types:` are for columns of csv and tsv, this is read as jsonl"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, eachWay(t, c.text, c.path, c.o)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFormatOf(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]Format{
		"a.jsonl": JSONL, "a.NDJSON": JSONL, "x/a.json": JSON, "a.csv": CSV, "a.csv.gz": CSV, "a.tsv.ZST": TSV, "a.txt": Lines, "a.log": Lines, "README.md": Lines,
		"a.b.jsonl.gz": JSONL, "a": "", "a.gz": "", "a.parquet": "", ".csv": CSV, "csv": "", "a.csv/b": "", "a.gz.csv": CSV,
	} {
		got, err := FormatOf(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
}

// TestAReadErrorIsNotAnEnd breaks a stream in the middle of a row: what there is of
// the row must not be taken for a row.
func TestAReadErrorIsNotAnEnd(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for path, text := range map[string]string{
		"a.jsonl": "{\"a\":1}\n{\"a\":2}", "a.csv": "a\n1\n2", "b.csv": "a,b\n1,2\n3,\"4\"", "a.txt": "one\ntwo", "a.json": "[{\"a\":1},{\"a\":2}",
	} {
		got := show(t, io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), path, ReadOptions{})
		if len(got) != 2 || got[1] != "error: "+path+": disk on fire" {
			t.Errorf("%s: got %q", path, got)
		}
	}
	got := show(t, io.MultiReader(strings.NewReader("text"), iotest.ErrReader(broken)), "a", ReadOptions{Format: Whole})
	if len(got) != 1 || got[0] != "error: a: disk on fire" {
		t.Errorf("whole: got %q", got)
	}
}

// TestLongRowsAreBounded reads rows far longer than the limit and looks at the buffer.
func TestLongRowsAreBounded(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	for path, parts := range map[string][3]string{
		"a.jsonl": {"", "{\"a\":\"%s\"}\n", "{\"b\":1}\n"},
		"a.txt":   {"", "%s\n", "x\n"},
		"a.csv":   {"a,b\n", "\"%s\",2\n", "3,4\n"},
		"b.csv":   {"a\n", "\"%s\"\n", "3\n"},
		"a.json":  {"[", "{\"a\":\"%s\"},", "{\"b\":1}]"},
	} {
		head, tail, _ := strings.Cut(parts[1], "%s")
		src := io.MultiReader(strings.NewReader(parts[0]+head), io.LimitReader(endless{}, size), strings.NewReader(tail+parts[2]))
		r, err := NewReader(Input{Path: path, Stream: src}, ReadOptions{MaxRecord: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		long, err := r.Read()
		if !errors.Is(err, errTooLong) || long == nil {
			t.Fatalf("%s: got %v, %v", path, long, err)
		}
		if raw, _ := long.Raw(); len(raw) != keptBytes || !strings.HasPrefix(raw, head+"xxx") {
			t.Errorf("%s: kept %d bytes: %.20s", path, len(raw), raw)
		}
		if want := fmt.Sprintf("the row of %d bytes", len(head)+size+len(strings.TrimRight(tail, ",\n"))); !strings.Contains(err.Error(), want) && path != "a.csv" && path != "b.csv" {
			t.Errorf("%s: got %q, want %q", path, err, want)
		}
		next, err := r.Read()
		if err != nil || len(next.Fields()) == 0 {
			t.Errorf("%s: after a long row: %v, %v", path, next, err)
		}
		if w := windowOf(r); cap(w.buf) > 2<<20 {
			t.Errorf("%s: the buffer has grown to %d bytes", path, cap(w.buf))
		}
	}
}

func windowOf(r Reader) *window {
	switch r := r.(type) {
	case *jsonlReader:
		return r.window
	case *jsonReader:
		return r.window
	case *linesReader:
		return r.window
	case *csvReader:
		return r.window
	default:
		return nil
	}
}

// endless gives x.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestTheBufferShrinksAfterALongRow(t *testing.T) {
	t.Parallel()
	rows := "{\"a\":\"" + strings.Repeat("x", 4<<20) + "\"}\n" + strings.Repeat("{\"a\":\""+strings.Repeat("y", 500)+"\"}\n", 20000)
	r, err := NewReader(Input{Path: "a.jsonl", Stream: strings.NewReader(rows)}, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20001 {
		if _, err := r.Read(); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
	}
	if n := cap(windowOf(r).buf); n > windowBytes {
		t.Errorf("the buffer still has %d bytes", n)
	}
}

func TestJSONLWritesWhatWasRead(t *testing.T) {
	t.Parallel()
	rows := "{\"a\":9007199254740993, \"b\" : 1e400,\"b\":-0.0}\n{\"o\":{\"x\": null}}\n"
	e, err := NewEncoder(WriteOptions{Path: "a.jsonl"})
	if err != nil {
		t.Fatal(err)
	}
	out := e.Begin(nil)
	r, _ := NewReader(Input{Path: "a.jsonl", Stream: strings.NewReader(rows)}, ReadOptions{})
	for {
		rec, err := r.Read()
		if err != nil {
			break
		}
		if out, err = e.Append(out, rec); err != nil {
			t.Fatal(err)
		}
	}
	if string(out) != rows {
		t.Errorf("got\n%s", out)
	}
	rec, err := pipeline.ParseRecord([]byte("{\n  \"a\" : 1e400,\r\n  \"b\": [\n 1, \"x\\ny\\u0041\" ]\n}"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err = e.Append([]byte("before\n"), rec); err != nil || string(out) != "before\n{\"a\":1e400,\"b\":[1,\"x\\ny\\u0041\"]}\n" {
		t.Errorf("a record over lines was written as %q, %v", out, err)
	}
	bad := pipeline.NewRecord(pipeline.Field{Name: "a", Value: pipeline.RawJSON("{\n")})
	if out, err = e.Append([]byte("before\n"), bad); err == nil || string(out) != "before\n" {
		t.Errorf("invalid JSON was written as %q, %v", out, err)
	}
}

func TestLinesWrite(t *testing.T) {
	t.Parallel()
	e, err := NewEncoder(WriteOptions{Path: "a.txt"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ row, want, fail string }{
		{`{"text":"a\tb \"c\"","x":1}`, "a\tb \"c\"\n", ""},
		{`{"text":""}`, "\n", ""},
		{`{"text":1.50}`, "1.50\n", ""},
		{`{"x":1}`, "", `no field "text"`},
		{`{"text":"a\nb"}`, "", "line break"},
		{`{"text":"a\r"}`, "", "line break"},
	} {
		r, err := pipeline.ParseRecord([]byte(c.row))
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Append(nil, r)
		if string(out) != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: got %q, %v", c.row, out, err)
		}
	}
}

func TestNewEncoderRefuses(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]WriteOptions{
		"does not tell the format":   {Path: "a.dat"},
		"not written as whole files": {Path: "a", Format: Whole},
		"`columns:` are for csv":     {Path: "a.jsonl", Columns: []string{"a"}},
		"cannot be a delimiter":      {Path: "a.csv", Delimiter: "ab"},
		"twice":                      {Path: "a.csv", Columns: []string{"a", "a"}},
		"no name":                    {Path: "a.csv", Columns: []string{"a", ""}},
	} {
		if _, err := NewEncoder(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// FuzzJSONL holds the reader to a split at line breaks: every line is a row, an
// unreadable row, or blank, and what is written is what was read.
func FuzzJSONL(f *testing.F) {
	for _, seed := range []string{"{\"a\":1}\n{}\r\n\n x\n{\"a\":\"\xff\"}\n{\"b\":[1,2]}", "\xef\xbb\xbf{}", "[{}]", "\r\r\n{} \r"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk uint8) {
		const limit = 40
		if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
			return
		}
		var want []string
		body := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
		offset := len(data) - len(body)
		for i, line := range bytes.SplitAfter(body, newline) {
			at := fmt.Sprintf("%d@%d ", i+1, offset)
			offset += len(line)
			line = trimCR(bytes.TrimSuffix(line, newline))
			text := trimSpace(line)
			if r, err := pipeline.ParseRecord(bytes.Clone(text)); len(line) > limit {
				want = append(want, at+"!too_long "+string(line))
			} else if len(text) > 0 && err != nil {
				want = append(want, at+"!invalid_json "+string(text))
			} else if len(text) > 0 {
				want = append(want, at+string(r.AppendJSON(nil)))
			}
		}
		got := show(t, &chunkReader{string(data), int(chunk) + 1}, "a.jsonl", ReadOptions{MaxRecord: limit})
		for i := range got { // of a long row a part is kept
			if i < len(want) && strings.Contains(got[i], "!too_long") && strings.HasPrefix(want[i], got[i]) {
				got[i] = want[i]
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		show(t, &chunkReader{string(data), int(chunk) + 1}, "a.json", ReadOptions{MaxRecord: limit}) // ends, without a panic
	})
}

func BenchmarkReadJSONL(b *testing.B) {
	const row = `{"id":123456,"channel":"email","subject":"Refund for order 8812","body":"Hello, I ordered a lamp on Monday and it came broken. Could you send me a new one, or pay me back? Thank you, Anna","lang":"en","score":0.87,"tags":["refund","lamp"],"created":"2024-05-06T07:08:09Z"}` + "\n"
	data := strings.Repeat(row, 10000)
	benchmarkRead(b, "a.jsonl", data, 10000)
	b.Run("validate alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := pipeline.ParseRecord([]byte(row)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchmarkRead(b *testing.B, path, data string, rows int) {
	b.Run("rows", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			r, err := NewReader(Input{Path: path, Stream: strings.NewReader(data)}, ReadOptions{})
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for {
				_, err := r.Read()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != rows {
				b.Fatalf("%d rows", n)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
	})
}

func BenchmarkWrite(b *testing.B) {
	r, err := pipeline.ParseRecord([]byte(`{"id":123456,"channel":"email","subject":"Refund, order 8812","body":"Hello, I ordered a lamp on \"Monday\" and it came broken.","lang":"en","score":0.87}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"a.jsonl", "a.csv"} {
		b.Run(path, func(b *testing.B) {
			e, err := NewEncoder(WriteOptions{Path: path})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				if buf, err = e.Append(buf[:0], r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
