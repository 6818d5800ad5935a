package http_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdhttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks/http"
)

func TestMain(m *testing.M) {
	doomed.Main(doomed.Options{})
	goleak.VerifyTestMain(m)
}

// server takes rows, but for those that hold "bad".
type server struct {
	mu       sync.Mutex
	rows     []string
	requests []*stdhttp.Request
	bodies   []string
	// before may answer in place of the server.
	before func(n int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool
	url    string
}

func start(t *testing.T, before func(n int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool) *server {
	t.Helper()
	s := &server{before: before}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	s.url = listener.URL + "/rows?token=hunter2"
	return s
}

func (s *server) ServeHTTP(w stdhttp.ResponseWriter, r *stdhttp.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was cut
	}
	s.mu.Lock()
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
	n := len(s.requests)
	s.mu.Unlock()
	if s.before != nil && s.before(n, w, r) {
		return
	}
	if bytes.Contains(body, []byte("bad")) {
		stdhttp.Error(w, "one of them is bad", stdhttp.StatusUnprocessableEntity)
		return
	}
	var rows []json.RawMessage
	if strings.HasSuffix(r.Header.Get("Content-Type"), "ndjson") || !bytes.HasPrefix(body, []byte("[")) {
		for _, line := range bytes.Split(bytes.TrimSpace(body), []byte("\n")) {
			rows = append(rows, line)
		}
	} else if err := json.Unmarshal(body, &rows); err != nil {
		stdhttp.Error(w, err.Error(), stdhttp.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		s.rows = append(s.rows, string(row))
	}
}

func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.rows...)
}

func newSink(t *testing.T, c http.Config) *http.Sink {
	t.Helper()
	s, err := http.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(t.Context()) })
	return s
}

func TestHTTPConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]http.Config{
		"array": {}, "jsonl": {Body: "jsonl", Method: "PUT"}, "object": {Body: "object"}, "two a request": {Batch: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *server
			pipelinetest.Sink(t, pipelinetest.SinkCase{
				New: func(t *testing.T) pipeline.Sink {
					s = start(t, nil)
					c.URL = s.url
					return newSink(t, c)
				},
				Rows: []string{`{"a": 1.50}`, `{"a":"é"}`, `{"a":null}`}, Refused: []string{`{"a":"bad"}`, `{"b":"bad"}`},
				Read: func(*testing.T) []string { return s.seen() },
				Stuck: func(t *testing.T) pipeline.Sink {
					stuck := start(t, func(_ int, _ stdhttp.ResponseWriter, r *stdhttp.Request) bool { <-r.Context().Done(); return true })
					return newSink(t, http.Config{URL: stuck.url})
				},
			})
		})
	}
}

func records(t *testing.T, rows ...string) (batch []*pipeline.Record) {
	t.Helper()
	for _, row := range rows {
		batch = append(batch, pipelinetest.Record(t, row))
	}
	return batch
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]pipeline.Class{
		301: pipeline.ClassFatal, 400: pipeline.ClassRecord, 401: pipeline.ClassFatal, 403: pipeline.ClassFatal, 404: pipeline.ClassFatal,
		405: pipeline.ClassFatal, 408: pipeline.ClassTransient, 409: pipeline.ClassRecord, 413: pipeline.ClassRecord, 422: pipeline.ClassRecord,
		429: pipeline.ClassRefused, 500: pipeline.ClassTransient, 502: pipeline.ClassTransient, 503: pipeline.ClassTransient,
	} {
		s := start(t, func(_ int, w stdhttp.ResponseWriter, _ *stdhttp.Request) bool {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "/elsewhere")
			stdhttp.Error(w, strings.Repeat("why ", 30_000), status)
			return true
		})
		err := newSink(t, http.Config{URL: s.url}).Write(t.Context(), records(t, `{"a":1}`))
		var batch *pipeline.BatchError
		if errors.As(err, &batch) {
			err = batch.Refused[0]
		}
		var known *pipeline.Error
		if !errors.As(err, &known) || known.Class != want || known.Code != fmt.Sprintf("http_%d", status) || len(known.Error()) > 500 || strings.Contains(known.Error(), "hunter2") {
			t.Errorf("%d: got %v, want a short error of class %v", status, err, want)
			continue
		}
		if retry := want == pipeline.ClassTransient || want == pipeline.ClassRefused; retry && (known.RetryAfter != 7*time.Second || known.ForAll != (status == 503)) {
			t.Errorf("%d: retry after %v, for all %v", status, known.RetryAfter, known.ForAll)
		}
	}
}

// TestNoAnswer is about a connection that is cut, nobody there, and an answer that does
// not come.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	cut := start(t, func(_ int, w stdhttp.ResponseWriter, _ *stdhttp.Request) bool {
		conn, _, _ := w.(stdhttp.Hijacker).Hijack()
		_ = conn.Close()
		return true
	})
	slow := start(t, func(_ int, _ stdhttp.ResponseWriter, r *stdhttp.Request) bool { <-r.Context().Done(); return true })
	for name, c := range map[string]http.Config{
		"cut": {URL: cut.url}, "nobody": {URL: "http://127.0.0.1:1/hunter2"}, "slow": {URL: slow.url, Timeout: pipeline.Duration(20 * time.Millisecond)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := newSink(t, c).Write(ctx, records(t, `{"a":1}`))
		if ctx.Err() != nil {
			t.Errorf("%s: Write has not given the request up, with a timeout of %v", name, c.Timeout)
		}
		cancel()
		if class, _ := pipeline.Classify(err); class != pipeline.ClassTransient || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v of class %v, want transient and no address", name, err, class)
		}
	}
}

// TestATokenInThePath: a message shows of the address what is no secret, also where the other
// end says it.
func TestATokenInThePath(t *testing.T) {
	t.Parallel()
	s := start(t, func(_ int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool {
		stdhttp.Error(w, r.URL.String()+" with "+r.Header.Get("Authorization")+" is not known", stdhttp.StatusUnprocessableEntity)
		return true
	})
	base, _, _ := strings.Cut(s.url, "/rows")
	err := newSink(t, http.Config{
		URL: base + "/services/T0K3NT0K3N/B000?token=hunter2", Headers: map[string]pipeline.Secret{"Authorization": "Bearer opensesame"},
	}).Write(t.Context(), records(t, `{"a":1}`))
	var batch *pipeline.BatchError
	var known *pipeline.Error
	if !errors.As(err, &batch) || !errors.As(batch.Refused[0], &known) {
		t.Fatalf("got %v, want that the row is refused", err)
	}
	want := base + "/services/***/*** answers 422 Unprocessable Entity: /services/***/B000?token=*** with Bearer *** is not known"
	if known.Error() != want || strings.Contains(known.Answer, "T0K3N") || strings.Contains(known.Answer, "opensesame") {
		t.Errorf("got %q and the answer %q, want %q", known, known.Answer, want)
	}
}

// TestARequestIsMadeAgain: what was taken is not sent again, and what is sent again has the
// same key.
func TestARequestIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := start(t, func(n int, w stdhttp.ResponseWriter, _ *stdhttp.Request) bool {
		if n == 2 {
			stdhttp.Error(w, "not now", stdhttp.StatusInternalServerError)
		}
		return n == 2
	})
	rows := []string{`{"a":1}`, `{"a":2}`, `{"a":2}`, `{"a":3}`}
	summary, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: pipelinetest.Rows(t, rows), Sink: newSink(t, http.Config{URL: s.url, Body: "object"}),
	}, engine.Options{})
	if err != nil || summary.Counts.Delivered != 4 || strings.Join(s.seen(), " ") != strings.Join(rows, " ") {
		t.Errorf("got %v, %v, %+v, want each row once", s.seen(), err, summary.Counts)
	}
	keys := map[string]int{}
	for _, r := range s.requests {
		keys[r.Header.Get("Idempotency-Key")]++
	}
	if len(s.requests) != 5 || len(keys) != 4 || s.requests[1].Header.Get("Idempotency-Key") != s.requests[2].Header.Get("Idempotency-Key") {
		t.Errorf("%d requests with %d keys, want 5 with 4: rows that look alike are two", len(s.requests), len(keys))
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	sink := newSink(t, http.Config{
		URL: s.url, Method: "PATCH", Body: "jsonl", Batch: 2,
		Headers: map[string]pipeline.Secret{"authorization": "Bearer x", "Content-Type": "text/x-ndjson"},
	})
	if err := sink.Write(t.Context(), records(t, `{"a":1}`, `{"a":2}`, `{"a":3}`)); err != nil {
		t.Fatal(err)
	}
	r := s.requests[0]
	if r.Method != "PATCH" || r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("Content-Type") != "text/x-ndjson" || r.URL.RawQuery != "token=hunter2" {
		t.Errorf("got %s %s %v", r.Method, r.URL, r.Header)
	}
	if got := strings.Join(s.bodies, "|"); got != "{\"a\":1}\n{\"a\":2}\n|{\"a\":3}\n" {
		t.Errorf("got bodies %q", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	err := http.Config{URL: "ftp://x", Batch: -1, Headers: map[string]pipeline.Secret{"a b": "hunter2", "c": "hunter2\nx: y"}}.Validate()
	for _, want := range []string{"url: ", "batch: ", `"a b"`, "headers.c: "} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %q and no secret", err, want)
		}
	}
}
