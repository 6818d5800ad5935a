package sources_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
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
	s, err := sources.NewValues(sources.ValuesConfig{Rows: []pipeline.Value{
		value(t, `{"b":1e400,"a":null}`), value(t, `"text"`), value(t, `[1,2]`),
	}}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Shape(pipeline.Shape{}).Names(), []string{"b", "a", "value"}; !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	if _, err := sources.NewValues(sources.ValuesConfig{}, pipeline.Env{}); err == nil {
		t.Error("no rows were accepted")
	}
}

func to(n int64) *int64 { return &n }

func TestRange(t *testing.T) {
	t.Parallel()
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
