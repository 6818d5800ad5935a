package sources_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources"
)

// part is a file source over these lines, made once.
func part(t *testing.T, path string) pipeline.Source {
	t.Helper()
	s, err := sources.NewFile(sources.FileConfig{Path: []string{path}}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func partFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	appendTo(t, path, lines...)
	return path
}

func appendTo(t *testing.T, path string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(strings.Join(append(lines, ""), "\n"))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// joined are the sources of the tests: two files, of three rows and of one, and two values.
func joined(t *testing.T) (a, b func(*testing.T) pipeline.Source, values func() pipeline.Source) {
	t.Helper()
	three, one := partFile(t, `{"a":1}`, `{"a":2}`, `{"a":3}`), partFile(t, `{"b":1}`)
	return func(t *testing.T) pipeline.Source { t.Helper(); return part(t, three) },
		func(t *testing.T) pipeline.Source { t.Helper(); return part(t, one) },
		func() pipeline.Source { return sources.Slice([]map[string]int{{"v": 1}, {"v": 2}}) }
}

func TestConcatConformance(t *testing.T) {
	t.Parallel()
	a, b, values := joined(t)
	for name, c := range map[string]pipelinetest.SourceCase{
		"files": {
			New:  func(t *testing.T) pipeline.Source { t.Helper(); return sources.Concat(a(t), b(t), a(t)) },
			Want: []string{`{"a":1}`, `{"a":2}`, `{"a":3}`, `{"b":1}`, `{"a":1}`, `{"a":2}`, `{"a":3}`},
		},
		"what cannot begin in the middle": {
			New:  func(t *testing.T) pipeline.Source { t.Helper(); return sources.Concat(values(), a(t)) },
			Want: []string{`{"v":1}`, `{"v":2}`, `{"a":1}`, `{"a":2}`, `{"a":3}`},
		},
		"nested": {
			New: func(t *testing.T) pipeline.Source {
				t.Helper()
				return sources.Concat(sources.Concat(b(t), a(t)), sources.Interleave(a(t), b(t)))
			},
			Want: []string{`{"b":1}`, `{"a":1}`, `{"a":2}`, `{"a":3}`, `{"a":1}`, `{"b":1}`, `{"a":2}`, `{"a":3}`},
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); pipelinetest.Source(t, c) })
	}
}

func TestInterleaveConformance(t *testing.T) {
	t.Parallel()
	a, b, values := joined(t)
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New:  func(t *testing.T) pipeline.Source { t.Helper(); return sources.Interleave(a(t), b(t), values()) },
		Want: []string{`{"a":1}`, `{"b":1}`, `{"v":1}`, `{"a":2}`, `{"v":2}`, `{"a":3}`},
	})
}

// Where there are several, a row that stands in the same place of two of them is told
// apart, nested as they may be.
func TestSeveralSourcesBeginInTheRightOne(t *testing.T) {
	t.Parallel()
	a := partFile(t, `{"a":1}`, `{"a":2}`)
	make := func() pipeline.Source {
		return sources.Concat(part(t, a), sources.Concat(part(t, a), part(t, a)))
	}
	var places []pipeline.Origin
	for r, err := range make().Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, r.Origin)
	}
	for i, at := range places {
		s := make()
		if err := s.(pipeline.Seeker).Seek(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, err := range s.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != len(places)-i {
			t.Errorf("from row %d on there are %d, want %d", i, n, len(places)-i)
		}
	}
	if _, ok := sources.Concat(part(t, a), sources.Slice([]map[string]int{{}})).(pipeline.Seeker); ok {
		t.Error("sources begin in the middle of which one cannot")
	}
}

func TestSeveralSourcesThatHaveChanged(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		merge  func(of ...pipeline.Source) pipeline.Source
		change func(t *testing.T, a, b string)
		want   pipeline.Change
		reason string
	}{
		"nothing":                {sources.Concat, func(*testing.T, string, string) {}, pipeline.Same, ""},
		"the last has grown":     {sources.Concat, func(t *testing.T, _, b string) { appendTo(t, b, `{"b":9}`) }, pipeline.Grown, ""},
		"the first has grown":    {sources.Concat, func(t *testing.T, a, _ string) { appendTo(t, a, `{"a":9}`) }, 0, "sources[0]: it has grown, and other sources follow it; only the last one may grow"},
		"the last, interleaved":  {sources.Interleave, func(t *testing.T, _, b string) { appendTo(t, b, `{"b":9}`) }, 0, "sources[1]: it has grown, and its new rows would come between those of the others"},
		"nothing, interleaved":   {sources.Interleave, func(*testing.T, string, string) {}, pipeline.Same, ""},
		"one has become another": {sources.Concat, func(t *testing.T, _, b string) { rewrite(t, b, `{"c":1}`) }, 0, "sources[1]: "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := partFile(t, `{"a":1}`), partFile(t, `{"b":1}`)
			was, err := c.merge(part(t, a), part(t, b)).(pipeline.Identifier).Identify(t.Context())
			if err != nil || was == "" {
				t.Fatalf("got %q, %v", was, err)
			}
			c.change(t, a, b)
			got, err := c.merge(part(t, a), part(t, b)).(pipeline.Identifier).Compare(t.Context(), was)
			if (err == nil) != (c.reason == "") || err != nil && !strings.HasPrefix(err.Error(), c.reason) || err == nil && got != c.want {
				t.Errorf("got %v, %v, want %v, %q", got, err, c.want, c.reason)
			}
		})
	}
	one, two := part(t, partFile(t, `{}`)), part(t, partFile(t, `{}`))
	was, _ := sources.Concat(one).(pipeline.Identifier).Identify(t.Context())
	if _, err := sources.Concat(one, two).(pipeline.Identifier).Compare(t.Context(), was); err == nil {
		t.Error("a source more was not noticed")
	}
}

func rewrite(t *testing.T, path, line string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// failingSource fails behind its first row, and holds something.
type failingSource struct{ closed *int }

func (failingSource) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		r, _ := pipeline.ParseRecord([]byte(`{}`))
		if yield(r, nil) {
			yield(nil, errors.New("gone"))
		}
	}
}
func (f failingSource) Close() error              { *f.closed++; return nil }
func (failingSource) Probe(context.Context) error { return errors.New("not there") }

func TestSeveralSourcesSayWhichFails(t *testing.T) {
	t.Parallel()
	closed := 0
	for name, merge := range map[string]func(of ...pipeline.Source) pipeline.Source{"concat": sources.Concat, "interleave": sources.Interleave} {
		s := merge(sources.Slice([]map[string]int{{"a": 1}}), failingSource{&closed}, failingSource{&closed})
		var got []string
		for r, err := range s.Records(t.Context()) {
			got = append(got, fmt.Sprint(r != nil, err))
		}
		if last := got[len(got)-1]; last != "false sources[1]: gone" {
			t.Errorf("%s: got %q", name, got)
		}
		if err := s.(pipeline.Prober).Probe(t.Context()); err == nil || err.Error() != "sources[1]: not there\nsources[2]: not there" {
			t.Errorf("%s: probe: got %v", name, err)
		}
		if err := s.(pipeline.Closer).Close(); err != nil {
			t.Error(err)
		}
	}
	if closed != 4 {
		t.Errorf("%d were closed, want 4", closed)
	}
}

// vague is a source that leaves less of the promises.
type vague struct{ pipeline.Source }

func (vague) Guarantee() string { return "a black box" }

func TestWhatSeveralSourcesLeaveOfThePromises(t *testing.T) {
	t.Parallel()
	sure := sources.Slice([]int{1})
	for want, b := range map[string]pipeline.Source{"": sure, "several: sources[1] is a black box": vague{sure}} {
		for _, of := range []func(...pipeline.Source) pipeline.Source{sources.Concat, sources.Interleave} {
			if got := of(sure, b).(pipeline.Guarantor).Guarantee(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}
