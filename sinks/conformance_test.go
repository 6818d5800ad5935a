package sinks_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks"
)

// place is the file that a case writes.
type place struct {
	path   string
	header bool
}

// read returns the rows of the file.
func (p *place) read(t *testing.T) []string {
	t.Helper()
	rows := strings.Split(strings.TrimSuffix(content(t, p.path), "\n"), "\n")
	if p.header {
		rows = rows[1:]
	}
	if len(rows) == 1 && rows[0] == "" {
		return nil
	}
	return rows
}

// inFile completes a case of a sink that writes a file of that name.
func inFile(c pipelinetest.SinkCase, name string, header bool, build func(t *testing.T, path string) pipeline.Sink) pipelinetest.SinkCase {
	p := &place{header: header}
	c.New = func(t *testing.T) pipeline.Sink {
		p.path = filepath.Join(t.TempDir(), "new", name)
		return build(t, p.path)
	}
	c.Again = func(t *testing.T) pipeline.Sink { return build(t, p.path) }
	c.Read = p.read
	return c
}

func TestFileConformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"a":1e400,"b":"x, \"y\""}`, `{"a": null,"b":" z"}`, `{"b":"","a":[1, 2]}`}
	other := []string{`{"a":1,"b":2,"c":3}`, `{"c":null}`}
	csv := []string{`1e400,"x, ""y"""`, `," z"`, `"[1, 2]",`}
	tsv := []string{"1e400\t\"x, \"\"y\"\"\"", "\t\" z\"", "[1, 2]\t"}
	columns := sinks.FileConfig{Columns: []string{"a", "b"}}
	for name, c := range map[string]struct {
		config        sinks.FileConfig
		want, refused []string
	}{
		"a.jsonl":      {want: rows},
		"a.ndjson.zst": {want: rows},
		"a.json.gz":    {want: rows},
		"a.csv":        {columns, csv, other},
		"a.csv.zst":    {columns, csv, other},
		"a.tsv.gz":     {columns, tsv, other},
		"a.txt":        {sinks.FileConfig{Field: "b"}, []string{`x, "y"`, " z", ""}, []string{`{"a":1}`, `{"b":"two\nlines"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Sink(t, inFile(pipelinetest.SinkCase{Rows: rows, Want: c.want, Refused: c.refused}, name, c.config.Columns != nil,
				func(t *testing.T, path string) pipeline.Sink {
					config := c.config
					config.Path = path
					return newFile(t, config, pipeline.Env{})
				}))
		})
	}
}

// TestFileConformanceWithoutColumns is about a header that the first record makes.
func TestFileConformanceWithoutColumns(t *testing.T) {
	t.Parallel()
	pipelinetest.Sink(t, inFile(pipelinetest.SinkCase{
		Rows: []string{`{"a":1,"b":2}`, `{"b":"x"}`, `{"a":"y"}`}, Want: []string{"1,2", ",x", "y,"}, Refused: []string{`{"c":1}`},
	}, "a.csv", true, func(t *testing.T, path string) pipeline.Sink {
		return newFile(t, sinks.FileConfig{Path: path}, pipeline.Env{})
	}))
}

func TestTextConformance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.md", "a.md.gz", "a.md.zst"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Sink(t, inFile(pipelinetest.SinkCase{
				Rows: []string{`{"a":1.50}`, `{"a":"x"}`, `{"a":"é"}`}, Want: []string{"- 1.50", "- x", "- é"}, Refused: []string{`{"b":1}`},
			}, name, false, func(t *testing.T, path string) pipeline.Sink {
				t.Helper()
				s, err := sinks.NewText(sinks.TextConfig{Path: path, Template: "- {{.a}}"}, pipeline.Env{})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}))
		})
	}
}

func TestDiscardConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Sink(t, pipelinetest.SinkCase{
		New:          func(*testing.T) pipeline.Sink { return sinks.Discard{} },
		Rows:         []string{`{"a":1}`, `{"a":2}`, `{"a":3}`},
		KeepsNothing: true,
	})
}

func (r row) json() string { return fmt.Sprintf(`{"a":%d}`, r.A) }

func TestFuncConformance(t *testing.T) {
	t.Parallel()
	var got []string
	pipelinetest.Sink(t, pipelinetest.SinkCase{
		New: func(*testing.T) pipeline.Sink {
			got = nil
			return sinks.Func(func(ctx context.Context, batch []row) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				for _, r := range batch {
					got = append(got, r.json())
				}
				return nil
			})
		},
		Rows:    []string{`{"a":1}`, `{"a":2}`, `{"a":3}`},
		Read:    func(*testing.T) []string { return got },
		Refused: []string{`{"a":"x"}`, `{"a":1e400}`},
		Stuck: func(*testing.T) pipeline.Sink {
			return sinks.Func(func(ctx context.Context, _ []row) error {
				<-ctx.Done()
				return ctx.Err()
			})
		},
	})
}

func TestChannelConformance(t *testing.T) {
	t.Parallel()
	var values chan row
	var got []string
	pipelinetest.Sink(t, pipelinetest.SinkCase{
		New: func(*testing.T) pipeline.Sink {
			values, got = make(chan row, 10_000), nil // of that size: nobody receives before all is sent
			return sinks.Channel(values)
		},
		Rows: []string{`{"a":1}`, `{"a":2}`, `{"a":3}`},
		Read: func(*testing.T) []string {
			for {
				select {
				case v, open := <-values:
					if !open {
						return got
					}
					got = append(got, v.json())
				default:
					return got
				}
			}
		},
		Refused: []string{`{"a":"x"}`},
		Stuck:   func(*testing.T) pipeline.Sink { return sinks.Channel(make(chan row)) },
	})
}
