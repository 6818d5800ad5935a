package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/internal/several"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// requests is a sink that takes ten records at once, and wants a time between two of them.
type requests struct {
	memory
	least    time.Duration
	after    time.Duration // Retry-After
	last     time.Time
	refused  int
	tooLarge int
}

func (s *requests) Portion() int { return 10 }

func (s *requests) Write(ctx context.Context, b []*pipeline.Record) error {
	if len(b) > 10 {
		s.tooLarge++
	}
	if time.Since(s.last) < s.least {
		s.refused++
		return &pipeline.Error{Class: pipeline.ClassRefused, Code: "http_429", RetryAfter: s.after, Err: errors.New("too many")}
	}
	s.last = time.Now()
	return s.memory.Write(ctx, b)
}

// TestASinkThatRefusesWhatComesTooSoon gets each of its requests by itself, and soon as far
// apart as it wants them.
func TestASinkThatRefusesWhatComesTooSoon(t *testing.T) {
	t.Parallel()
	const rows = 200
	for name, c := range map[string]struct {
		after, within time.Duration
		several       bool
	}{
		"nothing is said":     {0, 5 * time.Second, false},
		"a second is said":    {time.Second, 7 * time.Second, false},
		"one of several ones": {0, 5 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sink := &requests{least: 200 * time.Millisecond, after: c.after}
				p := pipeline.Pipeline{Source: numbers{rows: rows}, Sink: sink}
				if c.several {
					var err error
					if p.Sink, err = several.All(several.Branch{Name: "one", Sink: sink}, several.Branch{Name: "two", Sink: &memory{}}); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				s, err := engine.Run(t.Context(), p, engine.Options{})
				if took := time.Since(began); err != nil || took > c.within || sink.refused > 3 || sink.tooLarge > 0 {
					t.Errorf("%v in %v, with %d refusals and %d requests too large; want %v, 3 and none at most", err, took, sink.refused, sink.tooLarge, c.within)
				}
				if s.Counts.Delivered != rows {
					t.Errorf("counts %+v, want %d delivered", s.Counts, rows)
				}
			})
		})
	}
}
