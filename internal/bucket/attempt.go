package bucket

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/rowmill/rowmill/internal/retryafter"
	"github.com/rowmill/rowmill/pipeline"
)

// mostAttempts bounds how often a request is made that brings nothing: with the waits
// between them that is about 16 seconds.
const mostAttempts = 8

// request is one request to the server. It calls alive whenever something moves.
type request func(ctx context.Context, client *s3.Client, alive func()) error

// do makes a request, and makes it again if that is of use. what says what is being done,
// as in "read"; key may be empty.
func (b *Bucket) do(ctx context.Context, what, key string, f request) error {
	for failed := 0; ; {
		err := b.attempt(ctx, f)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.As(err, new(progress)) {
			failed = 0
		}
		if failed++; failed == mostAttempts || !passing(err) {
			return b.explain(what, key, err, failed)
		}
		if !b.pause(ctx, what, key, err, failed) {
			return context.Cause(ctx)
		}
	}
}

// progress is the error of a request that failed, but had brought something before.
type progress struct{ error }

// Unwrap returns why it failed.
func (p progress) Unwrap() error { return p.error }

// errIdle is why a connection was given up.
var errIdle = errors.New("nothing came for a minute")

// attempt makes a request once.
func (b *Bucket) attempt(ctx context.Context, f request) error {
	client, err := b.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(b.idle, func() { cancel(errIdle) })
	defer timer.Stop()
	err = f(ctx, client, func() { timer.Reset(b.idle) })
	if err != nil && errors.Is(context.Cause(ctx), errIdle) {
		return errIdle
	}
	return err
}

// pause waits before another attempt, and says so. It reports whether there is one.
func (b *Bucket) pause(ctx context.Context, what, key string, err error, failed int) bool {
	wait := min(b.most, b.first<<(failed-1))
	wait = wait/2 + rand.N(wait/2+1)
	wait = max(wait, min(retryAfterOf(err), 30*time.Second))
	b.log.Warn("s3: another attempt", slog.String("to", what), slog.String("object", b.URL(key)),
		slog.Int("failed", failed), slog.Duration("in", wait), slog.String("reason", reasonOf(err)))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// passing reports whether another attempt may succeed.
func passing(err error) bool {
	var known *pipeline.Error
	if errors.As(err, &known) {
		return false
	}
	switch status := statusOf(err); {
	case status >= 500 && status != http.StatusNotImplemented, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return true
	case status >= 300:
		return codeOf(err) == "RequestTimeout"
	}
	switch codeOf(err) {
	case "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling": // in an answer that begins with 200
		return true
	case "":
	default:
		return false
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound { // a host that is not there is a mistake
		return false
	}
	class, _ := pipeline.Classify(err)
	return class == pipeline.ClassTransient || errors.Is(err, errIdle) || errors.Is(err, io.ErrUnexpectedEOF)
}

// statusOf is that of the answer; 0 if there was none.
func statusOf(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// codeOf is what the server calls its error.
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// retryAfterOf is for how long the server asked to be left alone; 0 if it did not.
func retryAfterOf(err error) time.Duration {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil {
		return 0
	}
	return retryafter.Of(answer.Response.Header, "", time.Now())
}
