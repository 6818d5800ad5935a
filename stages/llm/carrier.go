package llm

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	openai "github.com/sashabaranov/go-openai"
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

	status int
	reply  http.Header
	answer []byte // what came back; appended to what the sender put here

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
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	x.status, x.reply = resp.StatusCode, resp.Header
	if x.answer, err = readBounded(resp, x.answer, x.limit); err != nil {
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

// readBounded appends the body to buf, at most limit bytes of it, else errTooLong.
func readBounded(resp *http.Response, buf []byte, limit int64) ([]byte, error) {
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

// newTransport returns a transport that keeps its connections. It decompresses
// nothing, as an answer is small and a compressed one is not bounded by its bytes.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
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
