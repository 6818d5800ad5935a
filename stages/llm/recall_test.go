package llm_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/internal/cache"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
	"github.com/rowmill/rowmill/stages/llm"
)

// cachedIn is capital with a cache.
func cachedIn(p *provider, path string) llm.Config {
	c := capital(p)
	c.Cache = llm.Cache(path)
	return c
}

// once asks one question of a stage of its own, as a run of its own would.
func once(t *testing.T, c llm.Config, r *pipeline.Record) (string, error) {
	t.Helper()
	s, err := llm.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ask(t, s, r)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	return got, err
}

func TestCachedAnswerCostsNothing(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, fine))
	c := cachedIn(p, filepath.Join(t.TempDir(), "folder", "answers.db"))
	if got, err := once(t, c, france()); err != nil || got != `{"country":"France","answer":"Paris","answer_cached":false}` {
		t.Fatalf("first: got %s, %v", got, err)
	}
	if info, err := os.Stat(string(c.Cache)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: got %v, %v, want 0600", info.Mode(), err)
	}
	s := stage(t, c, pipeline.Env{})
	if got, err := ask(t, s, france()); err != nil || got != `{"country":"France","answer":"Paris","answer_cached":true}` {
		t.Errorf("second: got %s, %v", got, err)
	}
	if p.count() != 1 {
		t.Errorf("requests: got %d, want 1", p.count())
	}
	if got, want := s.Usage(), map[string]int64{"cached_answers": 1}; !maps.Equal(got, want) {
		t.Errorf("usage: got %v, want %v", got, want)
	}
}

// TestWhatIsTheSameRequest: all that shapes the answer, and nothing else.
func TestWhatIsTheSameRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*llm.Config)
		asks   bool
	}{
		{"nothing", func(*llm.Config) {}, false},
		{"prompt", func(c *llm.Config) { c.Prompt += "!" }, true},
		{"system", func(c *llm.Config) { c.System = "Be brief." }, true},
		{"model", func(c *llm.Config) { c.Model = "gpt-4.1" }, true},
		{"temperature", func(c *llm.Config) { c.Temperature = ptr(0.5) }, true},
		{"max_tokens", func(c *llm.Config) { c.MaxTokens = 100 }, true},
		{"extra", func(c *llm.Config) { c.Extra = map[string]any{"top_k": 1} }, true},
		{"path of base_url", func(c *llm.Config) { c.BaseURL += "/eu" }, true},
		{"provider", func(c *llm.Config) { c.Provider = llm.ProviderAnthropic }, true},
		{"api_version", func(c *llm.Config) { c.APIVersion = "2030-01-01" }, true},
		{"header", func(c *llm.Config) { c.Headers = map[string]pipeline.Secret{"X-Beta": "on"} }, true},
		{"api_key", func(c *llm.Config) { c.APIKey = "sk-another-9876" }, false},
		{"key in a header", func(c *llm.Config) {
			c.APIKey, c.Headers = "", map[string]pipeline.Secret{"authorization": "Bearer sk-another-9876"}
		}, false},
		{"organization", func(c *llm.Config) { c.Organization = "org-1" }, false},
		{"output", func(c *llm.Config) { c.Output = "city" }, false},
		{"accept_finish takes more", func(c *llm.Config) { c.AcceptFinish = []string{"length", "stop"} }, false},
		{"accept_finish no longer takes it", func(c *llm.Config) { c.AcceptFinish = []string{"length"} }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(200, fine))
			config := cachedIn(p, filepath.Join(t.TempDir(), "answers.db"))
			if _, err := once(t, config, france()); err != nil {
				t.Fatal(err)
			}
			c.change(&config)
			_, _ = once(t, config, france()) // what comes of it is not the matter here
			if got := p.count() > 1; got != c.asks {
				t.Errorf("asked again: got %v, want %v", got, c.asks)
			}
		})
	}
}

func TestOnlyAnswersThatCountAreKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"cut off", says(200, strings.Replace(fine, `"stop"`, `"length"`, 1))},
		{"empty", says(200, strings.Replace(fine, `"Paris"`, `""`, 1))},
		{"refusal", says(200, strings.Replace(fine, `"refusal":null`, `"refusal":"no"`, 1))},
		{"error", says(500, `{"error":{"message":"broken"}}`)},
		{"not JSON", says(200, "<html>")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, c.answer)
			config := cachedIn(p, filepath.Join(t.TempDir(), "answers.db"))
			for range 2 {
				if got, err := once(t, config, france()); err == nil {
					t.Errorf("got %s, want an error", got)
				}
			}
			if p.count() != 2 {
				t.Errorf("requests: got %d, want 2", p.count())
			}
			if n := kept(t, config); n != 0 {
				t.Errorf("kept: got %d answers, want none", n)
			}
		})
	}
}

// kept is how many answers are in a cache that nobody has open.
func kept(t *testing.T, c llm.Config) int64 {
	t.Helper()
	file, err := cache.OpenExisting(string(c.Cache), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	stats, err := file.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return stats.Values
}

func TestStagesShareTheFile(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, fine))
	config := cachedIn(p, filepath.Join(t.TempDir(), "answers.db"))
	env := pipeline.Env{Shared: new(pipeline.Shared)}
	first, second := stage(t, config, env), stage(t, config, env)
	for _, s := range []*llm.Stage{first, second} {
		if _, err := ask(t, s, france()); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, second, france()); err != nil {
		t.Errorf("after the other stage was closed: %v", err)
	}
	if p.count() != 1 {
		t.Errorf("requests: got %d, want 1", p.count())
	}
	if e := failed(t, first, france()); e.Class != pipeline.ClassFatal || e.Code != "closed" {
		t.Errorf("a closed stage: %v, want the fatal error closed", e)
	}
}

func TestCacheThatCannotBeUsedCostsNothing(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, fine))
	path := filepath.Join(t.TempDir(), "notes.txt")
	const notes = "these are my notes, and no cache"
	if err := os.WriteFile(path, []byte(strings.Repeat(notes, 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := stage(t, cachedIn(p, path), pipeline.Env{})
	e := failed(t, s, france())
	if e.Class != pipeline.ClassFatal || !strings.Contains(e.Error(), path) || !strings.Contains(e.Error(), "delete it") {
		t.Errorf("got %v (%v), want a fatal error with the path and what to do", e, e.Class)
	}
	if p.count() != 0 {
		t.Errorf("%d requests were made", p.count())
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != strings.Repeat(notes, 1000) {
		t.Errorf("the file was changed: %v", err)
	}
}

// TestNothingIsOpenedForNothing: New does no I/O.
func TestNothingIsOpenedForNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "answers.db")
	if err := stage(t, cachedIn(serve(t, says(200, fine)), path), pipeline.Env{}).Rehearse(france()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

// TestIdenticalRequestsAreSentOnce: the first request is held back until all rows
// have come in.
func TestIdenticalRequestsAreSentOnce(t *testing.T) {
	t.Parallel()
	const rows = 8
	for _, c := range []struct {
		name     string
		first    http.HandlerFunc // how the first request ends; the others are fine
		requests int
		free     int
	}{
		{"all get the answer", says(200, fine), 1, rows - 1},
		{"a failure is the first row's alone", says(500, "{}"), rows, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var firstOnly sync.Once
			held, release := make(chan struct{}), make(chan struct{})
			p := serve(t, func(w http.ResponseWriter, r *http.Request) {
				answer := says(200, fine)
				firstOnly.Do(func() {
					close(held)
					<-release
					answer = c.first
				})
				answer(w, r)
			})
			config := capital(p)
			config.Coalesce = true
			s := stage(t, config, pipeline.Env{})
			var all sync.WaitGroup
			var mu sync.Mutex
			free, lost := 0, 0
			one := func() {
				got, err := ask(t, s, france())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					lost++
				}
				if strings.HasSuffix(got, `"answer":"Paris","answer_cached":true}`) {
					free++
				}
			}
			all.Go(one)
			<-held
			for range rows - 1 {
				all.Go(one)
			}
			llm.AwaitWaiting(s, rows-1)
			close(release)
			all.Wait()
			if wantLost := min(1, c.requests-1); p.count() != c.requests || free != c.free || lost != wantLost {
				t.Errorf("requests %d, free %d, lost %d; want %d, %d, %d", p.count(), free, lost, c.requests, c.free, wantLost)
			}
			if got := s.Usage()["shared_answers"]; got != int64(c.free) {
				t.Errorf("shared_answers: got %d, want %d", got, c.free)
			}
		})
	}
}

func TestWaitingForAnotherRowEndsWithTheContext(t *testing.T) {
	t.Parallel()
	held, release := make(chan struct{}), make(chan struct{})
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(held)
		<-release
		says(200, fine)(w, r)
	})
	config := capital(p)
	config.Coalesce = true
	s := stage(t, config, pipeline.Env{})
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := ask(t, s, france()); err != nil {
			t.Errorf("the first row: %v", err)
		}
	})
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Process(ctx, france()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	close(release)
	first.Wait()
}

func TestCacheKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"true": ".rowmill/cache.db", "True": ".rowmill/cache.db", "false": "false", "x/y.db": "x/y.db", "yes": "error", "": "error", "off": "error",
	} {
		var c llm.Cache
		got := "error"
		if err := c.UnmarshalText([]byte(text)); err == nil {
			got = c.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCachedFieldIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		config     llm.Config
	}{
		{"without a cache", "cached: does nothing without cache or coalesce", llm.Config{Cached: "known"}},
		{"the answer's", "cached: answer is the field of the answer already", llm.Config{Coalesce: true, Cached: "answer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.config.Provider, c.config.Prompt = "simulator", "hi"
			if _, err := llm.New(c.config, pipeline.Env{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestShapeWithCache(t *testing.T) {
	t.Parallel()
	s := stage(t, llm.Config{Provider: "simulator", Prompt: "hi", Output: "verdict", Coalesce: true}, pipeline.Env{})
	if f, ok := s.Shape(pipeline.Shape{Closed: true}).Lookup("verdict_cached"); !ok || f.Type != pipeline.BoolType {
		t.Errorf("got %+v, %v", f, ok)
	}
}

// TestAnswerOfAnyEndpointCounts: what one endpoint has answered is kept as its own, and is
// found by every stage that might have asked it.
func TestAnswerOfAnyEndpointCounts(t *testing.T) {
	t.Parallel()
	a, b := serve(t, says(200, fine)), serve(t, says(200, fine))
	config := cachedIn(b, filepath.Join(t.TempDir(), "answers.db"))
	if _, err := once(t, config, france()); err != nil {
		t.Fatal(err)
	}
	config.Endpoints = []llm.EndpointConfig{{BaseURL: a.url + "/v1"}, {BaseURL: b.url + "/v1"}}
	if got, err := once(t, config, france()); err != nil || !strings.HasSuffix(got, `"answer_cached":true}`) {
		t.Errorf("of two: got %s, %v, want the answer that is kept", got, err)
	}
	config.Endpoints = config.Endpoints[:1]
	if got, err := once(t, config, france()); err != nil || !strings.HasSuffix(got, `"answer_cached":false}`) {
		t.Errorf("of another one: got %s, %v, want an answer of its own", got, err)
	}
	if a.count() != 1 || b.count() != 1 {
		t.Errorf("requests: got %d and %d, want 1 each", a.count(), b.count())
	}
}

// TestAnswerIsKeptForTheEndpointThatGaveIt: of two, the second is asked; what it said is
// found by who asks it alone, and not by who asks the first.
func TestAnswerIsKeptForTheEndpointThatGaveIt(t *testing.T) {
	t.Parallel()
	first, second := serve(t, says(200, fine)), serve(t, says(200, fine))
	config := cachedIn(second, filepath.Join(t.TempDir(), "answers.db"))
	both := config
	both.Endpoints = []llm.EndpointConfig{{BaseURL: first.url + "/v1", Priority: 2}, {BaseURL: second.url + "/v1", Priority: 1}}
	s := stage(t, both, pipeline.Env{})
	spread := policy.New(policy.Settings{StepOptions: policy.Defaults(pipeline.StepOptions{}, pipeline.Waits), Endpoints: s.Endpoints()})
	ctx, _ := spread.Begin(t.Context())
	if _, err := s.Process(ctx, france()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if first.count() != 0 || second.count() != 1 {
		t.Fatalf("requests: got %d and %d, want the second asked, once", first.count(), second.count())
	}
	if got, err := once(t, config, france()); err != nil || !strings.HasSuffix(got, `"answer_cached":true}`) {
		t.Errorf("of the second alone: got %s, %v, want the answer that is kept", got, err)
	}
	config.BaseURL = first.url + "/v1"
	if got, err := once(t, config, france()); err != nil || !strings.HasSuffix(got, `"answer_cached":false}`) {
		t.Errorf("of the first alone: got %s, %v, want an answer of its own", got, err)
	}
	if first.count() != 1 || second.count() != 1 {
		t.Errorf("requests: got %d and %d, want 1 each", first.count(), second.count())
	}
}
