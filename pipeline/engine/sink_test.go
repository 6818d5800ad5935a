package engine_test

import (
	"context"
	"errors"
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
				var run *engine.Execution
				sink.onWrite = func() { run.Abort(); synctest.Wait() }
				run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10, pause: time.Millisecond}, Sink: sink}, engine.Options{})
				if err != nil {
					t.Fatal(err)
				}
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
	onWrite            func()
	writeErr, closeErr error
}

func (s *failing) Write(ctx context.Context, b []*pipeline.Record) error {
	if s.onWrite != nil {
		s.onWrite()
	}
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
		var run *engine.Execution
		sink.onWrite = func() { run.Abort(); synctest.Wait() }
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10, pause: time.Millisecond}, Sink: sink, DeadLetter: dead}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := run.Wait()
		if err != nil || s.Counts.Delivered != 9 || s.Counts.Unfinished != 1 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
		adds(t, s, &sink.memory, dead)
	})
}
