package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/stages"
)

// What outlives a run in these tests: the rows, the paper that the sink writes on, and
// how often each row was asked for.
type world struct {
	rows  int
	paper paper
	dead  paper
	asked sync.Map // by name: *atomic.Int64
	dir   string
}

// paper is an output that can be cut back.
type paper struct {
	mu        sync.Mutex
	lines     []string
	committed int
}

// paperSink writes on a paper.
type paperSink struct {
	*paper
}

func (s *paperSink) Write(_ context.Context, batch []*pipeline.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range batch {
		s.lines = append(s.lines, string(r.AppendJSON(nil)))
	}
	return nil
}

func (s *paperSink) Commit(context.Context) (pipeline.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = len(s.lines)
	return pipeline.Position(strconv.Itoa(len(s.lines))), nil
}

func (s *paperSink) Close(context.Context) error { return nil }

func (s *paperSink) Delivery() pipeline.Delivery { return pipeline.ExactlyOnce }

func (s *paperSink) Start(context.Context, bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
	return nil
}

func (s *paperSink) Prepare(context.Context, bool) error { return nil }

func (s *paperSink) Check(context.Context, pipeline.Position) error { return nil }

func (s *paperSink) Rewind(_ context.Context, to pipeline.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if to != "" {
		var err error
		if n, err = strconv.Atoi(string(to)); err != nil || n > len(s.lines) {
			return fmt.Errorf("cannot go back to %s of %d lines", to, len(s.lines))
		}
	}
	s.lines = s.lines[:n]
	return nil
}

// rowsOf is a source that can begin in the middle.
type rowsOf struct {
	w    *world
	from int
	last func(i int) // called before each row
}

func (n *rowsOf) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for i := n.from; i < n.w.rows && ctx.Err() == nil; i++ {
			if n.last != nil {
				n.last(i)
			}
			r, err := pipeline.ParseRecord(fmt.Appendf(nil, `{"i":%d}`, i))
			if err != nil {
				panic(err)
			}
			r.Origin = pipeline.Origin{Path: "numbers", Offset: int64(i)}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// seekable adds the way to the middle.
type seekable struct{ *rowsOf }

func (s seekable) Identify(context.Context) (string, error) { return strconv.Itoa(s.w.rows), nil }

func (s seekable) Compare(_ context.Context, was string) (pipeline.Change, error) {
	n, err := strconv.Atoi(was)
	switch {
	case err != nil || n > s.w.rows:
		return 0, errors.New("there are fewer rows")
	case n < s.w.rows:
		return pipeline.Grown, nil
	default:
		return pipeline.Same, nil
	}
}

func (s seekable) Seek(_ context.Context, at pipeline.Origin) error {
	s.from = int(at.Offset)
	return nil
}

// asker is a stage that costs.
func (w *world) asker(name string, fail func(i int64) error, each func()) pipeline.Stage {
	return pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		v, _ := r.Lookup("i")
		i, err := strconv.ParseInt(v.Text(), 10, 64)
		if err != nil {
			return nil, err
		}
		count, _ := w.asked.LoadOrStore(name+" "+string(r.AppendJSON(nil)), new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
		each()
		if err := fail(i); err != nil {
			return nil, err
		}
		r.Set(name, pipeline.Text("about "+v.Text()))
		return []*pipeline.Record{r}, nil
	})
}

// askerInBatches is an asker that takes so many records at a time, to save time; a begun batch
// waits for more of them, or does not.
type askerInBatches struct {
	pipeline.Stage
	wait time.Duration
}

const batchOfAsker = 3

func (askerInBatches) Independent()                  {}
func (s askerInBatches) Batch() (int, time.Duration) { return batchOfAsker, s.wait }

func (s askerInBatches) ProcessBatch(ctx context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	out := make([]pipeline.Outcome, len(batch))
	for i, r := range batch {
		out[i].Records, out[i].Err = s.Process(ctx, r)
	}
	return out
}

// askerOf is the stage of a kind that costs, and how many records one of its calls has at most.
func (w *world) askerOf(kind, name string, fail func(i int64) error, each func()) (s pipeline.Stage, atMost int) {
	switch s = w.asker(name, fail, each); kind {
	case "ask in batches":
		return askerInBatches{s, 0}, batchOfAsker
	case "ask in batches in time":
		return askerInBatches{s, time.Millisecond}, batchOfAsker
	default:
		return s, 1
	}
}

// splitter makes so many children of a row as its number says, modulo 4: none of some.
func splitter() pipeline.Stage {
	return pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		v, _ := r.Lookup("i")
		i, err := strconv.Atoi(v.Text())
		var made []*pipeline.Record
		for c := range i % 4 {
			child := r.Child()
			child.Set("c", pipeline.RawJSON(strconv.Itoa(c)))
			made = append(made, child)
		}
		return made, err
	})
}

// twos merges two records into one.
type twos struct{}

func (twos) Process(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
	return nil, errors.New("works on batches")
}
func (twos) Batch() (int, time.Duration) { return 2, 0 }

func (twos) ProcessBatch(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	out := make([]pipeline.Outcome, len(batch))
	var both []string
	for i, r := range batch {
		both = append(both, string(r.AppendJSON(nil)))
		out[i].Merged = i > 0
	}
	batch[0].Set("both", pipeline.RawJSON("["+strings.Join(both, ",")+"]"))
	out[0].Records = batch[:1:1]
	return out
}

// regroup puts the records that were made of a row together again, or all of them.
func regroup(all bool) pipeline.Stage {
	c := stages.ReduceConfig{Aggregates: stages.Aggregates{
		By: []string{"i"}, Count: "n", AtMost: 1000, List: pipeline.Pairs{{Key: "cs", Value: "c"}, {Key: "both", Value: "both"}},
	}}
	if all {
		c.By, c.Max = nil, pipeline.Pairs{{Key: "i", Value: "i"}}
	}
	s, err := stages.NewReduce(c, pipeline.Env{})
	if err != nil {
		panic(err)
	}
	return s
}

// One run after the other is cut short at a moment of chance, and goes on; in the end
// every row is in the output once, and hardly any was paid for twice.
func TestARunThatIsCutShortGoesOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{rows: rapid.IntRange(0, 60).Draw(t, "rows"), dir: tempDir(t)}
		unordered := rapid.Bool().Draw(t, "unordered")
		seeks := rapid.Bool().Draw(t, "seeks")
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"ask", "split", "pair", "ask in batches", "reduce", "ask in batches in time", "reduce all"}), 1, 5).Draw(t, "stages")
		failing := rapid.SampledFrom([]int64{0, 3, 7}).Draw(t, "failing")
		parallelism := rapid.SampledFrom([]int{1, 2, 8}).Draw(t, "parallelism")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 40), 0, 5).Draw(t, "cuts")
		repaid := int64(0)
		for run := 0; ; run++ {
			cut := 1 << 30
			if run < len(cuts) {
				cut = cuts[run]
			}
			var e *engine.Execution
			var left atomic.Int64
			left.Store(int64(cut))
			ready := make(chan struct{})
			each := func() {
				if left.Add(-1) == 0 {
					<-ready
					e.Abort()
				}
			}
			fail := func(i int64) error {
				if failing > 0 && i%failing == 1 {
					return errors.New("no")
				}
				return nil
			}
			p := pipeline.Pipeline{Name: "t", Sink: &paperSink{paper: &w.paper}, DeadLetter: &paperSink{paper: &w.dead}, StopWhen: pipeline.StopWhen{Off: true}}
			p.Flush.Every = 1
			var src pipeline.Source = &rowsOf{w: w}
			if seeks {
				src = seekable{&rowsOf{w: w}}
			}
			p.Source = src
			asked, inFlight := false, 0
			for k, kind := range kinds {
				step := pipeline.Step{StepOptions: pipeline.StepOptions{Name: fmt.Sprintf("%s-%d", kind, k), Parallelism: parallelism, Unordered: unordered}}
				switch kind {
				case "split":
					step.Stage = splitter()
				case "pair":
					step.Stage = twos{}
				case "reduce", "reduce all":
					step.Stage = regroup(kind == "reduce all")
				default:
					var atMost int
					step.Stage, atMost = w.askerOf(kind, step.Name, fail, each)
					inFlight += parallelism * atMost
					step.Costs, step.Workload = true, pipeline.Waits
					step.Retry.Attempts = 1
					asked = true
				}
				p.Steps = append(p.Steps, step)
			}
			var err error
			e, err = engine.Start(context.Background(), p, engine.Options{State: w.dir})
			if err != nil {
				t.Fatal(err)
			}
			close(ready)
			s, err := e.Wait()
			if err != nil {
				t.Fatalf("run %d: %v", run, err)
			}
			if lost := s.Counts.Read + s.Counts.Made - s.Counts.Merged - s.Counts.Delivered - s.Counts.Dropped - s.Counts.DeadLettered - s.Counts.Absorbed - s.Counts.Unfinished; lost != 0 {
				t.Fatalf("run %d: %d are lost: %+v", run, lost, s.Counts)
			}
			if run < len(cuts) && left.Load() <= 0 && asked {
				repaid += int64(inFlight)
				// what was not committed is lost with the run
				if s.Counts.Unfinished > 0 || s.Counts.Read-s.Counts.Collected < int64(w.rows) {
					w.paper.lines = append(w.paper.lines, "torn")
				}
				continue
			}
			w.check(t, kinds, failing, unordered, s, repaid)
			again, err := engine.Run(context.Background(), p, engine.Options{State: w.dir})
			if err != nil || !again.NothingToDo {
				t.Fatalf("got %+v, %v, want nothing to do", again, err)
			}
			return
		}
	})
}

// check compares the output with that of an undisturbed run.
func (w *world) check(t *rapid.T, kinds []string, failing int64, unordered bool, s engine.Summary, repaid int64) {
	other := &world{rows: w.rows, dir: ""}
	p := pipeline.Pipeline{Source: &rowsOf{w: other}, Sink: &paperSink{paper: &other.paper}, DeadLetter: &paperSink{paper: &other.dead}, StopWhen: pipeline.StopWhen{Off: true}}
	for k, kind := range kinds {
		step := pipeline.Step{StepOptions: pipeline.StepOptions{Name: fmt.Sprintf("%s-%d", kind, k), Parallelism: 1}}
		switch kind {
		case "split":
			step.Stage = splitter()
		case "pair":
			step.Stage = twos{}
		case "reduce", "reduce all":
			step.Stage = regroup(kind == "reduce all")
		default:
			step.Stage, _ = other.askerOf(kind, step.Name, func(i int64) error {
				if failing > 0 && i%failing == 1 {
					return errors.New("no")
				}
				return nil
			}, func() {})
			step.Workload, step.Retry.Attempts = pipeline.Waits, 1
		}
		p.Steps = append(p.Steps, step)
	}
	want, err := engine.Run(context.Background(), p, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := slices.Clone(w.paper.lines), slices.Clone(other.paper.lines)
	if unordered {
		slices.Sort(got)
		slices.Sort(wanted)
	}
	paired := slices.Contains(kinds, "pair") && unordered // which two get together is chance
	if !paired && !slices.Equal(got, wanted) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
	dead, wantedDead := slices.Clone(w.dead.lines), slices.Clone(other.dead.lines)
	slices.Sort(dead)
	slices.Sort(wantedDead)
	if !paired && !slices.Equal(dead, wantedDead) {
		t.Fatalf("got dead letters\n%s\nwant\n%s", strings.Join(dead, "\n"), strings.Join(wantedDead, "\n"))
	}
	// The children of a group of children count as one where the group has ended and its
	// row has not.
	pair := slices.Index(kinds, "pair")
	vague := paired || pair >= 0 && slices.Contains(kinds[:pair], "split") && slices.Contains(kinds[pair:], "split")
	if s.Counts.Read-s.Counts.Collected != int64(w.rows) || !vague && s.Counts != want.Counts {
		t.Fatalf("got %+v, want %+v", s.Counts, want.Counts)
	}
	if twice := w.calls() - other.calls(); twice > repaid {
		t.Fatalf("%d calls were paid for again, want %d at most", twice, repaid)
	}
}

// calls is how often somebody was asked.
func (w *world) calls() (n int64) {
	w.asked.Range(func(_, v any) bool { n += v.(*atomic.Int64).Load(); return true })
	return n
}

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "rowmill-state-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
