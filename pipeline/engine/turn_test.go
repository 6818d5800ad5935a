package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// asking is a stage that asks a provider: a second a request; the first attempt
// for the first rows fails, with a wait of a minute.
type asking struct{ failing int }

func (asking) TakesTurns() {}
func (s asking) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	_, err := policy.Turn(ctx, policy.Ask{}, func(_ context.Context, a *policy.Attempt) (struct{}, error) {
		time.Sleep(time.Second)
		if number(r) < s.failing && a.Number == 1 {
			return struct{}{}, &pipeline.Error{Class: pipeline.ClassTransient, Code: "busy", Err: errors.New("busy"), RetryAfter: time.Minute}
		}
		return struct{}{}, nil
	})
	return []*pipeline.Record{r}, err
}

// TestARowThatWaitsGivesItsSlotBack: while two rows wait for their second attempt,
// the others go on, as many at once as ever.
func TestARowThatWaitsGivesItsSlotBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		ask := pipeline.Step{Stage: asking{failing: 2}}
		ask.Parallelism, ask.Unordered = 2, true
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 100}, Steps: []pipeline.Step{ask}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(55 * time.Second)
		synctest.Wait()
		if s := run.Snapshot(); s.Finished != 98 {
			t.Errorf("after 55s %d rows are finished, want 98", s.Finished)
		}
		s, err := run.Wait()
		if err != nil || s.Counts.Delivered != 100 || s.Stages[0].Retries != 2 {
			t.Errorf("error %v, summary %+v", err, s)
		}
	})
}

type alone struct {
	now  atomic.Int64
	most int64
}

func (*alone) TakesTurns() {}

func (*alone) Sequential() {}

func (s *alone) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	s.most = max(s.most, s.now.Add(1))
	time.Sleep(time.Second)
	s.now.Add(-1)
	return []*pipeline.Record{r}, nil
}

func TestASequentialStageIsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &alone{}
		sum, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 50}, Sink: &memory{}, Steps: []pipeline.Step{{Stage: s, StepOptions: pipeline.StepOptions{Parallelism: 8}}}}, engine.Options{})
		if err != nil || sum.Counts.Delivered != 50 || s.most != 1 {
			t.Errorf("error %v, counts %+v; %d at once, want 1", err, sum.Counts, s.most)
		}
	})
}
