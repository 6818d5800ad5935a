package builtin_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rowmill/rowmill/pipeline/engine"
)

func llmKeyCases() []keyCase {
	const plain = "base_url: URL/v1, model: m, prompt: '{{.q}}'"
	const azure = "provider: azure, base_url: URL, model: m, prompt: '{{.q}}'"
	asks := func(key, config string, values ...string) keyCase {
		return keyCase{
			key: "stage llm: " + key, values: values,
			yaml: fmt.Sprintf(`
source: {values: {rows: [{q: Why, p: What}, {q: How, p: Who}]}}
stages: [{llm: {%s}, retry: {attempts: 1}}]
sink: {file: {path: DIR/out.jsonl}}
`, config),
		}
	}
	const spoken = "base_url: URL/v1, model: m, messages: [{role: system, content: Be brief.}, {role: user, content: '{{.q}}'}]"
	at := func(path string, c keyCase) keyCase {
		c.at = "stages.llm.llm." + path
		return c
	}
	cut := func(w http.ResponseWriter, _ string) { says(w, "It is", "length") }
	long := func(w http.ResponseWriter, _ string) { says(w, fmt.Sprintf("%01000d", 0), "stop") }
	answered := func(a answer, c keyCase) keyCase {
		c.answer = a
		return c
	}
	preflight := func(c keyCase) keyCase {
		c.options = engine.Options{Preflight: true}
		return c
	}
	paced := func(key, config string, values ...string) keyCase {
		c := asks("rate_limit."+key, config, values...)
		c.yaml = strings.Replace(c.yaml, "[{q: Why, p: What}, ", "[{q: Why}, {q: When}, {q: Where}, ", 1)
		c.see = []aspect{output, takes(time.Second)}
		return c
	}
	// spread has two endpoints, of which the key of the first is changed; the second is
	// asked when that is wanted less, or cannot be.
	spread := func(key, more string, values ...string) keyCase {
		of := strings.TrimSuffix("{base_url: URL/v1, priority: 1, "+more, ", ") + "}"
		c := asks("endpoints."+key, "model: m, base_url: URL/v3, prompt: '{{.q}}', endpoints: ["+of+", {base_url: URL/v2, priority: 2}]", values...)
		c.yaml = strings.Replace(c.yaml, "retry:", "parallelism: 1, retry:", 1)
		c.yaml = strings.Replace(c.yaml, "[{q: Why, p: What}, ", "[{q: Why}, {q: When}, {q: Where}, ", 1)
		c.at = "stages.llm.llm.endpoints[0]." + key
		c.see = []aspect{wire, output, dead, counts, failure, reached}
		return c
	}
	weighed := spread("weight", "", "1", "3")
	weighed.yaml = strings.Replace(weighed.yaml, "priority: 2", "priority: 1", 1)
	full := spread("max_in_flight", "", "1", "")
	full.meet = 4 // all rows
	full.yaml = strings.Replace(full.yaml, "parallelism: 1,", "parallelism: 4,", 1)
	full.see = []aspect{reached}
	// again asks the same twice, one after the other.
	again := func(c keyCase) keyCase {
		c.yaml = strings.Replace(c.yaml, "{q: How, p: Who}", "{q: Why, p: What}", 1)
		c.yaml = strings.Replace(c.yaml, "retry:", "parallelism: 1, retry:", 1)
		c.see = []aspect{wire}
		return c
	}
	return []keyCase{
		weighed, full,
		spread("rate_limit.requests_per_minute", "", "off", "100"),
		spread("rate_limit.tokens_per_minute", "", "off", "300"),
		spread("provider", "api_key: sk-1234567", "openai", "azure"),
		spread("model", "", "m", "n"),
		spread("base_url", "", "URL/v1", "URL/v4"),
		spread("api_key", "", "sk-1234567", "sk-7654321"),
		spread("api_version", "provider: azure, api_key: sk-1234567", "", "2030-01-01"),
		spread("deployment", "provider: azure, api_key: sk-1234567", "", "d"),
		spread("organization", "", "", "org-1"),
		spread("headers", "", "{X-Team: a}", "{X-Team: b}"),
		spread("region", "", "eu-west", "us-east"),
		spread("priority", "", "1", "3"),
		// The interface of Anthropic differs in the preflight alone.
		preflight(asks("provider", plain+", api_key: sk-1234567", "openai", "azure", "anthropic")),
		asks("model", plain, "m", "n"),
		asks("base_url", plain, "URL/v1", "URL/v2"),
		asks("api_key", plain, "sk-1234567", "sk-7654321"),
		asks("api_version", azure, "", "2030-01-01"),
		asks("deployment", azure, "", "d"),
		asks("organization", plain, "", "org-1"),
		asks("headers", plain, "{X-Team: a}", "{X-Team: b}"),
		asks("system", plain, "", "Be brief.", "'{{.p}}'"),
		asks("prompt", plain, "'{{.q}}'", "'{{.p}}'"),
		at("messages[0].role", asks("messages.role", spoken, "system", "developer", "user", "assistant")),
		at("messages[1].content", asks("messages.content", spoken, "'{{.q}}'", "'{{.p}}'")),
		asks("output", plain, "answer", "a"),
		asks("temperature", plain, "", "0", "0.5"),
		asks("top_p", plain, "", "0", "0.5"),
		asks("max_tokens", plain, "0", "7"),
		asks("max_completion_tokens", plain, "0", "7"),
		asks("seed", plain, "", "0", "1"),
		asks("stop", plain, "", "END", "[END, STOP]"),
		answered(cut, asks("accept_finish", plain, "[stop]", "[stop, length]")),
		answered(long, asks("max_answer", plain, "16MiB", "1KiB")),
		paced("requests_per_minute", plain, "off", "100"),
		paced("tokens_per_minute", plain, "off", "300"),
		again(asks("cache", plain, "false", "DIR/answers.db")),
		asks("coalesce", plain, "false", "true"),
		asks("cached", plain+", coalesce: true", "", "known"),
		asks("extra", plain, "", "{reasoning_effort: low}", "{reasoning_effort: high}"),
	}
}

// impatient is how long a request to the simulator may take. What is quick takes a
// thousandth of it.
const impatient = 1500 * time.Millisecond

func simulatorKeyCases() []keyCase {
	asks := func(key, rows, config string, values ...string) keyCase {
		return keyCase{
			key: "stage llm: simulator." + key, values: values, see: []aspect{output, codes}, // how much was read when a run fails is chance
			yaml: fmt.Sprintf(`
source: {values: {rows: [%s]}}
stages:
  - llm: {provider: simulator, prompt: '{{.q}}', max_answer: 64KiB, rate_limit: {requests_per_minute: off, tokens_per_minute: off}, simulator: {%s}}
    parallelism: 1
    reorder_window: 1 # one row after the other
    retry: {attempts: 1, backoff: 1ms}
    breaker: {max_pause: 1m}
    timeout: %v
sink: {file: {path: DIR/out.jsonl}}
`, rows, config, impatient),
		}
	}
	const one = "{q: 'Why is the sky blue?'}"
	const two = one + ", {q: 'Who wrote Hamlet?'}"
	const three = two + ", {q: 'How far is the moon?'}"
	// fault is about a share of requests that meet a fault: none, or all.
	fault := func(name, code string) keyCase {
		c := asks("faults."+name, one, "retry_after: 1h", "0%", "100%")
		c.shows = code
		return c
	}
	paced := func(c keyCase) keyCase {
		c.see = []aspect{output, takes(time.Second)}
		return c
	}
	return []keyCase{
		asks("seed", one, "", "1", "2"),
		asks("latency", one, "", "0s", "1h"),
		asks("latency_spread", one, "latency: 1h", "0", "5"),
		paced(asks("requests_per_minute", three, "", "0", "60")),
		asks("tokens_per_minute", one, "", "0", "1"),
		paced(asks("limit_window", three, "requests_per_minute: 60", "1m", "1s")),
		asks("dialect", one, "faults: {unauthorized: 100%}", "openai", "anthropic", "plain"),
		asks("models", one, "", "[]", "[other]"),
		asks("api_key", one, "", "", "sk-1234567"),
		asks("max_context", one, "", "0", "1"),
		asks("quota_after", two, "", "0", "1"),
		asks("retry_after", two, "faults: {rate_limit: 50%}", "1ms", "1h"),
		asks("remember", three+","+one, "seed: 4, faults: {error500: 50%}", "100", "2"),
		fault("rate_limit", "outage"),
		fault("error500", "http_500"),
		fault("overloaded", "server_is_overloaded"),
		fault("reset", "connection_reset"),
		fault("cut_body", "cut_short"),
		fault("html", "http_502"),
		asks("faults.slow", one, "latency: 500ms", "0%", "100%"),
		fault("hang", "timeout"),
		fault("trickle", "timeout"),
		fault("empty_choices", "no_choices"),
		fault("invalid_json", "cut_short"),
		fault("error200", "error_in_answer"),
		fault("endless_body", "answer_too_long"),
		fault("quota", "insufficient_quota"),
		fault("unauthorized", "invalid_api_key"),
		fault("length", "finish_length"),
		fault("content_filter", "content_filter"),
		fault("refusal", "refusal"),
	}
}
