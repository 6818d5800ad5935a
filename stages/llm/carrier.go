package llm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/rowmill/rowmill/pipeline/policy"
)

// exchange is one request on its way through go-openai's client and back. It
// travels in the context, because go-openai lets nothing else through.
type exchange struct {
	// body is sent in place of what go-openai marshals; nil for a GET.
	body []byte
	// limit is how many bytes of the answer are read at most.
	limit int64
	// header is set on top of go-openai's own; it must not change.
	header http.Header

	attempt *policy.Attempt // nil if nobody wants to know what the answer says of limits
	watch   *watch          // nil if no phase is bounded
	sent    time.Time

	status int
	reply  http.Header
	answer []byte // what came back; appended to what the sender put here
	usage  usage  // if there was an answer in it
	finish string // the finish reason, likewise
	limits [4]policy.Limit

	empty http.Response // what go-openai gets; here because it lives as long
}

type exchangeKey struct{}

// azureKey is the header of Azure's keys in its canonical spelling.
const azureKey = "Api-Key"

// errTooLong says that the answer was longer than the exchange's limit.
var errTooLong = errors.New("the answer is too long")

// carrier is the HTTPDoer of go-openai's client. go-openai makes URL and headers;
// the carrier sends the exchange's bytes, reads the answer bounded and whole (so
// that the connection is used again), keeps it in the exchange, and hands go-openai
// an empty object: decoding the answer twice would cost more than the call.
type carrier struct{ transport *http.Transport }

var _ openai.HTTPDoer = (*carrier)(nil)

// Do makes the request once. Redirects are not followed: the key would go along.
func (c *carrier) Do(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("a request without an exchange")
	}
	x.dress(req)
	x.sent = time.Now()
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	x.status, x.reply = resp.StatusCode, resp.Header
	x.watch.enter(reading)
	x.observe()
	if x.answer, err = x.read(resp); err != nil {
		return nil, err
	}
	x.empty = http.Response{StatusCode: http.StatusOK, Header: resp.Header, Body: newPayload([]byte("{}"))}
	return &x.empty, nil
}

// payload is bytes as a body.
type payload struct{ bytes.Reader }

func newPayload(b []byte) *payload {
	p := &payload{}
	p.Reset(b)
	return p
}

// Close does nothing.
func (*payload) Close() error { return nil }

// dress puts the exchange's body and headers in place of go-openai's.
func (x *exchange) dress(req *http.Request) {
	for name, values := range x.header {
		req.Header[name] = values
	}
	if key := req.Header[azureKey]; len(key) == 1 && key[0] == "" {
		delete(req.Header, azureKey) // go-openai sends it empty where there is none
	}
	if x.body == nil {
		return
	}
	req.ContentLength = int64(len(x.body))
	// With GetBody the transport can take another connection where the one it chose
	// turns out to be closed before a byte was written; it repeats nothing else.
	req.GetBody = func() (io.ReadCloser, error) { return newPayload(x.body), nil }
	req.Body = newPayload(x.body)
}

// trusted is up to which Content-Length memory is taken before the bytes are there.
const trusted = 1 << 20

// read appends the body to x.answer, at most x.limit bytes of it, else errTooLong.
func (x *exchange) read(resp *http.Response) ([]byte, error) {
	buf, limit := x.answer, x.limit
	if resp.ContentLength > limit {
		return buf, errTooLong
	}
	if n := int(resp.ContentLength); n >= cap(buf) && n < trusted {
		buf = make([]byte, 0, n+1) // one more: the end is seen without growing
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			x.watch.enter(reading)
		}
		switch {
		case int64(len(buf)) > limit:
			return buf, errTooLong
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

const (
	// connections is how many idle connections are kept before Scale says better.
	connections = 256
	// manyConnections is where the buffers of the connections begin to weigh more
	// than the system calls they save: 8 KB each at the default size, 2 KB small.
	manyConnections = 1024
	smallBuffer     = 1 << 10
)

// dial returns what opens connections.
func dial(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext
}

// newTransport returns a transport that keeps its connections. It decompresses
// nothing, as an answer is small and a compressed one is not bounded by its bytes.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial(30 * time.Second),
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		DisableCompression:     true,
		MaxIdleConns:           connections,
		MaxIdleConnsPerHost:    connections,
	}
}

// scale bounds the transport to n connections, if n is positive.
func scale(t *http.Transport, n int) {
	if n < 1 {
		return
	}
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = n, n, n
	if n >= manyConnections {
		t.ReadBufferSize, t.WriteBufferSize = smallBuffer, smallBuffer
	}
}
