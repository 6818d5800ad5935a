package llm

import (
	_ "embed"
	"fmt"
	"maps"
	"net/http"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

//go:embed endpointconfig.go
var endpointCode string

// EndpointConfig is one of several endpoints. What it leaves out is as for the stage; but
// one with a provider of its own has nothing of what belongs to the stage's provider:
// address, key, organization, headers, version and deployment.
type EndpointConfig struct {
	// Whose interface is spoken. Defaults to that of the stage.
	Provider string `yaml:"provider" rowmill:"oneof=openai|azure|anthropic|simulator"`
	// The name of the model there. Defaults to that of the stage.
	Model string `yaml:"model"`
	// Where the interface is. Defaults to that of the stage.
	BaseURL string `yaml:"base_url"`
	// The key. Defaults to that of the stage: give one where it is not for this address.
	APIKey pipeline.Secret `yaml:"api_key" rowmill:"tuning"`
	// The version of Azure's interface. Defaults to that of the stage.
	APIVersion string `yaml:"api_version"`
	// The name of Azure's deployment. Defaults to that of the stage.
	Deployment string `yaml:"deployment"`
	// The organization that pays. Defaults to that of the stage.
	Organization string `yaml:"organization" rowmill:"tuning"`
	// Further headers, in place of those of the stage. Defaults to those.
	Headers map[string]pipeline.Secret `yaml:"headers"`
	// A name for messages and the summary, such as eu-west. Defaults to the host.
	Region string `yaml:"region" rowmill:"tuning"`
	// How many requests it gets, compared with others of its priority: one with 2 gets
	// twice as many as one with 1. Defaults to 1.
	Weight float64 `yaml:"weight" rowmill:"tuning,min=0.001,max=1000"`
	// Those with the lowest number are asked first, others when none of them can take a
	// request. Defaults to 0.
	Priority int `yaml:"priority" rowmill:"tuning"`
	// How many requests it has at once at most, within the stage's parallelism. Defaults
	// to no bound of its own.
	MaxInFlight int `yaml:"max_in_flight" rowmill:"tuning,min=1"`
	// How much may be asked of it in a minute. Defaults to that of the stage.
	RateLimit RateLimit `yaml:"rate_limit" rowmill:"tuning"`
}

// checkEndpoints checks where is asked: every endpoint of the list, if there is one.
func (c Config) checkEndpoints(p *pipeline.Problems) {
	simulated := false
	for i, one := range c.all() {
		var mistakes pipeline.Problems
		one.checkProvider(&mistakes)
		one.checkHeaders(&mistakes)
		simulated = simulated || one.Provider == ProviderSimulator
		if len(c.Endpoints) == 0 {
			*p = append(*p, mistakes...)
			continue
		}
		at := fmt.Sprintf("endpoints[%d]", i)
		c.Endpoints[i].check(&mistakes)
		addBelow(p, at, mistakes)
	}
	if c.Simulator != nil && !simulated {
		p.Addf("simulator", "does nothing without provider: simulator")
	}
	if c.Simulator != nil {
		addBelow(p, "simulator", c.Simulator.Validate())
	}
}

func (e EndpointConfig) check(p *pipeline.Problems) {
	if e.Weight < 0 {
		p.Addf("weight", "is %v; choose a number above 0", e.Weight)
	}
	if e.MaxInFlight < 0 {
		p.Addf("max_in_flight", "is %d; choose a number from 1", e.MaxInFlight)
	}
	e.RateLimit.check(p)
}

// all returns the configurations of the endpoints, each with every default in its place:
// the stage's own, if there is no list of them.
func (c Config) all() []Config {
	if len(c.Endpoints) == 0 {
		return []Config{c.withDefaults()}
	}
	all := make([]Config, len(c.Endpoints))
	for i, e := range c.Endpoints {
		all[i] = c.with(e).withDefaults()
		if all[i].Provider != ProviderSimulator {
			all[i].Simulator = nil
		}
	}
	return all
}

// with returns the configuration of an endpoint. What belongs to a provider, its key
// above all, goes to no other.
func (c Config) with(e EndpointConfig) Config {
	if e.Provider != "" && e.Provider != cmpOr(c.Provider, ProviderOpenAI) {
		c.BaseURL, c.APIKey, c.APIVersion, c.Deployment, c.Organization, c.Headers = "", "", "", "", "", nil
	}
	c.Provider = cmpOr(e.Provider, c.Provider)
	c.Model = cmpOr(e.Model, c.Model)
	c.BaseURL = cmpOr(e.BaseURL, c.BaseURL)
	c.APIVersion = cmpOr(e.APIVersion, c.APIVersion)
	c.Deployment = cmpOr(e.Deployment, c.Deployment)
	c.Organization = cmpOr(e.Organization, c.Organization)
	switch { // a key of its own takes the place of any other
	case e.Headers != nil:
		c.Headers = e.Headers
		if hasKey(e.Headers) {
			c.APIKey = ""
		}
	case e.APIKey != "":
		c.Headers = maps.Clone(c.Headers)
		maps.DeleteFunc(c.Headers, func(name string, _ pipeline.Secret) bool { return isKeyHeader(http.CanonicalHeaderKey(name)) })
	}
	if e.APIKey != "" {
		c.APIKey = e.APIKey
	}
	if e.RateLimit.RequestsPerMinute != policy.Auto {
		c.RateLimit.RequestsPerMinute = e.RateLimit.RequestsPerMinute
	}
	if e.RateLimit.TokensPerMinute != policy.Auto {
		c.RateLimit.TokensPerMinute = e.RateLimit.TokensPerMinute
	}
	return c
}

func hasKey(headers map[string]pipeline.Secret) bool {
	for name := range headers {
		if isKeyHeader(http.CanonicalHeaderKey(name)) {
			return true
		}
	}
	return false
}
