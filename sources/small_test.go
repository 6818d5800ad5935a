package sources_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources"
)

func value(t *testing.T, json string) pipeline.Value {
	t.Helper()
	v, err := pipeline.ParseValue([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestValues(t *testing.T) {
	t.Parallel()
	make := func(t *testing.T) pipeline.Source {
		t.Helper()
		s, err := sources.NewValues(sources.ValuesConfig{Rows: []pipeline.Value{
			value(t, `{"b":1e400,"a":null}`), value(t, `"text"`), value(t, `[1,2]`),
		}}, pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: make, Want: []string{`{"b":1e400,"a":null}`, `{"value":"text"}`, `{"value":[1,2]}`},
	})
	if got, want := make(t).(pipeline.Shaper).Shape(pipeline.Shape{}).Names(), []string{"b", "a", "value"}; !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	if _, err := sources.NewValues(sources.ValuesConfig{}, pipeline.Env{}); err == nil {
		t.Error("no rows were accepted")
	}
}

func to(n int64) *int64 { return &n }

func TestRange(t *testing.T) {
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
	for name, c := range map[string]sources.RangeConfig{
		"no end":      {From: 1, Step: 1, Field: "i"},
		"two ends":    {From: 1, To: to(2), Count: to(2), Step: 1, Field: "i"},
		"none":        {From: 1, Count: to(0), Step: 1, Field: "i"},
		"too many":    {From: 1, Count: to(math.MaxInt64), Step: 2, Field: "i"},
		"no step":     {From: 1, To: to(2), Field: "i"},
		"no field":    {From: 1, To: to(2), Step: 1},
		"wrong way":   {From: 1, To: to(-2), Step: 1, Field: "i"},
		"wrong way 2": {From: 1, To: to(2), Step: -1, Field: "i"},
	} {
		if _, err := sources.NewRange(c, pipeline.Env{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type ticket struct {
	ID   int    `json:"id"`
	Text string `json:"text,omitempty"`
}

func TestGoSources(t *testing.T) {
	t.Parallel()
	tickets := []ticket{{1, "a"}, {2, ""}, {3, "c"}}
	want := []string{`{"id":1,"text":"a"}`, `{"id":2}`, `{"id":3,"text":"c"}`}
	t.Run("slice", func(t *testing.T) {
		t.Parallel()
		pipelinetest.Source(t, pipelinetest.SourceCase{New: func(*testing.T) pipeline.Source { return sources.Slice(tickets) }, Want: want})
	})
	t.Run("channel", func(t *testing.T) {
		t.Parallel()
		pipelinetest.Source(t, pipelinetest.SourceCase{New: func(*testing.T) pipeline.Source {
			c := make(chan ticket, len(tickets))
			for _, v := range tickets {
				c <- v
			}
			close(c)
			return sources.Channel(c)
		}, Want: want})
	})
}

func TestSeqFails(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for name, source := range map[string]pipeline.Source{
		"an error of its own": sources.Seq(func(yield func(ticket, error) bool) {
			_ = yield(ticket{ID: 1}, nil) && yield(ticket{}, fmt.Errorf("page 2: %w", gone))
		}),
		"a value that is no object": sources.Slice([]int{1}),
	} {
		var last error
		for r, err := range source.Records(t.Context()) {
			if err != nil && r != nil {
				t.Errorf("%s: the source's own error came with a record", name)
			}
			last = err
		}
		if last == nil || name == "an error of its own" && !errors.Is(last, gone) {
			t.Errorf("%s: error %v", name, last)
		}
	}
}
