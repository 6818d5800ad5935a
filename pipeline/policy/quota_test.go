package policy_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

func TestLimitsAreUsedAndKept(t *testing.T) {
	t.Parallel()
	const rpm, tpm = 6000, 600_000
	fast, slow := 100*time.Millisecond, 3*time.Second
	for _, tc := range []struct {
		name    string
		server  func() *limits
		sizes   func(*rand.Rand) size
		rows    int
		used    float64 // of the limit, at least
		refused float64 // of the requests, at most
	}{
		{"requests", func() *limits { return &limits{requests: newBucket(rpm, time.Second), latency: fast} }, fixed, 1500, 1.03, 0},
		{"requests, long", func() *limits { return &limits{requests: newBucket(rpm, time.Second), latency: fast} }, fixed, 6000, 1, 0},
		{"resets in seconds", func() *limits {
			return &limits{requests: newBucket(rpm, time.Second), latency: fast, exact: time.Second}
		}, fixed, 1500, 1, 0},
		{"resets as times", func() *limits {
			return &limits{requests: newBucket(rpm, time.Second), latency: fast, dated: true}
		}, fixed, 1500, 1, 0},
		{"resets as times, a minute", func() *limits {
			return &limits{requests: newBucket(rpm, time.Minute), latency: fast, dated: true}
		}, fixed, 1500, 1, 0},
		{"tokens, resets as times", func() *limits {
			return &limits{tokens: newBucket(tpm, time.Second), latency: fast, varies: 0.5, dated: true}
		}, bounded, 1500, 0.96, 0.005},
		{"tokens, resets as times, a minute, and seconds behind it", func() *limits {
			return &limits{tokens: newBucket(tpm, time.Minute), hiddenTokens: newBucket(tpm, time.Second), latency: fast, varies: 0.5, dated: true}
		}, bounded, 1500, 0.95, 0.002},
		{"tokens, no resets, a minute, and seconds behind it", func() *limits {
			return &limits{tokens: newBucket(tpm, time.Minute), hiddenTokens: newBucket(tpm, time.Second), latency: fast, varies: 0.5, unset: true}
		}, bounded, 1500, 0.95, 0.002},
		{"tokens of mixed requests, a minute, and seconds behind it", func() *limits {
			return &limits{tokens: newBucket(tpm, time.Minute), hiddenTokens: newBucket(tpm, time.Second), latency: fast, varies: 0.5, dated: true}
		}, mixed, 1200, 0.95, 0.001},
		{"windows of a minute", func() *limits { return &limits{requests: newBucket(rpm, time.Minute), latency: fast} }, fixed, 1500, 1.01, 0},
		{"windows of a minute, and seconds behind them", func() *limits {
			return &limits{requests: newBucket(rpm, time.Minute), hidden: newBucket(rpm, time.Second), latency: fast}
		}, fixed, 1500, 1.01, 0},
		// The first 16 go out before anybody has said anything, of which 10 are let in.
		{"slow answers", func() *limits { return &limits{requests: newBucket(600, time.Second), latency: slow, varies: 0.5} }, fixed, 1500, 0.95, 7.0 / 1500},
		{"tokens at the door", func() *limits { return &limits{tokens: newBucket(tpm, time.Second), latency: fast} }, bounded, 1500, 0.98, 0.003},
		{"tokens at the door, a minute", func() *limits { return &limits{tokens: newBucket(tpm, time.Minute), latency: fast} }, bounded, 1500, 0.98, 0},
		{"tokens used", func() *limits { return &limits{tokens: newBucket(tpm, time.Second), latency: fast, counts: true} }, bounded, 3000, 0.98, 0.003},
		{"tokens used, a minute", func() *limits { return &limits{tokens: newBucket(tpm, time.Minute), latency: fast, counts: true} }, bounded, 3000, 0.98, 0},
		{"tokens without max_tokens", func() *limits { return &limits{tokens: newBucket(tpm/2, time.Second), latency: fast} }, unbounded, 1500, 0.98, 0.003},
		{"tokens used without max_tokens", func() *limits { return &limits{tokens: newBucket(tpm/2, time.Second), latency: fast, counts: true} }, unbounded, 1500, 0.98, 0.02},
		{"requests larger than half a window", func() *limits {
			return &limits{tokens: newBucket(tpm/10, time.Second), latency: time.Second, varies: 0.5}
		}, bounded, 500, 0.97, 0.02},
		{"requests and tokens", func() *limits {
			return &limits{requests: newBucket(rpm, time.Second), tokens: newBucket(tpm, time.Second), latency: time.Second, varies: 0.5}
		}, bounded, 1500, 0.96, 0.005},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mostly(t, func(t *testing.T, complain func(string, ...any)) {
				server, s := tc.server(), setup(parallelism(64), auto)
				took, err := server.ask(t.Context(), s, 64, tc.rows, tc.sizes)
				if err != nil {
					t.Fatal(err)
				}
				if got := server.share(took); got < tc.used {
					complain("used %.3f of the limit, want at least %.3f; waits %+v", got, tc.used, s.Snapshot().Waits)
				}
				if got := server.refusedShare(); got > tc.refused {
					complain("%.4f of the requests were refused, want at most %.4f", got, tc.refused)
				}
				if testing.Verbose() {
					t.Logf("%s: %.3f used, %d refused", took, server.share(took), server.refused)
				}
			})
		})
	}
}

// TestRefusedWhateverTheLimit has servers that tell a limit of requests and refuse for
// other reasons: at random, which is not to be taken for a limit, or by one of which
// they do not tell.
func TestRefusedWhateverTheLimit(t *testing.T) {
	t.Parallel()
	const rpm = 30_000
	told := func(noise float64, again time.Duration) *limits {
		return &limits{requests: newBucket(rpm, time.Second), latency: 100 * time.Millisecond, noise: noise, again: again}
	}
	for _, tc := range []struct {
		name    string
		server  func() *limits
		used    float64 // of the limit that is told, at least
		refused float64 // of the requests, at most
	}{
		{"2 % at random", func() *limits { return told(0.02, time.Millisecond) }, 0.95, 0.025},
		{"5 % at random", func() *limits { return told(0.05, time.Millisecond) }, 0.93, 0.055},
		{"5 % at random, with a longer pause for all", func() *limits { return told(0.05, 100*time.Millisecond) }, 0.9, 0.055},
		{"15 % at random", func() *limits { return told(0.15, time.Millisecond) }, 0.9, 0.16},
		{"40 % at random", func() *limits { return told(0.4, time.Millisecond) }, 0.7, 0.42},
		{"a tighter limit of which nobody tells", func() *limits {
			l := told(0, 0)
			l.hidden = newBucket(rpm*9/10, time.Second)
			return l
		}, 0.85, 0.002},
		{"half of it, of which nobody tells", func() *limits {
			l := told(0, 0)
			l.hidden = newBucket(rpm/2, time.Second)
			return l
		}, 0.48, 0.005},
		{"a tighter limit, and 5 % at random", func() *limits {
			l := told(0.05, time.Millisecond)
			l.hidden = newBucket(rpm*7/10, time.Second)
			return l
		}, 0.55, 0.12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mostly(t, func(t *testing.T, complain func(string, ...any)) {
				server, s := tc.server(), setup(parallelism(128), auto)
				took, err := server.ask(t.Context(), s, 128, 15_000, fixed)
				if err != nil {
					t.Fatal(err)
				}
				if used, refused := server.share(took), server.refusedShare(); used < tc.used || refused > tc.refused {
					complain("used %.3f of the limit with %.4f refused, want at least %.3f and at most %.4f; %+v", used, refused, tc.used, tc.refused, s.Snapshot())
				}
				if testing.Verbose() {
					t.Logf("%s: %.3f used, %.4f refused, limits %v", took, server.share(took), server.refusedShare(), s.Snapshot().Limits)
				}
			})
		})
	}
}

// TestWithoutHeaders paces by configured numbers alone; what was counted corrects the
// estimates.
func TestWithoutHeaders(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		server func() *limits
		limit  policy.RateLimit
		sizes  func(*rand.Rand) size
	}{
		{"requests", func() *limits { return &limits{requests: newBucket(6000, time.Second)} }, policy.RateLimit{RequestsPerMinute: 6000}, fixed},
		{"tokens", func() *limits { return &limits{tokens: newBucket(300_000, time.Second), counts: true} }, policy.RateLimit{TokensPerMinute: 300_000}, unbounded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := tc.server()
				server.latency, server.silent = 100*time.Millisecond, true
				s := setup(parallelism(64), pacedBy(policy.NewLimiter(tc.limit)))
				took, err := server.ask(t.Context(), s, 64, 1500, tc.sizes)
				if err != nil {
					t.Fatal(err)
				}
				if share, refused := server.share(took), server.refusedShare(); share < 0.95 || share > 1.02 || refused > 0.002 {
					t.Errorf("used %.3f of the limit with %.4f refused, want all of it with none", share, refused)
				}
			})
		})
	}
}

// TestLimiterIsShared has several processes, each with a limiter of its own, or
// several stages with one, ask the same server.
func TestLimiterIsShared(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		server  func() *limits
		own     bool
		n       int
		refused float64
	}{
		{"two processes", func() *limits { return &limits{requests: newBucket(6000, time.Second)} }, true, 2, 0.01},
		{"four processes", func() *limits { return &limits{requests: newBucket(6000, time.Second)} }, true, 4, 0.01},
		{"two processes, a minute", func() *limits { return &limits{requests: newBucket(6000, time.Minute)} }, true, 2, 0},
		{"two stages", func() *limits { return &limits{requests: newBucket(6000, time.Second)} }, false, 2, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, l := tc.server(), policy.NewLimiter(policy.RateLimit{})
				server.latency = 100 * time.Millisecond
				start, ends := time.Now(), make([]time.Duration, tc.n)
				var wg sync.WaitGroup
				for i := range tc.n {
					if tc.own {
						l = policy.NewLimiter(policy.RateLimit{})
					}
					s := setup(parallelism(64), pacedBy(l))
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 1234 * time.Millisecond)
						if _, err := server.ask(t.Context(), s, 64, 2000, fixed); err != nil {
							t.Error(err)
						}
						ends[i] = time.Since(start)
					})
				}
				wg.Wait()
				took := slices.Max(ends)
				if share, refused := server.share(took), server.refusedShare(); share < 0.97 || refused > tc.refused {
					t.Errorf("used %.3f of the limit with %.4f refused, want all of it with at most %.4f", share, refused, tc.refused)
				}
				if first := slices.Min(ends); first < took/2 {
					t.Errorf("one was done after %s, the last after %s: not fair", first, took)
				}
			})
		})
	}
}

// TestLimitsThatAreNoBuckets: what remains is a ceiling, whatever the rest means.
func TestLimitsThatAreNoBuckets(t *testing.T) {
	t.Parallel()
	t.Run("a window that starts anew", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			const perMinute = 3000
			start, in, left := time.Now(), int64(0), perMinute
			server := &limits{latency: 100 * time.Millisecond}
			rest := func() time.Duration {
				if now := int64(time.Since(start) / time.Minute); now != in {
					in, left = now, perMinute
				}
				return time.Minute - time.Since(start)%time.Minute
			}
			server.says = func() []policy.Limit {
				return []policy.Limit{{Kind: policy.Requests, PerMinute: perMinute, Remaining: int64(left), Reset: rest()}}
			}
			server.door = func() time.Duration {
				again := rest()
				if left == 0 {
					return again
				}
				left--
				return 0
			}
			time.Sleep(20 * time.Second)
			took, err := server.ask(t.Context(), setup(parallelism(64), auto), 64, 6000, fixed)
			if err != nil || server.refused > 0 || took > 130*time.Second {
				t.Errorf("took %s with %d refused (%v), want about 120s and none", took, server.refused, err)
			}
		})
	})
	t.Run("a limit that is one a day", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server := &limits{requests: newBucket(2000.0/1440, 24*time.Hour), latency: 100 * time.Millisecond}
			server.says = func() []policy.Limit {
				l := server.requests.says(policy.Requests, time.Millisecond)
				l.PerMinute = 2000
				return []policy.Limit{l}
			}
			took, err := server.ask(t.Context(), setup(parallelism(16), auto), 16, 2002, fixed)
			if err != nil || took > 4*time.Minute || server.refused > 20 {
				t.Errorf("took %s with %d refused (%v), want some 3 minutes and few", took, server.refused, err)
			}
		})
	})
}

func TestTurnThatWasStoppedGivesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		l := policy.NewLimiter(policy.RateLimit{RequestsPerMinute: 60})
		s := setup(stopOn(stop), pacedBy(l))
		if _, _, err := one(t.Context(), s, (&script{}).send); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, _, err := one(t.Context(), s, (&script{}).send)
			ended <- err
		}()
		time.Sleep(500 * time.Millisecond)
		if got := s.Snapshot(); got.Waiting != 1 || got.Waits.Limiter != 500*time.Millisecond || len(got.Limits) != 1 || got.Limits[0].PerMinute != 60 {
			t.Errorf("got %+v, want one to wait for the limiter", got)
		}
		close(stop)
		if err := <-ended; !errors.Is(err, pipeline.ErrStopped) {
			t.Errorf("got %v, want the stop", err)
		}
		other, start := setup(pacedBy(l)), time.Now()
		if _, _, err := one(t.Context(), other, (&script{}).send); err != nil || time.Since(start) > 501*time.Millisecond {
			t.Errorf("another stage waited %s (%v), want 500ms: nothing was taken", time.Since(start), err)
		}
	})
}
