package sources_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources"
)

func TestFileConformance(t *testing.T) {
	t.Parallel()
	want := []string{`{"a":"1","b":"x"}`, `{"a":"2","b":"y"}`, `{"a":"3","b":""}`}
	for name, c := range map[string]struct {
		text       string
		unreadable int
	}{
		"a.csv":      {"a,b\n1,x\n2\n2,y\n3,\n", 1},
		"a.csv.gz":   {"a,b\r\n1,x\r\n2,y\r\n3,\r\n", 0},
		"a.tsv":      {"a\tb\n1\tx\n2\ty\n\"3\t4\n3\t\n", 1},
		"a.jsonl":    {"{\"a\":\"1\",\"b\":\"x\"}\n\n{\"a\":\"2\",\"b\":\"y\"}\n{\n{\"a\":\"3\",\"b\":\"\"}", 1},
		"a.json":     {"[{\"a\":\"1\",\"b\":\"x\"},1,{\"a\":\"2\",\"b\":\"y\"},\n{\"a\":\"3\",\"b\":\"\"}]", 1},
		"a.jsonl.gz": {"{\"a\":\"1\",\"b\":\"x\"}\n{\"a\":\"2\",\"b\":\"y\"}\n{\"a\":\"3\",\"b\":\"\"}\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{name: c.text})
			pipelinetest.Source(t, pipelinetest.SourceCase{
				New: func(t *testing.T) pipeline.Source {
					return newFile(t, sources.FileConfig{Path: []string{filepath.Join(dir, name)}}, pipeline.Env{})
				},
				Want: want, Unreadable: c.unreadable,
			})
		})
	}
}

// TestFileConformanceOfSeveralFiles has formats, compressions and headers side by side.
func TestFileConformanceOfSeveralFiles(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"1.csv": "\xef\xbb\xbfa,b\n1,x\n", "2.csv.gz": "b,a\ny,2\n\n3\n", "3.csv": "a,b\n", "4.jsonl": "\n{\"a\":\"4\"}", "5.json": " [ {\"a\":\"5\"} ,\n{\"a\":\"6\"}]",
		"6.json.gz": "{\"a\":\"7\"}\n{\"a\":\"8\"}",
	})
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return newFile(t, sources.FileConfig{Path: []string{dir + "/*"}}, pipeline.Env{})
		},
		Want: []string{
			`{"a":"1","b":"x"}`, `{"b":"y","a":"2"}`, `{"a":"4"}`, `{"a":"5"}`, `{"a":"6"}`, `{"a":"7"}`, `{"a":"8"}`,
		},
		Unreadable: 1,
	})
}

func TestFileConformanceOfTypes(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.csv": "n;ok;j\n1;yes;[1]\n;no;\nx;no;{}\n1.50;1;{}\n"})
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return newFile(t, sources.FileConfig{
				Path: []string{dir + "/a.csv"}, Delimiter: ";", Types: map[string]string{"n": "number", "ok": "bool", "j": "json"},
			}, pipeline.Env{})
		},
		Want: []string{`{"n":1,"ok":true,"j":[1]}`, `{"n":null,"ok":false,"j":null}`, `{"n":1.50,"ok":true,"j":{}}`}, Unreadable: 1,
	})
}

func TestFileConformanceOfWholeFiles(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"b.md": "B\n", "a/a.md": "A", "c.md": "\xff"})
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return newFile(t, sources.FileConfig{Path: []string{dir + "/**/*.md"}, Format: "whole", Field: "body"}, pipeline.Env{})
		},
		Want:       []string{fmt.Sprintf(`{"body":"A","path":%q}`, dir+"/a/a.md"), fmt.Sprintf(`{"body":"B\n","path":%q}`, dir+"/b.md")},
		Unreadable: 1,
	})
}

func TestFileConformanceOfStandardInput(t *testing.T) {
	t.Parallel()
	lines := sources.FileConfig{Path: []string{"-"}, Format: "lines"}
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return newFile(t, lines, pipeline.Env{Stdin: strings.NewReader("a\nb\n")})
		},
		Want: []string{`{"text":"a"}`, `{"text":"b"}`},
		Idle: func(t *testing.T) pipeline.Source {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(w.Close(), r.Close()); err != nil {
					t.Error(err)
				}
			})
			if _, err := io.WriteString(w, "a line\nand the beginning of one"); err != nil {
				t.Fatal(err)
			}
			return newFile(t, lines, pipeline.Env{Stdin: r})
		},
	})
}

func TestValuesConformance(t *testing.T) {
	t.Parallel()
	rows := []pipeline.Value{value(t, `{"b":1e400,"a":null}`), value(t, `"text"`), value(t, `[1,2]`)}
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			t.Helper()
			s, err := sources.NewValues(sources.ValuesConfig{Rows: rows}, pipeline.Env{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Want: []string{`{"b":1e400,"a":null}`, `{"value":"text"}`, `{"value":[1,2]}`},
	})
}

func TestRangeConformance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		config sources.RangeConfig
		want   []string
	}{
		{"up", sources.RangeConfig{From: 1, To: to(3), Step: 1, Field: "i"}, []string{`{"i":1}`, `{"i":2}`, `{"i":3}`}},
		{"down", sources.RangeConfig{From: 1, To: to(-2), Step: -1, Field: "n"}, []string{`{"n":1}`, `{"n":0}`, `{"n":-1}`, `{"n":-2}`}},
		{"a step that does not meet the end", sources.RangeConfig{From: 0, To: to(10), Step: 4, Field: "i"}, []string{`{"i":0}`, `{"i":4}`, `{"i":8}`}},
		{"so many", sources.RangeConfig{From: 5, Count: to(3), Step: -2, Field: "i"}, []string{`{"i":5}`, `{"i":3}`, `{"i":1}`}},
		{"the whole range of numbers", sources.RangeConfig{From: math.MinInt64, To: to(math.MaxInt64), Step: math.MaxInt64, Field: "i"}, []string{`{"i":-9223372036854775808}`, `{"i":-1}`, `{"i":9223372036854775806}`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Source(t, pipelinetest.SourceCase{New: func(t *testing.T) pipeline.Source {
				t.Helper()
				s, err := sources.NewRange(tc.config, pipeline.Env{})
				if err != nil {
					t.Fatal(err)
				}
				if _, total := s.Progress(); total != int64(len(tc.want)) {
					t.Errorf("%d rows in all, want %d", total, len(tc.want))
				}
				return s
			}, Want: tc.want})
		})
	}
}

func tickets() []ticket { return []ticket{{1, "a"}, {2, ""}, {3, "c"}} }

func ticketRows() []string {
	return []string{`{"id":1,"text":"a"}`, `{"id":2}`, `{"id":3,"text":"c"}`}
}

func TestSeqConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(*testing.T) pipeline.Source {
			return sources.Seq(func(yield func(ticket, error) bool) {
				for _, v := range tickets() {
					if !yield(v, nil) {
						return
					}
				}
			})
		},
		Want: ticketRows(),
	})
}

func TestSliceConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New:  func(*testing.T) pipeline.Source { return sources.Slice(tickets()) },
		Want: ticketRows(),
	})
}

func TestSliceConformanceOfRecords(t *testing.T) {
	t.Parallel()
	rows := []*pipeline.Record{pipelinetest.Record(t, `{"n": 1}`), pipelinetest.Record(t, `{"n":2}`)}
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New:  func(*testing.T) pipeline.Source { return sources.Slice(rows) },
		Want: []string{`{"n": 1}`, `{"n":2}`},
	})
}

func TestChannelConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(*testing.T) pipeline.Source {
			all := tickets()
			c := make(chan ticket, len(all)) // of that size: all of them are in it before it is read
			for _, v := range all {
				c <- v
			}
			close(c)
			return sources.Channel(c)
		},
		Want: ticketRows(),
		Idle: func(*testing.T) pipeline.Source { return sources.Channel(make(chan ticket)) },
	})
}
