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

// door lets requests in, or refuses them.
type door func(now time.Time) (in bool)

// apart lets a request in so long after the last one, or the last one that was let in.
func apart(least time.Duration, counts bool) door {
	var last time.Time
	return func(now time.Time) bool {
		in := now.Sub(last) >= least
		if in || counts {
			last = now
		}
		return in
	}
}

// windows lets so many in within each of the times that follow each other.
func windows(count int, each time.Duration) door {
	var began time.Time
	n := 0
	return func(now time.Time) bool {
		if now.Sub(began) >= each {
			began, n = now.Truncate(each), 0
		}
		n++
		return n <= count
	}
}

// bucketful lets in what a bucket has, which fills so fast.
func bucketful(size, perSecond float64) door {
	has, at := size, time.Time{}
	return func(now time.Time) bool {
		if !at.IsZero() {
			has = min(size, has+now.Sub(at).Seconds()*perSecond)
		}
		if at = now; has < 1 {
			return false
		}
		has--
		return true
	}
}

// TestRequestsOneAfterTheOther: whoever makes one request after the other soon keeps the gap
// that the other end wants, and is hardly refused any more.
func TestRequestsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	const second = time.Second
	slowed := func() door {
		began, before, after := time.Now(), apart(50*time.Millisecond, false), apart(second/2, false)
		return func(now time.Time) bool {
			if now.Sub(began) < 10*second {
				return before(now)
			}
			return after(now)
		}
	}
	quickened := func() door {
		began, before := time.Now(), apart(2*second, false)
		return func(now time.Time) bool { return now.Sub(began) >= 60*second || before(now) }
	}
	for name, c := range map[string]struct {
		door     func() door
		after    time.Duration // Retry-After
		requests int
		within   time.Duration // ideally: about this
		share    float64       // of that, at most
		refused  int           // at most
	}{
		"a fifth of a second":             {func() door { return apart(second/5, false) }, 0, 20, 19 * second / 5, 1.3, 3},
		"a fifth, with Retry-After":       {func() door { return apart(second/5, false) }, second, 20, 19*second/5 + second, 1.3, 3},
		"a fifth, refused ones count":     {func() door { return apart(second/5, true) }, 0, 20, 19 * second / 5, 1.3, 3},
		"a fifth, for long":               {func() door { return apart(second/5, false) }, 0, 1000, 200 * second, 1.06, 25},
		"a fifth, for long, Retry-After":  {func() door { return apart(second/5, false) }, second, 1000, 200 * second, 1.15, 25},
		"a fiftieth, for long":            {func() door { return apart(second/50, false) }, 0, 1000, 20 * second, 1.4, 25},
		"five seconds":                    {func() door { return apart(5*second, false) }, 0, 50, 245 * second, 1.25, 45},
		"nobody refuses":                  {func() door { return apart(0, false) }, 0, 1000, second, 1.1, 0},
		"one is refused":                  {func() door { n := 0; return func(time.Time) bool { n++; return n != 500 } }, 0, 1000, 3 * second, 1, 1},
		"ten in two seconds, Retry-After": {func() door { return windows(10, 2*second) }, second, 300, 60 * second, 1.25, 40},
		"60 a minute, Retry-After":        {func() door { return windows(60, 60*second) }, 30 * second, 300, 300 * second, 1.25, 15},
		"1000 an hour, nothing said":      {func() door { return windows(1000, 3600*second) }, 0, 3000, 7200 * second, 1.25, 300},
		"a bucket of ten, five a second":  {func() door { return bucketful(10, 5) }, 0, 200, 38 * second, 1.15, 15},
		"ten times the gap":               {slowed, 0, 300, 10*second + 50*second, 1.4, 20},
		"no limit any more":               {quickened, 0, 2000, 60*second + 20*second, 6, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := policy.New(policy.Settings{
					StepOptions: policy.Defaults(pipeline.StepOptions{Parallelism: 1, Breaker: pipeline.Breaker{MaxPause: 2 * time.Hour}}, pipeline.Waits),
					Limiter:     policy.NewSerialLimiter(policy.RateLimit{TokensPerMinute: policy.Off}),
				})
				began, open, refused := time.Now(), c.door(), 0
				for range c.requests {
					ctx, _ := s.Begin(t.Context())
					_, err := policy.Turn(ctx, policy.Ask{}, func(context.Context, *policy.Attempt) (int, error) {
						time.Sleep(time.Millisecond)
						if open(time.Now()) {
							return 0, nil
						}
						refused++
						return 0, &pipeline.Error{Class: pipeline.ClassRefused, Code: "http_429", RetryAfter: c.after, Err: errors.New("too many")}
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				took := time.Since(began)
				t.Logf("%v, %d refused", took, refused)
				if most := time.Duration(c.share * float64(c.within)); took > most || refused > c.refused {
					t.Errorf("%d requests took %v, %d were refused; want %v and %d at most", c.requests, took, refused, most, c.refused)
				}
			})
		})
	}
}
