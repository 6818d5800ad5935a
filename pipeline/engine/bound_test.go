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
)

func bindFunc(t *testing.T, f pipeline.StageFunc) *engine.Bound[*pipeline.Record, *pipeline.Record] {
	t.Helper()
	b, err := engine.Bind[*pipeline.Record, *pipeline.Record](f, pipeline.StepOptions{Parallelism: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestMapSaysThatItWasCutShort: a consumer must not take the answers it has for all.
func TestMapSaysThatItWasCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bindFunc(t, pass)
		in := make(chan *pipeline.Record, 10)
		for range 10 {
			in <- pipeline.NewRecord()
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers, last := 0, error(nil)
		for _, err := range b.Map(ctx, in) {
			if last = err; err == nil {
				answers++
			}
			cancel()
		}
		if answers != 1 || !errors.Is(last, context.Canceled) {
			t.Errorf("%d answers, then the error %v, want 1 and the context's", answers, last)
		}
	})
}

// TestABoundStageThatBreaksTheRules fails its caller, and no more.
func TestABoundStageThatBreaksTheRules(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]pipeline.StageFunc{
		"nil": func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
			return []*pipeline.Record{nil}, nil
		},
		"twice": func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			return []*pipeline.Record{r, r}, nil
		},
		"panic": func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) { panic("a bug") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := bindFunc(t, f).Records(t.Context(), pipeline.NewRecord()); err == nil {
				t.Errorf("got %v and no error", got)
			}
		})
	}
}

// TestAClosedBoundStageIsNotUsed, neither by who comes later nor by who came before.
func TestAClosedBoundStageIsNotUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &closable{}
		b, err := engine.Bind[*pipeline.Record, *pipeline.Record](s, pipeline.StepOptions{Parallelism: 2})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			go func() { _, _ = b.Do(t.Context(), pipeline.NewRecord()) }()
		}
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		for range 100 {
			if _, err := b.Do(t.Context(), pipeline.NewRecord()); !errors.Is(err, pipeline.ErrStopped) {
				t.Fatalf("after Close: error %v, want ErrStopped", err)
			}
		}
		if s.late.Load() {
			t.Error("the stage was used after it was closed")
		}
	})
}

// closable is a stage that takes a while to give up.
type closable struct{ closed, late atomic.Bool }

func (s *closable) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	<-ctx.Done()
	time.Sleep(time.Second)
	if s.closed.Load() {
		s.late.Store(true)
	}
	return []*pipeline.Record{r}, nil
}

func (s *closable) Close() error { s.closed.Store(true); return nil }

// TestAFlowEndsWithItsContext, also where nobody takes its answers any more.
func TestAFlowEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := engine.NewFlow(ctx, bindFunc(t, pass), func(error) {})
		f.In() <- pipeline.NewRecord()
		synctest.Wait()
		cancel()
		for range 5 {
			f.In() <- pipeline.NewRecord() // whoever sends must not hang
		}
		close(f.In())
		synctest.Wait()
		if _, open := <-f.Out(); open {
			t.Error("an answer after the end")
		}
	})
}
