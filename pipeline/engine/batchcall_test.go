package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// wire notes which records each call of a batch stage was about.
type wire struct {
	mu    sync.Mutex
	calls []string
}

func (w *wire) note(batch []*pipeline.Record) (call int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, r := range batch {
		names = append(names, fmt.Sprint(number(r)))
	}
	w.calls = append(w.calls, strings.Join(names, " "))
	return len(w.calls)
}

// Of a batch those records are tried again that failed for now, and no others; each attempt
// begins with the record as it came in.
func TestPartOfABatchIsTriedAgain(t *testing.T) {
	t.Parallel()
	busy, bad := pipeline.Transient("busy", errors.New("busy")), errors.New("bad")
	for name, c := range map[string]struct {
		outcome  func(call int, n int) pipeline.Outcome // Records are added if there is no error
		calls    []string
		dead     []string
		out      int
		attempts int // of the dead letters
	}{
		"none fails": {func(int, int) pipeline.Outcome { return pipeline.Outcome{} }, []string{"0 1 2 3"}, nil, 4, 0},
		"some fail once": {func(call, n int) pipeline.Outcome {
			if call == 1 && n%2 == 1 {
				return pipeline.Outcome{Err: busy}
			}
			return pipeline.Outcome{}
		}, []string{"0 1 2 3", "1 3"}, nil, 4, 0},
		"fewer each time, one for ever": {func(call, n int) pipeline.Outcome {
			if n >= call {
				return pipeline.Outcome{Err: busy}
			}
			return pipeline.Outcome{}
		}, []string{"0 1 2 3", "1 2 3", "2 3"}, []string{"3"}, 3, 3},
		"one is refused": {func(call, n int) pipeline.Outcome {
			if call == 1 && n == 2 {
				return pipeline.Outcome{Err: &pipeline.Error{Class: pipeline.ClassRefused, Code: "busy", Err: errors.New("busy")}}
			}
			return pipeline.Outcome{}
		}, []string{"0 1 2 3", "2"}, nil, 4, 0},
		"one is bad, one fails once": {func(call, n int) pipeline.Outcome {
			switch {
			case n == 0:
				return pipeline.Outcome{Err: bad}
			case call == 1 && n == 1:
				return pipeline.Outcome{Err: busy}
			}
			return pipeline.Outcome{}
		}, []string{"0 1 2 3", "1"}, []string{"0"}, 3, 1},
		"one is merged": {func(call, n int) pipeline.Outcome {
			switch n {
			case 1:
				return pipeline.Outcome{Merged: true}
			case 3:
				return pipeline.Outcome{Err: busy}
			}
			return pipeline.Outcome{}
		}, []string{"0 1 2 3"}, []string{"3"}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var w wire
				sink, dead := &memory{}, &memory{}
				stage := batches{4, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
					call, out := w.note(b), make([]pipeline.Outcome, len(b))
					for i, r := range b {
						if _, dirty := r.Lookup("seen"); dirty {
							t.Error("the record is not as it came in")
						}
						if out[i] = c.outcome(call, number(r)); out[i].Err == nil && !out[i].Merged {
							out[i].Records = []*pipeline.Record{r}
						}
						r.Set("seen", pipeline.RawJSON("1"))
					}
					return out
				}}
				s, err := engine.Run(t.Context(), pipeline.Pipeline{
					Source: numbers{rows: 4}, Sink: sink, DeadLetter: dead, StopWhen: pipeline.StopWhen{Off: true},
					Steps: []pipeline.Step{{Stage: stage, Workload: pipeline.Waits, StepOptions: pipeline.StepOptions{Retry: pipeline.Retry{Attempts: 3}}}},
				}, engine.Options{})
				if err != nil || len(sink.committed) != c.out || len(dead.committed) != len(c.dead) || !slices.Equal(w.calls, c.calls) {
					t.Fatalf("error %v, %+v, calls %q, want %q; dead %s", err, s.Counts, w.calls, c.calls, dead.committed)
				}
				for i, letter := range dead.committed {
					if !strings.Contains(letter, `"n":`+c.dead[i]) || strings.Contains(letter, "seen") || !strings.Contains(letter, fmt.Sprintf(`"attempts":%d`, c.attempts)) {
						t.Errorf("the dead letter is %s, want that of %s after %d attempts", letter, c.dead[i], c.attempts)
					}
				}
			})
		})
	}
}

// What a batch stage that costs has returned is not paid for again, also where a part of the
// batch was not answered.
func TestABatchIsNotPaidForAgain(t *testing.T) {
	t.Parallel()
	w := &world{rows: 20, dir: t.TempDir()}
	var paid [20]atomic.Int64
	var e *engine.Execution
	ready := make(chan struct{})
	start := func(cut bool) {
		stage := batches{5, func(ctx context.Context, b []*pipeline.Record) []pipeline.Outcome {
			out := make([]pipeline.Outcome, len(b))
			for i, r := range b {
				v, _ := r.Lookup("i")
				var n int
				_, _ = fmt.Sscan(v.Text(), &n)
				if cut && n == 13 {
					<-ready
					e.Abort()
				}
				if cut && n >= 13 {
					out[i].Err = ctx.Err()
					continue
				}
				paid[n].Add(1)
				if n%5 == 1 {
					out[i].Err = errors.New("no answer to that")
					continue
				}
				r.Set("a", pipeline.Text(v.Text()))
				out[i].Records = []*pipeline.Record{r}
			}
			return out
		}}
		var err error
		e, err = engine.Start(t.Context(), pipeline.Pipeline{
			Source: seekable{&rowsOf{w: w}}, Sink: &paperSink{paper: &w.paper}, DeadLetter: &paperSink{paper: &w.dead}, StopWhen: pipeline.StopWhen{Off: true},
			Steps: []pipeline.Step{{Stage: stage, Workload: pipeline.Waits, Costs: true, StepOptions: pipeline.StepOptions{Name: "asks", Parallelism: 1}}},
			Flush: pipeline.Flush{Records: 1000},
		}, engine.Options{State: w.dir})
		if err != nil {
			t.Fatal(err)
		}
	}
	start(true)
	close(ready)
	if s, err := e.Wait(); err != nil || s.Counts.Unfinished == 0 {
		t.Fatal(s.Counts, err)
	}
	start(false)
	s, err := e.Wait()
	if err != nil || s.Counts.Delivered != 16 || s.Counts.DeadLettered != 4 || s.Replayed == 0 {
		t.Fatalf("got %+v, replayed %d, %v", s.Counts, s.Replayed, err)
	}
	for n := range paid {
		if got := paid[n].Load(); got != 1 {
			t.Errorf("row %d was paid for %d times", n, got)
		}
	}
	if len(w.paper.lines) != 16 || w.paper.lines[0] != `{"i":0,"a":"0"}` {
		t.Errorf("got %v", w.paper.lines)
	}
}
