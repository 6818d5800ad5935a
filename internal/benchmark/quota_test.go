package benchmark

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages/llm"
)

// meter notes when what was asked of a server, and how that ended.
type meter struct {
	*simulator.Server

	mu              sync.Mutex
	first, last     time.Time // of the requests that were answered: arrival, answer
	inFlight, peak  int
	answered, wrong int
	refused         []time.Duration // since the first request
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/chat/completions") {
		m.Server.ServeHTTP(w, r)
		return
	}
	m.mu.Lock()
	if m.first.IsZero() {
		m.first = time.Now()
	}
	m.inFlight++
	m.peak = max(m.peak, m.inFlight)
	m.mu.Unlock()
	s := &status{ResponseWriter: w}
	m.Server.ServeHTTP(s, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	switch s.code {
	case http.StatusOK:
		m.last = time.Now()
		m.answered++
	case http.StatusTooManyRequests:
		m.refused = append(m.refused, time.Since(m.first).Round(time.Millisecond))
	default:
		m.wrong++
	}
}

// status notes the status of an answer.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// quota is a job that is bounded by what a server allows.
type quota struct {
	server simulator.Options
	config llm.Config
	rows   int
	text   func(i int) string
}

const perSecond = 100 // requests

// short is a text of the same length for every row.
func short(i int) string {
	return fmt.Sprintf("My order %06d has not arrived yet, and the tracking page says nothing.", i)
}

// mixed is a text of 40 to 2,000 bytes, 400 on the average.
func mixed(i int) string {
	return short(i) + strings.Repeat(" And I wait.", []int{0, 2, 5, 8, 14, 20, 30, 40, 60, 160}[i*7%10])
}

// run runs the job with everything at its default, but for the address.
func (q quota) run(tb testing.TB) (*meter, engine.Summary) {
	tb.Helper()
	q.server.Latency = pipeline.Duration(100 * time.Millisecond)
	m := &meter{Server: simulator.New(q.server)}
	server := httptest.NewServer(m)
	defer server.Close()
	defer func() { _ = m.Close() }()
	var in bytes.Buffer
	for i := range q.rows {
		fmt.Fprintf(&in, `{"id":%d,"body":%q}`+"\n", i, q.text(i))
	}
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in.jsonl"), in.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	source, err := sources.NewFile(sources.FileConfig{Path: []string{filepath.Join(dir, "in.jsonl")}}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	q.config.Model, q.config.BaseURL, q.config.System, q.config.Prompt = "simulated", server.URL+"/v1", system, prompt+"{{.body}}"
	ask, err := llm.New(q.config, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: filepath.Join(dir, "out.jsonl")}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	summary, err := engine.Run(tb.Context(), pipeline.Pipeline{
		Source: source, Sink: sink,
		Steps: []pipeline.Step{{Stage: ask, StepOptions: pipeline.StepOptions{Name: "ask", Parallelism: 64}}},
	}, engine.Options{Fresh: true})
	if err != nil {
		tb.Fatal(err)
	}
	if summary.Counts.Delivered != int64(q.rows) {
		tb.Errorf("%d of %d rows delivered: %+v", summary.Counts.Delivered, q.rows, summary.Reasons)
	}
	return m, summary
}

// BenchmarkQuota is a job that is bounded by what the server allows, 100 requests a
// second or 10,000 tokens, each of which takes 100 ms, with nothing configured but
// the address and parallelism 64. Of what is allowed from the first request to the
// last answer, used-% was used; refused-% of the requests were.
//
//	go test ./internal/benchmark -run '^$' -bench Quota -benchtime 1x
func BenchmarkQuota(b *testing.B) {
	const rpm, tpm = 60 * perSecond, 600_000
	minute := pipeline.Duration(time.Minute)
	for _, q := range []struct {
		name string
		quota
	}{
		{"requests", quota{server: simulator.Options{RequestsPerMinute: rpm}}},
		{"requests/azure", quota{server: simulator.Options{RequestsPerMinute: rpm, Dialect: simulator.DialectAzure}}},
		{"requests/anthropic", quota{server: simulator.Options{RequestsPerMinute: rpm, Dialect: simulator.DialectAnthropic}}},
		{"requests/minute", quota{server: simulator.Options{RequestsPerMinute: rpm, LimitWindow: minute}}},
		{"tokens", quota{server: simulator.Options{TokensPerMinute: tpm, LatencySpread: 0.5}, text: mixed}},
		{"tokens/max_tokens", quota{server: simulator.Options{TokensPerMinute: 3 * tpm, LatencySpread: 0.5}, text: mixed, config: llm.Config{MaxTokens: 200}}},
		{"tokens/anthropic", quota{server: simulator.Options{TokensPerMinute: tpm, LatencySpread: 0.5, Dialect: simulator.DialectAnthropic}, text: mixed}},
		{"tokens/anthropic/minute", quota{server: simulator.Options{TokensPerMinute: tpm, LatencySpread: 0.5, Dialect: simulator.DialectAnthropic, LimitWindow: minute}, text: mixed}},
		{"tokens/minute", quota{server: simulator.Options{TokensPerMinute: tpm, LatencySpread: 0.5, LimitWindow: minute}, text: mixed}},
		{"blind", quota{server: simulator.Options{RequestsPerMinute: rpm, Dialect: simulator.DialectPlain}}},
		{"blind/tokens", quota{server: simulator.Options{TokensPerMinute: tpm, LatencySpread: 0.5, Dialect: simulator.DialectPlain}, text: mixed}},
	} {
		if q.rows = 1200; q.text == nil {
			q.rows, q.text = 1500, short
		}
		b.Run(q.name, func(b *testing.B) {
			for range b.N {
				m, summary := q.run(b)
				took := m.last.Sub(m.first)
				b.ReportMetric(100*q.used(m)/took.Minutes(), "used-%")
				b.ReportMetric(100*float64(len(m.refused))/float64(len(m.refused)+m.answered), "refused-%")
				b.ReportMetric(took.Seconds(), "s")
				b.ReportMetric(float64(m.peak), "peak-in-flight")
				b.ReportMetric(0, "ns/op")
				b.Logf("%s; refused at %v", fmt.Sprintf("%+v", summary.Stages), m.refused[:min(len(m.refused), 30)])
			}
		})
	}
}

// used is how many minutes' worth of the quota were used.
func (q quota) used(m *meter) float64 {
	if q.server.RequestsPerMinute > 0 {
		return float64(m.answered) / float64(q.server.RequestsPerMinute)
	}
	tokens := int(m.Ledger().PromptTokens) + m.answered*q.config.MaxTokens
	return float64(tokens) / float64(q.server.TokensPerMinute)
}
