package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// partial is a stage that knows of the parts of an attempt.
type partial struct {
	answering
	told    []pipeline.Deadlines
	records atomic.Int64
	late    bool // told of deadlines when it had seen a record
}

func (s *partial) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	s.records.Add(1)
	return s.answering.Process(ctx, r)
}

func (s *partial) Deadlines(d pipeline.Deadlines) {
	s.late = s.late || s.records.Load() > 0
	s.told = append(s.told, d)
}

// How a stage comes to be run, with these deadlines.
func waysToRun() map[string]func(*testing.T, pipeline.Stage, pipeline.Deadlines) error {
	return map[string]func(*testing.T, pipeline.Stage, pipeline.Deadlines) error{
		"in a run": func(t *testing.T, s pipeline.Stage, d pipeline.Deadlines) error {
			_, err := engine.Run(t.Context(), pipeline.Pipeline{
				Source: &rowsOf{w: &world{rows: 3}}, Sink: &slowSink{},
				Steps: []pipeline.Step{{Stage: s, StepOptions: pipeline.StepOptions{Name: "ask", Deadlines: d}}},
			}, engine.Options{})
			return err
		},
		"bound": func(t *testing.T, s pipeline.Stage, d pipeline.Deadlines) error {
			b, err := engine.Bind[question, reply](s, pipeline.StepOptions{Name: "ask", Deadlines: d})
			if err != nil {
				return err
			}
			defer func() { _ = b.Close() }()
			_, err = b.Do(t.Context(), question{1})
			return err
		},
		"as a flow": func(t *testing.T, s pipeline.Stage, d pipeline.Deadlines) error {
			b, err := engine.Bind[question, reply](s, pipeline.StepOptions{Name: "ask", Deadlines: d})
			if err != nil {
				return err
			}
			defer func() { _ = b.Close() }()
			f := engine.NewFlow(t.Context(), b, func(err error) { t.Error(err) })
			f.In() <- question{1}
			close(f.In())
			for range f.Out() {
			}
			return nil
		},
	}
}

// A stage that knows of the parts of an attempt is told their bounds once, before it sees a
// record; any other stage is not run with bounds that nothing would keep.
func TestDeadlinesReachTheStage(t *testing.T) {
	t.Parallel()
	want := pipeline.Deadlines{Connect: time.Second, FirstByte: 2 * time.Second, Idle: 3 * time.Second}
	for name, run := range waysToRun() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &partial{}
				if err := run(t, s, want); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(s.told, []pipeline.Deadlines{want}) || s.late || s.records.Load() == 0 {
					t.Errorf("told %v (late: %v) before %d records, want once %v, first of all", s.told, s.late, s.records.Load(), want)
				}
				s = &partial{}
				if err := run(t, s, pipeline.Deadlines{}); err != nil || len(s.told) > 0 {
					t.Errorf("told %v, error %v; want nothing to be said where nothing is bounded", s.told, err)
				}
				err := run(t, &answering{}, want)
				if err == nil || !strings.Contains(err.Error(), "stage ask knows of no parts of an attempt") {
					t.Errorf("error %v, want a stage to be refused that would not keep them", err)
				}
			})
		})
	}
}
