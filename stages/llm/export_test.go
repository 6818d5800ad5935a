package llm

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// Capture makes a stage's transport give up where it would connect, and returns
// the request that send was about to make, with the address and all headers.
func Capture(s *Stage, send func()) *http.Request {
	var request *http.Request
	s.transport.Proxy = func(r *http.Request) (*url.URL, error) {
		request = r
		return nil, errors.New("captured")
	}
	send()
	return request
}

// Transport returns the transport of a stage.
func Transport(s *Stage) *http.Transport { return s.transport }

// Render returns the body of a row's request.
func Render(t *testing.T, s *Stage, r *pipeline.Record) []byte {
	t.Helper()
	body, _, err := s.render(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// NewTransport returns a transport with the settings of a stage's.
func NewTransport(connections int) *http.Transport {
	t := newTransport()
	scale(t, connections)
	return t
}

// Judge judges an answer.
func Judge(s *Stage, status int, body string) (string, error) {
	return s.endpoints[0].judge(&exchange{status: status, answer: []byte(body), reply: http.Header{}})
}

// Silence makes a stage's requests ones to which nothing ever comes.
func Silence(s *Stage) {
	s.transport.Proxy = func(r *http.Request) (*url.URL, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
}

// AppendLimits appends what the headers of an answer say of the limits.
func AppendLimits(dst []policy.Limit, h http.Header, sent time.Time) []policy.Limit {
	return answered{h, sent, sent}.appendLimits(dst)
}

// Estimate is the estimate of a record's prompt.
func Estimate(t *testing.T, s *Stage, r *pipeline.Record) int {
	t.Helper()
	_, text, err := s.render(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s.density.estimate(s.requests[0].messages, text)
}

// Dial makes a stage's connections.
func Dial(s *Stage, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	s.transport.Proxy, s.transport.DialContext = nil, dial
}

// AwaitWaiting returns when n rows wait for the answer of another one.
func AwaitWaiting(s *Stage, n int) {
	for s.memory.flights.Waiting() < n {
		runtime.Gosched()
	}
}
