package llm_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// TestKeysStayWithTheirProvider: what an endpoint does not say is as for the stage, but no
// key goes to another provider than its own.
func TestKeysStayWithTheirProvider(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		stage llm.Config
		of    llm.EndpointConfig
		want  string // headers that may hold a key
	}{
		{"inherited", llm.Config{APIKey: "key-of-the-stage"}, llm.EndpointConfig{}, "Bearer key-of-the-stage"},
		{"its own", llm.Config{APIKey: "key-of-the-stage"}, llm.EndpointConfig{APIKey: "key-of-its-own"}, "Bearer key-of-its-own"},
		{"in place of a header", llm.Config{Headers: map[string]pipeline.Secret{"authorization": "Basic stage"}}, llm.EndpointConfig{APIKey: "key-of-its-own"}, "Bearer key-of-its-own"},
		{"as a header", llm.Config{APIKey: "key-of-the-stage"}, llm.EndpointConfig{Headers: map[string]pipeline.Secret{"Authorization": "Basic own"}}, "Basic own"},
		{"of another provider", llm.Config{APIKey: "key-of-the-stage"}, llm.EndpointConfig{Provider: "azure"}, ""},
		{"of another provider, as a header", llm.Config{Headers: map[string]pipeline.Secret{"X-Api-Key": "stage"}}, llm.EndpointConfig{Provider: "azure"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(200, fine))
			c := capital(p)
			c.APIKey, c.Headers = tc.stage.APIKey, tc.stage.Headers
			tc.of.BaseURL = c.BaseURL
			c.Endpoints = []llm.EndpointConfig{tc.of}
			if _, err := ask(t, stage(t, c, pipeline.Env{}), france()); err != nil {
				t.Fatal(err)
			}
			h := p.last(t).header
			if got := strings.Join(slices.Concat(h["Authorization"], h["Api-Key"], h["X-Api-Key"]), " "); got != tc.want {
				t.Errorf("sent %q, want %q", got, tc.want)
			}
		})
	}
}

// TestNamesOfEndpoints: region, else host; each once.
func TestNamesOfEndpoints(t *testing.T) {
	t.Parallel()
	s := stage(t, llm.Config{Model: "m", Prompt: "x", BaseURL: "http://a:1/v1", Endpoints: []llm.EndpointConfig{
		{}, {Model: "n"}, {Region: "eu"}, {Provider: "simulator"}, {BaseURL: "http://b/v1", Priority: 2, Weight: 3, MaxInFlight: 4},
	}}, pipeline.Env{})
	var names []string
	for _, e := range s.Endpoints() {
		names = append(names, e.Name)
	}
	if want := []string{"a:1", "a:1-2", "eu", "simulator", "b"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if last := s.Endpoints()[4]; last.Priority != 2 || last.Weight != 3 || last.MaxInFlight != 4 {
		t.Errorf("got %+v", last)
	}
	if s.Endpoints()[0].Scope == s.Endpoints()[1].Scope || s.Endpoints()[0].Scope != s.Endpoints()[2].Scope {
		t.Error("address and model make the scope of a limit, and nothing else does")
	}
}

// TestProbeOfEndpoints: one that works is enough.
func TestProbeOfEndpoints(t *testing.T) {
	t.Parallel()
	bad := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	good := simulator.New(simulator.Options{})
	address, err := good.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = good.Close() })
	c := llm.Config{Model: "m", Prompt: "x", Endpoints: []llm.EndpointConfig{{BaseURL: bad.url + "/v1"}, {BaseURL: address}}}
	if err := stage(t, c, pipeline.Env{}).Probe(t.Context()); err != nil {
		t.Errorf("one works: got %v", err)
	}
	c.Endpoints = c.Endpoints[:1]
	if err := stage(t, c, pipeline.Env{}).Probe(t.Context()); err == nil {
		t.Error("none works: got no error")
	}
}
