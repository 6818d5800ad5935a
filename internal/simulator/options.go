package simulator

import (
	_ "embed"
	"math"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// Code is the text of this file: the comments on the fields of [Options] and
// [Faults] are their reference.
//
//go:embed options.go
var Code string

// The dialects: whose limit headers and error bodies are sent.
const (
	DialectOpenAI    = "openai"
	DialectAzure     = "azure"
	DialectAnthropic = "anthropic"
	DialectPlain     = "plain"
)

// Options say how the simulator behaves. The zero value answers everything at
// once, without limits and faults.
type Options struct {
	// Seed of everything that is drawn: answers, latencies and faults. The same seed
	// gives the same answers. Defaults to 0.
	Seed int64 `yaml:"seed"`
	// Mean time until an answer; refusals come at once. Defaults to 0s.
	Latency pipeline.Duration `yaml:"latency" rowmill:"tuning"`
	// How much the latency varies: the sigma of a log-normal distribution with the
	// mean above. 0 is constant, 0.5 is usual, 1 has a long tail. Defaults to 0.
	LatencySpread float64 `yaml:"latency_spread" rowmill:"tuning"`
	// Limit of requests a minute; above it they are refused with 429. Requests that
	// fail count, refused ones do not. 0 is no limit. Defaults to 0.
	RequestsPerMinute int `yaml:"requests_per_minute" rowmill:"tuning"`
	// Limit of tokens a minute, charged at the door: those of the prompt plus
	// max_tokens, whatever the answer needs. 0 is no limit. Defaults to 0.
	TokensPerMinute int `yaml:"tokens_per_minute" rowmill:"tuning"`
	// The time over which the limits are enforced: no more than limit x window can
	// be had at once, the rest is refilled steadily. 1m allows a full minute's
	// burst. Defaults to 1s.
	LimitWindow pipeline.Duration `yaml:"limit_window" rowmill:"tuning"`
	// Whose limit headers and error bodies are sent: openai; azure (reset times in
	// whole seconds, -1 for what is not known); anthropic (RFC 3339 times, 529 when
	// overloaded, 402 when the quota is spent); plain, as vLLM and llama.cpp do it
	// (no headers, no hint when to try again, numbers for error codes). Defaults
	// to openai.
	Dialect string `yaml:"dialect" rowmill:"tuning,oneof=openai|azure|anthropic|plain"`
	// The models that exist; others are answered with 404. Empty accepts every
	// model. Defaults to empty.
	Models []string `yaml:"models" rowmill:"tuning"`
	// The key that is asked for, as "Authorization: Bearer" or "api-key"; others are
	// answered with 401. Empty accepts every key, or none. Defaults to empty.
	APIKey pipeline.Secret `yaml:"api_key" rowmill:"tuning"`
	// Tokens that a prompt may have; a longer one is answered with 400. 0 is no
	// limit. Defaults to 0.
	MaxContext int `yaml:"max_context"`
	// Requests after which the quota is spent: everything from then on is refused
	// for good. 0 is never. Defaults to 0.
	QuotaAfter int `yaml:"quota_after"`
	// What a refusal by the fault rate_limit asks the client to wait. Defaults to
	// 100ms.
	RetryAfter pipeline.Duration `yaml:"retry_after" rowmill:"tuning"`
	// How many different prompts are remembered, to count the requests for each.
	// One that was forgotten starts from its first request again. Defaults to
	// 100000.
	Remember int `yaml:"remember" rowmill:"tuning"`
	// The share of requests that meets each kind of fault. A request meets at most
	// one, so that the shares may add up to 100%. Defaults to none.
	Faults Faults `yaml:"faults"`
}

// Faults are the shares of requests that meet each kind of fault.
type Faults struct {
	// 429 rate_limit_exceeded, with the hint when to try again. Defaults to 0%.
	RateLimit pipeline.Share `yaml:"rate_limit"`
	// 500 server_error. Defaults to 0%.
	Error500 pipeline.Share `yaml:"error500"`
	// 503 server_is_overloaded. Defaults to 0%.
	Overloaded pipeline.Share `yaml:"overloaded"`
	// The connection is reset where the answer should come. Defaults to 0%.
	Reset pipeline.Share `yaml:"reset"`
	// The connection ends in the middle of the answer. Defaults to 0%.
	CutBody pipeline.Share `yaml:"cut_body"`
	// 502 with an HTML page, as a proxy in between sends it. Defaults to 0%.
	HTML pipeline.Share `yaml:"html"`
	// The answer takes ten times as long as it would have. Defaults to 0%.
	Slow pipeline.Share `yaml:"slow"`
	// Nothing comes at all until the client gives up. Defaults to 0%.
	Hang pipeline.Share `yaml:"hang"`
	// The answer comes one byte a second. Defaults to 0%.
	Trickle pipeline.Share `yaml:"trickle"`
	// 200 with an empty list of choices. Defaults to 0%.
	EmptyChoices pipeline.Share `yaml:"empty_choices"`
	// 200 with a body that is no JSON. Defaults to 0%.
	InvalidJSON pipeline.Share `yaml:"invalid_json"`
	// 200 with an error in the body instead of an answer. Defaults to 0%.
	Error200 pipeline.Share `yaml:"error200"`
	// An answer that does not end until the client gives up, or 1 GiB is sent.
	// Defaults to 0%.
	EndlessBody pipeline.Share `yaml:"endless_body"`
	// 429 insufficient_quota, which no retry mends. Defaults to 0%.
	Quota pipeline.Share `yaml:"quota"`
	// 401 invalid_api_key, which no retry mends. Defaults to 0%.
	Unauthorized pipeline.Share `yaml:"unauthorized"`
	// An answer cut off in the middle, with finish_reason "length". Defaults to 0%.
	Length pipeline.Share `yaml:"length"`
	// An answer withheld with finish_reason "content_filter"; 400 in the azure
	// dialect. Defaults to 0%.
	ContentFilter pipeline.Share `yaml:"content_filter"`
	// A refusal in place of an answer. Defaults to 0%.
	Refusal pipeline.Share `yaml:"refusal"`
}

// The names of the faults, as in YAML and in [Ledger].
const (
	faultRateLimit     = "rate_limit"
	faultError500      = "error500"
	faultOverloaded    = "overloaded"
	faultReset         = "reset"
	faultCutBody       = "cut_body"
	faultHTML          = "html"
	faultSlow          = "slow"
	faultHang          = "hang"
	faultTrickle       = "trickle"
	faultEmptyChoices  = "empty_choices"
	faultInvalidJSON   = "invalid_json"
	faultError200      = "error200"
	faultEndlessBody   = "endless_body"
	faultQuota         = "quota"
	faultUnauthorized  = "unauthorized"
	faultLength        = "length"
	faultContentFilter = "content_filter"
	faultRefusal       = "refusal"
)

// fate is one kind of fault and its share.
type fate struct {
	name  string
	share pipeline.Share
}

// fates lists the faults in a fixed order, from which they are drawn.
func (f Faults) fates() []fate {
	return []fate{
		{faultRateLimit, f.RateLimit},
		{faultError500, f.Error500},
		{faultOverloaded, f.Overloaded},
		{faultReset, f.Reset},
		{faultCutBody, f.CutBody},
		{faultHTML, f.HTML},
		{faultSlow, f.Slow},
		{faultHang, f.Hang},
		{faultTrickle, f.Trickle},
		{faultEmptyChoices, f.EmptyChoices},
		{faultInvalidJSON, f.InvalidJSON},
		{faultError200, f.Error200},
		{faultEndlessBody, f.EndlessBody},
		{faultQuota, f.Quota},
		{faultUnauthorized, f.Unauthorized},
		{faultLength, f.Length},
		{faultContentFilter, f.ContentFilter},
		{faultRefusal, f.Refusal},
	}
}

// Transient returns the faults after which another attempt may succeed, all of
// them at the same share: 12 kinds, so that at most 1/12 makes sense.
func Transient(share pipeline.Share) Faults {
	return Faults{
		RateLimit: share, Error500: share, Overloaded: share, Reset: share,
		CutBody: share, HTML: share, Hang: share, Trickle: share,
		EmptyChoices: share, InvalidJSON: share, Error200: share, EndlessBody: share,
	}
}

// Defaults returns the Options with every default in its place.
func Defaults() Options { return Options{}.withDefaults() }

func (o Options) withDefaults() Options {
	if o.LimitWindow == 0 {
		o.LimitWindow = pipeline.Duration(time.Second)
	}
	if o.Dialect == "" {
		o.Dialect = DialectOpenAI
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = pipeline.Duration(100 * time.Millisecond)
	}
	if o.Remember == 0 {
		o.Remember = 100_000
	}
	return o
}

// Validate returns the mistakes as [pipeline.Problems], nil if there are none.
func (o Options) Validate() error {
	var p pipeline.Problems
	for _, n := range []struct {
		key   string
		value float64
	}{
		{"latency", float64(o.Latency)},
		{"requests_per_minute", float64(o.RequestsPerMinute)},
		{"tokens_per_minute", float64(o.TokensPerMinute)},
		{"limit_window", float64(o.LimitWindow)},
		{"max_context", float64(o.MaxContext)},
		{"quota_after", float64(o.QuotaAfter)},
		{"retry_after", float64(o.RetryAfter)},
		{"remember", float64(o.Remember)},
	} {
		if n.value < 0 {
			p.Addf(n.key, "is negative; want 0 or more")
		}
	}
	// Above 5 the mean is made of one answer in millions: a mistake, surely.
	if !(o.LatencySpread >= 0 && o.LatencySpread <= 5) {
		p.Addf("latency_spread", "is %v; want a number from 0 (constant) to 5", o.LatencySpread)
	}
	switch o.Dialect {
	case "", DialectOpenAI, DialectAzure, DialectAnthropic, DialectPlain:
	default:
		p.Addf("dialect", "%q is none of openai, azure, anthropic, plain", o.Dialect)
	}
	o.Faults.validate(&p)
	return p.Err()
}

func (f Faults) validate(p *pipeline.Problems) {
	sum := 0.0
	for _, one := range f.fates() {
		if !(one.share >= 0 && one.share <= 1) {
			p.Addf("faults."+one.name, "is %v; want a share from 0%% to 100%%", one.share)
		}
		sum += float64(one.share)
	}
	if math.IsNaN(sum) || sum > 1+1e-9 { // 1e-9: ten times 10% add up to a little more than 1
		p.Addf("faults", "the shares add up to %v; a request meets at most one fault, so 100%% is the most", pipeline.Share(sum))
	}
}
