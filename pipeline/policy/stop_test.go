package policy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// waits are the ways to wait in the gate: a stage, what its rows get, and how many
// rows to start.
func waits() map[string]struct {
	setup func(context.Context, *testing.T) (*policy.Stage, chan struct{})
	errs  []error
	hang  bool // the first row is a probe on the wire
} {
	fresh := func(context.Context, *testing.T) (*policy.Stage, chan struct{}) {
		stop := make(chan struct{})
		return setup(stopOn(stop), func(s *policy.Settings) { s.Retry.Backoff = time.Hour; s.Retry.MaxBackoff = time.Hour }), stop
	}
	return map[string]struct {
		setup func(context.Context, *testing.T) (*policy.Stage, chan struct{})
		errs  []error
		hang  bool
	}{
		"backoff":     {fresh, repeat(errDown, 5), false},
		"refused":     {fresh, repeat(errRefused, 50), false},
		"retry-after": {fresh, repeat(refusal(time.Minute), 50), false},
		"breaker":     {opened, nil, false},
		"probe":       {opened, nil, true},
	}
}

func TestStopEndsAnyWaitAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range waits() {
		for _, how := range []string{"soft", "hard"} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					s, stop := tc.setup(ctx, t)
					probe := make(chan error, 1)
					if tc.hang {
						go func() {
							_, _, err := one(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) {
								time.Sleep(10 * time.Second)
								return "", errDown
							})
							probe <- err
						}()
						time.Sleep(15*time.Second + 1)
					}
					ended := make(chan error, 8)
					for range 8 {
						go func() {
							_, _, err := one(ctx, s, (&script{errs: tc.errs}).send)
							ended <- err
						}()
					}
					time.Sleep(5 * time.Millisecond)
					if got := s.Snapshot().Waiting; got != 8 {
						t.Fatalf("%d wait, want 8", got)
					}
					start, want := time.Now(), pipeline.ErrStopped
					if how == "soft" {
						close(stop)
					} else {
						want = context.Canceled
						cancel()
					}
					for range 8 {
						if err := <-ended; !errors.Is(err, want) {
							t.Errorf("got %v, want %v", err, want)
						}
					}
					if took := time.Since(start); took != 0 {
						t.Errorf("it took %s, want none", took)
					}
					if got := s.Snapshot(); got.Waiting != 0 {
						t.Errorf("%d still wait", got.Waiting)
					}
					if tc.hang && how == "soft" {
						if err := <-probe; !errors.Is(err, pipeline.ErrStopped) {
							t.Errorf("the probe ended with %v, want unfinished", err)
						}
					}
					cancel()
					time.Sleep(time.Hour)
				})
			})
		}
	}
}

func TestSoftStopOnTheWire(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"success", nil, nil},
		{"failure that would be retried", errDown, pipeline.ErrStopped},
		{"refusal", errRefused, pipeline.ErrStopped},
		{"record error", errBad, errBad},
		{"fatal error", errFatal, errFatal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stop := make(chan struct{})
				s := setup(stopOn(stop))
				time.AfterFunc(time.Second, func() { close(stop) })
				_, _, err := one(t.Context(), s, func(ctx context.Context, _ *policy.Attempt) (string, error) {
					time.Sleep(2 * time.Second)
					return "", errors.Join(tc.err, ctx.Err())
				})
				if !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if _, n, err := one(t.Context(), s, (&script{}).send); n != 0 || !errors.Is(err, pipeline.ErrStopped) {
					t.Errorf("a new turn made %d attempts: %v", n, err)
				}
			})
		})
	}
	t.Run("last attempt", func(t *testing.T) {
		t.Parallel()
		stop := make(chan struct{})
		_, _, err := one(t.Context(), setup(stopOn(stop), attempts(1)), func(context.Context, *policy.Attempt) (string, error) {
			close(stop)
			return "", errDown
		})
		if !errors.Is(err, errDown) {
			t.Errorf("got %v, want the failure: it is final", err)
		}
	})
}
