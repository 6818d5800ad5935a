// Package exchange is what the source and the sink http have in common: headers that are
// secrets, a client that never follows a redirect by itself, and what an answer, or none,
// means for another attempt. No error of it holds an address in full, nor a header.
package exchange

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rowmill/rowmill/internal/retryafter"
	"github.com/rowmill/rowmill/pipeline"
)

// CheckURL notes what is wrong with the value of the key `url`. It never repeats it: an
// address may hold a secret.
func CheckURL(problems *pipeline.Problems, address, like string) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		problems.Addf("url", "is no address; write it like %s", like)
	}
}

// CheckHeaders notes what is wrong with the value of the key `headers`, and repeats no value.
func CheckHeaders(problems *pipeline.Problems, headers map[string]pipeline.Secret) {
	for name, value := range headers {
		if name == "" || strings.ContainsAny(name, " :\r\n\t") {
			problems.Addf("headers", "%q is not the name of a header", name)
		}
		if strings.ContainsAny(value.Reveal(), "\r\n") {
			problems.Addf("headers."+name, "a header has no line break")
		}
	}
}

// NewClient returns a client with connections of its own, which are to be closed. What it
// gets for a redirect is the redirect.
func NewClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// MostSaid bounds what is read of an answer that is an error.
const MostSaid = 64 << 10

// Lost is the error of a request that brought no whole answer. Another attempt may help,
// unless the other end cannot show who it is, or speaks no TLS. where names it in messages;
// the address is left out of what the standard library says.
func Lost(where string, err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	certificate, record := new(tls.CertificateVerificationError), tls.RecordHeaderError{}
	class, code := pipeline.Classify(err)
	switch {
	case errors.As(err, &certificate):
		class, code = pipeline.ClassFatal, "tls"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		class, code = pipeline.ClassFatal, "tls"
		err = fmt.Errorf("%w; write http:// in url if it speaks no TLS", err)
	case class == pipeline.ClassRecord: // not the rows': nothing came back
		class, code = pipeline.ClassTransient, "network"
	}
	return &pipeline.Error{Class: class, Code: code, Err: fmt.Errorf("%s: %w", where, err)}
}

// Refused says what an answer other than 2xx means, of which said is the beginning: 429 is a
// refusal; 5xx, 408 and 425 pass; any other is of ClassRecord, for the caller to judge.
func Refused(where string, response *http.Response, said string) *pipeline.Error {
	status := response.StatusCode
	text := response.Status
	if words := FirstWords(said); words != "" {
		text += ": " + words
	}
	e := &pipeline.Error{
		Class: pipeline.ClassRecord, Code: "http_" + strconv.Itoa(status), Answer: said,
		Err: fmt.Errorf("%s answers %s", where, text),
	}
	switch {
	case status == http.StatusTooManyRequests:
		e.Class = pipeline.ClassRefused
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		e.Class, e.ForAll = pipeline.ClassTransient, status == http.StatusServiceUnavailable
	}
	e.RetryAfter = retryafter.Of(response.Header, "", time.Now())
	return e
}

// mostWords bounds what a message repeats of an answer.
const mostWords = 300

// FirstWords returns the beginning of a text, for a message.
func FirstWords(s string) string {
	if s = strings.TrimSpace(s); len(s) > mostWords {
		return strings.ToValidUTF8(s[:mostWords], "") + "…"
	}
	return s
}
