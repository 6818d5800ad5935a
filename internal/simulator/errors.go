package simulator

import (
	"net/http"
	"strconv"
	"time"
)

// apiError is an error answer, in the words of OpenAI until a dialect changes it.
type apiError struct {
	status               int
	kind                 string // error.type
	code, param, message string // null on the wire where empty
	// wait is what the client is asked to wait; 0 if nothing is said about it.
	wait time.Duration
}

// Error returns the message.
func (e *apiError) Error() string { return e.message }

func invalid(code, param, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: "invalid_request_error", code: code, param: param, message: message}
}

func badJSON(err error) *apiError {
	return invalid("", "", "We could not parse the JSON body of your request. The JSON payload could not be decoded: "+err.Error())
}

func tooLong(limit, got int) *apiError {
	return invalid("context_length_exceeded", "messages", "This model's maximum context length is "+strconv.Itoa(limit)+
		" tokens. However, your messages resulted in "+strconv.Itoa(got)+" tokens. Please reduce the length of the messages.")
}

func badSchema(name string, err error) *apiError {
	return invalid("", "response_format", "Invalid schema for response_format '"+name+"': "+err.Error())
}

func noSuchModel(model string) *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: "invalid_request_error", code: "model_not_found",
		message: "The model `" + model + "` does not exist or you do not have access to it.",
	}
}

func noSuchPath(method, path string) *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: "invalid_request_error", code: "unknown_url",
		message: "Unknown request URL: " + method + " " + path + ". The simulator has chat/completions and models.",
	}
}

func wrongKey() *apiError {
	return &apiError{
		status: http.StatusUnauthorized, kind: "invalid_request_error", code: "invalid_api_key",
		message: "Incorrect API key provided. The simulator wants the one it was started with.",
	}
}

func tooManyRequests(model, message string, wait time.Duration) *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, kind: "requests", code: "rate_limit_exceeded",
		message: "Rate limit reached for " + model + message, wait: wait,
	}
}

// refusal is what a request gets that is not let in.
func (v verdict) refusal(model string, tokens int) *apiError {
	what, s := " on requests per min (RPM)", v.requests
	if v.kind == "tokens" {
		what, s = " on tokens per min (TPM)", v.tokens
	}
	if v.tooLarge {
		return &apiError{
			status: http.StatusTooManyRequests, kind: "tokens", code: "rate_limit_exceeded",
			message: "Request too large for " + model + what + ": Limit " + strconv.Itoa(s.limit) + ", Requested " +
				strconv.Itoa(tokens) + ". The input or output tokens must be reduced in order to run successfully.",
		}
	}
	e := tooManyRequests(model, what+": Limit "+strconv.Itoa(s.limit)+".", v.wait)
	e.kind = v.kind
	return e
}

func quotaSpent() *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, kind: "insufficient_quota", code: "insufficient_quota",
		message: "You exceeded your current quota, please check your plan and billing details.",
	}
}

func serverError() *apiError {
	return &apiError{
		status: http.StatusInternalServerError, kind: "server_error",
		message: "The server had an error while processing your request. Sorry about that!",
	}
}

func overloaded() *apiError {
	return &apiError{
		status: http.StatusServiceUnavailable, kind: "server_error", code: "server_is_overloaded",
		message: "The server is currently overloaded with other requests. Please try again later.",
	}
}

func filtered() *apiError {
	return invalid("content_filter", "prompt", "The response was filtered due to the prompt triggering content management policy.")
}

// in returns the error as a provider of that dialect has it.
func (e apiError) in(dialect string) apiError {
	if e.wait > 0 && dialect != DialectPlain {
		e.message += " Please try again in " + roundUp(e.wait, time.Millisecond).String() + "."
	}
	switch dialect {
	case DialectAzure:
		return e.azure()
	case DialectAnthropic:
		return e.anthropic()
	case DialectPlain:
		return e.plain()
	}
	return e
}

func (e apiError) azure() apiError {
	switch e.code {
	case "rate_limit_exceeded", "invalid_api_key":
		e.code = strconv.Itoa(e.status)
	case "model_not_found":
		e.code, e.message = "DeploymentNotFound", "The API deployment for this resource does not exist."
	}
	return e
}

func (e apiError) anthropic() apiError {
	switch e.code {
	case "rate_limit_exceeded":
		e.kind = "rate_limit_error"
	case "insufficient_quota":
		e.status, e.kind = http.StatusPaymentRequired, "billing_error"
	case "server_is_overloaded":
		e.status, e.kind = 529, "overloaded_error"
	case "invalid_api_key":
		e.kind = "authentication_error"
	case "model_not_found":
		e.kind = "not_found_error"
	}
	e.code = e.kind
	return e
}

func (e apiError) plain() apiError {
	if e.code == "context_length_exceeded" {
		e.kind = "exceed_context_size_error"
	}
	return e
}

// setRetry writes the hint when to try again, in the provider's format.
func (e *apiError) setRetry(h http.Header, dialect string) {
	if e.wait <= 0 || dialect == DialectPlain {
		return
	}
	h["Retry-After"] = []string{strconv.Itoa(wholeSeconds(e.wait))}
	if dialect != DialectAnthropic {
		h["Retry-After-Ms"] = []string{strconv.FormatInt(roundUp(e.wait, time.Millisecond).Milliseconds(), 10)}
	}
}

func (e *apiError) appendJSON(b []byte, dialect string) []byte {
	b = appendText(append(b, `{"error":{"message":`...), e.message, false)
	b = appendText(append(b, `,"type":`...), e.kind, false)
	b = appendText(append(b, `,"param":`...), e.param, e.param == "")
	b = append(b, `,"code":`...)
	if dialect == DialectPlain { // a number, where OpenAI has a string or null
		b = strconv.AppendInt(b, int64(e.status), 10)
	} else {
		b = appendText(b, e.code, e.code == "")
	}
	return append(b, `}}`...)
}
