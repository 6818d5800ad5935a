package policy_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// provider is the other end: it answers after a latency, and fails with err while
// it is down.
type provider struct {
	latency  time.Duration
	from, to time.Duration // down, from its start
	err      error

	mu    sync.Mutex
	start time.Time
	sent  []time.Duration
}

func (p *provider) send(ctx context.Context, _ *policy.Attempt) (string, error) {
	p.mu.Lock()
	if p.start.IsZero() {
		p.start = time.Now()
	}
	at := time.Since(p.start)
	p.sent = append(p.sent, at)
	p.mu.Unlock()
	select {
	case <-time.After(p.latency):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if at >= p.from && at < p.to {
		return "", p.err
	}
	return "", nil
}

// between returns when something was sent from..to.
func (p *provider) between(from, to time.Duration) (sent []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.sent {
		if at >= from && at < to {
			sent = append(sent, at)
		}
	}
	return sent
}

func (p *provider) row(int) func(context.Context, *policy.Attempt) (string, error) { return p.send }

func TestOutageIsSatOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Two attempts: the one that shows the outage, and one to spare. None may be
		// spent while the outage is known.
		s := setup(parallelism(64), attempts(2))
		p := &provider{latency: 100 * time.Millisecond, from: time.Second, to: 31 * time.Second, err: errDown}
		if err := errors.Join(workers(t.Context(), s, 64, 64*40, p.row)...); err != nil {
			t.Fatal(err)
		}
		probes := p.between(1100*time.Millisecond, 31100*time.Millisecond)
		if len(probes) != 1 || probes[0] != 16100*time.Millisecond {
			t.Errorf("sent into the outage: %v, want one probe at 16.1s", probes)
		}
		if again := p.between(31100*time.Millisecond, 31300*time.Millisecond); len(again) != 1 {
			t.Errorf("%d sent before the second probe was answered, want 1", len(again))
		}
		got := s.Snapshot()
		if got.Paused != "" || got.Waiting != 0 || got.InFlight != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
		if got.Waits.Breaker < 63*29*time.Second {
			t.Errorf("booked %s for the breaker, want about 64 times 30s", got.Waits.Breaker)
		}
	})
}

func TestOutageSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(parallelism(20))
		p := &provider{latency: time.Second, to: 10 * time.Second, err: unavailable(0)}
		start := time.Now()
		go workers(t.Context(), s, 20, 20, p.row)
		time.Sleep(5 * time.Second)
		if got := s.Snapshot(); got.Paused != "keeps failing (http_503)" || got.PausedUntil.Sub(start) != 16*time.Second || got.Waiting != 20 {
			t.Errorf("got %+v, want a pause until 16s", got)
		}
		time.Sleep(11500 * time.Millisecond)
		if got := s.Snapshot(); got.Paused == "" || !got.PausedUntil.IsZero() || got.InFlight != 1 {
			t.Errorf("got %+v, want a probe on the wire", got)
		}
		time.Sleep(time.Minute)
		if got := s.Snapshot(); got.Paused != "" {
			t.Errorf("got %+v, want the pause to be over", got)
		}
	})
}

func TestWhatDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		rows int
	}{
		{"record errors", errBad, 100},
		{"refusals", errRefused, 1},
		{"panics", nil, 100},
		{"few failures", errDown, 2}, // 12 attempts; 16 of 20 would open it
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup()
				for range tc.rows {
					sc := &script{errs: repeat(tc.err, 50)}
					_, _, _ = one(t.Context(), s, func(ctx context.Context, a *policy.Attempt) (string, error) {
						if tc.err == nil {
							panic("ouch")
						}
						return sc.send(ctx, a)
					})
				}
				if got := s.Snapshot(); got.Paused != "" || got.Waits.Breaker != 0 {
					t.Errorf("got %+v, want no pause", got)
				}
			})
		})
	}
}

// opened returns policies whose breaker has just opened, and the channel that stops
// them. A row that showed the outage still waits, until ctx is done.
func opened(ctx context.Context, t *testing.T) (*policy.Stage, chan struct{}) {
	t.Helper()
	return openedWith(ctx, t)
}

func openedWith(ctx context.Context, t *testing.T, edits ...func(*policy.Settings)) (*policy.Stage, chan struct{}) {
	t.Helper()
	stop := make(chan struct{})
	s := setup(append(edits, stopOn(stop))...)
	ctx, cancel := context.WithCancel(ctx)
	go workers(ctx, s, 16, 16, func(int) func(context.Context, *policy.Attempt) (string, error) {
		return (&script{errs: repeat(errDown, 1000)}).send
	})
	synctest.Wait()
	cancel()
	synctest.Wait()
	if got := s.Snapshot(); got.Paused == "" || got.Waiting != 0 {
		t.Fatalf("got %+v, want an open breaker and nobody waiting", got)
	}
	return s, stop
}

func TestFailedProbeCostsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := opened(t.Context(), t)
		sc := &script{errs: repeat(errDown, 50)}
		_, n, err := one(t.Context(), s, sc.send)
		if err != nil || n != 51 {
			t.Errorf("got %v after %d attempts, want success after 51", err, n)
		}
		for i := 1; i < len(sc.at); i++ {
			if got := sc.at[i].Sub(sc.at[i-1]); got != 15*time.Second {
				t.Errorf("probe %d came after %s, want 15s", i, got)
			}
		}
	})
}

func TestProbesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := opened(t.Context(), t)
		scripts := make([]*script, 3)
		var wg sync.WaitGroup
		for i := range scripts {
			scripts[i] = &script{errs: repeat(errDown, 2)}
			wg.Go(func() { _, _, _ = one(t.Context(), s, scripts[i].send) })
		}
		wg.Wait()
		for i, sc := range scripts {
			if len(sc.at) != 3 {
				t.Errorf("row %d sent %d, want 3", i, len(sc.at))
			}
			if got := sc.at[1].Sub(sc.at[0]); got != 45*time.Second {
				t.Errorf("row %d probed again after %s, want the others to come first", i, got)
			}
		}
	})
}

func TestProbeWithoutVerdict(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		probe  func(ctx context.Context) (string, error)
		next   time.Duration // until the next attempt
		closes bool
	}{
		{"cancelled", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }, 15 * time.Second, false},
		{"refused", func(context.Context) (string, error) { return "", refusal(0) }, 0, false},
		{"panic", func(context.Context) (string, error) { panic("ouch") }, 0, false},
		{"record error", func(context.Context) (string, error) { return "", errBad }, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _ := opened(t.Context(), t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					_, _, _ = one(ctx, s, func(ctx context.Context, _ *policy.Attempt) (string, error) {
						time.AfterFunc(time.Second, cancel)
						return tc.probe(ctx)
					})
				}()
				synctest.Wait()
				start := time.Now()
				_, _, err := one(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) {
					if closed := s.Snapshot().Paused == ""; closed != tc.closes {
						t.Errorf("breaker closed = %t, want %t", closed, tc.closes)
					}
					return "", nil
				})
				got := time.Since(start) - 15*time.Second
				if tc.next > 0 {
					got -= time.Second
				}
				if err != nil || got != tc.next {
					t.Errorf("the next row went %s after the probe (%v), want %s", got, err, tc.next)
				}
			})
		})
	}
}

// TestLateAnswersDoNotProbe has requests from before the outage end while the one
// probe is out: they must neither close the breaker nor give back its permit.
func TestLateAnswersDoNotProbe(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]error{"success": nil, "failure": errDown} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, start := setup(parallelism(20)), time.Now()
				for range 4 {
					go func() {
						_, _, _ = one(t.Context(), s, func(_ context.Context, a *policy.Attempt) (string, error) {
							if a.Number == 1 {
								time.Sleep(16500 * time.Millisecond)
								return "", late
							}
							return "", nil
						})
					}()
				}
				p := &provider{to: time.Minute, err: errDown, latency: time.Second}
				go workers(t.Context(), s, 16, 16, p.row)
				time.Sleep(16900 * time.Millisecond)
				if probes := p.between(1, 20*time.Second); len(probes) != 1 {
					t.Errorf("sent into the outage: %v, want one probe at 16s", probes)
				}
				if got := s.Snapshot(); got.Paused == "" {
					t.Error("the breaker closed without a probe's success")
				}
				time.Sleep(time.Second)
				if got := s.Snapshot().PausedUntil.Sub(start); got != 32*time.Second {
					t.Errorf("the next probe is at %s, want 15s after the first one failed at 17s", got)
				}
				time.Sleep(10 * time.Minute)
			})
		})
	}
}

func TestMaxPause(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
	}{
		{"failures", errDown},
		{"refusals", errRefused},
		{"refusals with Retry-After", refusal(20 * time.Minute)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, start := setup(), time.Now()
				p := &provider{latency: time.Second, to: 100 * time.Hour, err: tc.err}
				for row, err := range workers(t.Context(), s, 16, 16, p.row) {
					class, code := pipeline.Classify(err)
					if class != pipeline.ClassFatal || code != "outage" || !errors.Is(err, tc.err) || !strings.Contains(err.Error(), "30m") {
						t.Fatalf("row %d: got %s/%s: %v", row, class, code, err)
					}
				}
				// The first failure is seen after a second; the last request may be on the wire.
				if got := time.Since(start); got < 30*time.Minute+time.Second || got > 30*time.Minute+2*time.Second {
					t.Errorf("gave up after %s, want 30m after the first failure", got)
				}
			})
		})
	}
}

func TestPauseCountsOnlyWhileSomebodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := opened(t.Context(), t)
		time.Sleep(time.Hour)
		sc := &script{errs: repeat(errDown, 3)}
		if _, _, err := one(t.Context(), s, sc.send); err != nil {
			t.Errorf("after an hour without a row: %v", err)
		}
	})
}

func TestPauseCountsFromItsBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, start, over := setup(noBreaker, attempts(1)), time.Now(), make(chan struct{})
		go func() { // rows that come and go without an answer
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Second):
					_, _, _ = one(t.Context(), s, (&script{errs: []error{errDown}}).send)
				}
			}
		}()
		_, _, err := one(t.Context(), s, (&script{errs: repeat(errRefused, 1000)}).send)
		if class, _ := pipeline.Classify(err); class != pipeline.ClassFatal || time.Since(start) != 30*time.Minute {
			t.Errorf("got %v after %s, want the end of the run after 30m", err, time.Since(start))
		}
		close(over)
	})
}

func TestAnySuccessEndsThePause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, over := setup(), make(chan struct{})
		go func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(10 * time.Minute):
					_, _, _ = one(t.Context(), s, (&script{}).send)
				}
			}
		}()
		if _, _, err := one(t.Context(), s, (&script{errs: repeat(errRefused, 300)}).send); err != nil {
			t.Errorf("got %v, want the row to be refused for hours while others succeed", err)
		}
		close(over)
		time.Sleep(time.Hour)
	})
}

func TestBreakerOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(noBreaker)
		p := &provider{to: time.Hour, err: errDown}
		for _, err := range workers(t.Context(), s, 16, 16, p.row) {
			if class, _ := pipeline.Classify(err); class != pipeline.ClassTransient {
				t.Fatalf("got %v, want the rows to fail on their own", err)
			}
		}
		if got := len(p.sent); got != 16*6 {
			t.Errorf("sent %d, want 6 for each row", got)
		}
	})
}
