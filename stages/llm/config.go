// Package llm is the stage that asks a language model about every row. It is the
// only package that imports github.com/sashabaranov/go-openai, which makes URL
// and headers of the requests; body and answer are the package's own, so that a
// temperature of 0, further fields and headers get through, and an answer is
// read only up to a bound.
package llm

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

//go:embed config.go
var code string

// The providers.
const (
	ProviderOpenAI    = "openai"
	ProviderAzure     = "azure"
	ProviderAnthropic = "anthropic"
	ProviderSimulator = "simulator"
)

// Config says what a model is asked about every row, and where.
type Config struct {
	// Whose interface is spoken: openai, for OpenAI and everything that is compatible
	// with it (vLLM, Ollama, llama.cpp, gateways); azure; anthropic, by its
	// OpenAI-compatible endpoint; or simulator, which needs no key and makes answers
	// up. Defaults to openai.
	Provider string `yaml:"provider" rowmill:"oneof=openai|azure|anthropic|simulator"`
	// The name of the model. Required, except for the simulator, where it defaults to
	// simulated.
	Model string `yaml:"model"`
	// Where the interface is, without the last part /chat/completions: for a local
	// Ollama http://localhost:11434/v1, for Azure https://NAME.openai.azure.com.
	// Defaults to https://api.openai.com/v1 for openai, and to
	// https://api.anthropic.com/v1 for anthropic; azure requires it.
	BaseURL string `yaml:"base_url"`
	// The key, best given as ${NAME} from the environment. Where it is left out,
	// OPENAI_API_KEY is sent to api.openai.com, ANTHROPIC_API_KEY to
	// api.anthropic.com and AZURE_OPENAI_API_KEY to hosts below openai.azure.com, and
	// no key at all to any other host. Defaults to that.
	APIKey pipeline.Secret `yaml:"api_key" rowmill:"tuning"`
	// The version of Azure's interface, sent as api-version. Defaults to 2024-10-21
	// for azure, and to none for openai.
	APIVersion string `yaml:"api_version"`
	// The name of Azure's deployment. Defaults to the model.
	Deployment string `yaml:"deployment"`
	// The organization that pays, sent as OpenAI-Organization. Defaults to the key's
	// own.
	Organization string `yaml:"organization" rowmill:"tuning"`
	// Further headers of every request. They go before those that would be sent
	// anyway, so that Authorization can stand here in place of api_key. Defaults to
	// none.
	Headers map[string]pipeline.Secret `yaml:"headers"`
	// Several endpoints for the same question, in place of one: requests are spread over
	// those with the lowest priority number by weight and by how busy they are, and go to
	// the others when those fail, are full, or ask to wait. Each says what is different
	// of it and has the rest from the keys above, and has a rate limit and a breaker of
	// its own. One with a bad key or a spent quota is asked no more, with a warning.
	// Defaults to none.
	Endpoints []EndpointConfig `yaml:"endpoints"`
	// A template for the system message, which comes first. Defaults to none.
	System string `yaml:"system" rowmill:"template"`
	// A template for the user's message: {{.body}} is the field body, {{field "Best
	// Answer"}} one whose name has spaces, {{field "x" "-"}} has a text for rows
	// without it. Either prompt or messages is required.
	Prompt string `yaml:"prompt" rowmill:"template"`
	// The messages of a longer conversation, in order. Either prompt or messages is
	// required.
	Messages []Message `yaml:"messages"`
	// The field that gets the answer. One that is there already is replaced. Defaults
	// to answer.
	Output string `yaml:"output"`
	// How freely the model chooses its words; 0 as little as it can. Defaults to the
	// provider's own.
	Temperature *float64 `yaml:"temperature" rowmill:"min=0"`
	// The share of likely words that the model chooses from, from 0 to 1. Defaults to
	// the provider's own.
	TopP *float64 `yaml:"top_p" rowmill:"min=0,max=1"`
	// The most tokens an answer may have; one that is cut off by it is not a success,
	// see accept_finish. 0 is the provider's own limit. Defaults to 0.
	MaxTokens int `yaml:"max_tokens" rowmill:"min=0"`
	// The same for reasoning models, what they think included. 0 is the provider's
	// own limit. Defaults to 0.
	MaxCompletionTokens int `yaml:"max_completion_tokens" rowmill:"min=0"`
	// Asks for the same answer to the same request, as far as the provider can.
	// Defaults to none.
	Seed *int `yaml:"seed"`
	// Texts at which the answer ends. Defaults to none.
	Stop []string `yaml:"stop"`
	// The finish reasons with which an answer counts. The row of any other is a dead
	// letter that holds what came: length is cut off by max_tokens. A refusal, and an
	// answer without any text, never count. Defaults to [stop].
	AcceptFinish []string `yaml:"accept_finish"`
	// The longest answer of the provider that is read, all its JSON included. The row
	// of an answer that is longer every time is a dead letter. Defaults to 16MiB.
	MaxAnswer pipeline.Size `yaml:"max_answer" rowmill:"tuning"`
	// How much may be asked for in a minute. Defaults to what the provider allows.
	RateLimit RateLimit `yaml:"rate_limit" rowmill:"tuning"`
	// Keeps the answers in a file, so that a row that asks what was asked before, in
	// this run or an earlier one, gets its answer at once and for nothing: true, for
	// .rowmill/cache.db in the working directory; a path; or false. What is compared
	// is all that shapes the answer: the address, the whole request and the headers,
	// but not the key. Only answers that count (see accept_finish) are kept. Defaults
	// to false.
	Cache Cache `yaml:"cache"`
	// Sends what several rows ask at the same time only once; all of them get the
	// answer. If the request fails, each of them asks for itself. Defaults to false.
	Coalesce bool `yaml:"coalesce"`
	// With cache or coalesce, the field that says whether the answer came without a
	// request of the row's own, and cost nothing: true or false. One that is there
	// already is replaced. Defaults to the name of output with _cached behind it.
	Cached string `yaml:"cached"`
	// Further fields of the request, for instance reasoning_effort or
	// response_format. Fields with a key of their own do not belong here. Defaults to
	// none.
	Extra map[string]any `yaml:"extra"`
	// How the simulator behaves; only with provider: simulator. Defaults to answering
	// at once and without faults.
	Simulator *simulator.Options `yaml:"simulator"`
}

// RateLimit says how much may be asked for in a minute, by all the stages together
// that ask the same model at the same address with the same key.
type RateLimit struct {
	// Requests a minute: a number; auto, which goes by what the provider says of its
	// limit and by what it refuses; or off. What the provider says is heeded beside a
	// number too, if it is less. Defaults to auto.
	RequestsPerMinute policy.Rate `yaml:"requests_per_minute" rowmill:"tuning"`
	// The same for tokens, those of prompts and answers together. Defaults to auto.
	TokensPerMinute policy.Rate `yaml:"tokens_per_minute" rowmill:"tuning"`
}

// Message is one message of the prompt.
type Message struct {
	// Who says it: system, developer, user or assistant. Required.
	Role string `yaml:"role" rowmill:"required,oneof=system|developer|user|assistant"`
	// A template for what is said. Required.
	Content string `yaml:"content" rowmill:"required,template"`
}

// Spec describes the component.
func Spec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "llm",
		Summary:  "asks a language model about every row",
		Code:     code,
		MoreCode: []string{simulator.Code, endpointCode},
		Workload: pipeline.Waits,
		Costs:    true,
		Example: `llm:
  model: gpt-4.1-mini
  system: You answer with one word.
  prompt: "Is this review good or bad? {{.review}}"
  output: verdict
  temperature: 0
parallelism: 32
`,
	}, Defaults, func(c Config, env pipeline.Env) (pipeline.Stage, error) { return New(c, env) })
}

// Defaults returns a Config with every default in its place that does not depend
// on the provider.
func Defaults() Config {
	return Config{Provider: ProviderOpenAI, Output: "answer", AcceptFinish: []string{"stop"}, MaxAnswer: 16 << 20}
}

// withDefaults fills in what is left at its zero value.
func (c Config) withDefaults() Config {
	d := Defaults()
	if c.Provider == "" {
		c.Provider = d.Provider
	}
	if c.Output == "" {
		c.Output = d.Output
	}
	if len(c.AcceptFinish) == 0 {
		c.AcceptFinish = d.AcceptFinish
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = d.MaxAnswer
	}
	if c.recalls() {
		c.Cached = cmpOr(c.Cached, c.Output+"_cached")
	}
	switch c.Provider {
	case ProviderOpenAI:
		c.BaseURL = cmpOr(c.BaseURL, "https://api.openai.com/v1")
	case ProviderAnthropic:
		c.BaseURL = cmpOr(c.BaseURL, "https://api.anthropic.com/v1")
	case ProviderAzure:
		c.APIVersion = cmpOr(c.APIVersion, "2024-10-21")
		c.Deployment = cmpOr(c.Deployment, c.Model)
	case ProviderSimulator:
		c.Model = cmpOr(c.Model, "simulated")
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	return c
}

// Validate returns the mistakes that show without the environment and without
// the rows, as [pipeline.Problems].
func (c Config) Validate() error {
	var p pipeline.Problems
	c.checkEndpoints(&p)
	c = c.withDefaults()
	c.checkPrompt(&p)
	c.checkNumbers(&p)
	c.checkExtra(&p)
	c.checkCached(&p)
	return p.Err()
}

func (c Config) checkProvider(p *pipeline.Problems) {
	switch c.Provider {
	case ProviderOpenAI, ProviderAnthropic:
		checkBaseURL(c.BaseURL, p)
	case ProviderAzure:
		if c.BaseURL == "" {
			p.Addf("base_url", "is missing; for azure write https://NAME.openai.azure.com")
		} else {
			checkBaseURL(c.BaseURL, p)
		}
		if strings.HasSuffix(c.BaseURL, "/openai") || strings.Contains(c.BaseURL, "/openai/") {
			p.Addf("base_url", "leave out what follows the host, from /openai on: it is added, with the deployment")
		}
	case ProviderSimulator:
		if c.BaseURL != "" {
			p.Addf("base_url", "does nothing with provider: simulator, which runs inside; for one that runs elsewhere use provider: openai")
		}
	default:
		p.Addf("provider", "%q is not known; choose openai, azure, anthropic or simulator", c.Provider)
	}
	if c.Model == "" {
		p.Addf("model", "is missing")
	}
	c.checkMisplaced(p)
}

// checkMisplaced finds keys that do nothing with this provider.
func (c Config) checkMisplaced(p *pipeline.Problems) {
	if c.Deployment != "" && c.Provider != ProviderAzure {
		p.Addf("deployment", "does nothing without provider: azure")
	}
	if c.APIVersion != "" && c.Provider != ProviderAzure && c.Provider != ProviderOpenAI {
		p.Addf("api_version", "does nothing with provider: %s", c.Provider)
	}
}

// addBelow adds the mistakes of a nested configuration.
func addBelow(p *pipeline.Problems, key string, err error) {
	var nested pipeline.Problems
	switch {
	case errors.As(err, &nested):
		for _, one := range nested {
			one.Key = strings.Trim(key+"."+one.Key, ".")
			*p = append(*p, one)
		}
	case err != nil:
		*p = append(*p, pipeline.Problem{Key: key, Err: err})
	}
}

func checkBaseURL(base string, p *pipeline.Problems) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		p.Addf("base_url", "%q is not an address like https://api.openai.com/v1 or http://localhost:11434/v1", plainURL(base))
	case u.Scheme == "http" && keyOf(base) != "":
		p.Addf("base_url", "write https: the key would be open to all on the way")
	case u.User != nil:
		p.Addf("base_url", "cannot hold a user and password; write headers: {Authorization: \"Basic ${NAME}\"}")
	case u.RawQuery != "" || u.Fragment != "":
		p.Addf("base_url", "cannot hold a ?query or #fragment; there are api_version and headers")
	case strings.HasSuffix(u.Path, "/chat/completions"):
		p.Addf("base_url", "leave out the last part, /chat/completions: it is added")
	}
}

// plainURL returns an address without what may be a secret.
func plainURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not an address)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, Opaque: u.Opaque}).String()
}

func (c Config) checkPrompt(p *pipeline.Problems) {
	switch {
	case c.Prompt == "" && len(c.Messages) == 0:
		p.Addf("prompt", "is missing: write prompt, or messages")
	case c.Prompt != "" && len(c.Messages) > 0:
		p.Addf("messages", "there is a prompt already; write one of the two")
	}
	for i, m := range c.Messages {
		key := fmt.Sprintf("messages[%d]", i)
		if !slices.Contains([]string{"system", "developer", "user", "assistant"}, m.Role) {
			p.Addf(key+".role", "%q is not a role; choose system, developer, user or assistant", m.Role)
		}
		if m.Content == "" {
			p.Addf(key+".content", "is missing")
		}
		if c.System != "" && (m.Role == "system" || m.Role == "developer") {
			p.Addf(key+".role", "system has that message already; write one of the two")
		}
	}
}

func (c Config) checkNumbers(p *pipeline.Problems) {
	if c.Temperature != nil && !(*c.Temperature >= 0 && *c.Temperature <= 100) {
		p.Addf("temperature", "%v is out of range; choose a number from 0, usually up to 2", *c.Temperature)
	}
	if c.TopP != nil && !(*c.TopP >= 0 && *c.TopP <= 1) {
		p.Addf("top_p", "%v is out of range; choose a number from 0 to 1", *c.TopP)
	}
	if c.MaxTokens < 0 {
		p.Addf("max_tokens", "%d is out of range; choose a number from 1, or 0 for none", c.MaxTokens)
	}
	if c.MaxCompletionTokens < 0 {
		p.Addf("max_completion_tokens", "%d is out of range; choose a number from 1, or 0 for none", c.MaxCompletionTokens)
	}
	c.RateLimit.check(p)
	if c.MaxAnswer < 0 {
		p.Addf("max_answer", "%d is out of range; choose a size like 16MiB", c.MaxAnswer)
	}
}

func (r RateLimit) check(p *pipeline.Problems) {
	if r.RequestsPerMinute < policy.Off {
		p.Addf("rate_limit.requests_per_minute", "%d is out of range; choose auto, off, or a number from 1", int64(r.RequestsPerMinute))
	}
	if r.TokensPerMinute < policy.Off {
		p.Addf("rate_limit.tokens_per_minute", "%d is out of range; choose auto, off, or a number from 1", int64(r.TokensPerMinute))
	}
}

func (c Config) checkHeaders(p *pipeline.Problems) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value := c.Headers[name].Reveal()
		key := "headers." + name
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			p.Addf(key, "is not the name of a header")
		case slices.Contains(ownHeaders(), canonical):
			p.Addf(key, "cannot be set")
		case seen[canonical] != "":
			p.Addf(key, "is the same header as %s", seen[canonical])
		case c.APIKey != "" && isKeyHeader(canonical):
			p.Addf(key, "there is an api_key already; write one of the two")
		case !fitsHeader(value):
			p.Addf(key, "has a character that cannot stand in a header")
		}
		seen[canonical] = name
	}
	if !fitsHeader(c.APIKey.Reveal()) {
		p.Addf("api_key", "has a character that cannot stand in a header")
	}
	if !fitsHeader(c.Organization) {
		p.Addf("organization", "has a character that cannot stand in a header")
	}
}

// ownHeaders are those that belong to the transport, or would be wrong for all rows
// but one: with an Idempotency-Key the transport repeats requests on its own.
func ownHeaders() []string {
	return []string{
		"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Accept-Encoding", "Trailer",
		"Idempotency-Key", "X-Idempotency-Key",
	}
}

// isKeyHeader reports whether a header is one in which keys are sent.
func isKeyHeader(canonical string) bool {
	return canonical == "Authorization" || canonical == "Api-Key" || canonical == "X-Api-Key"
}

// isToken reports whether name can be the name of a header (RFC 9110, 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// fitsHeader reports whether value can be the value of a header.
func fitsHeader(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f })
}

// checkExtra refuses what has a key of its own, and what would get an answer that
// cannot be read.
func (c Config) checkExtra(p *pipeline.Problems) {
	for _, name := range slices.Sorted(maps.Keys(c.Extra)) {
		key := "extra." + name
		switch name {
		case "model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop":
			p.Addf(key, "has a key of its own: write %s beside extra", name)
		case "stream", "stream_options":
			p.Addf(key, "answers are not read as a stream")
		case "n":
			if fmt.Sprint(c.Extra[name]) != "1" {
				p.Addf(key, "a row has one answer; the others would be paid and lost")
			}
		default:
			if _, err := json.Marshal(c.Extra[name]); err != nil {
				p.Addf(key, "cannot be sent: %w", err)
			}
		}
	}
}

func (c Config) checkCached(p *pipeline.Problems) {
	switch {
	case c.Cached != "" && !c.recalls():
		p.Addf("cached", "does nothing without cache or coalesce")
	case c.Cached == c.Output:
		p.Addf("cached", "%s is the field of the answer already", c.Cached)
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
