package simulator

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkServeHTTP is what a request costs in the simulator itself.
func BenchmarkServeHTTP(b *testing.B) {
	for name, prompt := range map[string]string{"small": "Tell me a fact about number 7", "20KB": strings.Repeat("All work and no play. ", 900)} {
		b.Run(name, func(b *testing.B) {
			s := New(Options{RequestsPerMinute: 1 << 30})
			body := ask(prompt)
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://x/v1/chat/completions", nil)
			if err != nil {
				b.Fatal(err)
			}
			w := discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(strings.NewReader(body))
				s.ServeHTTP(w, r)
			}
			if got := s.Ledger().Answered; got != int64(b.N) {
				b.Fatalf("got %d answers, want %d", got, b.N)
			}
		})
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkLoopback is how much comes through over TCP, client and server in one
// process, 64 requests at once.
func BenchmarkLoopback(b *testing.B) {
	s, base, client := started(b, Options{})
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			resp, err := client.Post(base+"/chat/completions", "application/json", strings.NewReader(ask("Tell me a fact about number 7")))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	if got := s.Ledger().Connections; got > 65 {
		b.Errorf("got %d connections, want at most 65", got)
	}
}
