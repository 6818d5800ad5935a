package policy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

func TestTimeout(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _ *policy.Attempt) (string, error) {
		<-ctx.Done()
		return "", fmt.Errorf("read: %w", ctx.Err())
	}
	for _, tc := range []struct {
		name string
		send func(context.Context, *policy.Attempt) (string, error)
		want string // the error; "" for success
		code string
	}{
		{"hang", hang, "no answer within 5s: read: context deadline exceeded", "timeout"},
		{"hang, classed otherwise", func(ctx context.Context, a *policy.Attempt) (string, error) {
			_, err := hang(ctx, a)
			return "", pipeline.Permanent("request", err)
		}, "no answer within 5s: read: context deadline exceeded", "timeout"},
		{"hang, plain error", func(ctx context.Context, _ *policy.Attempt) (string, error) {
			<-ctx.Done()
			return "", errors.New("gave up")
		}, "no answer within 5s: gave up", "timeout"},
		{"a late answer is an answer", func(ctx context.Context, _ *policy.Attempt) (string, error) {
			time.Sleep(6 * time.Second)
			return "", nil
		}, "", ""},
		{"a late verdict is a verdict", func(ctx context.Context, _ *policy.Attempt) (string, error) {
			time.Sleep(6 * time.Second)
			return "", errBad
		}, "bad row", "bad"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(attempts(1), func(s *policy.Settings) { s.Timeout = 5 * time.Second })
				_, _, err := one(t.Context(), s, tc.send)
				if tc.want == "" {
					if err != nil {
						t.Errorf("got %v, want success", err)
					}
					return
				}
				if _, code := pipeline.Classify(err); err == nil || err.Error() != tc.want || code != tc.code {
					t.Errorf("got %q (%s), want %q (%s)", err, code, tc.want, tc.code)
				}
			})
		})
	}
}

func TestTimeoutLeavesTheErrorAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := pipeline.Transient("network", errors.New("no route"))
		_, _, err := one(t.Context(), setup(attempts(1)), func(ctx context.Context, _ *policy.Attempt) (string, error) {
			<-ctx.Done()
			return "", shared
		})
		if err == nil || err.Error() != "no answer within 1m: no route" || shared.Error() != "no route" {
			t.Errorf("got %v, and the component's error is now %v", err, shared)
		}
	})
}

func TestCallerGivesUpBehindTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		_, _, err := one(ctx, setup(attempts(1)), func(ctx context.Context, _ *policy.Attempt) (string, error) {
			time.Sleep(62 * time.Second)
			return "", ctx.Err()
		})
		if err != context.DeadlineExceeded { //nolint:errorlint // the very same error
			t.Errorf("got %v, want the caller's deadline", err)
		}
	})
}

func TestVerdictBeatsCancellation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := one(ctx, setup(), func(context.Context, *policy.Attempt) (string, error) {
		cancel()
		return "", errBad
	})
	if !errors.Is(err, errBad) {
		t.Errorf("got %v, want the record's error: it is final", err)
	}
}

func TestTimeoutExcludesWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(func(s *policy.Settings) { s.Timeout = 5 * time.Second })
		_, n, err := one(t.Context(), s, func(ctx context.Context, a *policy.Attempt) (string, error) {
			if a.Number == 1 {
				return "", refusal(20 * time.Second)
			}
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(4 * time.Second):
				return "", nil
			}
		})
		if err != nil || n != 2 {
			t.Errorf("got %v after %d attempts, want success at the second", err, n)
		}
	})
}

func TestCallersContext(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		with func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		{"cancelled", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, context.Canceled},
		{"its deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, context.DeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup()
				for range 100 { // were they failures, the breaker would open
					ctx, cancel := tc.with(t.Context())
					_, n, err := one(ctx, s, func(ctx context.Context, _ *policy.Attempt) (string, error) {
						<-ctx.Done()
						return "", pipeline.Transient("network", ctx.Err())
					})
					cancel()
					if err != tc.want || n != 1 { //nolint:errorlint // the very same error
						t.Fatalf("got %v after %d attempts, want %v after 1", err, n, tc.want)
					}
				}
				if got := s.Snapshot().Paused; got != "" {
					t.Errorf("paused: %s", got)
				}
			})
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := setup(func(s *policy.Settings) { s.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	_, n, err := one(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) { panic("ouch") })
	class, code := pipeline.Classify(err)
	if n != 1 || class != pipeline.ClassRecord || code != "panic" || err.Error() != "panic: ouch" {
		t.Errorf("got %s/%s %q after %d attempts", class, code, err, n)
	}
	if !strings.Contains(log.String(), "policy_test.go") {
		t.Errorf("the log has no stack: %s", log.String())
	}
	if got := s.Snapshot().InFlight; got != 0 {
		t.Errorf("in flight = %d, want 0", got)
	}
}
