package parquet_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources/parquet"
)

// testdata are files that other programs wrote.
const testdata = "../../internal/parquetfile/testdata/"

func source(t *testing.T, c parquet.Config) *parquet.Source {
	t.Helper()
	s, err := parquet.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// copied puts a file of others into a folder, under names.
func copied(t *testing.T, from string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(testdata + from)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestParquetConformance(t *testing.T) {
	t.Parallel()
	dir := copied(t, "hyparquet.parquet", "a.parquet", "b.parquet")
	rows := []string{
		`{"n":9007199254740993,"doc":{"a":[1,{"b":null}]},"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}`,
		`{"n":-1,"doc":"x","id":null}`,
	}
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return source(t, parquet.Config{Path: []string{dir + "/*.parquet"}, Columns: []string{"n", "doc", "id"}})
		},
		Want: append(rows, rows...),
	})
}

// TestConformanceOfUnreadable has rows that JSON cannot hold.
func TestParquetConformanceOfUnreadable(t *testing.T) {
	t.Parallel()
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return source(t, parquet.Config{Path: []string{testdata + "duckdb.parquet"}, Columns: []string{"u64", "bin"}, Binary: "text"})
		},
		Want: []string{`{"u64":0,"bin":""}`, `{"u64":null,"bin":null}`}, Unreadable: 1,
	})
}

func TestRowGroups(t *testing.T) {
	t.Parallel()
	s := source(t, parquet.Config{Path: []string{testdata + "duckdb-groups.parquet"}, Columns: []string{"n"}})
	n := 0
	for r, err := range s.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"n":%d}`, n); string(r.AppendJSON(nil)) != want {
			t.Fatalf("row %d: %s", n, r.AppendJSON(nil))
		}
		n++
	}
	if n != 3000 {
		t.Errorf("%d rows, want 3000", n)
	}
}

func TestShape(t *testing.T) {
	t.Parallel()
	s := source(t, parquet.Config{Path: []string{testdata + "duckdb.parquet"}, Columns: []string{"i64", "b", "s", "d", "list"}})
	got := fmt.Sprint(s.Shape(pipeline.Shape{}))
	want := fmt.Sprint(pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{
		{Name: "i64", Type: pipeline.NumberType}, {Name: "b", Type: pipeline.BoolType}, {Name: "s"}, {Name: "d"}, {Name: "list"},
	}})
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config parquet.Config
		want   string
	}{
		"no path":          {parquet.Config{}, "path: name a file to read"},
		"empty path":       {parquet.Config{Path: []string{""}}, "path: the path is empty"},
		"standard input":   {parquet.Config{Path: []string{"-"}}, "path: a Parquet file is read from its end"},
		"open bracket":     {parquet.Config{Path: []string{"a", "[b"}}, "path[1]: \"[b\" is no pattern"},
		"nameless column":  {parquet.Config{Path: []string{"a"}, Columns: []string{""}}, "columns[0]: a column must have a name"},
		"column twice":     {parquet.Config{Path: []string{"a"}, Columns: []string{"x", "x"}}, `columns[1]: "x" is named twice`},
		"binary":           {parquet.Config{Path: []string{"a"}, Binary: "hex"}, `binary: "hex" is neither base64 nor text`},
		"negative maximum": {parquet.Config{Path: []string{"a"}, MaxRecord: -1}, "max_record: a row cannot be shorter"},
	} {
		_, err := parquet.New(c.config, pipeline.Env{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestProbe: what is wrong with the files shows before the first row.
func TestProbe(t *testing.T) {
	t.Parallel()
	dir := copied(t, "hyparquet.parquet", "a.parquet", "cut.parquet")
	if err := os.Truncate(filepath.Join(dir, "cut.parquet"), 500); err != nil {
		t.Fatal(err)
	}
	a := filepath.Join(dir, "a.parquet")
	for name, c := range map[string]struct {
		config parquet.Config
		want   string
	}{
		"fine":          {parquet.Config{Path: []string{a}}, ""},
		"no file":       {parquet.Config{Path: []string{dir + "/none.parquet"}}, "none.parquet: "},
		"no match":      {parquet.Config{Path: []string{dir + "/*.pq"}}, "no file has such a name"},
		"folder":        {parquet.Config{Path: []string{dir}}, "name the files in it, like " + dir + "/*.parquet"},
		"cut off":       {parquet.Config{Path: []string{dir + "/*.parquet"}}, "cut.parquet: it is no Parquet file"},
		"no column":     {parquet.Config{Path: []string{a}, Columns: []string{"m"}}, `there is no column "m"; there are id, half, when, doc, n, text`},
		"other columns": {parquet.Config{Path: []string{a, testdata + "duckdb-groups.parquet"}}, "its columns are not those of " + a + `: it lacks "id", `},
		"device":        {parquet.Config{Path: []string{"/dev/null"}}, "is no plain file"},
	} {
		err := source(t, c.config).Probe(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"same":     {func(string) error { return nil }, "same"},
		"followed": {func(dir string) error { return copyFile(dir, "b.parquet", "c.parquet") }, "grown"},
		"preceded": {func(dir string) error { return copyFile(dir, "b.parquet", "a0.parquet") }, "is read in front of"},
		"gone":     {func(dir string) error { return os.Remove(filepath.Join(dir, "a.parquet")) }, "a.parquet is gone"},
		"another": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "b.parquet"), []byte("PAR1"), 0o600)
		}, "b.parquet has other bytes than it had"},
	} {
		dir := copied(t, "hyparquet.parquet", "a.parquet", "b.parquet")
		config := parquet.Config{Path: []string{dir + "/*.parquet"}}
		was, err := source(t, config).Identify(t.Context())
		if err := errors.Join(err, c.change(dir)); err != nil {
			t.Fatal(err)
		}
		got := "same"
		change, err := source(t, config).Compare(t.Context(), was)
		switch {
		case err != nil:
			got = err.Error()
		case change == pipeline.Grown:
			got = "grown"
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func copyFile(dir, from, to string) error {
	data, err := os.ReadFile(filepath.Join(dir, from))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, to), data, 0o600)
}
