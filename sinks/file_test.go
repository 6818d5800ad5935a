package sinks_test

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

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFile(t testing.TB, c sinks.FileConfig, env pipeline.Env) *sinks.File {
	t.Helper()
	f, err := sinks.NewFile(c, env)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func started(t testing.TB, c sinks.FileConfig, env pipeline.Env) *sinks.File {
	t.Helper()
	f := newFile(t, c, env)
	if err := f.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return f
}

func batch(t testing.TB, rows ...string) []*pipeline.Record {
	t.Helper()
	out := make([]*pipeline.Record, len(rows))
	for i, row := range rows {
		out[i] = pipelinetest.Record(t, row)
	}
	return out
}

// content returns what a file says, decompressed. One that is being written may
// lack its end.
func content(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := codec.Decompress(bytes.NewReader(data), path, codec.AutoCompression)
	out, err := io.ReadAll(d)
	if err := errors.Join(err, d.Close()); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return string(out)
}

func TestRowsAreThereAfterCommit(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"} {
		path := filepath.Join(t.TempDir(), name)
		f := started(t, sinks.FileConfig{Path: path}, pipeline.Env{})
		want := ""
		for _, row := range []string{`{"a":1}`, `{"a":2}`, `{"a":3}`} {
			if err := f.Write(t.Context(), batch(t, row)); err != nil {
				t.Fatal(err)
			}
			position, err := f.Commit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if want += row + "\n"; content(t, path) != want {
				t.Errorf("%s: after a commit there is %q, want %q", name, content(t, path), want)
			}
			info, err := os.Stat(path)
			if err != nil || !strings.HasPrefix(string(position), fmt.Sprintf(`{"size":%d,`, info.Size())) {
				t.Errorf("%s: position %s of %d bytes, %v", name, position, info.Size(), err)
			}
		}
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithoutRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config sinks.FileConfig
		shape  pipeline.Shape
		want   string
	}{
		"a.jsonl": {sinks.FileConfig{}, pipeline.Shape{}, ""},
		"a.csv":   {sinks.FileConfig{Columns: []string{"x", "y"}}, pipeline.Shape{}, "x,y\n"},
		"b.csv":   {sinks.FileConfig{}, pipeline.Shape{Closed: true}.With("z", pipeline.AnyType), "z\n"},
		"c.csv":   {sinks.FileConfig{}, pipeline.Shape{}, ""},
		"a.gz":    {sinks.FileConfig{Format: "csv", Columns: []string{"x"}}, pipeline.Shape{}, "x\n"},
		"a.zst":   {sinks.FileConfig{Format: "jsonl"}, pipeline.Shape{}, ""},
	} {
		c.config.Path = filepath.Join(t.TempDir(), name)
		f := started(t, c.config, pipeline.Env{Shape: c.shape})
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := content(t, c.config.Path); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if err := f.Close(t.Context()); err != nil {
			t.Errorf("%s: a second Close: %v", name, err)
		}
	}
}

func TestStartKeepsRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.jsonl")
	if err := os.WriteFile(path, []byte("{\"old\":1}\n{\"old\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.jsonl", dir+"/link.jsonl"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.jsonl", "link.jsonl"} {
		f := newFile(t, sinks.FileConfig{Path: filepath.Join(dir, name)}, pipeline.Env{})
		err := f.Start(t.Context(), false)
		class, _ := pipeline.Classify(err)
		if err == nil || class != pipeline.ClassFatal || !strings.HasSuffix(err.Error(), name+" already has rows; --fresh overwrites it") {
			t.Errorf("%s: got %v", name, err)
		}
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := content(t, path); got != "{\"old\":1}\n{\"old\":2}\n" {
			t.Fatalf("%s: the rows are now %q", name, got)
		}
	}
	f := newFile(t, sinks.FileConfig{Path: path}, pipeline.Env{})
	if err := f.Start(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	writeAll(t, f, `{"new":1}`)
	if got := content(t, path); got != "{\"new\":1}\n" {
		t.Errorf("a fresh file says %q", got)
	}
}

func TestPrepareRemovesOnlyWhenFresh(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		old         string
		fresh       bool
		there, fail bool
	}{
		{"{}\n", false, true, true},
		{"{}\n", true, false, false},
		{"", false, true, false}, // made by somebody, with rights of its own
		{"", true, false, false},
	} {
		path := filepath.Join(t.TempDir(), "a.jsonl")
		if err := os.WriteFile(path, []byte(c.old), 0o600); err != nil {
			t.Fatal(err)
		}
		err := newFile(t, sinks.FileConfig{Path: path}, pipeline.Env{}).Prepare(t.Context(), c.fresh)
		_, gone := os.Stat(path)
		if (err != nil) != c.fail || (gone == nil) != c.there {
			t.Errorf("%+v: got %v, then %v", c, err, gone)
		}
	}
	for _, path := range []string{"-", "/dev/null", filepath.Join(t.TempDir(), "new.jsonl")} {
		f := newFile(t, sinks.FileConfig{Path: path, Format: "jsonl"}, pipeline.Env{Stdout: io.Discard})
		if err := f.Prepare(t.Context(), true); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func writeAll(t testing.TB, s pipeline.Sink, rows ...string) {
	t.Helper()
	if err := s.Write(t.Context(), batch(t, rows...)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestProbeLeavesEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/old.jsonl", []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/folder.jsonl", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"new.jsonl":          "",
		"deep/er/new.jsonl":  "",
		"old.jsonl":          "",
		"folder.jsonl":       "folder.jsonl: it is a folder; name a file",
		"old.jsonl/x.jsonl":  "old.jsonl",
		"old.jsonl/y/x.json": "old.jsonl",
	} {
		f := newFile(t, sinks.FileConfig{Path: filepath.Join(dir, name)}, pipeline.Env{})
		err := f.Probe(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"folder.jsonl", "old.jsonl"}, names); diff != "" || content(t, dir+"/old.jsonl") != "{}\n" {
		t.Errorf("Probe left something: %s", diff)
	}
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	f := newFile(t, sinks.FileConfig{Path: "/dev/full", Format: "jsonl"}, pipeline.Env{})
	if err := errors.Join(f.Probe(t.Context()), f.Start(t.Context(), false)); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(t.Context(), batch(t, `{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	_, err := f.Commit(t.Context())
	class, code := pipeline.Classify(err)
	if class != pipeline.ClassFatal || code != "disk_full" || err.Error() != "write /dev/full: no space left on device" {
		t.Errorf("got %s, %s, %v", class, code, err)
	}
	if _, err := f.Commit(t.Context()); err == nil {
		t.Error("a commit after a failed one succeeded")
	}
	if err := f.Close(t.Context()); err != nil {
		t.Errorf("Close repeats the error: %v", err)
	}
}

func TestDevicesAndPipes(t *testing.T) {
	t.Parallel()
	t.Run("a device", func(t *testing.T) {
		t.Parallel()
		f := newFile(t, sinks.FileConfig{Path: os.DevNull, Format: "jsonl"}, pipeline.Env{})
		if err := errors.Join(f.Probe(t.Context()), f.Start(t.Context(), false)); err != nil {
			t.Fatal(err)
		}
		writeAll(t, f, `{"a":1}`)
	})
	for _, path := range []string{"-", "/dev/stdout"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			f := newFile(t, sinks.FileConfig{Path: path}, pipeline.Env{Stdout: &out})
			if err := errors.Join(f.Probe(t.Context()), f.Start(t.Context(), false)); err != nil {
				t.Fatal(err)
			}
			writeAll(t, f, `{"a":1}`)
			if out.String() != "{\"a\":1}\n" {
				t.Errorf("got %q", out.String())
			}
		})
	}
	t.Run("standard output compressed", func(t *testing.T) {
		t.Parallel()
		var out bytes.Buffer
		writeAll(t, started(t, sinks.FileConfig{Path: "-", Compression: "gzip"}, pipeline.Env{Stdout: &out}), `{"a":1}`)
		if got, err := io.ReadAll(codec.Decompress(&out, "", codec.AutoCompression)); err != nil || string(got) != "{\"a\":1}\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("a reader that went away", func(t *testing.T) {
		t.Parallel()
		r, w := io.Pipe()
		_ = r.Close()
		f := started(t, sinks.FileConfig{Path: "-"}, pipeline.Env{Stdout: w})
		if err := f.Write(t.Context(), batch(t, `{"a":1}`)); err != nil {
			t.Fatal(err)
		}
		_, err := f.Commit(t.Context())
		if class, _ := pipeline.Classify(err); class != pipeline.ClassFatal || !strings.HasPrefix(err.Error(), "write standard output: ") {
			t.Errorf("got %s, %v", class, err)
		}
	})
}

func TestRefusedRecords(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	f := started(t, sinks.FileConfig{Path: path, Columns: []string{"a"}}, pipeline.Env{})
	err := f.Write(t.Context(), batch(t, `{"a":1}`, `{"b":1}`, `{"a":2}`, `{"a":3,"c":4}`))
	var refused *pipeline.BatchError
	if !errors.As(err, &refused) || len(refused.Refused) != 2 || refused.Refused[1] == nil || refused.Refused[3] == nil {
		t.Fatalf("got %v", err)
	}
	if _, err := f.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "a\n1\n2\n" {
		t.Errorf("got %q", got)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFileConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config sinks.FileConfig
		want   []string // the keys
	}{
		"good":            {sinks.FileConfig{Path: "a.csv.gz", Columns: []string{"a"}, Delimiter: ";"}, nil},
		"lines":           {sinks.FileConfig{Path: "a", Format: "lines", Field: "a"}, nil},
		"no path":         {sinks.FileConfig{}, []string{"path"}},
		"no stdout":       {sinks.FileConfig{Path: "-"}, []string{"path"}},
		"unknown":         {sinks.FileConfig{Path: "a.dat"}, []string{"path"}},
		"columns":         {sinks.FileConfig{Path: "a.csv", Columns: []string{"a", "", "a"}}, []string{"columns[1]", "columns[2]"}},
		"of another kind": {sinks.FileConfig{Path: "a.jsonl", Columns: []string{"a"}, Delimiter: ";", Field: "a"}, []string{"columns", "delimiter", "field"}},
		"delimiter":       {sinks.FileConfig{Path: "a.csv", Delimiter: "\""}, []string{"delimiter"}},
		"compression":     {sinks.FileConfig{Path: "a.csv", Compression: "lzma"}, []string{"compression"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sinks.NewFile(c.config, pipeline.Env{})
			var problems pipeline.Problems
			if err != nil && !errors.As(err, &problems) {
				t.Fatalf("the error is no Problems: %v", err)
			}
			var keys []string
			for _, p := range problems {
				keys = append(keys, p.Key)
			}
			if slices.Sort(keys); !slices.Equal(keys, c.want) {
				t.Errorf("got %q, want %q: %v", keys, c.want, err)
			}
		})
	}
}

func TestNothingIsWrittenBeforeStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.jsonl")
	f := newFile(t, sinks.FileConfig{Path: path}, pipeline.Env{})
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := f.Commit(t.Context()); err == nil {
		t.Error("a sink that was not started commits")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there")
	}
}

func TestTextTemplates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.txt")
	s, err := sinks.NewText(sinks.TextConfig{Path: path, Template: "{{.a}}:{{.b}}\n"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Probe(t.Context()), s.Start(t.Context(), false)); err != nil {
		t.Fatal(err)
	}
	var refused *pipeline.BatchError
	if err := s.Write(t.Context(), batch(t, `{"a":1}`, `{"a":1,"b":2}`)); !errors.As(err, &refused) || refused.Refused[0] == nil || len(refused.Refused) != 1 {
		t.Errorf("a record without the field: %v", err)
	}
	if _, err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "1:2\n" {
		t.Errorf("got %q", got)
	}
	_, err = sinks.NewText(sinks.TextConfig{Path: path, Template: "{{.no}}"}, pipeline.Env{Shape: pipeline.Shape{Closed: true}.With("a", pipeline.AnyType)})
	var problems pipeline.Problems
	if !errors.As(err, &problems) || problems[0].Key != "template" {
		t.Errorf("a field that cannot be: %v", err)
	}
}

func BenchmarkFile(b *testing.B) {
	rows := make([]*pipeline.Record, 1000)
	for i := range rows {
		rows[i] = pipelinetest.Record(b, `{"id":123456,"channel":"email","subject":"Refund, order 8812","body":"Hello, I ordered a lamp on Monday and it came broken.","score":0.87}`)
	}
	for _, name := range []string{"a.jsonl", "a.csv", "a.jsonl.gz", "a.jsonl.zst"} {
		b.Run(name, func(b *testing.B) {
			f := started(b, sinks.FileConfig{Path: filepath.Join(b.TempDir(), name)}, pipeline.Env{})
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Write(b.Context(), rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
			if err := f.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
