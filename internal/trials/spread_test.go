package trials

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// askAll runs a job of so many rows that may be asked of several endpoints, each row of
// which must be delivered, and once.
func askAll(t *testing.T, rows int, endpoints ...string) engine.StageSummary {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.jsonl")
	summary, err := run(t, fmt.Sprintf(`
source: {range: {from: 1, to: %d, field: n}}
stages:
  - llm:
      model: m
      prompt: "Tell me a fact about number {{.n}}"
      output: fact
      endpoints: [%s]
    parallelism: 32
    breaker: {open_for: 500ms}
sink: {file: {path: %q}}
`, rows, strings.Join(endpoints, ", "), out))
	if err != nil {
		t.Fatal(err)
	}
	adds(t, summary.Counts)
	seen := map[any]int{}
	for _, row := range objects(t, out) {
		seen[row["n"]]++
	}
	if summary.Counts.Delivered != int64(rows) || summary.Counts.DeadLettered != 0 || len(seen) != rows {
		t.Errorf("delivered %d of %d rows, %d different ones: %+v", summary.Counts.Delivered, rows, len(seen), summary.Reasons)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("row %v is there %d times", n, times)
		}
	}
	return summary.Stages[0]
}

// TestOneOfTwoDies: one of two servers goes away mid-run and does not come back; all
// rows are delivered, each once.
func TestOneOfTwoDies(t *testing.T) {
	t.Parallel()
	const rows, before = 2000, 200
	latency := simulator.Options{Latency: pipeline.Duration(20 * time.Millisecond)}
	var o *outage
	s1, url := front(t, latency, func(_ http.ResponseWriter, n int64, pass func()) {
		if n == before {
			o.set(true)
		}
		pass()
	})
	o, through := proxied(t, url)
	s2, alive := serve(t, latency)
	stage := askAll(t, rows, fmt.Sprintf("{base_url: %q, region: dies}", through), fmt.Sprintf("{base_url: %q, region: lives}", alive))
	const underway = 64 // may be answered after it was cut off
	if l := s1.Ledger(); l.Answered > before+underway || l.Answered < before/2 {
		t.Errorf("the one that dies answered %d, want about %d", l.Answered, before)
	}
	if l := s2.Ledger(); l.Answered < rows-before-underway {
		t.Errorf("the other answered %d of %d", l.Answered, rows)
	}
	// What was under way, what opens the breaker, and probes.
	if turned := o.turnedAway(); turned == 0 || turned > 100 {
		t.Errorf("%d requests were sent to the dead one", turned)
	}
	if len(stage.Endpoints) != 2 || stage.Endpoints[0].Name != "dies" || stage.Endpoints[0].Attempts+stage.Endpoints[1].Attempts != stage.Attempts {
		t.Errorf("the summary says %+v of %d attempts", stage.Endpoints, stage.Attempts)
	}
}

// TestOneBadKey: the endpoint is left out, the run goes on without it. One whose quota is
// spent mid-run too.
func TestOneBadKey(t *testing.T) {
	t.Parallel()
	const rows, quota = 300, 50
	locked, bad := serve(t, simulator.Options{APIKey: "sk-another-one"})
	spent, poor := serve(t, simulator.Options{QuotaAfter: quota})
	_, good := serve(t, simulator.Options{Latency: pipeline.Duration(5 * time.Millisecond)})
	stage := askAll(t, rows, fmt.Sprintf("{base_url: %q}", bad), fmt.Sprintf("{base_url: %q}", poor), fmt.Sprintf("{base_url: %q, priority: 1}", good))
	for i, want := range []string{"set api_key", "quota", ""} {
		if got := stage.Endpoints[i].Out; !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("endpoint %d: out because of %q, want something with %q", i, got, want)
		}
	}
	if l := locked.Ledger(); l.Answered != 0 || l.Rejected > 32 {
		t.Errorf("the one with the bad key: %+v", l)
	}
	if l := spent.Ledger(); l.Answered != quota {
		t.Errorf("the one with the quota answered %d, want %d", l.Answered, quota)
	}
	if stage.Retries != 0 {
		t.Errorf("%d retries, want none: no attempt is lost to what is taken out", stage.Retries)
	}
}
