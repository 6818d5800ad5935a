package llm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// Stage asks a model about every record and sets a field to the answer. It is
// safe for concurrent use.
type Stage struct {
	config  Config
	key     key
	baseURL string // for messages; the simulator's is known once it runs
	host    string // for messages
	header  http.Header
	secrets []string // what appears in no message
	request *request
	lenient json.Options
	scope   string // of its rate limit
	density density
	log     *slog.Logger

	deadlines pipeline.Deadlines

	transport *http.Transport
	client    atomic.Pointer[openai.Client]
	buffers   sync.Pool
	usage     tally
	warned    sync.Once

	starting  sync.Mutex // guards what follows
	simulator *simulator.Server
	closed    bool
}

var (
	_ pipeline.Turner     = (*Stage)(nil)
	_ pipeline.Prober     = (*Stage)(nil)
	_ pipeline.Rehearser  = (*Stage)(nil)
	_ pipeline.Closer     = (*Stage)(nil)
	_ pipeline.Shaper     = (*Stage)(nil)
	_ pipeline.Scaler     = (*Stage)(nil)
	_ pipeline.Accountant = (*Stage)(nil)
	_ pipeline.Deadliner  = (*Stage)(nil)
	_ policy.Limited      = (*Stage)(nil)
)

// New makes the stage. It talks to nobody. The error is [pipeline.Problems]; a
// key that is missing in the environment is one of them.
func New(c Config, env pipeline.Env) (*Stage, error) {
	var problems pipeline.Problems
	addBelow(&problems, "", c.Validate())
	c = c.withDefaults()
	messages, mistakes := compile(c, env.Shape)
	problems = append(problems, mistakes...)
	k := findKey(c, env, &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	q, err := newRequest(c, messages)
	if err != nil {
		return nil, pipeline.Problems{{Err: err}}
	}
	s := &Stage{
		config: c, key: k, request: q, lenient: lenient(), scope: scopeOf(c, k), log: env.Log(), transport: newTransport(),
	}
	s.buffers.New = func() any { return new(buffers) }
	s.setHeaders()
	if c.Provider != ProviderSimulator {
		s.connect(c.BaseURL)
	}
	return s, nil
}

// setHeaders makes the headers that go on top of go-openai's.
func (s *Stage) setHeaders() {
	s.header = http.Header{"User-Agent": {"rowmill"}}
	s.secrets = append(s.secrets, s.key.value)
	for name, value := range s.config.Headers {
		s.header[http.CanonicalHeaderKey(name)] = []string{value.Reveal()}
		s.secrets = append(s.secrets, value.Reveal())
		s.secrets = append(s.secrets, strings.Fields(value.Reveal())...) // the token behind "Bearer"
	}
	s.secrets = slices.DeleteFunc(s.secrets, func(v string) bool { return len(v) < shortestSecret })
	// The longest first, so that one inside another leaves nothing of that.
	slices.SortFunc(s.secrets, func(a, b string) int { return len(b) - len(a) })
}

// shortestSecret keeps words like "true" in a header, or a key of "none" for a
// local server, from being taken out of messages.
const shortestSecret = 6

// hide takes the secrets out of a message: some servers quote the key they refuse.
func (s *Stage) hide(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return text
}

// connect makes go-openai's client for an address.
func (s *Stage) connect(baseURL string) {
	c := openai.DefaultConfig(s.key.value)
	if s.config.Provider == ProviderAzure {
		c = openai.DefaultAzureConfig(s.key.value, baseURL)
		c.AzureModelMapperFunc = func(string) string { return url.PathEscape(s.config.Deployment) }
	}
	c.BaseURL = baseURL
	c.APIVersion = s.config.APIVersion
	c.OrgID = s.config.Organization
	c.HTTPClient = &carrier{transport: s.transport}
	s.baseURL = baseURL
	if u, err := url.Parse(baseURL); err == nil {
		s.host = u.Host
	}
	s.client.Store(openai.NewClientWithConfig(c))
}

// dial returns go-openai's client; the first call starts the simulator, if it is one.
func (s *Stage) dial() (*openai.Client, error) {
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	if s.closed {
		return nil, pipeline.Fatal("closed", errors.New("the stage is closed"))
	}
	var o simulator.Options
	if s.config.Simulator != nil {
		o = *s.config.Simulator
	}
	s.simulator = simulator.New(o)
	address, err := s.simulator.Start("127.0.0.1:0")
	if err != nil {
		return nil, pipeline.Fatal("simulator", fmt.Errorf("start the simulator: %w", err))
	}
	s.connect(address)
	return s.client.Load(), nil
}

// TakesTurns marks the stage as one that puts its turns under the policies itself.
func (s *Stage) TakesTurns() {}

// Scale sets how many connections there are at most.
func (s *Stage) Scale(parallelism int) { scale(s.transport, parallelism) }

// Deadlines sets the bounds of the phases of an attempt.
func (s *Stage) Deadlines(d pipeline.Deadlines) {
	s.deadlines = d
	if d.Connect > 0 { // where the request is given up, its connection may still be dialled for another
		s.transport.DialContext, s.transport.TLSHandshakeTimeout = dial(d.Connect), d.Connect
	}
}

// Shape adds the field of the answer.
func (s *Stage) Shape(in pipeline.Shape) pipeline.Shape {
	return in.With(s.config.Output, pipeline.StringType)
}

// Rehearse renders the prompt of a record and sends nothing.
func (s *Stage) Rehearse(r *pipeline.Record) error {
	if _, there := r.Lookup(s.config.Output); there {
		s.warned.Do(func() {
			s.log.Warn("the rows have the field of the answer already; it is replaced", "output", s.config.Output)
		})
	}
	_, _, err := s.render(r)
	return err
}

// Process asks the model about r and sets the field of the answer. The prompt is
// rendered once; each attempt sends the same bytes.
func (s *Stage) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	body, text, err := s.render(r)
	if err != nil {
		return nil, err
	}
	ask := policy.Ask{
		InputTokens:  s.density.estimate(s.request.messages, text),
		OutputTokens: max(s.config.MaxTokens, s.config.MaxCompletionTokens),
		Hedge:        true, // all that two requests of a row share is its body, and that is only read
	}
	answer, err := policy.Turn(ctx, ask, func(ctx context.Context, a *policy.Attempt) (string, error) {
		x := exchange{body: body, header: s.header, limit: int64(s.config.MaxAnswer), attempt: a}
		answer, err := s.send(ctx, &x)
		s.learn(&x, text)
		return answer, err
	})
	if err != nil {
		return nil, err
	}
	r.Set(s.config.Output, pipeline.Text(answer))
	return []*pipeline.Record{r}, nil
}

// learn tells the policies, and keeps for later estimates, what the answer to a
// prompt with so many bytes of text says of it.
func (s *Stage) learn(x *exchange, text int) {
	o := policy.Observation{InputTokens: int(x.usage.Input), OutputTokens: int(x.usage.Output)}
	if o.InputTokens > 0 || o.OutputTokens > 0 {
		x.attempt.Observe(o)
	}
	s.density.learn(s.request.messages, text, o.InputTokens)
}

// render returns the body of a row's request, and how many bytes of text are in its
// messages.
func (s *Stage) render(r *pipeline.Record) (body []byte, text int, err error) {
	b := s.buffers.Get().(*buffers)
	defer func() { s.buffers.Put(b.trim()) }()
	return s.request.render(r, b)
}

// send makes one attempt and returns the answer.
func (s *Stage) send(ctx context.Context, x *exchange) (string, error) {
	client, err := s.dial()
	if err != nil {
		return "", err
	}
	b := s.buffers.Get().(*buffers)
	defer func() { s.buffers.Put(b.trim()) }()
	ctx, end := s.watched(ctx, x)
	defer end()
	x.answer = b.answer[:0]
	// The model is in the body; go-openai would check it against lists of its own.
	_, err = client.CreateChatCompletion(context.WithValue(ctx, exchangeKey{}, x), openai.ChatCompletionRequest{})
	b.answer = x.answer
	if err != nil {
		return "", s.lost(ctx, x, err)
	}
	return s.judge(x)
}

// Close closes the connections, and the simulator if it runs.
func (s *Stage) Close() error {
	s.starting.Lock()
	defer s.starting.Unlock()
	s.closed = true
	s.transport.CloseIdleConnections()
	if s.simulator == nil {
		return nil
	}
	server := s.simulator
	s.simulator = nil
	s.client.Store(nil)
	return server.Close()
}
