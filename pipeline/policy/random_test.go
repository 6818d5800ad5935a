package policy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
	"pgregory.net/rapid"
)

// step is what one attempt of a random run does.
type step struct {
	kind    string
	latency time.Duration
	after   time.Duration
}

// trial is a random run.
type trial struct {
	workers, attempts int
	noBreaker         bool
	perMinute         policy.Rate // of requests; 0 for no limiter
	slots             int
	hedge             bool
	ends              int           // how many endpoints
	stop, cancel      time.Duration // 0 for never
	rows              [][]step
}

func drawTrial(t *rapid.T) trial {
	kinds := rapid.SampledFrom([]string{"ok", "down", "down", "down", "refused", "503", "bad", "hang", "panic", "gave up"})
	millis := func(to int) *rapid.Generator[time.Duration] {
		return rapid.Map(rapid.IntRange(0, to), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
	}
	one := rapid.Custom(func(t *rapid.T) step {
		s := step{kind: kinds.Draw(t, "kind"), latency: millis(3000).Draw(t, "latency")}
		if s.kind == "refused" || s.kind == "503" {
			s.after = time.Duration(rapid.IntRange(0, 4).Draw(t, "after")) * 10 * time.Second
		}
		return s
	})
	return trial{
		workers:   rapid.IntRange(1, 40).Draw(t, "workers"),
		attempts:  rapid.IntRange(1, 4).Draw(t, "attempts"),
		noBreaker: rapid.Bool().Draw(t, "no breaker"),
		perMinute: rapid.SampledFrom([]policy.Rate{0, 30, 600, 6000}).Draw(t, "requests a minute"),
		slots:     rapid.IntRange(1, 40).Draw(t, "slots"),
		hedge:     rapid.Bool().Draw(t, "hedge"),
		ends:      rapid.IntRange(1, 3).Draw(t, "endpoints"),
		stop:      max(0, millis(60000).Draw(t, "stop")-30*time.Second),
		cancel:    max(0, millis(90000).Draw(t, "cancel")-45*time.Second),
		rows:      rapid.SliceOfN(rapid.SliceOfN(one, 0, 12), 1, 60).Draw(t, "rows"),
	}
}

// played is what became of one row's turn.
type played struct {
	sent, refused, onWire int
	took                  time.Duration
	err                   error
}

// play makes the turn of one row.
func (tr trial) play(ctx context.Context, s *policy.Stage, steps []step) played {
	var sent, refused atomic.Int64
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, n, err := late(ctx, s, func(actx context.Context, a *policy.Attempt) (string, error) {
		sent.Add(1)
		if a.Number > len(steps) {
			return "", nil
		}
		do := steps[a.Number-1]
		if do.kind == "hang" {
			<-actx.Done()
			return "", actx.Err()
		}
		select {
		case <-time.After(do.latency):
		case <-actx.Done():
			return "", actx.Err()
		}
		switch do.kind {
		case "down":
			return "", errDown
		case "503":
			return "", unavailable(do.after)
		case "refused":
			refused.Add(1)
			return "", refusal(do.after)
		case "bad":
			return "", errBad
		case "panic":
			panic("ouch")
		case "gave up":
			cancel()
			return "", ctx.Err()
		default:
			return "", nil
		}
	})
	return played{int(sent.Load()), int(refused.Load()), n, time.Since(start), err}
}

// run plays a trial and returns what is wrong with it.
func (tr trial) run(ctx context.Context) error {
	stop := make(chan struct{})
	s := setup(parallelism(tr.slots), attempts(tr.attempts), stopOn(stop), func(s *policy.Settings) {
		s.Breaker.Off = tr.noBreaker
		s.Timeout = 5 * time.Second
		if tr.hedge {
			s.Hedge = pipeline.Hedge{After: pipeline.Lateness{After: time.Second}, AtMost: 0.5}
		}
		if tr.perMinute > 0 {
			s.Limiter = policy.NewLimiter(policy.RateLimit{RequestsPerMinute: tr.perMinute})
		}
		for i := range tr.ends * min(1, tr.ends-1) { // none where there is but one
			s.Endpoints = append(s.Endpoints, policy.Endpoint{Limiter: s.Limiter, Weight: float64(i), Priority: i % 2, MaxInFlight: i * tr.slots / 2})
		}
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if tr.stop > 0 {
		defer time.AfterFunc(tr.stop, func() { close(stop) }).Stop()
	}
	if tr.cancel > 0 {
		defer time.AfterFunc(tr.cancel, cancel).Stop()
	}
	results := make([]played, len(tr.rows))
	next := make(chan int, len(tr.rows))
	for i := range tr.rows {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range tr.workers {
		wg.Go(func() {
			for i := range next {
				results[i] = tr.play(ctx, s, tr.rows[i])
			}
		})
	}
	wg.Wait()
	return tr.check(s.Snapshot(), results)
}

func (tr trial) check(got policy.Snapshot, results []played) error {
	var took time.Duration
	var sent, refused int
	for i, r := range results {
		took += r.took
		sent += r.sent
		refused += r.refused
		if r.sent != r.onWire {
			return fmt.Errorf("row %d: %d requests sent, %d counted", i, r.sent, r.onWire)
		}
		if tr.noBreaker && !tr.hedge && r.sent-r.refused > tr.attempts {
			return fmt.Errorf("row %d: %d requests beside %d refused, %d allowed", i, r.sent-r.refused, r.refused, tr.attempts)
		}
		if err := tr.checkEnd(r); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	if sum := total(got.Waits) + got.OnWire; sum != took {
		return fmt.Errorf("the causes and the time on the wire add up to %s, the turns took %s: %+v", sum, took, got)
	}
	if got.Hedges > (got.Attempts+1)/2 {
		return fmt.Errorf("%d second requests of %d in all, at most half allowed", got.Hedges, got.Attempts)
	}
	if got.InFlight != 0 || got.Waiting != 0 || int(got.Attempts) != sent || int(got.Refusals) != refused {
		return fmt.Errorf("got %+v, want %d attempts, %d refusals, nothing left", got, sent, refused)
	}
	return nil
}

func total(w policy.Waits) time.Duration {
	return w.Backoff + w.RetryAfter + w.Breaker + w.Slot + w.Limiter
}

func (tr trial) checkEnd(r played) error {
	class, code := pipeline.Classify(r.err)
	switch {
	case r.err == nil, code == "bad", code == "panic", errors.Is(r.err, context.Canceled):
		return nil
	case errors.Is(r.err, pipeline.ErrStopped) && tr.stop > 0:
		return nil
	case class == pipeline.ClassTransient && (tr.hedge || r.sent-r.refused >= tr.attempts):
		return nil
	default:
		return fmt.Errorf("after %d requests, %d refused: %w", r.sent, r.refused, r.err)
	}
}

func TestRandomRuns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawTrial(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = tr.run(t.Context()) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func BenchmarkTurn(b *testing.B) {
	for name, timeout := range map[string]time.Duration{"with deadline": time.Minute, "without": -1} {
		b.Run(name, func(b *testing.B) {
			s := setup(func(s *policy.Settings) { s.Timeout = timeout })
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := one(ctx, s, func(context.Context, *policy.Attempt) (string, error) { return "", nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		s := setup()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _, _ = one(b.Context(), s, func(context.Context, *policy.Attempt) (string, error) { return "", nil })
			}
		})
	})
}
