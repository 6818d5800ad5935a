package llm

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rowmill/rowmill/pipeline/policy"
)

// headers are the names, in their canonical spelling, under which a provider says how
// one limit stands.
type headers struct{ limit, remaining, reset string }

// answered is an answer whose headers are read.
type answered struct {
	header http.Header
	sent   time.Time // the request
	came   time.Time // the headers
}

// appendLimits appends what the headers of an answer say of the limits, as of the
// moment in which the request was sent. They are those of OpenAI, Azure and all that
// is compatible with them, and Anthropic's. All are looked for whatever the provider,
// as a gateway passes on the headers of what is behind it.
func (a answered) appendLimits(dst []policy.Limit) []policy.Limit {
	dst = a.appendLimit(dst, policy.Requests, headers{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"})
	dst = a.appendLimit(dst, policy.Tokens, headers{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"})
	dst = a.appendLimit(dst, policy.Requests, headers{"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset"})
	dst = a.appendLimit(dst, policy.Tokens, headers{"Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset"})
	dst = a.appendLimit(dst, policy.InputTokens, headers{"Anthropic-Ratelimit-Input-Tokens-Limit", "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset"})
	return a.appendLimit(dst, policy.OutputTokens, headers{"Anthropic-Ratelimit-Output-Tokens-Limit", "Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset"})
}

// appendLimit appends one limit, if there is one: a limit of 0 or less is how Azure
// says that it does not know.
func (a answered) appendLimit(dst []policy.Limit, kind policy.Kind, names headers) []policy.Limit {
	perMinute, known := wholeNumber(a.header[names.limit])
	if !known || perMinute <= 0 {
		return dst
	}
	l := policy.Limit{Kind: kind, PerMinute: perMinute, Remaining: policy.Unknown, Reset: policy.Unknown}
	if n, known := wholeNumber(a.header[names.remaining]); known && n >= 0 {
		l.Remaining = n
	}
	if v := a.header[names.reset]; len(v) > 0 {
		if l.Reset, l.Rounded = a.untilReset(v[0]); l.Reset < 0 {
			l.Rounded = 0
		}
	}
	return append(dst, l)
}

func wholeNumber(values []string) (n int64, known bool) {
	if len(values) == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(values[0]), 10, 64)
	return n, err == nil
}

// longestReset bounds what is believed: there are limits a day, none is longer.
const longestReset = 48 * time.Hour

// untilReset reads when a limit is whole again: "1s", "6m0s", "120ms", "1d2h"
// (OpenAI), "7" in seconds (Azure) or a time as RFC 3339 has it (Anthropic). What is
// told in whole seconds is rounded up: taken at its word, a limit that is whole again
// within a second would seem to be another one with every answer.
func (a answered) untilReset(v string) (reset, rounded time.Duration) {
	if strings.Trim(v, "0123456789") == "" {
		return resetDuration(v), time.Second
	}
	if len(v) <= len("2006-01-02") || v[4] != '-' {
		return resetDuration(v), 0
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return policy.Unknown, 0
	}
	if at.Nanosecond() == 0 {
		rounded = time.Second
	}
	return believed(at.Sub(a.sent) - a.ahead()), rounded
}

// ahead is how far the clock of the other end is ahead of ours, at least: it says the
// time, in whole seconds, at which it answered.
func (a answered) ahead() time.Duration {
	date, err := http.ParseTime(a.header.Get("Date"))
	switch {
	case err != nil:
		return 0
	case date.After(a.came):
		return date.Sub(a.came)
	case date.Add(time.Second).Before(a.sent):
		return date.Add(time.Second).Sub(a.sent)
	default:
		return 0
	}
}

// resetDuration reads a number of seconds, or a duration as Go has it, with days.
func resetDuration(v string) time.Duration {
	if strings.Trim(v, "0123456789.") == "" {
		v += "s"
	}
	var days uint64
	if head, rest, found := strings.Cut(v, "d"); found {
		var err error
		if days, err = strconv.ParseUint(head, 10, 8); err != nil {
			return policy.Unknown
		}
		if v = rest; v == "" {
			v = "0s"
		}
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > longestReset {
		return policy.Unknown
	}
	return believed(time.Duration(days)*24*time.Hour + d)
}

// believed leaves out what is too long; what is past is now.
func believed(d time.Duration) time.Duration {
	if d > longestReset {
		return policy.Unknown
	}
	return max(0, d)
}

// observe tells the policies what the head of an answer says.
func (x *exchange) observe() {
	if x.attempt == nil {
		return
	}
	o := policy.Observation{
		Refused: x.status == http.StatusTooManyRequests || x.status == statusOverloaded,
		Limits:  answered{x.reply, x.sent, time.Now()}.appendLimits(x.limits[:0]),
	}
	if o.Refused || len(o.Limits) > 0 {
		x.attempt.Observe(o)
	}
}

// RateLimit returns what is wanted of the pacing, and the name of what it is for:
// the address, the model, and a fingerprint of the key and of the organization and
// project that it stands for. See [policy.Limited].
func (s *Stage) RateLimit() (name string, limit policy.RateLimit) {
	return s.endpoints[0].scope, policy.RateLimit(s.endpoints[0].config.RateLimit)
}

// scopeOf names what limits the stage. A simulator is each stage's own.
func scopeOf(c Config, k key) string {
	if c.Provider == ProviderSimulator {
		return "simulator " + rand.Text()
	}
	_, address, _ := strings.Cut(c.BaseURL, "://")
	return address + " " + cmpOr(c.Deployment, c.Model) + " " + fingerprint(c, k)
}

// fingerprint tells one key, organization or project from another without saying
// any of them.
func fingerprint(c Config, k key) string {
	digest := sha256.New()
	write := func(s string) {
		digest.Write([]byte(s))
		digest.Write([]byte{0})
	}
	write(k.value)
	write(c.Organization)
	for _, name := range []string{"Authorization", "Api-Key", "X-Api-Key", "Openai-Organization", "Openai-Project"} {
		for given, value := range c.Headers {
			if http.CanonicalHeaderKey(given) == name {
				write(name)
				write(value.Reveal())
			}
		}
	}
	return hex.EncodeToString(digest.Sum(nil)[:6])
}
