package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// batches is a Batcher made of a function.
type batches struct {
	size int
	f    func(ctx context.Context, batch []*pipeline.Record) []pipeline.Outcome
}

func (b batches) Batch() (int, time.Duration) { return b.size, 0 }
func (b batches) Process(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
	return nil, errors.New("one at a time")
}

func (b batches) ProcessBatch(ctx context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	return b.f(ctx, batch)
}

func runBatches(t *testing.T, rows, size, parallelism int, f func(context.Context, []*pipeline.Record) []pipeline.Outcome) (engine.Summary, *memory, *memory, error) {
	t.Helper()
	sink, dead := &memory{}, &memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: numbers{rows: rows}, Sink: sink, DeadLetter: dead,
		Steps: []pipeline.Step{{Stage: batches{size, f}, StepOptions: pipeline.StepOptions{Parallelism: parallelism}}},
	}, engine.Options{})
	adds(t, s, sink, dead)
	return s, sink, dead, err
}

// TestMergedBehindADroppedOne: a record merges into the nearest one before it that
// is there; one that was dropped in between does not count.
func TestMergedBehindADroppedOne(t *testing.T) {
	t.Parallel()
	s, sink, _, err := runBatches(t, 8, 4, 1, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
		return []pipeline.Outcome{{Records: b[:1]}, {Merged: true}, {}, {Merged: true}}
	})
	if c := s.Counts; err != nil || c.Merged != 4 || c.Dropped != 2 || len(sink.committed) != 2 {
		t.Errorf("error %v, counts %+v", err, c)
	}
}

// TestOutcomesMayBeEachOthersRecords: a stage that turns a batch round has lost nothing.
func TestOutcomesMayBeEachOthersRecords(t *testing.T) {
	t.Parallel()
	s, sink, _, err := runBatches(t, 100, 10, 4, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
		out := make([]pipeline.Outcome, len(b))
		for i := range b {
			out[i].Records = []*pipeline.Record{b[len(b)-1-i]}
		}
		return out
	})
	if err != nil || s.Counts.Delivered != 100 {
		t.Fatalf("error %v, counts %+v", err, s.Counts)
	}
	if got, want := sink.committed[10], `{"n":19}`; got != want {
		t.Errorf("the eleventh is %s, want %s", got, want)
	}
}

// TestImpossibleOutcomes are the records' errors; nothing is lost or written twice.
func TestImpossibleOutcomes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		f         func(context.Context, []*pipeline.Record) []pipeline.Outcome
		delivered int64
	}{
		"the same record in two outcomes": {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			return []pipeline.Outcome{{Records: b[:1]}, {Records: b[:1]}}
		}, 5},
		"merged and records of its own": {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			return []pipeline.Outcome{{Records: b[:1]}, {Records: b[1:2], Merged: true}}
		}, 5},
		"merged into nothing": {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			return []pipeline.Outcome{{Merged: true}, {Records: b[1:2]}}
		}, 5},
		"merged into one that failed": {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			return []pipeline.Outcome{{Err: errors.New("bad")}, {Merged: true}}
		}, 0},
		"too few": {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome { return make([]pipeline.Outcome, 1) }, 0},
		"nil":     {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome { return nil }, 0},
		"a panic": {func(context.Context, []*pipeline.Record) []pipeline.Outcome { panic("a bug") }, 0},
		"a nil one": {func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			return []pipeline.Outcome{{Records: []*pipeline.Record{nil}}, {Records: b[1:]}}
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, dead, err := runBatches(t, 10, 2, 1, tc.f)
			if c := s.Counts; err != nil || c.Delivered != tc.delivered || c.DeadLettered != 10-tc.delivered || c.Merged != 0 {
				t.Errorf("error %v, counts %+v; dead %s", err, c, dead.committed)
			}
		})
	}
}

// TestEnoughFromABatch ends the input like any other stage's.
func TestEnoughFromABatch(t *testing.T) {
	t.Parallel()
	s, sink, _, err := runBatches(t, 100_000, 2, 1, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
		out := make([]pipeline.Outcome, len(b))
		for i, r := range b {
			out[i].Records = []*pipeline.Record{r}
			if number(r) == 7 {
				out[i].Err = pipeline.ErrEnough
			}
		}
		return out
	})
	if err != nil || len(sink.committed) != 8 || s.Counts.DeadLettered != 0 || s.Counts.Unfinished != 0 {
		t.Errorf("error %v, counts %+v", err, s.Counts)
	}
}

// TestABatchOfNothing: a batch has at least one record, whatever the stage says.
func TestABatchOfNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, _, err := runBatches(t, 5, 0, 1, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			out := make([]pipeline.Outcome, len(b))
			for i, r := range b {
				out[i].Records = []*pipeline.Record{r}
			}
			return out
		})
		if err != nil || s.Counts.Delivered != 5 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
	})
}

// TestBatchesThatWaitAreStopped: a soft stop lets no new batch begin in a stage
// that asks others.
func TestBatchesThatWaitAreStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		ask := pipeline.Step{Workload: pipeline.Waits, Stage: batches{2, func(_ context.Context, b []*pipeline.Record) []pipeline.Outcome {
			time.Sleep(time.Second)
			out := make([]pipeline.Outcome, len(b))
			for i, r := range b {
				out[i].Records = []*pipeline.Record{r}
			}
			return out
		}}}
		ask.Parallelism = 2
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1000}, Steps: []pipeline.Step{ask}, Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5500 * time.Millisecond)
		began := time.Now()
		run.Stop()
		s, err := run.Wait()
		if took := time.Since(began); err != nil || took > time.Second || s.Counts.Delivered != 24 {
			t.Errorf("error %v, stopped after %v, counts %+v", err, took, s.Counts)
		}
		adds(t, s, sink, nil)
		if s.Stages[0].Attempts != 12 {
			t.Errorf("%d attempts, want 12", s.Stages[0].Attempts)
		}
	})
}

// TestMergedRecordsEndWithTheirGroup: of a group that fails or is split again behind
// the merge everything has ended.
func TestMergedRecordsEndWithTheirGroup(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{1, 7, 64, 500} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			t.Parallel()
			sink, dead := &memory{refuse: func(n int) bool { return n%3 == 0 }}, &memory{}
			twice := step("twice", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				switch number(r) % 5 {
				case 0:
					return nil, errors.New("bad")
				case 1:
					return []*pipeline.Record{r, r.Child(), r.Child()}, nil
				}
				return []*pipeline.Record{r.Child(), r.Child()}, nil
			})
			s, err := engine.Run(t.Context(), pipeline.Pipeline{
				Source: numbers{rows: rows}, Sink: sink, DeadLetter: dead, StopWhen: pipeline.StopWhen{Off: true},
				Steps: []pipeline.Step{twice, {Stage: pairs{}}, twice, {Stage: pairs{}}, {Stage: pairs{}}, twice},
			}, engine.Options{})
			if err != nil {
				t.Error(err)
			}
			adds(t, s, sink, dead)
		})
	}
}

// TestAWindowFullOfBatchesNamesTheRow, also where the last batch was larger than
// what there was room for.
func TestAWindowFullOfBatchesNamesTheRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := pipeline.Step{Stage: batches{3, func(ctx context.Context, b []*pipeline.Record) []pipeline.Outcome {
			if number(b[0]) == 0 {
				<-ctx.Done()
			}
			return make([]pipeline.Outcome, len(b))
		}}}
		hang.Name, hang.Parallelism, hang.ReorderWindow = "ask", 4, 5
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 100}, Steps: []pipeline.Step{hang}, Sink: &memory{}}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := run.Snapshot().Waiting, "1 in ask"; got != want {
			t.Errorf("waiting for %q, want %q", got, want)
		}
		run.Abort()
		_, _ = run.Wait()
	})
}
