package sources_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder makes a folder with these files. A name that ends in .gz is compressed.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data := []byte(text)
		if strings.HasSuffix(name, ".gz") && text != "" {
			data = gzipped(t, text)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newFile(t testing.TB, c sources.FileConfig, env pipeline.Env) *sources.File {
	t.Helper()
	f, err := sources.NewFile(c, env)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// rows reads a source: each row as JSON, an unreadable one with a "!", the source's
// own error at the end.
func rows(ctx context.Context, s pipeline.Source, dir string) (out []string) {
	for r, err := range s.Records(ctx) {
		switch {
		case r == nil:
			out = append(out, "error: "+strings.ReplaceAll(err.Error(), dir+"/", ""))
		case err != nil:
			raw, _ := r.Raw()
			out = append(out, "!"+raw)
		default:
			out = append(out, string(r.AppendJSON(nil)))
		}
	}
	return out
}

func TestWhichFilesAreRead(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"b.txt": "b", "a.txt": "a", "sub/c.txt": "c", "sub/deep/d.txt": "d", "e.log": "e", ".hidden.txt": "hidden", ".git/f.txt": "hidden",
		"[x].txt": "bracket", "x.txt": "x", "k.unknown": "k", "sub/z.txt.gz": "z",
	})
	if err := os.Symlink("a.txt", dir+"/link.txt"); err != nil {
		t.Fatal(err)
	}
	text := func(texts ...string) (out []string) {
		for _, s := range texts {
			out = append(out, `{"text":"`+s+`"}`)
		}
		return out
	}
	for name, c := range map[string]struct {
		paths []string
		want  []string
	}{
		"one":               {[]string{"b.txt"}, text("b")},
		"in their order":    {[]string{"b.txt", "a.txt"}, text("b", "a")},
		"none twice":        {[]string{"b.txt", "sub/../b.txt", "[ab].txt", "./b.txt"}, text("b", "a")},
		"by name":           {[]string{"*.txt"}, text("bracket", "a", "b", "a", "x")}, // [x], a, b, link, x
		"any folders":       {[]string{"**/*.txt"}, text("bracket", "a", "b", "a", "c", "d", "x")},
		"folders below":     {[]string{"sub/**/*.txt"}, text("c", "d")},
		"compressed":        {[]string{"sub/*.gz"}, text("z")},
		"either":            {[]string{"{e.log,a.txt}"}, text("a", "e")},
		"one sign":          {[]string{"?.txt"}, text("a", "b", "x")},
		"itself":            {[]string{"[x].txt"}, text("bracket")},
		"a pattern of none": {[]string{"a.txt", "*.csv"}, []string{"error: *.csv: no file has such a name"}},
		"none":              {[]string{"no.txt"}, []string{"error: no.txt: no such file or directory"}},
		"a folder":          {[]string{"sub"}, []string{"error: sub is a folder; name the files in it, like sub/*.jsonl"}},
		"unknown":           {[]string{"a.txt", "k.*"}, []string{`{"text":"a"}`, "error: k.unknown: the name does not tell the format; set `format:` to jsonl, csv, tsv, lines or whole"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var config sources.FileConfig
			for _, p := range c.paths {
				config.Path = append(config.Path, dir+"/"+p)
			}
			if name == "a folder" {
				config.Format = "lines"
			}
			f := newFile(t, config, pipeline.Env{})
			got := rows(t.Context(), f, dir)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			failed := strings.HasPrefix(got[len(got)-1], "error")
			if err := f.Probe(t.Context()); (err != nil) != failed {
				t.Errorf("Probe says %v", err)
			}
		})
	}
}

func TestACycleOfFoldersIsNotEndless(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"sub/a.txt": "a"})
	if err := os.Symlink("..", dir+"/sub/up"); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"/**/*.txt", "/**/*", "/*/*"} {
		got := rows(t.Context(), newFile(t, sources.FileConfig{Path: []string{dir + pattern}}, pipeline.Env{}), dir)
		if diff := cmp.Diff([]string{`{"text":"a"}`}, got); diff != "" {
			t.Errorf("%s: %s", pattern, diff)
		}
	}
}

func TestColumnsOfAllFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"another order": {
			map[string]string{"a.csv": "x,y\n1,2\n", "b.tsv": "y\tx\n3\t4\n"},
			[]string{`{"x":"1","y":"2"}`, `{"y":"3","x":"4"}`},
		},
		"one more": {
			map[string]string{"a.csv": "x,y\n1,2\n", "b.csv": "y,x,z\n3,4,5\n"},
			[]string{`{"x":"1","y":"2"}`, `error: b.csv: its columns are not those of a.csv: it has "z" besides`},
		},
		"others": {
			map[string]string{"a.csv": "x,y\n1,2\n", "b.csv": "X,z\n3,4\n"},
			[]string{`{"x":"1","y":"2"}`, `error: b.csv: its columns are not those of a.csv: it lacks "x", "y" and it has "X", "z" besides`},
		},
		"an empty one": {
			map[string]string{"a.csv": "x,y\n1,2\n", "b.csv": ""},
			[]string{`{"x":"1","y":"2"}`, `error: b.csv: it is empty; the first line must name the columns`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, c.files)
			f := newFile(t, sources.FileConfig{Path: []string{dir + "/*.?sv"}}, pipeline.Env{})
			got := rows(t.Context(), f, dir)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			err := f.Probe(t.Context())
			if last := got[len(got)-1]; strings.HasPrefix(last, "error") != (err != nil) || err != nil && "error: "+strings.ReplaceAll(err.Error(), dir+"/", "") != last {
				t.Errorf("Probe says %v", err)
			}
		})
	}
}

func TestFileShape(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"a.csv": "x,score,ok,tags\n1,2,true,[]\n", "b.csv.gz": "x\n1\n", "a.jsonl": "{}\n", "a.txt": "a", "bad.csv": "x,x\n",
	})
	typed := map[string]string{"score": "number", "ok": "bool", "tags": "json"}
	for name, c := range map[string]struct {
		config sources.FileConfig
		want   pipeline.Shape
	}{
		"csv": {
			sources.FileConfig{Path: []string{"a.csv"}, Types: typed},
			pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{
				{Name: "x", Type: pipeline.StringType}, {Name: "score", Type: pipeline.NumberType}, {Name: "ok", Type: pipeline.BoolType}, {Name: "tags"},
			}},
		},
		"csv, compressed": {sources.FileConfig{Path: []string{"b.csv.gz"}}, pipeline.Shape{Closed: true}.With("x", pipeline.StringType)},
		"lines":           {sources.FileConfig{Path: []string{"a.txt"}}, pipeline.Shape{Closed: true}.With("text", pipeline.StringType)},
		"whole":           {sources.FileConfig{Path: []string{"not-there"}, Format: "whole", Field: "b"}, pipeline.Shape{Closed: true}.With("b", pipeline.StringType).With("path", pipeline.StringType)},
		"jsonl":           {sources.FileConfig{Path: []string{"a.jsonl"}}, pipeline.Shape{}},
		"not there":       {sources.FileConfig{Path: []string{"z.csv"}}, pipeline.Shape{}},
		"a bad header":    {sources.FileConfig{Path: []string{"bad.csv"}}, pipeline.Shape{}},
		"several formats": {sources.FileConfig{Path: []string{"a.csv", "a.jsonl"}}, pipeline.Shape{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.Path = slices.Clone(c.config.Path)
			for i := range c.config.Path {
				c.config.Path[i] = filepath.Join(dir, c.config.Path[i])
			}
			got := newFile(t, c.config, pipeline.Env{}).Shape(pipeline.Shape{})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	stdin := newFile(t, sources.FileConfig{Path: []string{"-"}, Format: "csv"}, pipeline.Env{Stdin: strings.NewReader("x\n1\n")})
	if got := stdin.Shape(pipeline.Shape{}); got.Closed {
		t.Errorf("standard input was read for its header: %v", got)
	}
	if err := stdin.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if got := rows(t.Context(), stdin, ""); len(got) != 1 {
		t.Errorf("standard input was read before its time: %v", got)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"good.jsonl": "not JSON\n", "plain.csv.gz": "", "empty.txt": "", "types.csv": "a\n1\n", "dup.csv": "a,a\n",
	})
	if err := os.WriteFile(dir+"/plain.csv.gz", []byte("a,b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config sources.FileConfig
		want   string
	}{
		"rows are not read": {sources.FileConfig{Path: []string{"good.jsonl"}}, ""},
		"empty":             {sources.FileConfig{Path: []string{"empty.txt"}}, ""},
		"not compressed":    {sources.FileConfig{Path: []string{"plain.csv.gz"}}, "plain.csv.gz: the name says gzip, but the data does not begin like it"},
		"no such column":    {sources.FileConfig{Path: []string{"types.csv"}, Types: map[string]string{"b": "number"}}, `a column "b" that the header lacks`},
		"types of jsonl":    {sources.FileConfig{Path: []string{"good.jsonl"}, Types: map[string]string{"b": "number"}}, "`types:` are for columns of csv and tsv"},
		"columns":           {sources.FileConfig{Path: []string{"dup.csv"}}, `both named "a"`},
		"several":           {sources.FileConfig{Path: []string{"dup.csv", "plain.csv.gz"}}, "the name says gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.Path = slices.Clone(c.config.Path)
			for i := range c.config.Path {
				c.config.Path[i] = filepath.Join(dir, c.config.Path[i])
			}
			err := newFile(t, c.config, pipeline.Env{}).Probe(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestFileValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config sources.FileConfig
		want   []string // the keys
	}{
		"good":            {sources.FileConfig{Path: []string{"a.csv", "data/*", "data/*.gz"}, Types: map[string]string{"a": "number"}, Delimiter: ";"}, nil},
		"no path":         {sources.FileConfig{}, []string{"path"}},
		"an empty path":   {sources.FileConfig{Path: []string{""}}, []string{"path"}},
		"several":         {sources.FileConfig{Path: []string{"a.csv", "", "b.dat", "[a"}, Delimiter: "ab", Types: map[string]string{"x": "date"}, MaxRecord: -1}, []string{"path[1]", "path[2]", "path[3]", "delimiter", "types.x", "max_record"}},
		"types of lines":  {sources.FileConfig{Path: []string{"a"}, Format: "lines", Types: map[string]string{"x": "bool"}, Delimiter: ","}, []string{"types", "delimiter"}},
		"format is given": {sources.FileConfig{Path: []string{"a.dat", "b"}, Format: "csv"}, nil},
		"no stdin":        {sources.FileConfig{Path: []string{"-"}}, []string{"path"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sources.NewFile(c.config, pipeline.Env{})
			var problems pipeline.Problems
			if err != nil && !errors.As(err, &problems) {
				t.Fatalf("the error is no Problems: %v", err)
			}
			var keys []string
			for _, p := range problems {
				keys = append(keys, p.Key)
			}
			if !slices.Equal(keys, c.want) {
				t.Errorf("got %q, want %q: %v", keys, c.want, err)
			}
		})
	}
}

func TestStdin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config sources.FileConfig
		stdin  string
		want   []string
	}{
		"jsonl":      {sources.FileConfig{Path: []string{"-"}}, "{\"a\":1}\n", []string{`{"a":1}`}},
		"csv, gzip":  {sources.FileConfig{Path: []string{"/dev/stdin"}, Format: "csv"}, string(gzipped(t, "a\n1\n")), []string{`{"a":"1"}`}},
		"cut short":  {sources.FileConfig{Path: []string{"-"}}, string(gzipped(t, "{\"a\":1}\n")[:12]), []string{"error: stdin: the gzip data is cut short: unexpected EOF"}},
		"read twice": {sources.FileConfig{Path: []string{"-", "-"}, Format: "lines"}, "a\n", []string{`{"text":"a"}`}},
	} {
		f := newFile(t, c.config, pipeline.Env{Stdin: strings.NewReader(c.stdin)})
		if diff := cmp.Diff(c.want, rows(t.Context(), f, "")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if _, total := f.Progress(); total != 0 {
			t.Errorf("%s: the size of standard input is said to be %d", name, total)
		}
	}
}

// silentPipe gives one row and then nothing: the next read stops the run, and waits
// until it is woken.
type silentPipe struct {
	row   io.Reader
	stop  func()
	awake chan struct{}
}

func (p *silentPipe) Read(b []byte) (int, error) {
	if n, err := p.row.Read(b); err == nil {
		return n, nil
	}
	p.stop()
	<-p.awake
	return 0, os.ErrDeadlineExceeded
}

func (p *silentPipe) SetReadDeadline(time.Time) error {
	close(p.awake)
	return nil
}

// TestAWaitingReadIsEnded stops a source that waits for a pipe on which nothing comes.
func TestAWaitingReadIsEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pipe := &silentPipe{strings.NewReader("{\"a\":1}\n"), cancel, make(chan struct{})}
	f := newFile(t, sources.FileConfig{Path: []string{"-"}}, pipeline.Env{Stdin: pipe})
	if diff := cmp.Diff([]string{`{"a":1}`}, rows(ctx, f, "")); diff != "" {
		t.Error(diff)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.jsonl": "{\"a\":1}\n", "b.jsonl.gz": strings.Repeat("{\"a\":1}\n", 1000)})
	var want int64
	for _, name := range []string{"a.jsonl", "b.jsonl.gz"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want += info.Size()
	}
	f := newFile(t, sources.FileConfig{Path: []string{dir + "/*"}}, pipeline.Env{})
	for range 2 { // it can be read again
		first := true
		for range f.Records(t.Context()) {
			if done, total := f.Progress(); first && (done == want || total != want) {
				t.Errorf("at the beginning %d of %d", done, total)
			}
			first = false
		}
		if done, total := f.Progress(); done != want || total != want {
			t.Errorf("at the end %d of %d, want %d", done, total, want)
		}
	}
}

// TestProgressOfRows: a file that is read as a whole, of which few rows were taken, is not
// nearly done.
func TestProgressOfRows(t *testing.T) {
	t.Parallel()
	row := `{"a":"0123456789"}`
	for name, text := range map[string]string{
		"a.jsonl":    strings.Repeat(row+"\n", 1000),
		"a.json":     "[" + strings.Repeat(row+",\n", 999) + row + "]",
		"a.csv":      "a\n" + strings.Repeat("0123456789\n", 1000),
		"a.txt":      strings.Repeat("0123456789\n", 1000),
		"a.jsonl.gz": strings.Repeat(row+"\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{name: text})
			f := newFile(t, sources.FileConfig{Path: []string{filepath.Join(dir, name)}, Format: map[bool]string{true: "lines", false: "auto"}[name == "a.txt"]}, pipeline.Env{})
			n := 0
			for range f.Records(t.Context()) {
				if n++; n == 100 {
					break
				}
			}
			done, total := f.Progress()
			if share := float64(done) / float64(total); share < 0.08 || share > 0.12 {
				t.Errorf("%d of %d bytes behind 100 of 1,000 rows", done, total)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.csv": "a,b\n1,\"x\ny\"\n\n2,z\n3\n"})
	path := dir + "/a.csv"
	want := []pipeline.Origin{{Path: path, Line: 2, Offset: 4}, {Path: path, Line: 5, Offset: 13}, {Path: path, Line: 6, Offset: 17}}
	var got []pipeline.Origin
	for r := range newFile(t, sources.FileConfig{Path: []string{path}}, pipeline.Env{}).Records(t.Context()) {
		got = append(got, r.Origin)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
