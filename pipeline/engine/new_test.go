package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// table is a source that somebody else writes into between two runs.
type table struct {
	lines []string
	from  int
}

func (s *table) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		lines := s.lines // a run that was aborted does not wait for its source
		for i := s.from; i < len(lines) && ctx.Err() == nil; i++ {
			r, err := pipeline.ParseRecord([]byte(lines[i]))
			if err != nil {
				r = pipeline.Unreadable([]byte(lines[i]))
			}
			r.Origin = pipeline.Origin{Path: "table", Offset: int64(i)}
			if !yield(r, err) {
				return
			}
		}
	}
}

// seekableTable knows what has become of it, and can begin in the middle.
type seekableTable struct{ *table }

func (s seekableTable) Identify(context.Context) (string, error) {
	return strings.Join(s.lines, "\n"), nil
}

func (s seekableTable) Compare(_ context.Context, was string) (pipeline.Change, error) {
	switch now := strings.Join(s.lines, "\n"); {
	case now == was:
		return pipeline.Same, nil
	case strings.HasPrefix(now, was+"\n"):
		return pipeline.Grown, nil
	default:
		return 0, errors.New("it is another")
	}
}

func (s seekableTable) Seek(_ context.Context, at pipeline.Origin) error {
	s.from = int(at.Offset)
	return nil
}

// nightly is a table, what was made of it night after night, and what that is to be.
type nightly struct {
	lines       []string
	seeks       bool
	unordered   bool
	kinds       []string
	drop        bool // records that fail are dropped
	parallelism int
	dir         string
	paper, dead paper
	asked       atomic.Int64

	done map[string]bool
	want []string
}

func (n *nightly) pipeline(lines []string, paper, dead *paper, asked *atomic.Int64, each func()) pipeline.Pipeline {
	p := pipeline.Pipeline{Name: "nightly", Key: "k", Sink: &paperSink{paper: paper}, DeadLetter: &paperSink{paper: dead}, StopWhen: pipeline.StopWhen{Off: true}}
	p.Flush.Every = 1
	p.Source = &table{lines: lines}
	if n.seeks {
		p.Source = seekableTable{&table{lines: lines}}
	}
	for i, kind := range n.kinds {
		step := pipeline.Step{StepOptions: pipeline.StepOptions{Name: fmt.Sprint(kind, i), Parallelism: n.parallelism, Unordered: n.unordered}}
		switch kind {
		case "split":
			step.Stage = pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				made := []*pipeline.Record{r.Child(), r.Child()}
				made[1].Set("second", pipeline.RawJSON("true"))
				return made, nil
			})
		case "pair":
			step.Stage = twos{}
		default:
			step.Costs, step.Workload, step.Retry.Attempts = true, pipeline.Waits, 1
			if n.drop {
				step.OnError = pipeline.DropRecord
			}
			step.Stage = pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				asked.Add(1)
				each()
				v, _ := r.Lookup("v")
				_, second := r.Lookup("second")
				if v.Text() == "4" || v.Text() == "3" && second {
					return nil, errors.New("no")
				}
				r.Set(kind, pipeline.Text("about "+v.Text()))
				return []*pipeline.Record{r}, nil
			})
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

// expect adds what the next run is to make, and returns how often it has to ask for that.
func (n *nightly) expect(t *rapid.T, onlyNew bool) (calls int64, fresh int) {
	var rows []string
	for _, line := range n.lines {
		if onlyNew && n.done[line] {
			continue
		}
		rows = append(rows, line)
		n.done[line] = true
	}
	asks := slices.ContainsFunc(n.kinds, func(kind string) bool { return strings.HasPrefix(kind, "ask") })
	for _, line := range rows {
		if n.drop && asks && strings.Contains(line, `"v":4`) { // nothing is left of it: it is tried again
			delete(n.done, line)
		}
	}
	var out, dead paper
	var asked atomic.Int64
	if _, err := engine.Run(context.Background(), n.pipeline(rows, &out, &dead, &asked, func() {}), engine.Options{}); err != nil {
		t.Fatal(err)
	}
	n.want = append(n.want, out.lines...)
	return asked.Load(), len(rows)
}

// night runs the pipeline to its end, cut short now and then.
func (n *nightly) night(t *rapid.T, onlyNew bool, cuts []int) engine.Summary {
	calls, fresh := n.expect(t, onlyNew)
	before, repaid := n.asked.Load(), int64(0)
	for run := 0; ; run++ {
		var left atomic.Int64
		left.Store(1 << 30)
		if run < len(cuts) {
			left.Store(int64(cuts[run]))
		}
		var e *engine.Execution
		ready := make(chan struct{})
		p := n.pipeline(n.lines, &n.paper, &n.dead, &n.asked, func() {
			if left.Add(-1) == 0 {
				<-ready
				e.Abort()
			}
		})
		o := engine.Options{State: n.dir, New: onlyNew && (run == 0 || rapid.Bool().Draw(t, "asked for new rows again"))}
		var err error
		if e, err = engine.Start(context.Background(), p, o); err != nil {
			t.Fatal(err)
		}
		close(ready)
		s, err := e.Wait()
		if err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		if left.Load() <= 0 {
			repaid += int64(n.parallelism * len(n.kinds))
			n.paper.lines = append(n.paper.lines, "torn")
			continue
		}
		if got := n.asked.Load() - before; got > calls+repaid {
			t.Fatalf("%d calls, want %d and %d more at most", got, calls, repaid)
		}
		if run == 0 && onlyNew && len(n.lines) > 0 && s.NothingToDo != (s.Resumed && fresh == 0) {
			t.Fatalf("nothing to do: %v with %d new rows", s.NothingToDo, fresh)
		}
		if onlyNew && s.Known != int64(len(n.lines)-fresh) {
			t.Fatalf("%d rows were known, want %d", s.Known, len(n.lines)-fresh)
		}
		return s
	}
}

// Night after night rows are added, changed, moved, repeated and removed, and those alone
// are paid for that are new; whatever is cut short, each is in the output once.
func TestOnlyNewRowsAreDone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := &nightly{
			seeks: rapid.Bool().Draw(t, "seeks"), unordered: rapid.Bool().Draw(t, "unordered"), drop: rapid.Bool().Draw(t, "drop"),
			parallelism: rapid.SampledFrom([]int{1, 2, 8}).Draw(t, "parallelism"), dir: tempDir(t), done: map[string]bool{},
		}
		kinds := []string{"ask", "split", "ask2", "pair"}
		if n.drop {
			kinds = kinds[:3] // of a pair that fails one row may be elsewhere too
		}
		n.kinds = rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 3).Draw(t, "stages")
		first := rapid.Bool().Draw(t, "first night for new rows")
		for night := range rapid.IntRange(1, 4).Draw(t, "nights") {
			n.change(t)
			onlyNew := night > 0 || first
			n.night(t, onlyNew, rapid.SliceOfN(rapid.IntRange(1, 20), 0, 3).Draw(t, "cuts"))
			got, want := slices.Clone(n.paper.lines), slices.Clone(n.want)
			if n.unordered {
				slices.Sort(got)
				slices.Sort(want)
			}
			if paired := n.unordered && slices.Contains(n.kinds, "pair"); !paired && !slices.Equal(got, want) {
				t.Fatalf("night %d: got\n%s\nwant\n%s", night, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

func (n *nightly) change(t *rapid.T) {
	line := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "no key") == 0 {
			return fmt.Sprintf(`{"v":%d,"x":%d}`, rapid.IntRange(0, 4).Draw(t, "v"), rapid.IntRange(0, 99).Draw(t, "x"))
		}
		return fmt.Sprintf(`{"k":%d,"v":%d}`, rapid.IntRange(0, 40).Draw(t, "k"), rapid.IntRange(0, 4).Draw(t, "v"))
	})
	n.lines = slices.Clone(n.lines) // of which a source may still read
	for i := range n.lines {
		switch rapid.IntRange(0, 9).Draw(t, "what becomes of a row") {
		case 0:
			n.lines[i] = line.Draw(t, "instead")
		case 1:
			n.lines[i] = ""
		case 2:
			n.lines[i], n.lines[0] = n.lines[0], n.lines[i]
		}
	}
	n.lines = slices.DeleteFunc(n.lines, func(l string) bool { return l == "" })
	n.lines = append(n.lines, rapid.SliceOfN(line, 0, 20).Draw(t, "added")...)
	at := rapid.IntRange(0, len(n.lines)).Draw(t, "at")
	n.lines = slices.Insert(n.lines, at, rapid.SliceOfN(line, 0, 4).Draw(t, "inserted")...)
	if n.drop { // whether what failed is tried again with a twin of it hangs on where the run was cut
		slices.Sort(n.lines)
		n.lines = slices.Compact(n.lines)
	}
}
