package stages_test

import (
	"strconv"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

// making returns the New of a case.
func making[C any, S pipeline.Stage](build func(C, pipeline.Env) (S, error), c C) func(*testing.T) pipeline.Stage {
	return func(t *testing.T) pipeline.Stage {
		t.Helper()
		s, err := build(c, pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestFilterConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New:     making(stages.NewFilter, stages.FilterConfig{Where: "n > 1"}),
		Rows:    []string{`{"n":1}`, `{"n": 2.0}`, `{"n":0}`, `{"n":3,"x":null}`},
		Want:    []string{`{"n": 2.0}`, `{"n":3,"x":null}`},
		Failing: []string{`{"m":2}`, `{"n":"2"}`},
	})
}

func TestMapConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]pipelinetest.StageCase{
		"set, rename and drop": {
			New: making(stages.NewMap, stages.MapConfig{
				Set:    pipeline.Pairs{{Key: "total", Value: "price * count"}, {Key: "tags", Value: "tags"}, {Key: "first", Value: "tags[0]"}},
				Rename: pipeline.Pairs{{Key: "q", Value: "question"}},
				Drop:   []string{"x"},
			}),
			Rows: []string{`{"q":"a","price":2,"count": 3,"tags":["t"]}`, `{"x": 1,"price":1.5,"count":2,"tags":[1e400]}`},
			Want: []string{
				`{"question":"a","price":2,"count":3,"tags":["t"],"total":6,"first":"t"}`,
				`{"price":1.5,"count":2,"tags":[1e400],"total":3,"first":1e400}`,
			},
			Failing: []string{`{"price":"2","count":1,"tags":[1]}`, `{"price":2,"count":1,"tags":[1],"q":1,"question":2}`},
		},
		"keep": {
			New:  making(stages.NewMap, stages.MapConfig{Keep: []string{"a", "b"}}),
			Rows: []string{`{"b": 1,"x":2,"a":3}`, `{"a" :1}`, `{"x":1}`},
			Want: []string{`{"b":1,"a":3}`, `{"a" :1}`, `{}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, c)
		})
	}
}

func TestSplitConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]pipelinetest.StageCase{
		"a list": {
			New:     making(stages.NewSplit, stages.SplitConfig{Field: "items", As: "item", Index: "i"}),
			Rows:    []string{`{"id":1,"items":[1e400,"b"]}`, `{"id":2,"items":[]}`, `{"items": [{"x": 1}],"id":3}`},
			Want:    []string{`{"id":1,"item":1e400,"i":0}`, `{"id":1,"item":"b","i":1}`, `{"id":3,"item":{"x": 1},"i":0}`},
			Failing: []string{`{"id":1}`, `{"items":"a"}`, `{"items":[1],"item":2}`},
		},
		"a list in its place": {
			New:  making(stages.NewSplit, stages.SplitConfig{Field: "a"}),
			Rows: []string{`{"a":[1,2],"b":0}`, `{"b":1,"a":[[]]}`},
			Want: []string{`{"a":1,"b":0}`, `{"a":2,"b":0}`, `{"b":1,"a":[]}`},
		},
		"a text": {
			New:     making(stages.NewSplit, stages.SplitConfig{Field: "text", Index: "part", Chunk: &stages.ChunkConfig{Size: 16, Overlap: 5}}),
			Rows:    []string{`{"text":"One two. Three four five."}`, `{"text":""}`, `{"text":"ünïcödé"}`},
			Want:    []string{`{"text":"One two. ","part":0}`, `{"text":"two. Three four ","part":1}`, `{"text":"four five.","part":2}`, `{"text":"","part":0}`, `{"text":"ünïcödé","part":0}`},
			Failing: []string{`{"text":["a"]}`, `{"text":null}`, `{"text":"a","part":1}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, c)
		})
	}
}

func TestGroupConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New:  making(stages.NewGroup, stages.GroupConfig{Size: 3, As: "rows"}),
		Rows: []string{`{"n": 1}`, `{"n":2}`, `{"n":1e400}`, `{"n":4}`},
		Want: []string{`{"rows":[{"n": 1},{"n":2},{"n":1e400}]}`, `{"rows":[{"n":4}]}`},
	})
}

func TestUngroupConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: making(stages.NewUngroup, stages.UngroupConfig{Field: "items", Zip: pipeline.Pairs{{Key: "answers", Value: "answer"}}}),
		Rows: []string{
			`{"items":[{"n": 1},{"n":2,"run":0}],"answers":["a",{"b": 1}],"run":7}`,
			`{"items":[],"answers":[]}`,
			`{"answers":[null],"items":[{"n":3}]}`,
		},
		Want:    []string{`{"n":1,"run":7,"answer":"a"}`, `{"n":2,"run":0,"answer":{"b": 1}}`, `{"n":3,"answer":null}`},
		Failing: []string{`{"items":[1],"answers":[1]}`, `{"items":[{}],"answers":[]}`, `{"items":{},"answers":[]}`},
	})
}

func TestLimitConformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"n":1}`, `{"n": 2}`, `{"n":3}`, `{"n":4}`}
	for _, count := range []int{1, 2, 4, 5} {
		t.Run(strconv.Itoa(count), func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, pipelinetest.StageCase{
				New:  making(stages.NewLimit, stages.LimitConfig{Count: count}),
				Rows: rows,
				Want: rows[:min(count, len(rows))],
			})
		})
	}
}

func TestSampleConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]pipelinetest.StageCase{
		"all": {
			New:  making(stages.NewSample, stages.SampleConfig{Rate: 1}),
			Rows: []string{`{"n": 1}`, `{"n":2}`}, Want: []string{`{"n": 1}`, `{"n":2}`},
		},
		"some": { // which ones hangs on the place in the source and the seed
			New:  making(stages.NewSample, stages.SampleConfig{Rate: .5, Seed: 1}),
			Rows: []string{`{"n":0}`, `{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`, `{"n":5}`}, Want: []string{`{"n":1}`, `{"n":2}`, `{"n":4}`, `{"n":5}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, c)
		})
	}
}

func TestDedupeConformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"a":1,"b":"x"}`, `{"b": "x","a":1}`, `{"a":1.0,"b":"x"}`, `{"a":1,"b":"\u0078"}`, `{"a":2,"b":null}`}
	for name, c := range map[string]pipelinetest.StageCase{
		"by all fields": {
			New:  making(stages.NewDedupe, stages.DedupeConfig{Memory: 1 << 20, WhenFull: "stop"}),
			Rows: rows, Want: []string{rows[0], rows[2], rows[4]},
		},
		"by an expression": {
			New:  making(stages.NewDedupe, stages.DedupeConfig{By: []string{"b"}, Memory: 1 << 20, WhenFull: "stop"}),
			Rows: rows[:4], Want: rows[:1], Failing: []string{rows[4], `{"a":1}`},
		},
		"forgetting": {
			New:  making(stages.NewDedupe, stages.DedupeConfig{By: []string{"a"}, Memory: 1 << 10, WhenFull: "forget"}),
			Rows: rows, Want: []string{rows[0], rows[2], rows[4]},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, c)
		})
	}
}
