package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestEachMemberOfABatchKeepsItsError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, dead, _ := runAsking(t, 2, 2, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			out := make([]pipeline.Outcome, len(b))
			for i, r := range b {
				if number(r) == 0 {
					out[i].Err = pipeline.Transient("busy", errors.New("zero is busy"))
				} else {
					out[i].Err = pipeline.Transient("timeout", errors.New("one is late"))
				}
			}
			return out
		})
		if len(dead.committed) != 2 || !strings.Contains(dead.committed[1], "one is late") {
			t.Errorf("dead letters:\n%s", strings.Join(dead.committed, "\n"))
		}
	})
}

// runAsking is runBatches for a stage that waits for others, so that it is tried again.
func runAsking(t *testing.T, rows, size int, f func(context.Context, []*pipeline.Record) []pipeline.Outcome) (engine.Summary, *memory, *memory, error) {
	t.Helper()
	sink, dead := &memory{}, &memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: numbers{rows: rows}, Sink: sink, DeadLetter: dead,
		Steps: []pipeline.Step{{Stage: batches{size, f}, Workload: pipeline.Waits, StepOptions: pipeline.StepOptions{Parallelism: 1, Retry: pipeline.Retry{Attempts: 4}}}},
	}, engine.Options{})
	adds(t, s, sink, dead)
	return s, sink, dead, err
}
