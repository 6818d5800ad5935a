package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestWhatADoneContextCutsShortIsUnfinished(t *testing.T) {
	t.Parallel()
	gone := errors.New("the client has gone")
	for name, cut := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
		"cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(gone) })
			return ctx, func() { cancel(nil) }
		},
		"deadline with a cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, gone)
		},
	} {
		for _, workload := range []pipeline.Workload{pipeline.Computes, pipeline.Waits} {
			for _, says := range []func(context.Context) error{context.Context.Err, context.Cause} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						ctx, cancel := cut(t.Context())
						defer cancel()
						hang := pipeline.Step{Workload: workload, Stage: pipeline.StageFunc(func(ctx context.Context, _ *pipeline.Record) ([]*pipeline.Record, error) {
							<-ctx.Done()
							return nil, fmt.Errorf("ask: %w", says(ctx))
						})}
						sink := &memory{}
						s, err := engine.Run(ctx, pipeline.Pipeline{Source: numbers{rows: 10}, Steps: []pipeline.Step{hang}, Sink: sink}, engine.Options{})
						if c := s.Counts; c.DeadLettered != 0 || c.Unfinished != c.Read || c.Read == 0 {
							t.Errorf("counts %+v, want all unfinished", c)
						}
						if !errors.Is(err, context.Cause(ctx)) || len(s.Reasons) != 0 {
							t.Errorf("error %v, reasons %v", err, s.Reasons)
						}
						adds(t, s, sink, nil)
					})
				})
			}
		}
	}
}

func TestAStageThatSaysStopped(t *testing.T) {
	t.Parallel()
	sink, dead := &memory{}, &memory{}
	odd := step("ask", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if number(r) == 3 {
			return nil, fmt.Errorf("ask: %w", pipeline.ErrStopped)
		}
		return []*pipeline.Record{r}, nil
	})
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Steps: []pipeline.Step{odd}, Sink: sink, DeadLetter: dead}, engine.Options{})
	if err != nil || s.Counts.Delivered != 9 || s.Counts.DeadLettered != 1 {
		t.Errorf("error %v, counts %+v", err, s.Counts)
	}
	adds(t, s, sink, dead)
}
