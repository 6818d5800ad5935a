//go:build peers

package trials

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
)

// These trials meet servers that nobody here wrote: aimock, an OpenAI-compatible server
// with faults to order and a journal of its requests, and toxiproxy, which spoils
// connections. They need
//
//	ROWMILL_AIMOCK     aimock, with a journal without end (--journal-max 0); defaults to http://127.0.0.1:4010
//	ROWMILL_TOXIPROXY  its control port; defaults to http://127.0.0.1:8474
//	ROWMILL_TOXIC      an address that toxiproxy may listen on; defaults to 127.0.0.1:14010
//
//	go test -tags peers ./internal/trials -run Peer -v
//
// They take turns: both servers are shared.

func aimock() string    { return cmp.Or(os.Getenv("ROWMILL_AIMOCK"), "http://127.0.0.1:4010") }
func toxiproxy() string { return cmp.Or(os.Getenv("ROWMILL_TOXIPROXY"), "http://127.0.0.1:8474") }
func toxic() string     { return cmp.Or(os.Getenv("ROWMILL_TOXIC"), "127.0.0.1:14010") }

// tell makes a request that must succeed and returns the answer.
func tell(t *testing.T, method, url, body string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("is it there? %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %v: %s", method, url, response.Status, err, answer)
	}
	return answer
}

// chaos has aimock make faults until the test ends, and returns how long its journal is.
func chaos(t *testing.T, faults string) (before int) {
	t.Helper()
	tell(t, http.MethodPost, aimock()+"/__aimock/chaos", faults)
	t.Cleanup(func() {
		request, err := http.NewRequest(http.MethodDelete, aimock()+"/__aimock/chaos", bytes.NewReader(nil))
		if err == nil {
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}
	})
	return len(journal(t, 0))
}

// entry is a request in aimock's journal.
type entry struct {
	Timestamp int64  `json:"timestamp"`
	Path      string `json:"path"`
	Response  struct {
		Status int `json:"status"`
	} `json:"response"`
}

// journal returns what aimock was asked since.
func journal(t *testing.T, before int) []entry {
	t.Helper()
	var all, asked []entry
	if err := json.Unmarshal(tell(t, http.MethodGet, aimock()+"/__aimock/journal", ""), &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if strings.HasSuffix(e.Path, "/chat/completions") {
			asked = append(asked, e)
		}
	}
	return asked[before:]
}

// through has toxiproxy stand in front of aimock, with these toxics, and returns the
// address.
func through(t *testing.T, toxics ...string) string {
	t.Helper()
	proxies := toxiproxy() + "/proxies"
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, proxies+"/rowmill", http.NoBody)
	if response, err := http.DefaultClient.Do(request); err == nil {
		_ = response.Body.Close()
	}
	tell(t, http.MethodPost, proxies, fmt.Sprintf(`{"name":"rowmill","listen":%q,"upstream":%q,"enabled":true}`, toxic(), strings.TrimPrefix(aimock(), "http://")))
	for _, toxic := range toxics {
		tell(t, http.MethodPost, proxies+"/rowmill/toxics", toxic)
	}
	return "http://" + toxic() + "/v1"
}

// TestPeerFaults: five in a hundred requests are refused, fail, end in the middle or make
// no sense; every row is answered.
func TestPeerFaults(t *testing.T) {
	before := chaos(t, `{"dropRate":0.05,"malformedRate":0.05,"disconnectRate":0.05}`)
	const rows = 3000
	began := time.Now()
	stage := ask(t, aimock()+"/v1", rows, "parallelism: 64", "retry: {attempts: 12, backoff: 20ms}")
	fine := 0
	for _, e := range journal(t, before) {
		if e.Response.Status == http.StatusOK {
			fine++
		}
	}
	if stage.Retries == 0 || stage.Attempts != rows+stage.Retries {
		t.Errorf("%+v: want a retry for each fault", stage)
	}
	t.Logf("%d rows, %d attempts, %d retries, %s; the journal has %d answers", rows, stage.Attempts, stage.Retries, time.Since(began).Round(time.Millisecond), fine)
}

// TestPeerRefusals: Retry-After is respected by all, and no attempt is spent. The limits
// that aimock tells of on a refusal (60 a minute, tokens in 6 minutes) are left out, as
// they would be held to.
func TestPeerRefusals(t *testing.T) {
	before := chaos(t, `{"rateLimitRate":0.2}`)
	const rows = 20
	summary, err := run(t, fmt.Sprintf(`
source: {range: {from: 1, to: %d}}
stages:
  - llm: {model: gpt-4o, base_url: %q, prompt: "{{.i}}", output: o, rate_limit: {requests_per_minute: off, tokens_per_minute: off}}
    parallelism: 8
sink: {discard: {}}
`, rows, aimock()+"/v1"))
	if err != nil || summary.Counts.Delivered != rows {
		t.Fatal(summary.Counts, err)
	}
	stage := summary.Stages[0]
	var refusedAt int64
	early := 0
	for _, e := range journal(t, before) {
		if refusedAt > 0 && e.Timestamp-refusedAt > 200 && e.Timestamp-refusedAt < 950 {
			early++
		}
		if e.Response.Status == http.StatusTooManyRequests {
			refusedAt = e.Timestamp
		}
	}
	if early > 0 || stage.Retries > 0 {
		t.Errorf("%d requests in the second after a refusal that asked for it; %+v", early, stage)
	}
	t.Logf("%+v", stage)
}

// TestPeerOutage: nobody is there for 30 seconds in the middle of a job.
func TestPeerOutage(t *testing.T) {
	chaos(t, `{"latencyMs":20}`)
	url := through(t)
	const rows = 4000
	enable := func(yes bool) {
		response, err := http.Post(toxiproxy()+"/proxies/rowmill", "application/json", strings.NewReader(fmt.Sprintf(`{"enabled":%t}`, yes)))
		if err == nil {
			_ = response.Body.Close()
		}
	}
	time.AfterFunc(500*time.Millisecond, func() { enable(false) })
	time.AfterFunc(30*time.Second+500*time.Millisecond, func() { enable(true) })
	began := time.Now()
	stage := ask(t, url, rows, "parallelism: 64", "breaker: {open_for: 2s}")
	took := time.Since(began)
	// Those on the wire when it began, those that opened the breaker, and the probes.
	if most := int64(64 + 64 + 30); took < 30*time.Second || stage.Retries > most {
		t.Errorf("took %s with %d retries, want %d at most", took, stage.Retries, most)
	}
	t.Logf("%s, %d attempts, %d retries", took.Round(time.Millisecond), stage.Attempts, stage.Retries)
}

// TestPeerHangs: connections that go dead, and some that trickle; the bounds of the parts
// of an attempt find both.
func TestPeerHangs(t *testing.T) {
	chaos(t, `{}`)
	url := through(t,
		`{"type":"timeout","stream":"downstream","toxicity":0.02,"attributes":{"timeout":0}}`,
		`{"type":"slicer","stream":"downstream","toxicity":0.02,"attributes":{"average_size":8,"size_variation":1,"delay":1000000}}`)
	const rows = 2000
	began := time.Now()
	stage := ask(t, url, rows, "parallelism: 64", "timeout: {connect: 2s, first_byte: 2s, idle: 500ms, total: 20s}", "retry: {backoff: 20ms}")
	took := time.Since(began)
	if took > time.Minute {
		t.Errorf("took %s", took)
	}
	t.Logf("%s, %d attempts, %d retries", took.Round(time.Millisecond), stage.Attempts, stage.Retries)
}

// TestTailOfStragglers: with hedging the 99.5th percentile comes in less than half the
// time. It is a matter of time, and so not for a machine that is busy.
func TestTailOfStragglers(t *testing.T) {
	without, _, _ := stragglers(t, 1400)
	with, stage, _ := stragglers(t, 1400, "hedge: {after: p95}")
	if with*2 > without || stage.Hedges > 1400/20 {
		t.Errorf("the 99.5th percentile is %v with hedging and %v without, want at most half: %d hedges", with, without, stage.Hedges)
	}
	t.Logf("the 99.5th percentile is %v with hedging and %v without; %d hedges", with, without, stage.Hedges)
}

// TestPeerEndpoints: of two ways to aimock one dies in the middle of a job. Every row is
// answered by the other, and nothing is a dead letter.
func TestPeerEndpoints(t *testing.T) {
	chaos(t, `{"latencyMs":20}`)
	url := through(t)
	const rows = 3000
	time.AfterFunc(700*time.Millisecond, func() {
		response, err := http.Post(toxiproxy()+"/proxies/rowmill", "application/json", strings.NewReader(`{"enabled":false}`))
		if err == nil {
			_ = response.Body.Close()
		}
	})
	summary, err := run(t, fmt.Sprintf(`
source: {range: {from: 1, to: %d}}
stages:
  - llm: {model: gpt-4o, prompt: "{{.i}}", output: o, endpoints: [{base_url: %q}, {base_url: %q}]}
    parallelism: 32
sink: {discard: {}}
`, rows, url, aimock()+"/v1"))
	if err != nil || summary.Counts.Delivered != rows {
		t.Fatal(summary.Counts, summary.Reasons, err)
	}
	t.Logf("%+v", summary.Stages[0])
}

// TestLongFaults and the next take too long for every day.
func TestLongFaults(t *testing.T) { everyFault(t, 5000) }

func TestLongRetryAfter(t *testing.T) { retryAfter(t, 20*time.Second) }
