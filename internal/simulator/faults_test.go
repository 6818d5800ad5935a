package simulator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// received is what comes over the connection until it ends, with what differs
// from run to run replaced.
func received(t *testing.T, conn net.Conn) (string, error) {
	t.Helper()
	got, err := io.ReadAll(conn)
	for pattern, with := range map[string]string{
		`Date: [^\r]*`:          "Date: D",
		`req_[0-9a-f]{16}`:      "req_R",
		`chatcmpl-[0-9a-f]{16}`: "chatcmpl-C",
		`"created":[0-9]+`:      `"created":0`,
		`\[[0-9a-f]{16}\]`:      "[H]",
	} {
		got = regexp.MustCompile(pattern).ReplaceAll(got, []byte(with))
	}
	return string(got), err
}

// Each fault, byte by byte, over TCP.
func TestFaultsOnTheWire(t *testing.T) {
	t.Parallel()
	const (
		head   = "Date: D\r\n"
		reqID  = "X-Request-Id: req_R\r\n"
		isJSON = "Content-Type: application/json\r\n"
		rest   = `,"usage":{"prompt_tokens":5,"completion_tokens":%d,"total_tokens":%d,` +
			`"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,` +
			`"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_simulator"}`
		answer = `{"id":"chatcmpl-C","object":"chat.completion","created":0,"model":"m","choices":[` +
			`{"index":0,"message":{"role":"assistant","content":"%s","refusal":%s,"annotations":[]},"logprobs":null,"finish_reason":"%s"}]` + rest
	)
	for _, tc := range []struct {
		name    string
		dialect string
		faults  Faults
		lines   []string // of the head, without the length of the body
		body    string
	}{
		{
			faultRateLimit, "",
			Faults{RateLimit: 1},
			[]string{"HTTP/1.1 429 Too Many Requests", "Retry-After: 1", "Retry-After-Ms: 100"},
			`{"error":{"message":"Rate limit reached for m on requests per min (RPM). Please try again in 100ms.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		},
		{
			faultError500, "",
			Faults{Error500: 1},
			[]string{"HTTP/1.1 500 Internal Server Error"},
			`{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}`,
		},
		{
			faultOverloaded, "",
			Faults{Overloaded: 1},
			[]string{"HTTP/1.1 503 Service Unavailable"},
			`{"error":{"message":"The server is currently overloaded with other requests. Please try again later.","type":"server_error","param":null,"code":"server_is_overloaded"}}`,
		},
		{
			faultOverloaded, DialectAnthropic,
			Faults{Overloaded: 1},
			[]string{"HTTP/1.1 529 status code 529"},
			`{"error":{"message":"The server is currently overloaded with other requests. Please try again later.","type":"overloaded_error","param":null,"code":"overloaded_error"}}`,
		},
		{
			faultQuota, "",
			Faults{Quota: 1},
			[]string{"HTTP/1.1 429 Too Many Requests"},
			`{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`,
		},
		{
			faultUnauthorized, "",
			Faults{Unauthorized: 1},
			[]string{"HTTP/1.1 401 Unauthorized"},
			`{"error":{"message":"Incorrect API key provided. The simulator wants the one it was started with.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		},
		{
			faultContentFilter, DialectAzure,
			Faults{ContentFilter: 1},
			[]string{"HTTP/1.1 400 Bad Request"},
			`{"error":{"message":"The response was filtered due to the prompt triggering content management policy.","type":"invalid_request_error","param":"prompt","code":"content_filter"}}`,
		},
		{faultHTML, "", Faults{HTML: 1}, []string{"HTTP/1.1 502 Bad Gateway", "Content-Type: text/html"}, htmlPage},
		{
			faultEmptyChoices, "",
			Faults{EmptyChoices: 1},
			[]string{"HTTP/1.1 200 OK"},
			`{"id":"chatcmpl-C","object":"chat.completion","created":0,"model":"m","choices":[]` + fmt.Sprintf(rest, 0, 5),
		},
		{
			faultError200, "",
			Faults{Error200: 1},
			[]string{"HTTP/1.1 200 OK"},
			`{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}`,
		},
		{
			faultContentFilter, "",
			Faults{ContentFilter: 1},
			[]string{"HTTP/1.1 200 OK"},
			fmt.Sprintf(answer, "", "null", "content_filter", 0, 5),
		},
		{
			faultRefusal, "",
			Faults{Refusal: 1},
			[]string{"HTTP/1.1 200 OK"},
			strings.Replace(fmt.Sprintf(answer, "", `"I'm sorry, but I can't help with that."`, "stop", 10, 15), `"content":""`, `"content":null`, 1),
		},
	} {
		t.Run(tc.name+" "+tc.dialect, func(t *testing.T) {
			t.Parallel()
			s, base, _ := started(t, Options{Dialect: tc.dialect, Faults: tc.faults})
			got := whole(t, send1(t, base, ask("a")))
			top, body, _ := strings.Cut(got, "\r\n\r\n")
			if !strings.Contains(strings.Join(tc.lines, " "), "Content-Type") {
				tc.lines = append(tc.lines, strings.TrimSpace(isJSON))
			}
			for _, line := range append(tc.lines, strings.TrimSpace(reqID), strings.TrimSpace(head)) {
				if !strings.Contains(top+"\r\n", line+"\r\n") {
					t.Errorf("the head lacks %q:\n%s", line, top)
				}
			}
			if n, want := strings.Count(top, "\r\n"), len(tc.lines)+2; n != want { // and the length
				t.Errorf("got %d header lines, want %d:\n%s", n, want, top)
			}
			if body != tc.body {
				t.Errorf("got body\n%s\nwant\n%s", body, tc.body)
			}
			if l := balanced(t, s); l.Faults[tc.name] != 1 || l.Answered != 0 {
				t.Errorf("got %+v, want one %s", l, tc.name)
			}
		})
	}
}

// whole returns one complete answer as it came, however the server ends it.
func whole(t *testing.T, conn net.Conn) string {
	t.Helper()
	var raw bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := received(t, pipeOf(raw.Bytes()))
	return got
}

type read struct {
	net.Conn
	io.Reader
}

func (r read) Read(p []byte) (int, error) { return r.Reader.Read(p) }

func pipeOf(b []byte) net.Conn { return read{Reader: bytes.NewReader(b)} }

func TestReset(t *testing.T) {
	t.Parallel()
	s, base, _ := started(t, Options{Faults: Faults{Reset: 1}})
	got, err := received(t, send1(t, base, ask("a")))
	if got != "" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v, want nothing but a reset", got, err)
	}
	if l := balanced(t, s); l.Faults[faultReset] != 1 || l.InFlight != 0 {
		t.Errorf("got %+v, want one reset", l)
	}
}

func TestCutBody(t *testing.T) {
	t.Parallel()
	s, base, client := started(t, Options{Faults: Faults{CutBody: 1}})
	got, err := received(t, send1(t, base, ask("a")))
	if err != nil {
		t.Fatalf("got %v, want the connection to end without a reset", err)
	}
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	length, err := strconv.Atoi(regexp.MustCompile(`Content-Length: (\d+)`).FindStringSubmatch(got)[1])
	if err != nil || len(body) == 0 || length <= len(body) || strings.Contains(body, "total_tokens") {
		t.Errorf("got %d bytes of %d: %s", len(body), length, body)
	}
	resp, err := client.Post(base+"/chat/completions", "application/json", strings.NewReader(ask("a")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an unexpected EOF", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if l := balanced(t, s); l.Faults[faultCutBody] != 2 || l.Paid != 0 {
		t.Errorf("got %+v, want two bodies cut", l)
	}
}

func TestInvalidJSON(t *testing.T) {
	t.Parallel()
	s, base, _ := started(t, Options{Faults: Faults{InvalidJSON: 1}})
	got := whole(t, send1(t, base, ask("a")))
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasPrefix(body, `{"id":"chatcmpl-C","object":`) || strings.Contains(body, "total_tokens") {
		t.Errorf("got %s, want a 200 whose body is half an answer", got)
	}
	if l := balanced(t, s); l.Faults[faultInvalidJSON] != 1 {
		t.Errorf("got %+v", l)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	s, base, client := started(t, Options{Faults: Faults{Hang: 1}})
	conn := send1(t, base, ask("a"))
	inFlight(t, s, 1)
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got, err := received(t, conn); got != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v, want nothing at all", got, err)
	}
	if l := balanced(t, s); l.InFlight != 1 {
		t.Errorf("got %+v, want one in flight", l)
	}
	// It ends with the client, which leaves once the server has its request.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/chat/completions", strings.NewReader(ask("a")))
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		resp, err := client.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		left <- err
	}()
	inFlight(t, s, 2)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	inFlight(t, s, 0)
	if l := balanced(t, s); l.Faults[faultHang] != 2 {
		t.Errorf("got %+v, want two that hung", l)
	}
}

// inFlight waits until the server has so many requests.
func inFlight(t *testing.T, s *Server, want int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Ledger().InFlight != want; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d in flight, want %d: %+v", s.Ledger().InFlight, want, s.Ledger())
		}
	}
}

func TestTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Faults: Faults{Trickle: 1}})
		ends := newPipeListener()
		if err := s.serve(ends); err != nil {
			t.Fatal(err)
		}
		conn := ends.dial()
		go sendOver(t, conn, "POST /chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"+ask("a"), len(ask("a")))
		begin := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 4)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != `{"id` || time.Since(begin) != 3*time.Second {
			t.Errorf("got %q after %v, %v, want the first four bytes after 3s", first, time.Since(begin), err)
		}
		rest, err := io.ReadAll(resp.Body)
		if err != nil || time.Since(begin) != time.Duration(3+len(rest))*time.Second {
			t.Errorf("got %d bytes more after %v, %v, want one a second", len(rest), time.Since(begin), err)
		}
		decode(t, bytes.NewReader(append(first, rest...)))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if l := balanced(t, s); l.Faults[faultTrickle] != 1 {
			t.Errorf("got %+v", l)
		}
	})
}

func sendOver(t *testing.T, conn net.Conn, format string, args ...any) {
	if _, err := fmt.Fprintf(conn, format, args...); err != nil {
		t.Error(err)
	}
}

// pipeListener is a network within the test, for the clock of synctest.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	mine, theirs := net.Pipe()
	l.conns <- theirs
	return mine
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestEndlessBody(t *testing.T) {
	t.Parallel()
	s, base, client := started(t, Options{Faults: Faults{EndlessBody: 1}})
	resp, err := client.Post(base+"/chat/completions", "application/json", strings.NewReader(ask("a")))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil || len(got) != 4<<20 || !bytes.Contains(got[:300], []byte(`"content":"and on and on `)) || bytes.ContainsAny(got[300:], `"`) {
		t.Errorf("got %d bytes, %v: %.300s", len(got), err, got)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); s.Ledger().InFlight > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("still in flight after the client left: %+v", s.Ledger())
		}
		runtime.Gosched()
	}
	if l := balanced(t, s); l.Faults[faultEndlessBody] != 1 || l.Paid != 0 {
		t.Errorf("got %+v", l)
	}
}

func TestLengthFault(t *testing.T) {
	t.Parallel()
	s := New(Options{Faults: Faults{Length: 1}})
	c := decode(t, post(s, ask("a")).Body)
	whole := Answer(0, "m", Message{"user", "a"})
	if got := *c.Choices[0].Message.Content; got != whole[:len(whole)/2] || c.Choices[0].FinishReason != "length" {
		t.Errorf("got %q, %s, want the first half of %q, length", got, c.Choices[0].FinishReason, whole)
	}
	if l := balanced(t, s); l.Paid != 1 || l.Answered != 0 {
		t.Errorf("got %+v, want it paid but not answered well", l)
	}
}

// Every transient fault at once, with a client that does nothing but ask again:
// each prompt gets its own answer in the end, and pays once.
func TestAskingAgainGetsThroughEveryTransientFault(t *testing.T) {
	t.Parallel()
	s, base, client := started(t, Options{Faults: Transient(0.03), RetryAfter: 1})
	client.Transport = &http.Transport{MaxIdleConnsPerHost: 200} // those that hang hold up nobody
	t.Cleanup(client.CloseIdleConnections)
	var clients sync.WaitGroup
	var gaveUp atomic.Int64
	for i := range 200 {
		clients.Go(func() {
			prompt := fmt.Sprintf("row %d", i)
			want := Answer(0, "m", Message{"user", prompt})
			for range 20 {
				got, err := once(t.Context(), client, base, prompt)
				switch {
				case errors.Is(err, context.DeadlineExceeded):
					gaveUp.Add(1)
				case err == nil && got != want:
					t.Errorf("%s: got %q, want %q", prompt, got, want)
				}
				if err == nil {
					return
				}
			}
			t.Errorf("%s: no answer in 20 attempts", prompt)
		})
	}
	clients.Wait()
	l := balanced(t, s)
	for _, f := range Transient(1).fates() {
		if f.share > 0 && l.Faults[f.name] == 0 {
			t.Errorf("nobody met %s: %v", f.name, l.Faults)
		}
	}
	// On a slow machine the client also gives up on answers that are on their way.
	late := gaveUp.Load() - l.Faults[faultHang] - l.Faults[faultTrickle]
	if l.Paid < 200 || l.PaidAgain != l.Paid-200 || l.PaidAgain > late {
		t.Errorf("got %+v and %d answers that came too late, want 200 answered, each paid once", l, late)
	}
}

// once asks with little patience, and takes nothing but a good answer for one.
func once(ctx context.Context, client *http.Client, base, prompt string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/chat/completions", strings.NewReader(ask(prompt)))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	return contentOf(raw)
}
