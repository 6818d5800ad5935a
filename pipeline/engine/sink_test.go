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

func TestASinkFailureIsNotHidden(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for name, fails := range map[string]func(*failing){
		"write":  func(s *failing) { s.writeErr = full },
		"commit": func(s *failing) { s.commitErr = full },
		"close":  func(s *failing) { s.closeErr = full },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sink := &failing{}
				fails(sink)
				run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10, pause: time.Millisecond}, Sink: sink}, engine.Options{})
				if err != nil {
					t.Fatal(err)
				}
				sink.run.Store(run)
				s, err := run.Wait()
				if !errors.Is(err, full) {
					t.Errorf("error %v, want that of the sink", err)
				}
				adds(t, s, &sink.memory, nil)
			})
		})
	}
}

type failing struct {
	memory
	run                atomic.Pointer[engine.Execution] // is aborted by a write
	writeErr, closeErr error
}

func (s *failing) Write(ctx context.Context, b []*pipeline.Record) error {
	s.run.Load().Abort()
	<-ctx.Done()
	if s.writeErr != nil {
		return s.writeErr
	}
	return s.memory.Write(ctx, b)
}

func (s *failing) Close(context.Context) error { return s.closeErr }

func TestRefusedInTheMidstOfAnAbort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink, dead := &failing{}, &memory{}
		sink.refuse = func(n int) bool { return n == 3 }
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10, pause: time.Millisecond}, Sink: sink, DeadLetter: dead}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		sink.run.Store(run)
		s, err := run.Wait()
		if err != nil || s.Counts.Delivered != 9 || s.Counts.Unfinished != 1 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
		adds(t, s, &sink.memory, dead)
	})
}

func TestALongCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &slowCommit{took: 10 * time.Minute}
		s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Sink: sink}, engine.Options{})
		if err != nil || s.Counts.Delivered != 10 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		began := time.Now()
		run.Abort()
		if _, err = run.Wait(); err == nil || time.Since(began) != 30*time.Second {
			t.Errorf("error %v, the abort took %v, want 30s", err, time.Since(began))
		}
	})
}

type slowCommit struct {
	memory
	took time.Duration
}

func (s *slowCommit) Commit(ctx context.Context) (pipeline.Position, error) {
	select {
	case <-time.After(s.took):
		return s.memory.Commit(ctx)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
