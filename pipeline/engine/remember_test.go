package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// thirds lets every third record through, by how many it has been shown.
type thirds struct {
	shown  map[string]bool // which records, and whether they went through
	fresh  map[string]bool // the same since the last Save
	seen   func(n int)
	saving func()
}

func (*thirds) Sequential() {}

func (s *thirds) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	id := fmt.Sprint(r.Ref)
	if _, again := s.shown[id]; !again {
		s.shown[id] = len(s.shown)%3 == 0
		s.fresh[id] = s.shown[id]
	}
	s.seen(len(s.shown))
	if s.shown[id] {
		return []*pipeline.Record{r}, nil
	}
	return nil, nil
}

func (s *thirds) Save(w io.Writer) error {
	s.saving()
	err := json.NewEncoder(w).Encode(s.fresh)
	s.fresh = map[string]bool{}
	return err
}

func (s *thirds) Load(r io.Reader) error {
	s.shown, s.fresh = map[string]bool{}, map[string]bool{}
	for d := json.NewDecoder(r); ; {
		switch err := d.Decode(&s.shown); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// onSave is a stage that remembers nothing and says when it is saved.
type onSave struct{ do func() }

func (onSave) Sequential() {}

func (onSave) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return []*pipeline.Record{r}, nil
}

func (s onSave) Save(io.Writer) error { s.do(); return nil }
func (onSave) Load(io.Reader) error   { return nil }

// What a checkpoint says has ended, the stages remember: rows that end between one stage's
// Save and the next one's are in neither, or in both. Those here are dropped, so that they
// end without passing what is being saved.
func TestNoRowIsDoneThatAStageForgets(t *testing.T) {
	t.Parallel()
	const rows, before, during = 30, 10, 18
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	wait := func(c <-chan struct{}) {
		select {
		case <-c:
		case <-ctx.Done():
		}
	}
	w, disk := &world{rows: rows}, fsystest.New()
	reached, release, dropped, killed := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	run := func(source *rowsOf, first *thirds, second onSave) error {
		_, err := engine.Run(ctx, pipeline.Pipeline{
			Source: seekable{source}, Sink: &paperSink{paper: &w.paper}, Flush: pipeline.Flush{Records: 1, Every: time.Millisecond},
			Steps: []pipeline.Step{{Stage: first, StepOptions: pipeline.StepOptions{Name: "thirds"}}, {Stage: second, StepOptions: pipeline.StepOptions{Name: "saved"}}},
		}, engine.Options{State: "state/t"}.On(disk.Boot(), time.Millisecond))
		return err
	}
	source := &rowsOf{w: w, last: func(i int) {
		switch i {
		case before:
			close(reached)
			wait(release)
		case during:
			wait(killed)
		}
	}}
	first := &thirds{
		seen: func(n int) {
			if n == during {
				close(dropped)
			}
		},
		saving: func() {
			if closed(dropped) && !closed(killed) { // the checkpoint before is durable
				disk.KillAt(0, func(int) int { return 0 })
				close(killed)
			}
		},
	}
	second := onSave{func() {
		if closed(reached) && !closed(release) {
			close(release)
			wait(dropped)
		}
	}}
	if err := run(source, first, second); err == nil || !closed(killed) {
		t.Fatalf("got %v, want that the run is killed", err)
	}
	if err := run(&rowsOf{w: w}, &thirds{seen: func(int) {}, saving: func() {}}, onSave{func() {}}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := 0; i < rows; i += 3 {
		want = append(want, fmt.Sprintf(`{"i":%d}`, i))
	}
	if !slices.Equal(w.paper.lines, want) {
		t.Errorf("got %v, want %v", w.paper.lines, want)
	}
}
