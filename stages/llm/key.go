package llm

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// key is the key that is sent, and where it came from.
type key struct {
	value string
	// origin names the key of the file or the variable, for messages; "" if no key
	// is sent. One that stands in headers has no value here.
	origin string
}

// keyOf returns the variable whose key belongs to a host, "" for hosts that are
// nobody's: a key goes nowhere by default but to the one who issued it.
func keyOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	switch host := strings.ToLower(u.Hostname()); {
	case host == "api.openai.com":
		return "OPENAI_API_KEY"
	case host == "api.anthropic.com":
		return "ANTHROPIC_API_KEY"
	case strings.HasSuffix(host, ".openai.azure.com"):
		return "AZURE_OPENAI_API_KEY"
	default:
		return ""
	}
}

// findKeys returns the keys of all endpoints.
func (c Config) findKeys(env pipeline.Env, p *pipeline.Problems) []key {
	var keys []key
	for i, one := range c.all() {
		var missing pipeline.Problems
		keys = append(keys, findKey(one, env, &missing))
		if len(c.Endpoints) == 0 {
			*p = append(*p, missing...)
		} else {
			addBelow(p, fmt.Sprintf("endpoints[%d]", i), missing)
		}
	}
	return keys
}

// findKey returns the key of the file, else that of the environment if the host is
// its issuer's. One that is missing there is a problem.
func findKey(c Config, env pipeline.Env, p *pipeline.Problems) key {
	if c.APIKey != "" {
		return key{value: c.APIKey.Reveal(), origin: "api_key"}
	}
	for name := range c.Headers {
		if isKeyHeader(http.CanonicalHeaderKey(name)) {
			return key{origin: "headers." + name}
		}
	}
	name := keyOf(c.BaseURL)
	if name == "" || c.Provider == ProviderSimulator {
		return key{}
	}
	value := strings.TrimSpace(env.Lookup(name))
	switch {
	case value == "":
		p.Addf("api_key", "is missing: set %s in the environment, or write api_key: ${NAME} for another variable", name)
	case !fitsHeader(value):
		p.Addf("api_key", "%s has a character that cannot stand in a header", name)
	}
	return key{value: value, origin: name}
}
