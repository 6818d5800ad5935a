package stages_test

import (
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

// perKind counts, adds and lists by kind.
func perKind() stages.Aggregates {
	return stages.Aggregates{
		By: []string{"kind"}, Count: "n", AtMost: 2,
		Sum: pipeline.Pairs{{Key: "total", Value: "price * pieces"}}, List: pipeline.Pairs{{Key: "ids", Value: "id"}},
	}
}

var (
	sold = []string{
		`{"id":1,"kind":"tea","price":0.5,"pieces":3}`, `{"id":2,"kind":null,"price":5,"pieces":1}`, `{"id":3,"kind":"tea","price":null,"pieces":null}`,
		`{"id":4,"kind":"tea","price":1,"pieces":2}`,
	}
	unsellable = []string{`{"id":5,"price":1,"pieces":1}`, `{"id":6,"kind":["tea"],"price":1,"pieces":1}`, `{"id":7,"kind":"tea","price":"1","pieces":1}`}
	perKindOf  = []string{`{"kind":null,"n":1,"total":5,"ids":[2]}`, `{"kind":"tea","n":3,"total":3.5,"ids":[1,3]}`}
)

// The field of a null must not make the expression fail.
func nullsAsNothing(a stages.Aggregates) stages.Aggregates {
	a.Sum = pipeline.Pairs{{Key: "total", Value: "price == nil ? nil : price * pieces"}}
	return a
}

func TestReduceConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New:  making(stages.NewReduce, stages.ReduceConfig{Aggregates: nullsAsNothing(perKind())}),
		Rows: sold, Want: perKindOf, Failing: unsellable,
	})
}

func TestWindowConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]pipelinetest.StageCase{
		"several groups": {
			New:  making(stages.NewWindow, stages.WindowConfig{Rows: 100, As: "kinds", Aggregates: nullsAsNothing(perKind())}),
			Rows: sold, Want: []string{`{"kinds":[` + strings.Join(perKindOf, ",") + `]}`}, Failing: unsellable,
		},
		"one": {
			New:  making(stages.NewWindow, stages.WindowConfig{Rows: 3, As: "groups", Aggregates: stages.Aggregates{Count: "n", AtMost: 1, Last: pipeline.Pairs{{Key: "last", Value: "id"}}}}),
			Rows: sold, Want: []string{`{"n":3,"last":3}`, `{"n":1,"last":4}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, c)
		})
	}
}

// A window takes the place of its first record that could be taken.
func TestWindowOfRecordsThatFail(t *testing.T) {
	t.Parallel()
	w := stage[*stages.Window](t)(stages.NewWindow(stages.WindowConfig{Rows: 5, Every: 7, As: "kinds", Aggregates: perKind()}, pipeline.Env{}))
	if size, wait := w.Batch(); size != 5 || wait != 7 {
		t.Errorf("a window is %d, %v; want 5, 7ns", size, wait)
	}
	outcomes := w.ProcessBatch(t.Context(), []*pipeline.Record{row(t, unsellable[0], 0), row(t, sold[0], 1), row(t, unsellable[1], 2), row(t, sold[3], 3)})
	if outcomes[0].Err == nil || outcomes[2].Err == nil || outcomes[0].Merged || outcomes[1].Merged || !outcomes[3].Merged || len(outcomes[1].Records) != 1 {
		t.Fatalf("got %+v", outcomes)
	}
	if got, want := string(outcomes[1].Records[0].AppendJSON(nil)), `{"kinds":[{"kind":"tea","n":2,"total":3.5,"ids":[1,4]}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if outcomes := w.ProcessBatch(t.Context(), []*pipeline.Record{row(t, unsellable[0], 0)}); outcomes[0].Err == nil || len(outcomes[0].Records) != 0 {
		t.Errorf("of nothing: got %+v", outcomes)
	}
}

func TestAggregatesOfRecordsThatAreWrong(t *testing.T) {
	t.Parallel()
	s := stage[*stages.Reduce](t)(stages.NewReduce(stages.ReduceConfig{Aggregates: stages.Aggregates{
		By: []string{"kind"}, AtMost: 1, Sum: pipeline.Pairs{{Key: "total", Value: "price"}}, Max: pipeline.Pairs{{Key: "most", Value: "tags"}},
	}}, pipeline.Env{}))
	for object, want := range map[string]string{
		`{"price":1}`:                        `error: by: the row has no field "kind"`,
		`{"kind":{},"price":1}`:              "error: by: kind is an object; rows are grouped by texts, numbers, booleans and nulls",
		`{"kind":1,"price":"1"}`:             "error: sum.total: price is no number, it is a text",
		`{"kind":1,"price":1e401}`:           "error: sum.total: price is too large or too small a number to compute with",
		`{"kind":1,"tags":[1]}`:              "error: max.most: tags is neither a number nor a text, it is a list",
		`{"kind":1,"price":1.50,"tags":"x"}`: `{"kind":1,"total":1.50,"most":"x"}`,
		`{"kind":null}`:                      `{"kind":null,"total":null,"most":null}`,
	} {
		if got := outcome(t, s, row(t, object, 0)); got != want {
			t.Errorf("%s: got %s, want %s", object, got, want)
		}
	}
}

func TestReduceConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config stages.Aggregates
		want   []string
	}{
		"nothing":      {stages.Aggregates{By: []string{"a"}, AtMost: 1}, []string{"@0: says nothing of the records: give it count, sum, mean, min, max, first, last or list"}},
		"twice":        {stages.Aggregates{By: []string{"a"}, Count: "a", AtMost: 1}, []string{`count@0: there is a field "a" already, of by[0]`}},
		"two columns":  {stages.Aggregates{Sum: pipeline.Pairs{{Key: "x", Value: "a"}}, List: pipeline.Pairs{{Key: "x", Value: "a"}}, AtMost: 1}, []string{`list.x@0: there is a field "x" already, of sum.x`}},
		"no name":      {stages.Aggregates{By: []string{""}, Count: "n", AtMost: 1}, []string{"by[0]@0: is no name of a field"}},
		"no field":     {stages.Aggregates{By: []string{"b"}, Count: "n", AtMost: 1}, []string{`by[0]@0: there is no field "b"`}},
		"expression":   {stages.Aggregates{Mean: pipeline.Pairs{{Key: "x", Value: "a +"}}, AtMost: 1}, []string{"mean.x@"}},
		"no more than": {stages.Aggregates{Count: "n"}, []string{"at_most@0: must be at least 1, not 0"}},
	} {
		env := csv("a")
		_, err := stages.NewReduce(stages.ReduceConfig{Aggregates: c.config}, env)
		expectProblems(t, err, c.want...)
		_, err = stages.NewWindow(stages.WindowConfig{Rows: 1, As: "groups", Aggregates: c.config}, env)
		expectProblems(t, err, c.want...)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	_, err := stages.NewWindow(stages.WindowConfig{Rows: 100_001, Every: -1, Aggregates: stages.Aggregates{Count: "n", AtMost: 1}}, pipeline.Env{})
	expectProblems(t, err, "rows@0: must be from 1 to 100000, not 100001", "every@0: must not be negative", "as@0: needs the name of a field")
}

// What is behind such a stage has its fields and no others.
func TestAggregatesShape(t *testing.T) {
	t.Parallel()
	c := stages.Aggregates{By: []string{"a"}, Count: "n", AtMost: 1, Mean: pipeline.Pairs{{Key: "m", Value: "b"}}, Last: pipeline.Pairs{{Key: "l", Value: "b"}}}
	in := csv("a", "b")
	r := stage[*stages.Reduce](t)(stages.NewReduce(stages.ReduceConfig{Aggregates: c}, in))
	if got := shapeOf(r.Shape(in.Shape)); got != "a:1 n:2 m:2 l:0" {
		t.Errorf("behind reduce: %s", got)
	}
	w := stage[*stages.Window](t)(stages.NewWindow(stages.WindowConfig{Rows: 1, As: "groups", Aggregates: c}, in))
	if got := shapeOf(w.Shape(in.Shape)); got != "groups:0" {
		t.Errorf("behind window: %s", got)
	}
	c.By = nil
	w = stage[*stages.Window](t)(stages.NewWindow(stages.WindowConfig{Rows: 1, As: "groups", Aggregates: c}, in))
	if got := shapeOf(w.Shape(in.Shape)); got != "n:2 m:2 l:0" {
		t.Errorf("behind window without groups: %s", got)
	}
}
