package engine_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// stuck is a sink that takes nothing until it is let go, and knows the bytes of
// the largest batch.
type stuck struct {
	memory
	silent  bool // keeps nothing
	release chan struct{}
	largest atomic.Int64
}

func (s *stuck) Write(ctx context.Context, batch []*pipeline.Record) error {
	n := 0
	for _, r := range batch {
		n += r.Size()
	}
	s.largest.Store(max(s.largest.Load(), int64(n)))
	if s.release != nil {
		select {
		case <-s.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.silent {
		return nil
	}
	return s.memory.Write(ctx, batch)
}

// TestASplitIsHeldUp by what comes behind it: what is made of the rows is bounded,
// however many children each has.
func TestASplitIsHeldUp(t *testing.T) {
	t.Parallel()
	const rows, children, size = 40, 1000, 64 << 10
	text := strings.Repeat("x", size) // shared: the test itself needs no memory
	for _, tc := range []struct {
		parallelism int
		unordered   bool
	}{{1, false}, {8, false}, {8, true}} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var made atomic.Int64
				split := step("split", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					var out []*pipeline.Record
					for i := range children {
						c := r.Child()
						c.Set("part", pipeline.RawJSON(fmt.Sprint(i)))
						c.Set("text", pipeline.Text(text))
						out = append(out, c)
					}
					made.Add(children)
					return out, nil
				})
				split.Parallelism, split.Unordered = tc.parallelism, tc.unordered
				sink := &stuck{release: make(chan struct{})}
				slim := step("slim", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					r.Delete("text")
					return []*pipeline.Record{r}, nil
				})
				slim.Parallelism = 1
				held := step("held", pass)
				held.Parallelism = 2
				run, err := engine.Start(t.Context(), pipeline.Pipeline{
					Source: numbers{rows: rows}, Steps: []pipeline.Step{split, held, slim}, Sink: sink,
				}, engine.Options{})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				// The windows of two stages, once waiting and once on their way out, two queues,
				// and what each worker has in its hands.
				most := int64(4*(64<<20)+3*(16<<20))/size + int64(tc.parallelism+4)*(children+512) + 2000
				if got := made.Load(); got > most {
					t.Errorf("%d children were made while nothing is written, want at most %d", got, most)
				}
				close(sink.release)
				s, err := run.Wait()
				if err != nil || s.Counts.Delivered != rows*children {
					t.Fatalf("error %v, counts %+v", err, s.Counts)
				}
				adds(t, s, &sink.memory, nil)
				for i, got := range sink.committed {
					if want := fmt.Sprintf(`{"n":%d,"part":%d}`, i/children, i%children); got != want && !tc.unordered {
						t.Fatalf("record %d is %s", i, got)
					}
				}
			})
		})
	}
}

// large is a source of rows of that size, all with the same bytes.
func large(rows, size int) sourceFunc {
	text := pipeline.Text(strings.Repeat("x", size))
	return func(yield func(*pipeline.Record, error) bool) {
		for range rows {
			if !yield(pipeline.NewRecord(pipeline.Field{Name: "text", Value: text}), nil) {
				return
			}
		}
	}
}

// TestHugeRowsPass, one at a time where there is no room for two.
func TestHugeRowsPass(t *testing.T) {
	t.Parallel()
	for _, parallelism := range []int{1, 64} {
		t.Run(fmt.Sprint(parallelism), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wait := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					time.Sleep(time.Second)
					return []*pipeline.Record{r}, nil
				})}
				wait.Parallelism = parallelism
				compute := step("compute", pass)
				compute.Parallelism = parallelism
				s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: large(5, 70<<20), Steps: []pipeline.Step{wait, compute, {Stage: pairs{}}}, Sink: nowhere{}}, engine.Options{})
				if err != nil || s.Counts.Delivered != 3 {
					t.Errorf("error %v, counts %+v", err, s.Counts)
				}
			})
		})
	}
}

// TestBatchesForTheSinkAreBounded in bytes too.
func TestBatchesForTheSinkAreBounded(t *testing.T) {
	t.Parallel()
	sink := &stuck{silent: true}
	_, err := engine.Run(t.Context(), pipeline.Pipeline{Source: large(60, 1<<20), Sink: sink, Flush: pipeline.Flush{Every: time.Hour}}, engine.Options{})
	if got := sink.largest.Load(); err != nil || got > 34<<20 || got < 10<<20 {
		t.Errorf("error %v, the largest batch has %d MiB", err, got>>20)
	}
}

// TestNobodyHoldsWhatIsDone: a worker that has nothing to do holds no record.
func TestNobodyHoldsWhatIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var held []weak.Pointer[pipeline.Record]
		wait := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			mu.Lock()
			held = append(held, weak.Make(r))
			mu.Unlock()
			time.Sleep(time.Second)
			return []*pipeline.Record{r}, nil
		})}
		loose := wait
		loose.Unordered = true
		run, err := engine.Start(t.Context(), pipeline.Pipeline{
			Source: thenHang{20}, Steps: []pipeline.Step{loose, wait, step("compute", pass), {Stage: pairs{}}}, Sink: nowhere{},
		}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		runtime.GC()
		runtime.GC()
		for i, w := range held {
			if w.Value() != nil {
				t.Errorf("record %d of %d is still held", i, len(held))
			}
		}
		run.Abort()
		_, _ = run.Wait()
	})
}

// thenHang is a source that has no more to say after so many rows, but does not end.
type thenHang struct{ rows int }

func (s thenHang) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for i := range s.rows {
			if !yield(pipeline.ParseRecord(fmt.Appendf(nil, `{"n":%d}`, i))) {
				return
			}
		}
		<-ctx.Done()
	}
}
