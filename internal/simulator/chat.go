package simulator

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// exchange is a chat request and its answer.
type exchange struct {
	s *Server
	w http.ResponseWriter
	r *http.Request

	key Key
	// nth counts the requests for the same prompt, from 1.
	nth   uint64
	fault string // "" for none
	reply reply

	ended bool
	// hangUp: the connection is to be broken off.
	hangUp bool
}

// chat answers a chat request. The deployment is the model where the path names
// one.
func (s *Server) chat(w http.ResponseWriter, r *http.Request, deployment string) {
	s.books.arrive()
	x := &exchange{s: s, w: w, r: r}
	defer x.end(ending{}) // does nothing if it has ended
	if x.admit(deployment) {
		x.run()
	}
	if x.hangUp {
		x.end(ending{})
		panic(http.ErrAbortHandler)
	}
}

// end books how the exchange ended, once. It comes before what is sent last, so
// that a client that has its answer finds it in the ledger.
func (x *exchange) end(e ending) {
	if !x.ended {
		x.ended = true
		x.s.books.end(e)
	}
}

// turnAway answers a request that is not let in.
func (x *exchange) turnAway(how how, e *apiError) {
	x.end(ending{how: how})
	x.s.fail(x.w, e)
}

// admit reads a request and lets it in, or turns it away and returns false.
func (x *exchange) admit(deployment string) bool {
	q, e := x.s.read(x.w, x.r, deployment)
	if e != nil {
		x.turnAway(endedRejected, e)
		return false
	}
	prompt := q.promptTokens()
	need := prompt + q.maxTokens*q.choices
	v := x.s.limits.take(need)
	v.setLimits(x.w.Header(), x.s.options.Dialect)
	if v.wait > 0 {
		x.turnAway(endedRefused, v.refusal(q.model, need))
		return false
	}
	if limit := x.s.options.MaxContext; limit > 0 && prompt > limit {
		x.turnAway(endedRejected, tooLong(limit, prompt))
		return false
	}
	return x.open(q, prompt)
}

// open draws what the request is going to meet and makes its answer, so that
// nothing of the request need be kept while it waits.
func (x *exchange) open(q *request, prompt int) bool {
	o := &x.s.options
	x.key = KeyOf(q.model, q.messages...)
	var total int64
	x.nth, total = x.s.books.enter(x.key)
	x.fault = draw(x.s.fates, newDice(o.Seed, x.key, forFate, x.nth))
	if o.QuotaAfter > 0 && total > int64(o.QuotaAfter) {
		x.fault = faultQuota
	}
	id := newDice(o.Seed, x.key, forID, x.nth)
	x.reply = reply{id: "chatcmpl-" + Key(id.next()).String(), model: q.model, created: time.Now().Unix(), prompt: prompt}
	x.w.Header()["X-Request-Id"] = []string{"req_" + Key(id.next()).String()}
	if err := x.compose(q); err != nil {
		x.turnAway(endedRejected, badSchema(q.format.name, err))
		return false
	}
	return true
}

func (x *exchange) compose(q *request) error {
	x.reply.choices = make([]choice, q.choices)
	for i := range x.reply.choices {
		d := newDice(x.s.options.Seed, x.key, forAnswer, uint64(i))
		content, err := q.content(&d)
		if err != nil {
			return err
		}
		c := x.alter(q.finish(choice{content: content, reason: "stop"}))
		x.reply.choices[i] = c
		x.reply.completion += countTokens(len(c.content) + len(c.refusal))
	}
	return nil
}

// alter applies the faults that are in the answer itself.
func (x *exchange) alter(c choice) choice {
	switch x.fault {
	case faultLength:
		c.content, c.reason = cut(c.content, len(c.content)/2), "length"
	case faultContentFilter:
		c.content, c.reason = "", "content_filter"
	case faultRefusal:
		c.content, c.refusal = "", "I'm sorry, but I can't help with that."
	}
	return c
}

// promptTokens counts four tokens a message beside its text, for its frame.
func (q *request) promptTokens() int {
	n := 0
	for _, m := range q.messages {
		n += countTokens(len(m.Content)) + 4
	}
	return n
}

// read reads and checks a request.
func (s *Server) read(w http.ResponseWriter, r *http.Request, deployment string) (*request, *apiError) {
	if !s.allowed(r) {
		return nil, wrongKey()
	}
	q, e := s.parse(w, r)
	if e != nil {
		return nil, e
	}
	if deployment != "" {
		q.model = deployment
	}
	switch {
	case q.model == "":
		return nil, invalid("missing_required_parameter", "model", "you must provide a model parameter")
	case !s.has(q.model):
		return nil, noSuchModel(q.model)
	}
	return q, nil
}

func (s *Server) parse(w http.ResponseWriter, r *http.Request) (*request, *apiError) {
	p, ok := s.readers.Get().(*reader)
	if !ok {
		p = new(reader)
	}
	defer func() {
		if p.body.Cap() <= 1<<20 { // a huge one is not worth keeping
			s.readers.Put(p)
		}
	}()
	p.body.Reset()
	if _, err := p.body.ReadFrom(http.MaxBytesReader(w, r.Body, s.maxBody)); err != nil {
		return nil, s.unreadable(err)
	}
	p.decoder.Reset(&p.body) // which it parses in place: what is kept of it is copied
	return parseRequest(&p.decoder)
}

// reader is what is used again for the next request.
type reader struct {
	body    bytes.Buffer
	decoder jsontext.Decoder
}

func (s *Server) unreadable(err error) *apiError {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		e := invalid("", "", "The request is larger than "+strconv.FormatInt(s.maxBody, 10)+" bytes.")
		e.status = http.StatusRequestEntityTooLarge
		return e
	}
	return badJSON(err)
}

// run lets an exchange that was let in meet its fate.
func (x *exchange) run() {
	if e := x.refusal(); e != nil {
		x.endFault()
		x.s.fail(x.w, e)
		return
	}
	if x.fault == faultHang {
		x.wait(nil)
		x.breakOff()
		return
	}
	if !x.latency() {
		x.hangUp = true
		return
	}
	x.meet()
}

// refusal returns the faults that are errors and come at once; nil for all others.
func (x *exchange) refusal() *apiError {
	switch x.fault {
	case faultRateLimit:
		return tooManyRequests(x.reply.model, " on requests per min (RPM).", time.Duration(x.s.options.RetryAfter))
	case faultError500:
		return serverError()
	case faultOverloaded:
		return overloaded()
	case faultQuota:
		return quotaSpent()
	case faultUnauthorized:
		return wrongKey()
	case faultContentFilter:
		if x.s.options.Dialect == DialectAzure {
			return filtered()
		}
	}
	return nil
}

// slowness is how much longer a slow answer takes.
const slowness = 10

// latency waits as long as a model would take; false if the client gives up or
// the server is closed before.
func (x *exchange) latency() bool {
	if o := &x.s.options; o.Latency > 0 {
		d := newDice(o.Seed, x.key, forLatency, x.nth)
		takes := d.latency(time.Duration(o.Latency), o.LatencySpread)
		if x.fault == faultSlow {
			takes *= slowness
		}
		timer := time.NewTimer(takes)
		defer timer.Stop()
		x.wait(timer.C)
	}
	return !x.over()
}

// wait waits for then, for the client to give up, or for the server to be closed.
func (x *exchange) wait(then <-chan time.Time) {
	select {
	case <-then:
	case <-x.r.Context().Done():
	case <-x.s.done:
	}
}

// over reports whether there is nobody to answer any more.
func (x *exchange) over() bool {
	select {
	case <-x.s.done:
		return true
	default:
		return x.r.Context().Err() != nil
	}
}

// answer sends the answer, which may be a fault in itself.
func (x *exchange) answer() {
	e := ending{how: endedAnswered, key: x.key, paid: true, prompt: x.reply.prompt, completion: x.reply.completion}
	if x.fault != "" {
		e.how, e.fault = endedFault, x.fault
	}
	x.end(e)
	buffer, ok := x.s.replies.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	*buffer = x.reply.appendJSON((*buffer)[:0])
	send(x.w, http.StatusOK, *buffer)
	x.s.replies.Put(buffer)
}

// endFault books that the exchange met its fault.
func (x *exchange) endFault() { x.end(ending{how: endedFault, fault: x.fault}) }

// breakOff books the fault and breaks off the connection.
func (x *exchange) breakOff() {
	x.endFault()
	x.hangUp = true
}
