package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestWhatADoneContextCutsShortIsUnfinished(t *testing.T) {
	t.Parallel()
	gone := errors.New("the client has gone")
	for name, cut := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
		"cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(gone) })
			return ctx, func() { cancel(nil) }
		},
		"deadline with a cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, gone)
		},
	} {
		for _, workload := range []pipeline.Workload{pipeline.Computes, pipeline.Waits} {
			for _, says := range []func(context.Context) error{context.Context.Err, context.Cause} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						ctx, cancel := cut(t.Context())
						defer cancel()
						hang := pipeline.Step{Workload: workload, Stage: pipeline.StageFunc(func(ctx context.Context, _ *pipeline.Record) ([]*pipeline.Record, error) {
							<-ctx.Done()
							return nil, fmt.Errorf("ask: %w", says(ctx))
						})}
						sink := &memory{}
						s, err := engine.Run(ctx, pipeline.Pipeline{Source: numbers{rows: 10}, Steps: []pipeline.Step{hang}, Sink: sink}, engine.Options{})
						if c := s.Counts; c.DeadLettered != 0 || c.Unfinished != c.Read || c.Read == 0 {
							t.Errorf("counts %+v, want all unfinished", c)
						}
						if !errors.Is(err, context.Cause(ctx)) || len(s.Reasons) != 0 {
							t.Errorf("error %v, reasons %v", err, s.Reasons)
						}
						adds(t, s, sink, nil)
					})
				})
			}
		}
	}
}

func TestAStageThatSaysStopped(t *testing.T) {
	t.Parallel()
	sink, dead := &memory{}, &memory{}
	odd := step("ask", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if number(r) == 3 {
			return nil, fmt.Errorf("ask: %w", pipeline.ErrStopped)
		}
		return []*pipeline.Record{r}, nil
	})
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Steps: []pipeline.Step{odd}, Sink: sink, DeadLetter: dead}, engine.Options{})
	if err != nil || s.Counts.Delivered != 9 || s.Counts.DeadLettered != 1 {
		t.Errorf("error %v, counts %+v", err, s.Counts)
	}
	adds(t, s, sink, dead)
}

type slowStart struct {
	memory
	took   time.Duration
	starts atomic.Int64
}

func (s *slowStart) Start(ctx context.Context, _ bool) error {
	s.starts.Add(1)
	select {
	case <-time.After(s.took):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type slowRehearsal struct {
	took      time.Duration
	rehearsed atomic.Int64
	closed    *bool
}

func (s *slowRehearsal) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return []*pipeline.Record{r}, nil
}

func (s *slowRehearsal) Rehearse(*pipeline.Record) error {
	time.Sleep(s.took)
	if *s.closed {
		panic("rehearsed after it was closed")
	}
	s.rehearsed.Add(1)
	return nil
}

func (s *slowRehearsal) Close() error { *s.closed = true; return nil }

func TestStoppedBeforeTheFirstRow(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*engine.Execution){"stop": (*engine.Execution).Stop, "abort": (*engine.Execution).Abort} {
		for at, want := range map[time.Duration]int64{time.Second: 0, 15 * time.Second: 1} { // in the rehearsal, in the start of the sink
			t.Run(fmt.Sprint(name, " ", at), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sink := &slowStart{took: 10 * time.Second}
					run, err := engine.Start(t.Context(), pipeline.Pipeline{
						Source: numbers{rows: 100}, Sink: sink,
						Steps: []pipeline.Step{{Stage: &slowRehearsal{took: 10 * time.Second, closed: new(bool)}}},
					}, engine.Options{Preflight: true})
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(at)
					end(run)
					s, err := run.Wait()
					if err != nil || !s.Stopped || s.Counts.Read != 0 || len(sink.committed) != 0 {
						t.Errorf("error %v, summary %+v", err, s)
					}
					synctest.Wait()
					time.Sleep(time.Minute)
					if got := sink.starts.Load(); got != want {
						t.Errorf("the sink was started %d times, want %d", got, want)
					}
					if _, err := run.Wait(); err != nil {
						t.Errorf("afterwards the run has failed: %v", err)
					}
				})
			})
		}
	}
}

func TestCancelledInPreflight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the client has gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		_, err := engine.Run(ctx, pipeline.Pipeline{Source: numbers{rows: 10}, Sink: &hangingProbe{}}, engine.Options{Preflight: true})
		if errors.As(err, new(*engine.PreflightError)) || !errors.Is(err, gone) {
			t.Errorf("error %#v, want the cause", err)
		}
	})
}

// TestAnUnreadableRowIsNotHeldBack where there is no rehearsal to wait for.
func TestAnUnreadableRowIsNotHeldBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink, dead := &memory{}, &memory{}
		run, err := engine.Start(t.Context(), pipeline.Pipeline{
			Source: numbers{rows: 10, broken: 1, pause: time.Minute}, Sink: sink, DeadLetter: dead,
		}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		dead.mu.Lock()
		if len(dead.committed) != 1 {
			t.Errorf("%d dead letters a second after the first row, want 1", len(dead.committed))
		}
		dead.mu.Unlock()
		run.Stop()
		s, _ := run.Wait()
		adds(t, s, sink, dead)
	})
}

func TestEnoughIsNotCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sink := &closing{f: cancel}
		s, err := engine.Run(ctx, pipeline.Pipeline{Source: endless{}, Steps: []pipeline.Step{{Stage: &atMost{10}}}, Sink: sink}, engine.Options{})
		if err != nil || s.Counts.Delivered != 10 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
	})
}

type closing struct {
	memory
	f func()
}

func (s *closing) Close(context.Context) error { s.f(); return nil }

type endless struct{}

func (endless) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return numbers{rows: 1 << 40}.Records(ctx)
}

// TestTheEarliestStopCounts: neither a failure nor one after the other puts off the
// end of what goes on.
func TestTheEarliestStopCounts(t *testing.T) {
	t.Parallel()
	for drain, want := range map[time.Duration]time.Duration{100 * time.Millisecond: 600 * time.Millisecond, time.Minute: 1500 * time.Millisecond} {
		t.Run(drain.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fatal := pipeline.Step{Workload: pipeline.Waits, Stage: pipeline.StageFunc(func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
					never := number(r) == 0
					select {
					case <-time.After(time.Duration(number(r)) * 500 * time.Millisecond):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if never {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return nil, pipeline.Fatal("quota", errors.New("spent"))
				})}
				sink := &memory{}
				began := time.Now()
				s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 10}, Sink: sink, DrainTimeout: drain, Steps: []pipeline.Step{fatal}}, engine.Options{})
				if took := time.Since(began); took != want || err == nil || s.Counts.Unfinished != 10 {
					t.Errorf("the run took %v, want %v; error %v, counts %+v", took, want, err, s.Counts)
				}
			})
		})
	}
}

// TestNegativeNumbers mean the least there is, and hang or fail nothing.
func TestNegativeNumbers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one := step("one", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if number(r) == 0 {
				return nil, errors.New("bad")
			}
			return []*pipeline.Record{r}, nil
		})
		one.Parallelism, one.ReorderWindow = -1, -1
		sink := &memory{}
		p := pipeline.Pipeline{Source: numbers{rows: 1000}, Steps: []pipeline.Step{one, {Stage: engine.Foreign(flow.NewPassThrough())}}, Sink: sink}
		p.StopWhen.After = -1
		s, err := engine.Run(t.Context(), p, engine.Options{})
		if err == nil || strings.Contains(err.Error(), "NaN") || s.Counts.DeadLettered != 1 {
			t.Errorf("error %v, counts %+v", err, s.Counts)
		}
		adds(t, s, sink, nil)
	})
}

// TestFinishedCountsOnce what the sink refuses.
func TestFinishedCountsOnce(t *testing.T) {
	t.Parallel()
	sink := &memory{refuse: func(n int) bool { return n%10 == 0 }}
	run, err := engine.Start(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1000}, Sink: sink}, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.Wait(); err != nil {
		t.Error(err)
	}
	if got := run.Snapshot().Finished; got != 1000 {
		t.Errorf("%d of 1000 are finished", got)
	}
}
