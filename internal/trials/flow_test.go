package trials

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// ask runs a job of so many rows, each of which must be delivered. The keys stand
// beside the stage.
func ask(t *testing.T, url string, rows int, keys ...string) engine.StageSummary {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.jsonl")
	summary, err := run(t, fmt.Sprintf(`
source: {range: {from: 1, to: %d, field: n}}
stages:
  - llm: {model: gpt-4o, base_url: %q, prompt: "Tell me a fact about number {{.n}}", output: fact}
    %s
sink: {file: {path: %q}}
`, rows, url, strings.Join(keys, "\n    "), out))
	if err != nil {
		t.Fatal(err)
	}
	adds(t, summary.Counts)
	if written := len(objects(t, out)); summary.Counts.Delivered != int64(rows) || written != rows {
		t.Errorf("delivered %d of %d rows, wrote %d: %+v", summary.Counts.Delivered, rows, written, summary.Reasons)
	}
	return summary.Stages[0]
}

// few fails if more than a share of the requests were refused.
func few(t *testing.T, l simulator.Ledger, most float64) {
	t.Helper()
	if share := float64(l.Refused) / float64(l.Requests); share > most {
		t.Errorf("%d of %d requests were refused (%.1f%%), want at most %.1f%%", l.Refused, l.Requests, 100*share, 100*most)
	}
}

// TestQuotas: what the server allows is not overrun, with nothing configured, and no
// attempt is lost by it. How much of it is used is for the benchmarks.
func TestQuotas(t *testing.T) {
	t.Parallel()
	const latency = pipeline.Duration(50 * time.Millisecond)
	for _, tc := range []struct {
		name    string
		options simulator.Options
		refused float64 // share, at most
	}{
		{"requests", simulator.Options{RequestsPerMinute: 6000}, 0.02},
		{"tokens", simulator.Options{TokensPerMinute: 78_000}, 0.02}, // 13 tokens a row
		{"both", simulator.Options{RequestsPerMinute: 6000, TokensPerMinute: 78_000, LatencySpread: 0.5}, 0.02},
		{"requests, in seconds", simulator.Options{RequestsPerMinute: 6000, Dialect: simulator.DialectAzure}, 0.02},
		{"tokens, until a time", simulator.Options{TokensPerMinute: 78_000, Dialect: simulator.DialectAnthropic}, 0.02},
		// Without headers it takes refusals to find out, most of them at the start. Without
		// any pace every second request would be refused.
		{"requests, blind", simulator.Options{RequestsPerMinute: 6000, Dialect: simulator.DialectPlain}, 0.2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const rows = 200
			tc.options.Latency = latency
			s, url := serve(t, tc.options)
			stage := ask(t, url, rows, "parallelism: 32")
			l := s.Ledger()
			few(t, l, tc.refused)
			if l.Answered != rows || l.PaidAgain != 0 || stage.Retries != 0 || stage.Refusals != l.Refused {
				t.Errorf("want every row to be asked until it was let in, and then once: %+v, %+v", stage, l)
			}
		})
	}
}

// outage is a way to a server that can be cut: who is on it is thrown out, who comes
// is turned away, and counted.
type outage struct {
	to     string
	open   sync.WaitGroup
	mu     sync.Mutex
	cut    bool
	conns  map[net.Conn]bool
	turned int // away
}

// proxied starts an outage in front of a server.
func proxied(t *testing.T, url string) (o *outage, through string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/v1")
	o = &outage{to: host, conns: map[net.Conn]bool{}}
	o.open.Go(func() { o.accept(listener) })
	t.Cleanup(func() {
		_ = listener.Close()
		o.set(true)
		o.open.Wait()
	})
	return o, "http://" + listener.Addr().String() + "/v1"
}

func (o *outage) accept(listener net.Listener) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		if to := o.admit(from); to != nil {
			o.open.Go(func() { o.pipe(to, from) })
			o.open.Go(func() { o.pipe(from, to) })
		}
	}
}

// admit returns a connection to the server, nil if from was turned away.
func (o *outage) admit(from net.Conn) net.Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cut {
		o.turned++
		reset(from)
		return nil
	}
	to, err := net.Dial("tcp", o.to)
	if err != nil {
		reset(from)
		return nil
	}
	o.conns[from], o.conns[to] = true, true
	return to
}

func (o *outage) pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, from)
}

// set begins or ends the outage.
func (o *outage) set(cut bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cut = cut
	for c := range o.conns {
		if cut {
			reset(c)
		}
	}
}

func (o *outage) turnedAway() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.turned
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// front starts a simulator with a handler in front of it, which gets the number of
// the request, from 1, and what passes it on.
func front(t *testing.T, o simulator.Options, handle func(w http.ResponseWriter, n int64, pass func())) (*simulator.Server, string) {
	t.Helper()
	s := simulator.New(o)
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pass := func() { s.ServeHTTP(w, r) }
		if r.Method != http.MethodPost {
			pass()
			return
		}
		handle(w, n.Add(1), pass)
	}))
	t.Cleanup(func() {
		_ = s.Close()
		server.Close()
	})
	return s, server.URL + "/v1"
}

// TestOutage: while the server is away nothing but probes is sent into it, and no row
// is lost to it.
func TestOutage(t *testing.T) {
	t.Parallel()
	const rows, parallelism, away, openFor = 1500, 32, 3 * time.Second, 500 * time.Millisecond
	var o *outage
	s, url := front(t, simulator.Options{Latency: pipeline.Duration(20 * time.Millisecond)}, func(_ http.ResponseWriter, n int64, pass func()) {
		if n == 300 {
			o.set(true)
			time.AfterFunc(away, func() { o.set(false) })
		}
		pass()
	})
	o, through := proxied(t, url)
	stage := ask(t, through, rows, fmt.Sprintf("parallelism: %d", parallelism), fmt.Sprintf("breaker: {open_for: %v}", openFor))
	// Those that fail until the breaker is open (80% of 32), those that are on their way
	// then, and a probe for each open_for.
	most := 2*parallelism + int(away/openFor) + 1
	if got := o.turnedAway(); got == 0 || got > most {
		t.Errorf("%d requests were sent into the outage, want 1 to %d", got, most)
	}
	if l := s.Ledger(); l.Answered < rows || stage.Attempts > rows+int64(parallelism+most) {
		t.Errorf("%d attempts for %d rows, %d answered", stage.Attempts, rows, l.Answered)
	}
}

// TestHangs: one in a hundred requests never gets an answer; each is given up and
// asked again.
func TestHangs(t *testing.T) {
	t.Parallel()
	const rows = 1000
	s, url := serve(t, simulator.Options{Latency: pipeline.Duration(10 * time.Millisecond), Faults: simulator.Faults{Hang: 0.01}})
	stage := ask(t, url, rows, "parallelism: 32", "timeout: 500ms")
	l := s.Ledger()
	if hung := l.Faults["hang"]; hung == 0 || stage.Retries < hung || stage.Attempts != rows+stage.Retries {
		t.Errorf("%d hung; want as many retries, or more if the machine is busy: %+v", hung, stage)
	}
}

// TestStuckInTheMiddle: an answer that trickles, or does not begin, is cut by the bound of
// that part, long before the attempt is over.
func TestStuckInTheMiddle(t *testing.T) {
	t.Parallel()
	const rows = 200
	s, url := serve(t, simulator.Options{Seed: 3, Latency: pipeline.Duration(5 * time.Millisecond), Faults: simulator.Faults{Trickle: 0.02, Hang: 0.02}})
	began := time.Now()
	stage := ask(t, url, rows, "timeout: {connect: 5s, first_byte: 700ms, idle: 300ms, total: 60s}", "retry: {backoff: 10ms}", "parallelism: 32")
	if took := time.Since(began); took > 30*time.Second || stage.Retries == 0 {
		t.Errorf("took %s with %d retries, want some, and no attempt of 60s", took, stage.Retries)
	}
	if l := s.Ledger(); l.Answered < rows {
		t.Errorf("%d answers for %d rows", l.Answered, rows)
	}
}

// TestRetryAfterHoldsForAll: when one request is told to wait, nobody sends any more
// until then.
func TestRetryAfterHoldsForAll(t *testing.T) {
	t.Parallel()
	retryAfter(t, 3*time.Second)
}

func retryAfter(t *testing.T, wait time.Duration) {
	t.Helper()
	const rows, underway = 1000, time.Second
	var told atomic.Pointer[time.Time]
	var early, after atomic.Int64
	s, url := front(t, simulator.Options{Latency: pipeline.Duration(20 * time.Millisecond)}, func(w http.ResponseWriter, n int64, pass func()) {
		if at := told.Load(); at != nil {
			switch since := time.Since(*at); {
			case since >= wait:
				after.Add(1)
			case since > underway:
				early.Add(1)
			}
		}
		if n != 300 {
			pass()
			return
		}
		now := time.Now()
		told.Store(&now)
		w.Header().Set("Retry-After", fmt.Sprint(wait.Seconds()))
		w.WriteHeader(http.StatusTooManyRequests)
	})
	stage := ask(t, url, rows, "parallelism: 32")
	if early.Load() > 0 || after.Load() < rows/2 {
		t.Errorf("%d requests came before the wait was over, %d after it", early.Load(), after.Load())
	}
	if stage.Refusals != 1 || stage.Retries != 0 || stage.Attempts != rows+1 {
		t.Errorf("one refusal costs a request and no attempt: %+v", stage)
	}
	if l := s.Ledger(); l.Answered != rows {
		t.Errorf("%d rows answered", l.Answered)
	}
}

// TestStragglers: one answer in a hundred takes ten times as long. Hedging costs at most
// 5% more calls. What it gains is measured by TestTailOfStragglers.
func TestStragglers(t *testing.T) {
	t.Parallel()
	const rows = 1400
	took, stage, l := stragglers(t, rows, "hedge: {after: p95}")
	if extra := stage.Attempts - rows; extra != stage.Hedges || extra == 0 || extra > rows/20 || stage.HedgesWon == 0 {
		t.Errorf("%d requests beside those of the rows, want up to 5%%, all of them hedges: %+v", extra, stage)
	}
	if used := stage.Usage["output_tokens"]; used > l.CompletionTokens || used < l.CompletionTokens*95/100 {
		t.Errorf("%d tokens of answers counted, the server sent %d", used, l.CompletionTokens)
	}
	t.Logf("the 99.5th percentile is %v", took)
}

// stragglers runs a job in which one answer in a hundred takes ten times as long, and
// returns the 99.5th percentile of how long the rows took at the server.
func stragglers(t *testing.T, rows int, keys ...string) (time.Duration, engine.StageSummary, simulator.Ledger) {
	t.Helper()
	var mu sync.Mutex
	first, took := map[string]time.Time{}, make([]time.Duration, 0, rows)
	s := simulator.New(simulator.Options{Latency: pipeline.Duration(50 * time.Millisecond), LatencySpread: 0.1, Faults: simulator.Faults{Slow: 0.01}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		mu.Lock()
		if _, again := first[string(body)]; !again {
			first[string(body)] = time.Now()
		}
		mu.Unlock()
		s.ServeHTTP(w, r)
		mu.Lock()
		defer mu.Unlock()
		if at := first[string(body)]; !at.IsZero() && r.Context().Err() == nil {
			took = append(took, time.Since(at))
			first[string(body)] = time.Time{} // the first answer counts
		}
	}))
	t.Cleanup(func() {
		_ = s.Close()
		server.Close()
	})
	stage := ask(t, server.URL+"/v1", rows, append(keys, "parallelism: 16")...)
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	return took[len(took)*995/1000], stage, s.Ledger()
}
