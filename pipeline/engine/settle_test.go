package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// messages is a source whose rows are acknowledged.
type messages struct {
	pipeline.Source

	mu      sync.Mutex
	yielded int
	told    map[int][]pipeline.Settlement
	calling atomic.Int64
	each    func(n int)
}

func (m *messages) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for r, err := range m.Source.Records(ctx) {
			m.mu.Lock()
			n := m.yielded
			m.yielded++
			m.mu.Unlock()
			r.OnSettle(func(s pipeline.Settlement) { m.tell(n, s) })
			if !yield(r, err) {
				return
			}
		}
	}
}

func (m *messages) tell(n int, s pipeline.Settlement) {
	if m.calling.Add(1) != 1 {
		panic("two calls at once")
	}
	defer m.calling.Add(-1)
	if m.each != nil {
		m.each(n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.told == nil {
		m.told = map[int][]pipeline.Settlement{}
	}
	m.told[n] = append(m.told[n], s)
}

// once checks that everybody was told once, and returns how many of each ending.
func (m *messages) once(t testing.TB) map[pipeline.Ending]int {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	endings := map[pipeline.Ending]int{}
	for n := range m.yielded {
		if len(m.told[n]) != 1 {
			t.Errorf("row %d of %d was told %d times: %v", n, m.yielded, len(m.told[n]), m.told[n])
			continue
		}
		endings[m.told[n][0].Ending]++
	}
	return endings
}

// fates is a pipeline in which the last digit of a row says what becomes of it.
func fates(source pipeline.Source, parallelism int, unordered bool) pipeline.Pipeline {
	each := func(name string, f pipeline.StageFunc) pipeline.Step {
		return pipeline.Step{Stage: f, StepOptions: pipeline.StepOptions{Name: name, Parallelism: parallelism, Unordered: unordered}}
	}
	fail := each("fail", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		switch number(r) % 10 {
		case 0:
			return nil, nil
		case 1:
			return nil, pipeline.Permanent("odd", errors.New("no"))
		case 3, 4:
			return []*pipeline.Record{child(r, "a"), child(r, "b"), child(r, "c")}, nil
		}
		return []*pipeline.Record{r}, nil
	})
	lose := each("lose", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		c, _ := r.Lookup("c")
		switch {
		case number(r)%10 == 2:
			return nil, errors.New("lost")
		case number(r)%10 == 3 && c.Text() == "b":
			return nil, errors.New("lost in part")
		case number(r)%10 == 4 && c.Text() == "b":
			return nil, nil
		}
		return []*pipeline.Record{r}, nil
	})
	lose.OnError = pipeline.DropRecord
	return pipeline.Pipeline{
		Source: source, Steps: []pipeline.Step{fail, lose}, Sink: &memory{refuse: func(n int) bool { return n%10 == 6 }},
		DeadLetter: &memory{}, StopWhen: pipeline.StopWhen{Off: true}, Flush: pipeline.Flush{Records: 7, Every: time.Millisecond},
	}
}

func child(r *pipeline.Record, name string) *pipeline.Record {
	c := r.Child()
	c.Set("c", pipeline.Text(name))
	return c
}

func TestOnSettle(t *testing.T) {
	t.Parallel()
	for _, parallelism := range []int{1, 2, 64} {
		for _, state := range []bool{false, true} {
			for _, unordered := range []bool{false, true} {
				t.Run(fmt.Sprintf("parallelism %d, state %v, unordered %v", parallelism, state, unordered), func(t *testing.T) {
					t.Parallel()
					m := &messages{Source: numbers{rows: 1000, broken: 100}} // 99, 199, … cannot be read
					o := engine.Options{}
					if state {
						o = engine.Options{State: "s"}.On(fsystest.New().Boot(), time.Millisecond)
					}
					s, err := engine.Run(t.Context(), fates(m, parallelism, unordered), o)
					if err != nil {
						t.Fatal(err)
					}
					want := map[pipeline.Ending]int{
						pipeline.Dropped: 100, pipeline.DeadLettered: 210, pipeline.DroppedOnError: 200, pipeline.Delivered: 490,
					}
					if got := m.once(t); !maps.Equal(got, want) {
						t.Errorf("told %v, want %v; counts %+v", got, want, s.Counts)
					}
					m.checkFates(t)
				})
			}
		}
	}
}

// checkFates checks what each row was told.
func (m *messages) checkFates(t *testing.T) {
	t.Helper()
	for n, told := range m.told {
		ending, stage, attempts := pipeline.Delivered, "", 1
		switch {
		case n%100 == 99:
			ending, stage, attempts = pipeline.DeadLettered, "source", 0
		case n%10 == 0:
			ending = pipeline.Dropped
		case n%10 == 1:
			ending, stage = pipeline.DeadLettered, "fail"
		case n%10 == 2, n%10 == 3:
			ending, stage = pipeline.DroppedOnError, "lose"
		case n%10 == 6:
			ending, stage = pipeline.DeadLettered, "sink"
		}
		var f *pipeline.Failure
		failed := errors.As(told[0].Err, &f)
		if told[0].Ending != ending || failed != (stage != "") || failed && (f.Stage != stage || f.Attempts != attempts || f.Err == nil) {
			t.Errorf("row %d was told %+v (%+v), want %s in %q after %d", n, told[0], f, ending, stage, attempts)
		}
		if !told[0].Done() {
			t.Errorf("row %d (%s) is not done", n, told[0].Ending)
		}
	}
}

// TestOnSettleOfAGroup: what many rows were put together in ends for all of them.
func TestOnSettleOfAGroup(t *testing.T) {
	t.Parallel()
	m := &messages{Source: numbers{rows: 8}}
	last := step("last", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		switch number(r) {
		case 0:
			return nil, errors.New("no")
		case 2:
			return nil, nil
		case 4:
			return []*pipeline.Record{r.Child(), r.Child()}, nil
		}
		return []*pipeline.Record{r}, nil
	})
	half := step("half", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if number(r) == 4 && strings.HasSuffix(r.Ref.Path, "/1") {
			return nil, errors.New("half of it")
		}
		return []*pipeline.Record{r}, nil
	})
	if _, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: m, Sink: &memory{}, Steps: []pipeline.Step{{Stage: batches{2, mergeAll}}, last, half},
	}, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	m.once(t)
	for n, want := range []pipeline.Ending{
		pipeline.DeadLettered, pipeline.DeadLettered, pipeline.Dropped, pipeline.Dropped,
		pipeline.DeadLettered, pipeline.DeadLettered, pipeline.Delivered, pipeline.Delivered,
	} {
		got := m.told[n][0]
		if got.Ending != want || (got.Err != nil) != (want == pipeline.DeadLettered) {
			t.Errorf("row %d was told %+v, want %s", n, got, want)
		}
	}
}

// mergeAll merges a batch into its first record.
func mergeAll(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	out := make([]pipeline.Outcome, len(batch))
	for i := range out {
		out[i].Merged = i > 0
	}
	out[0].Records = batch[:1:1]
	return out
}

// TestOnSettleOfARunThatEndsEarly: whatever was yielded is told, before the run has ended.
func TestOnSettleOfARunThatEndsEarly(t *testing.T) {
	t.Parallel()
	stop := func(e *engine.Execution) { e.Stop() }
	for name, c := range map[string]struct {
		end        func(*engine.Execution)
		options    engine.Options
		failAt     int // the write of the sink that fails
		fatal      bool
		unfinished bool // some rows are
	}{
		"stopped":                 {end: stop},
		"stopped, keeping state":  {end: stop, options: engine.Options{State: "s"}},
		"aborted":                 {end: func(e *engine.Execution) { e.Abort() }, unfinished: true},
		"limited":                 {options: engine.Options{Limit: 50}},
		"the sink fails":          {failAt: 3, unfinished: true},
		"the sink fails, keeping": {failAt: 3, options: engine.Options{State: "s"}, unfinished: true},
		"a stage fails for good":  {fatal: true, unfinished: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &messages{Source: numbers{rows: 1000, pause: time.Millisecond}}
				sink := &memory{failAt: c.failAt}
				slow := step("slow", func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if c.fatal && number(r) == 60 {
						return nil, pipeline.Fatal("over", errors.New("it is over"))
					}
					return []*pipeline.Record{r}, nil
				})
				slow.Parallelism, slow.Workload = 8, pipeline.Waits
				p := pipeline.Pipeline{Source: m, Steps: []pipeline.Step{slow}, Sink: sink, Flush: pipeline.Flush{Records: 5, Every: 10 * time.Millisecond}}
				e, err := engine.Start(t.Context(), p, c.options.On(fsystest.New().Boot(), time.Millisecond))
				if err != nil {
					t.Fatal(err)
				}
				if c.end != nil {
					time.Sleep(200 * time.Millisecond)
					c.end(e)
				}
				s, _ := e.Wait()
				got := m.once(t)
				if int64(got[pipeline.Delivered]) != s.Counts.Delivered || int64(m.yielded-got[pipeline.Delivered]) < s.Counts.Unfinished {
					t.Errorf("told %v of %d, counts %+v", got, m.yielded, s.Counts)
				}
				if c.unfinished && got[pipeline.Unfinished] == 0 {
					t.Errorf("told %v, and something is unfinished", got)
				}
			})
		})
	}
}

// TestOnSettleWaitsForTheCheckpoint: a row whose end is not durable is not acknowledged.
func TestOnSettleWaitsForTheCheckpoint(t *testing.T) {
	t.Parallel()
	disk := fsystest.New()
	files := disk.Boot()
	m := &messages{Source: numbers{rows: 100, pause: time.Millisecond}}
	var durable atomic.Int64
	m.each = func(int) {
		if durable.Load() < 2 { // the first knows of no row
			t.Error("a row was told before a checkpoint was durable")
		}
	}
	disk.Inject(func(c fsystest.Call) fsystest.Fault {
		if c.Op == fsystest.OpRename {
			durable.Add(1)
		}
		return fsystest.Fault{}
	})
	p := pipeline.Pipeline{Source: m, Sink: &memory{}, Flush: pipeline.Flush{Records: 3, Every: time.Millisecond}}
	if _, err := engine.Run(t.Context(), p, engine.Options{State: "s"}.On(files, 10*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got := m.once(t); got[pipeline.Delivered] != 100 {
		t.Errorf("told %v", got)
	}

	// No checkpoint but the first, at zero, gets through.
	disk, m = fsystest.New(), &messages{Source: numbers{rows: 100}}
	durable.Store(0)
	files = disk.Boot()
	disk.Inject(func(c fsystest.Call) fsystest.Fault {
		if c.Op == fsystest.OpRename && durable.Add(1) > 1 {
			return fsystest.Fault{Err: syscall.EIO}
		}
		return fsystest.Fault{}
	})
	p.Source, p.Sink = m, &memory{}
	if _, err := engine.Run(t.Context(), p, engine.Options{State: "s"}.On(files, time.Hour)); err == nil {
		t.Error("the run has not failed")
	}
	if got := m.once(t); got[pipeline.Unfinished] != 100 {
		t.Errorf("told %v, and a run that goes on cuts all of them out of the output", got)
	}
}

// TestOnSettleOfARunThatGoesOn: rows that had ended are acknowledged again.
func TestOnSettleOfARunThatGoesOn(t *testing.T) {
	t.Parallel()
	disk := fsystest.New()
	run := func(t *testing.T, e func(*engine.Execution)) (*messages, engine.Summary) {
		t.Helper()
		m := &messages{Source: numbers{rows: 300, pause: time.Millisecond}}
		p := pipeline.Pipeline{Source: m, Sink: &memory{}, Flush: pipeline.Flush{Records: 3, Every: time.Millisecond}}
		x, err := engine.Start(t.Context(), p, engine.Options{State: "s"}.On(disk.Boot(), time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		e(x)
		s, err := x.Wait()
		if err != nil {
			t.Fatal(err)
		}
		return m, s
	}
	synctest.Test(t, func(t *testing.T) {
		first, _ := run(t, func(x *engine.Execution) { time.Sleep(100 * time.Millisecond); x.Stop() })
		done := first.once(t)[pipeline.Delivered]
		if done == 0 {
			t.Fatal("nothing was delivered")
		}
		second, s := run(t, func(*engine.Execution) {})
		got := second.once(t)
		if got[pipeline.EndedBefore] != done || got[pipeline.Delivered] != 300-done || s.DoneBefore != int64(done) {
			t.Errorf("told %v, want %d that had ended; summary %+v", got, done, s)
		}
	})
}

func TestOnSettleMayPanic(t *testing.T) {
	t.Parallel()
	m := &messages{Source: numbers{rows: 20}}
	m.each = func(n int) {
		if n == 7 {
			m.calling.Add(-1) // what is deferred does it again
			defer m.calling.Add(1)
			panic("not ours")
		}
	}
	_, err := engine.Run(t.Context(), pipeline.Pipeline{Source: m, Sink: &memory{}}, engine.Options{})
	if err == nil || !strings.Contains(err.Error(), "settle: panic: not ours") {
		t.Errorf("error %v", err)
	}
	if len(m.told) != 19 {
		t.Errorf("%d were told beside it, want 19", len(m.told))
	}
}

// TestOnSettleHoldsUpTheSourceOnly: a function that takes for ever keeps the source
// waiting, in bounded memory, and no stop.
func TestOnSettleHoldsUpTheSourceOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &messages{Source: numbers{rows: 300_000}}
		first := make(chan struct{})
		m.each = func(int) { <-first }
		sink := &memory{}
		e, err := engine.Start(t.Context(), pipeline.Pipeline{Source: m, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := e.Snapshot().Counts.Delivered; n < 4000 || n > 140_000 {
			t.Errorf("%d delivered while nobody is told; want what fits, and no more", n)
		}
		e.Stop()
		close(first)
		if _, err := e.Wait(); err != nil {
			t.Error(err)
		}
		m.once(t)
	})
}

func TestOnSettleInOrder(t *testing.T) {
	t.Parallel()
	var order []int
	m := &messages{Source: numbers{rows: 500}}
	m.each = func(n int) { order = append(order, n) }
	if _, err := engine.Run(t.Context(), pipeline.Pipeline{Source: m, Sink: &memory{}}, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	if len(order) != 500 || !slices.IsSorted(order) {
		t.Errorf("told in the order %v", order)
	}
}

// TestOnSettleOfDroppedRows: they are acknowledged soon, although the sink commits nothing.
func TestOnSettleOfDroppedRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &messages{Source: numbers{rows: 10, pause: time.Minute}}
		drop := step("drop", func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) { return nil, nil })
		e, err := engine.Start(t.Context(), pipeline.Pipeline{Source: m, Sink: &memory{}, Steps: []pipeline.Step{drop}},
			engine.Options{State: "s"}.On(fsystest.New().Boot(), time.Second))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute + 10*time.Second)
		m.mu.Lock()
		if len(m.told) != 5 {
			t.Errorf("%d rows are told after five minutes, want 5", len(m.told))
		}
		m.mu.Unlock()
		e.Stop()
		_, _ = e.Wait()
	})
}

// unready is a stage for which no row can be prepared.
type unready struct{ pipeline.StageFunc }

func (unready) Rehearse(*pipeline.Record) error { return errors.New("there is no field body") }

func TestOnSettleOfARunThatIsNotBegun(t *testing.T) {
	t.Parallel()
	m := &messages{Source: numbers{rows: 10}}
	p := pipeline.Pipeline{Source: m, Sink: &memory{}, Steps: []pipeline.Step{{Stage: unready{pass}}}}
	if _, err := engine.Run(t.Context(), p, engine.Options{Preflight: true}); err == nil {
		t.Error("the run has not failed")
	}
	if got := m.once(t); got[pipeline.Unfinished] != m.yielded || m.yielded == 0 {
		t.Errorf("told %v of %d", got, m.yielded)
	}
}

// late is a source that notices late that it is to stop.
type late struct{ numbers }

func (s late) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for r, err := range s.numbers.Records(context.Background()) {
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestOnSettleOfARowThatComesLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &messages{Source: late{numbers{rows: 100, pause: 400 * time.Millisecond}}}
		e, err := engine.Start(t.Context(), pipeline.Pipeline{Source: m, Sink: &memory{}, Flush: pipeline.Flush{Every: time.Millisecond}}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		e.Stop()
		_, _ = e.Wait()
		if got := m.once(t); m.yielded != 3 || got[pipeline.Unfinished] != 1 {
			t.Errorf("told %v of %d rows, want 3 of which the last came late", got, m.yielded)
		}
	})
}
