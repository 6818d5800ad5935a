package llm

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/internal/retryafter"
	"github.com/rowmill/rowmill/pipeline"
)

// failure is what a provider said in place of an answer.
type failure struct {
	status int
	// code and kind are the provider's error.code and error.type, "" where it has
	// none; a code that is a number (vLLM, llama.cpp, Gemini, Azure's "429") is in number.
	code, kind string
	number     int
	message    string
	// flagged says that a moderator refused this prompt (OpenRouter: 403 with the
	// flagged input), where the same status otherwise means that the key is no good.
	flagged bool
}

// mostWords bounds what is quoted of a provider's words, in bytes.
const mostWords = 500

// mostErrorBody is up to which size an error body is looked at.
const mostErrorBody = 256 << 10

// lenient is how answers are read: what providers send is not always strict JSON.
func lenient() json.Options {
	return json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// parseFailure reads the body of an error answer, whatever its form.
func parseFailure(status int, body []byte) failure {
	f := failure{status: status}
	var v any
	switch {
	case len(body) > mostErrorBody:
		f.message = words(body)
	case json.Unmarshal(body, &v, lenient()) == nil:
		f.readJSON(v)
	default:
		f.message = words(pageTitle(body))
	}
	return f
}

// readJSON takes the error out of a decoded body. Its forms:
//
//	{"error": {"message", "type", "param", "code"}}        OpenAI, Azure, Anthropic, vLLM, llama.cpp, Ollama
//	{"error": "text", "error_type": "overloaded"}          TGI, Ollama's own API
//	{"object": "error", "message", "type", "code": 400}    vLLM before 0.9, Mistral
//	{"detail": "Not Found"}                                FastAPI
//	[{"error": {"code": 429, "message", "status"}}]        Gemini
func (f *failure) readJSON(v any) {
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	body, ok := v.(map[string]any)
	if !ok {
		f.message = words(fmt.Append(nil, v))
		return
	}
	inner := body
	switch e := body["error"].(type) {
	case map[string]any:
		inner = e
	case string:
		inner = map[string]any{"message": e, "type": body["error_type"], "code": body["code"]}
	}
	f.readFields(inner)
}

func (f *failure) readFields(e map[string]any) {
	switch code := e["code"].(type) {
	case string:
		if f.number, _ = strconv.Atoi(code); f.number == 0 {
			f.code = codeName(code)
		}
	case float64:
		f.number = int(code)
	}
	f.kind = codeName(firstName(e["type"], e["status"]))
	f.message = words([]byte(firstText(e["message"], e["detail"], e["msg"])))
	if meta, ok := e["metadata"].(map[string]any); ok {
		_, f.flagged = meta["flagged_input"]
	}
}

// firstText returns the first value that is there: a string as it is, a list or
// an object as JSON.
func firstText(values ...any) string {
	for _, v := range values {
		switch v := v.(type) {
		case nil:
		case string:
			if v != "" {
				return v
			}
		default:
			if raw, err := json.Marshal(v, json.Deterministic(true)); err == nil {
				return string(raw)
			}
		}
	}
	return ""
}

// firstName returns the first value that is a string.
func firstName(values ...any) string {
	for _, v := range values {
		if s, ok := v.(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// codeName returns a provider's machine name if it is one, else nothing: it gets
// into summaries and file names of dead letters.
func codeName(s string) string {
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || r != '_' && r != '-' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return ""
	}
	return s
}

// words returns text fit for one line of a message: bounded, without control
// characters, white space folded.
func words(text []byte) string {
	s := string(text[:min(len(text), 4*mostWords)])
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)), " ")
	if len(s) <= mostWords {
		return s
	}
	cut := mostWords
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// pageTitle returns the title of an HTML page, which says what a page is about in
// the fewest words, and any other text as it is.
func pageTitle(body []byte) []byte {
	for _, tag := range []string{"title>", "TITLE>"} {
		_, rest, _ := bytes.Cut(body, []byte("<"+tag))
		if title, _, found := bytes.Cut(rest, []byte("</"+tag)); found {
			return title
		}
	}
	return body
}

// class decides what the failure does. What a code says goes before what the
// status says: 429 is busy as a rule, and spent money with "insufficient_quota".
func (f failure) class() pipeline.Class {
	if f.tooLarge() {
		return pipeline.ClassRecord
	}
	if class, ok := classOfCode(f.code); ok {
		return class
	}
	if class, ok := classOfCode(f.kind); ok {
		return class
	}
	switch {
	case f.flagged:
		return pipeline.ClassRecord
	case strings.Contains(f.message, "credit balance is too low"): // Anthropic: 400 invalid_request_error
		return pipeline.ClassFatal
	}
	return classOfStatus(f.meaning())
}

// tooLarge recognizes the 429 that no waiting mends: OpenAI's "Request too large for
// gpt-4.1 … on tokens per min (TPM): Limit 30000, Requested 40000", under the code
// rate_limit_exceeded like all the others.
func (f failure) tooLarge() bool { return strings.HasPrefix(f.message, "Request too large") }

// meaning is the status that the failure has: its own, and inside a 200 what its
// number or type say; 0 if nothing does.
func (f failure) meaning() int {
	switch {
	case f.status < 200 || f.status > 299:
		return f.status
	case f.number >= 400 && f.number <= 599:
		return f.number
	}
	switch f.kind {
	case "invalid_request_error", "BadRequestError", "INVALID_ARGUMENT":
		return http.StatusBadRequest
	case "authentication_error", "AuthenticationError":
		return http.StatusUnauthorized
	case "permission_error", "PermissionDeniedError":
		return http.StatusForbidden
	case "not_found_error", "NotFoundError":
		return http.StatusNotFound
	case "RESOURCE_EXHAUSTED", "RateLimitError":
		return http.StatusTooManyRequests
	default:
		return 0
	}
}

// classOfCode returns the class of the codes and types that mean the same under
// every status.
func classOfCode(code string) (pipeline.Class, bool) {
	switch code {
	case "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
		"project_spend_limit_exceeded", "organization_usage_limit_exceeded", "enforced_spend_limit_reached",
		"billing_error", "billing_hard_limit_reached", "billing_not_active",
		"invalid_api_key", "account_deactivated", "model_not_found", "DeploymentNotFound":
		return pipeline.ClassFatal, true
	case "context_length_exceeded", "exceed_context_size_error", "content_filter", "content_policy_violation":
		return pipeline.ClassRecord, true
	case "rate_limit_exceeded", "rate_limit_error", "slow_down", "overloaded_error":
		return pipeline.ClassRefused, true
	default:
		return 0, false
	}
}

const statusOverloaded = 529 // Anthropic's

func classOfStatus(status int) pipeline.Class {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		return pipeline.ClassFatal
	case http.StatusTooManyRequests, statusOverloaded:
		return pipeline.ClassRefused
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, 0:
		return pipeline.ClassTransient
	}
	switch {
	case status >= 500:
		return pipeline.ClassTransient
	case status >= 300 && status < 400:
		return pipeline.ClassFatal
	default:
		return pipeline.ClassRecord
	}
}

// overridden applies the header x-should-retry, which goes before the status (but
// not before a code that says that the quota is spent).
func overridden(class pipeline.Class, shouldRetry string) pipeline.Class {
	retried := class == pipeline.ClassTransient || class == pipeline.ClassRefused
	switch {
	case shouldRetry == "true" && !retried:
		return pipeline.ClassTransient
	case shouldRetry == "false" && retried:
		return pipeline.ClassRecord
	default:
		return class
	}
}

// codeOf returns the machine name: the provider's code, else its type unless that
// says no more than the status, else the status.
func (f failure) codeOf() string {
	switch {
	case f.tooLarge():
		return "request_too_large"
	case f.code != "":
		return f.code
	case f.status >= 300 && f.status < 400:
		return "redirect"
	case f.kind != "" && !strings.Contains("api_error server_error error InternalServerError internal_server_error", f.kind):
		return f.kind
	case f.meaning() != 0:
		return "http_" + strconv.Itoa(f.meaning())
	default:
		return "error_in_answer"
	}
}

// text says what happened in the provider's words.
func (f failure) text(host string) string {
	s := host + " answered " + strings.TrimSpace(strconv.Itoa(f.status)+" "+http.StatusText(f.status))
	if f.status >= 200 && f.status <= 299 {
		s += " with an error"
	}
	if f.message != "" {
		s += ": " + f.message
	}
	return s
}

// refuse makes the error of an answer that is a failure.
func (to *endpoint) refuse(f failure, reply http.Header) error {
	class := f.class()
	if _, certain := classOfCode(f.code); !certain {
		class = overridden(class, reply.Get("X-Should-Retry"))
	}
	e := &pipeline.Error{Class: class, Code: f.codeOf()}
	if class == pipeline.ClassTransient || class == pipeline.ClassRefused {
		e.RetryAfter = retryafter.Of(reply, f.message, time.Now())
		e.ForAll = f.status == http.StatusServiceUnavailable
	}
	text := f.text(to.host)
	if hint := to.hint(f, reply); hint != "" {
		text += " (" + hint + ")"
	}
	e.Err = errors.New(to.hide(text))
	return e
}

// hint says what to do about the failures that the configuration is to blame for.
func (to *endpoint) hint(f failure, reply http.Header) string {
	switch status := f.meaning(); {
	case status == http.StatusUnauthorized && to.key.origin == "":
		return "no key was sent: set api_key"
	case status == http.StatusUnauthorized:
		return "check " + to.key.origin
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return "check model and base_url, which is " + to.baseURL
	case status >= 300 && status < 400:
		return "redirects are not followed, as the key would go along: set base_url to where it leads, " + plainURL(reply.Get("Location"))
	default:
		return ""
	}
}
