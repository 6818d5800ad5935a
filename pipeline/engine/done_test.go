package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/stages"
)

// book is a run over a table that writes on a paper.
type book struct {
	lines       []string
	key         string
	steps       []pipeline.Step
	paper, dead paper
	noDead      bool
	dir         string
}

func newBook(t *testing.T, steps ...pipeline.Step) *book {
	t.Helper()
	return &book{key: "k", dir: t.TempDir(), steps: steps}
}

func (b *book) pipeline() pipeline.Pipeline {
	p := pipeline.Pipeline{
		Name: "book", Key: b.key, Source: seekableTable{&table{lines: b.lines}}, Steps: b.steps,
		Sink: &paperSink{paper: &b.paper}, DeadLetter: &paperSink{paper: &b.dead}, StopWhen: pipeline.StopWhen{Off: true},
	}
	if b.noDead {
		p.DeadLetter = nil
	}
	return p
}

func (b *book) run(o engine.Options) (engine.Summary, error) {
	o.State = b.dir
	return engine.Run(context.Background(), b.pipeline(), o)
}

// must runs and wants the output, line by line, to be this.
func (b *book) must(t *testing.T, o engine.Options, want ...string) engine.Summary {
	t.Helper()
	s, err := b.run(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(b.paper.lines, " "); got != strings.Join(want, " ") {
		t.Errorf("got  %s\nwant %s", got, strings.Join(want, " "))
	}
	return s
}

func onlyNew() engine.Options { return engine.Options{New: true} }

// failsFours fails for the rows whose v is 4.
func failsFours(on pipeline.OnError) pipeline.Step {
	s := step("fails", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if v, _ := r.Lookup("v"); v.Text() == "4" {
			return nil, errors.New("no")
		}
		return []*pipeline.Record{r}, nil
	})
	s.OnError = on
	return s
}

func TestNewRowsOnly(t *testing.T) {
	t.Parallel()
	const a, b, c, changed = `{"k":"a"}`, `{"k":"b"}`, `{"k":"c"}`, `{"k":"a","v":1}`
	n := newBook(t)
	n.lines = []string{a, b}
	n.must(t, engine.Options{}, a, b)

	s := n.must(t, onlyNew(), a, b)
	if !s.NothingToDo || s.Known != 2 || s.Changed != 0 || s.Counts.Read != 2 {
		t.Errorf("nothing new: got %+v", s)
	}

	n.lines = []string{c, changed, c, b} // one in front, one changed, one twice, one gone
	s = n.must(t, onlyNew(), a, b, c, changed)
	if s.NothingToDo || s.Known != 2 || s.Changed != 1 || s.DoneBefore != 2 || s.Counts.Read != 4 || s.Counts.Delivered != 4 {
		t.Errorf("two new rows: got %+v", s)
	}
	if s := n.must(t, engine.Options{}, a, b, c, changed); !s.NothingToDo {
		t.Errorf("a plain run behind that: got %+v", s)
	}

	n.lines = append(n.lines, a, `{"k":"d"}`) // rows behind need no --new, and then none is known
	n.must(t, engine.Options{}, a, b, c, changed, a, `{"k":"d"}`)
	if s := n.must(t, onlyNew(), a, b, c, changed, a, `{"k":"d"}`); !s.NothingToDo || s.Known != 6 {
		t.Errorf("nothing new again: got %+v", s)
	}
}

// What is not known by a key is known by what it says, unreadable rows too.
func TestNewRowsWithoutAKey(t *testing.T) {
	t.Parallel()
	n := newBook(t)
	n.lines = []string{`{"v":1}`, `{"k":null,"v":2}`, `rubbish`}
	n.must(t, engine.Options{}, n.lines[:2]...)
	n.lines = append([]string{`{"v":3}`, `other rubbish`}, n.lines...)
	s := n.must(t, onlyNew(), `{"v":1}`, `{"k":null,"v":2}`, `{"v":3}`)
	if s.Known != 3 || len(n.dead.lines) != 2 {
		t.Errorf("got %d known, dead letters %v", s.Known, n.dead.lines)
	}
}

func TestFailedRowsAreTriedAgainUnlessTheirDeadLettersCan(t *testing.T) {
	t.Parallel()
	lines := []string{`{"k":"a","v":4}`, `{"k":"b"}`}
	split := step("split", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		made := []*pipeline.Record{r.Child(), r.Child()}
		made[1].Set("v", pipeline.RawJSON("1"))
		return made, nil
	})
	pair := pipeline.Step{Stage: twos{}, StepOptions: pipeline.StepOptions{Name: "pair", Parallelism: 1}}
	cases := map[string]struct {
		steps  []pipeline.Step
		noDead bool
		known  int64
	}{
		"dead letters are kept":     {[]pipeline.Step{failsFours(pipeline.DeadLetters)}, false, 2},
		"dead letters are not kept": {[]pipeline.Step{failsFours(pipeline.DeadLetters)}, true, 1},
		"dropped on error":          {[]pipeline.Step{failsFours(pipeline.DropRecord)}, false, 1},
		"a child is delivered":      {[]pipeline.Step{split, failsFours(pipeline.DropRecord)}, false, 2},
		"a group fails":             {[]pipeline.Step{pair, failsFours(pipeline.DropRecord)}, false, 0},
		"filtered": {[]pipeline.Step{step("none", func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
			return nil, nil
		})}, false, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newBook(t, c.steps...)
			n.lines, n.noDead = lines, c.noDead
			if _, err := n.run(engine.Options{}); err != nil {
				t.Fatal(err)
			}
			s, err := n.run(onlyNew())
			if err != nil || s.Known != c.known {
				t.Errorf("got %d known, %v, want %d", s.Known, err, c.known)
			}
		})
	}
}

// A stage that remembers does so over runs for new rows, which have other numbers.
func TestNewRowsMeetWhatStagesRemember(t *testing.T) {
	t.Parallel()
	dedupe := func() pipeline.Step {
		s, err := stages.NewDedupe(stages.DedupeConfig{By: []string{"v"}, Memory: 1 << 20, WhenFull: "stop"}, pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return pipeline.Step{Stage: s, StepOptions: pipeline.StepOptions{Name: "dedupe"}}
	}
	n := newBook(t, dedupe())
	n.lines = []string{`{"k":"a","v":1}`, `{"k":"b","v":2}`}
	n.must(t, engine.Options{}, n.lines...)
	n.steps[0] = dedupe()
	n.lines = []string{`{"k":"c","v":1}`, `{"k":"d","v":3}`, `{"k":"a","v":1}`}
	n.must(t, onlyNew(), `{"k":"a","v":1}`, `{"k":"b","v":2}`, `{"k":"d","v":3}`)
}

// A limit counts the new rows, and what is left is for the next run.
func TestALimitCountsNewRows(t *testing.T) {
	t.Parallel()
	row := func(i int) string { return fmt.Sprintf(`{"k":%d}`, i) }
	n := newBook(t)
	n.lines = []string{row(1), row(2)}
	n.must(t, engine.Options{}, n.lines...)
	n.lines = []string{row(1), row(3), row(2), row(4), row(5)}
	few := onlyNew()
	few.Limit = 2
	n.must(t, few, row(1), row(2), row(3), row(4))
	n.lines = append(n.lines, row(6)) // it goes on, be it asked for new rows or not
	n.must(t, engine.Options{}, row(1), row(2), row(3), row(4), row(5), row(6))
}

func TestWhatARunForNewRowsNeeds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before  func(t *testing.T, n *book)
		options engine.Options
		want    string
	}{
		"a key":             {func(_ *testing.T, n *book) { n.key = "" }, onlyNew(), "--new knows a row by its key: name the field beside the source"},
		"not to start over": {func(*testing.T, *book) {}, engine.Options{New: true, Fresh: true}, "choose one"},
		"a key from the first run on": {func(t *testing.T, n *book) {
			n.key = ""
			n.must(t, engine.Options{}, n.lines...)
			n.key = "k"
		}, onlyNew(), "did not note which rows are done"},
		"the same key": {func(t *testing.T, n *book) {
			n.must(t, engine.Options{}, n.lines...)
			n.key = "v"
		}, onlyNew(), "changed: source.key; --fresh starts over"},
		"the file": {func(t *testing.T, n *book) {
			n.must(t, engine.Options{}, n.lines...)
			if err := os.Remove(filepath.Join(n.dir, "done")); err != nil {
				t.Fatal(err)
			}
		}, onlyNew(), "the rows that are done: open"},
		"all of the file": {func(t *testing.T, n *book) {
			n.must(t, engine.Options{}, n.lines...)
			if err := os.Truncate(filepath.Join(n.dir, "done"), 10); err != nil {
				t.Fatal(err)
			}
		}, onlyNew(), "it has 10 bytes and should have 40; --fresh starts over"},
		"the file as it was": {func(t *testing.T, n *book) {
			n.must(t, engine.Options{}, n.lines...)
			path := filepath.Join(n.dir, "done")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[20]++
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, onlyNew(), "it is damaged at byte 0; --fresh starts over"},
		"the source of a run that is not finished": {func(t *testing.T, n *book) {
			n.must(t, engine.Options{Limit: 1}, n.lines[0])
			n.lines = []string{`{"k":"other"}`}
		}, onlyNew(), "put it back and run it to its end, then --new takes the rows that are new or have changed"},
		"to be asked for": {func(t *testing.T, n *book) {
			n.must(t, engine.Options{}, n.lines...)
			n.lines = []string{`{"k":"other"}`}
		}, engine.Options{}, "--new takes the rows that are new or have changed, --fresh starts over"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newBook(t)
			n.lines = []string{`{"k":"a"}`, `{"k":"b"}`}
			c.before(t, n)
			before := strings.Join(n.paper.lines, "\n")
			if _, err := n.run(c.options); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.Join(n.paper.lines, "\n") != before {
				t.Error("the output has changed")
			}
		})
	}
	if _, err := engine.Run(t.Context(), newBook(t).pipeline(), onlyNew()); err == nil || !strings.Contains(err.Error(), "needs the state of the run, which is not kept") {
		t.Errorf("without state: got %v", err)
	}
}

// Where rows come from may change from run to run; what is done with them may not.
func TestNewRowsOfAnotherPlace(t *testing.T) {
	t.Parallel()
	run := func(dir string, out *paper, path, key, prompt string) (engine.Summary, error) {
		p := pipeline.Pipeline{Key: "k", Source: seekableTable{&table{lines: []string{`{"k":"` + path + `"}`}}}, Sink: &paperSink{paper: out}}
		p.Fingerprint = map[string]string{"source.file.path": path, "source.key": key, "stages[0].llm.prompt": prompt}
		return engine.Run(context.Background(), p, engine.Options{State: dir, New: true})
	}
	dir, out := t.TempDir(), new(paper)
	for _, path := range []string{"monday", "tuesday"} {
		if _, err := run(dir, out, path, "k", "why?"); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.lines) != 2 {
		t.Errorf("got %v", out.lines)
	}
	if _, err := run(dir, out, "friday", "k", "what?"); err == nil || !strings.Contains(err.Error(), "changed: stages[0].llm.prompt") {
		t.Errorf("another prompt: got %v", err)
	}
	if _, err := run(dir, out, "friday", "other", "why?"); err == nil || !strings.Contains(err.Error(), "changed: source.key") {
		t.Errorf("another key: got %v", err)
	}
}

// A row takes 16 bytes in the file, once, however many checkpoints there are, and a run
// that drops all rows does not keep them in memory until its end.
func TestTheDoneRowsAreAFewBytes(t *testing.T) {
	t.Parallel()
	const rows = 300_000
	n := newBook(t, step("none", func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) { return nil, nil }))
	n.lines = make([]string, rows)
	for i := range n.lines {
		n.lines[i] = fmt.Sprintf(`{"k":%d}`, i)
	}
	var writes writeCount
	o := engine.Options{State: n.dir}.On(countedFS{fsys.OS{}, &writes}, time.Hour)
	if _, err := engine.Run(t.Context(), n.pipeline(), o); err != nil {
		t.Fatal(err)
	}
	size, frames := sizeOfFiles(t, n.dir, "done"), int64(rows/(1<<16)+2)
	if size < 16*rows || size > 16*rows+8*8*frames {
		t.Errorf("the file has %d bytes, want 16 for each of %d rows", size, rows)
	}
	if writes.most > 3*16<<16 {
		t.Errorf("%d bytes were written at once", writes.most)
	}
}

// writeCount is how much was written to the file of the rows that are done.
type writeCount struct{ most int }

type countedFS struct {
	fsys.FS
	writes *writeCount
}

type countedFile struct {
	fsys.File
	writes *writeCount
}

func (f countedFile) Fd() uintptr { return f.File.(interface{ Fd() uintptr }).Fd() }

func (f countedFile) Write(p []byte) (int, error) {
	if filepath.Base(f.Name()) == "done" {
		f.writes.most = max(f.writes.most, len(p))
	}
	return f.File.Write(p)
}

func (f countedFS) OpenFile(path string, flag int, perm os.FileMode) (fsys.File, error) {
	file, err := f.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return countedFile{file, f.writes}, nil
}
