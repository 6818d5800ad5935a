package llm_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// pipes is a listener within the process, where the clock is a fake.
type pipes struct {
	conns chan net.Conn // unbuffered: a connection is there when it is accepted
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// near returns a stage that asks a server within the same bubble, one that accepts no
// connection if answer is nil.
func near(t *testing.T, d pipeline.Deadlines, answer http.HandlerFunc) *llm.Stage {
	t.Helper()
	listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{ErrorLog: silent(), ReadHeaderTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, r)
	})}
	if answer != nil {
		go func() { _ = server.Serve(listener) }()
	}
	s, err := llm.New(llm.Config{BaseURL: "http://near/v1", Model: "m", Prompt: "{{.country}}?"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	s.Deadlines(d)
	llm.Dial(s, listener.dial)
	t.Cleanup(func() {
		_ = s.Close()
		_ = server.Close()
	})
	return s
}

// slowly answers a byte after each pause.
func slowly(body string, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		for i := range body {
			if _, err := io.WriteString(w, body[i:i+1]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
	}
}

func late(d time.Duration, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			answer(w, r)
		case <-r.Context().Done():
		}
	}
}

// TestDeadlinesHold: each cuts what it is for, on time, and nothing else.
func TestDeadlinesHold(t *testing.T) {
	t.Parallel()
	const s, ms = time.Second, time.Millisecond
	connect, first, idle := pipeline.Deadlines{Connect: 2 * s}, pipeline.Deadlines{FirstByte: 3 * s}, pipeline.Deadlines{Idle: 500 * ms}
	all := pipeline.Deadlines{Connect: 2 * s, FirstByte: 3 * s, Idle: 500 * ms}
	head := func(pause time.Duration) http.HandlerFunc { // a head that comes in pieces
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			for _, piece := range strings.SplitAfter("HTTP/1.1 200 OK\r\n"+strings.Repeat("X: y\r\n", 9), "\n") {
				_, _ = io.WriteString(conn, piece)
				_ = conn.SetReadDeadline(time.Now().Add(pause))
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
			}
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := []struct {
		name      string
		deadlines pipeline.Deadlines
		answer    http.HandlerFunc // nil: nobody accepts a connection
		code      string           // "" for an answer
		after     time.Duration
	}{
		{"no connection", connect, nil, "connect_timeout", 2 * s},
		{"no connection, and nothing else is bounded", pipeline.Deadlines{}, nil, "timeout", 60 * s},
		{"no connection, others are bounded", pipeline.Deadlines{FirstByte: s, Idle: s}, nil, "timeout", 60 * s},
		{"no answer", first, hang, "first_byte_timeout", 3 * s},
		{"no answer, all are bounded", all, hang, "first_byte_timeout", 3 * s},
		{"no answer, others are bounded", pipeline.Deadlines{Connect: s, Idle: s}, hang, "timeout", 60 * s},
		{"a head in pieces", first, head(s), "first_byte_timeout", 3 * s},
		{"a byte a second", idle, slowly(fine, s), "idle_timeout", 500 * ms},
		{"a byte a second, idle may be longer", pipeline.Deadlines{Idle: 2 * s}, slowly(fine, s), "timeout", 60 * s},
		{"a byte a second, nothing is bounded but the whole", pipeline.Deadlines{}, slowly(fine, s), "timeout", 60 * s},
		{"stuck in the middle", idle, func(w http.ResponseWriter, r *http.Request) {
			slowly(fine[:3], 400*ms)(w, r)
			<-r.Context().Done()
		}, "idle_timeout", 1300 * ms},
		{"nothing behind the head", idle, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "idle_timeout", 500 * ms},
		{"slow enough", all, late(2900*ms, slowly(fine, 10*ms)), "", 2900*ms + time.Duration(len(fine))*10*ms},
		{"quick", all, says(200, fine), "", 0},
		{"a refusal that is not said to the end", all, slowly("{}", s), "idle_timeout", 500 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ask := near(t, tt.deadlines, tt.answer)
				all := policies(nil, pipeline.StepOptions{Retry: pipeline.Retry{Attempts: 1}})
				ctx, _ := all.Begin(t.Context())
				start := time.Now()
				_, err := ask.Process(ctx, france())
				took := time.Since(start)
				class, code := pipeline.Classify(err)
				if err == nil {
					code = ""
				}
				if code != tt.code || err != nil && class != pipeline.ClassTransient {
					t.Errorf("got %v %q (%v), want transient %q", class, code, err, tt.code)
				}
				if took != tt.after {
					t.Errorf("after %s, want %s", took, tt.after)
				}
			})
		})
	}
}

// TestDeadlinesSpareTheCaller: who gives up himself is not told of a deadline.
func TestDeadlinesSpareTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := near(t, pipeline.Deadlines{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Process(ctx, france())
		if _, code := pipeline.Classify(err); code != "timeout" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q %v", code, err)
		}
	})
}

// TestDeadlinesHoldOverHTTP2 too, whose transport has words of its own for a context
// that is done.
func TestDeadlinesHoldOverHTTP2(t *testing.T) {
	t.Parallel()
	server, _ := counted(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("it was HTTP/%d", r.ProtoMajor)
		}
		if strings.HasPrefix(r.URL.Path, "/head/") {
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	for path, d := range map[string]pipeline.Deadlines{"": {FirstByte: 50 * time.Millisecond}, "/head": {Idle: 50 * time.Millisecond}} {
		s := stage(t, llm.Config{BaseURL: server.URL + path, Model: "m", Prompt: "x"}, pipeline.Env{})
		llm.Transport(s).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
		s.Deadlines(d)
		_, err := ask(t, s, france())
		want := map[bool]string{true: "idle_timeout", false: "first_byte_timeout"}[d.Idle > 0]
		if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || code != want {
			t.Errorf("got %v %q (%v), want %q", class, code, err, want)
		}
	}
}

// TestConnectionIsKept by an exchange that was watched, and cut by one that was cut off.
func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	server, opened := counted(t, false, says(200, fine))
	s := stage(t, llm.Config{BaseURL: server.URL, Model: "m", Prompt: "x"}, pipeline.Env{})
	s.Deadlines(pipeline.Deadlines{Connect: time.Minute, FirstByte: time.Minute, Idle: time.Minute})
	for range 20 {
		if _, err := ask(t, s, france()); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 20 rows, one after the other", n)
	}
}
