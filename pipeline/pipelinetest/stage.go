package pipelinetest

import (
	"context"
	"fmt"
	"slices"
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
	for _, parallelism := range []int{1, 2, 64} {
		t.Run(fmt.Sprintf("at parallelism %d", parallelism), func(t *testing.T) { c.runs(t, parallelism) })
	}
	stage := c.New(t)
	defer closeComponent(t, stage)
	if engine.NeedsOrder(stage) {
		return // what it makes depends on more than the record
	}
	t.Run("makes the same of a record again", func(t *testing.T) { c.repeats(t, stage) })
	t.Run("leaves nothing behind when it fails", func(t *testing.T) { c.fails(t, stage) })
	t.Run("returns when the context is done", func(t *testing.T) { c.cancelled(t, stage) })
}

// runs checks conservation and order: every row ends once, and what comes out is
// in the order of what went in.
func (c StageCase) runs(t *testing.T, parallelism int) {
	sink, dead := &Memory{}, &Memory{}
	step := pipeline.Step{Stage: c.New(t), Workload: c.Workload}
	step.Parallelism = parallelism
	in := c.mixed()
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: Rows(t, in), Steps: []pipeline.Step{step}, Sink: sink, DeadLetter: dead,
		StopWhen: pipeline.StopWhen{Off: true},
	}, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := sink.Rows(); !slices.Equal(got, c.Want) {
		t.Errorf("delivered:\ngot  %q\nwant %q", got, c.Want)
	}
	if got := len(dead.Rows()); got != len(c.Failing) {
		t.Errorf("%d dead letters, want %d: %q", got, len(c.Failing), dead.Rows())
	}
	k := s.Counts
	if k.Read+k.Made-k.Merged != k.Delivered+k.Dropped+k.DeadLettered || k.Unfinished+k.DroppedOnError != 0 {
		t.Errorf("the counts do not add up: %+v", k)
	}
}

// mixed is the rows with the failing ones in between.
func (c StageCase) mixed() []string {
	mixed := slices.Clone(c.Rows)
	for i, f := range c.Failing {
		mixed = slices.Insert(mixed, min(2*i, len(mixed)), f)
	}
	return mixed
}

func (c StageCase) repeats(t *testing.T, stage pipeline.Stage) {
	for _, row := range c.Rows {
		first, second := made(t, stage, row), made(t, stage, row)
		if !slices.Equal(first, second) {
			t.Errorf("%s became %q, and then %q", row, first, second)
		}
	}
}

func made(t *testing.T, stage pipeline.Stage, row string) []string {
	t.Helper()
	records, err := stage.Process(t.Context(), Record(t, row))
	if err != nil {
		t.Fatalf("%s: %v", row, err)
	}
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = string(r.AppendJSON(nil))
	}
	return out
}

// fails checks that the error of a wrong row is that row's alone, and that the
// record is as it was where the engine looks at it: in its snapshot.
func (c StageCase) fails(t *testing.T, stage pipeline.Stage) {
	for _, row := range c.Failing {
		r := Record(t, row)
		r.Fields()
		saved := r.Snapshot()
		_, err := stage.Process(t.Context(), r)
		if err == nil {
			t.Errorf("%s: no error", row)
			continue
		}
		if class, _ := pipeline.Classify(err); class != pipeline.ClassRecord {
			t.Errorf("%s: class %v (%v), want the record's own", row, class, err)
		}
		if got := string(saved.AppendJSON(nil)); got != row {
			t.Errorf("the record has changed: %s, was %s", got, row)
		}
	}
}

func (c StageCase) cancelled(t *testing.T, stage pipeline.Stage) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, "Process", func() { _, _ = stage.Process(ctx, Record(t, c.Rows[0])) })
}
