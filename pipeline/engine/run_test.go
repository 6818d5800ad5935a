package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// probing is a component whose probe fails.
type probing struct {
	memory
	err error
}

func (p *probing) Probe(context.Context) error { return p.err }

// rehearsing is a stage that can prepare its work for even numbers only.
type rehearsing struct{ ok func(n int) bool }

func (rehearsing) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return []*pipeline.Record{r}, nil
}

func (s rehearsing) Rehearse(r *pipeline.Record) error {
	if !s.ok(number(r)) {
		return fmt.Errorf("no field %q", "text")
	}
	return nil
}

// counting is a source that knows how many rows were asked for.
type counting struct {
	numbers
	rows *int
}

func (s counting) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for r, err := range s.numbers.Records(ctx) {
			*s.rows++
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	never := func(int) bool { return false }
	for _, tc := range []struct {
		name     string
		sinkErr  error
		ok       func(int) bool
		want     string
		rows     int // that may be read at most
		disabled bool
	}{
		{name: "a sink that cannot be written", sinkErr: errors.New("read-only file system"), ok: never, want: "sink: read-only file system"},
		{name: "no prompt can be rendered", ok: never, want: `none of the first rows can be prepared: row 0:0: stage ask: no field "text"`, rows: 3},
		{name: "the third can", ok: func(n int) bool { return n >= 2 }, rows: 100},
		{name: "switched off", ok: never, sinkErr: errors.New("no"), rows: 100, disabled: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rows := 0
			sink := &probing{err: tc.sinkErr}
			s, err := engine.Run(t.Context(), pipeline.Pipeline{
				Source: counting{numbers{rows: 100}, &rows}, Sink: sink,
				Steps: []pipeline.Step{{Stage: rehearsing{tc.ok}, StepOptions: pipeline.StepOptions{Name: "ask"}}},
			}, engine.Options{Preflight: !tc.disabled})
			var preflight *engine.PreflightError
			switch {
			case tc.want == "" && err != nil:
				t.Fatalf("error %v", err)
			case tc.want != "" && (!errors.As(err, &preflight) || !strings.Contains(err.Error(), tc.want)):
				t.Fatalf("error %v, want a PreflightError with %q", err, tc.want)
			}
			if rows > tc.rows {
				t.Errorf("%d rows were read, want at most %d", rows, tc.rows)
			}
			if tc.want != "" && (len(sink.committed) != 0 || s.Counts.Read != 0) {
				t.Errorf("something was done: %d rows written, counts %+v", len(sink.committed), s.Counts)
			}
			if tc.want == "" && len(sink.committed) != 100 {
				t.Errorf("%d rows written, want 100", len(sink.committed))
			}
		})
	}
}

// refusing is a sink with output of an earlier run.
type refusing struct{ memory }

func (*refusing) Start(_ context.Context, fresh bool) error {
	if !fresh {
		return errors.New("has rows already")
	}
	return nil
}

func TestAnEarlierOutputIsKept(t *testing.T) {
	t.Parallel()
	sink := &refusing{}
	p := pipeline.Pipeline{Source: numbers{rows: 10}, Sink: sink}
	if _, err := engine.Run(t.Context(), p, engine.Options{}); err == nil || !strings.Contains(err.Error(), "has rows already") {
		t.Errorf("error %v", err)
	}
	if len(sink.committed) != 0 {
		t.Errorf("%d rows written over it", len(sink.committed))
	}
	if _, err := engine.Run(t.Context(), p, engine.Options{Fresh: true}); err != nil || len(sink.committed) != 10 {
		t.Errorf("fresh: error %v, %d rows", err, len(sink.committed))
	}
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	dead := &memory{}
	edit := step("edit", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		r.Set("text", pipeline.Text("changed")) // the dead letter has it as it entered
		return nil, &pipeline.Error{Class: pipeline.ClassRecord, Code: "finish_length", Err: errors.New("cut off"), Answer: "half an ans"}
	})
	_, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: numbers{rows: 2, broken: 2}, Key: "n", Steps: []pipeline.Step{edit}, Sink: &memory{}, DeadLetter: dead,
	}, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		`{"record":{"n":0},"error":{"stage":"edit","class":"record","code":"finish_length","message":"cut off","attempts":1,"answer":"half an ans"},"source":{"path":"","line":0,"offset":0,"key":"0","child":""}}`: true,
		`{"raw":"rubbish 1","error":{"stage":"source","class":"record","code":"error","message":"rubbish","attempts":0},"source":{"path":"","line":0,"offset":0,"key":"","child":""}}`:                              true,
	}
	for _, got := range dead.committed {
		if !want[got] {
			t.Errorf("dead letter %s", got)
		}
	}
	if len(dead.committed) != 2 {
		t.Errorf("%d dead letters, want 2", len(dead.committed))
	}
}

func TestRepeatedKeysAreReported(t *testing.T) {
	t.Parallel()
	again := func(yield func(*pipeline.Record, error) bool) {
		for i := range 10 {
			r, err := pipeline.ParseRecord(fmt.Appendf(nil, `{"id":%d}`, i%7))
			if !yield(r, err) {
				return
			}
		}
	}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: sourceFunc(again), Key: "id", Sink: &memory{}}, engine.Options{})
	if err != nil || s.RepeatedKeys != 3 || s.Counts.Delivered != 10 {
		t.Errorf("error %v, repeated %d (want 3), delivered %d (want 10)", err, s.RepeatedKeys, s.Counts.Delivered)
	}
}

type sourceFunc iter.Seq2[*pipeline.Record, error]

func (f sourceFunc) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return iter.Seq2[*pipeline.Record, error](f)
}

func TestLimit(t *testing.T) {
	t.Parallel()
	sink := &memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1 << 30}, Sink: sink}, engine.Options{Limit: 7})
	if err != nil || s.Counts.Read != 7 || len(sink.committed) != 7 {
		t.Errorf("error %v, read %d, delivered %d; want 7", err, s.Counts.Read, len(sink.committed))
	}
}

// TestAHangingSourceDelaysNoStop: "no wait, however long, delays a stop".
func TestAHangingSourceDelaysNoStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := func(yield func(*pipeline.Record, error) bool) {
			r, err := pipeline.ParseRecord([]byte(`{"n":1}`))
			if yield(r, err) {
				<-release
			}
		}
		sink := &memory{}
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: sourceFunc(hang), Sink: sink}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if s := run.Snapshot(); s.Finished != 1 || s.Counts.Delivered != 0 {
			t.Errorf("before the commit %d are finished, %d delivered; want 1 and 0", s.Finished, s.Counts.Delivered)
		}
		time.Sleep(time.Minute)
		began := time.Now()
		run.Stop()
		s, err := run.Wait()
		if err != nil || time.Since(began) > time.Second {
			t.Errorf("error %v, after %v", err, time.Since(began))
		}
		adds(t, s, sink, nil)
		close(release)
	})
}

// hangingProbe is a sink whose other end does not answer.
type hangingProbe struct{ memory }

func (*hangingProbe) Probe(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestAHangingProbeDelaysNoStop: a run that is stopped in its preflight has not
// failed, and nothing was written.
func TestAHangingProbeDelaysNoStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &hangingProbe{}
		run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Sink: sink}, engine.Options{Preflight: true})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		run.Stop()
		s, err := run.Wait()
		if err != nil || !s.Stopped || s.Counts.Read != 0 || sink.writes != 0 || time.Since(began) > 0 {
			t.Errorf("error %v, stopped %t, counts %+v, %d writes, after %v", err, s.Stopped, s.Counts, sink.writes, time.Since(began))
		}
	})
}

// TestDrainTimeout: what does not finish in time is cancelled.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		hang := step("hang", func(ctx context.Context, _ *pipeline.Record) ([]*pipeline.Record, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		run, err := engine.Start(t.Context(), pipeline.Pipeline{
			Source: numbers{rows: 100}, Steps: []pipeline.Step{hang}, Sink: sink, DrainTimeout: 5 * time.Second,
		}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		began := time.Now()
		run.Stop()
		s, _ := run.Wait()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the stop took %v, want 5s", took)
		}
		adds(t, s, sink, nil)
		if s.Counts.Unfinished != s.Counts.Read {
			t.Errorf("counts %+v", s.Counts)
		}
	})
}

// TestRetriedStageSeesTheRecordAsItWas: every attempt starts from the record as
// it entered the stage.
func TestRetriedStageSeesTheRecordAsItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		tries := 0
		s := step("flaky", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if _, seen := r.Lookup("seen"); seen {
				t.Error("an attempt sees what an earlier one did")
			}
			r.Set("seen", pipeline.RawJSON("true"))
			if tries++; tries < 3 {
				return nil, pipeline.Transient("busy", errors.New("busy"))
			}
			return []*pipeline.Record{r}, nil
		})
		s.Retry.Attempts = 3
		sum, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1}, Steps: []pipeline.Step{s}, Sink: sink}, engine.Options{})
		if err != nil || sum.Stages[0].Retries != 2 || len(sink.committed) != 1 {
			t.Errorf("error %v, summary %+v", err, sum)
		}
	})
}

func TestWhatCannotRun(t *testing.T) {
	t.Parallel()
	when := pipeline.Step{Stage: pairs{}, StepOptions: pipeline.StepOptions{Name: "two", When: always{}}}
	for name, p := range map[string]pipeline.Pipeline{
		"needs a source and a sink": {Source: numbers{}},
		"stage stage-1 is nil":      {Source: numbers{}, Sink: &memory{}, Steps: []pipeline.Step{{}}},
		"put a filter in front":     {Source: numbers{}, Sink: &memory{}, Steps: []pipeline.Step{when}},
	} {
		if _, err := engine.Run(t.Context(), p, engine.Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
}

type always struct{}

func (always) Bool(*pipeline.Record) (bool, error) { return true, nil }

// kept is a sink for dead letters with what an earlier run left.
type kept struct {
	memory
	old bool
}

func (s *kept) Start(context.Context, bool) error { return nil }
func (s *kept) Prepare(_ context.Context, fresh bool) error {
	if s.old && !fresh {
		return errors.New("has dead letters of an earlier run")
	}
	s.old = false
	return nil
}

// TestOldDeadLetters are neither overwritten nor left to be taken for new ones.
func TestOldDeadLetters(t *testing.T) {
	t.Parallel()
	dead, sink := &kept{old: true}, &memory{}
	p := pipeline.Pipeline{Source: numbers{rows: 10}, Sink: sink, DeadLetter: dead}
	var preflight *engine.PreflightError
	if _, err := engine.Run(t.Context(), p, engine.Options{}); !errors.As(err, &preflight) || len(sink.committed) != 0 {
		t.Errorf("error %v, %d rows written; want a refusal and none", err, len(sink.committed))
	}
	if _, err := engine.Run(t.Context(), p, engine.Options{Fresh: true}); err != nil || dead.old || len(sink.committed) != 10 {
		t.Errorf("fresh: error %v, old ones there %v, %d rows written", err, dead.old, len(sink.committed))
	}
}

// TestACancelledRunHasFailed: a program must not take a run that was cut short
// for one that is complete.
func TestACancelledRunHasFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the client has gone")
		time.AfterFunc(time.Second, func() { cancel(gone) })
		sink := &memory{}
		s, err := engine.Run(ctx, pipeline.Pipeline{Source: numbers{rows: 1000, pause: 10 * time.Millisecond}, Sink: sink}, engine.Options{})
		if !errors.Is(err, gone) {
			t.Errorf("error %v, want the cause", err)
		}
		adds(t, s, sink, nil)

		ctx, cancel = context.WithCancelCause(t.Context())
		if _, err := engine.Run(ctx, pipeline.Pipeline{Source: numbers{rows: 10}, Sink: &memory{}}, engine.Options{}); err != nil {
			t.Errorf("a run that was complete: %v", err)
		}
		cancel(nil)
	})
}
