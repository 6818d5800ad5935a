package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// parted is a pipeline in two parts in a folder: its rows, counted by k.
type parted struct {
	dir  string
	yaml string
	// stage is called for each row in front of the stage that reduces, if it is set.
	stage pipeline.StageFunc
	// behind is called for each behind it.
	behind pipeline.StageFunc
}

func newParted(t *testing.T, rows int) *parted {
	t.Helper()
	p := &parted{dir: t.TempDir(), yaml: `
name: parted
source: {file: {path: DIR/in.jsonl}}
stages:
  - {name: costly, map: {set: {a: i}}}
  - {name: counted, reduce: {by: [k], count: n, sum: {s: i}}}
  - {name: after, map: {set: {z: 'fromJSON(k == "x" ? "{" : "1")'}}}
sink: {file: {path: DIR/out.jsonl}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`}
	p.rows(t, rows)
	return p
}

// rows writes the source: k is a, b or c, and in the last row x; the first has no k.
func (p *parted) rows(t *testing.T, n int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("{\"i\":0}\n")
	for i := 1; i < n; i++ {
		k := string(rune('a' + i%3))
		if i == n-1 {
			k = "x"
		}
		fmt.Fprintf(&b, "{\"i\":%d,\"k\":%q}\n", i, k)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "in.jsonl"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *parted) load(t *testing.T) pipeline.Pipeline {
	t.Helper()
	registry, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	made, err := load.Bytes("p.yaml", []byte(strings.ReplaceAll(p.yaml, "DIR", p.dir)), load.Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	if p.stage != nil {
		made.Steps[0].Stage, made.Steps[0].Costs = p.stage, true
	}
	if p.behind != nil {
		made.Steps[2].Stage = p.behind
	}
	return made
}

func (p *parted) run(t *testing.T, o engine.Options) (engine.Summary, error) {
	t.Helper()
	if o.State == "" {
		o.State = filepath.Join(p.dir, "state")
	}
	return engine.Run(t.Context(), p.load(t), o)
}

func (p *parted) read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}

// What ten rows become: k is x in the last of them.
const (
	partedOut    = `{"k":"a","n":2,"s":9,"z":1}` + "\n" + `{"k":"b","n":3,"s":12,"z":1}` + "\n" + `{"k":"c","n":3,"s":15,"z":1}` + "\n"
	partedCounts = "{Read:14 Collected:4 Made:0 Merged:0 Delivered:3 Dropped:0 DroppedOnError:0 DeadLettered:2 Absorbed:9 Unfinished:0}"
)

// Rows that are put together have ended, and what comes of them are rows of their own; the
// dead letters of both parts are in one place; and a second run has nothing to do.
func TestAPipelineInParts(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"", "off"} {
		p := newParted(t, 10)
		s, err := p.run(t, engine.Options{State: state})
		if err != nil || fmt.Sprintf("%+v", s.Counts) != partedCounts || len(s.Stages) != 3 || len(s.Reasons) != 2 {
			t.Fatalf("state %q: got %+v, %v", state, s, err)
		}
		dead := p.read(t, "dead.jsonl")
		if got := p.read(t, "out.jsonl"); got != partedOut {
			t.Errorf("state %q: got %s, want %s", state, got, partedOut)
		}
		if strings.Count(dead, "\n") != 2 || !strings.Contains(dead, `"stage":"counted"`) || !strings.Contains(dead, `"stage":"after"`) {
			t.Errorf("state %q: the dead letters are %s, want one of each part", state, dead)
		}
		if state == "off" {
			continue
		}
		s, err = p.run(t, engine.Options{})
		if err != nil || !s.NothingToDo || fmt.Sprintf("%+v", s.Counts) != partedCounts || p.read(t, "dead.jsonl") != dead || p.read(t, "out.jsonl") != partedOut {
			t.Errorf("again: got %+v, %v; want nothing to do", s, err)
		}
		if left, err := filepath.Glob(filepath.Join(p.dir, "state", "*", "spool", "*", "*")); err != nil || len(left) > 0 {
			t.Errorf("%v are left of what was put together", left)
		}
		p.rows(t, 11)
		if _, err := p.run(t, engine.Options{}); err == nil || !strings.Contains(err.Error(), "--fresh") {
			t.Errorf("the source has grown: got %v, want that --fresh starts over", err)
		}
		p.rows(t, 10)
		if s, err = p.run(t, engine.Options{Fresh: true}); err != nil || s.NothingToDo || p.read(t, "out.jsonl") != partedOut {
			t.Errorf("fresh: got %+v, %v", s, err)
		}
	}
}

// A run that is stopped in either part goes on in that, and pays for nothing twice.
func TestAPartThatIsStoppedGoesOn(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]bool{"first": false, "last": true} {
		for _, hard := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s part hard %v", name, hard), func(t *testing.T) {
				t.Parallel()
				p := newParted(t, 10)
				var e *engine.Execution
				var once sync.Once
				paid := map[string]int{}
				var mu sync.Mutex
				begun := make(chan struct{})
				stop := func(at string, r *pipeline.Record) {
					mu.Lock()
					paid[at+string(r.AppendJSON(nil))]++
					n := len(paid)
					mu.Unlock()
					if stopping := map[bool]int{false: 4, true: 12}[last]; n == stopping {
						once.Do(func() {
							<-begun
							if e.Stop(); hard {
								e.Abort()
							}
						})
					}
				}
				p.stage = func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					if stop("stage", r); ctx.Err() != nil {
						return nil, ctx.Err()
					}
					return []*pipeline.Record{r}, nil
				}
				p.behind = func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					if stop("behind", r); ctx.Err() != nil {
						return nil, ctx.Err()
					}
					return []*pipeline.Record{r}, nil
				}
				made := p.load(t)
				for i := range made.Steps {
					made.Steps[i].Parallelism = 1
				}
				made.Steps[0].Workload, made.Steps[2].Workload, made.Steps[2].Costs = pipeline.Waits, pipeline.Waits, true
				var err error
				if e, err = engine.Start(t.Context(), made, engine.Options{State: filepath.Join(p.dir, "state")}); err != nil {
					t.Fatal(err)
				}
				close(begun)
				s, err := e.Wait()
				if err != nil || !s.Stopped {
					t.Fatalf("got %+v, %v; want that it was stopped", s.Counts, err)
				}
				if out := p.read(t, "out.jsonl"); !last && out != "" {
					t.Errorf("in the output is %s, before all rows were put together", out)
				}
				s, err = p.run(t, engine.Options{})
				if err != nil || !s.Resumed && last || s.Counts.Unfinished != 0 || s.Counts.Absorbed != 9 || s.Counts.Delivered != 4 {
					t.Errorf("going on: got %+v, resumed %v, %v", s.Counts, s.Resumed, err)
				}
				if got := p.read(t, "out.jsonl"); strings.Count(got, "\n") != 4 || !strings.HasPrefix(got, `{"k":"a","n":2,"s":9}`) {
					t.Errorf("got %s", got)
				}
				for what, n := range paid {
					if n > 1 && !hard {
						t.Errorf("paid %d times for %s", n, what)
					}
				}
			})
		}
	}
}

// What a limit has read is not all there is: such a run shows what comes of it, and keeps
// nothing that another could take for the whole.
func TestALimitedRunInParts(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	s, err := p.run(t, engine.Options{Limit: 4})
	if err != nil || s.Counts.Absorbed != 3 || s.Counts.Delivered != 3 || s.State != "" || !strings.Contains(s.NoState, "no more than 4") {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is state: %v", err)
	}
}

func TestWhatAPipelineInPartsCannotDo(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	p.yaml = strings.Replace(p.yaml, "in.jsonl}", "in.jsonl}, key: i", 1)
	if _, err := p.run(t, engine.Options{New: true}); err == nil || !strings.Contains(err.Error(), "counted") {
		t.Errorf("--new: got %v, want that counted cannot have that", err)
	}
	when := p.load(t)
	when.Steps[1].When = anyRow{}
	if _, err := engine.Run(t.Context(), when, engine.Options{}); err == nil || !strings.Contains(err.Error(), "filter") {
		t.Errorf("when: got %v, want that a filter does it", err)
	}
	if _, err := engine.Bind[map[string]any, map[string]any](p.load(t).Steps[1].Stage, pipeline.StepOptions{}); err == nil {
		t.Error("it was bound, and would never answer")
	}
}

type anyRow struct{}

func (anyRow) Bool(*pipeline.Record) (bool, error) { return true, nil }

// Without the state of one part nobody knows what the rows of the next one are.
func TestTheStateOfAPartIsGone(t *testing.T) {
	t.Parallel()
	for _, gone := range []string{"before.twice", "before.twice/before.counted"} {
		p := newParted(t, 10)
		p.yaml = strings.Replace(p.yaml, "  - {name: after", "  - {name: twice, reduce: {by: [n], list: {k: k}}}\n  - {name: after", 1)
		p.yaml = strings.Replace(p.yaml, "{name: costly, map: {set: {a: i}}}", `{name: costly, map: {set: {k: '"a"'}}}`, 1) // no dead letters
		p.yaml = strings.Replace(p.yaml, `fromJSON(k == "x" ? "{" : "1")`, "n", 1)
		if s, err := p.run(t, engine.Options{}); err != nil || s.Counts.Delivered != 1 || s.Counts.Collected != 2 || s.Counts.Absorbed != 11 {
			t.Fatalf("got %+v, %v", s.Counts, err)
		}
		out := p.read(t, "out.jsonl")
		if err := os.RemoveAll(filepath.Join(p.dir, "state", filepath.FromSlash(gone))); err != nil {
			t.Fatal(err)
		}
		p.stage = func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
			t.Errorf("%s is gone, and a row is paid for again", gone)
			return nil, nil
		}
		var refused *engine.PreflightError
		if _, err := p.run(t, engine.Options{}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "--fresh") {
			t.Errorf("%s is gone: got %v, want that it is refused", gone, err)
		}
		if got := p.read(t, "out.jsonl"); got != out || out == "" {
			t.Errorf("%s is gone: the output is %q, was %q", gone, got, out)
		}
	}
}

// A run that begins is not misled by what parts of another one have left.
func TestAPartOfARunThatIsNoMore(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	for range 2 {
		if _, err := p.run(t, engine.Options{}); err != nil || p.read(t, "out.jsonl") != partedOut {
			t.Fatalf("got %s, %v", p.read(t, "out.jsonl"), err)
		}
		for _, name := range []string{"state/checkpoint", "out.jsonl", "dead.jsonl"} {
			if err := os.Remove(filepath.Join(p.dir, filepath.FromSlash(name))); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.yaml = strings.Replace(p.yaml, "name: counted", "name: numbered", 1)
	if _, err := p.run(t, engine.Options{Fresh: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "state", "before.counted", "checkpoint")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of a stage that is gone is still there: %v", err)
	}
}

// A failure in the first part is that of the run, and the last one does not begin.
func TestAPartThatFails(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	p.stage = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if r.Ref.Seq == 5 {
			return nil, pipeline.Fatal("broken", errors.New("it is broken"))
		}
		return []*pipeline.Record{r}, nil
	}
	s, err := p.run(t, engine.Options{})
	if err == nil || !strings.Contains(err.Error(), "it is broken") || s.Counts.Unfinished == 0 || s.Counts.Delivered != 0 {
		t.Errorf("got %+v, %v", s.Counts, err)
	}
	p.stage = nil
	if s, err = p.run(t, engine.Options{}); err != nil || fmt.Sprintf("%+v", s.Counts) != partedCounts || p.read(t, "out.jsonl") != partedOut {
		t.Errorf("going on: got %+v, %v", s.Counts, err)
	}
}

// What cannot be written shows before the first row is paid for.
func TestAnOutputThatIsThereIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"out.jsonl", "dead.jsonl"} {
		p := newParted(t, 10)
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.stage = func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
			t.Errorf("%s is there, and a row was paid for", name)
			return nil, nil
		}
		var refused *engine.PreflightError
		if _, err := p.run(t, engine.Options{}); !errors.As(err, &refused) || p.read(t, name) != "{}\n" {
			t.Errorf("%s: got %v, want that it is refused", name, err)
		}
	}
}

// Dead letters of the last part are run again; those of the first stay, and a warning says so.
func TestRetryInParts(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	if _, err := p.run(t, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	p.yaml = strings.NewReplacer(`k == "x" ? "{" : "1"`, `"1"`, "DIR/dead.jsonl", "DIR/again.jsonl").Replace(p.yaml)
	e, err := engine.StartRetry(t.Context(), p.load(t), engine.Options{State: filepath.Join(p.dir, "state")},
		engine.Retry{DeadLetters: filepath.Join(p.dir, "dead.jsonl"), Again: filepath.Join(p.dir, "again.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Wait()
	if err != nil || s.Counts.Delivered != 1 || s.Counts.DeadLettered != 1 {
		t.Errorf("got %+v, %v", s.Counts, err)
	}
	if got, want := p.read(t, "out.jsonl"), partedOut+`{"k":"x","n":1,"s":9,"z":1}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if dead := p.read(t, "dead.jsonl"); strings.Count(dead, "\n") != 1 || !strings.Contains(dead, `"stage":"counted"`) {
		t.Errorf("got %s, want the letter of the first part alone", dead)
	}
	if s, err := p.run(t, engine.Options{}); err == nil && !s.NothingToDo {
		t.Errorf("after that: got %+v", s.Counts)
	}
}

// closings counts how often it is closed, and how often it was begun.
type closings struct {
	*paperSink
	begun, closed *atomic.Int64
}

func (c closings) Start(ctx context.Context, fresh bool) error {
	c.begun.Add(1)
	return c.paperSink.Start(ctx, fresh)
}

func (c closings) Close(ctx context.Context) error {
	c.closed.Add(1)
	return c.paperSink.Close(ctx)
}

// The sink for dead letters is begun once and closed once, however far the parts get.
func TestTheSinkOfAllPartsIsClosed(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(i uint64) error{
		"both parts": func(uint64) error { return nil },
		"the first fails": func(i uint64) error {
			if i < 9 {
				return errors.New("a dead letter")
			}
			return pipeline.Fatal("broken", errors.New("it is broken"))
		},
	} {
		p := newParted(t, 10)
		p.stage = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			return []*pipeline.Record{r}, fail(r.Ref.Seq)
		}
		made := p.load(t)
		dead := closings{&paperSink{paper: new(paper)}, new(atomic.Int64), new(atomic.Int64)}
		made.DeadLetter = dead
		made.StopWhen.Off = true
		_, err := engine.Run(t.Context(), made, engine.Options{State: filepath.Join(p.dir, "state")})
		if (err != nil) != (name != "both parts") || dead.begun.Load() != 1 || dead.closed.Load() != 1 {
			t.Errorf("%s: begun %d times, closed %d times, %v; want once", name, dead.begun.Load(), dead.closed.Load(), err)
		}
	}
}

// told has a function told what becomes of each row.
type told struct {
	pipeline.Source
	tell func(pipeline.Settlement)
}

func (s told) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for r, err := range s.Source.Records(ctx) {
			if r != nil {
				r.OnSettle(s.tell)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Messages are acknowledged as absorbed once the groups are durable.
func TestWhatWasPutTogetherIsAcknowledged(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	var mu sync.Mutex
	endings := map[pipeline.Ending]int{}
	made := p.load(t)
	made.Source = told{made.Source, func(s pipeline.Settlement) {
		mu.Lock()
		defer mu.Unlock()
		endings[s.Ending]++
	}}
	if _, err := engine.Run(t.Context(), made, engine.Options{State: filepath.Join(p.dir, "state")}); err != nil {
		t.Fatal(err)
	}
	if endings[pipeline.Absorbed] != 9 || endings[pipeline.DeadLettered] != 1 || len(endings) != 2 {
		t.Errorf("got %v, want 9 that were absorbed and a dead letter", endings)
	}
}

// A second run at the same time is refused, whichever part the first is in.
func TestTwoRunsInPartsAtOnce(t *testing.T) {
	t.Parallel()
	p := newParted(t, 10)
	tried := make(chan error, 2)
	other := &parted{dir: p.dir, yaml: p.yaml}
	try := func(r *pipeline.Record, at string) {
		if r.Ref.Seq == 1 {
			_, err := other.run(t, engine.Options{})
			tried <- fmt.Errorf("%s: %w", at, err)
		}
	}
	p.stage = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		try(r, "first")
		return []*pipeline.Record{r}, nil
	}
	p.behind = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		try(r, "last")
		return []*pipeline.Record{r}, nil
	}
	if _, err := p.run(t, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-tried; !strings.Contains(err.Error(), "state") {
			t.Errorf("got %v, want that another run has the state", err)
		}
	}
}
