package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// limitedStage asks somebody who allows so many requests a minute.
type limitedStage struct {
	pipeline.Stage
	perMinute int
}

func (s limitedStage) RateLimit() (string, policy.RateLimit) {
	return "somebody", policy.RateLimit{RequestsPerMinute: policy.Rate(s.perMinute)}
}

// narrowStage asks an endpoint that takes so many requests at once.
type narrowStage struct {
	pipeline.Stage
	atOnce int
}

func (s narrowStage) Endpoints() []policy.Endpoint {
	return []policy.Endpoint{{Name: "narrow", MaxInFlight: s.atOnce}}
}

// Wherever the time goes, the causes and the server's time make up the time in flight.
func TestWhereTheTimeGoes(t *testing.T) {
	t.Parallel()
	down := time.Minute
	tests := []struct {
		name    string
		rows    int
		options pipeline.StepOptions
		limit   int // requests a minute, or, if it is negative, at once; 0 for none
		process func(i int, at time.Duration, attempt int) error
		write   time.Duration // for each batch
		most    func(engine.StageTime) float64
	}{
		{"server", 40, pipeline.StepOptions{Parallelism: 4}, 0, func(int, time.Duration, int) error { time.Sleep(time.Second); return nil }, 0, func(s engine.StageTime) float64 { return s.Server }},
		{
			"backoff", 40,
			pipeline.StepOptions{Parallelism: 4, Retry: pipeline.Retry{Backoff: 20 * time.Second}},
			0,
			func(_ int, _ time.Duration, attempt int) error {
				time.Sleep(100 * time.Millisecond)
				if attempt == 1 {
					return pipeline.Transient("x", errors.New("x"))
				}
				return nil
			},
			0, func(s engine.StageTime) float64 { return s.Backoff },
		},
		{
			"what was asked for", 40,
			pipeline.StepOptions{Parallelism: 4, Unordered: true},
			0,
			func(_ int, _ time.Duration, attempt int) error {
				time.Sleep(10 * time.Millisecond)
				if attempt == 1 {
					return &pipeline.Error{Class: pipeline.ClassRefused, Code: "429", Err: errors.New("x"), RetryAfter: 10 * time.Second}
				}
				return nil
			},
			0, func(s engine.StageTime) float64 { return s.RetryAfter },
		},
		{
			"breaker", 200,
			pipeline.StepOptions{Parallelism: 20},
			0,
			func(_ int, at time.Duration, _ int) error {
				time.Sleep(10 * time.Millisecond)
				if at < down {
					return pipeline.Transient("x", errors.New("x"))
				}
				return nil
			},
			0, func(s engine.StageTime) float64 { return s.Breaker },
		},
		{"limiter", 100, pipeline.StepOptions{Parallelism: 16}, 60, func(int, time.Duration, int) error { time.Sleep(10 * time.Millisecond); return nil }, 0, func(s engine.StageTime) float64 { return s.Limiter }},
		{"slot", 100, pipeline.StepOptions{Parallelism: 16}, -2, func(int, time.Duration, int) error { time.Sleep(time.Second); return nil }, 0, func(s engine.StageTime) float64 { return s.Slot }},
		{
			"window", 100,
			pipeline.StepOptions{Parallelism: 8, ReorderWindow: 50},
			0,
			func(i int, _ time.Duration, _ int) error {
				time.Sleep(10 * time.Millisecond)
				if i == 0 {
					time.Sleep(30 * time.Second)
				}
				return nil
			},
			0, func(s engine.StageTime) float64 { return s.Window },
		},
		{"sink", 3000, pipeline.StepOptions{Parallelism: 8}, 0, func(int, time.Duration, int) error { time.Sleep(time.Millisecond); return nil }, 10 * time.Second, func(s engine.StageTime) float64 { return s.Sink }},
		{"sink, without order", 3000, pipeline.StepOptions{Parallelism: 8, Unordered: true}, 0, func(int, time.Duration, int) error { time.Sleep(time.Millisecond); return nil }, 10 * time.Second, func(s engine.StageTime) float64 { return s.Sink }},
		{
			"all of them at once", 3000,
			pipeline.StepOptions{Parallelism: 32},
			6000,
			func(i int, at time.Duration, attempt int) error {
				time.Sleep(100 * time.Millisecond)
				switch {
				case i == 5 && attempt == 1:
					time.Sleep(5 * time.Second)
				case i == 30 && attempt == 1:
					return &pipeline.Error{Class: pipeline.ClassRefused, Code: "429", Err: errors.New("x"), RetryAfter: 3 * time.Second}
				case i%10 == 0 && attempt == 1, at > 8*time.Second && at < 30*time.Second:
					return pipeline.Transient("x", errors.New("x"))
				}
				return nil
			},
			4 * time.Second, func(s engine.StageTime) float64 {
				if min(s.Server, s.Limiter, s.Backoff, s.RetryAfter, s.Breaker, s.Window, s.Sink) <= 0 {
					return 0 // one was not noticed
				}
				return s.InFlight
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				attempts := map[int]int{}
				guard := make(chan struct{}, 1)
				var stage pipeline.Stage = pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					i := int(r.Ref.Seq)
					guard <- struct{}{}
					attempts[i]++
					n := attempts[i]
					<-guard
					return []*pipeline.Record{r}, tt.process(i, time.Since(began), n)
				})
				switch {
				case tt.limit > 0:
					stage = limitedStage{stage, tt.limit}
				case tt.limit < 0:
					stage = narrowStage{stage, -tt.limit}
				}
				sink := &slowSink{pause: tt.write}
				s, err := engine.Run(t.Context(), pipeline.Pipeline{
					Source: &rowsOf{w: &world{rows: tt.rows}}, Sink: sink, Flush: pipeline.Flush{Records: 100},
					Steps: []pipeline.Step{{Stage: stage, Workload: pipeline.Waits, StepOptions: tt.options}},
				}, engine.Options{})
				if err != nil || s.Counts.Delivered != int64(tt.rows) {
					t.Fatal(s.Counts, err)
				}
				got := s.Stages[0].Time
				sum := got.Server + got.Limiter + got.Slot + got.Backoff + got.RetryAfter + got.Breaker + got.Window + got.Sink
				if sum < 0.95*got.InFlight || sum > 1.05*got.InFlight || got.InFlight == 0 {
					t.Errorf("the causes add up to %.1f s of %.1f s in flight: %+v", sum, got.InFlight, got)
				}
				if most := tt.most(got); most < got.InFlight/2 {
					t.Errorf("got %.1f s of %.1f s, want most of it: %+v", most, got.InFlight, got)
				}
			})
		})
	}
}

// slowSink takes its time for every batch.
type slowSink struct{ pause time.Duration }

func (s *slowSink) Write(context.Context, []*pipeline.Record) error {
	time.Sleep(s.pause)
	return nil
}
func (*slowSink) Commit(context.Context) (pipeline.Position, error) { return "", nil }
func (*slowSink) Close(context.Context) error                       { return nil }
