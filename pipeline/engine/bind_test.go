package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams/extension"
	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

type question struct {
	N int `json:"n"`
}

type reply struct {
	N      int    `json:"n"`
	Answer string `json:"answer"`
}

// answering is a stage that takes a while, and knows how many are in it.
type answering struct {
	took     time.Duration
	now, top atomic.Int64
}

func (s *answering) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	s.top.Store(max(s.top.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch n := number(r); {
	case n < 0:
		return nil, fmt.Errorf("%d is negative", n)
	case n == 13:
		return nil, nil
	}
	r.Set("answer", pipeline.Text(fmt.Sprint("about ", number(r))))
	return []*pipeline.Record{r}, nil
}

func bind(t *testing.T, s pipeline.Stage, parallelism int) *engine.Bound[question, reply] {
	t.Helper()
	b, err := engine.Bind[question, reply](s, pipeline.StepOptions{Parallelism: parallelism})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestBindDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &answering{took: time.Second}
		b := bind(t, s, 5)
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 50 {
			wg.Go(func() {
				got, err := b.Do(t.Context(), question{i})
				switch {
				case i == 13 && !errors.Is(err, engine.ErrDropped):
					t.Errorf("13: error %v, want ErrDropped", err)
				case i != 13 && (err != nil || got != reply{i, fmt.Sprint("about ", i)}):
					t.Errorf("%d: %v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if top := s.top.Load(); top != 5 {
			t.Errorf("%d callers at once in the stage, want 5", top)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("50 calls took %v, want 10s", took)
		}
		if _, err := b.Do(t.Context(), question{-1}); err == nil || !strings.Contains(err.Error(), "negative") {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.Do(ctx, question{1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the caller's deadline", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := b.Do(t.Context(), question{1}); !errors.Is(err, pipeline.ErrStopped) {
			t.Errorf("after Close: error %v, want ErrStopped", err)
		}
	})
}

func TestBindMap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &answering{took: time.Second}
		b := bind(t, s, 10)
		in := make(chan question)
		go func() {
			defer close(in)
			for i := range 100 {
				in <- question{i}
			}
			in <- question{-5}
		}()
		var got []int
		var failed int
		for a, err := range b.Map(t.Context(), in) {
			if err != nil {
				failed++
				continue
			}
			got = append(got, a.N)
		}
		if len(got) != 99 || !slices.IsSorted(got) || failed != 1 {
			t.Errorf("%d answers, sorted %v, %d failed; want 99 in order, 1 failed", len(got), slices.IsSorted(got), failed)
		}
		if top := s.top.Load(); top != 10 {
			t.Errorf("%d at once, want 10", top)
		}
	})
}

func TestBindMapStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bind(t, &answering{took: time.Second}, 4)
		in := make(chan question)
		quit := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				select {
				case in <- question{i + 100}:
				case <-quit:
					return
				}
			}
		}()
		n := 0
		for range b.Map(t.Context(), in) {
			if n++; n == 3 {
				break
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var last error
		for _, err := range b.Map(ctx, in) {
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("the last error is %v, want the deadline", last)
		}
		close(quit)
	})
}

func TestOnlyTurnersAreHedged(t *testing.T) {
	t.Parallel()
	o := pipeline.StepOptions{Hedge: pipeline.Hedge{After: pipeline.Lateness{Percentile: 95}}}
	plain := pipeline.StageFunc(pass)
	if _, err := engine.Bind[question, reply](plain, o); err == nil || !strings.Contains(err.Error(), "cannot be hedged") {
		t.Errorf("bound: got %v, want a refusal", err)
	}
	p := pipeline.Pipeline{Source: numbers{rows: 1}, Sink: &memory{}, Steps: []pipeline.Step{{Stage: plain, StepOptions: o}}}
	if _, err := engine.Run(t.Context(), p, engine.Options{}); err == nil || !strings.Contains(err.Error(), "cannot be hedged") {
		t.Errorf("run: got %v, want a refusal", err)
	}
}

func TestBindRefusesWhatDependsOnOrder(t *testing.T) {
	t.Parallel()
	if _, err := engine.Bind[question, reply](pairs{}, pipeline.StepOptions{}); err == nil {
		t.Error("a batcher was bound")
	}
	if _, err := engine.Bind[question, reply](&atMost{}, pipeline.StepOptions{}); err == nil {
		t.Error("a sequential stage was bound")
	}
}

// TestNewFlow puts a stage into somebody's go-streams program.
func TestNewFlow(t *testing.T) {
	t.Parallel()
	b := bind(t, &answering{}, 8)
	in := make(chan any)
	out := make(chan any, 200)
	go func() {
		defer close(in)
		for i := range 100 {
			in <- i
		}
	}()
	var failed atomic.Int64
	stage := engine.NewFlow(t.Context(), b, func(error) { failed.Add(1) })
	extension.NewChanSource(in).
		Via(flow.NewMap(func(i int) any {
			if i == 50 {
				return "rubbish"
			}
			return question{i}
		}, 1)).
		Via(stage).
		Via(flow.NewMap(func(r reply) string { return r.Answer }, 1)).
		To(extension.NewChanSink(out))
	var got []string
	for v := range out {
		got = append(got, v.(string))
	}
	if len(got) != 98 || got[0] != "about 0" || got[97] != "about 99" {
		t.Errorf("%d answers: %v", len(got), got)
	}
	if failed.Load() != 1 {
		t.Errorf("%d failed, want 1", failed.Load())
	}
}

func TestBindRefusesWhatNoRecordCanBe(t *testing.T) {
	t.Parallel()
	if _, err := engine.Bind[int, reply](pipeline.StageFunc(pass), pipeline.StepOptions{}); err == nil {
		t.Error("a number was taken for a record")
	}
	if _, err := engine.Bind[question, []reply](pipeline.StageFunc(pass), pipeline.StepOptions{}); err == nil {
		t.Error("a list was taken for a record")
	}
}
