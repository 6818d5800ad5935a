package llm_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
	"github.com/rowmill/rowmill/stages/llm"
)

var now = time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC)

// parsed reads the head of an answer as it comes over the wire.
func parsed(t testing.TB, lines string) http.Header {
	t.Helper()
	raw := "HTTP/1.1 200 OK\r\n" + strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.Header
}

const (
	openAILimits = `date: Wed, 21 Oct 2026 07:28:00 GMT
content-type: application/json
x-ratelimit-limit-requests: 10000
x-ratelimit-limit-tokens: 2000000
x-ratelimit-remaining-requests: 9999
x-ratelimit-remaining-tokens: 1999986
x-ratelimit-reset-requests: 6ms
x-ratelimit-reset-tokens: 0s
x-request-id: req_1`
	azureLimits = `Date: Wed, 21 Oct 2026 07:28:00 GMT
x-ratelimit-limit-requests: 60
x-ratelimit-limit-tokens: 10000
x-ratelimit-remaining-requests: 59
x-ratelimit-remaining-tokens: 9986
x-ratelimit-reset-requests: 1
x-ratelimit-reset-tokens: 7
x-ms-region: East US`
	anthropicLimits = `Date: Wed, 21 Oct 2026 07:28:00 GMT
anthropic-ratelimit-requests-limit: 4000
anthropic-ratelimit-requests-remaining: 3999
anthropic-ratelimit-requests-reset: 2026-10-21T07:28:01Z
anthropic-ratelimit-tokens-limit: 480000
anthropic-ratelimit-tokens-remaining: 480000
anthropic-ratelimit-tokens-reset: 2026-10-21T07:28:00Z
anthropic-ratelimit-input-tokens-limit: 400000
anthropic-ratelimit-input-tokens-remaining: 399000
anthropic-ratelimit-input-tokens-reset: 2026-10-21T07:28:02Z
anthropic-ratelimit-output-tokens-limit: 80000
anthropic-ratelimit-output-tokens-remaining: 0
anthropic-ratelimit-output-tokens-reset: 2026-10-21T07:29:00Z
retry-after: 1`
	noLimits = `date: Wed, 21 Oct 2026 07:28:00 GMT
server: uvicorn
content-type: application/json`
)

func TestLimitsOfHeaders(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	requests := func(perMinute, remaining int64, reset time.Duration) []policy.Limit {
		return []policy.Limit{{Kind: policy.Requests, PerMinute: perMinute, Remaining: remaining, Reset: reset}}
	}
	rounded := func(all []policy.Limit) []policy.Limit {
		all[0].Rounded = time.Second
		return all
	}
	reset := func(v string) string { return "x-ratelimit-limit-requests: 60\nx-ratelimit-reset-requests: " + v }
	tests := []struct {
		name, lines string
		want        []policy.Limit
	}{
		{"none", noLimits, nil},
		{"OpenAI", openAILimits, []policy.Limit{
			{Kind: policy.Requests, PerMinute: 10_000, Remaining: 9999, Reset: 6 * ms},
			{Kind: policy.Tokens, PerMinute: 2_000_000, Remaining: 1_999_986, Reset: 0},
		}},
		{"Azure", azureLimits, []policy.Limit{
			{Kind: policy.Requests, PerMinute: 60, Remaining: 59, Reset: time.Second, Rounded: time.Second},
			{Kind: policy.Tokens, PerMinute: 10_000, Remaining: 9986, Reset: 7 * time.Second, Rounded: time.Second},
		}},
		{"Azure, not known", "x-ratelimit-limit-requests: -1\nx-ratelimit-remaining-requests: -1\nx-ratelimit-limit-tokens: 0\nx-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 0", nil},
		{"Azure, remaining not known", "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: -1\nx-ratelimit-reset-requests: 0", rounded(requests(60, policy.Unknown, 0))},
		{"Anthropic", anthropicLimits, []policy.Limit{
			{Kind: policy.Requests, PerMinute: 4000, Remaining: 3999, Reset: time.Second, Rounded: time.Second},
			{Kind: policy.Tokens, PerMinute: 480_000, Remaining: 480_000, Reset: 0, Rounded: time.Second},
			{Kind: policy.InputTokens, PerMinute: 400_000, Remaining: 399_000, Reset: 2 * time.Second, Rounded: time.Second},
			{Kind: policy.OutputTokens, PerMinute: 80_000, Remaining: 0, Reset: time.Minute, Rounded: time.Second},
		}},
		{
			"a clock that is ahead", "Date: Wed, 21 Oct 2026 07:29:00 GMT\n" + reset("2026-10-21T07:29:05.5Z"),
			requests(60, policy.Unknown, 5500*ms),
		},
		{
			"a clock that is behind", "Date: Wed, 21 Oct 2026 07:26:59 GMT\n" + reset("2026-10-21T07:27:05.5Z"),
			requests(60, policy.Unknown, 5500*ms),
		},
		{
			"a clock that may be right", "Date: Wed, 21 Oct 2026 07:27:59 GMT\n" + reset("2026-10-21T07:28:05.5Z"),
			requests(60, policy.Unknown, 5500*ms),
		},
		{"a time with a fraction and a zone", reset("2026-10-21T09:28:00.5+02:00"), requests(60, policy.Unknown, 500*ms)},
		{"a time that is past", reset("2026-10-21T07:27:00.001Z"), requests(60, policy.Unknown, 0)},
		{"a time that is far", reset("2027-10-21T07:27:00.001Z"), requests(60, policy.Unknown, policy.Unknown)},
		{"a time that is none", reset("2026-13-21T07:28:00.5Z"), requests(60, policy.Unknown, policy.Unknown)},
		{"no limit", "x-ratelimit-remaining-requests: 5\nx-ratelimit-reset-requests: 1s", nil},
		{"nothing but a limit", "x-ratelimit-limit-requests: 60", requests(60, policy.Unknown, policy.Unknown)},
		{"minutes", reset("6m0s"), requests(60, policy.Unknown, 6*time.Minute)},
		{"milliseconds", reset("120ms"), requests(60, policy.Unknown, 120*ms)},
		{"a fraction", reset("59.56s"), requests(60, policy.Unknown, 59_560*ms)},
		{"days and hours", reset("1d2h"), requests(60, policy.Unknown, 26*time.Hour)},
		{"days", reset("1d"), requests(60, policy.Unknown, 24*time.Hour)},
		{"seconds with a fraction", reset("0.25"), requests(60, policy.Unknown, 250*ms)},
		{"too long", reset("3d"), requests(60, policy.Unknown, policy.Unknown)},
		{"very long", reset("99999999999999999999999"), requests(60, policy.Unknown, policy.Unknown)},
		{"as many days as fit into nothing", reset("65535d9999999h"), requests(60, policy.Unknown, policy.Unknown)},
		{"negative", reset("-1s"), requests(60, policy.Unknown, policy.Unknown)},
		{"a negative number", reset("-1"), requests(60, policy.Unknown, policy.Unknown)},
		{"words", reset("soon"), requests(60, policy.Unknown, policy.Unknown)},
		{"a day of the week", reset("Wednesday"), requests(60, policy.Unknown, policy.Unknown)},
		{"empty", reset(""), requests(60, policy.Unknown, policy.Unknown)},
		{"a dot", reset("."), requests(60, policy.Unknown, policy.Unknown)},
		{"a limit in words", "x-ratelimit-limit-requests: many", nil},
		{"a limit that is too large", "x-ratelimit-limit-requests: 99999999999999999999", nil},
		{"a fraction of a limit", "x-ratelimit-limit-requests: 60.5", nil},
		{
			"two of a kind, by a gateway", "x-ratelimit-limit-requests: 60\nx-ratelimit-limit-requests: 70\nanthropic-ratelimit-requests-limit: 50",
			append(requests(60, policy.Unknown, policy.Unknown), requests(50, policy.Unknown, policy.Unknown)...),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := llm.AppendLimits(nil, parsed(t, tt.lines), now); !slices.Equal(got, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func FuzzLimitsOfHeaders(f *testing.F) {
	for _, seed := range []string{"60", "-1", "0", "6m0s", "120ms", "1d2h", "7", "0.5", "2026-10-21T07:28:01.5Z", "1e9", "d", ".", "\x00", "9223372036854775807"} {
		f.Add(seed, seed, seed)
	}
	f.Fuzz(func(t *testing.T, limit, remaining, reset string) {
		h := http.Header{}
		for _, format := range []string{"X-Ratelimit-%s-Requests", "X-Ratelimit-%s-Tokens", "Anthropic-Ratelimit-Input-Tokens-%s"} {
			h[fmt.Sprintf(format, "Limit")], h[fmt.Sprintf(format, "Remaining")], h[fmt.Sprintf(format, "Reset")] = []string{limit}, []string{remaining}, []string{reset}
		}
		for _, l := range llm.AppendLimits(nil, h, now) {
			if l.PerMinute <= 0 || l.Remaining < policy.Unknown || l.Reset < policy.Unknown || l.Reset > 48*time.Hour {
				t.Errorf("%q %q %q: %+v", limit, remaining, reset, l)
			}
		}
	})
}

// BenchmarkLimits is what the headers of an answer cost.
func BenchmarkLimits(b *testing.B) {
	for name, lines := range map[string]string{"none": noLimits, "OpenAI": openAILimits, "Azure": azureLimits, "Anthropic": anthropicLimits} {
		b.Run(name, func(b *testing.B) {
			h, space := parsed(b, lines), make([]policy.Limit, 0, 4)
			b.ReportAllocs()
			for b.Loop() {
				llm.AppendLimits(space, h, now)
			}
		})
	}
}

// policies are those of a stage that paces itself.
func policies(l *policy.Limiter, o pipeline.StepOptions) *policy.Stage {
	return policy.New(policy.Settings{StepOptions: policy.Defaults(o, pipeline.Waits), Limiter: l})
}

// TestLimitsAreObserved as soon as the head of an answer is there, of every status.
func TestLimitsAreObserved(t *testing.T) {
	t.Parallel()
	found := policy.FoundLimit{Kind: policy.Requests, PerMinute: 600, By: "headers"}
	for name, status := range map[string]int{"answered": 200, "refused": 429, "overloaded": 529, "failed": 500, "wrong": 400} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := near(t, pipeline.Deadlines{}, func(w http.ResponseWriter, r *http.Request) {
					says(status, "{", "X-RateLimit-Limit-Requests: 600", "X-RateLimit-Remaining-Requests: 599", "X-RateLimit-Reset-Requests: 100ms")(w, r)
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				})
				all := policies(policy.NewLimiter(policy.RateLimit{}), pipeline.StepOptions{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ctx, _ = all.Begin(ctx)
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = s.Process(ctx, france())
				}()
				synctest.Wait() // the answer has begun, and nothing more will come
				if got := all.Snapshot(); got.InFlight != 1 || !slices.Equal(got.Limits, []policy.FoundLimit{found}) {
					t.Errorf("found %+v with %d on the wire, want %+v with 1", got.Limits, got.InFlight, found)
				}
				cancel()
				<-done
			})
		})
	}
}

// TestSharersOfALimit: stages share a limit where they ask the same model at the same
// address with the same key.
func TestSharersOfALimit(t *testing.T) {
	t.Parallel()
	base := llm.Config{BaseURL: "https://gateway.example/v1", Model: "m", Prompt: "x", APIKey: secret, Organization: "org-1"}
	name := func(change func(*llm.Config)) string {
		c := base
		change(&c)
		n, _ := stage(t, c, pipeline.Env{}).RateLimit()
		if strings.Contains(n, secret) || strings.Contains(n, "org-1") {
			t.Errorf("a secret is in the name %q", n)
		}
		return n
	}
	same := name(func(*llm.Config) {})
	if !strings.HasPrefix(same, "gateway.example/v1 m ") {
		t.Errorf("name %q", same)
	}
	for what, change := range map[string]func(*llm.Config){
		"prompt":         func(c *llm.Config) { c.Prompt = "y" },
		"a slash":        func(c *llm.Config) { c.BaseURL += "/" },
		"temperature":    func(c *llm.Config) { c.Temperature = ptr(1.0) },
		"another header": func(c *llm.Config) { c.Headers = map[string]pipeline.Secret{"X-Title": "x"} },
		"its own wish":   func(c *llm.Config) { c.RateLimit.RequestsPerMinute = 60 },
	} {
		if got := name(change); got != same {
			t.Errorf("%s: %q, want %q", what, got, same)
		}
	}
	for what, change := range map[string]func(*llm.Config){
		"address":      func(c *llm.Config) { c.BaseURL = "https://gateway.example/v2" },
		"model":        func(c *llm.Config) { c.Model = "n" },
		"key":          func(c *llm.Config) { c.APIKey += "x" },
		"organization": func(c *llm.Config) { c.Organization = "org-2" },
		"key in a header": func(c *llm.Config) {
			c.APIKey, c.Headers = "", map[string]pipeline.Secret{"authorization": "Bearer " + secret}
		},
		"another key in a header": func(c *llm.Config) {
			c.APIKey, c.Headers = "", map[string]pipeline.Secret{"x-api-key": secret}
		},
		"project":    func(c *llm.Config) { c.Headers = map[string]pipeline.Secret{"OpenAI-Project": "p"} },
		"deployment": func(c *llm.Config) { c.Provider, c.Deployment = "azure", "d" },
	} {
		if got := name(change); got == same {
			t.Errorf("%s: the same name", what)
		}
	}
	simulated := func(c *llm.Config) { *c = llm.Config{Provider: "simulator", Prompt: "x"} }
	if one, other := name(simulated), name(simulated); one == other {
		t.Error("two simulators share a limit")
	}
}

func TestRateLimitIsPassedOn(t *testing.T) {
	t.Parallel()
	c := llm.Config{Provider: "simulator", Prompt: "x", RateLimit: llm.RateLimit{RequestsPerMinute: 600, TokensPerMinute: policy.Off}}
	if _, got := stage(t, c, pipeline.Env{}).RateLimit(); got != (policy.RateLimit{RequestsPerMinute: 600, TokensPerMinute: policy.Off}) {
		t.Errorf("got %+v", got)
	}
}

// TestPromptIsEstimated by its bytes, corrected by what was counted.
func TestPromptIsEstimated(t *testing.T) {
	t.Parallel()
	counted := 0
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		says(200, strings.Replace(fine, `"prompt_tokens":14`, fmt.Sprintf(`"prompt_tokens":%d`, counted), 1))(w, r)
	})
	c := capital(p)
	c.System, c.Prompt = strings.Repeat("s", 100), "{{.country}}"
	s := stage(t, c, pipeline.Env{})
	large := row("country", strings.Repeat("a", 300))
	estimate := func(want int, when string) {
		t.Helper()
		if got := llm.Estimate(t, s, large); got != want {
			t.Errorf("%s: %d tokens, want %d", when, got, want)
		}
	}
	estimate(2*4+400/4, "before any answer")
	for _, n := range []int{0, 5} { // nothing can be learned of these
		counted = n
		if _, err := ask(t, s, large.Clone()); err != nil {
			t.Fatal(err)
		}
	}
	estimate(108, "without a count")
	counted = 208
	if _, err := ask(t, s, large.Clone()); err != nil {
		t.Fatal(err)
	}
	estimate(208, "after an answer")
	counted = 408
	for range 100 {
		if _, err := ask(t, s, large.Clone()); err != nil {
			t.Fatal(err)
		}
	}
	estimate(408, "after many that are otherwise")
}

// TestRefusalsInTheBody of an answer whose status does not say that it is one: they
// cost no attempt, and tell the pace.
func TestRefusalsInTheBody(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"200 with an error":             {200, `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`},
		"200 with a number":             {200, `{"error":{"message":"Provider returned error","code":429}}`},
		"200 with an error in a choice": {200, `{"choices":[{"error":{"message":"busy","code":"rate_limit_exceeded"},"message":{"content":""},"finish_reason":"error"}]}`},
		"400 with the code":             {400, `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`},
		"500 of Anthropic":              {500, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`},
		"503 that asks to slow down":    {503, `{"error":{"message":"Slow Down","type":"server_error","code":"slow_down"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const refusals = 12
				n := 0
				s := near(t, pipeline.Deadlines{}, func(w http.ResponseWriter, r *http.Request) {
					if n++; n <= refusals {
						says(tc.status, tc.body)(w, r)
						return
					}
					says(200, fine)(w, r)
				})
				all := policies(policy.NewLimiter(policy.RateLimit{}), pipeline.StepOptions{Retry: pipeline.Retry{Attempts: 2}})
				ctx, _ := all.Begin(t.Context())
				if _, err := s.Process(ctx, france()); err != nil {
					t.Fatal(err)
				}
				got := all.Snapshot()
				if got.Refusals != refusals || got.Retries != 0 || got.Attempts != refusals+1 {
					t.Errorf("%d refusals, %d retries of %d attempts; want %d and none of %d", got.Refusals, got.Retries, got.Attempts, refusals, refusals+1)
				}
				if len(got.Limits) != 1 || got.Limits[0].By != "refusals" {
					t.Errorf("got %+v, want a pace found by refusals", got.Limits)
				}
			})
		})
	}
}
