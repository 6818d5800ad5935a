package llm_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	models := func(owner string, ids ...string) string {
		var list []string
		for _, id := range ids {
			list = append(list, `{"id":"`+id+`","object":"model","created":1,"owned_by":"`+owner+`"}`)
		}
		return `{"object":"list","data":[` + strings.Join(list, ",") + `]}`
	}
	tests := []struct {
		name, provider, model string
		status                int
		body                  string
		want                  string // in the error; none if empty
	}{
		{"there", "openai", "gpt-4.1-mini", 200, models("system", "gpt-4.1", "gpt-4.1-mini"), ""},
		{"misspelt", "openai", "gpt-4.1-mimi", 200, models("system", "gpt-5", "gpt-4.1", "gpt-4.1-mini"), `has no model "gpt-4.1-mimi"; did you mean "gpt-4.1-mini"?`},
		{"far off", "openai", "claude", 200, models("system", "x-1", "x-2"), `has no model "claude"; it has x-1, x-2`},
		{"far off, many", "openai", "claude", 200, models("system", "x1", "x2", "x3", "x4", "x5", "x6", "x7"), "x1, x2, x3, x4, x5 and 2 more"},
		{"ollama's tag", "openai", "stories", 200, models("library", "stories:latest"), ""},
		{"ollama's other tag", "openai", "stories:1b", 200, models("library", "stories:latest"), `has no model "stories:1b"; did you mean "stories:latest"?`},
		{"ollama's, misspelt", "openai", "storys", 200, models("library", "stories:latest"), `has no model "storys"; did you mean "stories:latest"?`},
		{"gemini's prefix", "openai", "gemini-2.5-pro", 200, models("google", "models/gemini-2.5-pro"), ""},
		{"openrouter's suffix", "openai", "meta/llama:free", 200, models("x", "meta/llama"), ""},
		{"llama.cpp takes any name", "openai", "x", 200, models("llamacpp", "/models/a.gguf"), ""},
		{"the simulator takes any name", "openai", "x", 200, models("simulator", "simulator"), ""},
		{"an empty list", "openai", "x", 200, models(""), ""},
		{"half a list", "openai", "x", 200, `{"data":[{"id":"a"}],"has_more":true}`, ""},
		{"another form", "openai", "x", 200, `{"models":["a"]}`, ""},
		{"no JSON", "openai", "x", 200, "<html>", ""},
		{"names that are numbers", "openai", "x", 200, `{"data":[{"id":7}]}`, ""},
		{"a wrong key", "openai", "x", 401, `{"error":{"message":"Incorrect API key provided: ` + secret + `","code":"invalid_api_key"}}`, "answered 401 Unauthorized: Incorrect API key provided: [redacted] (check api_key)"},
		{"not allowed", "openai", "x", 403, `{"error":{"message":"Country not supported"}}`, "answered 403 Forbidden: Country not supported"},
		{"a key for asking only", "openai", "x", 403, `{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.read.","code":"missing_scope"}}`, ""},
		{"no list", "openai", "x", 404, "404 page not found", ""},
		{"no such method", "openai", "x", 405, "", ""},
		{"not implemented", "openai", "x", 501, "", ""},
		{"busy", "openai", "x", 429, "", ""},
		{"ill", "openai", "x", 503, "", ""},
		{"azure, a wrong key", "azure", "x", 401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key"}}`, "Access denied due to invalid subscription key"},
		{"azure lists no deployments", "azure", "mine", 200, models("x", "gpt-4o"), ""},
		{"anthropic, a wrong key", "anthropic", "x", 401, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`, "invalid x-api-key"},
		{"anthropic leaves names out", "anthropic", "claude-sonnet-latest", 200, models("x", "claude-sonnet-1"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(tt.status, tt.body))
			s := stage(t, llm.Config{Provider: tt.provider, BaseURL: p.url, Model: tt.model, Prompt: "x", APIKey: secret, MaxAnswer: 1}, pipeline.Env{})
			err := s.Probe(t.Context())
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if p.count() != 1 || p.last(t).method != http.MethodGet {
				t.Errorf("%d requests, the last a %s; want one GET", p.count(), p.last(t).method)
			}
		})
	}
}

// TestProbeEnds holds that a probe of a server that says nothing ends by itself.
func TestProbeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := llm.New(llm.Config{BaseURL: "http://localhost/v1", Model: "m", Prompt: "x"}, pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		llm.Silence(s)
		start := time.Now()
		err = s.Probe(t.Context())
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "cannot reach http://localhost/v1: no answer within 10s") {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := s.Probe(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestSimulator(t *testing.T) {
	t.Parallel()
	c := llm.Config{Provider: "simulator", Prompt: "Tell me a fact about number {{.n}}"}
	answers := map[string]bool{}
	for range 2 {
		s := stage(t, c, pipeline.Env{})
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"1", "2"} {
			got, err := ask(t, s, row("n", n))
			if err != nil {
				t.Fatal(err)
			}
			answers[got] = true
		}
		if got := s.Usage(); got["input_tokens"] == 0 || got["output_tokens"] == 0 {
			t.Errorf("usage: %v", got)
		}
	}
	if len(answers) != 2 {
		t.Errorf("%d different rows for two prompts, asked twice: %v", len(answers), answers)
	}
}

func TestSimulatorIsClosed(t *testing.T) {
	t.Parallel()
	s, err := llm.New(llm.Config{Provider: "simulator", Prompt: "hi"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, s, france()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if e := failed(t, s, france()); e.Class != pipeline.ClassFatal {
		t.Errorf("after Close: %v %v", e.Class, e)
	}
}

// TestSimulatedFaults holds that the stage understands the simulator in each of
// its dialects.
func TestSimulatedFaults(t *testing.T) {
	t.Parallel()
	const all = pipeline.Share(1)
	for _, dialect := range []string{simulator.DialectOpenAI, simulator.DialectAzure, simulator.DialectAnthropic, simulator.DialectPlain} {
		for _, tt := range []struct {
			name   string
			faults simulator.Faults
			class  pipeline.Class
		}{
			{"rate limit", simulator.Faults{RateLimit: all}, pipeline.ClassRefused},
			{"500", simulator.Faults{Error500: all}, pipeline.ClassTransient},
			{"reset", simulator.Faults{Reset: all}, pipeline.ClassTransient},
			{"cut body", simulator.Faults{CutBody: all}, pipeline.ClassTransient},
			{"html", simulator.Faults{HTML: all}, pipeline.ClassTransient},
			{"empty choices", simulator.Faults{EmptyChoices: all}, pipeline.ClassTransient},
			{"invalid JSON", simulator.Faults{InvalidJSON: all}, pipeline.ClassTransient},
			{"error in a 200", simulator.Faults{Error200: all}, pipeline.ClassTransient},
			{"unauthorized", simulator.Faults{Unauthorized: all}, pipeline.ClassFatal},
			{"length", simulator.Faults{Length: all}, pipeline.ClassRecord},
			{"content filter", simulator.Faults{ContentFilter: all}, pipeline.ClassRecord},
			{"refusal", simulator.Faults{Refusal: all}, pipeline.ClassRecord},
		} {
			t.Run(dialect+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				s := stage(t, llm.Config{Provider: "simulator", Prompt: "Tell me more", Simulator: &simulator.Options{Dialect: dialect, Faults: tt.faults}}, pipeline.Env{})
				_, err := ask(t, s, france())
				if err == nil {
					t.Fatal("no error")
				}
				if class, code := pipeline.Classify(err); class != tt.class {
					t.Errorf("got %v %q (%v), want %v", class, code, err, tt.class)
				}
			})
		}
	}
}
