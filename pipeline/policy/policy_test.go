package policy_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errBad     = pipeline.Permanent("bad", errors.New("bad row"))
	errFatal   = pipeline.Fatal("key", errors.New("wrong key"))
	errDown    = pipeline.Transient("http_500", errors.New("server error"))
	errRefused = refusal(0)
)

func refusal(after time.Duration) error {
	return &pipeline.Error{Class: pipeline.ClassRefused, Code: "rate_limit_exceeded", Err: errors.New("slow down"), RetryAfter: after}
}

func unavailable(after time.Duration) error {
	return &pipeline.Error{Class: pipeline.ClassTransient, Code: "http_503", Err: errors.New("unavailable"), RetryAfter: after, ForAll: true}
}

func busy(after time.Duration) error {
	return &pipeline.Error{Class: pipeline.ClassTransient, Code: "http_500", Err: errors.New("server error"), RetryAfter: after}
}

// setup returns the policies of a waiting stage with the defaults, changed by edits.
func setup(edits ...func(*policy.Settings)) *policy.Stage {
	s := policy.Settings{StepOptions: policy.Defaults(pipeline.StepOptions{}, pipeline.Waits)}
	for _, edit := range edits {
		edit(&s)
	}
	return policy.New(s)
}

func parallelism(n int) func(*policy.Settings) {
	return func(s *policy.Settings) { s.Parallelism = n }
}

func attempts(n int) func(*policy.Settings) {
	return func(s *policy.Settings) { s.Retry.Attempts = n }
}

func noBreaker(s *policy.Settings) { s.Breaker.Off = true }

func stopOn(c <-chan struct{}) func(*policy.Settings) {
	return func(s *policy.Settings) { s.Stop = c }
}

// script answers the attempts of a turn with errors, one after the other, and nil
// after the last; at notes when each was made.
type script struct {
	errs []error
	at   []time.Time
}

func (s *script) send(context.Context, *policy.Attempt) (string, error) {
	s.at = append(s.at, time.Now())
	if n := len(s.at); n <= len(s.errs) {
		return "", s.errs[n-1]
	}
	return "answer", nil
}

// one makes one call of one turn.
func one(ctx context.Context, s *policy.Stage, send func(context.Context, *policy.Attempt) (string, error)) (string, int, error) {
	return sized(ctx, s, policy.Ask{}, send)
}

func sized(ctx context.Context, s *policy.Stage, ask policy.Ask, send func(context.Context, *policy.Attempt) (string, error)) (string, int, error) {
	ctx, call := s.Begin(ctx)
	out, err := policy.Turn(ctx, ask, send)
	return out, call.Attempts(), err
}

func repeat(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func TestTurnOutcome(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		errs     []error
		attempts int
		class    pipeline.Class
		message  string // "" for success
	}{
		{"success", nil, 1, 0, ""},
		{"record error ends it", []error{errBad}, 1, pipeline.ClassRecord, "bad row"},
		{"unknown error is the record's", []error{errors.New("odd")}, 1, pipeline.ClassRecord, "odd"},
		{"fatal error ends it", []error{errFatal}, 1, pipeline.ClassFatal, "wrong key"},
		{"one failure", []error{errDown}, 2, 0, ""},
		{"reset connection", []error{io.ErrUnexpectedEOF}, 2, 0, ""},
		{"five failures", repeat(errDown, 5), 6, 0, ""},
		{"six failures", repeat(errDown, 6), 6, pipeline.ClassTransient, "after 6 attempts: server error"},
		{"refusals cost nothing", repeat(errRefused, 40), 41, 0, ""},
		{"refusals between failures", append(append(repeat(errDown, 3), repeat(errRefused, 9)...), errDown, errDown), 15, 0, ""},
		{"failure then record error", []error{errDown, errBad}, 2, pipeline.ClassRecord, "bad row"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, sc := setup(), &script{errs: tc.errs}
				out, n, err := one(t.Context(), s, sc.send)
				if n != tc.attempts {
					t.Errorf("attempts = %d, want %d", n, tc.attempts)
				}
				if tc.message == "" {
					if err != nil || out != "answer" {
						t.Fatalf("got %q, %v; want the answer", out, err)
					}
					return
				}
				class, _ := pipeline.Classify(err)
				if class != tc.class || err.Error() != tc.message {
					t.Errorf("got %s error %q, want %s error %q", class, err, tc.class, tc.message)
				}
			})
		})
	}
}

func TestExhaustedErrorKeepsItsData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := &pipeline.Error{Class: pipeline.ClassTransient, Code: "http_500", Err: errors.New("server error"), Answer: "<html>"}
		_, _, err := one(t.Context(), setup(attempts(2)), (&script{errs: repeat(down, 2)}).send)
		var e *pipeline.Error
		if !errors.As(err, &e) || e.Code != "http_500" || e.Answer != "<html>" || !errors.Is(err, down) {
			t.Errorf("got %#v, want code, answer and chain of the last error", err)
		}
		if down.Err.Error() != "server error" {
			t.Errorf("the component's error was changed: %v", down.Err)
		}
	})
}

func TestTurnWithoutCall(t *testing.T) {
	t.Parallel()
	_, err := policy.Turn(t.Context(), policy.Ask{}, (&script{errs: []error{errDown}}).send)
	if !errors.Is(err, errDown) {
		t.Errorf("got %v, want the error of the only attempt", err)
	}
}

func TestOneAttemptReturnsItsErrorAsItIs(t *testing.T) {
	t.Parallel()
	s := policy.New(policy.Settings{StepOptions: policy.Defaults(pipeline.StepOptions{}, pipeline.Computes)})
	for _, want := range []error{errDown, errBad, pipeline.ErrEnough} {
		out, _, err := one(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) { return "kept", want })
		if err != want || out != "kept" { //nolint:errorlint // the very same error
			t.Errorf("got %q, %v; want what the stage returned with %v", out, err, want)
		}
	}
}

func TestBackoffIsFullJitter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup(noBreaker, attempts(10), func(s *policy.Settings) {
			s.Retry.Backoff, s.Retry.MaxBackoff, s.Retry.RunBudget = time.Second, 7*time.Second, 1e6
		})
		longest := make([]time.Duration, 9)
		for range 60 {
			sc := &script{errs: repeat(errDown, 9)}
			if _, _, err := one(t.Context(), s, sc.send); err != nil {
				t.Fatal(err)
			}
			for i := range longest {
				longest[i] = max(longest[i], sc.at[i+1].Sub(sc.at[i]))
			}
		}
		for i, got := range longest {
			limit := min(time.Second<<i, 7*time.Second)
			if got > limit || got < limit*8/10 {
				t.Errorf("longest pause %d of 60 was %s, want nearly %s and not above", i+1, got, limit)
			}
		}
	})
}

func TestRefusalsBackOffByTheirNumberInARow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sc := &script{errs: append(repeat(errRefused, 12), errDown, errRefused)}
		if _, _, err := one(t.Context(), setup(), sc.send); err != nil {
			t.Fatal(err)
		}
		if got := sc.at[14].Sub(sc.at[13]); got > 500*time.Millisecond {
			t.Errorf("waited %s after the first refusal in a row, want at most 500ms", got)
		}
		if got := sc.at[12].Sub(sc.at[0]); got < 10*time.Second {
			t.Errorf("12 refusals in a row took %s, want the pauses to grow", got)
		}
	})
}

func TestRetryAfterIsAFloor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
	}{
		{"refusal", refusal(20 * time.Second)},
		{"503", unavailable(20 * time.Second)},
		{"500", busy(20 * time.Second)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, sc := setup(), &script{errs: []error{tc.err}}
				if _, _, err := one(t.Context(), s, sc.send); err != nil {
					t.Fatal(err)
				}
				got := sc.at[1].Sub(sc.at[0])
				if got < 20*time.Second || got > 20*time.Second+500*time.Millisecond {
					t.Errorf("came again after %s, want 20s and a jitter of up to 500ms on top", got)
				}
				if waits := s.Snapshot().Waits; waits.RetryAfter != got || waits.Backoff != 0 {
					t.Errorf("waits = %+v, want %s for retry_after", waits, got)
				}
			})
		})
	}
}

// workers runs n workers over rows turns of send and returns the errors.
func workers(ctx context.Context, s *policy.Stage, n, rows int, send func(row int) func(context.Context, *policy.Attempt) (string, error)) []error {
	return each(n, rows, func(row int) error {
		_, _, err := one(ctx, s, send(row))
		return err
	})
}

// each has n workers work on rows and returns the errors.
func each(n, rows int, work func(row int) error) []error {
	errs := make([]error, rows)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				row := int(next.Add(1)) - 1
				if row >= rows {
					return
				}
				errs[row] = work(row)
			}
		})
	}
	wg.Wait()
	return errs
}

func TestRetryAfterHoldsAllWorkers(t *testing.T) {
	t.Parallel()
	for name, hint := range map[string]error{"429": refusal(20 * time.Second), "503": unavailable(20 * time.Second)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, start := setup(parallelism(64)), time.Now()
				var mu sync.Mutex
				var sent []time.Duration
				var from time.Duration
				errs := workers(t.Context(), s, 64, 640, func(row int) func(context.Context, *policy.Attempt) (string, error) {
					return func(_ context.Context, a *policy.Attempt) (string, error) {
						mu.Lock()
						sent = append(sent, time.Since(start))
						mu.Unlock()
						time.Sleep(100*time.Millisecond + time.Duration(row))
						if row == 100 && a.Number == 1 {
							from = time.Since(start)
							return "", hint
						}
						return "", nil
					}
				})
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				late := map[time.Duration]bool{}
				for _, at := range sent {
					if at > from && at < from+20*time.Second {
						t.Errorf("sent at %s, while the other end cools down", at)
					}
					if at >= from+20*time.Second && at < from+20*time.Second+500*time.Millisecond {
						late[at] = true
					}
				}
				if len(late) < 20 {
					t.Errorf("all came back at the same moment: %v", late)
				}
				if got := s.Snapshot().Waits.RetryAfter; got < 63*20*time.Second-time.Second {
					t.Errorf("booked %s for retry_after, want about 64 times 20s", got)
				}
			})
		})
	}
}

func TestRetryAfterOfA500IsThatRowsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup()
		go func() { _, _, _ = one(t.Context(), s, (&script{errs: []error{busy(20 * time.Second)}}).send) }()
		synctest.Wait()
		start := time.Now()
		if _, _, err := one(t.Context(), s, (&script{}).send); err != nil || time.Since(start) != 0 {
			t.Errorf("another row waited %s (%v), want no wait", time.Since(start), err)
		}
		time.Sleep(time.Minute)
	})
}

func TestLaterCoolDownNeverShortens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, start := setup(), time.Now()
		for _, after := range []time.Duration{20 * time.Second, 2 * time.Second} {
			go func() {
				_, _, _ = one(t.Context(), s, func(_ context.Context, a *policy.Attempt) (string, error) {
					if a.Number > 1 {
						return "", nil
					}
					time.Sleep(time.Second - after/100) // the longer one is answered first
					return "", refusal(after)
				})
			}()
		}
		time.Sleep(1500 * time.Millisecond)
		if got := s.Snapshot(); got.Paused != "asked to wait (rate_limit_exceeded)" || got.PausedUntil.Sub(start) != 20*time.Second+800*time.Millisecond {
			t.Errorf("paused %q until %s, want until 20.8s", got.Paused, got.PausedUntil.Sub(start))
		}
		_, _, _ = one(t.Context(), s, (&script{}).send)
		if got := time.Since(start); got < 20*time.Second+800*time.Millisecond {
			t.Errorf("something was sent after %s, want not before 20.8s", got)
		}
		time.Sleep(time.Minute)
	})
}

func TestRetryAfterBeyondMaxPause(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		err   error
		class pipeline.Class
	}{
		{"refusal fails the run", refusal(24 * time.Hour), pipeline.ClassFatal},
		{"503 fails the run", unavailable(24 * time.Hour), pipeline.ClassFatal},
		{"500 fails the row", busy(24 * time.Hour), pipeline.ClassTransient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, n, err := one(t.Context(), setup(), (&script{errs: []error{tc.err}}).send)
				if class, _ := pipeline.Classify(err); class != tc.class || n != 1 || !strings.Contains(err.Error(), "24h") {
					t.Errorf("got %s after %d attempts: %v", class, n, err)
				}
			})
		})
	}
}

func TestRunBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rows := int64(60)
		s := setup(noBreaker, attempts(1000), func(s *policy.Settings) {
			s.Retry.RunBudget = 0.5
			s.Rows = func() int64 { return rows }
		})
		_, n, err := one(t.Context(), s, (&script{errs: repeat(errDown, 999)}).send)
		if n != 131 || err == nil || !strings.Contains(err.Error(), "retry budget of the run (50% of its rows) is spent: server error") {
			t.Errorf("got %d attempts, %v; want 1 + 100 + 50%% of 60", n, err)
		}
		if class, _ := pipeline.Classify(err); class != pipeline.ClassTransient {
			t.Errorf("class = %s, want transient", class)
		}
		sc := &script{errs: append(repeat(errRefused, 5), errDown)}
		if _, n, err := one(t.Context(), s, sc.send); n != 6 || err == nil {
			t.Errorf("got %d attempts, %v; want refusals to be free and the failure final", n, err)
		}
		rows += 4
		if _, n, err := one(t.Context(), s, (&script{errs: repeat(errDown, 2)}).send); n != 3 || err != nil {
			t.Errorf("got %d attempts, %v; want two retries more for four rows more", n, err)
		}
	})
}

func TestSnapshotCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := setup()
		_, _, _ = one(t.Context(), s, (&script{errs: []error{errDown, errRefused, errDown}}).send)
		done := make(chan struct{})
		go func() {
			_, _, _ = one(t.Context(), s, func(context.Context, *policy.Attempt) (string, error) { <-done; return "", nil })
		}()
		go func() { _, _, _ = one(t.Context(), s, (&script{errs: []error{busy(time.Hour / 2)}}).send) }()
		synctest.Wait()
		got := s.Snapshot()
		if got.Attempts != 6 || got.Retries != 2 || got.Refusals != 1 || got.InFlight != 1 || got.Waiting != 1 {
			t.Errorf("got %+v, want 6 attempts, 2 retries, 1 refusal, 1 in flight, 1 waiting", got)
		}
		close(done)
		time.Sleep(time.Hour)
	})
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	waits := policy.Defaults(pipeline.StepOptions{Parallelism: 100, Timeout: -1}, pipeline.Waits)
	if waits.ReorderWindow != 1600 || waits.Timeout > 0 || waits.Retry.Attempts != 6 || waits.Breaker.Off {
		t.Errorf("waits: %+v", waits)
	}
	computes := policy.Defaults(pipeline.StepOptions{}, pipeline.Computes)
	if computes.Retry.Attempts != 1 || computes.Timeout != 0 || !computes.Breaker.Off || computes.ReorderWindow != 1024 {
		t.Errorf("computes: %+v", computes)
	}
}
