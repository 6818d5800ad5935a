package engine_test

import (
	"context"
	"errors"
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

// hanging is a sink for dead letters that says when it is written to, and hangs then.
type hanging struct {
	pipeline.Sink
	written chan struct{}
}

func (s hanging) Write(ctx context.Context, _ []*pipeline.Record) error {
	close(s.written)
	<-ctx.Done()
	return ctx.Err()
}

// A record that some sinks have, and others have refused, goes to those alone also when the
// run ends before its dead letter is written: in the run that goes on, and in the one behind.
func TestARecordThatSomeSinksHaveGoesToTheOthersAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		then func(n int) bool // what is refused by the run that goes on
		dead int
	}{
		"it is refused again": {func(n int) bool { return n%3 == 0 }, 3},
		"it is taken then":    {func(int) bool { return false }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			never := func(int) bool { return false }
			p := &threeSinks{dir: t.TempDir(), a: func(n int) bool { return n%3 == 0 }, b: never}
			o := engine.Options{State: filepath.Join(p.dir, "state")}
			for range 2 {
				p.cutShort(t, o, 3)
				p.noted(t, 3)
			}
			p.a = c.then
			s, err := engine.Run(t.Context(), p.pipeline(t, "dead.jsonl"), o)
			if err != nil || s.Counts.Delivered != int64(9-c.dead) || s.Counts.DeadLettered != int64(c.dead) {
				t.Errorf("got %+v, %v", s.Counts, err)
			}
			p.noted(t, 0)
			if c.dead > 0 {
				p.a = never
				if _, err := p.retry(t); err != nil {
					t.Error(err)
				}
			}
			p.each(t, "a.jsonl", "b.jsonl", "c.jsonl")
		})
	}
}

// What some sinks have and another has refused must not be written to those again, nor be
// left out, if that one is no sink of the pipeline any more.
func TestARunWithoutTheSinkThatHasRefusedDoesNotGoOn(t *testing.T) {
	t.Parallel()
	never := func(int) bool { return false }
	p := &threeSinks{dir: t.TempDir(), a: func(n int) bool { return n == 4 }, b: never}
	o := engine.Options{State: filepath.Join(p.dir, "state")}
	p.cutShort(t, o, 1)
	p.a = never
	renamed, err := sinks.All(
		sinks.Branch{Name: "d", Sink: fileTo(t, p.dir, "a.jsonl")},
		sinks.Branch{Name: "b", Sink: fileTo(t, p.dir, "b.jsonl")},
		sinks.Branch{Name: "c", Sink: fileTo(t, p.dir, "c.jsonl")},
	)
	if err != nil {
		t.Fatal(err)
	}
	for want, sink := range map[string]pipeline.Sink{
		`row 4: it was refused by "a", which is no sink of the pipeline now; the other sinks have it: put that one back, or start over with --fresh`:        renamed,
		"row 4: it was refused by a of several sinks, and the pipeline has a single one now; the others have it: put them back, or start over with --fresh": &memory{},
	} {
		other := p.pipeline(t, "dead.jsonl")
		other.Sink = sink
		if _, err := engine.Run(t.Context(), other, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if s, err := engine.Run(t.Context(), p.pipeline(t, "dead.jsonl"), o); err != nil || s.Counts.Delivered != 9 {
		t.Errorf("with that sink again: %+v, %v", s.Counts, err)
	}
	p.each(t, "a.jsonl", "b.jsonl", "c.jsonl")
}

// A retry that is cut short has given a record to one more sink: the next one gives it to those
// alone that are left.
func TestARetryThatIsCutShortGivesEachSinkItsRecordOnce(t *testing.T) {
	t.Parallel()
	all, never := func(int) bool { return true }, func(int) bool { return false }
	p := &threeSinks{dir: t.TempDir(), a: all, b: all}
	o := engine.Options{State: filepath.Join(p.dir, "state")}
	if _, err := engine.Run(t.Context(), p.pipeline(t, "dead.jsonl"), o); err != nil {
		t.Fatal(err)
	}
	p.b = never
	cut := p.pipeline(t, "again.jsonl")
	dead := hanging{cut.DeadLetter, make(chan struct{})}
	cut.DeadLetter = dead
	letters := engine.Retry{DeadLetters: filepath.Join(p.dir, "dead.jsonl"), Again: filepath.Join(p.dir, "again.jsonl")}
	e, err := engine.StartRetry(t.Context(), cut, o, letters)
	if err != nil {
		t.Fatal(err)
	}
	<-dead.written
	e.Abort()
	if s, err := e.Wait(); err != nil || s.Counts.Unfinished != 9 {
		t.Fatalf("got %+v, %v", s.Counts, err)
	}
	p.a = never
	if s, err := p.retry(t); err != nil || s.Counts.Delivered != 9 {
		t.Errorf("got %+v, %v", s.Counts, err)
	}
	p.each(t, "a.jsonl", "b.jsonl", "c.jsonl")
}

// Records that have ended are forgotten: a checkpoint does not grow with what was refused.
func TestWhatWasRefusedIsForgotten(t *testing.T) {
	t.Parallel()
	for name, dead := range map[string]string{"with dead letters": "dead.jsonl", "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &threeSinks{dir: t.TempDir(), a: func(n int) bool { return n%3 == 0 }, b: func(n int) bool { return n%2 == 0 }}
			run := p.pipeline(t, "dead.jsonl")
			if dead == "" {
				run.DeadLetter = nil
			}
			s, err := engine.Run(t.Context(), run, engine.Options{State: filepath.Join(p.dir, "state")})
			if err != nil || s.Counts.Delivered != 3 {
				t.Errorf("got %+v, %v", s.Counts, err)
			}
			p.noted(t, 0)
		})
	}
}

// cutShort runs until the first dead letter is written, and leaves so many records unfinished.
func (p *threeSinks) cutShort(t *testing.T, o engine.Options, unfinished int64) {
	t.Helper()
	cut := p.pipeline(t, "dead.jsonl")
	dead := hanging{cut.DeadLetter, make(chan struct{})}
	cut.DeadLetter = dead
	e, err := engine.Start(t.Context(), cut, o)
	if err != nil {
		t.Fatal(err)
	}
	<-dead.written
	e.Abort()
	if s, err := e.Wait(); err != nil || s.Counts.Unfinished != unfinished {
		t.Fatalf("got %+v, %v", s.Counts, err)
	}
}

// noted asks whether the checkpoint has so many records that some sinks have refused.
func (p *threeSinks) noted(t *testing.T, want int) {
	t.Helper()
	if n, err := engine.Refused(filepath.Join(p.dir, "state")); err != nil || n != want {
		t.Errorf("the checkpoint has %d refused records (%v), want %d", n, err, want)
	}
}

// each asks whether every row is once in each of the files.
func (p *threeSinks) each(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if got := rowsIn(t, p.dir, name); !slices.Equal(got, numbered(9)) {
			t.Errorf("%s has %v, want every row once", name, got)
		}
	}
}

// breaking is a file whose Write fails behind so many rows.
type breaking struct {
	picky
	rows   *int
	after  int
	err    error
	failed func()
}

func (s breaking) Write(ctx context.Context, batch []*pipeline.Record) error {
	if *s.rows += len(batch); *s.rows > s.after {
		s.failed()
		return s.err
	}
	return s.picky.Write(ctx, batch)
}

// What the sinks in front of one that fails have taken of a batch they are given again when the
// run goes on: until then nothing of it may be committed.
func TestABatchThatSomeSinksHaveTakenIsNotCommitted(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]error{"for good": errors.New("no space left"), "until the run is stopped": pipeline.Transient("busy", errors.New("busy"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &threeSinks{dir: t.TempDir()}
			for _, after := range []int{4, 1, 9} {
				rows, failed := 0, make(chan struct{})
				file := picky{fileTo(t, p.dir, "b.jsonl"), func(int) bool { return false }}
				all, err := sinks.All(
					sinks.Branch{Name: "a", Sink: fileTo(t, p.dir, "a.jsonl")},
					sinks.Branch{Name: "b", Sink: breaking{file, &rows, after, fails, sync.OnceFunc(func() { close(failed) })}},
				)
				if err != nil {
					t.Fatal(err)
				}
				e, err := engine.Start(t.Context(), pipeline.Pipeline{
					Source: numbers{rows: 9}, Sink: all, Flush: pipeline.Flush{Records: 2, Every: time.Hour},
				}, engine.Options{State: filepath.Join(p.dir, "state")})
				if err != nil {
					t.Fatal(err)
				}
				select {
				case <-failed:
					e.Abort()
				case <-e.Done():
				}
				if s, err := e.Wait(); (after == 9) != (err == nil && s.Counts.Unfinished == 0) {
					t.Errorf("behind %d rows: got %+v, %v", after, s.Counts, err)
				}
			}
			p.each(t, "a.jsonl", "b.jsonl")
		})
	}
}
