package simulator

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/pipeline"
)

func TestAnswerOnTheWire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the time is known there
		w := post(New(Options{Seed: 1}), ask("Tell me a fact about number 7"))
		want := `{"id":"chatcmpl-ID","object":"chat.completion","created":946684800,"model":"m",` +
			`"choices":[{"index":0,"message":{"role":"assistant",` +
			`"content":"` + Answer(1, "m", Message{"user", "Tell me a fact about number 7"}) + `",` +
			`"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],` +
			`"usage":{"prompt_tokens":12,"completion_tokens":21,"total_tokens":33,` +
			`"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
			`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,` +
			`"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},` +
			`"service_tier":"default","system_fingerprint":"fp_simulator"}`
		got := w.Body.String()
		id := decode(t, strings.NewReader(got)).ID
		if got != strings.Replace(want, "chatcmpl-ID", id, 1) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("got content type %q", got)
		}
	})
}

func TestPaths(t *testing.T) {
	t.Parallel()
	const chat = `{"model":"m","messages":[{"role":"user","content":"a"}]}`
	for _, tc := range []struct {
		method, target, body string
		status               int
		holds                string
	}{
		{"POST", "/v1/chat/completions", chat, 200, `"model":"m"`},
		{"POST", "/chat/completions", chat, 200, `"model":"m"`},
		{"POST", "/openai/v1/chat/completions", chat, 200, `"model":"m"`},
		{"POST", "/openai/deployments/d/chat/completions?api-version=2024-10-21", chat, 200, `"model":"d"`},
		{"POST", "/v1/openai/deployments/d/chat/completions?api-version=2024-10-21", chat, 200, `"model":"d"`},
		{"POST", "/openai/deployments/d/chat/completions?api-version=1", `{"messages":[{"role":"user","content":"a"}]}`, 200, `"model":"d"`},
		{"POST", "/openai/deployments/d/chat/completions", chat, 404, "api-version"},
		{"POST", "/openai/deployments/d/completions?api-version=1", chat, 404, "unknown_url"},
		{"GET", "/v1/models", "", 200, `{"object":"list","data":[{"id":"simulator",`},
		{"GET", "/openai/models?api-version=1", "", 200, `"object":"list"`},
		{"GET", "/v1/models/some/name", "", 200, `{"id":"some/name","object":"model"`},
		{"GET", "/healthz", "", 200, ""},
		{"GET", "/simulator/ledger", "", 200, `"requests": 0`},
		{"GET", "/v1/chat/completions", "", 404, "Unknown request URL: GET /v1/chat/completions"},
		{"POST", "/v1/embeddings", "{}", 404, "unknown_url"},
		{"POST", "/v1/models", "{}", 404, "unknown_url"},
		{"GET", "/", "", 404, "unknown_url"},
	} {
		t.Run(tc.method+" "+tc.target, func(t *testing.T) {
			t.Parallel()
			w := serve(New(Options{}), tc.method, tc.target, tc.body)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.holds) {
				t.Errorf("got %d %s, want %d with %s", w.Code, w.Body, tc.status, tc.holds)
			}
		})
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	s := New(Options{Models: []string{"a", "b"}})
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.UnmarshalRead(serve(s, "GET", "/v1/models", "").Body, &list); err != nil || len(list.Data) != 2 || list.Data[1].ID != "b" {
		t.Errorf("got %v, %v, want the models a and b", list, err)
	}
	for target, want := range map[string]int{"/v1/models/a": 200, "/v1/models/m": 404} {
		if got := serve(s, "GET", target, "").Code; got != want {
			t.Errorf("%s: got %d, want %d", target, got, want)
		}
	}
	w := post(s, ask("a"))
	if c := decode(t, w.Body); w.Code != 404 || c.Error.Code != "model_not_found" {
		t.Errorf("chat with another model: got %d %v, want 404 model_not_found", w.Code, c.Error)
	}
	if l := balanced(t, s); l.ModelRequests != 3 || l.Rejected != 1 {
		t.Errorf("got %+v, want 3 requests for models and one rejected", l)
	}
}

func TestKeyIsAskedFor(t *testing.T) {
	t.Parallel()
	s := New(Options{APIKey: "sk-secret"})
	for _, tc := range []struct {
		name, header, value string
		status              int
	}{
		{"bearer", "Authorization", "Bearer sk-secret", 200},
		{"azure", "api-key", "sk-secret", 200},
		{"none", "X-Other", "1", 401},
		{"wrong", "Authorization", "Bearer sk-other", 401},
		{"part", "Authorization", "Bearer sk-secre", 401},
		{"wrong, azure", "api-key", "sk-other", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for method, target := range map[string]string{"POST": "/v1/chat/completions", "GET": "/v1/models"} {
				w := serve(s, method, target, ask("a"), tc.header, tc.value)
				body := w.Body.String()
				if w.Code != tc.status || strings.Contains(body, "invalid_api_key") != (tc.status == 401) {
					t.Errorf("%s: got %d %s, want %d", target, w.Code, body, tc.status)
				}
				if strings.Contains(body, "sk-") {
					t.Errorf("%s: the answer holds a key: %s", target, body)
				}
			}
		})
	}
}

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	quota, busy, limited := Options{QuotaAfter: 1}, Options{Faults: Faults{Overloaded: 1}}, Options{RequestsPerMinute: 1}
	long, failing := Options{MaxContext: 5}, Options{Faults: Faults{Error500: 1}}
	const (
		busyText  = "The server is currently overloaded with other requests. Please try again later."
		quotaText = "You exceeded your current quota, please check your plan and billing details."
		longText  = "This model's maximum context length is 5 tokens. However, your messages resulted in 7 tokens. Please reduce the length of the messages."
		limitText = "Rate limit reached for m on requests per min (RPM): Limit 1."
		again     = " Please try again in 1m0s."
		sorry     = "The server had an error while processing your request. Sorry about that!"
	)
	for _, tc := range []struct {
		name, dialect string
		o             Options
		status        int
		want          string
	}{
		{"limited", DialectOpenAI, limited, 429, `{"error":{"message":"` + limitText + again + `","type":"requests","param":null,"code":"rate_limit_exceeded"}}`},
		{"limited", DialectAzure, limited, 429, `{"error":{"message":"` + limitText + again + `","type":"requests","param":null,"code":"429"}}`},
		{"limited", DialectAnthropic, limited, 429, `{"error":{"message":"` + limitText + again + `","type":"rate_limit_error","param":null,"code":"rate_limit_error"}}`},
		{"limited", DialectPlain, limited, 429, `{"error":{"message":"` + limitText + `","type":"requests","param":null,"code":429}}`},
		{"quota", DialectOpenAI, quota, 429, `{"error":{"message":"` + quotaText + `","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`},
		{"quota", DialectAnthropic, quota, 402, `{"error":{"message":"` + quotaText + `","type":"billing_error","param":null,"code":"billing_error"}}`},
		{"busy", DialectOpenAI, busy, 503, `{"error":{"message":"` + busyText + `","type":"server_error","param":null,"code":"server_is_overloaded"}}`},
		{"busy", DialectAnthropic, busy, 529, `{"error":{"message":"` + busyText + `","type":"overloaded_error","param":null,"code":"overloaded_error"}}`},
		{"busy", DialectPlain, busy, 503, `{"error":{"message":"` + busyText + `","type":"server_error","param":null,"code":503}}`},
		{"long", DialectOpenAI, long, 400, `{"error":{"message":"` + longText + `","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`},
		{"long", DialectPlain, long, 400, `{"error":{"message":"` + longText + `","type":"exceed_context_size_error","param":"messages","code":400}}`},
		{"failing", DialectOpenAI, failing, 500, `{"error":{"message":"` + sorry + `","type":"server_error","param":null,"code":null}}`},
	} {
		t.Run(tc.name+" "+tc.dialect, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tc.o.Dialect = tc.dialect
				s := New(tc.o)
				post(s, ask("first"))
				w := post(s, ask("hello, you"))
				if w.Code != tc.status || w.Body.String() != tc.want {
					t.Errorf("got %d %s\nwant %d %s", w.Code, w.Body, tc.status, tc.want)
				}
				balanced(t, s)
			})
		})
	}
}

func TestRequestTooLargeForTheLimit(t *testing.T) {
	t.Parallel()
	s := New(Options{TokensPerMinute: 100})
	w := post(s, ask("hello", `,"max_tokens":95`))
	if w.Code != 429 || !strings.Contains(w.Body.String(), "Request too large for m on tokens per min (TPM): Limit 100, Requested 101.") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("retry-after-ms"); got != "" {
		t.Errorf("got the hint to come back after %s ms: it never fits", got)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	const messages = `"messages":[{"role":"user","content":"a"}]`
	for _, tc := range []struct {
		name, body, code, param, holds string
	}{
		{"empty", ``, "", "", "could not parse"},
		{"no JSON", `model=m`, "", "", "could not parse"},
		{"a list", `[]`, "invalid_type", "", "expected an object"},
		{"cut off", `{"model":"m",` + messages, "", "", "could not parse"},
		{"something behind", `{"model":"m",` + messages + `} {}`, "", "", "behind the object"},
		{"a name twice", `{"model":"m","model":"n",` + messages + `}`, "", "", "duplicate object member name"},
		{"a name twice, deep", `{"model":"m",` + messages + `,"x":[{"a":1,"a":2}]}`, "", "", "duplicate object member name"},
		{"bad UTF-8", `{"model":"m","messages":[{"role":"user","content":"` + "\xff" + `"}]}`, "", "", "invalid UTF-8"},
		{"no model", `{` + messages + `}`, "missing_required_parameter", "model", "model"},
		{"no messages", `{"model":"m"}`, "missing_required_parameter", "messages", "messages"},
		{"null messages", `{"model":"m","messages":null}`, "invalid_type", "messages", "expected an array, but got null"},
		{"empty messages", `{"model":"m","messages":[]}`, "empty_array", "messages", "empty array"},
		{"a text for messages", `{"model":"m","messages":"a"}`, "invalid_type", "messages", "got a string"},
		{"a text for a message", `{"model":"m","messages":["a"]}`, "invalid_type", "messages[0]", "expected an object"},
		{"no role", `{"model":"m","messages":[{"content":"a"}]}`, "invalid_value", "messages[0].role", "''"},
		{"another role", `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"bot","content":"a"}]}`, "invalid_value", "messages[1].role", "'bot'"},
		{"a number for content", `{"model":"m","messages":[{"role":"user","content":7}]}`, "invalid_type", "messages[0].content", "got a number"},
		{"a text for a part", `{"model":"m","messages":[{"role":"user","content":["a"]}]}`, "invalid_type", "messages[0].content[0]", "expected an object"},
		{"a number for the model", `{"model":7,` + messages + `}`, "invalid_type", "model", "expected a string"},
		{"no tokens", ask("a", `,"max_tokens":0`), "integer_below_min_value", "max_tokens", "got 0"},
		{"half a token", ask("a", `,"max_completion_tokens":0.5`), "invalid_type", "max_completion_tokens", "integer"},
		{"too many choices", ask("a", `,"n":129`), "integer_above_max_value", "n", "129"},
		{"hot", ask("a", `,"temperature":2.1`), "decimal_above_max_value", "temperature", "2.1"},
		{"cold", ask("a", `,"temperature":-1`), "decimal_below_min_value", "temperature", "-1"},
		{"a text for temperature", ask("a", `,"temperature":"0"`), "invalid_type", "temperature", "a decimal"},
		{"top_p", ask("a", `,"top_p":1.5`), "decimal_above_max_value", "top_p", "1.5"},
		{"stream", ask("a", `,"stream":true`), "unsupported_value", "stream", "does not stream"},
		{"stop", ask("a", `,"stop":7`), "invalid_type", "stop", "array"},
		{"format", ask("a", `,"response_format":"json"`), "invalid_type", "response_format", "object"},
		{"format's type", ask("a", `,"response_format":{"type":"xml"}`), "invalid_value", "response_format.type", "'xml'"},
		{"no schema", ask("a", `,"response_format":{"type":"json_schema"}`), "missing_required_parameter", "response_format.json_schema.name", "name"},
		{
			"impossible schema", ask("a", `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"integer","minimum":2,"maximum":1}}}`),
			"", "response_format", "Invalid schema for response_format 'n'",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{})
			w := post(s, tc.body)
			c := decode(t, w.Body)
			if w.Code != 400 || c.Error == nil {
				t.Fatalf("got %d %v, want a 400 with an error", w.Code, c)
			}
			code, _ := c.Error.Code.(string)
			param, _ := c.Error.Param.(string)
			if code != tc.code || param != tc.param || !strings.Contains(c.Error.Message, tc.holds) {
				t.Errorf("got code %q, param %q, message %q\nwant code %q, param %q, message with %q",
					code, param, c.Error.Message, tc.code, tc.param, tc.holds)
			}
			if l := balanced(t, s); l.Rejected != 1 {
				t.Errorf("got %+v, want one rejected", l)
			}
		})
	}
}

func TestHugeRequest(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	s.maxBody = 100
	if w := post(s, ask("short")); w.Code != http.StatusOK {
		t.Errorf("short: got %d %s", w.Code, w.Body)
	}
	w := post(s, ask(strings.Repeat("long", 100)))
	if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), "larger than 100 bytes") {
		t.Errorf("long: got %d %s, want a 413", w.Code, w.Body)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Latency: pipeline.Duration(time.Second)})
		begin := time.Now()
		for range 10 {
			go post(s, ask("a"))
		}
		synctest.Wait()
		if l := balanced(t, s); l.InFlight != 10 || l.PeakInFlight != 10 {
			t.Errorf("got %+v, want 10 in flight", l)
		}
		content(t, post(s, ask("b")))
		if got := time.Since(begin); got != time.Second {
			t.Errorf("got an answer after %v, want 1s", got)
		}
		synctest.Wait()
		if l := balanced(t, s); l.Answered != 11 || l.PeakInFlight != 11 {
			t.Errorf("got %+v, want all answered", l)
		}
	})
}

func TestSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Latency: pipeline.Duration(time.Second), Faults: Faults{Slow: 1}})
		begin := time.Now()
		content(t, post(s, ask("a")))
		if got := time.Since(begin); got != 10*time.Second {
			t.Errorf("got an answer after %v, want 10s", got)
		}
		if l := balanced(t, s); l.Faults[faultSlow] != 1 || l.Paid != 1 {
			t.Errorf("got %+v, want a slow answer, paid", l)
		}
	})
}

// Latency depends on the prompt, not on who comes first.
func TestLatencySpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		took := func(s *Server, prompt string) time.Duration {
			begin := time.Now()
			content(t, post(s, ask(prompt)))
			return time.Since(begin)
		}
		o := Options{Latency: pipeline.Duration(time.Second), LatencySpread: 0.5}
		one, other := New(o), New(o)
		a, b := took(one, "a"), took(one, "b")
		if took(other, "b") != b || took(other, "a") != a || a == b {
			t.Error("the latencies of a and b differ by the order of the requests, or not at all")
		}
	})
}

func TestClientGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Latency: pipeline.Duration(time.Hour)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := abortedBy(ctx, s); got != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			t.Errorf("got %v, want the connection broken off", got)
		}
		if l := balanced(t, s); l.Abandoned != 1 || l.Paid != 0 || l.InFlight != 0 {
			t.Errorf("got %+v, want one abandoned", l)
		}
	})
}

// abortedBy serves a request and returns the value of the panic it ends with.
func abortedBy(ctx context.Context, s *Server) (value any) {
	defer func() { value = recover() }()
	r, err := http.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(ask("a")))
	if err != nil {
		return err
	}
	s.ServeHTTP(discard{http.Header{}}, r)
	return nil
}

func TestCloseEndsWhatHangs(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"hang":    {Faults: Faults{Hang: 1}},
		"latency": {Latency: pipeline.Duration(time.Hour)},
		"trickle": {Faults: Faults{Trickle: 1}},
		"endless": {Faults: Faults{EndlessBody: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, base, _ := started(t, o)
			conn := send1(t, base, ask("a"))
			for s.Ledger().InFlight == 0 {
				runtime.Gosched()
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("got %v, want the connection to end", err)
			}
			if l := balanced(t, s); l.InFlight != 0 || l.Paid != 0 {
				t.Errorf("got %+v, want nothing in flight and nothing paid", l)
			}
			if got := post(s, ask("a")).Code; got != http.StatusServiceUnavailable {
				t.Errorf("after Close: got %d, want 503", got)
			}
		})
	}
}

// Behind another's server, Close ends what waits too.
func TestCloseOfAHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Faults: Faults{Hang: 1}})
		ended := make(chan any)
		go func() { ended <- abortedBy(t.Context(), s) }()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-ended; got != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			t.Errorf("got %v, want the connection broken off", got)
		}
	})
}

// send1 sends one chat request over a connection of its own.
func send1(t *testing.T, base, body string) net.Conn {
	t.Helper()
	address := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/v1")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	s, base, _ := started(t, Options{})
	address := strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/v1")
	other := New(Options{})
	if _, err := other.Start(address); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v for an address in use, want an error that names it", err)
	}
	if _, err := s.Start("127.0.0.1:0"); err == nil {
		t.Error("got no error for a second start")
	}
	if err := other.Close(); err != nil {
		t.Errorf("close of what never started: %v", err)
	}
	if _, err := other.Start("127.0.0.1:0"); err == nil {
		t.Error("got no error for a start after Close")
	}
	if err := other.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestStartOnEveryAddress(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	base, err := s.Start(":0")
	if err != nil || !strings.HasPrefix(base, "http://127.0.0.1:") || !strings.HasSuffix(base, "/v1") {
		t.Errorf("got %q, %v, want a URL that a client can use", base, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The order in which requests come changes nothing for any of them.
func TestFateDoesNotDependOnTheOrder(t *testing.T) {
	t.Parallel()
	o := Options{Seed: 3, Faults: Faults{RateLimit: .2, Error500: .2, HTML: .2, EmptyChoices: .1, Length: .1}}
	prompts := make([]string, 200)
	for i := range prompts {
		prompts[i] = fmt.Sprintf("prompt %d", i/2) // each twice
	}
	fates := func() map[string][]string {
		s, got := New(o), map[string][]string{}
		for _, p := range prompts {
			w := post(s, ask(p))
			line, _ := bufio.NewReader(w.Body).ReadString('\n')
			got[p] = append(got[p], fmt.Sprint(w.Code, w.Header().Get("X-Request-Id"), len(line)))
		}
		balanced(t, s)
		return got
	}
	forward := fates()
	slices.Reverse(prompts)
	backward := fates()
	for p := range forward {
		if !slices.Equal(forward[p], backward[p]) {
			t.Errorf("%s: got %v, in another order %v", p, forward[p], backward[p])
		}
		if forward[p][0] == forward[p][1] {
			t.Errorf("%s: both requests got %v", p, forward[p][0])
		}
	}
}

func TestQuotaAfter(t *testing.T) {
	t.Parallel()
	s := New(Options{QuotaAfter: 3})
	for i := range 6 {
		w := post(s, ask(fmt.Sprint(i)))
		if want := i >= 3; strings.Contains(w.Body.String(), "insufficient_quota") != want {
			t.Errorf("request %d: got %d %s, want the quota spent: %v", i+1, w.Code, w.Body, want)
		}
	}
	if l := balanced(t, s); l.Answered != 3 || l.Faults[faultQuota] != 3 {
		t.Errorf("got %+v, want 3 answered and 3 without quota", l)
	}
}
