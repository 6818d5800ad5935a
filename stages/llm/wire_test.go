package llm_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// TestBodyOnTheWire holds the whole body of a request, byte for byte.
func TestBodyOnTheWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config llm.Config
		row    *pipeline.Record
		want   string
	}{
		{
			"the least there is",
			llm.Config{Model: "m", Prompt: "Capital of {{.country}}?"},
			france(),
			`{"model":"m","messages":[{"role":"user","content":"Capital of France?"}],"stream":false}`,
		},
		{
			"everything",
			llm.Config{
				Model: "gpt-4.1-mini", System: "One word.", Prompt: "{{.country}}", MaxTokens: 10, MaxCompletionTokens: 20, Temperature: ptr(0.7), TopP: ptr(0.95),
				Seed: ptr(7), Stop: []string{"\n", "END"}, Extra: map[string]any{"service_tier": "flex", "reasoning_effort": "low", "metadata": map[string]any{"b": 1, "a": []any{true, nil, 1.5}}},
			},
			france(),
			`{"model":"gpt-4.1-mini","messages":[{"role":"system","content":"One word."},{"role":"user","content":"France"}],` +
				`"max_tokens":10,"max_completion_tokens":20,"stream":false,"stop":["\n","END"],"seed":7,` +
				`"metadata":{"a":[true,null,1.5],"b":1},"reasoning_effort":"low","service_tier":"flex","temperature":0.7,"top_p":0.95}`,
		},
		{
			"zero is sent as zero",
			llm.Config{Model: "m", Prompt: "x", Temperature: ptr(0.0), TopP: ptr(0.0), Seed: ptr(0)},
			france(),
			`{"model":"m","messages":[{"role":"user","content":"x"}],"stream":false,"seed":0,"temperature":0,"top_p":0}`,
		},
		{
			"a conversation, in part the same for every row",
			llm.Config{Model: "m", Messages: []llm.Message{
				{Role: "developer", Content: "Be brief."},
				{Role: "user", Content: "Capital of Italy?"},
				{Role: "assistant", Content: "Rome"},
				{Role: "user", Content: "Capital of {{.country}}?"},
				{Role: "assistant", Content: "{{.country}}'s is"},
			}},
			france(),
			`{"model":"m","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"Capital of Italy?"},` +
				`{"role":"assistant","content":"Rome"},{"role":"user","content":"Capital of France?"},{"role":"assistant","content":"France's is"}],"stream":false}`,
		},
		{
			"what needs escaping",
			llm.Config{Model: `a"b,"messages":null`, Prompt: "{{.x}}"},
			row("x", "say \"hi\"\\\n\t\x00 <b>&\u2028 é 世界 😀 ?"),
			`{"model":"a\"b,\"messages\":null","messages":[{"role":"user","content":"say \"hi\"\\\n\t\u0000 <b>&` + "\u2028" + ` é 世界 😀 ?"}],"stream":false}`,
		},
		{
			"bytes that are no UTF-8",
			llm.Config{Model: "m", Prompt: "{{.x}}"},
			row("x", "caf\xe9 \xff!"),
			`{"model":"m","messages":[{"role":"user","content":"caf` + "\ufffd \ufffd" + `!"}],"stream":false}`,
		},
		{
			"a prompt that looks like the hole for one",
			llm.Config{Model: "m", System: `?"},{"role":"user","content":"?`, Prompt: "{{.x}}"},
			row("x", `?"}`),
			`{"model":"m","messages":[{"role":"system","content":"?\"},{\"role\":\"user\",\"content\":\"?"},{"role":"user","content":"?\"}"}],"stream":false}`,
		},
	}
	// go-openai refuses these parameters for models of such names on its own account.
	for _, model := range []string{"o1", "o3-mini", "o4-mini", "gpt-5", "gpt-6-sol", "text-davinci-003"} {
		tests = append(tests, struct {
			name   string
			config llm.Config
			row    *pipeline.Record
			want   string
		}{
			"what the user wrote is sent to " + model,
			llm.Config{Model: model, Prompt: "x", MaxTokens: 5, Temperature: ptr(0.5), TopP: ptr(0.5)},
			france(),
			`{"model":"` + model + `","messages":[{"role":"user","content":"x"}],"max_tokens":5,"stream":false,"temperature":0.5,"top_p":0.5}`,
		})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(200, fine))
			tt.config.BaseURL = p.url + "/v1"
			s := stage(t, tt.config, pipeline.Env{})
			for range 3 { // the skeleton must not be changed by its use
				if _, err := ask(t, s, tt.row.Clone()); err != nil {
					t.Fatal(err)
				}
				got := p.last(t)
				if got.body != tt.want {
					t.Errorf("body\n got %s\nwant %s", got.body, tt.want)
				}
				if got.header.Get("Content-Length") == "" && got.header.Get("Transfer-Encoding") != "" {
					t.Error("the body was sent in chunks")
				}
			}
		})
	}
}

// TestHeadOnTheWire holds the first line and all headers of a request.
func TestHeadOnTheWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config llm.Config
		path   string // after the host; the base URL of the config too
		header map[string]string
	}{
		{"no key", llm.Config{BaseURL: "/v1"}, "/v1/chat/completions", nil},
		{"openai", llm.Config{BaseURL: "/v1/", APIKey: secret}, "/v1/chat/completions", map[string]string{"Authorization": "Bearer " + secret}},
		{
			"openai, an organization",
			llm.Config{BaseURL: "/v1", APIKey: secret, Organization: "org-1"},
			"/v1/chat/completions",
			map[string]string{"Authorization": "Bearer " + secret, "Openai-Organization": "org-1"},
		},
		{
			"openai with a version, as Azure's newer interface",
			llm.Config{BaseURL: "/openai/v1", APIVersion: "preview"},
			"/openai/v1/chat/completions?api-version=preview", nil,
		},
		{
			"own headers",
			llm.Config{BaseURL: "", Headers: map[string]pipeline.Secret{"authorization": "Token abc", "X-Title": "rows", "user-agent": "mine"}},
			"/chat/completions",
			map[string]string{"Authorization": "Token abc", "X-Title": "rows", "User-Agent": "mine"},
		},
		{
			"azure",
			llm.Config{Provider: "azure", BaseURL: "/", APIKey: secret, Model: "gpt-4o", Deployment: "my-own"},
			"/openai/deployments/my-own/chat/completions?api-version=2024-10-21",
			map[string]string{"Api-Key": secret},
		},
		{
			"azure, the deployment named as the model",
			llm.Config{Provider: "azure", APIKey: secret, Model: "gpt-3.5:x y", APIVersion: "2025-01-01"},
			"/openai/deployments/gpt-3.5:x%20y/chat/completions?api-version=2025-01-01",
			map[string]string{"Api-Key": secret},
		},
		{
			"azure, a deployment with a slash",
			llm.Config{Provider: "azure", APIKey: secret, Model: "m", Deployment: "a/b?c"},
			"/openai/deployments/a%2Fb%3Fc/chat/completions?api-version=2024-10-21",
			map[string]string{"Api-Key": secret},
		},
		{
			"azure with a token",
			llm.Config{Provider: "azure", Model: "m", Headers: map[string]pipeline.Secret{"Authorization": "Bearer eyJ"}},
			"/openai/deployments/m/chat/completions?api-version=2024-10-21",
			map[string]string{"Authorization": "Bearer eyJ"},
		},
		{
			"anthropic",
			llm.Config{Provider: "anthropic", BaseURL: "/v1", APIKey: secret},
			"/v1/chat/completions",
			map[string]string{"Authorization": "Bearer " + secret},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(200, fine))
			tt.config.BaseURL = p.url + tt.config.BaseURL
			if tt.config.Model == "" {
				tt.config.Model = "m"
			}
			tt.config.Prompt = "x"
			if _, err := ask(t, stage(t, tt.config, pipeline.Env{}), france()); err != nil {
				t.Fatal(err)
			}
			got := p.last(t)
			if got.method != http.MethodPost || got.path != tt.path {
				t.Errorf("request line\n got %s %s\nwant POST %s", got.method, got.path, tt.path)
			}
			want := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"rowmill"}}
			for name, value := range tt.header {
				want.Set(name, value)
			}
			got.header.Del("Content-Length")
			if !maps.EqualFunc(got.header, want, slices.Equal) {
				t.Errorf("headers\n got %v\nwant %v", got.header, want)
			}
		})
	}
}

func TestDefaultAddresses(t *testing.T) {
	t.Parallel()
	env := pipeline.Env{Getenv: func(string) string { return secret }}
	for provider, want := range map[string]string{
		"":          "https://api.openai.com/v1/chat/completions",
		"openai":    "https://api.openai.com/v1/chat/completions",
		"anthropic": "https://api.anthropic.com/v1/chat/completions",
	} {
		s := stage(t, llm.Config{Provider: provider, Model: "m", Prompt: "x"}, env)
		request := llm.Capture(s, func() { _, _ = ask(t, s, france()) })
		if got := request.URL.String(); got != want {
			t.Errorf("%s: %s, want %s", provider, got, want)
		}
	}
}

// TestKeysGoHomeOnly holds which key is sent to which host.
func TestKeysGoHomeOnly(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"OPENAI_API_KEY": " sk-openai\n", "ANTHROPIC_API_KEY": "sk-ant", "AZURE_OPENAI_API_KEY": "azure-key"}
	env := pipeline.Env{Getenv: func(name string) string { return environment[name] }}
	tests := []struct{ provider, baseURL, bearer, apiKey string }{
		{"openai", "https://api.openai.com/v1", "Bearer sk-openai", ""},
		{"openai", "https://API.OpenAI.com/v1", "Bearer sk-openai", ""},
		{"openai", "https://api.anthropic.com/v1", "Bearer sk-ant", ""},
		{"openai", "https://me.openai.azure.com/openai/v1", "Bearer azure-key", ""},
		{"openai", "https://eu.api.openai.com/v1", "", ""},
		{"openai", "https://api.openai.com.evil.example/v1", "", ""},
		{"openai", "https://evil.example/api.openai.com/v1", "", ""},
		{"openai", "https://notapi.openai.com/v1", "", ""},
		{"openai", "http://localhost:11434/v1", "", ""},
		{"openai", "https://openai.azure.com/v1", "", ""},
		{"openai", "https://evilopenai.azure.com/v1", "", ""},
		{"anthropic", "https://api.anthropic.com/v1", "Bearer sk-ant", ""},
		{"anthropic", "https://proxy.example/v1", "", ""},
		{"azure", "https://me.openai.azure.com", "", "azure-key"},
		{"azure", "https://me.cognitiveservices.azure.com", "", ""},
		{"azure", "https://me.openai.azure.com.evil.example", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.provider+" "+tt.baseURL, func(t *testing.T) {
			t.Parallel()
			s := stage(t, llm.Config{Provider: tt.provider, BaseURL: tt.baseURL, Model: "m", Prompt: "x"}, env)
			for what, send := range map[string]func(){
				"a row":     func() { _, _ = ask(t, s, france()) },
				"the probe": func() { _ = s.Probe(t.Context()) },
			} {
				request := llm.Capture(s, send)
				got := request.Header.Get("Authorization") + request.Header.Get("X-Api-Key")
				want := tt.bearer
				if what == "the probe" && tt.provider == "anthropic" {
					want = strings.TrimPrefix(want, "Bearer ")
				}
				if got != want || request.Header.Get("Api-Key") != tt.apiKey {
					t.Errorf("%s sends %q and api-key %q, want %q and %q", what, got, request.Header.Get("Api-Key"), want, tt.apiKey)
				}
			}
		})
	}
}

// TestProbeOnTheWire holds the line and the key headers of the probe.
func TestProbeOnTheWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, provider, path string
		header               map[string]string
	}{
		{"openai", "openai", "/v1/models", map[string]string{"Authorization": "Bearer " + secret}},
		{"anthropic", "anthropic", "/v1/models", map[string]string{"X-Api-Key": secret, "Anthropic-Version": "2023-06-01"}},
		{"azure", "azure", "/v1/openai/models?api-version=2024-10-21", map[string]string{"Api-Key": secret}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(404, ""))
			c := capital(p)
			c.Provider = tt.provider
			if err := stage(t, c, pipeline.Env{}).Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := p.last(t)
			if got.method != http.MethodGet || got.path != tt.path || got.body != "" {
				t.Errorf("got %s %s %q, want GET %s", got.method, got.path, got.body, tt.path)
			}
			for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "Anthropic-Version"} {
				if got.header.Get(name) != tt.header[name] {
					t.Errorf("%s is %q, want %q", name, got.header.Get(name), tt.header[name])
				}
			}
		})
	}
}
