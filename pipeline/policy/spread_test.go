package policy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

func endpoints(of ...policy.Endpoint) func(*policy.Settings) {
	return func(s *policy.Settings) { s.Endpoints = of }
}

// others are endpoints that answer each in its own way.
type others []func(ctx context.Context, a *policy.Attempt) error

// ask has workers ask about rows, and counts how many requests each endpoint got.
func (o others) ask(t *testing.T, s *policy.Stage, n, rows int) (asked []int64, errs []error) {
	t.Helper()
	counts := make([]atomic.Int64, len(o))
	errs = workers(t.Context(), s, n, rows, func(int) func(context.Context, *policy.Attempt) (string, error) {
		return func(ctx context.Context, a *policy.Attempt) (string, error) {
			counts[a.Endpoint].Add(1)
			return "", o[a.Endpoint](ctx, a)
		}
	})
	for i := range counts {
		asked = append(asked, counts[i].Load())
	}
	return asked, errs
}

// takes answers after a time.
func takes(d time.Duration) func(context.Context, *policy.Attempt) error {
	return func(context.Context, *policy.Attempt) error {
		time.Sleep(d)
		return nil
	}
}

// says answers at once with an error.
func says(err error) func(context.Context, *policy.Attempt) error {
	return func(context.Context, *policy.Attempt) error { return err }
}

var errBadKey = pipeline.Fatal("invalid_api_key", errors.New("incorrect API key provided"))

func TestSpread(t *testing.T) {
	t.Parallel()
	second := takes(time.Second)
	for _, tc := range []struct {
		name    string
		of      []policy.Endpoint
		answer  others
		workers int
		want    []int64 // of 120 rows
	}{
		{"evenly", []policy.Endpoint{{}, {}}, others{second, second}, 12, []int64{60, 60}},
		{"evenly, one after the other", []policy.Endpoint{{}, {}}, others{second, second}, 1, []int64{60, 60}},
		{"by weight", []policy.Endpoint{{Weight: 3}, {Weight: 1}}, others{second, second}, 12, []int64{90, 30}},
		{"by weight, one after the other", []policy.Endpoint{{Weight: 3}, {Weight: 1}}, others{second, second}, 1, []int64{90, 30}},
		{"by how fast they are", []policy.Endpoint{{}, {}}, others{takes(time.Second), takes(3 * time.Second)}, 12, []int64{90, 30}},
		{"to the first ones only", []policy.Endpoint{{Priority: 1}, {Priority: 2}, {Priority: 1}}, others{second, second, second}, 12, []int64{60, 0, 60}},
		{"to the next when the first is full", []policy.Endpoint{{MaxInFlight: 3}, {Priority: 1}}, others{second, second}, 12, []int64{30, 90}},
		{"never to the one with a bad key", []policy.Endpoint{{}, {}}, others{says(errBadKey), second}, 1, []int64{1, 120}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(parallelism(12), endpoints(tc.of...))
				asked, errs := tc.answer.ask(t, s, tc.workers, 120)
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(asked, tc.want) {
					t.Errorf("the endpoints were asked %v times, want %v", asked, tc.want)
				}
				got := s.Snapshot()
				for i, e := range got.Endpoints {
					if e.Attempts != asked[i] || e.InFlight != 0 {
						t.Errorf("endpoint %d: counted %+v, was asked %d times", i, e, asked[i])
					}
				}
			})
		})
	}
}

// TestParallelismIsOfAll: all endpoints together have no more requests than the stage may have.
func TestParallelismIsOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(parallelism(5), endpoints(policy.Endpoint{}, policy.Endpoint{}, policy.Endpoint{}))
		var now, most atomic.Int64
		busy := func(context.Context, *policy.Attempt) error {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}
		_, errs := others{busy, busy, busy}.ask(t, s, 20, 100)
		if err := errors.Join(errs...); err != nil || most.Load() != 5 {
			t.Errorf("%d requests at once (%v), want 5", most.Load(), err)
		}
	})
}

// TestOneEndpointDies: no row is lost to it, and while its breaker is open it gets
// probes only; when it is there again it is asked again.
func TestOneEndpointDies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var into atomic.Int64
		dies := func(context.Context, *policy.Attempt) error {
			if since := time.Since(start); since < 10*time.Second || since > 5*time.Minute {
				time.Sleep(time.Second)
				return nil
			}
			into.Add(1)
			return errDown
		}
		s := setup(parallelism(16), endpoints(policy.Endpoint{Name: "a"}, policy.Endpoint{Name: "b"}))
		asked, errs := others{dies, takes(time.Second)}.ask(t, s, 16, 8000)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		// Until 16 of the last 20 have failed, and then a probe every 15 s.
		if n := into.Load(); n < 16 || n > 60 {
			t.Errorf("%d requests were sent into the outage, want 16 until the breaker opens and a probe every 15s", n)
		}
		if asked[0] < 1000 {
			t.Errorf("it was asked %d times, want about half when it was there", asked[0])
		}
	})
}

// TestAllEndpointsAway: rows wait, the pause is told with names, and it ends the run
// only when all were away for too long.
func TestAllEndpointsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(parallelism(30), endpoints(policy.Endpoint{Name: "a"}, policy.Endpoint{Name: "b"}), func(s *policy.Settings) { s.Breaker.MaxPause = 10 * time.Minute })
		go func() {
			time.Sleep(5 * time.Minute)
			got := s.Snapshot()
			if !strings.Contains(got.Paused, "a keeps failing (") || !strings.Contains(got.Paused, "b keeps failing (") {
				t.Errorf("paused: %q, want both by name", got.Paused)
			}
		}()
		start := time.Now()
		_, errs := others{says(errDown), says(errDown)}.ask(t, s, 30, 30)
		for _, err := range errs {
			if class, code := pipeline.Classify(err); class != pipeline.ClassFatal || code != "outage" {
				t.Fatalf("got %v, want the end of the run", err)
			}
		}
		if took := time.Since(start); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("it ended after %s, want max_pause", took)
		}
	})
}

// TestCoolsAlone: what one endpoint asks for is no pause of the other; when both cool,
// everybody waits for the first of them.
func TestCoolsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var a, b atomic.Int64
		once := func(n *atomic.Int64, after time.Duration) func(context.Context, *policy.Attempt) error {
			return func(context.Context, *policy.Attempt) error {
				if n.Add(1) == 1 {
					return refusal(after)
				}
				if since := time.Since(start); since < after {
					t.Errorf("asked after %s, though it had asked for %s", since, after)
				}
				return nil
			}
		}
		s := setup(endpoints(policy.Endpoint{Name: "a"}, policy.Endpoint{Name: "b", Priority: 1}))
		_, errs := others{once(&a, time.Hour/2), once(&b, 20*time.Second)}.ask(t, s, 1, 10)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("it took %s, want the 20s of the one that is back first", took)
		}
		if a.Load() != 1 || b.Load() != 11 {
			t.Errorf("asked %d and %d times, want 1 and 11", a.Load(), b.Load())
		}
	})
}

// TestTheLastEndpoint: with every key bad the run fails with the words of the last.
func TestTheLastEndpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(endpoints(policy.Endpoint{Name: "a"}, policy.Endpoint{Name: "b"}))
		spent := pipeline.Fatal("insufficient_quota", errors.New("you exceeded your current quota"))
		asked, errs := others{says(errBadKey), says(spent)}.ask(t, s, 1, 1)
		if !errors.Is(errs[0], spent) || !slices.Equal(asked, []int64{1, 1}) {
			t.Errorf("got %v after %v requests, want the words of the last one", errs[0], asked)
		}
		got := s.Snapshot()
		if got.Endpoints[0].Out == "" || got.Endpoints[1].Out != "" || got.Retries != 0 {
			t.Errorf("got %+v, want the first to be out", got)
		}
	})
}

// TestAnotherIsTriedFirst: the attempt after a failure goes to another endpoint, and
// so does the second request of a late one.
func TestAnotherIsTriedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(hedge("1s", 1), endpoints(policy.Endpoint{}, policy.Endpoint{Priority: 1}))
		var order []int
		_, _, err := late(t.Context(), s, func(_ context.Context, a *policy.Attempt) (string, error) {
			order = append(order, a.Endpoint)
			if a.Number == 1 {
				return "", errDown
			}
			return "", nil
		})
		if err != nil || !slices.Equal(order, []int{0, 1}) {
			t.Errorf("after a failure: asked %v (%v), want the other", order, err)
		}
		var second atomic.Int64
		_, _, err = late(t.Context(), s, func(ctx context.Context, a *policy.Attempt) (string, error) {
			if a.Number == 2 {
				second.Store(int64(a.Endpoint))
				return "", nil
			}
			<-ctx.Done()
			return "", ctx.Err()
		})
		if err != nil || second.Load() != 1 {
			t.Errorf("late: the second request went to %d (%v), want the other", second.Load(), err)
		}
	})
}
