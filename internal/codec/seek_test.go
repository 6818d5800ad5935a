package codec

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/pipeline"
)

// origins are the places of all rows of a text, as far as it can be read.
func origins(t testing.TB, text, path string, o ReadOptions) (all []pipeline.Origin) {
	t.Helper()
	r, err := NewReader(Input{Path: path, Stream: strings.NewReader(text)}, o)
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, _ := r.Read()
		if rec == nil {
			return all
		}
		all = append(all, rec.Origin)
	}
}

// fromEachRow reads a text from each of its rows on: each time the rest must be what it
// is when all is read.
func fromEachRow(t testing.TB, text, path string, o ReadOptions) {
	t.Helper()
	all := show(t, strings.NewReader(text), path, o)
	for i, at := range origins(t, text, path, o) {
		for way, src := range map[string]io.Reader{
			"bytes that come": &chunkReader{text, 7},
			"a plain file":    Decompress(strings.NewReader(text), path, None),
		} {
			r, err := NewReader(Input{Path: path, Stream: src}, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.(Skipper).SkipTo(at); err != nil {
				t.Fatalf("%q, %s, to row %d: %v", text, way, i, err)
			}
			if diff := cmp.Diff(all[i:], rest(t, r, path)); diff != "" {
				t.Fatalf("%q, %s, from row %d at %d:\n%s", text, way, i, at.Offset, diff)
			}
		}
	}
}

func TestSkipTo(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500)
	for name, c := range map[string]struct {
		path, text string
		options    ReadOptions
	}{
		"JSON lines":                  {path: "a.jsonl", text: "\xef\xbb\xbf\n {\"a\":1}\r\n\n{\n{\"b\":[\n{\"c\":3}"},
		"a list":                      {path: "a.json", text: "\xef\xbb\xbf \n[ {\"a\":\"]\"},\n\n1 ,{\"b\":2}\n,,{\"c\":[{}]}\n ]\n"},
		"a list cut short":            {path: "a.json", text: "[{\"a\":1},{\"b\":2},{\"c\":"},
		"a list that ends in a comma": {path: "a.json", text: "[{\"a\":1},\n]"},
		"a list that begins with one": {path: "a.json", text: "[,{\"a\":1}]"},
		"behind a list":               {path: "a.json", text: "[{\"a\":1},{\"a\":2}] x"},
		"lines in .json":              {path: "a.json", text: "\n{\"a\":1}\n{\"a\"\n{\"a\":3}\n"},
		"CSV":                         {path: "a.csv", text: "\xef\xbb\xbf\n\"a\n1\",b\n\n1,\"x\ny\"\r\n\r\n2\n3,\"a\"b\n4,5\n\"6,7\n8,9\n1,\"2\n"},
		"TSV":                         {path: "a.tsv", text: "a\tb\n1\t2\n3\t4"},
		"lines":                       {path: "a.txt", text: "\xef\xbb\xbfa\n\n\xff\r\nb\n" + long + "\nc", options: ReadOptions{MaxRecord: 100}},
		"whole":                       {path: "a.md", text: "\xef\xbb\xbfa\nb\n", options: ReadOptions{Format: Whole}},
		"long rows":                   {path: "a.jsonl", text: "{\"a\":1}\n{\"a\":\"" + long + "\"}\n{\"a\":2}\n", options: ReadOptions{MaxRecord: 100}},
		"long rows of CSV":            {path: "a.csv", text: "a,b\n1,2\n3,\"" + long + "\n" + long + "\"\n5,6\n", options: ReadOptions{MaxRecord: 100}},
		"a long list":                 {path: "a.json", text: "[{\"a\":1},{\"a\":\"" + long + "\"},\n{\"a\":2}]", options: ReadOptions{MaxRecord: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(origins(t, c.text, c.path, c.options)) == 0 {
				t.Fatal("there is no row")
			}
			fromEachRow(t, c.text, c.path, c.options)
		})
	}
}

// TestSkipToIsShort passes a long input: what can be moved in is not read.
func TestSkipToIsShort(t *testing.T) {
	t.Parallel()
	for format, head := range map[Format]string{JSONL: "", CSV: "{\"a\"\n", JSON: "[", Lines: ""} {
		row := `{"a":1234567890123456789012345678901234567890},` + "\n"
		if format == JSONL {
			row = strings.Replace(row, ",\n", "\n", 1)
		}
		if format == CSV {
			head, row = "a,b\n", "1,\"2\n3\"\n"
		}
		text := head + strings.Repeat(row, 200_000)
		all := origins(t, text, "a", ReadOptions{Format: format})
		for _, i := range []int{1, 100, 5000, 8000, 199_999} {
			src := &measured{Reader: strings.NewReader(text)}
			r, err := NewReader(Input{Path: "a", Stream: Decompress(src, "a", None)}, ReadOptions{Format: format})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.(Skipper).SkipTo(all[i]); err != nil {
				t.Fatal(err)
			}
			rec, err := r.Read()
			if err != nil || rec.Origin != all[i] {
				t.Errorf("%s: row %d is at %v, want %v; %v", format, i, rec.Origin, all[i], err)
			}
			if most := 4 * windowBytes; src.n > most {
				t.Errorf("%s: %d bytes were read to reach row %d, more than %d", format, src.n, i, most)
			}
		}
	}
}

// measured counts what is read.
type measured struct {
	*strings.Reader
	n int
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.n += n
	return n, err
}

// TestSkipToInCompressedData passes members and frames.
func TestSkipToInCompressedData(t *testing.T) {
	t.Parallel()
	for _, kind := range []Compression{Gzip, Zstd} {
		text, packed := "", []byte(nil)
		for i := range 300 {
			row := fmt.Sprintf("{\"a\":%d,\"b\":%q}\n", i, strings.Repeat("z", i*20))
			text += row
			packed = append(packed, pack(t, kind, row)...)
		}
		all := origins(t, text, "a.jsonl", ReadOptions{})
		want := show(t, strings.NewReader(text), "a.jsonl", ReadOptions{})
		for _, i := range []int{0, 1, 150, 299} {
			stream := Decompress(bytes.NewReader(packed), "a.jsonl", kind)
			r, err := NewReader(Input{Path: "a.jsonl", Stream: stream}, ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.(Skipper).SkipTo(all[i]); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[i:], rest(t, r, "a.jsonl")); diff != "" {
				t.Errorf("%s, from row %d: %s", kind, i, diff)
			}
			if err := stream.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSkipToFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		offset int64
		want   string
	}{
		{"a,b\n1,2\n", 100, "a.csv: it ends at byte 8, in front of row a.csv:9 at byte 100"},
		{"a,b\n1,2\n", 2, "a.csv: no row can be at byte 2"},
		{"", 4, "a.csv: it is empty"},
		{"a,b\n1,2\n", 1 << 20, "a.csv: it ends "},
	} {
		for _, src := range []io.Reader{strings.NewReader(c.text), Decompress(strings.NewReader(c.text), "a.csv", None)} {
			r, err := NewReader(Input{Path: "a.csv", Stream: src}, ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = r.(Skipper).SkipTo(pipeline.Origin{Path: "a.csv", Line: 9, Offset: c.offset})
			if class, _ := pipeline.Classify(err); class != pipeline.ClassFatal || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("to byte %d of %q: got %v (%s), want %q", c.offset, c.text, err, class, c.want)
			}
		}
	}
}

func FuzzSkipTo(f *testing.F) {
	for _, seed := range []string{
		"{}\n{\n[1]\n", "[{},{\"a\":[1,2]},\n,3]", "[ ]", "a,b\n1,2\n\"3\n4\",5\n\"6,7\n8,9\n", "\xef\xbb\xbfa\r\n\r\nb", "a,b\n\"1\n2,3\n4\"5,6\n7,8\n",
	} {
		for format := range uint8(5) {
			f.Add([]byte(seed), format, uint8(20))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, format, most uint8) {
		if !utf8.Valid(data) {
			return
		}
		formats := []Format{JSONL, JSON, CSV, TSV, Lines}
		fromEachRow(t, string(data), "a", ReadOptions{Format: formats[int(format)%len(formats)], MaxRecord: int64(most) + 1})
	})
}
