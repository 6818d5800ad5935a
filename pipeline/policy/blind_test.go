package policy_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline/policy"
)

// TestNothingIsTold has servers that say nothing of their limits.
func TestNothingIsTold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		server      func() *limits
		parallelism int
		rows        int
		within      time.Duration // what is ideal, and some
		refused     float64       // of the requests, at most
		peak        int           // on the wire, at most; 0 for any number
		found       string        // "refusals", "slots" or nothing
	}{
		// 14 s would be ideal: the server has a second's worth in store.
		{"a limit", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond}
		}, 64, 1500, 14800 * time.Millisecond, 0.025, 0, "refusals"},
		{"a limit, for long", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond}
		}, 64, 6000, time.Minute, 0.015, 0, "refusals"},
		{"a limit, latencies vary", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond, varies: 0.5}
		}, 64, 1500, 15 * time.Second, 0.03, 0, "refusals"},
		{"a limit a minute", func() *limits {
			return &limits{requests: newBucket(6000, time.Minute), latency: 100 * time.Millisecond}
		}, 64, 12000, 61 * time.Second, 0.01, 0, "refusals"},
		{"so many at once", func() *limits { return &limits{latency: time.Second, varies: 0.5, most: 16} }, 64, 1500, 100 * time.Second, 0.02, 0, ""},
		{"one after the other", func() *limits { return &limits{latency: 5 * time.Second, varies: 0.3, workers: 1} }, 16, 60, 400 * time.Second, 0, 0, ""},
		{"eight at once, the others wait", func() *limits { return &limits{latency: 2 * time.Second, varies: 0.5, workers: 8} }, 64, 1000, 280 * time.Second, 0, 40, "slots"},
		{"no limit", func() *limits { return &limits{latency: 20 * time.Millisecond} }, 64, 5000, 1641 * time.Millisecond, 0, 0, ""},
		{"no limit, latencies vary", func() *limits { return &limits{latency: time.Second, varies: 0.5} }, 64, 2000, 40 * time.Second, 0, 0, ""},
		{"refusals at random", func() *limits { return &limits{latency: 100 * time.Millisecond, noise: 0.03} }, 64, 5000, 25 * time.Second, 0.04, 0, ""},
		{"many refusals at random", func() *limits { return &limits{latency: 100 * time.Millisecond, noise: 0.1} }, 64, 5000, 40 * time.Second, 0.13, 0, ""},
		{"a limit, and refusals at random", func() *limits {
			return &limits{requests: newBucket(6000, time.Second), latency: 100 * time.Millisecond, noise: 0.03}
		}, 64, 3000, 40 * time.Second, 0.1, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, s := tc.server(), setup(parallelism(tc.parallelism), auto)
				server.silent = true
				took, err := server.ask(t.Context(), s, tc.parallelism, tc.rows, fixed)
				if err != nil {
					t.Fatal(err)
				}
				got := s.Snapshot()
				if took > tc.within || server.refusedShare() > tc.refused {
					t.Errorf("took %s with %.4f refused, want within %s and %.4f; %+v", took, server.refusedShare(), tc.within, tc.refused, got)
				}
				if tc.peak > 0 && server.peak > tc.peak {
					t.Errorf("%d at once, want at most %d", server.peak, tc.peak)
				}
				byRefusals := len(got.Limits) == 1 && got.Limits[0].By == "refusals"
				if tc.found == "refusals" && (!byRefusals || got.Limits[0].PerMinute < 5000 || got.Limits[0].PerMinute > 7000) || tc.found == "slots" && !got.SlotsFound {
					t.Errorf("got %+v, want it to have found the %s", got, tc.found)
				}
				if testing.Verbose() {
					t.Logf("%s, %.4f refused, peak %d, slots %d, limits %v", took, server.refusedShare(), server.peak, got.Slots, got.Limits)
				}
			})
		})
	}
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
