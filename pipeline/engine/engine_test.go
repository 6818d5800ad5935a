package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams/flow"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestMain(m *testing.M) {
	if doomed := os.Getenv(doomedVariable); doomed != "" {
		os.Exit(runDoomed(doomed))
	}
	if panicking := os.Getenv(panickingVariable); panicking != "" {
		os.Exit(runPanicking(panicking))
	}
	goleak.VerifyTestMain(m)
}

// numbers is a source of rows {"n": 0}, {"n": 1}, …; every broken-th cannot be read.
type numbers struct {
	rows   int
	broken int
	pause  time.Duration
	fail   error
}

func (s numbers) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for i := range s.rows {
			if s.pause > 0 {
				select {
				case <-time.After(s.pause):
				case <-ctx.Done():
					return
				}
			}
			if s.broken > 0 && i%s.broken == s.broken-1 {
				if !yield(pipeline.Unreadable([]byte("rubbish "+strconv.Itoa(i))), errors.New("rubbish")) {
					return
				}
				continue
			}
			r, err := pipeline.ParseRecord(fmt.Appendf(nil, `{"n":%d}`, i))
			if !yield(r, err) {
				return
			}
		}
		if s.fail != nil {
			yield(nil, s.fail)
		}
	}
}

// memory is a sink that keeps what was committed.
type memory struct {
	mu        sync.Mutex
	taken     []string
	committed []string
	writes    int
	failAt    int // the write that fails, from 1
	commitErr error
	refuse    func(n int) bool
	closed    int
}

func (s *memory) Write(_ context.Context, batch []*pipeline.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.writes == s.failAt {
		return errors.New("no space left on device")
	}
	refused := map[int]error{}
	for i, r := range batch {
		if s.refuse != nil && s.refuse(number(r)) {
			refused[i] = errors.New("not taken")
			continue
		}
		s.taken = append(s.taken, string(r.AppendJSON(nil)))
	}
	if len(refused) > 0 {
		return &pipeline.BatchError{Refused: refused}
	}
	return nil
}

func (s *memory) Commit(context.Context) (pipeline.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commitErr != nil {
		return "", s.commitErr
	}
	s.committed = append(s.committed, s.taken...)
	s.taken = nil
	return pipeline.Position(strconv.Itoa(len(s.committed))), nil
}

func (s *memory) Close(context.Context) error { s.closed++; return nil }

func number(r *pipeline.Record) int {
	v, _ := r.Lookup("n")
	n, _ := strconv.Atoi(v.Text())
	return n
}

// step makes a step of a function.
func step(name string, f pipeline.StageFunc) pipeline.Step {
	return pipeline.Step{Stage: f, StepOptions: pipeline.StepOptions{Name: name}}
}

func pass(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return []*pipeline.Record{r}, nil
}

// adds checks that every leaf has ended, and that what is in the sinks is what is counted.
func adds(t *testing.T, s engine.Summary, sink, dead *memory) {
	t.Helper()
	c := s.Counts
	if in, out := c.Read+c.Made-c.Merged, c.Delivered+c.Dropped+c.DroppedOnError+c.DeadLettered+c.Absorbed+c.Unfinished; in != out {
		t.Errorf("counts do not add up: %d in, %d out: %+v", in, out, c)
	}
	if got := int64(len(sink.committed)); got != c.Delivered {
		t.Errorf("delivered %d, in the sink %d", c.Delivered, got)
	}
	if dead != nil && int64(len(dead.committed)) != c.DeadLettered {
		t.Errorf("dead-lettered %d, in the dead letters %d", c.DeadLettered, len(dead.committed))
	}
}

// pairs is a Batcher that merges two records into one.
type pairs struct{}

func (pairs) Batch() (int, time.Duration) { return 2, 0 }
func (pairs) Process(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
	return nil, errors.New("one at a time")
}

func (pairs) ProcessBatch(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	out := make([]pipeline.Outcome, len(batch))
	names := ""
	for i, r := range batch {
		out[i].Merged = i > 0
		names += strconv.Itoa(number(r)) + " "
	}
	g := batch[0].Child()
	g.Set("pair", pipeline.Text(names))
	out[0].Records = []*pipeline.Record{g}
	return out
}

// TestConservation is promise 1: counted in leaves, everything that was read or
// made has ended exactly once, whatever happens on the way.
func TestConservation(t *testing.T) {
	t.Parallel()
	for _, parallelism := range []int{1, 2, 64} {
		for _, unordered := range []bool{false, true} {
			for _, stop := range []string{"", "soft", "hard"} {
				name := fmt.Sprintf("parallelism %d, unordered %v, stop %q", parallelism, unordered, stop)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { conservation(t, parallelism, unordered, stop) })
				})
			}
		}
	}
}

func conservation(t *testing.T, parallelism int, unordered bool, stop string) {
	sink, dead := &memory{refuse: func(n int) bool { return n%97 == 0 }}, &memory{}
	random := func(r *pipeline.Record) *rand.Rand { return rand.New(rand.NewPCG(uint64(number(r)), 7)) }
	steps := []pipeline.Step{
		step("drop", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if number(r)%5 == 0 {
				return nil, nil
			}
			return []*pipeline.Record{r}, nil
		}),
		step("split", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			var out []*pipeline.Record
			for i := range number(r) % 4 {
				c := r.Child()
				c.Set("part", pipeline.RawJSON(strconv.Itoa(i)))
				out = append(out, c)
			}
			return out, nil
		}),
		{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			x := random(r)
			select {
			case <-time.After(time.Duration(x.IntN(1000)) * time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			switch x.IntN(20) {
			case 0:
				return nil, errors.New("bad row")
			case 1:
				panic("a bug")
			}
			return []*pipeline.Record{r}, nil
		})},
		{Stage: pairs{}},
	}
	for i := range steps[:3] {
		steps[i].Parallelism, steps[i].Unordered = parallelism, unordered
	}
	if unordered {
		steps = steps[:3]
	}
	run, err := engine.Start(t.Context(), pipeline.Pipeline{
		Source: numbers{rows: 500, broken: 50, pause: time.Millisecond}, Steps: steps, Sink: sink, DeadLetter: dead,
	}, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctxErr := false
	switch stop {
	case "soft":
		time.Sleep(300 * time.Millisecond)
		run.Stop()
	case "hard":
		time.Sleep(300 * time.Millisecond)
		run.Abort()
		ctxErr = true
	}
	s, err := run.Wait()
	if err != nil && !ctxErr {
		t.Errorf("run failed: %v", err)
	}
	adds(t, s, sink, dead)
	if stop == "" && s.Counts.Unfinished != 0 {
		t.Errorf("%d unfinished in a run that nobody stopped", s.Counts.Unfinished)
	}
	if stop == "" && (s.Counts.Delivered == 0 || s.Counts.DeadLettered == 0 || s.Counts.Dropped == 0 || s.Counts.Made == 0) {
		t.Errorf("the test has lost its point: %+v", s.Counts)
	}
	if sink.closed != 1 {
		t.Errorf("sink closed %d times", sink.closed)
	}
}

func TestOrderIsKept(t *testing.T) {
	t.Parallel()
	for _, parallelism := range []int{1, 3, 64} {
		t.Run(strconv.Itoa(parallelism), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sink := &memory{}
				slow := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
					return []*pipeline.Record{r}, nil
				})}
				slow.Parallelism = parallelism
				slow.ReorderWindow = 70
				s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1000}, Steps: []pipeline.Step{slow, step("pass", pass)}, Sink: sink}, engine.Options{})
				if err != nil {
					t.Fatal(err)
				}
				adds(t, s, sink, nil)
				for i, got := range sink.committed {
					if want := fmt.Sprintf(`{"n":%d}`, i); got != want {
						t.Fatalf("row %d is %s", i, got)
					}
				}
			})
		})
	}
}

func TestUnorderedIsReadableWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		hang := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if number(r) == 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []*pipeline.Record{r}, nil
		})}
		hang.Unordered = true
		hang.Timeout = -1
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 100}, Steps: []pipeline.Step{hang}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		sink.mu.Lock()
		if got := len(sink.committed); got != 99 {
			t.Errorf("after a second %d rows are committed, want 99", got)
		}
		sink.mu.Unlock()
		run.Abort()
		s, _ := run.Wait()
		adds(t, s, sink, nil)
	})
}

func TestFullWindowNamesTheRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		hang := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if number(r) == 7 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []*pipeline.Record{r}, nil
		})}
		hang.Name, hang.ReorderWindow, hang.Timeout = "ask", 20, -1
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1000}, Steps: []pipeline.Step{hang}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := run.Snapshot().Waiting, "8 in ask"; got != want {
			t.Errorf("waiting for %q, want %q", got, want)
		}
		if got := run.Snapshot().Stages[0].OnWire; got != 1 {
			t.Errorf("%d requests are on the wire, want 1", got)
		}
		run.Abort()
		s, _ := run.Wait()
		adds(t, s, sink, nil)
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	fatalAt := func(at int) pipeline.Step {
		return step("ask", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if number(r) == at {
				return nil, pipeline.Fatal("insufficient_quota", errors.New("you exceeded your quota"))
			}
			return []*pipeline.Record{r}, nil
		})
	}
	failing := func(on pipeline.OnError) pipeline.Step {
		s := step("bad", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if number(r)%2 == 1 {
				return nil, errors.New("odd")
			}
			return []*pipeline.Record{r}, nil
		})
		s.OnError = on
		return s
	}
	for _, tc := range []struct {
		name  string
		p     pipeline.Pipeline
		sink  *memory
		want  string // in the error, "" for none
		check func(engine.Counts) bool
	}{
		{"fatal error", pipeline.Pipeline{Source: numbers{rows: 1000}, Steps: []pipeline.Step{fatalAt(100)}}, &memory{}, "you exceeded your quota", func(c engine.Counts) bool { return c.Delivered == 100 }},
		{"source fails", pipeline.Pipeline{Source: numbers{rows: 10, fail: errors.New("disk gone")}}, &memory{}, "source: disk gone", func(c engine.Counts) bool { return c.Delivered == 10 }},
		{"sink fails", pipeline.Pipeline{Source: numbers{rows: 5000}}, &memory{failAt: 3}, "no space left", func(c engine.Counts) bool { return c.Delivered == 2000 }},
		{"commit fails", pipeline.Pipeline{Source: numbers{rows: 10}}, &memory{commitErr: errors.New("EIO")}, "EIO", func(c engine.Counts) bool { return c.Delivered == 0 && c.Unfinished == 10 }},
		{"on_error stop", pipeline.Pipeline{Source: numbers{rows: 10}, Steps: []pipeline.Step{failing(pipeline.StopRun)}}, &memory{}, "odd", func(c engine.Counts) bool { return c.Delivered == 1 && c.DeadLettered == 0 }},
		{"on_error drop", pipeline.Pipeline{Source: numbers{rows: 10}, Steps: []pipeline.Step{failing(pipeline.DropRecord)}}, &memory{}, "", func(c engine.Counts) bool { return c.Delivered == 5 && c.DroppedOnError == 5 }},
		{"too many dead letters", pipeline.Pipeline{Source: numbers{rows: 5000}, Steps: []pipeline.Step{failing(pipeline.DeadLetters)}}, &memory{}, "stopped early", func(c engine.Counts) bool { return c.Read < 5000 && c.DeadLettered > 90 }},
		{"stop_when off", pipeline.Pipeline{Source: numbers{rows: 5000}, StopWhen: pipeline.StopWhen{Off: true}, Steps: []pipeline.Step{failing(pipeline.DeadLetters)}}, &memory{}, "", func(c engine.Counts) bool { return c.DeadLettered == 2500 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dead := &memory{}
				tc.p.Sink, tc.p.DeadLetter = tc.sink, dead
				for i := range tc.p.Steps {
					tc.p.Steps[i].Parallelism = 1
				}
				s, err := engine.Run(t.Context(), tc.p, engine.Options{})
				if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want %q", err, tc.want)
				}
				adds(t, s, tc.sink, dead)
				if !tc.check(s.Counts) {
					t.Errorf("counts %+v", s.Counts)
				}
			})
		})
	}
}

// atMost is a sequential stage that wants no more than so many records.
type atMost struct{ left int }

func (*atMost) Sequential() {}
func (s *atMost) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if s.left == 0 {
		return nil, pipeline.ErrEnough
	}
	if s.left--; s.left == 0 {
		return []*pipeline.Record{r}, pipeline.ErrEnough
	}
	return []*pipeline.Record{r}, nil
}

func TestEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		slow := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
			return []*pipeline.Record{r}, nil
		})}
		slow.Unordered = true // has no effect: the limit needs the order
		s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1 << 30}, Steps: []pipeline.Step{slow, {Stage: &atMost{10}}}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		adds(t, s, sink, nil)
		if len(sink.committed) != 10 || !slices.IsSortedFunc(sink.committed, func(a, b string) int { return strings.Compare(a, b) }) {
			t.Errorf("sink has %v", sink.committed)
		}
		if s.Counts.Unfinished != 0 {
			t.Errorf("%d unfinished: what a limit leaves out is dropped", s.Counts.Unfinished)
		}
	})
}

// TestForeignOperator puts go-streams' own operators between two stages.
func TestForeignOperator(t *testing.T) {
	t.Parallel()
	mark := func(r *pipeline.Record) *pipeline.Record { r.Set("seen", pipeline.RawJSON("true")); return r }
	for _, tc := range []struct {
		name  string
		steps []pipeline.Step
		want  string
	}{
		{"between two stages", []pipeline.Step{step("a", pass), {Stage: engine.Foreign(flow.NewMap(mark, 1))}, step("b", pass)}, ""},
		{"first", []pipeline.Step{{Stage: engine.Foreign(flow.NewMap(mark, 1))}, step("b", pass)}, ""},
		{"last", []pipeline.Step{step("a", pass), {Stage: engine.Foreign(flow.NewMap(mark, 1))}}, ""},
		{"alone", []pipeline.Step{{Stage: engine.Foreign(flow.NewMap(mark, 1))}}, ""},
		{"one that loses records", []pipeline.Step{{Stage: engine.Foreign(flow.NewFilter(func(r *pipeline.Record) bool { return number(r) != 5 }, 1))}}, "and not yet record 0:5"},
		{"one that repeats records", []pipeline.Step{{Stage: engine.Foreign(flow.NewFlatMap(func(r *pipeline.Record) []*pipeline.Record { return []*pipeline.Record{r, r} }, 1))}}, "ended twice"},
		{"one that makes something else", []pipeline.Step{{Stage: engine.Foreign(flow.NewMap(func(r *pipeline.Record) int { return number(r) }, 1))}}, "passed on a int"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			sink := &memory{}
			s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 2000}, Steps: tc.steps, Sink: sink}, engine.Options{})
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				adds(t, s, sink, nil)
				if len(sink.committed) != 2000 || sink.committed[1999] != `{"n":1999,"seen":true}` {
					t.Errorf("%d rows, the last is %s", len(sink.committed), sink.committed[len(sink.committed)-1])
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSoftStopKeepsAPrefix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		slow := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			time.Sleep(time.Duration(100+rand.IntN(1000)) * time.Millisecond)
			return []*pipeline.Record{r}, nil
		})}
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10000}, Steps: []pipeline.Step{slow}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		began := time.Now()
		run.Stop()
		s, err := run.Wait()
		if err != nil || !s.Stopped {
			t.Errorf("error %v, stopped %v", err, s.Stopped)
		}
		if took := time.Since(began); took > 1200*time.Millisecond {
			t.Errorf("the stop took %v", took)
		}
		adds(t, s, sink, nil)
		for i, got := range sink.committed {
			if want := fmt.Sprintf(`{"n":%d}`, i); got != want {
				t.Fatalf("row %d is %s", i, got)
			}
		}
		if len(sink.committed) < 50 {
			t.Errorf("only %d rows", len(sink.committed))
		}
	})
}

// TestStopWhenIsFair: rows that fail at once are not held against those that take
// their time.
func TestStopWhenIsFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink, dead := &memory{}, &memory{}
		slow := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			time.Sleep(time.Second)
			return []*pipeline.Record{r}, nil
		})}
		s, err := engine.Run(t.Context(), pipeline.Pipeline{
			Source: numbers{rows: 3000, broken: 3}, Steps: []pipeline.Step{slow}, Sink: sink, DeadLetter: dead,
		}, engine.Options{})
		if err != nil || s.Counts.Delivered != 2000 || s.Counts.DeadLettered != 1000 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
		adds(t, s, sink, dead)
	})
}
