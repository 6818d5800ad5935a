package llm

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	json "github.com/go-json-experiment/json"
	openai "github.com/sashabaranov/go-openai"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// endpoint is one of those that a stage asks: an address, a model and a key.
type endpoint struct {
	config  Config // of the stage, with what the endpoint says of its own
	name    string // among several
	key     key
	baseURL string // for messages; the simulator's is known once it runs
	host    string // for messages
	header  http.Header
	secrets []string // what appears in no message
	request int      // which of the stage's
	lenient json.Options
	scope   string // of its rate limit
	usage   *tally // the stage's

	transport *http.Transport // the stage's
	client    atomic.Pointer[openai.Client]

	starting  sync.Mutex // guards what follows
	simulator *simulator.Server
	closed    bool
}

// name gives each of several endpoints a name of its own: its region, else its host,
// with a number where that is taken.
func (s *Stage) name() {
	taken := map[string]bool{}
	for i, to := range s.endpoints {
		base := to.host
		if to.config.Provider == ProviderSimulator {
			base = ProviderSimulator
		}
		if len(s.config.Endpoints) > 0 {
			base = cmpOr(s.config.Endpoints[i].Region, base)
		}
		for n := 1; to.name == "" || taken[to.name]; n++ {
			if to.name = base; n > 1 {
				to.name = fmt.Sprintf("%s-%d", base, n)
			}
		}
		taken[to.name] = true
	}
}

// Endpoints returns what the policies have to know of several endpoints; none if the
// configuration has no list of them.
func (s *Stage) Endpoints() []policy.Endpoint {
	all := make([]policy.Endpoint, 0, len(s.config.Endpoints))
	for i, c := range s.config.Endpoints {
		to := s.endpoints[i]
		all = append(all, policy.Endpoint{
			Name: to.name, Scope: to.scope, RateLimit: policy.RateLimit(to.config.RateLimit),
			Weight: c.Weight, Priority: c.Priority, MaxInFlight: c.MaxInFlight,
		})
	}
	return all
}

// setHeaders makes the headers that go on top of go-openai's.
func (to *endpoint) setHeaders() {
	to.header = http.Header{"User-Agent": {"rowmill"}}
	to.secrets = append(to.secrets, to.key.value)
	for name, value := range to.config.Headers {
		to.header[http.CanonicalHeaderKey(name)] = []string{value.Reveal()}
		to.secrets = append(to.secrets, value.Reveal())
		to.secrets = append(to.secrets, strings.Fields(value.Reveal())...) // the token behind "Bearer"
	}
	to.secrets = slices.DeleteFunc(to.secrets, func(v string) bool { return len(v) < shortestSecret })
	// The longest first, so that one inside another leaves nothing of that.
	slices.SortFunc(to.secrets, func(a, b string) int { return len(b) - len(a) })
}

// shortestSecret keeps words like "true" in a header, or a key of "none" for a
// local server, from being taken out of messages.
const shortestSecret = 6

// hide takes the secrets out of a message: some servers quote the key they refuse.
func (to *endpoint) hide(text string) string {
	for _, secret := range to.secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return text
}

// connect makes go-openai's client for an address.
func (to *endpoint) connect(baseURL string) {
	c := openai.DefaultConfig(to.key.value)
	if to.config.Provider == ProviderAzure {
		c = openai.DefaultAzureConfig(to.key.value, baseURL)
		c.AzureModelMapperFunc = func(string) string { return url.PathEscape(to.config.Deployment) }
	}
	c.BaseURL = baseURL
	c.APIVersion = to.config.APIVersion
	c.OrgID = to.config.Organization
	c.HTTPClient = &carrier{transport: to.transport}
	to.baseURL = baseURL
	if u, err := url.Parse(baseURL); err == nil {
		to.host = u.Host
	}
	to.client.Store(openai.NewClientWithConfig(c))
}

// dial returns go-openai's client; the first call starts the simulator, if it is one.
func (to *endpoint) dial() (*openai.Client, error) {
	if c := to.client.Load(); c != nil {
		return c, nil
	}
	to.starting.Lock()
	defer to.starting.Unlock()
	if c := to.client.Load(); c != nil {
		return c, nil
	}
	if to.closed {
		return nil, pipeline.Fatal("closed", errors.New("the stage is closed"))
	}
	var o simulator.Options
	if to.config.Simulator != nil {
		o = *to.config.Simulator
	}
	to.simulator = simulator.New(o)
	address, err := to.simulator.Start("127.0.0.1:0")
	if err != nil {
		return nil, pipeline.Fatal("simulator", fmt.Errorf("start the simulator: %w", err))
	}
	to.connect(address)
	return to.client.Load(), nil
}

// close closes the simulator if it runs.
func (to *endpoint) close() error {
	to.starting.Lock()
	defer to.starting.Unlock()
	to.closed = true
	if to.simulator == nil {
		return nil
	}
	server := to.simulator
	to.simulator = nil
	to.client.Store(nil)
	return server.Close()
}
