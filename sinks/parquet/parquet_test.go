package parquet_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks/parquet"
)

func sink(t testing.TB, c parquet.Config, env pipeline.Env) *parquet.Sink {
	t.Helper()
	s, err := parquet.New(c, env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func records(t testing.TB, rows ...string) []*pipeline.Record {
	t.Helper()
	var out []*pipeline.Record
	for _, row := range rows {
		r, err := pipeline.ParseRecord([]byte(row))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// rowsOf returns the rows of a Parquet file; nil if there is none.
func rowsOf(t testing.TB, path string) (rows []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquetfile.Open(bytes.NewReader(data), int64(len(data)), parquetfile.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := f.ReadFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, string(record.AppendJSON(nil)))
	}
}

// rowsFile is where the rows are until the file is made.
func rowsFile(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".rows")
}

// there returns what was delivered: of a run that goes on the file of rows, else the file.
func there(t testing.TB, path string) (rows []string) {
	t.Helper()
	data, err := os.ReadFile(rowsFile(path))
	if errors.Is(err, os.ErrNotExist) {
		return rowsOf(t, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for lines := bufio.NewScanner(z); lines.Scan(); {
		rows = append(rows, lines.Text())
	}
	return rows
}

func TestParquetConformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"a":1,"b":"x, \"y\"","c":[{"d":1.5}]}`, `{"a":null,"b":" z","c":[]}`, `{"a":-3,"b":"","c":null}`, `{"a":4,"b":null,"c":[null]}`}
	for name, c := range map[string]struct {
		config  parquet.Config
		refused []string
	}{
		"given": {
			parquet.Config{Schema: pipeline.RawJSON(`{"a":"int64","b":"string","c":[{"d":"double"}]}`)},
			[]string{`{"a":1.5}`, `{"a":1,"x":2}`, `{"b":1}`, `{"c":[{"e":1}]}`},
		},
		"inferred":              {parquet.Config{InferRows: 1000}, nil},
		"inferred of one row":   {parquet.Config{InferRows: 1}, []string{`{"x":1}`, `{"a":"text"}`, `{"c":{}}`}},
		"small row groups":      {parquet.Config{RowGroup: parquet.RowGroup{Rows: 1}, Compression: "snappy"}, nil},
		"row groups of a bytes": {parquet.Config{RowGroup: parquet.RowGroup{Bytes: 1}, Compression: "none"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var path string
			build := func(t *testing.T) pipeline.Sink {
				config := c.config
				config.Path = path
				return sink(t, config, pipeline.Env{})
			}
			pipelinetest.Sink(t, pipelinetest.SinkCase{
				New: func(t *testing.T) pipeline.Sink {
					path = filepath.Join(t.TempDir(), "new", "rows.parquet")
					return build(t)
				},
				Again: build, Rows: rows, Refused: c.refused,
				Read: func(t *testing.T) []string { return there(t, path) },
			})
		})
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	shape := pipeline.Shape{}.With("id", pipeline.NumberType)
	for name, c := range map[string]struct {
		config parquet.Config
		want   string
	}{
		"no path":         {parquet.Config{}, "path: is required"},
		"standard output": {parquet.Config{Path: "-"}, "path: a Parquet file cannot be written to a pipe"},
		"infer_rows":      {parquet.Config{Path: "a", InferRows: -1}, "infer_rows: "},
		"compression":     {parquet.Config{Path: "a", Compression: "zip"}, `compression: "zip" is none of zstd, snappy`},
		"row group":       {parquet.Config{Path: "a", RowGroup: parquet.RowGroup{Rows: -1}}, "row_group: "},
		"no type":         {parquet.Config{Path: "a", Schema: pipeline.RawJSON(`{"id":"int"}`)}, `schema.id: "int" is no type`},
		"no columns":      {parquet.Config{Path: "a", Schema: pipeline.RawJSON(`"int64"`)}, "schema: the columns are a mapping"},
		"lacks a field":   {parquet.Config{Path: "a", Schema: pipeline.RawJSON(`{"x":"int64"}`)}, `schema: lacks "id", a field of the records`},
	} {
		_, err := parquet.New(c.config, pipeline.Env{Shape: shape})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// written writes rows, each in a commit of its own, and returns the positions.
func written(t testing.TB, s *parquet.Sink, rows ...string) (at []pipeline.Position) {
	t.Helper()
	for _, r := range records(t, rows...) {
		if err := s.Write(t.Context(), []*pipeline.Record{r}); err != nil {
			t.Fatal(err)
		}
		p, err := s.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, p)
	}
	return at
}

func started(t testing.TB, c parquet.Config) *parquet.Sink {
	t.Helper()
	s := sink(t, c, pipeline.Env{})
	if err := s.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s *parquet.Sink) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func rewound(t testing.TB, c parquet.Config, to pipeline.Position) *parquet.Sink {
	t.Helper()
	s := sink(t, c, pipeline.Env{})
	if err := errors.Join(s.Check(t.Context(), to), s.Rewind(t.Context(), to)); err != nil {
		t.Fatal(err)
	}
	return s
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestKilledWhileTheFileIsMade has a run end at every step of Close, and go on from its
// last checkpoint, which may be older.
func TestKilledWhileTheFileIsMade(t *testing.T) {
	t.Parallel()
	rows := []string{`{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`}
	for name, kill := range map[string]func(t *testing.T, path string, spool []byte){
		"before": func(t *testing.T, path string, spool []byte) {
			move(t, path, "")
			put(t, rowsFile(path), spool)
		},
		"while it is built": func(t *testing.T, path string, spool []byte) {
			if err := os.Truncate(path, 50); err != nil {
				t.Fatal(err)
			}
			move(t, path, filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part"))
			put(t, rowsFile(path), spool)
		},
		"before the rows are removed": func(t *testing.T, path string, spool []byte) { put(t, rowsFile(path), spool) },
		"behind it":                   func(*testing.T, string, []byte) {},
	} {
		for committed := range 5 {
			c := parquet.Config{Path: filepath.Join(t.TempDir(), "rows.parquet")}
			s := started(t, c)
			at := append([]pipeline.Position{""}, written(t, s, rows...)...)
			spool, err := os.ReadFile(rowsFile(c.Path))
			if err != nil {
				t.Fatal(err)
			}
			closed(t, s)
			kill(t, c.Path, spool)
			s = rewound(t, c, at[committed])
			written(t, s, rows[committed:]...)
			closed(t, s)
			equal(t, fmt.Sprintf("killed %s, %d committed", name, committed), rowsOf(t, c.Path), rows)
			if left, err := os.ReadDir(filepath.Dir(c.Path)); err != nil || len(left) != 1 {
				t.Errorf("killed %s: left are %v, %v", name, left, err)
			}
		}
	}
}

func move(t testing.TB, from, to string) {
	t.Helper()
	err := os.Remove(from)
	if to != "" {
		err = os.WriteFile(to, []byte("PAR1 half of it"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestColumnsStayWhenARunGoesOn: what was found out is not found out anew, from rows that
// look otherwise when they are read again.
func TestColumnsStayWhenARunGoesOn(t *testing.T) {
	t.Parallel()
	c := parquet.Config{Path: filepath.Join(t.TempDir(), "rows.parquet"), InferRows: 2}
	s := started(t, c)
	at := written(t, s, `{"a":1.0,"b":"x"}`, `{"a":2.0}`)
	closed(t, s)
	for _, more := range []string{`{"a":0.5,"b":"y"}`, `{"a":7,"b":null}`} {
		s = rewound(t, c, at[len(at)-1])
		if err := s.Write(t.Context(), records(t, `{"a":"text"}`)); err == nil {
			t.Error("a text is taken for a number")
		}
		at = append(at, written(t, s, more)...)
		closed(t, s)
	}
	equal(t, "rows", rowsOf(t, c.Path), []string{`{"a":1,"b":"x"}`, `{"a":2,"b":null}`, `{"a":0.5,"b":"y"}`, `{"a":7,"b":null}`})
}

// TestRefusesWhatOthersWrote: neither another run's file nor one that was changed.
func TestRefusesWhatOthersWrote(t *testing.T) {
	t.Parallel()
	c := parquet.Config{Path: filepath.Join(t.TempDir(), "rows.parquet")}
	s := started(t, c)
	at := written(t, s, `{"n":1}`)[0]
	if err := sink(t, c, pipeline.Env{}).Start(t.Context(), false); code(err) != "output_exists" {
		t.Errorf("begun over the rows of a run that was killed: %v", err)
	}
	closed(t, s)
	if err := sink(t, c, pipeline.Env{}).Start(t.Context(), false); code(err) != "output_exists" {
		t.Errorf("begun over a file: %v", err)
	}
	other := c
	other.Path = filepath.Join(t.TempDir(), "rows.parquet")
	s = started(t, other)
	written(t, s, `{"n":2}`)
	closed(t, s)
	data, err := os.ReadFile(other.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"another run's": func() { put(t, c.Path, data) },
		"cut off":       func() { put(t, c.Path, data[:len(data)-1]) },
		"gone":          func() { move(t, c.Path, "") },
	} {
		put(t, c.Path, nil)
		change()
		if err := sink(t, c, pipeline.Env{}).Check(t.Context(), at); code(err) != "output_changed" {
			t.Errorf("%s: Check says %v", name, err)
		}
		if err := sink(t, c, pipeline.Env{}).Rewind(t.Context(), at); code(err) != "output_changed" {
			t.Errorf("%s: Rewind says %v", name, err)
		}
	}
	if err := sink(t, c, pipeline.Env{}).Check(t.Context(), "nonsense"); err == nil {
		t.Error("nonsense is a position")
	}
}

func code(err error) string {
	_, code := pipeline.Classify(err)
	return code
}

func TestNoRows(t *testing.T) {
	t.Parallel()
	known := pipeline.Env{Shape: pipeline.Shape{}.With("id", pipeline.NumberType)}
	for name, c := range map[string]struct {
		schema string
		env    pipeline.Env
		file   bool
	}{
		"given":   {`{"id":"int64"}`, pipeline.Env{}, true},
		"known":   {"", known, true},
		"unknown": {"", pipeline.Env{}, false},
	} {
		config := parquet.Config{Path: filepath.Join(t.TempDir(), "rows.parquet"), Schema: pipeline.RawJSON(c.schema)}
		s := sink(t, config, c.env)
		if err := s.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		if _, err := os.Stat(config.Path); (err == nil) != c.file {
			t.Errorf("%s: the file: %v, want one: %v", name, err, c.file)
		}
	}
}
