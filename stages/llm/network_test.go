package llm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// TestBrokenConnections holds that what happens on the way costs an attempt, not
// the row.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	hijack := func(say string, reset bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, say)
			if tcp, ok := conn.(*net.TCPConn); ok && reset {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		code   string
	}{
		{"closed", hijack("", false), "cut_short"},
		{"reset", hijack("", true), "connection_reset"},
		{"cut in the head", hijack("HTTP/1.1 200 OK\r\nContent-Le", false), "network"},
		{"cut in the body", hijack("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"+fine[:100], false), "cut_short"},
		{"cut in a chunk", hijack("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"+fine[:100], false), "cut_short"},
		{"cut where nobody counts", hijack("HTTP/1.0 200 OK\r\n\r\n"+fine[:100], false), "cut_short"},
		{"no HTTP", hijack("SSH-2.0-OpenSSH_9.6\r\n", false), "network"},
		{"an endless head", hijack("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("a", 2<<20)+"\r\n\r\n", false), "network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, tt.answer)
			_, err := ask(t, stage(t, capital(p), pipeline.Env{}), france())
			if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || code != tt.code {
				t.Errorf("got %v %q, want transient %q (%v)", class, code, tt.code, err)
			}
			if p.count() != 1 {
				t.Errorf("%d requests, want 1: nothing below the policies may repeat one", p.count())
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	s := stage(t, llm.Config{BaseURL: "http://" + address + "/v1", Model: "m", Prompt: "x"}, pipeline.Env{})
	_, err = ask(t, s, france())
	if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || code != "connection_refused" || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v %q (%v)", class, code, err)
	}
	err = s.Probe(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot reach http://"+address+"/v1: ") || !strings.Contains(err.Error(), "check base_url, and that a server runs there") {
		t.Errorf("probe: %v", err)
	}
}

func TestDeadlineAndCancel(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	hang := func(http.ResponseWriter, *http.Request) { <-release }
	trickle := func(w http.ResponseWriter, r *http.Request) {
		says(200, fine[:20])(w, r)
		_ = http.NewResponseController(w).Flush()
		<-release
	}
	for name, answer := range map[string]http.HandlerFunc{"before the answer": hang, "within the answer": trickle} {
		p := serve(t, answer)
		s := stage(t, capital(p), pipeline.Env{})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		_, err := s.Process(ctx, france())
		cancel()
		if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || code != "timeout" {
			t.Errorf("deadline %s: %v %q (%v), want transient timeout", name, class, code, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		_, err = s.Process(ctx, france())
		if classed := new(pipeline.Error); !errors.Is(err, context.Canceled) || errors.As(err, &classed) {
			t.Errorf("cancel %s: %v, want context.Canceled and no class", name, err)
		}
	}
}

func TestTLSMistakes(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(says(200, fine))
	secure.Config.ErrorLog = silent()
	defer secure.Close()
	plain := serve(t, says(200, fine))
	for address, want := range map[string]string{
		secure.URL: "failed to verify certificate",
		strings.Replace(plain.url, "http:", "https:", 1): "write http:// in base_url",
	} {
		s := stage(t, llm.Config{BaseURL: address, Model: "m", Prompt: "x", APIKey: secret}, pipeline.Env{})
		if e := failed(t, s, france()); e.Class != pipeline.ClassFatal || e.Code != "tls" || !strings.Contains(e.Error(), want) {
			t.Errorf("%s: %v %q %v", address, e.Class, e.Code, e)
		}
		if err := s.Probe(t.Context()); err == nil {
			t.Errorf("%s: the probe passes", address)
		}
	}
}

// TestEndlessAnswers holds that an answer is bounded while it is read.
func TestEndlessAnswers(t *testing.T) {
	// Not parallel: it measures memory.
	chunk := []byte(strings.Repeat(" ", 64<<10))
	var sent atomic.Int64
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			for {
				n, err := w.Write(chunk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		class  pipeline.Class
		code   string
	}{
		{"endless", endless(200), pipeline.ClassTransient, "answer_too_long"},
		{"endless page of an error", endless(500), pipeline.ClassTransient, "http_500"},
		{"announced", says(200, "{", "Content-Length: 1000000000000"), pipeline.ClassTransient, "answer_too_long"},
		{"one byte too long", says(200, strings.Repeat(" ", 1<<20+1)), pipeline.ClassTransient, "answer_too_long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := serve(t, tt.answer)
			c := capital(p)
			c.MaxAnswer = 1 << 20
			s := stage(t, c, pipeline.Env{})
			var before, after runtime.MemStats
			sent.Store(0)
			runtime.ReadMemStats(&before)
			e := failed(t, s, france())
			runtime.ReadMemStats(&after)
			if e.Class != tt.class || e.Code != tt.code {
				t.Errorf("got %v %q (%v), want %v %q", e.Class, e.Code, e, tt.class, tt.code)
			}
			if tt.class == pipeline.ClassRecord && !strings.Contains(e.Error(), "more than 1MiB, which max_answer allows") {
				t.Errorf("message: %v", e)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("%d MiB were allocated for an answer of at most 1", used>>20)
			}
			if n := sent.Load(); n > 32<<20 {
				t.Errorf("%d MiB were sent", n>>20)
			}
		})
	}
	exact := answerOf(`"`+strings.Repeat("a", 100)+`"`, `"stop"`, "")
	c := capital(serve(t, says(200, exact)))
	for limit, fits := range map[int]bool{len(exact): true, len(exact) - 1: false} {
		c.MaxAnswer = pipeline.Size(limit)
		if _, err := ask(t, stage(t, c, pipeline.Env{}), france()); (err == nil) != fits {
			t.Errorf("an answer of %d bytes with max_answer %d: %v", len(exact), limit, err)
		}
	}
}

// counted starts a server that counts its connections.
func counted(t *testing.T, secure bool, answer http.HandlerFunc) (server *httptest.Server, opened *atomic.Int64) {
	t.Helper()
	opened = new(atomic.Int64)
	server = httptest.NewUnstartedServer(answer)
	server.Config.ErrorLog = silent()
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	if secure {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, opened
}

// TestConnections holds that at parallelism 64 there are 64 connections, for
// answers of every form, errors among them, and any number of rows.
func TestConnections(t *testing.T) {
	t.Parallel()
	const parallelism, rows = 64, 960
	answer := func(n *atomic.Int64) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			switch n.Add(1) % 5 {
			case 0: // without a length, with white space behind the JSON
				says(200, fine)(w, r)
				_ = http.NewResponseController(w).Flush()
				_, _ = io.WriteString(w, "\n\n")
			case 1:
				says(500, strings.Repeat("<p>sorry</p>", 5000))(w, r)
			case 2:
				says(429, `{"error":{"message":"slow"}}`)(w, r)
			default:
				says(200, fine)(w, r)
			}
		}
	}
	for name, secure := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, opened := counted(t, secure, answer(new(atomic.Int64)))
			s := stage(t, llm.Config{BaseURL: server.URL, Model: "m", Prompt: "{{.country}}"}, pipeline.Env{})
			s.Scale(parallelism)
			if secure {
				llm.Transport(s).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
			}
			var workers sync.WaitGroup
			var answered atomic.Int64
			for range parallelism {
				workers.Go(func() {
					for range rows / parallelism {
						if _, err := s.Process(t.Context(), france()); err == nil {
							answered.Add(1)
						}
					}
				})
			}
			workers.Wait()
			if n := opened.Load(); n > parallelism {
				t.Errorf("%d connections for %d rows at parallelism %d", n, rows, parallelism)
			}
			if n := answered.Load(); n < rows/2 || n > rows*7/10 {
				t.Errorf("%d answers, want three in five of %d", n, rows)
			}
		})
	}
}

// TestScale holds that small buffers come with many connections.
func TestScale(t *testing.T) {
	t.Parallel()
	for parallelism, want := range map[int][3]int{0: {0, 256, 0}, 16: {16, 16, 0}, 10_000: {10_000, 10_000, 1 << 10}} {
		s := stage(t, llm.Config{BaseURL: "http://localhost", Model: "m", Prompt: "x"}, pipeline.Env{})
		s.Scale(parallelism)
		tr := llm.Transport(s)
		if got := [3]int{tr.MaxConnsPerHost, tr.MaxIdleConnsPerHost, tr.ReadBufferSize}; got != want || tr.WriteBufferSize != want[2] {
			t.Errorf("Scale(%d): %v, want %v", parallelism, got, want)
		}
	}
}

// TestBodiesShareNoMemory: a body may still be read when its call is over.
func TestBodiesShareNoMemory(t *testing.T) {
	t.Parallel()
	s := stage(t, llm.Config{BaseURL: "http://localhost", Model: "m", Prompt: "{{.country}}"}, pipeline.Env{})
	first := llm.Render(t, s, france())
	before := string(first)
	for range 10 { // the pool may keep what it was given, or not
		llm.Render(t, s, row("country", "Italy!"))
	}
	if string(first) != before {
		t.Errorf("the first body became %s", first)
	}
}

// TestRowsAreNotMixedUp sends many different rows at once, as their buffers are
// shared.
func TestRowsAreNotMixedUp(t *testing.T) {
	t.Parallel()
	server, _ := counted(t, false, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, question, _ := strings.Cut(string(body), `"content":"`)
		question, _, _ = strings.Cut(question, `"`)
		says(200, answerOf(`"`+question+`"`, `"stop"`, ""))(w, r)
	})
	s := stage(t, llm.Config{BaseURL: server.URL, Model: "m", Prompt: "{{.country}}"}, pipeline.Env{})
	s.Scale(16)
	var workers sync.WaitGroup
	for worker := range 16 {
		workers.Go(func() {
			for i := range 50 {
				want := fmt.Sprint(worker, "-", i, "-", strings.Repeat("x", worker*i*20))
				r := row("country", want)
				if _, err := s.Process(t.Context(), r); err != nil {
					t.Error(err)
					return
				}
				if v, _ := r.Lookup("answer"); v.Text() != want {
					t.Errorf("row %d-%d got another row's answer", worker, i)
					return
				}
			}
		})
	}
	workers.Wait()
}
