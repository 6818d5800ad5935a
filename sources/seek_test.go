package sources_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sources"
)

// must ends the test if a file cannot be changed.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o600))
}

// add appends to a file.
func add(t testing.TB, path string, data []byte) {
	t.Helper()
	was, err := os.ReadFile(path)
	must(t, err)
	put(t, path, append(was, data...))
}

func TestCompare(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcde\n", 50_000)
	flip := func(at int) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			data := []byte(big)
			data[at] ^= 1
			put(t, dir+"/c.txt", data)
		}
	}
	const refused = pipeline.Change(99)
	for name, c := range map[string]struct {
		files  map[string]string // beside a.txt and b.txt
		change func(t testing.TB, dir string)
		want   pipeline.Change
		says   string
	}{
		"nothing":          {change: func(testing.TB, string) {}},
		"touched":          {change: func(t testing.TB, dir string) { add(t, dir+"/b.txt", nil) }},
		"rows at the end":  {change: func(t testing.TB, dir string) { add(t, dir+"/b.txt", []byte("more\n")) }, want: pipeline.Grown},
		"a file behind":    {change: func(t testing.TB, dir string) { put(t, dir+"/c.txt", []byte("more\n")) }, want: pipeline.Grown},
		"rows and a file":  {change: func(t testing.TB, dir string) { add(t, dir+"/b.txt", []byte("x")); put(t, dir+"/c.txt", nil) }, want: pipeline.Grown},
		"from nothing":     {files: map[string]string{"c.txt": ""}, change: func(t testing.TB, dir string) { put(t, dir+"/c.txt", []byte("x")) }, want: pipeline.Grown},
		"a large one":      {files: map[string]string{"c.txt": big}, change: func(t testing.TB, dir string) { add(t, dir+"/c.txt", []byte("more\n")) }, want: pipeline.Grown},
		"a file in front":  {change: func(t testing.TB, dir string) { put(t, dir+"/0.txt", nil) }, want: refused, says: "0.txt is read in front of DIR/a.txt and was not there"},
		"a file between":   {change: func(t testing.TB, dir string) { put(t, dir+"/ab.txt", nil) }, want: refused, says: "ab.txt is read in front of DIR/b.txt"},
		"the last is gone": {change: func(t testing.TB, dir string) { must(t, os.Remove(dir+"/b.txt")) }, want: refused, says: "DIR/b.txt is gone"},
		"one is gone":      {change: func(t testing.TB, dir string) { must(t, os.Remove(dir+"/a.txt")) }, want: refused, says: "DIR/a.txt is gone"},
		"shorter":          {change: func(t testing.TB, dir string) { put(t, dir+"/b.txt", []byte("b")) }, want: refused, says: "DIR/b.txt has 1 bytes and had 4"},
		"other bytes":      {change: func(t testing.TB, dir string) { put(t, dir+"/b.txt", []byte("b\nd\n")) }, want: refused, says: "DIR/b.txt has other bytes"},
		"grown and other":  {change: func(t testing.TB, dir string) { put(t, dir+"/b.txt", []byte("b\nd\ne\n")) }, want: refused, says: "DIR/b.txt does not begin with the 4 bytes that it had"},
		"not the last":     {change: func(t testing.TB, dir string) { add(t, dir+"/a.txt", []byte("more\n")) }, want: refused, says: "DIR/a.txt has grown, and other files follow it"},
		"half a row":       {files: map[string]string{"c.txt": "half"}, change: func(t testing.TB, dir string) { add(t, dir+"/c.txt", []byte(" a row\n")) }, want: refused, says: "its last row had no line break"},
		"its beginning":    {files: map[string]string{"c.txt": big}, change: flip(10), want: refused, says: "c.txt has other bytes"},
		"its end":          {files: map[string]string{"c.txt": big}, change: flip(len(big) - 20), want: refused, says: "c.txt has other bytes"},
		"some of it":       {files: map[string]string{"c.txt": big}, change: func(t testing.TB, dir string) { put(t, dir+"/c.txt", []byte(strings.ReplaceAll(big, "5", "6"))) }, want: refused, says: "c.txt has other bytes"},
		"a list":           {files: map[string]string{"c.json": "[]\n"}, change: func(t testing.TB, dir string) { add(t, dir+"/c.json", []byte("[]\n")) }, want: refused, says: "only to jsonl, csv, tsv and lines can rows be added"},
		"no list any more": {files: map[string]string{"c.txt": ""}, change: func(t testing.TB, dir string) { must(t, os.Remove(dir+"/c.txt")) }, want: refused, says: "c.txt is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"a.txt": "a\n", "b.txt": "b\nc\n"}
			for name, text := range c.files {
				files[name] = text
			}
			dir := folder(t, files)
			source := newFile(t, sources.FileConfig{Path: []string{dir + "/*"}}, pipeline.Env{})
			compares(t, source, func() { c.change(t, dir) }, c.want, strings.ReplaceAll(c.says, "DIR", dir), refused)
		})
	}
}

// compares identifies a source, changes it, and compares.
func compares(t *testing.T, source *sources.File, change func(), want pipeline.Change, says string, refused pipeline.Change) {
	t.Helper()
	was, err := source.Identify(t.Context())
	must(t, err)
	change()
	got, err := source.Compare(t.Context(), was)
	switch {
	case want == refused && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("got %v, %v; want an error: %s", got, err, says)
	case want != refused && (err != nil || got != want):
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func zstded(t testing.TB, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, errors.Join(err, w.Close()))
	return out.Bytes()
}

// TestCompareCompressed appends to compressed files: whole members and frames are rows
// at the end, if the last row had its end.
func TestCompareCompressed(t *testing.T) {
	t.Parallel()
	const refused = pipeline.Change(99)
	for name, pack := range map[string]func(testing.TB, string) []byte{"a.txt.gz": gzipped, "a.txt.zst": zstded, "a.txt": gzipped} {
		for what, c := range map[string]struct {
			was, more []byte
			want      pipeline.Change
			says      string
		}{
			"a member":             {pack(t, "a\n"), pack(t, "b\n"), pipeline.Grown, ""},
			"two members":          {pack(t, "a\n"), append(pack(t, "b"), pack(t, "c\n")...), pipeline.Grown, ""},
			"behind no row":        {pack(t, ""), pack(t, "b\n"), pipeline.Grown, ""},
			"behind half a row":    {pack(t, "a"), pack(t, "b\n"), refused, "its last row had no line break"},
			"behind half a member": {pack(t, "a\n")[:9], pack(t, "a\n")[9:], refused, "where it ended it was not whole"},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), name)
				put(t, path, c.was)
				source := newFile(t, sources.FileConfig{Path: []string{path}}, pipeline.Env{})
				compares(t, source, func() { add(t, path, c.more) }, c.want, c.says, refused)
			})
		}
	}
}

func TestWhatIsNoFileHasNoIdentity(t *testing.T) {
	t.Parallel()
	source := newFile(t, sources.FileConfig{Path: []string{"-"}}, pipeline.Env{Stdin: strings.NewReader("")})
	id, err := source.Identify(t.Context())
	if id != "" || err != nil {
		t.Errorf("got %q, %v", id, err)
	}
	if change, err := source.Compare(t.Context(), ""); change != pipeline.Same || err != nil {
		t.Errorf("got %v, %v", change, err)
	}
	if _, err := source.Compare(t.Context(), "[]"); err == nil || !strings.Contains(err.Error(), "was a pipe then, or the other way round") {
		t.Errorf("got %v", err)
	}
	dir := folder(t, map[string]string{"a.txt": "a\n"})
	file := newFile(t, sources.FileConfig{Path: []string{dir + "/a.txt"}}, pipeline.Env{})
	for was, want := range map[string]string{"": "was a pipe then", "{": "is damaged"} {
		if _, err := file.Compare(t.Context(), was); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("compared with %q: got %v, want %q", was, err, want)
		}
	}
}

// TestWhatIsAddedMeanwhile has a file grow by half a row between all that is done, and a
// new one come: this run reads what it has identified, and the next one the rest.
func TestWhatIsAddedMeanwhile(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.txt": "a\nb\n"})
	config := sources.FileConfig{Path: []string{dir + "/*.txt"}}
	source := newFile(t, config, pipeline.Env{})
	was, err := source.Identify(t.Context())
	must(t, err)
	add(t, dir+"/a.txt", []byte("c\nhal"))
	put(t, dir+"/b.txt", []byte("e\n"))
	if change, err := source.Compare(t.Context(), was); err != nil || change != pipeline.Grown {
		t.Errorf("got %v, %v", change, err)
	}
	var got []string
	for r, err := range source.Records(t.Context()) {
		must(t, err)
		got = append(got, string(r.AppendJSON(nil)))
		add(t, dir+"/a.txt", []byte("f"))
	}
	if want := []string{`{"text":"a"}`, `{"text":"b"}`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if done, total := source.Progress(); done != 4 || total != 4 {
		t.Errorf("%d of %d bytes", done, total)
	}
	next := newFile(t, config, pipeline.Env{})
	if change, err := next.Compare(t.Context(), was); err != nil || change != pipeline.Grown {
		t.Errorf("the next run: %v, %v", change, err)
	}
	if got := rows(t.Context(), next, dir); len(got) != 5 || !strings.Contains(got[3], "halff") {
		t.Errorf("the next run: %q", got)
	}
}

func TestSeekToWhatIsGone(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.txt": "a\n", "b.txt": "b\n"})
	for at, want := range map[pipeline.Origin]string{
		{Path: dir + "/c.txt", Line: 1}:                 "c.txt is gone",
		{Path: dir + "/b.txt", Line: 7, Offset: 1 << 9}: "b.txt: it ends at byte 2, in front of row",
	} {
		source := newFile(t, sources.FileConfig{Path: []string{dir + "/*.txt"}}, pipeline.Env{})
		must(t, source.Seek(t.Context(), at))
		var got error
		for r, err := range source.Records(t.Context()) {
			if r != nil {
				t.Errorf("row %s came", r.ID())
			}
			got = err
		}
		if class, _ := pipeline.Classify(got); class != pipeline.ClassFatal || !strings.Contains(got.Error(), want) {
			t.Errorf("from %v: got %v (%s), want %q", at, got, class, want)
		}
	}
}

// TestColumnsAreCheckedBehindASeek begins in the second file; the header of the third
// is still compared with that of the first.
func TestColumnsAreCheckedBehindASeek(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.csv": "a,b\n1,2\n", "b.csv": "b,a\n1,2\n3,4\n", "c.csv": "a,c\n"})
	source := newFile(t, sources.FileConfig{Path: []string{dir + "/*"}}, pipeline.Env{})
	must(t, source.Seek(t.Context(), pipeline.Origin{Path: dir + "/b.csv", Line: 3, Offset: 8}))
	got := strings.Join(rows(t.Context(), source, dir), "|")
	for _, want := range []string{`"b":"3"`, `c.csv: its columns are not those of a.csv`} {
		if !strings.Contains(strings.ReplaceAll(got, dir+"/", ""), want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if strings.Contains(got, `"b":"1"`) {
		t.Errorf("got %s", got)
	}
}

// TestProgressBehindASeek begins far behind in a large file: what was passed counts as
// read, once.
func TestProgressBehindASeek(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.txt": "a\n", "b.txt": strings.Repeat("0123456789abcde\n", 200_000), "c.txt": "c\n"})
	source := newFile(t, sources.FileConfig{Path: []string{dir + "/*"}}, pipeline.Env{})
	const row = 150_000
	must(t, source.Seek(t.Context(), pipeline.Origin{Path: dir + "/b.txt", Line: row + 1, Offset: 16 * row}))
	n, last := 0, int64(0)
	for _, err := range source.Records(t.Context()) {
		must(t, err)
		done, total := source.Progress()
		if n++; n == 1 && done < 2+16*row || done < last || done > total {
			t.Fatalf("behind row %d: %d of %d, after %d", n, done, total, last)
		}
		last = done
	}
	if done, total := source.Progress(); n != 50_001 || done != total || total != 4+200_000*16 {
		t.Errorf("%d rows, %d of %d", n, done, total)
	}
}

// BenchmarkSeek passes a million rows.
func BenchmarkSeek(b *testing.B) {
	const count = 1_000_000
	var jsonl, csv bytes.Buffer
	csv.WriteString("id,subject,body\n")
	var atJSONL, atCSV int
	for i := range count + 1 {
		atJSONL, atCSV = jsonl.Len(), csv.Len()
		fmt.Fprintf(&jsonl, `{"id":%d,"subject":"Refund, order %d","body":"Hello, I ordered a lamp on %d and it came broken."}`+"\n", i, i*7, i*13)
		fmt.Fprintf(&csv, "%d,\"Refund, order %d\",\"Hello, I ordered a lamp on %d and it came broken.\"\n", i, i*7, i*13)
	}
	dir := b.TempDir()
	put(b, dir+"/a.jsonl", jsonl.Bytes())
	put(b, dir+"/a.csv", csv.Bytes())
	put(b, dir+"/a.jsonl.gz", gzipped(b, jsonl.String()))
	put(b, dir+"/a.jsonl.zst", zstded(b, jsonl.String()))
	for name, at := range map[string]pipeline.Origin{
		"a.jsonl": {Line: count + 1, Offset: int64(atJSONL)}, "a.csv": {Line: count + 2, Offset: int64(atCSV)},
		"a.jsonl.gz": {Line: count + 1, Offset: int64(atJSONL)}, "a.jsonl.zst": {Line: count + 1, Offset: int64(atJSONL)},
	} {
		b.Run(name, func(b *testing.B) {
			at.Path = dir + "/" + name
			for b.Loop() {
				source := newFile(b, sources.FileConfig{Path: []string{at.Path}}, pipeline.Env{})
				_, err := source.Identify(b.Context())
				must(b, errors.Join(err, source.Seek(b.Context(), at)))
				n := 0
				for r, err := range source.Records(b.Context()) {
					must(b, err)
					if n++; r.Origin != at {
						b.Fatalf("row at %v, want %v", r.Origin, at)
					}
				}
				if n != 1 {
					b.Fatalf("%d rows", n)
				}
			}
		})
	}
}
