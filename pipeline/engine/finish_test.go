package engine_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// diary notes what a sink with an end of its own is told.
type diary struct {
	mu    sync.Mutex
	notes []string
}

func (b *diary) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.notes) == 0 || b.notes[len(b.notes)-1] != s {
		b.notes = append(b.notes, s)
	}
}

// bound is a sink whose output has an end, which is published.
type bound struct {
	*paperSink
	diary *diary
	fail  error // of what publishes the end
}

func (s bound) Spool(dir string) { s.diary.note("spool " + filepath.Base(dir)) }

func (s bound) Finish(ctx context.Context) (pipeline.Position, error) {
	s.diary.note("finish")
	at, err := s.Commit(ctx)
	return at + " end", err
}

func (s bound) Rewind(ctx context.Context, to pipeline.Position) error {
	n, ended := cutEnd(to)
	if ended {
		s.diary.note("rewind to the end")
	}
	return s.paperSink.Rewind(ctx, n)
}

func cutEnd(at pipeline.Position) (n pipeline.Position, ended bool) {
	if i := len(at) - len(" end"); i > 0 && at[i:] == " end" {
		return at[:i], true
	}
	return at, false
}

func (s bound) Publish(_ context.Context, at pipeline.Position) error {
	if _, ended := cutEnd(at); !ended {
		return nil
	}
	s.diary.note("publish the end")
	return s.fail
}

func (s bound) Close(context.Context) error {
	s.diary.note("close")
	return nil
}

// A run is finished when the end of its output is published, and not before: one that could
// not publish it does so when it goes on.
func TestTheEndIsPublished(t *testing.T) {
	t.Parallel()
	w := &world{rows: 30}
	dir := t.TempDir()
	full := errors.New("no room")
	run := func(fail error) ([]string, engine.Summary, error) {
		b := &diary{}
		s, err := engine.Run(t.Context(), pipeline.Pipeline{
			Name: "bound", Source: &seekable{&rowsOf{w: w}}, Sink: bound{&paperSink{paper: &w.paper}, b, fail}, Flush: pipeline.Flush{Records: 10, Every: 1},
		}, engine.Options{State: dir})
		return b.notes, s, err
	}
	told, _, err := run(full)
	if want := []string{"spool sink", "finish", "close", "publish the end"}; !errors.Is(err, full) || !slices.Equal(told, want) {
		t.Errorf("got %q, %v, want %q and that there is no room", told, err, want)
	}
	told, s, err := run(nil)
	if want := []string{"spool sink", "rewind to the end", "finish", "close", "publish the end"}; err != nil || s.NothingToDo || !slices.Equal(told, want) {
		t.Errorf("got %q, %+v, %v, want %q", told, s, err, want)
	}
	told, s, err = run(nil)
	if want := []string{"spool sink"}; err != nil || !s.NothingToDo || !slices.Equal(told, want) {
		t.Errorf("got %q, %+v, %v, want %q and nothing to do", told, s, err, want)
	}
}

// A run that was stopped has not come to its end.
func TestAStoppedRunHasNoEnd(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"off", t.TempDir()} {
		w := &world{rows: 1000}
		b := &diary{}
		source := &rowsOf{w: w}
		reached := make(chan struct{})
		source.last = func(i int) {
			if i == 500 {
				close(reached)
			}
		}
		e, err := engine.Start(t.Context(), pipeline.Pipeline{
			Name: "bound", Source: source, Sink: bound{&paperSink{paper: &w.paper}, b, nil}, Flush: pipeline.Flush{Records: 10, Every: 1},
		}, engine.Options{State: state, Limit: 600})
		if err != nil {
			t.Fatal(err)
		}
		<-reached
		e.Stop()
		if _, err := e.Wait(); err != nil {
			t.Error(err)
		}
		if slices.Contains(b.notes, "finish") || !slices.Contains(b.notes, "close") {
			t.Errorf("state %s: told %q, want no end", state, b.notes)
		}
	}
}

// Without state the sink is told of its end, and gets no folder.
func TestTheEndWithoutState(t *testing.T) {
	t.Parallel()
	w := &world{rows: 30}
	b := &diary{}
	_, err := engine.Run(t.Context(), pipeline.Pipeline{Source: &rowsOf{w: w}, Sink: bound{&paperSink{paper: &w.paper}, b, nil}}, engine.Options{State: "off"})
	if want := []string{"finish", "close"}; err != nil || !slices.Equal(b.notes, want) {
		t.Errorf("got %q, %v, want %q", b.notes, err, want)
	}
}
