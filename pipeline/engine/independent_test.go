package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// independent is a Batcher that only saves time.
type independent struct{ batches }

func (independent) Independent()                {}
func (independent) Batch() (int, time.Duration) { return 7, time.Millisecond }

// notFives is a condition.
type notFives struct{}

func (notFives) Bool(r *pipeline.Record) (bool, error) {
	if number(r)%31 == 30 {
		return false, errors.New("it cannot be told")
	}
	return number(r)%5 != 0, nil
}

// TestBatchesThatOnlySaveTime: those that pass by keep their place among the others, in
// order or not, and each row ends once.
func TestBatchesThatOnlySaveTime(t *testing.T) {
	t.Parallel()
	const rows = 500
	mark := independent{batches{f: func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
		out := make([]pipeline.Outcome, len(b))
		for i, r := range b {
			switch n := number(r); {
			case n%13 == 0:
				out[i].Err = errors.New("bad")
			case n%11 != 0: // those are dropped
				r.Set("asked", pipeline.RawJSON("true"))
				out[i].Records = []*pipeline.Record{r}
			}
		}
		return out
	}}}
	var want []string
	for n := range rows {
		switch {
		case n%31 == 30:
		case n%5 == 0:
			want = append(want, fmt.Sprintf(`{"n":%d}`, n))
		case n%13 != 0 && n%11 != 0:
			want = append(want, fmt.Sprintf(`{"n":%d,"asked":true}`, n))
		}
	}
	for _, parallelism := range []int{1, 2, 64} {
		for _, unordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("parallelism %d, unordered %v", parallelism, unordered), func(t *testing.T) {
				t.Parallel()
				sink, dead := &memory{}, &memory{}
				s, err := engine.Run(t.Context(), pipeline.Pipeline{
					Source: numbers{rows: rows}, Sink: sink, DeadLetter: dead,
					Steps: []pipeline.Step{{Stage: mark, StepOptions: pipeline.StepOptions{Parallelism: parallelism, Unordered: unordered, When: notFives{}}}},
				}, engine.Options{State: t.TempDir()})
				adds(t, s, sink, dead)
				got, want := slices.Clone(sink.committed), slices.Clone(want)
				if unordered {
					slices.Sort(got)
					slices.Sort(want)
				}
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("error %v, got %d rows, want %d:\n%q\n%q", err, len(got), len(want), got, want)
				}
			})
		}
	}
}

// TestOneThatMergesAnyway is refused: nothing would put its batches together again.
func TestOneThatMergesAnyway(t *testing.T) {
	t.Parallel()
	sink, dead := &memory{}, &memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: numbers{rows: 7}, Sink: sink, DeadLetter: dead,
		Steps: []pipeline.Step{{Stage: independent{batches{f: func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			return append([]pipeline.Outcome{{Records: b[:1]}}, slices.Repeat([]pipeline.Outcome{{Merged: true}}, len(b)-1)...)
		}}}}},
	}, engine.Options{})
	adds(t, s, sink, dead)
	if err != nil || s.Counts.Merged != 0 || s.Counts.Delivered == 0 || s.Counts.Delivered+s.Counts.DeadLettered != 7 {
		t.Errorf("error %v, counts %+v, want nothing merged", err, s.Counts)
	}
}
