package pipelinetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// StageCase is a stage, rows, and what must become of them.
type StageCase struct {
	// New makes the stage, as it is before the first row.
	New func(t *testing.T) pipeline.Stage
	// Workload is what the stage's Spec declares.
	Workload pipeline.Workload
	// Rows go in, as JSON objects.
	Rows []string
	// Want comes out, in order.
	Want []string
	// Failing are rows of which each must become a dead letter. They are mixed in
	// between Rows; leave it empty for a stage to which no row can be wrong.
	Failing []string
}

// Stage checks that a stage keeps the laws of [pipeline.Stage].
func Stage(t *testing.T, c StageCase) {
	t.Helper()
	if len(c.Rows) == 0 {
		t.Fatal("the case needs rows")
	}
	hold(t, c.laws(t))
}

func (c StageCase) laws(t *testing.T) []law {
	t.Helper()
	stage := c.New(t)
	if closer, ok := stage.(pipeline.Closer); ok {
		if err := closer.Close(); err != nil {
			t.Errorf("close unused: %v", err)
		}
	}
	var laws []law
	for _, parallelism := range []int{1, 2, 64} {
		laws = append(laws, law{
			fmt.Sprintf("at parallelism %d", parallelism),
			func(t *testing.T) breaches { return c.runs(t, parallelism) },
		})
	}
	laws = append(
		laws,
		law{"makes the same of a record again", c.repeats},
		law{"leaves the record that came in", c.leavesInput},
		law{"lets go of what it made", c.letsGo},
		law{"returns when the context is done", c.cancelled},
		law{"ends when the run is aborted", c.aborted},
		law{"makes what its shape says", c.shape},
		law{"rehearses without a trace", c.rehearses},
	)
	if len(c.Failing) > 0 {
		laws = append(laws, law{"leaves nothing behind when it fails", c.fails})
	}
	if _, ok := stage.(pipeline.Batcher); ok {
		laws = append(laws, law{"has an outcome for every record of a batch", c.outcomes})
	}
	if _, ok := stage.(pipeline.Independent); ok {
		laws = append(laws, law{"makes of a record what it does without the others", c.independent})
	}
	if _, ok := stage.(pipeline.Stateful); ok {
		laws = append(laws, law{"goes on with what it saved", c.goesOn}, law{"saves what is new", c.savesNews}, law{"notices what is damaged", c.damaged})
	}
	if !engine.NeedsOrder(stage) {
		laws = append(laws, law{"works on several records at once", c.concurrent})
	}
	return laws
}

// runs checks conservation and order: every row ends once, and what comes out is
// in the order of what went in.
func (c StageCase) runs(t *testing.T, parallelism int) (b breaches) {
	sink, dead := &Memory{}, &Memory{}
	step := pipeline.Step{Stage: c.New(t), Workload: c.Workload}
	step.Parallelism = parallelism
	in := c.mixed()
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: Rows(t, in), Steps: []pipeline.Step{step}, Sink: sink, DeadLetter: dead,
		StopWhen: pipeline.StopWhen{Off: true},
	}, engine.Options{})
	if err != nil {
		b.addf("the run failed: %v", err)
	}
	b.equal("delivered", sink.Rows(), c.Want)
	if got := len(dead.Rows()); got != len(c.Failing) {
		b.addf("%d dead letters, want %d: %q", got, len(c.Failing), dead.Rows())
	}
	b.addUp(s.Counts)
	if k := s.Counts; k.Unfinished+k.DroppedOnError != 0 {
		b.addf("rows are left in the end: %+v", k)
	}
	return b
}

// mixed is the rows with the failing ones in between.
func (c StageCase) mixed() []string {
	mixed := slices.Clone(c.Rows)
	for i, f := range c.Failing {
		mixed = slices.Insert(mixed, min(2*i, len(mixed)), f)
	}
	return mixed
}

// records returns rows as a source would hand them out.
func records(t *testing.T, rows []string) []*pipeline.Record {
	t.Helper()
	out := make([]*pipeline.Record, len(rows))
	for i, row := range rows {
		out[i] = Record(t, row)
		out[i].Ref.Seq = uint64(i)
	}
	return out
}

// process has a stage work on records that belong together: one, or a batch. It
// returns one outcome for each.
func process(ctx context.Context, stage pipeline.Stage, batch []*pipeline.Record) []pipeline.Outcome {
	if b, ok := stage.(pipeline.Batcher); ok {
		return b.ProcessBatch(ctx, batch)
	}
	made, err := stage.Process(ctx, batch[0])
	return []pipeline.Outcome{{Records: made, Err: err}}
}

// batches cuts rows into what a stage takes at once.
func batches(stage pipeline.Stage, all []*pipeline.Record) [][]*pipeline.Record {
	size := 1
	if b, ok := stage.(pipeline.Batcher); ok {
		size, _ = b.Batch()
	}
	return slices.Collect(slices.Chunk(all, max(1, size)))
}

// shown is what a stage made of records, to be compared.
func shown(outcomes []pipeline.Outcome) string {
	var parts []string
	for _, o := range outcomes {
		for _, r := range o.Records {
			if r == nil {
				parts = append(parts, "nil")
				continue
			}
			parts = append(parts, string(r.AppendJSON(nil)))
		}
		if o.Merged {
			parts = append(parts, "merged")
		}
		if o.Err != nil {
			parts = append(parts, "error: "+o.Err.Error())
		}
		parts = append(parts, ".")
	}
	return strings.Join(parts, " ")
}

// made is what a stage makes of the rows, one after the other.
func (c StageCase) made(t *testing.T, stage pipeline.Stage) []string {
	t.Helper()
	var out []string
	for _, batch := range batches(stage, records(t, c.Rows)) {
		out = append(out, shown(process(t.Context(), stage, batch)))
	}
	return out
}

// repeats shows a stage each record twice, and another stage all of them. A stage
// that remembers must know a record again.
func (c StageCase) repeats(t *testing.T) (b breaches) {
	stage, other := c.New(t), c.New(t)
	var got []string
	again := batches(stage, records(t, c.Rows))
	for i, batch := range batches(stage, records(t, c.Rows)) {
		first := shown(process(t.Context(), stage, batch))
		if second := shown(process(t.Context(), stage, again[i])); first != second {
			b.addf("row %d became %s, and then %s", i, first, second)
		}
		got = append(got, first)
	}
	b.equal("made by another such stage", c.made(t, other), got)
	b.close(stage)
	b.close(other)
	return b
}

// leavesInput checks the record where the engine looks at it, to begin anew: in
// its snapshot. What was made must not reach it, nor one record another.
func (c StageCase) leavesInput(t *testing.T) (b breaches) {
	stage := c.New(t)
	defer b.close(stage)
	for _, batch := range batches(stage, records(t, c.Rows)) {
		saved := make([]pipeline.Record, len(batch))
		rows := make([]string, len(batch))
		for i, r := range batch {
			r.Fields()
			saved[i], rows[i] = r.Snapshot(), string(r.AppendJSON(nil))
		}
		outcomes := process(t.Context(), stage, batch)
		changeAll(&b, outcomes)
		for i := range saved {
			b.unchanged("the record", &saved[i], rows[i])
		}
	}
	return b
}

// changeAll changes each record that was made, and looks at those not changed yet.
func changeAll(b *breaches, outcomes []pipeline.Outcome) {
	var all []*pipeline.Record
	for _, o := range outcomes {
		all = append(all, o.Records...)
	}
	before := jsonOf(all)
	for i, r := range all {
		if got := string(r.AppendJSON(nil)); got != before[i] {
			b.addf("%s has become %s, as another record was changed that was made with it", before[i], got)
		}
		for _, f := range slices.Clone(r.Fields()) {
			r.Set(f.Name, pipeline.Text("changed"))
			r.Rename(f.Name, f.Name+" changed")
		}
	}
}

// letsGo looks at all that was made when everything is made: it must be what it
// was when it was passed on.
func (c StageCase) letsGo(t *testing.T) (b breaches) {
	stage := c.New(t)
	defer b.close(stage)
	var kept [][]pipeline.Outcome
	var atOnce, behind []string
	for _, batch := range batches(stage, records(t, c.Rows)) {
		outcomes := process(t.Context(), stage, batch)
		kept, atOnce = append(kept, outcomes), append(atOnce, shown(outcomes))
	}
	for _, outcomes := range kept {
		behind = append(behind, shown(outcomes))
	}
	b.equal("made, behind the last row", behind, atOnce)
	return b
}

func (c StageCase) cancelled(t *testing.T) (b breaches) {
	stage := c.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, batch := range batches(stage, records(t, c.mixed())) {
		within(&b, "Process", func() []pipeline.Outcome { return process(ctx, stage, batch) })
	}
	b.close(stage)
	return b
}

func (c StageCase) aborted(t *testing.T) (b breaches) {
	step := pipeline.Step{Stage: c.New(t), Workload: c.Workload}
	step.Parallelism = 4
	s := b.abort(t, pipeline.Pipeline{Steps: []pipeline.Step{step}, Sink: &Memory{}}, c.mixed())
	b.addUp(s.Counts)
	return b
}

func (c StageCase) shape(t *testing.T) (b breaches) {
	stage := c.New(t)
	defer b.close(stage)
	shaper, ok := stage.(pipeline.Shaper)
	if !ok {
		return nil
	}
	in := pipeline.Shape{Closed: true}
	for _, r := range records(t, c.Rows) {
		for _, f := range r.Fields() {
			in = in.With(f.Name, pipeline.AnyType)
		}
	}
	known, unknown := shaper.Shape(in), shaper.Shape(pipeline.Shape{})
	for _, batch := range batches(stage, records(t, c.Rows)) {
		for _, o := range process(t.Context(), stage, batch) {
			for _, r := range o.Records {
				b.fits(known, r)
				b.fits(unknown, r)
			}
		}
	}
	return b
}

func (c StageCase) rehearses(t *testing.T) (b breaches) {
	stage := c.New(t)
	defer b.close(stage)
	can, ok := stage.(pipeline.Rehearser)
	if !ok {
		return nil
	}
	for _, row := range c.Rows {
		r := Record(t, row)
		if err := can.Rehearse(r); err != nil {
			b.addf("%s cannot be rehearsed: %v", row, err)
		}
		b.unchanged("the rehearsed record", r, row)
	}
	rehearsed := c.New(t)
	defer b.close(rehearsed)
	b.equal("made after a rehearsal", c.made(t, stage), c.made(t, rehearsed))
	return b
}

// fails checks that the error of a wrong row is that row's alone, and that the
// stage works on the others as if there had been none.
func (c StageCase) fails(t *testing.T) (b breaches) {
	stage := c.New(t)
	defer b.close(stage)
	for i, row := range c.Failing {
		r := Record(t, row)
		r.Ref.Seq = uint64(len(c.Rows) + i)
		r.Fields()
		saved := r.Snapshot()
		o := process(t.Context(), stage, []*pipeline.Record{r})[0]
		if o.Err == nil {
			b.addf("%s: no error", row)
			continue
		}
		if class, _ := pipeline.Classify(o.Err); class != pipeline.ClassRecord {
			b.addf("%s: class %v (%v), want the record's own", row, class, o.Err)
		}
		b.unchanged("the record that failed", &saved, row)
	}
	other := c.New(t)
	defer b.close(other)
	b.equal("made after the failures", c.made(t, stage), c.made(t, other))
	return b
}

// outcomes checks batches of every size up to the stage's own.
func (c StageCase) outcomes(t *testing.T) (b breaches) {
	first := c.New(t)
	size, wait := first.(pipeline.Batcher).Batch()
	b.close(first)
	if size < 1 || wait < 0 {
		b.addf("a batch is %d records and waits %v", size, wait)
	}
	for n := 1; n <= min(size, len(c.Rows)); n++ {
		stage := c.New(t)
		got := process(t.Context(), stage, records(t, c.Rows[:n]))
		if len(got) != n {
			b.addf("%d outcomes for %d records", len(got), n)
		}
		host := false
		for i, o := range got {
			if o.Merged && !host {
				b.addf("record %d of %d is merged, and there is none before it to hold it", i, n)
			}
			host = host || len(o.Records) > 0
		}
		b.close(stage)
	}
	return b
}

// independent shows a stage all rows, right and wrong, as one batch and one by one.
func (c StageCase) independent(t *testing.T) (b breaches) {
	stage := c.New(t)
	defer b.close(stage)
	size, _ := stage.(pipeline.Batcher).Batch()
	rows := c.mixed()
	for from := 0; from < len(rows); from += max(1, size) {
		part := rows[from:min(len(rows), from+max(1, size))]
		together := process(t.Context(), stage, records(t, part))
		alone := make([]pipeline.Outcome, len(part))
		for i, r := range records(t, part) {
			alone[i] = process(t.Context(), stage, []*pipeline.Record{r})[0]
		}
		for i := range min(len(part), len(together)) {
			if got, want := shown(together[i:i+1]), shown(alone[i:i+1]); got != want {
				b.addf("%s becomes %s beside others, and %s alone", part[i], got, want)
			}
		}
	}
	return b
}

// goroutines use one stage at once; each takes the rows so many times.
const goroutines, rounds = 8, 4

// concurrent has several goroutines use one stage: what it makes of a record must
// not depend on what else is going on.
func (c StageCase) concurrent(t *testing.T) (b breaches) {
	one, shared := c.New(t), c.New(t)
	want := c.made(t, one)
	var all sync.WaitGroup
	var mu sync.Mutex
	for range goroutines {
		all.Go(func() {
			var mine breaches
			for range rounds {
				if a, ok := shared.(pipeline.Accountant); ok {
					a.Usage()
				}
				got := law{check: func(t *testing.T) (b breaches) {
					b.equal("made beside others", c.made(t, shared), want)
					return b
				}}.broken(t)
				mine = append(mine, got...)
			}
			mu.Lock()
			defer mu.Unlock()
			b = append(b, mine...)
		})
	}
	all.Wait()
	b.close(one)
	b.close(shared)
	return b
}
