package policy

import (
	"strings"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// Endpoint is one of several other ends of a stage, each of which has limits, slots
// and a breaker of its own.
type Endpoint struct {
	// Name is for messages.
	Name string
	// Scope and RateLimit are the name of what limits it and what is wanted of the
	// pacing, as of [Limited].
	Scope     string
	RateLimit RateLimit
	// Weight is how much it gets compared with others of its priority; 0 and less is 1.
	Weight float64
	// Priority: those with the lowest number are asked first, the others only when none
	// of those can be.
	Priority int
	// MaxInFlight bounds the requests on its wire, within the stage's parallelism; 0 for
	// no bound of its own.
	MaxInFlight int
	// Limiter paces its requests; nil paces nothing. [Limits.Equip] fills it in.
	Limiter *Limiter
}

// Several is a stage that may ask one of several endpoints, whichever the policies
// choose: [Attempt.Endpoint] says which.
type Several interface {
	// Endpoints returns them, in the order of [Attempt.Endpoint]; none if there is but
	// one, which needs no choice.
	Endpoints() []Endpoint
}

// Equip gives each endpoint the limiter of its scope.
func (l *Limits) Equip(endpoints []Endpoint) []Endpoint {
	for i := range endpoints {
		endpoints[i].Limiter = l.For(endpoints[i].Scope, endpoints[i].RateLimit)
	}
	return endpoints
}

// EndpointState is how one of several endpoints stands.
type EndpointState struct {
	Name string `json:"name"`
	// Attempts are the requests put on the wire to it; InFlight those that still are.
	Attempts int64 `json:"attempts"`
	InFlight int   `json:"-"`
	// Limits are the limits by which its requests are paced.
	Limits []FoundLimit `json:"limits,omitempty"`
	// Out is why it was taken out for good, "" if it was not.
	Out string `json:"out,omitempty"`
}

// place is an endpoint among others.
type place struct {
	index    int
	name     string
	weight   float64
	priority int

	out   error   // why it is asked no more
	asked int64   // the last choice in which it was asked
	turn  float64 // the virtual time of its next request: where others are as busy, the earliest is next
}

// setUp makes the endpoints: one, unless there are several.
func (g *gate) setUp(s Settings) {
	g.stop, g.maxPause, g.spread = s.Stop, s.Breaker.MaxPause, s.Retry.Backoff
	g.resting.less, g.ready.less = byRest, byTicket
	g.most = max(1, s.Parallelism)
	of := s.Endpoints
	if len(of) == 0 {
		of = []Endpoint{{Limiter: s.Limiter}}
	}
	g.endpoints = make([]endpoint, len(of))
	for i, o := range of {
		e := &g.endpoints[i]
		e.place = place{index: i, name: o.Name, weight: o.Weight, priority: o.Priority}
		if !(e.weight > 0) {
			e.weight = 1
		}
		e.setUp(s, o)
	}
	g.hedging.setUp(s.StepOptions)
}

// choose lets w through to the best endpoint that can take it, or says what it has to
// wait for, and until when; the zero time if only an event can tell.
func (g *gate) choose(w *waiter, now time.Time) (why cause, until time.Time, ok bool) {
	if len(g.endpoints) == 1 {
		return g.endpoints[0].admit(w, now)
	}
	if g.inFlight() >= g.room(w) {
		return slot, time.Time{}, false
	}
	g.choices++
	why = slot
	for e := g.best(w); e != nil; e = g.best(w) {
		cause, again, ok := e.admit(w, now)
		if ok {
			e.turn = max(e.turn, g.turn)
			g.turn = e.turn
			e.turn += 1 / e.weight
			return 0, time.Time{}, true
		}
		if until.IsZero() || !again.IsZero() && again.Before(until) {
			why, until = cause, again
		}
		e.asked = g.choices
	}
	return why, until, false
}

// room is how many requests there may be on the wire of all endpoints, with w.
func (g *gate) room(w *waiter) int {
	if w.hedge {
		return g.most + spare(g.hedging.options, g.most)
	}
	return g.most
}

// best returns the endpoint to ask for w next, of those not yet asked in this choice.
func (g *gate) best(w *waiter) (best *endpoint) {
	for i := range g.endpoints {
		e := &g.endpoints[i]
		if e.out == nil && e.asked != g.choices && (best == nil || e.before(best, w.shun)) {
			best = e
		}
	}
	return best
}

// before reports whether e is better than other: not the one at which the last attempt
// failed, of a lower priority number, less busy for its weight, longer without its turn.
func (e *endpoint) before(other, shun *endpoint) bool {
	switch a, b := float64(e.inFlight)/e.weight, float64(other.inFlight)/other.weight; {
	case e == shun || other == shun:
		return other == shun
	case e.priority != other.priority:
		return e.priority < other.priority
	case a != b:
		return a < b
	default:
		return e.turn < other.turn
	}
}

// expel takes an endpoint out for good. It reports false for the last one: then there
// is nobody left to ask. first says that it was not out yet.
func (g *gate) expel(e *endpoint, err error) (first, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.endpoints {
		if other := &g.endpoints[i]; other != e && other.out == nil {
			first = e.out == nil
			if first {
				e.out = err
			}
			return first, true
		}
	}
	return false, false
}

// elsewhere reports whether another endpoint than e is asked for something at the
// latest in a while.
func (g *gate) elsewhere(e *endpoint, while time.Duration) bool {
	if len(g.endpoints) == 1 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	latest := time.Now().Add(while)
	for i := range g.endpoints {
		if other := &g.endpoints[i]; other != e && other.out == nil && !other.cooling.After(latest) {
			return true
		}
	}
	return false
}

// cooling returns until when nothing is sent because every endpoint asked to be left
// alone; the zero time if some can be asked.
func (g *gate) cooling(now time.Time) (until time.Time) {
	for i := range g.endpoints {
		e := &g.endpoints[i]
		if e.out != nil {
			continue
		}
		if !e.cooling.After(now) {
			return time.Time{}
		}
		until = earlier(until, e.cooling)
	}
	return until
}

// paced reports that there is a limit by which the requests of every endpoint are paced.
func (g *gate) paced() bool {
	for i := range g.endpoints {
		if e := &g.endpoints[i]; e.out == nil && !e.paced() {
			return false
		}
	}
	return true
}

func (g *gate) inFlight() (n int) {
	for i := range g.endpoints {
		n += g.endpoints[i].inFlight
	}
	return n
}

// paused returns why nothing is sent, "" if something is, and until when. Where there
// are several endpoints, it names them.
func (g *gate) paused(now time.Time) (why string, until time.Time) {
	if len(g.endpoints) == 1 {
		return g.endpoints[0].paused(now)
	}
	var reasons []string
	probed := false
	for i := range g.endpoints {
		e := &g.endpoints[i]
		if e.out != nil {
			continue
		}
		reason, again := e.paused(now)
		if reason == "" {
			return "", time.Time{}
		}
		reasons = append(reasons, e.name+" "+reason)
		if probed = probed || again.IsZero(); !probed {
			until = earlier(until, again)
		}
	}
	if probed {
		until = time.Time{}
	}
	return strings.Join(reasons, ", "), until
}

// found fills in how many slots and which limits were found.
func (g *gate) found(s *Snapshot) {
	s.SlotsFound = true
	for i := range g.endpoints {
		e := &g.endpoints[i]
		if e.out == nil {
			s.Slots += e.slots.now
			s.SlotsFound = s.SlotsFound && e.slots.found()
		}
		if state := e.state(); len(g.endpoints) > 1 {
			s.Endpoints = append(s.Endpoints, state)
		} else {
			s.Limits = state.Limits
		}
	}
	if s.Slots >= g.most {
		s.Slots = g.most
		s.SlotsFound = s.SlotsFound && len(g.endpoints) == 1
	}
}

func (e *endpoint) state() EndpointState {
	s := EndpointState{Name: e.name, Attempts: e.attempts, InFlight: e.inFlight}
	if e.out != nil {
		s.Out = e.out.Error()
	}
	if e.limiter != nil {
		s.Limits = e.limiter.found()
	}
	return s
}

// fatal reports an error after which an endpoint is of no use.
func fatal(err error) bool {
	class, _ := pipeline.Classify(err)
	return class == pipeline.ClassFatal
}
