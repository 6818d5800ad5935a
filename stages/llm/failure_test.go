package llm_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// TestFailures holds what each provider's errors, as they come over the wire, do.
func TestFailures(t *testing.T) {
	t.Parallel()
	const html502 = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	tests := []struct {
		name    string
		status  int
		headers []string
		body    string
		class   pipeline.Class
		code    string
		wait    time.Duration
		message string // in the error's text
	}{
		// Fatal: no row can succeed.
		{
			name: "openai, a wrong key", status: 401,
			body:  `{"error":{"message":"Incorrect API key provided: ` + secret + `. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
			class: pipeline.ClassFatal, code: "invalid_api_key", message: "answered 401 Unauthorized: Incorrect API key provided: [redacted]. You can find your API key at https://platform.openai.com/account/api-keys. (check api_key)",
		},
		{
			name: "openai, no key for a country", status: 403,
			body:  `{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}`,
			class: pipeline.ClassFatal, code: "unsupported_country_region_territory", message: "Country, region, or territory not supported",
		},
		{
			name: "openai, an unknown model", status: 404,
			body:  "{\n    \"error\": {\n        \"message\": \"The model `gpt-9` does not exist or you do not have access to it.\",\n        \"type\": \"invalid_request_error\",\n        \"param\": null,\n        \"code\": \"model_not_found\"\n    }\n}\n",
			class: pipeline.ClassFatal, code: "model_not_found", message: "answered 404 Not Found: The model `gpt-9` does not exist or you do not have access to it. (check model and base_url, which is http://",
		},
		{
			name: "openai, the quota is spent", status: 429, headers: []string{"Retry-After: 1"},
			body:  `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`,
			class: pipeline.ClassFatal, code: "insufficient_quota", message: "answered 429 Too Many Requests: You exceeded your current quota",
		},
		{
			name: "the quota is spent, though the header says to retry", status: 429, headers: []string{"X-Should-Retry: true"},
			body:  `{"error":{"message":"x","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`,
			class: pipeline.ClassFatal, code: "insufficient_quota",
		},
		{
			name: "the quota is spent, said by the type alone", status: 429,
			body:  `{"error":{"message":"x","type":"insufficient_quota","param":null,"code":null}}`,
			class: pipeline.ClassFatal, code: "insufficient_quota",
		},
		{
			name: "anthropic, a wrong key", status: 401,
			body:  `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}`,
			class: pipeline.ClassFatal, code: "authentication_error", message: "invalid x-api-key (check api_key)",
		},
		{
			name: "anthropic, no money", status: 402,
			body:  `{"type":"error","error":{"type":"billing_error","message":"Your payment failed."}}`,
			class: pipeline.ClassFatal, code: "billing_error",
		},
		{
			name: "anthropic, no money in the words of a 400", status: 400,
			body:  `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}`,
			class: pipeline.ClassFatal, code: "invalid_request_error",
		},
		{
			name: "azure, a wrong key", status: 401,
			body:  `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}`,
			class: pipeline.ClassFatal, code: "http_401", message: "Access denied due to invalid subscription key",
		},
		{
			name: "azure, an unknown deployment", status: 404,
			body:  `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`,
			class: pipeline.ClassFatal, code: "DeploymentNotFound",
		},
		{
			name: "deepseek, no money", status: 402,
			body:  `{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}`,
			class: pipeline.ClassFatal, code: "invalid_request_error", message: "Insufficient Balance",
		},
		{
			name: "ollama, an unknown model", status: 404,
			body:  `{"error":{"message":"model \"nope\" not found, try pulling it first","type":"api_error","param":null,"code":null}}`,
			class: pipeline.ClassFatal, code: "http_404", message: `model "nope" not found, try pulling it first`,
		},
		{
			name: "vllm, an unknown model", status: 404,
			body:  `{"error":{"message":"The model ` + "`x`" + ` does not exist.","type":"NotFoundError","param":null,"code":404}}`,
			class: pipeline.ClassFatal, code: "NotFoundError",
		},
		{
			name: "another server altogether", status: 404, headers: []string{"Content-Type: text/plain"},
			body: "404 page not found\n", class: pipeline.ClassFatal, code: "http_404", message: "404 page not found (check model and base_url",
		},
		{name: "fastapi, a wrong path", status: 404, body: `{"detail":"Not Found"}`, class: pipeline.ClassFatal, code: "http_404", message: "404 Not Found: Not Found"},
		{name: "a wrong method", status: 405, body: ``, class: pipeline.ClassFatal, code: "http_405"},
		{
			name: "a spent limit of the project", status: 429,
			body:  `{"error":{"message":"Project spend limit","type":"x","code":"project_spend_limit_exceeded"}}`,
			class: pipeline.ClassFatal, code: "project_spend_limit_exceeded",
		},

		// Refused: later.
		{
			name: "openai, too many tokens, all three hints", status: 429, headers: []string{"Retry-After-Ms: 599", "Retry-After: 2"},
			body:  `{"error":{"message":"Rate limit reached for gpt-4.1-mini in organization org-1 on tokens per min (TPM): Limit 200000, Used 199000, Requested 3000. Please try again in 6m0s. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
			class: pipeline.ClassRefused, code: "rate_limit_exceeded", wait: 599 * time.Millisecond, message: "Limit 200000, Used 199000",
		},
		{
			name: "openai, the hint in the text", status: 429,
			body:  `{"error":{"message":"Rate limit reached for gpt-4.1-mini on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
			class: pipeline.ClassRefused, code: "rate_limit_exceeded", wait: 120 * time.Millisecond,
		},
		{
			name: "openai, slow down", status: 503, headers: []string{"Retry-After: 1.5"},
			body:  `{"error":{"message":"Slow Down","type":"server_error","param":null,"code":"slow_down"}}`,
			class: pipeline.ClassRefused, code: "slow_down", wait: 1500 * time.Millisecond,
		},
		{
			name: "openai, flex has no room", status: 429,
			body:  `{"error":{"message":"Resource unavailable, please try again later.","type":"resource_unavailable","param":null,"code":"resource_unavailable"}}`,
			class: pipeline.ClassRefused, code: "resource_unavailable",
		},
		{
			name: "azure", status: 429, headers: []string{"Retry-After: 6", "X-Ratelimit-Reset-Tokens: 6"},
			body:  `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds."}}`,
			class: pipeline.ClassRefused, code: "http_429", wait: 6 * time.Second,
		},
		{
			name: "anthropic", status: 429, headers: []string{"Retry-After: 12"},
			body:  `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50,000 input tokens per minute."}}`,
			class: pipeline.ClassRefused, code: "rate_limit_error", wait: 12 * time.Second,
		},
		{
			name: "anthropic, overloaded", status: 529,
			body:  `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`,
			class: pipeline.ClassRefused, code: "overloaded_error", message: "answered 529: Overloaded",
		},
		{
			name: "gemini", status: 429,
			body:  `[{"error":{"code":429,"message":"You exceeded your current quota. Please retry in 36.5s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"36s"}]}}]`,
			class: pipeline.ClassRefused, code: "RESOURCE_EXHAUSTED", wait: 36500 * time.Millisecond,
		},
		{name: "a proxy's 429", status: 429, body: "slow", class: pipeline.ClassRefused, code: "http_429", message: "Too Many Requests: slow"},

		// Transient: again.
		{
			name: "openai, an error of its own", status: 500,
			body:  `{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}`,
			class: pipeline.ClassTransient, code: "http_500", message: "Sorry about that!",
		},
		{
			name: "openai, overloaded", status: 503, headers: []string{"Retry-After: 2"},
			body:  `{"error":{"message":"The server is currently overloaded.","type":"server_error","param":null,"code":"server_is_overloaded"}}`,
			class: pipeline.ClassTransient, code: "server_is_overloaded", wait: 2 * time.Second,
		},
		{
			name: "llama.cpp, loading", status: 503,
			body:  `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`,
			class: pipeline.ClassTransient, code: "unavailable_error", message: "503 Service Unavailable: Loading model",
		},
		{name: "ollama, its queue is full", status: 503, body: `{"error":"server busy, please try again.  maximum pending requests exceeded"}`, class: pipeline.ClassTransient, code: "http_503", message: "server busy, please try again. maximum pending requests exceeded"},
		{name: "tgi", status: 503, body: `{"error":"Model is overloaded","error_type":"overloaded"}`, class: pipeline.ClassTransient, code: "overloaded"},
		{name: "a proxy's page", status: 502, headers: []string{"Content-Type: text/html"}, body: html502, class: pipeline.ClassTransient, code: "http_502", message: "answered 502 Bad Gateway: 502 Bad Gateway"},
		{name: "a proxy's page without a title", status: 504, body: "<h1>upstream\ttimeout</h1>\x1b[31m", class: pipeline.ClassTransient, code: "http_504", message: "<h1>upstream timeout</h1> [31m"},
		{name: "cloudflare", status: 524, body: "", class: pipeline.ClassTransient, code: "http_524"},
		{name: "a time-out", status: 408, body: "", class: pipeline.ClassTransient, code: "http_408"},
		{name: "a conflict", status: 409, body: "", class: pipeline.ClassTransient, code: "http_409"},
		{name: "a 400 that says to retry", status: 400, headers: []string{"X-Should-Retry: true", "Retry-After: 1"}, body: `{"error":{"message":"x"}}`, class: pipeline.ClassTransient, code: "http_400", wait: time.Second},

		// The record's own.
		{
			name: "openai, too long", status: 400,
			body:  `{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`,
			class: pipeline.ClassRecord, code: "context_length_exceeded", message: "answered 400 Bad Request: This model's maximum context length is 128000 tokens.",
		},
		{
			name: "openai, an invalid request", status: 400,
			body:  `{"error":{"message":"Invalid type for 'messages[0].content'","type":"invalid_request_error","param":"messages","code":null}}`,
			class: pipeline.ClassRecord, code: "invalid_request_error",
		},
		{
			name: "openai, more tokens than the limit of a minute", status: 429,
			body:  `{"error":{"message":"Request too large for gpt-4.1 in organization org-1 on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
			class: pipeline.ClassRecord, code: "request_too_large",
		},
		{
			name: "azure, its content filter", status: 400,
			body:  `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}`,
			class: pipeline.ClassRecord, code: "content_filter",
		},
		{
			name: "openrouter, a moderator", status: 403,
			body:  `{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"...","provider_name":"OpenAI"}}}`,
			class: pipeline.ClassRecord, code: "http_403",
		},
		{
			name: "llama.cpp, too long", status: 400,
			body:  `{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}`,
			class: pipeline.ClassRecord, code: "exceed_context_size_error",
		},
		{
			name: "vllm, too long", status: 400,
			body:  `{"error":{"message":"This model's maximum context length is 2048 tokens.","type":"BadRequestError","param":null,"code":400}}`,
			class: pipeline.ClassRecord, code: "BadRequestError",
		},
		{
			name: "vllm before 0.9", status: 400,
			body:  `{"object":"error","message":"This model's maximum context length is 2048 tokens.","type":"BadRequestError","param":null,"code":400}`,
			class: pipeline.ClassRecord, code: "BadRequestError", message: "maximum context length",
		},
		{name: "fastapi, not valid", status: 422, body: `{"detail":[{"loc":["body","messages"],"msg":"field required"}]}`, class: pipeline.ClassRecord, code: "http_422", message: `[{"loc":["body","messages"],"msg":"field required"}]`},
		{name: "a body too large for a proxy", status: 413, body: "<html><head><TITLE>413 Request Entity Too Large</TITLE></head></html>", class: pipeline.ClassRecord, code: "http_413", message: "413 Request Entity Too Large"},
		{name: "a 500 that says not to retry", status: 500, headers: []string{"X-Should-Retry: false", "Retry-After: 1"}, body: "", class: pipeline.ClassRecord, code: "http_500"},
		{name: "a 429 that says not to retry", status: 429, headers: []string{"X-Should-Retry: false"}, body: "", class: pipeline.ClassRecord, code: "http_429"},
		{name: "a list of messages", status: 400, body: `{"error":{"message":["a","b"],"type":1,"code":["x"]}}`, class: pipeline.ClassRecord, code: "http_400", message: `["a","b"]`},
		{name: "a code that is no name", status: 400, body: `{"error":{"message":"m","code":"../../etc passwd"}}`, class: pipeline.ClassRecord, code: "http_400"},
		{name: "a number alone", status: 400, body: `7`, class: pipeline.ClassRecord, code: "http_400", message: "Bad Request: 7"},
		{name: "an endless page", status: 400, body: strings.Repeat("é", 1<<20), class: pipeline.ClassRecord, code: "http_400", message: "éé…"},

		// Errors inside a 200.
		{name: "200, rate limit", status: 200, body: `{"error":{"message":"Rate limit. Try again in 2s","type":"rate_limit_error","code":null}}`, class: pipeline.ClassRefused, code: "rate_limit_error", wait: 2 * time.Second, message: "answered 200 OK with an error: Rate limit."},
		{name: "200, a number", status: 200, body: `{"error":{"message":"Provider returned error","code":502}}`, class: pipeline.ClassTransient, code: "http_502"},
		{name: "200, quota", status: 200, body: `{"error":{"message":"spent","code":"insufficient_quota"}}`, class: pipeline.ClassFatal, code: "insufficient_quota"},
		{name: "200, a bad request", status: 200, body: `{"error":{"message":"m","type":"BadRequestError"}}`, class: pipeline.ClassRecord, code: "BadRequestError"},
		{name: "200, nothing known", status: 200, body: `{"error":{"message":"oh"}}`, class: pipeline.ClassTransient, code: "error_in_answer", message: "oh"},
		{name: "200, a string", status: 200, body: `{"error":"oh no"}`, class: pipeline.ClassTransient, code: "error_in_answer", message: "oh no"},
		{name: "200, in the choice", status: 200, body: `{"choices":[{"message":{"content":"Par"},"finish_reason":"error","error":{"code":429,"message":"busy"}}]}`, class: pipeline.ClassRefused, code: "http_429", message: "busy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(tt.status, tt.body, tt.headers...))
			e := failed(t, stage(t, capital(p), pipeline.Env{}), france())
			if e.Class != tt.class || e.Code != tt.code {
				t.Errorf("got %v %q, want %v %q (%v)", e.Class, e.Code, tt.class, tt.code, e)
			}
			if want := tt.status == http.StatusServiceUnavailable; e.ForAll != want {
				t.Errorf("holds for all: %v, want %v", e.ForAll, want)
			}
			if e.RetryAfter != tt.wait {
				t.Errorf("retry after %v, want %v", e.RetryAfter, tt.wait)
			}
			if !strings.Contains(e.Error(), tt.message) {
				t.Errorf("message\n got %s\nwant %s in it", e, tt.message)
			}
			if !strings.HasPrefix(e.Error(), strings.TrimPrefix(p.url, "http://")+" answered "+fmt.Sprint(tt.status)) {
				t.Errorf("message %q does not begin with host and status", e)
			}
			if len(e.Error()) > 900 {
				t.Errorf("message has %d bytes", len(e.Error()))
			}
			if p.count() != 1 {
				t.Errorf("%d requests were made, want 1", p.count())
			}
		})
	}
}

// TestSpentQuotaCodes holds the codes after which no row can succeed, whatever the
// status.
func TestSpentQuotaCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
		"project_spend_limit_exceeded", "organization_usage_limit_exceeded", "enforced_spend_limit_reached", "billing_error",
	} {
		for _, field := range []string{"code", "type"} {
			for _, status := range []int{400, 402, 403, 429, 503} {
				p := serve(t, says(status, fmt.Sprintf(`{"error":{"message":"m",%q:%q}}`, field, code)))
				if e := failed(t, stage(t, capital(p), pipeline.Env{}), france()); e.Class != pipeline.ClassFatal || e.Code != code {
					t.Errorf("%d with %s %s: %v %q, want fatal", status, field, code, e.Class, e.Code)
				}
			}
		}
	}
}

func TestHintsAboutTheKey(t *testing.T) {
	t.Parallel()
	p := serve(t, says(401, `{"error":"no"}`))
	for want, change := range map[string]func(*llm.Config){
		"no key was sent: set api_key": func(c *llm.Config) { c.APIKey = "" },
		"check api_key":                func(c *llm.Config) {},
		"check headers.X-Api-Key":      func(c *llm.Config) { c.APIKey = ""; c.Headers = map[string]pipeline.Secret{"X-Api-Key": "k"} },
	} {
		c := capital(p)
		change(&c)
		if e := failed(t, stage(t, c, pipeline.Env{}), france()); !strings.HasSuffix(e.Error(), "("+want+")") {
			t.Errorf("got %v, want the hint %q", e, want)
		}
	}
}

// TestSecretsInHeadersAreHidden: a server that quotes what it was sent.
func TestSecretsInHeadersAreHidden(t *testing.T) {
	t.Parallel()
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		says(403, "token "+token+" and "+r.Header.Get("X-Secret")+" and "+r.Header.Get("X-Flag"))(w, r)
	})
	c := capital(p)
	c.APIKey = ""
	c.Headers = map[string]pipeline.Secret{"Authorization": "Bearer hunter2hunter2", "X-Secret": "swordfish", "X-Flag": "true"}
	e := failed(t, stage(t, c, pipeline.Env{}), france())
	if want := "token [redacted] and [redacted] and true"; !strings.Contains(e.Error(), want) {
		t.Errorf("got %q, want %q in it", e, want)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := serve(t, says(200, fine))
	for _, status := range []int{301, 302, 303, 307, 308} {
		p := serve(t, says(status, "", "Location: "+other.url+"/v1/chat/completions?token=abc"))
		for _, headers := range []map[string]pipeline.Secret{nil, {"Api-Key": secret}} {
			c := capital(p)
			if headers != nil {
				c.APIKey, c.Headers = "", headers
			}
			s := stage(t, c, pipeline.Env{})
			e := failed(t, s, france())
			if e.Class != pipeline.ClassFatal || e.Code != "redirect" ||
				!strings.Contains(e.Error(), "set base_url to where it leads, "+other.url) || strings.Contains(e.Error(), "token") {
				t.Errorf("%d: %v %q %v", status, e.Class, e.Code, e)
			}
			if err := s.Probe(t.Context()); err == nil {
				t.Errorf("%d: the probe passes", status)
			}
		}
	}
	if n := other.count(); n != 0 {
		t.Errorf("%d requests, with the key, went where the redirects lead", n)
	}
}
