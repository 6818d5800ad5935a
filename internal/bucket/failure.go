package bucket

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/rowmill/rowmill/pipeline"
)

// The codes of errors that callers tell apart.
const (
	CodeNotFound = "s3_not_found" // there is no such object
	CodeChanged  = "s3_changed"   // the object is another than it was
)

// IsCode reports whether an error of this package has a code.
func IsCode(err error, code string) bool {
	var known *pipeline.Error
	return errors.As(err, &known) && known.Code == code
}

// explain says of an error where it happened, why, and what to do about it.
func (b *Bucket) explain(what, key string, err error, attempts int) error {
	var known *pipeline.Error
	if errors.As(err, &known) {
		return err
	}
	code, advice := b.advice(what, key, err)
	text := reasonOf(err)
	if attempts > 1 {
		text += fmt.Sprintf(" (the last of %d attempts)", attempts)
	}
	if advice != "" {
		text += "; " + advice
	}
	place := b.URL(key)
	if key == "" {
		place = "s3://" + b.name
	}
	return pipeline.Fatal(code, fmt.Errorf("%s %s: %w", what, place, &cause{text, err}))
}

// cause is an error with a text of our own: that of the SDK names operations and ids of
// requests, and who knows what else.
type cause struct {
	text string
	err  error
}

// Error returns the text.
func (c *cause) Error() string { return c.text }

// Unwrap returns the error of the SDK.
func (c *cause) Unwrap() error { return c.err }

// reasonOf is what the server said, or what went wrong on the way to it.
func reasonOf(err error) string {
	var api smithy.APIError
	status := statusOf(err)
	switch {
	case errors.As(err, &api):
		text := api.ErrorCode()
		if m := strings.TrimSuffix(strings.TrimSpace(api.ErrorMessage()), "."); m != "" && m != text {
			text += ": " + m
		}
		if status > 0 {
			text = fmt.Sprintf("%d %s", status, text)
		}
		return text
	case status > 0:
		return fmt.Sprintf("%d %s", status, http.StatusText(status))
	default:
		return innermost(err)
	}
}

// innermost leaves out what the layers of the SDK say around an error.
func innermost(err error) string {
	var operation *smithy.OperationError
	var sent *smithyhttp.RequestSendError
	var address *url.Error
	switch {
	case errors.As(err, &address):
		return address.Err.Error()
	case errors.As(err, &sent):
		return sent.Err.Error()
	case errors.As(err, &operation):
		return operation.Err.Error()
	default:
		return err.Error()
	}
}

// advice returns the code of an error, and what to do about it.
func (b *Bucket) advice(what, key string, err error) (code, advice string) {
	status := statusOf(err)
	switch name := codeOf(err); {
	case name == "NoSuchBucket":
		return "s3_no_bucket", "check `bucket`, `region` and `endpoint`"
	case name == "InvalidAccessKeyId", name == "SignatureDoesNotMatch", name == "InvalidToken", name == "ExpiredToken", name == "TokenRefreshRequired":
		return "s3_credentials", "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or name a `profile`"
	case status == http.StatusMovedPermanently, name == "AuthorizationHeaderMalformed", name == "PermanentRedirect", name == "IllegalLocationConstraintException":
		return "s3_region", b.regionAdvice(err)
	case status == http.StatusForbidden && wordless(name):
		return "s3_denied", "the server does not say why: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and whether they may " + what + " it, or ask as another with `profile`" + b.anonymousAdvice()
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return "s3_denied", "whoever asks may not " + what + " it: check its permissions, or ask as another with `profile`" + b.anonymousAdvice()
	case status == http.StatusPreconditionFailed:
		return CodeChanged, "it is not what it was when the run began; --fresh starts over with what is there now"
	case status == http.StatusNotFound && key != "" && wordless(name):
		return CodeNotFound, "there is no such object (any more), or no such bucket"
	case status == http.StatusNotFound && key != "":
		return CodeNotFound, "there is no such object (any more)"
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return fmt.Sprintf("s3_%d", status), "the server is overloaded; the run can be gone on with later"
	case status > 0:
		return fmt.Sprintf("s3_%d", status), ""
	}
	return b.unanswered(err)
}

// wordless reports whether a code is only the name of the status: the answer to HEAD has
// no body in which the server could say more.
func wordless(code string) bool { return code == "" || code == "Forbidden" || code == "NotFound" }

// unanswered is about requests that have not come as far as an answer.
func (b *Bucket) unanswered(err error) (code, advice string) {
	text := err.Error()
	switch {
	case strings.Contains(text, "get credentials"), strings.Contains(text, "refresh cached credentials"), strings.Contains(text, "get identity"):
		return "s3_credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a `profile`, or ask without keys with `anonymous: true`"
	case errors.As(err, new(*smithyhttp.RequestSendError)):
		return "s3_unreachable", "check `endpoint` and the network"
	default:
		return "s3", ""
	}
}

func (b *Bucket) anonymousAdvice() string {
	if b.config.Anonymous {
		return "; `anonymous: true` is for what everybody may do"
	}
	return ""
}

func (b *Bucket) regionAdvice(err error) string {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return "the bucket is in another region: set `region: " + region + "`"
		}
	}
	return "the bucket is in another region: set `region`"
}
