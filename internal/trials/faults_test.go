// Package trials runs whole jobs against servers over TCP and holds the output
// against the input by a join of its own.
package trials

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// run loads a pipeline and runs it.
func run(t *testing.T, yaml string) (engine.Summary, error) {
	t.Helper()
	registry, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	p, err := load.Bytes("trial.yaml", []byte(yaml), load.Options{Registry: registry})
	if err != nil {
		t.Fatalf("the trial's own pipeline:\n%v", err)
	}
	return engine.Run(t.Context(), p, engine.Options{Preflight: true})
}

// adds checks that every leaf has ended, and as what.
func adds(t *testing.T, c engine.Counts) {
	t.Helper()
	if in, out := c.Read+c.Made-c.Merged, c.Delivered+c.Dropped+c.DroppedOnError+c.DeadLettered+c.Unfinished; in != out {
		t.Errorf("the counts do not add up: %+v", c)
	}
}

// objects reads a file of JSON lines.
func objects(t *testing.T, path string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	for i, line := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n") {
		if line == "" {
			continue
		}
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%s:%d: %v", path, i+1, err)
		}
		rows = append(rows, row)
	}
	return rows
}

// serve starts a simulator.
func serve(t *testing.T, o simulator.Options) (*simulator.Server, string) {
	t.Helper()
	s := simulator.New(o)
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, url
}

// TestEveryTransientFaultAtOnce: 3 % of each, and every row is delivered with its
// own answer.
func TestEveryTransientFaultAtOnce(t *testing.T) {
	t.Parallel()
	everyFault(t, 800)
}

func everyFault(t *testing.T, rows int) {
	t.Helper()
	s, url := serve(t, simulator.Options{Faults: simulator.Transient(0.03)})
	out := filepath.Join(t.TempDir(), "out.jsonl")
	summary, err := run(t, fmt.Sprintf(`
source: {range: {from: 1, to: %d, field: n}}
stages:
  - llm: {model: m, base_url: %q, prompt: "Tell me a fact about number {{.n}}", output: fact}
    parallelism: 64
    timeout: 2s
    retry: {attempts: 12, backoff: 20ms}
sink: {file: {path: %q}}
`, rows, url, out))
	if err != nil {
		t.Fatal(err)
	}
	adds(t, summary.Counts)
	if summary.Counts.Delivered != int64(rows) {
		t.Errorf("delivered %d of %d: %+v", summary.Counts.Delivered, rows, summary.Reasons)
	}
	for i, row := range objects(t, out) {
		n := fmt.Sprint(row["n"])
		if n != fmt.Sprint(i+1) {
			t.Fatalf("row %d is number %s", i+1, n)
		}
		want := simulator.Answer(0, "m", simulator.Message{Role: "user", Content: "Tell me a fact about number " + n})
		if row["fact"] != want {
			t.Errorf("number %s has the answer %q, want %q", n, row["fact"], want)
		}
	}
	l := s.Ledger()
	for kind, count := range l.Faults {
		if count == 0 {
			t.Errorf("no request met %s", kind)
		}
	}
	if l.Faults["hang"] == 0 || l.Faults["endless_body"] == 0 || l.Faults["reset"] == 0 {
		t.Errorf("the trial has lost its point: %v", l.Faults)
	}
}

// TestSpentQuotaStopsTheRun at once, with the provider's words, and what was
// answered before is delivered. It takes 0.2 s on an idle machine.
func TestSpentQuotaStopsTheRun(t *testing.T) {
	s, url := serve(t, simulator.Options{QuotaAfter: 200, Latency: pipeline.Duration(20 * time.Millisecond)})
	out := filepath.Join(t.TempDir(), "out.jsonl")
	began := time.Now()
	summary, err := run(t, fmt.Sprintf(`
source: {range: {from: 1, to: 1000000, field: n}}
stages:
  - llm: {model: m, base_url: %q, prompt: "{{.n}}", output: answer}
    parallelism: 32
sink: {file: {path: %q}}
`, url, out))
	if err == nil || !strings.Contains(err.Error(), "exceeded your current quota") {
		t.Errorf("error %v, want the provider's words about the quota", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	adds(t, summary.Counts)
	if l := s.Ledger(); l.Requests > 300 {
		t.Errorf("%d requests were sent, 200 could be answered", l.Requests)
	}
	if got := len(objects(t, out)); int64(got) != summary.Counts.Delivered || got < 100 {
		t.Errorf("%d rows written, %d delivered", got, summary.Counts.Delivered)
	}
}
