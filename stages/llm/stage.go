package llm

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	openai "github.com/sashabaranov/go-openai"

	"github.com/rowmill/rowmill/internal/cache"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// Stage asks a model about every record and sets a field to the answer. It is
// safe for concurrent use.
type Stage struct {
	config    Config
	endpoints []*endpoint // mostly one
	requests  []*request  // one for each model
	density   density
	memory    memory
	log       *slog.Logger

	deadlines pipeline.Deadlines

	transport *http.Transport
	buffers   sync.Pool
	usage     tally
	warned    sync.Once
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
	_ policy.Several      = (*Stage)(nil)
)

// New makes the stage. It talks to nobody. The error is [pipeline.Problems]; a
// key that is missing in the environment is one of them.
func New(c Config, env pipeline.Env) (*Stage, error) {
	var problems pipeline.Problems
	addBelow(&problems, "", c.Validate())
	keys, all := c.findKeys(env, &problems), c.all()
	c = c.withDefaults()
	messages, mistakes := compile(c, env.Shape)
	problems = append(problems, mistakes...)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	s := &Stage{config: c, log: env.Log(), transport: newTransport()}
	s.memory.files = pipeline.SharedOf[cache.Files](env.Shared)
	s.buffers.New = func() any { return new(buffers) }
	for i, one := range all {
		to := &endpoint{config: one, key: keys[i], scope: scopeOf(one, keys[i]), lenient: lenient(), transport: s.transport, usage: &s.usage}
		if err := s.add(to, messages); err != nil {
			return nil, pipeline.Problems{{Err: err}}
		}
	}
	s.name()
	return s, nil
}

// add adds an endpoint. Those with the same model share their requests.
func (s *Stage) add(to *endpoint, messages []message) error {
	to.setHeaders()
	if to.config.Provider != ProviderSimulator {
		to.connect(to.config.BaseURL)
	}
	s.endpoints = append(s.endpoints, to)
	s.memory.identities = append(s.memory.identities, identityOf(to.config))
	for i, before := range s.endpoints {
		if before != to && before.config.Model == to.config.Model {
			to.request = s.endpoints[i].request
			return nil
		}
	}
	q, err := newRequest(to.config, messages)
	to.request = len(s.requests)
	s.requests = append(s.requests, q)
	return err
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

// Shape adds the field of the answer, and the one that says where it came from.
func (s *Stage) Shape(in pipeline.Shape) pipeline.Shape {
	out := in.With(s.config.Output, pipeline.StringType)
	if s.config.recalls() {
		out = out.With(s.config.Cached, pipeline.BoolType)
	}
	return out
}

// Rehearse renders the prompt of a record and sends nothing.
func (s *Stage) Rehearse(r *pipeline.Record) error {
	if _, there := r.Lookup(s.config.Output); there {
		s.warned.Do(func() {
			s.log.Warn("the rows have the field of the answer already; it is replaced", "output", s.config.Output)
		})
	}
	_, _, err := s.render(r, 0)
	return err
}

// Process asks the model about r, or remembers, and sets the field of the answer. The
// prompt is rendered once; each attempt sends the same bytes.
func (s *Stage) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	bodies, text, err := s.bodies(r)
	if err != nil {
		return nil, err
	}
	got, err := s.answer(ctx, bodies, text)
	if err != nil {
		return nil, err
	}
	r.Set(s.config.Output, pipeline.Text(got.text))
	if s.config.recalls() {
		r.Set(s.config.Cached, pipeline.RawJSON(strconv.FormatBool(got.free)))
	}
	return []*pipeline.Record{r}, nil
}

// turn asks the model, under the policies.
func (s *Stage) turn(ctx context.Context, bodies [][]byte, text int) (reply, error) {
	ask := policy.Ask{
		InputTokens:  s.density.estimate(s.requests[0].messages, text),
		OutputTokens: max(s.config.MaxTokens, s.config.MaxCompletionTokens),
		Hedge:        true, // all that two requests of a row share is its body, and that is only read
	}
	return policy.Turn(ctx, ask, func(ctx context.Context, a *policy.Attempt) (reply, error) {
		to := s.endpoints[a.Endpoint]
		x := exchange{body: bodies[to.request], header: to.header, limit: int64(s.config.MaxAnswer), attempt: a}
		answer, err := s.send(ctx, to, &x)
		s.learn(&x, text)
		return reply{text: answer, finish: x.finish, endpoint: a.Endpoint}, err
	})
}

// learn tells the policies, and keeps for later estimates, what the answer to a
// prompt with so many bytes of text says of it.
func (s *Stage) learn(x *exchange, text int) {
	o := policy.Observation{InputTokens: int(x.usage.Input), OutputTokens: int(x.usage.Output)}
	if o.InputTokens > 0 || o.OutputTokens > 0 {
		x.attempt.Observe(o)
	}
	s.density.learn(s.requests[0].messages, text, o.InputTokens)
}

// bodies returns the bodies of a row's requests, one for each model, and how many bytes
// of text are in their messages. All are made at once: two requests of a row may be on
// their way together, and a record is not for two to read.
func (s *Stage) bodies(r *pipeline.Record) (bodies [][]byte, text int, err error) {
	bodies = make([][]byte, len(s.requests))
	for i := range s.requests {
		if bodies[i], text, err = s.render(r, i); err != nil {
			return nil, 0, err
		}
	}
	return bodies, text, nil
}

// render returns the body of a row's request to a model, and how many bytes of text are
// in its messages.
func (s *Stage) render(r *pipeline.Record, model int) (body []byte, text int, err error) {
	b := s.buffers.Get().(*buffers)
	defer func() { s.buffers.Put(b.trim()) }()
	return s.requests[model].render(r, b)
}

// send makes one attempt and returns the answer.
func (s *Stage) send(ctx context.Context, to *endpoint, x *exchange) (string, error) {
	client, err := to.dial()
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
		return "", to.lost(ctx, x, err)
	}
	return to.judge(x)
}

// Close closes the connections, the cache, and the simulators that run.
func (s *Stage) Close() error { return errors.Join(s.memory.close(), s.disconnect()) }

func (s *Stage) disconnect() error {
	s.transport.CloseIdleConnections()
	var errs []error
	for _, to := range s.endpoints {
		errs = append(errs, to.close())
	}
	return errors.Join(errs...)
}
