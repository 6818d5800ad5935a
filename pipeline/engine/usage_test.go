package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// countingStage uses a token for each record, of which the world knows.
type countingStage struct {
	pipeline.Stage
	w      *world
	before int64 // calls of earlier processes
}

func (s countingStage) Usage() map[string]int64 {
	return map[string]int64{"tokens": s.w.calls() - s.before}
}

// What was used before a run was cut short is known behind it, although no checkpoint came
// meanwhile; a kill takes that of its last moment.
func TestUsageOutlivesAKill(t *testing.T) {
	t.Parallel()
	const takes = 20 * time.Millisecond
	for name, c := range map[string]struct {
		cuts  []time.Duration
		stops int   // of them; the others are kills
		lost  int64 // at most
	}{
		"a kill":            {[]time.Duration{time.Second}, 0, 3},
		"two kills":         {[]time.Duration{time.Second, 130 * time.Millisecond}, 0, 6},
		"a stop and a kill": {[]time.Duration{time.Second, time.Second}, 1, 3},
		"two stops":         {[]time.Duration{1065 * time.Millisecond, 65 * time.Millisecond}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, disk := &world{rows: 200}, fsystest.New()
				run := func(ctx context.Context) (engine.Summary, error) {
					ask := w.asker("ask", func(int64) error { return nil }, func() { time.Sleep(takes) })
					return engine.Run(ctx, pipeline.Pipeline{
						Source: seekable{&rowsOf{w: w}}, Sink: &paperSink{paper: &w.paper}, Flush: pipeline.Flush{Records: 1000, Every: time.Minute},
						Steps: []pipeline.Step{{Stage: countingStage{ask, w, w.calls()}, Costs: true, StepOptions: pipeline.StepOptions{Name: "ask", Parallelism: 1}}},
					}, engine.Options{State: "state"}.On(disk.Boot(), time.Hour))
				}
				for i, after := range c.cuts {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(after, func() {
						if i >= c.stops {
							disk.Boot() // what the process does from now on is lost
						}
						cancel()
					})
					if _, err := run(ctx); err == nil {
						t.Fatal("the run was not cut short")
					}
					cancel()
				}
				s, err := run(t.Context())
				used, most := s.Stages[0].Usage["tokens"], w.calls()
				if err != nil || used > most || used < most-c.lost || c.lost > 0 == (most == 200) {
					t.Errorf("%d tokens used, want %d to %d (%v)", used, most-c.lost, most, err)
				}
			})
		})
	}
}
