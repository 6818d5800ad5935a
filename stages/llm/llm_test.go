package llm_test

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		serveBenchmark()
		return
	}
	goleak.VerifyTestMain(m)
}

// secret is the key of every test: it must appear in the header of requests to
// its host, and nowhere else.
const secret = "sk-test-0123456789"

// fine is an answer as OpenAI sends it.
const fine = `{"id":"chatcmpl-1","object":"chat.completion","created":1735689600,"model":"gpt-4.1-mini-2025-04-14",` +
	`"choices":[{"index":0,"message":{"role":"assistant","content":"Paris","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":14,"completion_tokens":2,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},` +
	`"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},` +
	`"service_tier":"default","system_fingerprint":"fp_1"}`

// seen is one request as it came over the wire.
type seen struct {
	method, path string
	header       http.Header
	body         string
}

// provider is a server that answers everything the same, and remembers what it
// was asked.
type provider struct {
	url string

	mu   sync.Mutex
	seen []seen
}

func (p *provider) last(t *testing.T) seen {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == 0 {
		t.Fatal("no request was made")
	}
	return p.seen[len(p.seen)-1]
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen)
}

// serve starts a provider.
func serve(t *testing.T, answer http.HandlerFunc) *provider {
	t.Helper()
	p := &provider{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, seen{r.Method, r.URL.RequestURI(), r.Header.Clone(), string(body)})
		p.mu.Unlock()
		answer(w, r)
	}))
	server.Config.ErrorLog = silent()
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// says answers with a status, headers ("name: value") and a body.
func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func stage(t *testing.T, c llm.Config, env pipeline.Env) *llm.Stage {
	t.Helper()
	s, err := llm.New(c, env)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// capital asks a provider a fixed question.
func capital(p *provider) llm.Config {
	return llm.Config{BaseURL: p.url + "/v1", Model: "gpt-4.1-mini", Prompt: "Capital of {{.country}}?", APIKey: secret}
}

func row(pairs ...string) *pipeline.Record {
	var fields []pipeline.Field
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, pipeline.Field{Name: pairs[i], Value: pipeline.Text(pairs[i+1])})
	}
	return pipeline.NewRecord(fields...)
}

func france() *pipeline.Record { return row("country", "France") }

// ask processes one row and returns it as JSON.
func ask(t *testing.T, s *llm.Stage, r *pipeline.Record) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := s.Process(ctx, r)
	if err != nil {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the key is in the error: %v", err)
		}
		return "", err
	}
	if len(out) != 1 || out[0] != r {
		t.Fatalf("Process returned %d records, want the one it got", len(out))
	}
	return string(out[0].AppendJSON(nil)), nil
}

// failed returns the error that a row failed with.
func failed(t *testing.T, s *llm.Stage, r *pipeline.Record) *pipeline.Error {
	t.Helper()
	out, err := ask(t, s, r)
	if err == nil {
		t.Fatalf("got %s, want an error", out)
	}
	var e *pipeline.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is a %T (%v), want a *pipeline.Error", err, err)
	}
	return e
}

func ptr[T any](v T) *T { return &v }

func TestAnswerIsSetAndTheRestIsLeft(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, fine))
	s := stage(t, capital(p), pipeline.Env{})
	r, err := pipeline.ParseRecord([]byte(`{"id": 9007199254740993, "country":"France","x": 1.0e400}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ask(t, s, r)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"id":9007199254740993,"country":"France","x":1.0e400,"answer":"Paris"}`; got != want {
		t.Errorf("record\n got %s\nwant %s", got, want)
	}
}

func TestUsageOfAllAttempts(t *testing.T) {
	t.Parallel()
	var n int
	answers := []string{
		fine,
		strings.Replace(fine, `"stop"`, `"length"`, 1), // paid, though no success
		`{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}],"usage":null}`,
		`{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5.0,"completion_tokens":"2","prompt_tokens_details":[],"completion_tokens_details":null}}`,
	}
	p := serve(t, func(w http.ResponseWriter, r *http.Request) { says(200, answers[n])(w, r); n++ })
	s := stage(t, capital(p), pipeline.Env{})
	if got := s.Usage(); len(got) != 0 {
		t.Errorf("usage before the first row: %v", got)
	}
	for i := range answers {
		if _, err := ask(t, s, france()); (err != nil) != (i == 1) {
			t.Errorf("row %d: %v", i, err)
		}
	}
	want := map[string]int64{"input_tokens": 33, "cached_input_tokens": 6, "output_tokens": 4, "reasoning_tokens": 2}
	if got := s.Usage(); !maps.Equal(got, want) {
		t.Errorf("usage\n got %v\nwant %v", got, want)
	}
}

func TestRehearse(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, fine))
	s := stage(t, capital(p), pipeline.Env{})
	if err := s.Rehearse(france()); err != nil {
		t.Errorf("Rehearse: %v", err)
	}
	if err := s.Rehearse(row("x", "y")); err == nil {
		t.Error("Rehearse of a row without the field: no error")
	}
	if e := failed(t, s, row("x", "y")); e.Class != pipeline.ClassRecord || e.Code != "template" {
		t.Errorf("a row without the field: %v %q, want the record's error \"template\"", e.Class, e.Code)
	}
	if p.count() != 0 {
		t.Errorf("%d requests were made", p.count())
	}
}

// TestReplacedFieldIsSaid: an answer takes the place of a field once, with a word.
func TestReplacedFieldIsSaid(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	env := pipeline.Env{Logger: slog.New(slog.NewTextHandler(&said, nil))}
	s := stage(t, capital(serve(t, says(200, fine))), env)
	for range 3 {
		if err := s.Rehearse(row("country", "France", "answer", "42")); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "it is replaced"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
	got, err := ask(t, s, row("answer", "42", "country", "France"))
	if want := `{"answer":"Paris","country":"France"}`; err != nil || got != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
}

func TestShape(t *testing.T) {
	t.Parallel()
	s := stage(t, llm.Config{Provider: "simulator", Prompt: "hi", Output: "verdict"}, pipeline.Env{})
	got := s.Shape(pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{{Name: "id"}}})
	if f, ok := got.Lookup("verdict"); !ok || f.Type != pipeline.StringType || !got.Closed || len(got.Fields) != 2 {
		t.Errorf("shape: %+v", got)
	}
}

// silent is for servers whose clients misbehave on purpose.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
