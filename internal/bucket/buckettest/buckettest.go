// Package buckettest is an S3 server in the test's own process, with faults to order.
package buckettest

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/rowmill/rowmill/pipeline"
)

// Name is the bucket that every server has.
const Name = "rows"

// Server is an S3 server with one bucket.
type Server struct {
	// URL is its endpoint.
	URL string

	backend  gofakes3.Backend
	handler  http.Handler
	mu       sync.Mutex
	fault    Fault
	requests []Request
}

// Fault is asked about every request first, and reports whether it has answered it.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) (answered bool)

// Request is a request as it came.
type Request struct {
	Method, Path, Query, Range string
	// Region is the one that the request was signed for; "" for one without keys.
	Region string
}

// New starts a server, which ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s, stop, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s
}

// Start starts a server in a program that is no test.
func Start() (s *Server, stop func(), err error) {
	s = &Server{backend: s3mem.New()}
	if err := s.backend.CreateBucket(Name); err != nil {
		return nil, nil, err
	}
	s.handler = gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0)).Server()
	listener := httptest.NewServer(s)
	s.URL = listener.URL
	return s, listener.Close, nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Range"), regionOf(r)})
	fault := s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r, s.handler) {
		return
	}
	s.handler.ServeHTTP(w, r)
}

// regionOf reads Credential=id/day/region/s3/aws4_request.
func regionOf(r *http.Request) string {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if parts := strings.Split(scope, "/"); len(parts) > 2 {
		return parts[2]
	}
	return ""
}

// Set has a fault asked from now on; nil for none.
func (s *Server) Set(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests returns the requests so far, of a method and with a text in path or query.
func (s *Server) Requests(method, text string) (some []Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.Method == method && strings.Contains(r.Path+"?"+r.Query, text) {
			some = append(some, r)
		}
	}
	return some
}

// Env is what a component needs to ask the server: keys, and nothing from the machine.
func Env() pipeline.Env {
	return pipeline.Env{Logger: slog.New(slog.DiscardHandler), Getenv: func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest123", "AWS_REGION": "us-east-1"}[name]
	}}
}

// Put puts an object into the bucket, past the network.
func (s *Server) Put(t testing.TB, key, data string) {
	t.Helper()
	if _, err := s.backend.PutObject(Name, key, map[string]string{}, strings.NewReader(data), int64(len(data)), nil); err != nil {
		t.Fatal(err)
	}
}

// Remove takes an object away.
func (s *Server) Remove(t testing.TB, key string) {
	t.Helper()
	if _, err := s.backend.DeleteObject(Name, key); err != nil {
		t.Fatal(err)
	}
}

// Read returns an object; ok is false if there is none.
func (s *Server) Read(t testing.TB, key string) (data []byte, ok bool) {
	t.Helper()
	o, err := s.backend.GetObject(Name, key, nil)
	if gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchKey) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Contents.Close() }()
	var b bytes.Buffer
	if _, err := io.Copy(&b, o.Contents); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), true
}

// Keys returns the keys that begin with a prefix, sorted.
func (s *Server) Keys(t testing.TB, prefix string) (keys []string) {
	t.Helper()
	list, err := s.backend.ListBucket(Name, &gofakes3.Prefix{HasPrefix: true, Prefix: prefix}, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		keys = append(keys, o.Key)
	}
	slices.Sort(keys)
	return keys
}
