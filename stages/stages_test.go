package stages_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

// outcome is what a stage makes of a row: the rows, or the error's text.
func outcome(t *testing.T, s pipeline.Stage, r *pipeline.Record) string {
	t.Helper()
	records, err := s.Process(t.Context(), r)
	parts := make([]string, len(records))
	for i, r := range records {
		parts[i] = string(r.AppendJSON(nil))
	}
	if err != nil {
		parts = append(parts, "error: "+err.Error())
	}
	return strings.Join(parts, "\n")
}

func row(t *testing.T, object string, seq int) *pipeline.Record {
	t.Helper()
	r := pipelinetest.Record(t, object)
	r.Ref.Seq = uint64(seq)
	return r
}

// made is what a stage makes of rows, one after the other.
func made(t *testing.T, s pipeline.Stage, rows ...string) []string {
	t.Helper()
	var out []string
	for i, object := range rows {
		out = append(out, outcome(t, s, row(t, object, i)))
	}
	return out
}

// problems returns the mistakes in an error, each as "key@offset: text".
func problems(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var list pipeline.Problems
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want Problems", err)
	}
	var out []string
	for _, p := range list {
		out = append(out, fmt.Sprintf("%s@%d: %v", p.Key, p.Offset, p.Err))
	}
	return out
}

// expectProblems checks the mistakes of a configuration, in order, by a part of
// each.
func expectProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	got := problems(t, err)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stage returns the stage of a constructor that must not fail.
func stage[S pipeline.Stage](t *testing.T) func(S, error) S {
	return func(s S, err error) S {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func csv(fields ...string) pipeline.Env {
	var s pipeline.Shape
	for _, f := range fields {
		s = s.With(f, pipeline.StringType)
	}
	s.Closed = true
	return pipeline.Env{Shape: s}
}

func shapeOf(s pipeline.Shape) string {
	var out []string
	for _, f := range s.Fields {
		out = append(out, fmt.Sprintf("%s:%d", f.Name, f.Type))
	}
	if !s.Closed {
		out = append(out, "…")
	}
	return strings.Join(out, " ")
}

func TestSpecs(t *testing.T) {
	t.Parallel()
	for _, s := range []pipeline.Spec{
		stages.FilterSpec(), stages.MapSpec(), stages.SplitSpec(), stages.GroupSpec(),
		stages.UngroupSpec(), stages.LimitSpec(), stages.SampleSpec(), stages.DedupeSpec(),
	} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			if s.Kind != pipeline.KindStage || s.Workload != pipeline.Computes || s.Costs {
				t.Errorf("got %v, %v, costs %v; want a stage that computes and costs nothing", s.Kind, s.Workload, s.Costs)
			}
			if s.Summary == "" || !strings.HasPrefix(s.Example, s.Name+":") || !strings.Contains(s.Code, "Config struct") {
				t.Errorf("summary %q, example %q or code (%d bytes) is missing", s.Summary, s.Example, len(s.Code))
			}
			built, err := s.New(s.Defaults(), pipeline.Env{})
			if s, ok := built.(pipeline.Stage); err == nil && (!ok || s == nil) {
				t.Errorf("New returned %T and no error", built)
			}
			if err != nil && built != nil {
				t.Errorf("New returned %T beside %v", built, err)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	rows := []string{`{"n":1, "ok":true}`, `{"n":5,"ok":false}`, `{"n":1e400,"ok":true}`, `{"ok":null}`}
	for where, want := range map[string][]string{
		`n > 3`:               {"", rows[1], "error: where: invalid operation", "error: where: invalid operation: nil > number; the row has no field"},
		`ok`:                  {rows[0], "", rows[2], `error: where: the result is nil, neither true nor false; field "ok" is null`},
		`has("n") && n == 1`:  {rows[0], "", "", ""},
		`not (ok ?? true)`:    {"", rows[1], "", ""},
		`(n ?? 0) in [0,1,5]`: {rows[0], rows[1], "", rows[3]},
	} {
		got := made(t, stage[*stages.Filter](t)(stages.NewFilter(stages.FilterConfig{Where: where}, pipeline.Env{})), rows...)
		for i := range got {
			if !strings.HasPrefix(got[i], want[i]) || want[i] == "" && got[i] != "" {
				t.Errorf("%s: row %d became %q, want %q", where, i, got[i], want[i])
			}
		}
	}
	_, err := stages.NewFilter(stages.FilterConfig{}, pipeline.Env{})
	expectProblems(t, err, "where@0: needs an expression")
	_, err = stages.NewFilter(stages.FilterConfig{Where: `text == "" && scor > 3`}, csv("score", "text"))
	expectProblems(t, err, "where@14: there is no field \"scor\"; did you mean score?")
	_, err = stages.NewFilter(stages.FilterConfig{Where: `score > 3`}, csv("score"))
	expectProblems(t, err, "where@6: score is a string here")
	in := csv("a").Shape
	if got := stage[*stages.Filter](t)(stages.NewFilter(stages.FilterConfig{Where: "true"}, pipeline.Env{})).Shape(in); shapeOf(got) != shapeOf(in) {
		t.Errorf("the shape is %v, want %v", shapeOf(got), shapeOf(in))
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	for count, want := range map[int][]string{
		1: {"{\"n\":1}\nerror: enough", "error: enough", "error: enough"},
		2: {`{"n":1}`, "{\"n\":2}\nerror: enough", "error: enough"},
		4: {`{"n":1}`, `{"n":2}`, `{"n":3}`},
	} {
		l := stage[*stages.Limit](t)(stages.NewLimit(stages.LimitConfig{Count: count}, pipeline.Env{}))
		if got := made(t, l, `{"n":1}`, `{"n":2}`, `{"n":3}`); !slices.Equal(got, want) {
			t.Errorf("count %d: got %q, want %q", count, got, want)
		}
	}
	l := stage[*stages.Limit](t)(stages.NewLimit(stages.LimitConfig{Count: 1}, pipeline.Env{}))
	first, again, other := outcome(t, l, row(t, `{"n":1}`, 3)), outcome(t, l, row(t, `{"n":1}`, 3)), outcome(t, l, row(t, `{"n":1}`, 4))
	if first != again || other != "error: enough" {
		t.Errorf("shown again it becomes %q, was %q; the next one %q", again, first, other)
	}
	_, err := stages.NewLimit(stages.LimitConfig{}, pipeline.Env{})
	expectProblems(t, err, "count@0: must be at least 1, not 0")
}

func TestSample(t *testing.T) {
	t.Parallel()
	taken := func(rate pipeline.Share, seed int64) (refs []int) {
		s := stage[*stages.Sample](t)(stages.NewSample(stages.SampleConfig{Rate: rate, Seed: seed}, pipeline.Env{}))
		for i := range 10_000 {
			if outcome(t, s, row(t, `{"n":1}`, i)) != "" {
				refs = append(refs, i)
			}
		}
		return refs
	}
	tenth, third, half := taken(.1, 1), taken(1./3, 1), taken(.5, 2)
	for want, got := range map[int]int{1000: len(tenth), 3333: len(third), 5000: len(half), 10_000: len(taken(1, 7))} {
		if got < want-want/10 || got > want+want/10 {
			t.Errorf("%d of 10,000 taken, want about %d", got, want)
		}
	}
	if !slices.Equal(tenth, taken(.1, 1)) {
		t.Error("the same seed takes other rows")
	}
	if slices.Equal(tenth, taken(.1, 2)) {
		t.Error("another seed takes the same rows")
	}
	if want := []int{31, 36, 47}; !slices.Equal(tenth[:3], want) { // what a run takes must not change from one version to the next
		t.Errorf("the first rows taken are %v, want %v", tenth[:3], want)
	}
	s := stage[*stages.Sample](t)(stages.NewSample(stages.SampleConfig{Rate: .5}, pipeline.Env{}))
	children := 0
	for i := range 1000 {
		r := row(t, `{}`, 5)
		r.Ref = r.Ref.Child(i)
		children += len(outcome(t, s, r)) / 2
	}
	if children < 400 || children > 600 {
		t.Errorf("%d of 1,000 children taken, want about half", children)
	}
	for _, rate := range []pipeline.Share{0, -1, 1.01} {
		_, err := stages.NewSample(stages.SampleConfig{Rate: rate}, pipeline.Env{})
		expectProblems(t, err, "rate@0: must be above 0% and at most 100%")
	}
}
