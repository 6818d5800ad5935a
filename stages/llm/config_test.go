package llm_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
	"github.com/rowmill/rowmill/stages/llm"
)

// TestEveryKeyMatters walks the config: for each key there are two values that
// change what is sent or what comes out.
func TestEveryKeyMatters(t *testing.T) {
	t.Parallel()
	type change = func(*llm.Config)
	folder := t.TempDir()
	azure := func(c *llm.Config) { c.Provider = "azure" }
	cases := map[string][2]change{
		"provider":              {func(c *llm.Config) { c.Provider = "openai" }, azure},
		"model":                 {func(c *llm.Config) { c.Model = "a" }, func(c *llm.Config) { c.Model = "b" }},
		"base_url":              {func(*llm.Config) {}, func(c *llm.Config) { c.BaseURL += "/v2" }},
		"api_key":               {func(c *llm.Config) { c.APIKey = "key-a" }, func(c *llm.Config) { c.APIKey = "key-b" }},
		"api_version":           {func(c *llm.Config) { azure(c); c.APIVersion = "2024-06-01" }, azure},
		"deployment":            {func(c *llm.Config) { azure(c); c.Deployment = "d" }, azure},
		"organization":          {func(c *llm.Config) { c.Organization = "org-1" }, func(*llm.Config) {}},
		"headers":               {func(c *llm.Config) { c.Headers = map[string]pipeline.Secret{"X-A": "1"} }, func(c *llm.Config) { c.Headers = map[string]pipeline.Secret{"X-A": "2"} }},
		"system":                {func(c *llm.Config) { c.System = "Be brief." }, func(*llm.Config) {}},
		"prompt":                {func(c *llm.Config) { c.Prompt = "a {{.country}}" }, func(c *llm.Config) { c.Prompt = "b {{.country}}" }},
		"messages":              {func(c *llm.Config) { c.Prompt, c.Messages = "", []llm.Message{{Role: "user", Content: "x"}} }, func(*llm.Config) {}},
		"messages.role":         {func(c *llm.Config) { c.Prompt, c.Messages = "", []llm.Message{{Role: "user", Content: "x"}} }, func(c *llm.Config) { c.Prompt, c.Messages = "", []llm.Message{{Role: "developer", Content: "x"}} }},
		"messages.content":      {func(c *llm.Config) { c.Prompt, c.Messages = "", []llm.Message{{Role: "user", Content: "x"}} }, func(c *llm.Config) { c.Prompt, c.Messages = "", []llm.Message{{Role: "user", Content: "y"}} }},
		"output":                {func(c *llm.Config) { c.Output = "a" }, func(c *llm.Config) { c.Output = "b" }},
		"temperature":           {func(c *llm.Config) { c.Temperature = ptr(0.0) }, func(*llm.Config) {}},
		"top_p":                 {func(c *llm.Config) { c.TopP = ptr(0.0) }, func(*llm.Config) {}},
		"max_tokens":            {func(c *llm.Config) { c.MaxTokens = 1 }, func(*llm.Config) {}},
		"max_completion_tokens": {func(c *llm.Config) { c.MaxCompletionTokens = 1 }, func(*llm.Config) {}},
		"seed":                  {func(c *llm.Config) { c.Seed = ptr(0) }, func(*llm.Config) {}},
		"stop":                  {func(c *llm.Config) { c.Stop = []string{"\n"} }, func(*llm.Config) {}},
		"accept_finish":         {func(c *llm.Config) { c.AcceptFinish = []string{"length"} }, func(*llm.Config) {}},
		"max_answer":            {func(c *llm.Config) { c.MaxAnswer = 10 }, func(*llm.Config) {}},
		"rate_limit":            {func(c *llm.Config) { c.RateLimit.RequestsPerMinute = 60 }, func(c *llm.Config) { c.RateLimit.TokensPerMinute = policy.Off }},
		"endpoints": {
			func(c *llm.Config) { c.Endpoints = []llm.EndpointConfig{{Model: "a"}} },
			func(c *llm.Config) { c.Endpoints = []llm.EndpointConfig{{Model: "b"}} },
		},
		"cache":    {func(c *llm.Config) { c.Cache = llm.Cache(filepath.Join(folder, rand.Text())) }, func(*llm.Config) {}},
		"coalesce": {func(c *llm.Config) { c.Coalesce = true }, func(*llm.Config) {}},
		"cached":   {func(c *llm.Config) { c.Coalesce, c.Cached = true, "known" }, func(c *llm.Config) { c.Coalesce = true }},
		"extra":    {func(c *llm.Config) { c.Extra = map[string]any{"reasoning_effort": "low"} }, func(*llm.Config) {}},
		"simulator": {
			func(c *llm.Config) { c.Provider, c.BaseURL, c.Simulator = "simulator", "", &simulator.Options{Seed: 1} },
			func(c *llm.Config) { c.Provider, c.BaseURL, c.Simulator = "simulator", "", &simulator.Options{Seed: 2} },
		},
	}
	keys := yamlKeys(reflect.TypeFor[llm.Config](), "")
	for _, key := range keys {
		pair, ok := cases[key]
		if !ok {
			t.Errorf("%s: no case shows what it does", key)
			continue
		}
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			a, b := observe(t, pair[0]), observe(t, pair[1])
			if a == b {
				t.Errorf("both values give\n%s", a)
			}
			if again := observe(t, pair[0]); a != again {
				t.Errorf("the same value gives\n%s\nand\n%s", a, again)
			}
		})
	}
	if len(cases) != len(keys) {
		t.Errorf("%d cases for %d keys", len(cases), len(keys))
	}
}

// yamlKeys lists the keys of a config, those of its own structs below it too.
func yamlKeys(c reflect.Type, above string) []string {
	var keys []string
	for i := range c.NumField() {
		f := c.Field(i)
		key := above + f.Tag.Get("yaml")
		keys = append(keys, key)
		if f.Type == reflect.TypeFor[[]llm.Message]() {
			keys = append(keys, yamlKeys(f.Type.Elem(), key+".")...)
		}
	}
	return keys
}

// observe returns all that can be seen of one row with a config.
func observe(t *testing.T, change func(*llm.Config)) string {
	t.Helper()
	p := serve(t, says(200, fine))
	c := capital(p)
	change(&c)
	s := stage(t, c, pipeline.Env{})
	out, err := ask(t, s, france())
	_, limit := s.RateLimit()
	text := fmt.Sprint(out, "\n", err, "\n", limit)
	if p.count() > 0 {
		got := p.last(t)
		text += fmt.Sprint("\n", got.path, "\n", got.header, "\n", got.body)
	}
	return strings.ReplaceAll(text, p.url[len("http://"):], "HOST")
}

func TestMistakesInConfig(t *testing.T) {
	t.Parallel()
	valid := llm.Config{BaseURL: "http://localhost:11434/v1", Model: "m", Prompt: "x"}
	tests := []struct {
		name   string
		change func(*llm.Config)
		want   []string // "key: part of the message"
	}{
		{"none", func(*llm.Config) {}, nil},
		{"nothing at all", func(c *llm.Config) { *c = llm.Config{} }, []string{"model: is missing", "prompt: is missing: write prompt, or messages", "api_key: is missing: set OPENAI_API_KEY in the environment, or write api_key: ${NAME}"}},
		{"provider", func(c *llm.Config) { c.Provider = "opena" }, []string{`provider: "opena" is not known; choose openai, azure, anthropic or simulator`}},
		{"endpoints", func(c *llm.Config) {
			c.BaseURL, c.Model = "", ""
			c.Endpoints = []llm.EndpointConfig{
				{BaseURL: "http://a/v1", Model: "m", Weight: -1, MaxInFlight: -1, RateLimit: llm.RateLimit{RequestsPerMinute: -2}},
				{BaseURL: "b", Model: "m"},
				{Provider: "azure", Model: "m"},
				{Model: "m"},
				{BaseURL: "http://a/v1"},
				{Provider: "simulator", Model: "m", BaseURL: "http://a"},
				{BaseURL: "http://a/v1", Model: "m", Headers: map[string]pipeline.Secret{"Host": "x"}},
			}
		}, []string{
			"endpoints[0].weight: is -1; choose a number above 0", "endpoints[0].max_in_flight: is -1; choose a number from 1",
			"endpoints[0].rate_limit.requests_per_minute: -2 is out of range",
			`endpoints[1].base_url: "b" is not an address`, "endpoints[2].base_url: is missing; for azure", "endpoints[3].api_key: is missing: set OPENAI_API_KEY",
			"endpoints[4].model: is missing", "endpoints[5].base_url: does nothing with provider: simulator", "endpoints[6].headers.Host: cannot be set",
		}},
		{"azure without an address", func(c *llm.Config) { c.Provider, c.BaseURL = "azure", "" }, []string{"base_url: is missing; for azure write https://NAME.openai.azure.com"}},
		{"azure with too much of it", func(c *llm.Config) { c.Provider, c.BaseURL = "azure", "https://a.b/openai/deployments/x" }, []string{"base_url: leave out what follows the host"}},
		{"azure without a key", func(c *llm.Config) { c.Provider, c.BaseURL = "azure", "https://a.openai.azure.com" }, []string{"api_key: is missing: set AZURE_OPENAI_API_KEY"}},
		{"anthropic without a key", func(c *llm.Config) { c.Provider, c.BaseURL = "anthropic", "" }, []string{"api_key: is missing: set ANTHROPIC_API_KEY"}},
		{"no scheme", func(c *llm.Config) { c.BaseURL = "localhost:11434/v1" }, []string{"base_url: \"localhost:11434/v1\" is not an address like"}},
		{"no host", func(c *llm.Config) { c.BaseURL = "http:///v1" }, []string{"base_url: "}},
		{"another scheme", func(c *llm.Config) { c.BaseURL = "ftp://x/v1" }, []string{"base_url: "}},
		{"not an address", func(c *llm.Config) { c.BaseURL = "http://a b:c" }, []string{"base_url: "}},
		{"a password", func(c *llm.Config) { c.BaseURL = "https://me:swordfish@host/v1" }, []string{"base_url: cannot hold a user and password"}},
		{"a query", func(c *llm.Config) { c.BaseURL = "https://host/v1?key=swordfish" }, []string{"base_url: cannot hold a ?query"}},
		{"the whole path", func(c *llm.Config) { c.BaseURL = "https://host/v1/chat/completions" }, []string{"base_url: leave out the last part, /chat/completions"}},
		{"a key in the open", func(c *llm.Config) { c.BaseURL, c.APIKey = "http://api.openai.com/v1", "k" }, []string{"base_url: write https"}},
		{"simulator with an address", func(c *llm.Config) { c.Provider = "simulator" }, []string{"base_url: does nothing with provider: simulator"}},
		{"simulator without being one", func(c *llm.Config) { c.Simulator = &simulator.Options{} }, []string{"simulator: does nothing without provider: simulator"}},
		{"simulator with mistakes", func(c *llm.Config) {
			c.Provider, c.BaseURL, c.Simulator = "simulator", "", &simulator.Options{Dialect: "x"}
		}, []string{"simulator.dialect: "}},
		{"deployment", func(c *llm.Config) { c.Deployment = "d" }, []string{"deployment: does nothing without provider: azure"}},
		{"version", func(c *llm.Config) { c.Provider, c.APIVersion = "anthropic", "v" }, []string{"api_version: does nothing with provider: anthropic"}},
		{"two prompts", func(c *llm.Config) { c.Messages = []llm.Message{{"user", "x"}} }, []string{"messages: there is a prompt already"}},
		{"messages", func(c *llm.Config) { c.Prompt = ""; c.Messages = []llm.Message{{"User", "x"}, {"user", ""}} }, []string{`messages[0].role: "User" is not a role`, "messages[1].content: is missing"}},
		{"two systems", func(c *llm.Config) { c.Prompt, c.System = "", "s"; c.Messages = []llm.Message{{"system", "x"}} }, []string{"messages[0].role: system has that message already"}},
		{"temperature", func(c *llm.Config) { c.Temperature = ptr(-0.1) }, []string{"temperature: -0.1 is out of range"}},
		{"temperature is no number", func(c *llm.Config) { c.Temperature = ptr(math.NaN()) }, []string{"temperature: NaN is out of range"}},
		{"top_p", func(c *llm.Config) { c.TopP = ptr(1.1) }, []string{"top_p: 1.1 is out of range"}},
		{"negative numbers", func(c *llm.Config) { c.MaxTokens, c.MaxCompletionTokens, c.MaxAnswer = -1, -2, -3 }, []string{"max_tokens: -1", "max_completion_tokens: -2", "max_answer: -3"}},
		{"rates", func(c *llm.Config) { c.RateLimit = llm.RateLimit{RequestsPerMinute: -2, TokensPerMinute: -3} }, []string{"rate_limit.requests_per_minute: -2", "rate_limit.tokens_per_minute: -3"}},
		{"extra", func(c *llm.Config) {
			c.Extra = map[string]any{"temperature": 1, "messages": nil, "stream": true, "n": 2, "user": "ok"}
		}, []string{"extra.messages: has a key of its own", "extra.n: a row has one answer", "extra.stream: answers are not read as a stream", "extra.temperature: has a key of its own: write temperature beside extra"}},
		{"extra that is no JSON", func(c *llm.Config) { c.Extra = map[string]any{"x": math.NaN()} }, []string{"extra.x: "}},
		{"headers", func(c *llm.Config) {
			c.Headers = map[string]pipeline.Secret{"a b": "", "Host": "x", "X-Y": "x", "x-y": "z", "Z": "a\nb", "": "x", "idempotency-key": "1"}
		}, []string{"headers: is not the name", "headers.Host: cannot be set", "headers.Z: has a character", "headers.a b: is not the name of a header", "headers.idempotency-key: cannot be set", "headers.x-y: is the same header as X-Y"}},
		{"two keys", func(c *llm.Config) { c.APIKey = "k"; c.Headers = map[string]pipeline.Secret{"authorization": "x"} }, []string{"headers.authorization: there is an api_key already"}},
		{"unprintable keys", func(c *llm.Config) { c.APIKey, c.Organization = "k\x7f", "é" }, []string{"api_key: has a character", "organization: has a character"}},
		{"templates", func(c *llm.Config) { c.Prompt, c.System = "{{.x", "{{end}}" }, []string{"system: ", "prompt: "}},
		{"a template of the messages", func(c *llm.Config) { c.Prompt = ""; c.Messages = []llm.Message{{"user", "x"}, {"user", "{{"}} }, []string{"messages[1].content: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := valid
			tt.change(&c)
			_, err := llm.New(c, pipeline.Env{})
			var got pipeline.Problems
			if err != nil && !errors.As(err, &got) {
				t.Fatalf("error is a %T: %v", err, err)
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d problems, want %d:\n%v", len(got), len(tt.want), err)
			}
			for _, want := range tt.want {
				if !slices.ContainsFunc(got, func(p pipeline.Problem) bool { return strings.HasPrefix(p.Error(), want) }) {
					t.Errorf("no problem %q in\n%v", want, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "swordfish") {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

func TestKeyOfTheEnvironmentIsChecked(t *testing.T) {
	t.Parallel()
	env := pipeline.Env{Getenv: func(string) string { return "sk-\x00" }}
	_, err := llm.New(llm.Config{Model: "m", Prompt: "x"}, env)
	if err == nil || !strings.Contains(err.Error(), "OPENAI_API_KEY has a character") || strings.Contains(err.Error(), "sk-") {
		t.Errorf("got %v", err)
	}
}

// TestKeyInHeadersNeedsNoOther: Authorization in headers stands in for the key.
func TestKeyInHeadersNeedsNoOther(t *testing.T) {
	t.Parallel()
	env := pipeline.Env{Getenv: func(string) string { return "sk-env-0123" }}
	s := stage(t, llm.Config{Model: "m", Prompt: "x", Headers: map[string]pipeline.Secret{"authorization": "Bearer mine"}}, env)
	request := llm.Capture(s, func() { _, _ = ask(t, s, france()) })
	if got := request.Header["Authorization"]; !slices.Equal(got, []string{"Bearer mine"}) {
		t.Errorf("Authorization is %q", got)
	}
	want := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"rowmill"}, "Authorization": {"Bearer mine"}}
	if !reflect.DeepEqual(request.Header, want) {
		t.Errorf("headers %v, want %v", request.Header, want)
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	spec := llm.Spec()
	if spec.Kind != pipeline.KindStage || spec.Name != "llm" || spec.Workload != pipeline.Waits || !spec.Costs || spec.Summary == "" {
		t.Errorf("spec: %+v", spec)
	}
	if !strings.Contains(spec.Code, "type Config struct") || !strings.Contains(spec.Example, "model:") {
		t.Error("no code or example")
	}
	c, ok := spec.Defaults().(*llm.Config)
	if !ok || c.Output != "answer" || c.MaxAnswer != 16<<20 || c.Provider != "openai" || !slices.Equal(c.AcceptFinish, []string{"stop"}) {
		t.Errorf("defaults: %+v", c)
	}
	c.Provider, c.Prompt = "simulator", "hi"
	made, err := spec.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if err := made.(*llm.Stage).Close(); err != nil {
		t.Error(err)
	}
}
