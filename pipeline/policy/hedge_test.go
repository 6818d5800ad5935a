package policy_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

func hedge(after string, atMost pipeline.Share) func(*policy.Settings) {
	return func(s *policy.Settings) {
		if err := s.Hedge.After.UnmarshalText([]byte(after)); err != nil {
			panic(err)
		}
		s.Hedge.AtMost = atMost
	}
}

// late is a turn whose requests may be made twice.
func late(ctx context.Context, s *policy.Stage, send func(context.Context, *policy.Attempt) (string, error)) (string, int, error) {
	return sized(ctx, s, policy.Ask{Hedge: true}, send)
}

// TestStragglers has a server that takes ten times as long for one answer in a
// hundred. With hedging the p99 is less than half of what it is without.
func TestStragglers(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, edits ...func(*policy.Settings)) (p99 time.Duration, got policy.Snapshot) {
		var took []time.Duration
		synctest.Test(t, func(t *testing.T) {
			s := setup(append(edits, parallelism(64))...)
			var n atomic.Int64
			var mu sync.Mutex
			errs := each(64, 6400, func(int) error {
				start := time.Now()
				_, _, err := late(t.Context(), s, func(ctx context.Context, _ *policy.Attempt) (string, error) {
					i := n.Add(1)
					latency := time.Duration(80+i*37%40) * time.Millisecond
					if i%100 == 50 {
						latency = time.Second
					}
					select {
					case <-time.After(latency):
						return "", nil
					case <-ctx.Done():
						return "", ctx.Err()
					}
				})
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(start))
				return err
			})
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
			got = s.Snapshot()
		})
		slices.Sort(took)
		return took[len(took)*992/1000], got
	}
	without, _ := run(t)
	with, got := run(t, hedge("p95", 0.05))
	if with*2 > without {
		t.Errorf("p99 is %s with hedging and %s without, want less than half", with, without)
	}
	if got.Hedges == 0 || float64(got.Hedges) > 0.05*float64(got.Attempts-got.Hedges) || got.HedgesWon < 40 || got.InFlight != 0 {
		t.Errorf("got %+v, want up to 5%% second requests, of which most of the 64 needed answer first", got)
	}
}

// TestRaces has the two requests of an attempt end in all ways.
func TestRaces(t *testing.T) {
	t.Parallel()
	const at = time.Second // when the second is made
	type end struct {
		after time.Duration // it was made
		err   error
	}
	for _, tc := range []struct {
		name          string
		first, second end
		want          string // the answer: of which request
		err           error
		took          time.Duration
		gaveUp        string // whose context was cancelled
		attempts      int
		failures      int // that count as attempts: then a further request answers
	}{
		{"no need", end{500 * time.Millisecond, nil}, end{}, "first", nil, 500 * time.Millisecond, "", 1, 0},
		{"the second is faster", end{10 * time.Second, nil}, end{time.Second, nil}, "second", nil, 2 * time.Second, "first", 2, 0},
		{"the first is faster", end{2 * time.Second, nil}, end{10 * time.Second, nil}, "first", nil, 2 * time.Second, "second", 2, 0},
		{"the second fails", end{3 * time.Second, nil}, end{time.Second, errDown}, "first", nil, 3 * time.Second, "", 2, 0},
		{"the second is refused", end{3 * time.Second, nil}, end{time.Second, errRefused}, "first", nil, 3 * time.Second, "", 2, 0},
		{"the first fails", end{2 * time.Second, errDown}, end{5 * time.Second, nil}, "second", nil, 6 * time.Second, "", 2, 0},
		{"the first is refused", end{2 * time.Second, errRefused}, end{5 * time.Second, nil}, "second", nil, 6 * time.Second, "", 2, 0},
		{"the second has the record's error", end{10 * time.Second, nil}, end{time.Second, errBad}, "", errBad, 2 * time.Second, "first", 2, 0},
		{"the first has the record's error", end{2 * time.Second, errBad}, end{10 * time.Second, nil}, "", errBad, 2 * time.Second, "second", 2, 0},
		{"both fail", end{2 * time.Second, errDown}, end{2 * time.Second, errDown}, "third", nil, 3 * time.Second, "", 3, 1},
		{"the second panics", end{3 * time.Second, nil}, end{-1, nil}, "first", nil, 3 * time.Second, "", 2, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(hedge(at.String(), 1), func(s *policy.Settings) { s.Retry.Backoff, s.Retry.MaxBackoff = 1, 1 })
				var gaveUp atomic.Value
				gaveUp.Store("")
				start := time.Now()
				out, n, err := late(t.Context(), s, func(ctx context.Context, a *policy.Attempt) (string, error) {
					e, name := tc.first, "first"
					switch a.Number {
					case 2:
						e, name = tc.second, "second"
						if got := time.Since(start); got != at {
							t.Errorf("the second request was made after %s, want %s", got, at)
						}
					case 3:
						return "third", nil
					}
					if e.after < 0 {
						panic("ouch")
					}
					select {
					case <-time.After(e.after):
					case <-ctx.Done():
						gaveUp.Store(name)
						return "", ctx.Err()
					}
					if e.err != nil {
						return "", e.err
					}
					return name, nil
				})
				if out != tc.want || !errors.Is(err, tc.err) || n != tc.attempts || time.Since(start).Truncate(time.Millisecond) != tc.took || gaveUp.Load() != tc.gaveUp {
					t.Errorf("got %q, %v with %d requests after %s, given up: %q", out, err, n, time.Since(start), gaveUp.Load())
				}
				got := s.Snapshot()
				if got.InFlight != 0 || got.OnWire.Truncate(time.Millisecond) != tc.took || int(got.Retries) != tc.failures {
					t.Errorf("got %+v, want %s on the wire and %d retries", got, tc.took, tc.failures)
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

func TestSecondRequestsAreBounded(t *testing.T) {
	t.Parallel()
	slow := func(context.Context, *policy.Attempt) (string, error) {
		time.Sleep(10 * time.Second)
		return "", nil
	}
	for _, tc := range []struct {
		name string
		edit func(*policy.Settings)
		ask  policy.Ask
		most int64 // of 100
	}{
		{"by a share", func(*policy.Settings) {}, policy.Ask{Hedge: true}, 5},
		{"by a larger share", hedge("1s", 0.3), policy.Ask{Hedge: true}, 30},
		{"by the stage", func(*policy.Settings) {}, policy.Ask{}, 0},
		{"by the limits", pacedBy(policy.NewLimiter(policy.RateLimit{RequestsPerMinute: 5})), policy.Ask{Hedge: true}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(parallelism(10), hedge("1s", 0.05), tc.edit)
				errs := each(10, 100, func(int) error {
					_, _, err := sized(t.Context(), s, tc.ask, slow)
					return err
				})
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				got := s.Snapshot()
				if got.Hedges > tc.most || got.Hedges < tc.most-1 || got.Attempts != 100+got.Hedges {
					t.Errorf("got %+v, want %d second requests", got, tc.most)
				}
			})
		})
	}
}

func TestStoppedAndAwayAreNotHedged(t *testing.T) {
	t.Parallel()
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			stop := make(chan struct{})
			s := setup(hedge("1s", 1), stopOn(stop))
			out, n, err := late(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) {
				close(stop)
				time.Sleep(3 * time.Second)
				return "answer", nil
			})
			if out != "answer" || n != 1 || err != nil {
				t.Errorf("got %q, %v after %d requests, want the answer to the only one", out, err, n)
			}
		})
	})
	t.Run("probe", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s, _ := openedWith(t.Context(), t, hedge("1s", 1))
			_, n, err := late(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) {
				time.Sleep(3 * time.Second)
				return "", nil
			})
			if n != 1 || err != nil {
				t.Errorf("%d requests (%v), want the probe alone", n, err)
			}
			time.Sleep(time.Hour)
		})
	})
}
