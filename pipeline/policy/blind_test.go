package policy_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline/policy"
)

// TestNothingIsTold has servers that say nothing of their limits.
func TestNothingIsTold(t *testing.T) {
	t.Parallel()
	fast := 100 * time.Millisecond
	for _, tc := range []struct {
		name        string
		server      func() *limits
		parallelism int
		rows        int
		within      time.Duration         // what is ideal, and some
		refused     float64               // of the requests, at most
		peak        int                   // on the wire, at most; 0 for any number
		found       string                // "refusals", "slots" or nothing
		sizes       func(*rand.Rand) size // fixed if nil
	}{
		// 14 s would be ideal: the server has a second's worth in store.
		{"a limit", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond}
		}, 64, 1500, 14800 * time.Millisecond, 0.025, 0, "refusals", nil},
		{"a limit, for long", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond}
		}, 64, 6000, time.Minute, 0.015, 0, "refusals", nil},
		{"a limit, latencies vary", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond, varies: 0.5}
		}, 64, 1500, 15 * time.Second, 0.03, 0, "refusals", nil},
		{"a limit a minute", func() *limits {
			return &limits{requests: newBucket(6000, time.Minute), latency: 100 * time.Millisecond}
		}, 64, 12000, 61 * time.Second, 0.01, 0, "refusals", nil},
		{"so many at once", func() *limits { return &limits{latency: time.Second, varies: 0.5, most: 16} }, 64, 1500, 100 * time.Second, 0.02, 0, "", nil},
		{"one after the other", func() *limits { return &limits{latency: 5 * time.Second, varies: 0.3, workers: 1} }, 16, 60, 400 * time.Second, 0, 0, "", nil},
		{"eight at once, the others wait", func() *limits { return &limits{latency: 2 * time.Second, varies: 0.5, workers: 8} }, 64, 1000, 280 * time.Second, 0, 40, "slots", nil},
		{"no limit", func() *limits { return &limits{latency: 20 * time.Millisecond} }, 64, 5000, 1641 * time.Millisecond, 0, 0, "", nil},
		{"no limit, latencies vary", func() *limits { return &limits{latency: time.Second, varies: 0.5} }, 64, 2000, 40 * time.Second, 0, 0, "", nil},
		{"refusals at random", func() *limits { return &limits{latency: 100 * time.Millisecond, noise: 0.03} }, 64, 5000, 90 * time.Second, 0.04, 0, "", nil},
		{"many refusals at random", func() *limits { return &limits{latency: 100 * time.Millisecond, noise: 0.1} }, 64, 5000, 150 * time.Second, 0.13, 0, "", nil},
		{"a limit, and refusals at random", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond, noise: 0.03}
		}, 64, 3000, 90 * time.Second, 0.1, 0, "", nil},
		// 16.6 s are what the tokens alone would take.
		{"a limit of tokens", func() *limits { return &limits{tokens: newBucket(600_000, time.Second), latency: fast, varies: 0.5} }, 64, 1200, 21 * time.Second, 0.04, 0, "", mixed},
		{"a limit of tokens, for long", func() *limits { return &limits{tokens: newBucket(600_000, time.Second), latency: fast, varies: 0.5} }, 64, 6000, 95 * time.Second, 0.02, 0, "", mixed},
		{"a limit of tokens, in the end", func() *limits {
			return &limits{tokens: newBucket(600_000, time.Second), latency: fast, varies: 0.5, counts: true}
		}, 64, 3000, 60 * time.Second, 0.02, 0, "", mixed},
		{"a limit, nothing let in for a while", func() *limits {
			return closed(&limits{requests: newBucket(6000, time.Second), latency: fast}, 5*time.Second, 15*time.Second)
		}, 64, 3000, 43 * time.Second, 0.03, 0, "refusals", nil},
		{"a limit, nothing let in at first", func() *limits {
			return closed(&limits{requests: newBucket(6000, time.Second), latency: fast}, 0, 10*time.Second)
		}, 64, 2000, 65 * time.Second, 0.035, 0, "refusals", nil},
		{"a limit, nothing let in for long", func() *limits {
			return closed(&limits{requests: newBucket(6000, time.Second), latency: fast}, 5*time.Second, 10*time.Minute)
		}, 64, 3000, 13 * time.Minute, 0.06, 0, "refusals", nil},
		{"no limit, nothing let in for a while", func() *limits {
			return closed(&limits{latency: fast}, 3*time.Second, 6*time.Second)
		}, 64, 4000, 24 * time.Second, 0.02, 0, "", nil},
		{"a limit that falls to a tenth", func() *limits { return changing(6000, 600) }, 64, 1300, 42 * time.Second, 0.06, 0, "", nil},
		{"a limit that rises tenfold", func() *limits { return changing(600, 6000) }, 64, 3000, 2 * time.Minute, 0.02, 0, "refusals", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mostly(t, func(t *testing.T, complain func(string, ...any)) {
				server, s := tc.server(), setup(parallelism(tc.parallelism), auto)
				server.silent = true
				took, err := server.ask(t.Context(), s, tc.parallelism, tc.rows, orFixed(tc.sizes))
				if err != nil {
					t.Fatal(err)
				}
				got := s.Snapshot()
				if took > tc.within || server.refusedShare() > tc.refused {
					complain("took %s with %.4f refused, want within %s and %.4f; %+v", took, server.refusedShare(), tc.within, tc.refused, got)
				}
				if tc.peak > 0 && server.peak > tc.peak {
					complain("%d at once, want at most %d", server.peak, tc.peak)
				}
				byRefusals := len(got.Limits) == 1 && got.Limits[0].By == "refusals"
				if tc.found == "refusals" && (!byRefusals || got.Limits[0].PerMinute < 5000 || got.Limits[0].PerMinute > 7000) || tc.found == "slots" && !got.SlotsFound {
					complain("got %+v, want it to have found the %s", got, tc.found)
				}
				if testing.Verbose() {
					t.Logf("%s, %.4f refused, peak %d, slots %d, limits %v", took, server.refusedShare(), server.peak, got.Slots, got.Limits)
				}
			})
		})
	}
}

// orFixed returns sizes, or where there are none those that differ in nothing.
func orFixed(sizes func(*rand.Rand) size) func(*rand.Rand) size {
	if sizes == nil {
		return fixed
	}
	return sizes
}

// mixed are requests of which the largest need eleven times as much as the smallest.
func mixed(r *rand.Rand) size {
	n := 45 + 3*[]int{0, 2, 5, 8, 14, 20, 30, 40, 60, 160}[r.IntN(10)]
	return size{ask: policy.Ask{InputTokens: n}, in: n, out: 30}
}

// closed has a server let nothing in for a time.
func closed(l *limits, from, to time.Duration) *limits {
	start := time.Now()
	l.door = func() time.Duration {
		if d := time.Since(start); d >= from && d < to {
			return 1
		}
		return 0
	}
	return l
}

// changing is a server whose limit changes after ten seconds.
func changing(from, to float64) *limits {
	l := &limits{requests: newBucket(from, time.Second), latency: 100 * time.Millisecond}
	time.AfterFunc(10*time.Second, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.requests.perMinute, l.requests.capacity = to, to/60
	})
	return l
}

// TestRefusedRowsAreNotLeftBehind: where there is a pace, it spares the other end, and
// who was refused time and again is asked for as soon as the others.
func TestRefusedRowsAreNotLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const refusals = 12
		s := setup(parallelism(4), pacedBy(policy.NewLimiter(policy.RateLimit{RequestsPerMinute: 6000})))
		start := time.Now()
		if _, n, err := one(t.Context(), s, (&script{errs: repeat(errRefused, refusals)}).send); err != nil || n != refusals+1 {
			t.Fatalf("%d attempts: %v", n, err)
		}
		if took := time.Since(start); took > refusals*(500+20)*time.Millisecond {
			t.Errorf("took %s for %d refusals, want at most the first backoff for each", took, refusals)
		}
	})
}

// TestFailuresDoNotGrow has a server that works on few requests at once. The others
// fail at once, or wait until their time is over.
func TestFailuresDoNotGrow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		server *limits
		most   int // slots in the end
	}{
		{"at once", &limits{latency: time.Second, varies: 0.3, most: 16, fails: true}, 32},
		{"by time", &limits{latency: 2 * time.Second, varies: 0.3, workers: 8}, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(parallelism(64), auto, noBreaker, attempts(10_000), func(s *policy.Settings) {
					s.Timeout, s.Retry.RunBudget = 8*time.Second, 1e6
				})
				tc.server.silent = true
				if _, err := tc.server.ask(t.Context(), s, 64, 2000, fixed); err != nil {
					t.Fatal(err)
				}
				if got := s.Snapshot().Slots; got > tc.most {
					t.Errorf("%d slots, want at most %d", got, tc.most)
				}
			})
		})
	}
}

// TestFailuresAsUsualDoNotHinder has a server of which a third of the answers fail,
// however many it is asked for.
func TestFailuresAsUsualDoNotHinder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(parallelism(64), auto, attempts(100), func(s *policy.Settings) { s.Retry.RunBudget = 100 })
		var n atomic.Int64
		errs := workers(t.Context(), s, 64, 3000, func(int) func(context.Context, *policy.Attempt) (string, error) {
			return func(context.Context, *policy.Attempt) (string, error) {
				fail := n.Add(1)%3 == 0
				time.Sleep(time.Second)
				if fail {
					return "", errDown
				}
				return "", nil
			}
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if got := s.Snapshot().Slots; got != 64 {
			t.Errorf("%d slots, want all 64", got)
		}
	})
}

// TestFastFailuresTakeNoSlots has a server that works on all it is asked for, then
// fails at once for a while, then works again.
func TestFastFailuresTakeNoSlots(t *testing.T) {
	t.Parallel()
	for _, breaker := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var fewer atomic.Int64 // requests made when there were fewer slots
			s := setup(parallelism(64), auto, attempts(1000), func(s *policy.Settings) {
				s.Retry.RunBudget, s.Breaker.Off = 1000, !breaker
			})
			errs := workers(t.Context(), s, 64, 4000, func(int) func(context.Context, *policy.Attempt) (string, error) {
				return func(context.Context, *policy.Attempt) (string, error) {
					if d := time.Since(start); d > 20*time.Second && d < 30*time.Second {
						return "", errDown
					}
					if time.Since(start) > 20*time.Second && s.Snapshot().Slots < 64 {
						fewer.Add(1)
					}
					time.Sleep(time.Second)
					return "", nil
				}
			})
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			if n := fewer.Load(); n > 0 {
				t.Errorf("%d requests were made with fewer slots after failures, want all 64 slots", n)
			}
		})
	}
}
