package engine_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// slowToNotice goes on for a while after its context is done.
type slowToNotice struct {
	after           time.Duration
	returned        atomic.Bool
	closedMeanwhile bool
}

func (s *slowToNotice) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		defer s.returned.Store(true)
		if !yield(pipeline.NewRecord(), nil) {
			return
		}
		<-ctx.Done()
		time.Sleep(s.after)
	}
}

func (s *slowToNotice) Close() error {
	s.closedMeanwhile = !s.returned.Load()
	return nil
}

func TestASourceIsNotReadBehindTheEndOfTheRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		after  time.Duration
		waited bool
	}{{0, true}, {900 * time.Millisecond, true}, {time.Hour, false}} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			source := &slowToNotice{after: c.after}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Minute, cancel)
			_, err := engine.Run(ctx, pipeline.Pipeline{Source: source, Sink: &memory{}}, engine.Options{})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			returned := source.returned.Load()
			if returned != c.waited || source.closedMeanwhile == c.waited {
				t.Errorf("%s: returned %t, closed while it read %t, want it waited for: %t", c.after, returned, source.closedMeanwhile, c.waited)
			}
			if took := time.Since(begun); took > time.Minute+time.Second {
				t.Errorf("%s: took %s, however long the source hangs", c.after, took)
			}
			time.Sleep(c.after) // a bubble wants every goroutine to end
		})
	}
}
