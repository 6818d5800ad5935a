package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// fullDisk is a sink whose commits fail from some row on, until there is room again.
type fullDisk struct {
	*paperSink
	most int // 0 for no end
}

func (s fullDisk) Commit(ctx context.Context) (pipeline.Position, error) {
	if s.most > 0 && len(s.lines) > s.most {
		return "", syscall.ENOSPC
	}
	return s.paperSink.Commit(ctx)
}

// What was committed before a commit that fails is not written again, nor lost.
func TestACommitThatFails(t *testing.T) {
	t.Parallel()
	w := &world{rows: 100}
	dir := t.TempDir()
	run := func(most int) (engine.Summary, error) {
		return engine.Run(t.Context(), pipeline.Pipeline{
			Name: "full", Source: &seekable{&rowsOf{w: w}}, Sink: fullDisk{&paperSink{paper: &w.paper}, most}, Flush: pipeline.Flush{Records: 10, Every: 1},
		}, engine.Options{State: dir})
	}
	if _, err := run(30); !errors.Is(err, syscall.ENOSPC) || w.paper.committed == 0 {
		t.Fatalf("got %v after %d rows, want some and then a full disk", err, w.paper.committed)
	}
	before := w.paper.committed
	s, err := run(0)
	if err != nil || !s.Resumed || s.DoneBefore != int64(before) {
		t.Errorf("got %+v, %v, want that it goes on behind %d rows", s, err, before)
	}
	if len(w.paper.lines) != w.rows {
		t.Fatalf("got %d rows, want %d", len(w.paper.lines), w.rows)
	}
	for i, line := range w.paper.lines {
		if want := fmt.Sprintf(`{"i":%d}`, i); line != want {
			t.Fatalf("row %d is %s, want %s", i, line, want)
		}
	}
}

// A source that has fewer rows than the unfinished run has read is another one.
func TestASourceThatHasBecomeShorter(t *testing.T) {
	t.Parallel()
	w := &world{rows: 100}
	dir := t.TempDir()
	run := func(most int) (engine.Summary, error) {
		return engine.Run(t.Context(), pipeline.Pipeline{
			Name: "shorter", Source: &rowsOf{w: w}, Sink: fullDisk{&paperSink{paper: &w.paper}, most}, Flush: pipeline.Flush{Records: 10, Every: 1},
		}, engine.Options{State: dir})
	}
	if _, err := run(30); !errors.Is(err, syscall.ENOSPC) || w.paper.committed == 0 {
		t.Fatalf("got %v after %d rows, want some and then a full disk", err, w.paper.committed)
	}
	before := w.paper.committed
	w.rows = before - 5
	if s, err := run(0); err == nil || !strings.Contains(err.Error(), "fewer rows") {
		t.Errorf("got %+v, %v, want that there are fewer rows", s, err)
	}
	w.rows = 100 // they are back
	if s, err := run(0); err != nil || len(w.paper.lines) != w.rows || s.DoneBefore < int64(before) {
		t.Errorf("got %d rows, %+v, %v, want that it goes on", len(w.paper.lines), s, err)
	}
}
