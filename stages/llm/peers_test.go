//go:build peers

package llm_test

import (
	"cmp"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// ollama returns a config for the Ollama at $ROWMILL_OLLAMA, with its first model.
//
//	go test -tags peers ./stages/llm -run Ollama
func ollama() llm.Config {
	return llm.Config{
		BaseURL: cmp.Or(os.Getenv("ROWMILL_OLLAMA"), "http://127.0.0.1:11434/v1"),
		Model:   cmp.Or(os.Getenv("ROWMILL_OLLAMA_MODEL"), "stories"),
		Prompt:  "Once upon a time there was {{.who}}",
	}
}

func TestOllama(t *testing.T) {
	t.Parallel()
	c := ollama()
	c.MaxTokens, c.Temperature, c.Seed, c.AcceptFinish = 12, ptr(0.0), ptr(1), []string{"stop", "length"}
	s := stage(t, c, pipeline.Env{})
	s.Scale(8)
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	who := []string{"a girl", "a \"dog\"\n", "an owl 🦉", "a boy named Tim", "a king", "a cat", "a bear", "a fish"}
	answers := make([]string, len(who))
	for round := range 2 {
		var workers sync.WaitGroup
		for i := range who {
			workers.Go(func() {
				got, err := ask(t, s, row("who", who[i]))
				if err != nil {
					t.Errorf("%s: %v", who[i], err)
				}
				if round == 1 && got != answers[i] {
					t.Errorf("%s: temperature 0 gives\n%s\nand\n%s", who[i], answers[i], got)
				}
				answers[i] = got
			})
		}
		workers.Wait()
	}
	t.Log(strings.Join(answers, "\n"))
	if got := s.Usage(); got["input_tokens"] == 0 || got["output_tokens"] == 0 {
		t.Errorf("usage: %v", got)
	}
}

func TestOllamaCutsOff(t *testing.T) {
	t.Parallel()
	c := ollama()
	c.MaxTokens = 3
	if e := failed(t, stage(t, c, pipeline.Env{}), row("who", "a girl")); e.Code != "finish_length" || e.Answer == "" {
		t.Errorf("got %q with %q: %v", e.Code, e.Answer, e)
	}
}

func TestOllamaLacksTheModel(t *testing.T) {
	t.Parallel()
	c := ollama()
	c.Model = "storys"
	s := stage(t, c, pipeline.Env{})
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "did you mean") {
		t.Errorf("probe: %v", err)
	}
	if e := failed(t, s, row("who", "a girl")); e.Class != pipeline.ClassFatal || !strings.Contains(e.Error(), `"storys" not found`) {
		t.Errorf("row: %v %v", e.Class, e)
	}
}

func TestOllamaTakesOpenAIsKeyFromNobody(t *testing.T) {
	t.Parallel()
	env := pipeline.Env{Getenv: func(string) string { return secret }}
	s := stage(t, ollama(), env)
	request := llm.Capture(s, func() { _ = s.Probe(t.Context()) })
	if h := request.Header; h.Get("Authorization") != "" || h.Get("Api-Key") != "" {
		t.Errorf("a key is sent: %v", h)
	}
}
