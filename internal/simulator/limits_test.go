package simulator

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// greedy asks for d, again at once, whatever it is told.
func greedy(s *Server, d time.Duration, body string) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if post(s, body).Code == http.StatusTooManyRequests {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func TestGreedyClientDrawsTheRate(t *testing.T) {
	t.Parallel()
	const d = 2 * time.Minute
	tokens := countTokens(len("hello")) + 4 + 94 // 100, with max_tokens
	for _, tc := range []struct {
		name    string
		o       Options
		clients int
		want    float64
	}{
		{"requests", Options{RequestsPerMinute: 600}, 1, 600 * 2},
		{"requests of three clients", Options{RequestsPerMinute: 600}, 3, 600 * 2},
		{"few requests", Options{RequestsPerMinute: 100}, 1, 100 * 2},
		{"tokens", Options{TokensPerMinute: 60_000}, 1, 60_000 * 2 / float64(tokens)},
		{"tokens, a request more than the window holds", Options{TokensPerMinute: 3000, LimitWindow: pipeline.Duration(100 * time.Millisecond)}, 1, 60},
		{"the narrower one, tokens", Options{RequestsPerMinute: 1200, TokensPerMinute: 60_000}, 2, 60_000 * 2 / float64(tokens)},
		{"the narrower one, requests", Options{RequestsPerMinute: 300, TokensPerMinute: 60_000}, 2, 300 * 2},
		// With half of them failing: they count all the same.
		{"failing requests count", Options{RequestsPerMinute: 600, Faults: Faults{Error500: 0.5}}, 1, 600 * 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := New(tc.o)
				var clients sync.WaitGroup
				for range tc.clients {
					clients.Go(func() { greedy(s, d, ask("hello", `,"max_tokens":94`)) })
				}
				clients.Wait()
				l := balanced(t, s)
				got := float64(l.Answered + l.Faults[faultError500])
				if math.Abs(got-tc.want) > tc.want/100 {
					t.Errorf("got %v answers in %v, want %v ±1%%", got, d, tc.want)
				}
			})
		})
	}
}

// A client that waits as long as it is told is let in when it comes back, and
// gets the full rate too.
func TestObedientClient(t *testing.T) {
	t.Parallel()
	for _, limits := range []Options{{RequestsPerMinute: 70}, {TokensPerMinute: 7001}} {
		synctest.Test(t, func(t *testing.T) {
			s := New(limits)
			refused := 0
			begin := time.Now()
			for n := range 300 {
				w := post(s, ask("hello", `,"max_tokens":94`))
				if w.Code == http.StatusOK {
					refused = 0
					continue
				}
				if refused++; refused > 1 {
					t.Fatalf("request %d: refused after a wait as told: %s", n, w.Body)
				}
				ms, err := strconv.Atoi(w.Header().Get("retry-after-ms"))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(ms) * time.Millisecond)
			}
			answered := s.Ledger().Answered
			if got := float64(answered) / time.Since(begin).Minutes(); math.Abs(got-70) > 2 {
				t.Errorf("got %.1f answers a minute, want 70", got)
			}
		})
	}
}

func TestBurst(t *testing.T) {
	t.Parallel()
	for window, want := range map[time.Duration]int{time.Second: 10, 10 * time.Second: 100, time.Minute: 600, time.Millisecond: 1} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{RequestsPerMinute: 600, LimitWindow: pipeline.Duration(window)})
			got := 0
			for post(s, ask("a")).Code == http.StatusOK {
				got++
			}
			if got != want {
				t.Errorf("window %v: got a burst of %d, want %d", window, got, want)
			}
		})
	}
}

func TestLimitHeaders(t *testing.T) {
	t.Parallel()
	// One request with 100 tokens of 600 and 60000 a minute, in windows of 10 s:
	// 99 of 100 are left, 9900 of 10000; full again in 100 ms each.
	limits := Options{RequestsPerMinute: 600, TokensPerMinute: 60_000, LimitWindow: pipeline.Duration(10 * time.Second)}
	for _, tc := range []struct {
		dialect string
		without string // "requests" or "tokens": that limit is not set
		after   int    // requests before, all at once
		status  int
		want    map[string]string // "" stands for: not there
	}{
		{DialectOpenAI, "", 0, 200, map[string]string{
			"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "100ms",
			"x-ratelimit-limit-tokens": "60000", "x-ratelimit-remaining-tokens": "9900", "x-ratelimit-reset-tokens": "100ms",
			"retry-after": "", "retry-after-ms": "",
		}},
		{DialectOpenAI, "", 99, 200, map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10s"}},
		{DialectOpenAI, "", 100, 429, map[string]string{
			"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10s",
			"x-ratelimit-remaining-tokens": "0", "retry-after": "1", "retry-after-ms": "100",
		}},
		{DialectOpenAI, "tokens", 0, 200, map[string]string{"x-ratelimit-limit-requests": "600", "x-ratelimit-limit-tokens": ""}},
		{DialectOpenAI, "requests", 0, 200, map[string]string{"x-ratelimit-limit-requests": "", "x-ratelimit-limit-tokens": "60000"}},
		{DialectAzure, "", 100, 429, map[string]string{
			"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10",
			"x-ratelimit-limit-tokens": "60000", "x-ratelimit-reset-tokens": "10", "retry-after": "1", "retry-after-ms": "100",
		}},
		{DialectAzure, "tokens", 0, 200, map[string]string{
			"x-ratelimit-reset-requests": "1", "x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0",
		}},
		{DialectAnthropic, "", 0, 200, map[string]string{
			"anthropic-ratelimit-requests-limit": "600", "anthropic-ratelimit-requests-remaining": "99",
			"anthropic-ratelimit-requests-reset": "2000-01-01T00:00:01Z", "anthropic-ratelimit-tokens-limit": "60000",
			"anthropic-ratelimit-tokens-remaining": "9900", "anthropic-ratelimit-tokens-reset": "2000-01-01T00:00:01Z",
			"x-ratelimit-limit-requests": "",
		}},
		{DialectAnthropic, "", 100, 429, map[string]string{
			"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2000-01-01T00:00:10Z",
			"retry-after": "1", "retry-after-ms": "",
		}},
		{DialectPlain, "", 100, 429, map[string]string{
			"x-ratelimit-limit-requests": "", "anthropic-ratelimit-requests-limit": "", "retry-after": "", "retry-after-ms": "",
		}},
	} {
		t.Run(fmt.Sprintf("%s without %s after %d", tc.dialect, tc.without, tc.after), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := limits
				o.Dialect = tc.dialect
				switch tc.without {
				case "requests":
					o.RequestsPerMinute = 0
				case "tokens":
					o.TokensPerMinute = 0
				}
				s := New(o)
				body := ask("hello", `,"max_tokens":94`)
				for range tc.after {
					post(s, body)
				}
				w := post(s, body)
				if w.Code != tc.status {
					t.Fatalf("got status %d, want %d: %s", w.Code, tc.status, w.Body)
				}
				for name, want := range tc.want {
					if got := w.Header().Get(name); got != want {
						t.Errorf("%s: got %q, want %q", name, got, want)
					}
				}
			})
		})
	}
}

func TestLongResets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{RequestsPerMinute: 1, LimitWindow: pipeline.Duration(6 * time.Minute)})
		for range 6 {
			post(s, ask("a"))
		}
		w := post(s, ask("a"))
		if got, want := w.Header().Get("x-ratelimit-reset-requests"), "6m0s"; got != want {
			t.Errorf("got reset %q, want %q", got, want)
		}
		if got, want := w.Header().Get("retry-after"), "60"; got != want {
			t.Errorf("got retry-after %q, want %q", got, want)
		}
	})
}
