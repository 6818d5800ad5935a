package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
)

// picky is a file that refuses some records.
type picky struct {
	pipeline.Sink
	refuse func(n int) bool
}

func (s picky) Write(ctx context.Context, batch []*pipeline.Record) error {
	refused := &pipeline.BatchError{Refused: map[int]error{}}
	var kept []*pipeline.Record
	for i, r := range batch {
		if s.refuse(number(r)) {
			refused.Refused[i] = errors.New("not taken")
		} else {
			kept = append(kept, r)
		}
	}
	if err := s.Sink.Write(ctx, kept); err != nil || len(refused.Refused) == 0 {
		return err
	}
	return refused
}

func (s picky) Start(ctx context.Context, fresh bool) error {
	return s.Sink.(pipeline.Starter).Start(ctx, fresh)
}

func (s picky) Check(ctx context.Context, to pipeline.Position) error {
	return s.Sink.(pipeline.Rewinder).Check(ctx, to)
}

func (s picky) Rewind(ctx context.Context, to pipeline.Position) error {
	return s.Sink.(pipeline.Rewinder).Rewind(ctx, to)
}

func (s picky) Delivery() pipeline.Delivery { return pipeline.DeliveryOf(s.Sink) }

func fileTo(t *testing.T, dir, name string) pipeline.Sink {
	t.Helper()
	s, err := sinks.NewFile(sinks.FileConfig{Path: filepath.Join(dir, name)}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rowsIn are the rows of a file, in order of their texts.
func rowsIn(t *testing.T, dir, name string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Sort(rows)
	return rows
}

func numbered(n int) (rows []string) {
	for i := range n {
		rows = append(rows, fmt.Sprintf(`{"n":%d}`, i))
	}
	slices.Sort(rows)
	return rows
}

// threeSinks are three files that each record goes to; two refuse some.
type threeSinks struct {
	dir  string
	a, b func(n int) bool
}

func (p *threeSinks) pipeline(t *testing.T, dead string) pipeline.Pipeline {
	t.Helper()
	all, err := sinks.All(
		sinks.Branch{Name: "a", Sink: picky{fileTo(t, p.dir, "a.jsonl"), p.a}},
		sinks.Branch{Name: "b", Sink: picky{fileTo(t, p.dir, "b.jsonl"), p.b}},
		sinks.Branch{Name: "c", Sink: fileTo(t, p.dir, "c.jsonl")},
	)
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Pipeline{Name: "three", Source: numbers{rows: 9}, Sink: all, DeadLetter: fileTo(t, p.dir, dead)}
}

func (p *threeSinks) retry(t *testing.T) (engine.Summary, error) {
	t.Helper()
	e, err := engine.StartRetry(t.Context(), p.pipeline(t, "again.jsonl"), engine.Options{State: filepath.Join(p.dir, "state")},
		engine.Retry{DeadLetters: filepath.Join(p.dir, "dead.jsonl"), Again: filepath.Join(p.dir, "again.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	return e.Wait()
}

// A record that some of several sinks have taken goes to the others alone when it is run again.
func TestARetryGoesToTheSinksThatHaveRefused(t *testing.T) {
	t.Parallel()
	p := &threeSinks{dir: t.TempDir(), a: func(n int) bool { return n%3 == 0 }, b: func(n int) bool { return n%2 == 0 }}
	s, err := engine.Run(t.Context(), p.pipeline(t, "dead.jsonl"), engine.Options{State: filepath.Join(p.dir, "state")})
	if err != nil || s.Counts.DeadLettered != 6 || len(rowsIn(t, p.dir, "c.jsonl")) != 9 {
		t.Fatalf("got %+v, %v", s.Counts, err)
	}
	dead := strings.Join(rowsIn(t, p.dir, "dead.jsonl"), " ")
	for by, want := range map[string]int{`"a: not taken; b: not taken","attempts":1,"sinks":["a","b"]`: 2, `"sinks":["a"]`: 1, `"sinks":["b"]`: 3} {
		if got := strings.Count(dead, by); got != want {
			t.Errorf("%s is %d times among the dead letters, want %d: %s", by, got, want, dead)
		}
	}
	p.a = func(n int) bool { return n == 6 }
	p.b = func(int) bool { return false }
	if s, err = p.retry(t); err != nil || s.Counts.Delivered != 5 || s.Counts.DeadLettered != 1 {
		t.Errorf("got %+v, %v", s.Counts, err)
	}
	if got := rowsIn(t, p.dir, "dead.jsonl"); len(got) != 1 || !strings.Contains(got[0], `"sinks":["a"]`) {
		t.Errorf("left are %s, want what a alone has refused", got)
	}
	p.a = p.b
	if s, err = p.retry(t); err != nil || s.Counts.Delivered != 1 {
		t.Errorf("got %+v, %v", s.Counts, err)
	}
	for _, name := range []string{"a.jsonl", "b.jsonl", "c.jsonl"} {
		if got := rowsIn(t, p.dir, name); !slices.Equal(got, numbered(9)) {
			t.Errorf("%s has %v, want every row once", name, got)
		}
	}
}

func TestARetryWithoutTheSinkThatHasRefused(t *testing.T) {
	t.Parallel()
	p := &threeSinks{dir: t.TempDir(), a: func(n int) bool { return n == 3 }, b: func(int) bool { return false }}
	if _, err := engine.Run(t.Context(), p.pipeline(t, "dead.jsonl"), engine.Options{State: filepath.Join(p.dir, "state")}); err != nil {
		t.Fatal(err)
	}
	letters := filepath.Join(p.dir, "dead.jsonl")
	data, _ := os.ReadFile(letters)
	if err := os.WriteFile(letters, []byte(strings.Replace(string(data), `["a"]`, `["gone"]`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.retry(t); err == nil || !strings.Contains(err.Error(), `it was refused by "gone", which is no sink of the pipeline now`) {
		t.Errorf("got %v", err)
	}
}

// before is a sink for dead letters that asks, for each, whether all is committed that the
// others have taken.
type before struct {
	memory
	ask func(n int)
}

func (s *before) Write(ctx context.Context, batch []*pipeline.Record) error {
	for _, r := range batch {
		v, _ := r.Lookup("record")
		row, err := pipeline.ParseRecord([]byte(v.Text()))
		if err != nil {
			return err
		}
		s.ask(number(row))
	}
	return s.memory.Write(ctx, batch)
}

// What one sink refuses, others have taken: theirs is committed before it is a dead letter,
// which after a kill is not written again. And it is committed even if nothing but that came.
func TestWhatOthersTookIsCommittedBeforeTheDeadLetter(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(int) bool{"some": func(n int) bool { return n%7 == 0 }, "all": func(int) bool { return true }} {
		takes := &memory{}
		all, err := sinks.All(sinks.Branch{Name: "takes", Sink: takes}, sinks.Branch{Name: "refuses", Sink: &memory{refuse: refuse}})
		if err != nil {
			t.Fatal(err)
		}
		var asked sync.Once
		dead := &before{ask: func(n int) {
			takes.mu.Lock()
			defer takes.mu.Unlock()
			if !slices.Contains(takes.committed, fmt.Sprintf(`{"n":%d}`, n)) {
				asked.Do(func() { t.Errorf("%s: row %d is a dead letter, and not committed where it was taken", name, n) })
			}
		}}
		s, err := engine.Run(t.Context(), pipeline.Pipeline{
			Source: numbers{rows: 100}, Sink: all, DeadLetter: dead, Flush: pipeline.Flush{Records: 10, Every: time.Hour},
		}, engine.Options{})
		if err != nil || s.Counts.Delivered+s.Counts.DeadLettered != 100 || len(takes.committed) != 100 || s.Sinks[0].Delivered != 100 {
			t.Errorf("%s: got %+v, %v, %d committed", name, s.Counts, err, len(takes.committed))
		}
	}
}
