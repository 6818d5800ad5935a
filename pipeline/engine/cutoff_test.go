package engine_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// brittlePaper is an output that fails once some lines are on it.
type brittlePaper struct {
	*paperSink
	err error
}

func (s brittlePaper) Write(ctx context.Context, batch []*pipeline.Record) error {
	if s.err != nil && len(s.lines) >= 20 {
		return s.err
	}
	return s.paperSink.Write(ctx, batch)
}

// A run that fails while answers are on the wire says how many of them are asked for again:
// those that came too late, and those that could not be kept. No others are.
func TestWhatIsAskedForAgain(t *testing.T) {
	t.Parallel()
	const wide = 8
	full := &struct{ error }{syscall.ENOSPC}
	for name, c := range map[string]struct {
		takes time.Duration // an answer
		sink  error
		disk  bool // is full, for the journal alone
		hard  bool // stop
		again bool

		perMinute int // requests allowed; 0 for any number
	}{
		"the sink fails":                   {takes: 300 * time.Millisecond, sink: full},
		"the sink fails, answers are slow": {takes: 3 * time.Second, sink: full, again: true},
		"the journal is full":              {takes: 300 * time.Millisecond, disk: true, again: true},
		"a hard stop, most wait to ask":    {takes: 300 * time.Millisecond, hard: true, again: true, perMinute: 1000},
		"a hard stop":                      {takes: 300 * time.Millisecond, hard: true, again: true},
	} {
		for _, batched := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in batches: %v", name, batched), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w, disk := &world{rows: 100}, fsystest.New()
					run := func(ctx context.Context, sink error) (engine.Summary, error) {
						ask := pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
							made, err := w.asker("ask", func(int64) error { return nil }, func() {}).Process(ctx, r)
							select {
							case <-time.After(c.takes):
								return made, err
							case <-ctx.Done():
								return nil, ctx.Err()
							}
						})
						step := pipeline.Step{Stage: ask, Costs: true, Workload: pipeline.Waits, StepOptions: pipeline.StepOptions{Parallelism: wide}}
						if c.perMinute > 0 {
							step.Stage = limitedStage{ask, c.perMinute}
						}
						if batched {
							step.Stage = askerInBatches{ask, 0}
						}
						return engine.Run(ctx, pipeline.Pipeline{
							Source: seekable{&rowsOf{w: w}}, Steps: []pipeline.Step{step}, Sink: brittlePaper{&paperSink{&w.paper}, sink},
							Flush: pipeline.Flush{Records: 4, Every: time.Millisecond},
						}, engine.Options{State: "state"}.On(disk.Boot(), time.Second))
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if c.hard {
						time.AfterFunc(5*c.takes/2, cancel)
					}
					if c.disk {
						time.AfterFunc(5*c.takes/2, func() {
							disk.Inject(func(call fsystest.Call) fsystest.Fault {
								if call.Op == fsystest.OpWrite && strings.Contains(call.Path, "journal") {
									return fsystest.Fault{Err: syscall.ENOSPC}
								}
								return fsystest.Fault{}
							})
						})
					}
					s, err := run(ctx, c.sink)
					if err == nil || s.CutOff > wide*batchOfAsker || s.CutOff > 0 != c.again {
						t.Fatalf("%v; %d answers cut off", err, s.CutOff)
					}
					before := w.calls()
					if s, err := run(t.Context(), nil); err != nil || s.CutOff != 0 {
						t.Fatal(err, s.CutOff)
					}
					if again := w.calls() - 100; again > s.CutOff || again == 0 && c.again || again < s.CutOff && !batched || before == 100 || len(w.paper.lines) != 100 {
						t.Errorf("%d were asked for again, want the %d that were cut off; %d before, %d lines", again, s.CutOff, before, len(w.paper.lines))
					}
				})
			})
		}
	}
}
