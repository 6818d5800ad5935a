package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/extension"
	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
)

// item is a program's own type, in its go-streams flows too.
type item struct {
	N    int    `json:"n"`
	Seen string `json:"seen,omitempty"`
}

// sinkOf is where a pipeline's items end up.
type sinkOf struct {
	mu  sync.Mutex
	got []item
}

func (s *sinkOf) sink() pipeline.Sink {
	return sinks.Func(func(_ context.Context, batch []item) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, batch...)
		return nil
	})
}

func (s *sinkOf) numbers() []int {
	var n []int
	for _, i := range s.got {
		n = append(n, i.N)
	}
	slices.Sort(n)
	return n
}

// TestLoose puts those operators of go-streams between two stages that lose, make, gather
// and reorder records.
func TestLoose(t *testing.T) {
	t.Parallel()
	even := func(i item) bool { return i.N%2 == 0 }
	twice := func(i item) []item { return []item{i, {N: -i.N - 1}} }
	all := func(each []item) []item { return each }
	seen := func(i item) item { i.Seen = "yes"; return i }
	untouched := func(r *pipeline.Record) *pipeline.Record { return r }
	for name, c := range map[string]struct {
		stage   pipeline.Stage
		emitted int64
		check   func(item) bool
	}{
		"filter":     {engine.Loose[item, item](flow.NewFilter(even, 2)), 500, even},
		"flat map":   {engine.Loose[item, item](flow.NewFlatMap(twice, 1)), 2000, nil},
		"map of 8":   {engine.Loose[item, item](flow.NewMap(seen, 8)), 1000, func(i item) bool { return i.Seen == "yes" }},
		"batch":      {engine.Loose[item, item](engine.Chain(flow.NewBatch[item](7, time.Second), flow.NewFlatMap(all, 1))), 1000, nil},
		"throttler":  {engine.Loose[item, item](flow.NewThrottler(100_000, time.Second, 1000, flow.Backpressure)), 1000, nil},
		"fold":       {engine.Loose[item, item](flow.NewFold(item{}, func(i, sum item) item { sum.N += i.N; return sum })), 1000, nil},
		"nothing":    {engine.Loose[item, item](engine.Chain()), 1000, nil},
		"of records": {engine.Loose[*pipeline.Record, *pipeline.Record](flow.NewMap(untouched, 4)), 1000, nil},
		"records in": {engine.Loose[*pipeline.Record, item](flow.NewMap(func(r *pipeline.Record) item { return item{N: number(r)} }, 1)), 1000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out sinkOf
			s, err := engine.Run(t.Context(), pipeline.Pipeline{
				Source: numbers{rows: 1000}, Steps: []pipeline.Step{step("before", pass), {Stage: c.stage, StepOptions: pipeline.StepOptions{Name: "loose"}}, step("behind", pass)}, Sink: out.sink(),
			}, engine.Options{})
			k := s.Counts
			if err != nil || k.Read != 1000+c.emitted || k.Absorbed != 1000 || k.Delivered != c.emitted || int64(len(out.got)) != c.emitted {
				t.Errorf("error %v, %d in the sink, counts %+v; want %d emitted", err, len(out.got), k, c.emitted)
			}
			for _, i := range out.got {
				if c.check != nil && !c.check(i) {
					t.Errorf("%+v got through", i)
				}
			}
			if !strings.Contains(fmt.Sprint(s.Guarantees), "stage loose is a go-streams operator") || !strings.Contains(s.NoState, "stage loose") {
				t.Errorf("the summary says %q and %q of it", s.Guarantees, s.NoState)
			}
		})
	}
}

// TestLooseKeepsNoState: nobody could say what to do again.
func TestLooseKeepsNoState(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	dir := filepath.Join(t.TempDir(), "state")
	m := &messages{Source: numbers{rows: 10}}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: m, Steps: []pipeline.Step{{Stage: engine.Loose[item, item](flow.NewPassThrough())}}, Sink: &memory{}, Key: "n",
	}, engine.Options{State: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil || s.State != "" || s.NoState == "" || !strings.Contains(logged.String(), "no state is kept: stage stage-1") {
		t.Errorf("error %v, state %q (%s), logged %s", err, s.State, s.NoState, &logged)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a folder for state (%v)", err)
	}
	if got := m.once(t); got[pipeline.Absorbed] != 10 {
		t.Errorf("told %v, want all absorbed", got)
	}
}

func TestLooseRefuses(t *testing.T) {
	t.Parallel()
	batch, same := flow.NewBatch[item](3, time.Second), flow.NewPassThrough()
	t.Cleanup(func() { close(batch.In()); close(same.In()) }) // their runs do not begin
	for name, c := range map[string]struct {
		stage pipeline.Stage
		want  string // in the error; "" for dead letters
	}{
		"what it emits is of another type": {engine.Loose[item, item](flow.NewMap(func(i item) string { return "x" }, 1)), "stage stage-1: it emitted a string, want a engine_test.item"},
		"a batch":                          {engine.Loose[item, []item](batch), "type []engine_test.item cannot be a row"},
		"a record that is no such value":   {engine.Loose[struct{ N string }, item](flow.NewMap(func(struct{ N string }) item { return item{} }, 1)), ""},
		"with When":                        {engine.Loose[item, item](same), "cannot be had with When"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := pipeline.Step{Stage: c.stage}
			if name == "with When" {
				step.When = panicsWhen{}
			}
			source := pipeline.Source(numbers{rows: 10})
			if c.want == "" {
				source = renamed{source}
			}
			sink := &memory{}
			s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: source, Steps: []pipeline.Step{step}, Sink: sink}, engine.Options{})
			switch {
			case c.want == "" && (err != nil || s.Counts.DeadLettered != 10):
				t.Errorf("error %v, counts %+v, want dead letters", err, s.Counts)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
			adds(t, s, sink, nil)
		})
	}
}

// renamed has a number in a field where a text is expected.
type renamed struct{ pipeline.Source }

func (s renamed) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for r, err := range s.Source.Records(ctx) {
			r.Rename("n", "N")
			if !yield(r, err) {
				return
			}
		}
	}
}

// operator is a go-streams operator made of a function.
type operator struct {
	in, out chan any
}

func newOperator(f func(in <-chan any, out chan<- any)) *operator {
	o := &operator{make(chan any), make(chan any)}
	go f(o.in, o.out)
	return o
}

func (o *operator) In() chan<- any  { return o.in }
func (o *operator) Out() <-chan any { return o.out }
func (o *operator) Via(next streams.Flow) streams.Flow {
	flow.DoStream(o, next)
	return next
}
func (o *operator) To(sink streams.Sink) { flow.DoStream(o, sink); sink.AwaitCompletion() }

// TestForeignIsHeldToItsDeclaration names the record with which it was broken.
func TestForeignIsHeldToItsDeclaration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		operator func(in <-chan any, out chan<- any)
		want     string
	}{
		"loses the last": {func(in <-chan any, out chan<- any) {
			defer close(out)
			for v := range in {
				if number(v.(*pipeline.Record)) != 99 {
					out <- v
				}
			}
		}, "has lost 1 records, first 0:99"},
		"loses one": {func(in <-chan any, out chan<- any) {
			defer close(out)
			for v := range in {
				if number(v.(*pipeline.Record)) != 50 {
					out <- v
				}
			}
		}, "passed on record 0:51 and not yet record 0:50"},
		"turns them round": {func(in <-chan any, out chan<- any) {
			defer close(out)
			for v := range in {
				out <- <-in
				out <- v
			}
		}, "passed on record 0:1 and not yet record 0:0"},
		"copies": {func(in <-chan any, out chan<- any) {
			defer close(out)
			for v := range in {
				out <- v.(*pipeline.Record).Clone()
			}
		}, "that it was not handed"},
		"repeats": {func(in <-chan any, out chan<- any) {
			defer close(out)
			for v := range in {
				out <- v
				out <- v
			}
		}, "ended twice"},
		"ends early": {func(in <-chan any, out chan<- any) {
			out <- <-in
			close(out)
		}, "ended before its input did"},
		"emits nil": {func(in <-chan any, out chan<- any) {
			defer close(out)
			for range in {
				out <- (*pipeline.Record)(nil)
			}
		}, "passed on a *pipeline.Record; it must"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sink := &memory{}
				m := &messages{Source: numbers{rows: 100}}
				s, err := engine.Run(t.Context(), pipeline.Pipeline{
					Source: m, Steps: []pipeline.Step{{Stage: engine.Foreign(newOperator(c.operator))}}, Sink: sink,
				}, engine.Options{})
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				adds(t, s, sink, nil)
				m.once(t)
				t.Log(err)
			})
		})
	}
}

// TestForeignThatNeverEnds: no stop waits for it, and every row has ended all the same.
func TestForeignThatNeverEnds(t *testing.T) {
	t.Parallel()
	quit := make(chan struct{})
	defer close(quit)
	swallow := func(in <-chan any, out chan<- any) {
		for {
			select {
			case v := <-in:
				if v == nil {
					in = nil
				} else if number(v.(*pipeline.Record)) < 10 {
					out <- v
				}
			case <-quit:
				close(out)
				return
			}
		}
	}
	for _, loose := range []bool{false, true} {
		t.Run(fmt.Sprintf("loose %v", loose), func(t *testing.T) {
			stage := engine.Foreign(newOperator(swallow))
			if loose {
				stage = engine.Loose[*pipeline.Record, *pipeline.Record](newOperator(swallow))
			}
			sink := &memory{}
			m := &messages{Source: numbers{rows: 100}}
			e, err := engine.Start(t.Context(), pipeline.Pipeline{Source: m, Steps: []pipeline.Step{{Stage: stage}}, Sink: sink, DrainTimeout: 50 * time.Millisecond, Flush: pipeline.Flush{Records: 1}}, engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-e.Done():
				t.Error("the run has ended by itself")
			case <-time.After(50 * time.Millisecond):
			}
			e.Stop()
			s, err := e.Wait()
			if k := s.Counts; err != nil || k.Delivered+k.Unfinished != 100 && !loose || k.Delivered > 10 || loose && k.Absorbed != 100 {
				t.Errorf("error %v, counts %+v", err, k)
			}
			adds(t, s, sink, nil)
			m.once(t)
		})
	}
}

// TestForeignSource reads what go-streams' own sources and flows emit.
func TestForeignSource(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "in.txt")
	if err := os.WriteFile(path, []byte("1\n2\n3\n4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	parse := func(line string) item { n, _ := strconv.Atoi(line); return item{N: n} }
	watch := engine.NewWatch(nil, slog.LevelWarn)
	var mu sync.Mutex
	acked := map[int]pipeline.Ending{}
	settle := func(i item, s pipeline.Settlement) { mu.Lock(); acked[i.N] = s.Ending; mu.Unlock() }
	from := extension.NewFileSource(path, extension.WithLogger(watch.Logger())).Via(flow.NewMap(parse, 1))
	odd := step("odd", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if number(r)%2 == 0 {
			return nil, errors.New("even")
		}
		return []*pipeline.Record{r}, nil
	})
	var out sinkOf
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: engine.ForeignSource(from, settle), Steps: []pipeline.Step{odd}, Sink: out.sink()}, engine.Options{Watch: watch})
	if err != nil || !slices.Equal(out.numbers(), []int{1, 3}) || s.Counts.DeadLettered != 2 {
		t.Errorf("error %v, got %v, counts %+v", err, out.got, s.Counts)
	}
	if len(acked) != 4 || acked[1] != pipeline.Delivered || acked[4] != pipeline.DeadLettered {
		t.Errorf("acknowledged %v", acked)
	}
	if len(s.Guarantees) != 1 || !strings.Contains(s.Guarantees[0], "engine.Watch") {
		t.Errorf("the summary says %q", s.Guarantees)
	}
}

func TestForeignSourceOfAnotherType(t *testing.T) {
	t.Parallel()
	in := make(chan any, 1) // of that size: what it holds
	in <- "text"
	_, err := engine.Run(t.Context(), pipeline.Pipeline{Source: engine.ForeignSource[item](extension.NewChanSource(in), nil), Sink: &memory{}}, engine.Options{})
	if err == nil || !strings.Contains(err.Error(), "emitted a string, want a engine_test.item") {
		t.Errorf("error %v", err)
	}
	_, err = engine.Run(t.Context(), pipeline.Pipeline{Source: engine.ForeignSource[string](extension.NewChanSource(in), nil), Sink: &memory{}}, engine.Options{})
	if err == nil || !strings.Contains(err.Error(), "type string cannot be a row") {
		t.Errorf("error %v", err)
	}
}

// TestForeignSourceThatNeverEnds: a stop, and a limit, end the run.
func TestForeignSourceThatNeverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, limit := range []int64{0, 5} {
			in := make(chan any, 10) // of that size: what it holds
			for n := range 10 {
				in <- item{N: n}
			}
			told := map[int]pipeline.Ending{}
			source := engine.ForeignSource(extension.NewChanSource(in), func(i item, s pipeline.Settlement) { told[i.N] = s.Ending })
			sink := &memory{}
			e, err := engine.Start(t.Context(), pipeline.Pipeline{Source: source, Sink: sink}, engine.Options{Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			if limit == 0 {
				time.Sleep(time.Hour)
				e.Stop()
			}
			s, err := e.Wait()
			want := 10 - len(in)
			if err != nil || s.Counts.Delivered != int64(want) || len(told) != want || limit > 0 && want != 5 {
				t.Errorf("limit %d: error %v, counts %+v, %d told, %d are left in the channel", limit, err, s.Counts, len(told), len(in))
			}
		}
	})
}

// TestForeignSink writes with go-streams' own sinks.
func TestForeignSink(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.txt")
	watch := engine.NewWatch(nil, slog.LevelWarn)
	line := flow.NewMap(func(i item) string { return fmt.Sprintln(i.N) }, 1)
	file := engine.ForeignSink[item](extension.NewFileSink(path, extension.WithLogger(watch.Logger())), line)
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 3}, Sink: file}, engine.Options{Watch: watch})
	if got, _ := os.ReadFile(path); err != nil || s.Counts.Delivered != 3 || string(got) != "0\n1\n2\n" {
		t.Errorf("error %v, counts %+v, the file has %q", err, s.Counts, got)
	}
	if s.Delivery != pipeline.NotKept || len(s.Guarantees) != 1 || !strings.Contains(s.Guarantees[0], "sink is a go-streams sink") {
		t.Errorf("the summary says %q, %q", s.Delivery, s.Guarantees)
	}

	out := make(chan any, 100) // of that size: all of them
	s, err = engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 100}, Sink: engine.ForeignSink[item](extension.NewChanSink(out))}, engine.Options{})
	if err != nil || s.Counts.Delivered != 100 || len(out) != 100 || (<-out).(item).N != 0 {
		t.Errorf("error %v, counts %+v, %d in the channel", err, s.Counts, len(out))
	}
}

func TestForeignSinkThatNeverEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		takes bool
		err   string
	}{
		"takes nothing":      {false, ""},
		"takes, and goes on": {true, "has not ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quit := make(chan struct{})
			synctest.Test(t, func(t *testing.T) {
				quit = make(chan struct{})
				sink := stuckSink{make(chan any), quit}
				if c.takes {
					go func() {
						for range sink.in {
						}
					}()
				}
				e, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Sink: engine.ForeignSink[item](sink), DrainTimeout: time.Second}, engine.Options{})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				began := time.Now()
				e.Stop()
				s, err := e.Wait()
				if took := time.Since(began); took > time.Minute {
					t.Errorf("the stop took %v", took)
				}
				if c.err == "" && s.Counts.Unfinished != 10 || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("error %v, counts %+v", err, s.Counts)
				}
				close(quit)
			})
		})
	}
}

// stuckSink never ends.
type stuckSink struct {
	in   chan any
	quit chan struct{}
}

func (s stuckSink) In() chan<- any   { return s.in }
func (s stuckSink) AwaitCompletion() { <-s.quit }

// TestWatch: an error that a connector only logs fails the run.
func TestWatch(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "no", "such.txt")
	for name, c := range map[string]struct {
		pipeline func(log *slog.Logger) pipeline.Pipeline
		want     string
	}{
		"a source without its file": {func(log *slog.Logger) pipeline.Pipeline {
			from := extension.NewFileSource(nowhere, extension.WithLogger(log)).Via(flow.NewMap(func(string) item { return item{} }, 1))
			return pipeline.Pipeline{Source: engine.ForeignSource[item](from, nil), Sink: &memory{}}
		}, "Failed to open file name=" + nowhere},
		"a sink without its folder": {func(log *slog.Logger) pipeline.Pipeline {
			text := flow.NewMap(func(item) string { return "x" }, 1)
			return pipeline.Pipeline{Source: numbers{rows: 5}, Sink: engine.ForeignSink[item](extension.NewFileSink(nowhere, extension.WithLogger(log)), text)}
		}, "Failed to open file name=" + nowhere},
		"a sink that throws away": {func(log *slog.Logger) pipeline.Pipeline {
			path := filepath.Join(filepath.Dir(filepath.Dir(nowhere)), "there.txt")
			return pipeline.Pipeline{Source: numbers{rows: 5}, Sink: engine.ForeignSink[item](extension.NewFileSink(path, extension.WithLogger(log)))}
		}, "Discarded stream element type=engine_test.item"},
		"an operator in the middle": {func(log *slog.Logger) pipeline.Pipeline {
			complain := func(r *pipeline.Record) *pipeline.Record {
				if number(r) == 3 {
					log.With("part", 1).WithGroup("of").With("it", 2).Error("no answer", "row", 3)
				}
				return r
			}
			return pipeline.Pipeline{Source: numbers{rows: 5}, Steps: []pipeline.Step{{Stage: engine.Foreign(flow.NewMap(complain, 1))}}, Sink: &memory{}}
		}, "no answer part=1 of.it=2 of.row=3"},
		"only a remark": {func(log *slog.Logger) pipeline.Pipeline {
			log.Info("all is well")
			return pipeline.Pipeline{Source: numbers{rows: 5}, Sink: &memory{}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			watch := engine.NewWatch(slog.NewTextHandler(&logged, nil), slog.LevelWarn)
			_, err := engine.Run(t.Context(), c.pipeline(watch.Logger()), engine.Options{Watch: watch})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if logged.Len() == 0 {
				t.Error("nothing went on to the next handler")
			}
		})
	}
}

// panickingVariable names the variable that makes the test binary run a pipeline with an
// operator in it that panics at a row: "folder:row".
const panickingVariable = "ROWMILL_TEST_PANICKING"

func runPanicking(spec string) int {
	dir, at, _ := strings.Cut(spec, ":")
	row, _ := strconv.Atoi(at)
	sink, err := sinks.NewFile(sinks.FileConfig{Path: filepath.Join(dir, "out.jsonl"), Format: "jsonl", Compression: "none"}, pipeline.Env{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bomb := func(r *pipeline.Record) *pipeline.Record {
		if number(r) == row {
			panic("in a goroutine of its own")
		}
		return r
	}
	_, err = engine.Run(context.Background(), pipeline.Pipeline{
		Source: numbers{rows: 500, pause: 100 * time.Microsecond}, Sink: sink, Flush: pipeline.Flush{Records: 10, Every: time.Millisecond},
		Steps: []pipeline.Step{step("before", pass), {Stage: engine.Foreign(flow.NewMap(bomb, 1))}, step("behind", pass)},
	}, engine.Options{State: filepath.Join(dir, "state")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestForeignThatEndsEarly fails the run, which goes on with another one where it was.
func TestForeignThatEndsEarly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, ends := range []int{100, 400, -1} {
		early := newOperator(func(in <-chan any, out chan<- any) {
			defer close(out)
			for v := range in {
				if number(v.(*pipeline.Record)) == ends {
					return
				}
				out <- v
			}
		})
		_, err := engine.Run(t.Context(), pipeline.Pipeline{
			Source: numbers{rows: 500}, Sink: fileTo(t, dir, "out.jsonl"), Flush: pipeline.Flush{Records: 10},
			Steps: []pipeline.Step{step("before", pass), {Stage: engine.Foreign(early)}, step("behind", pass)},
		}, engine.Options{State: filepath.Join(dir, "state")})
		if said := fmt.Sprint(err); (ends < 0) != (err == nil) || ends >= 0 && !strings.Contains(said, "ended before its input did") {
			t.Errorf("it was to end at row %d: %v", ends, err)
		}
	}
	got := lines(t, filepath.Join(dir, "out.jsonl"))
	if len(got) != 500 || got[0] != `{"n":0}` || got[499] != `{"n":499}` {
		t.Errorf("%d rows, want each of 500 once", len(got))
	}
}

// TestForeignThatPanics: nobody can catch it, so that the process ends; the next one goes on.
func TestForeignThatPanics(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(row int) (string, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", panickingVariable, dir, row))
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
	for _, row := range []int{100, 400} {
		// flow.Map closes its output while it panics: on a busy machine the run has failed with
		// that, and the process has ended, before the panic ends it.
		said, err := run(row)
		if died := strings.Contains(said, "panic: in a goroutine of its own") || strings.Contains(said, "ended before its input did"); err == nil || !died {
			t.Fatalf("it was to panic at row %d: %v\n%s", row, err, said)
		}
	}
	if said, err := run(-1); err != nil {
		t.Fatalf("it was to go on: %v\n%s", err, said)
	}
	got := lines(t, filepath.Join(dir, "out.jsonl"))
	if len(got) != 500 || got[0] != `{"n":0}` || got[499] != `{"n":499}` {
		t.Errorf("%d rows, want each of 500 once", len(got))
	}
}
