package policy

import (
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// endpoint is the other end as the gate sees it: whether it is there, how many
// requests it gets at once, and how fast. All under the gate's lock, but for the
// limiter, which others may share and which has its own.
type endpoint struct {
	place
	hedge    pipeline.Hedge
	lastErr  error // the last failure or refusal
	attempts int64
	breaker  breaker
	slots    slots
	limiter  *Limiter  // nil if nothing paces
	cooling  time.Time // nothing is sent before; never moves back
	inFlight int
}

func (e *endpoint) setUp(s Settings, o Endpoint) {
	e.breaker.setUp(s.StepOptions)
	e.limiter, e.hedge = o.Limiter, s.Hedge
	most := max(1, s.Parallelism)
	if o.MaxInFlight > 0 {
		most = min(most, o.MaxInFlight)
	}
	e.slots = newSlots(most, e.limiter != nil && e.limiter.wanted())
}

// admit lets w through, or says what it has to wait for, and until when; the zero
// time if only an event can tell. All is asked before anything is taken.
func (e *endpoint) admit(w *waiter, now time.Time) (why cause, until time.Time, ok bool) {
	if e.cooling.After(now) {
		return retryAfter, e.cooling, false
	}
	if until, ok := e.breaker.open(now); !ok || w.hedge && !e.breaker.closed() { // one probe is enough
		return away, until, false
	}
	if until, ok := e.free(w, now); !ok {
		return slot, until, false
	}
	if e.limiter != nil {
		if until, ok := e.limiter.reserve(&w.reservation, w.ask, now); !ok {
			return limited, until, false
		}
	}
	e.take(w, now)
	return 0, time.Time{}, true
}

// free reports whether there is a slot for w. The second request of an attempt may be
// one of a few more than there are.
func (e *endpoint) free(w *waiter, now time.Time) (until time.Time, ok bool) {
	if w.hedge {
		return time.Time{}, e.inFlight < e.slots.now+spare(e.hedge, e.slots.now)
	}
	return e.slots.free(e.inFlight, now)
}

func (e *endpoint) take(w *waiter, now time.Time) {
	w.at, w.pass = e, e.breaker.take()
	e.inFlight++
	e.attempts++
	e.slots.take(now)
	w.sent, w.level = now, e.inFlight
}

// release undoes admit, for an attempt that was not made.
func (e *endpoint) release(w *waiter) {
	e.breaker.settle(w.pass, void)
	e.inFlight--
	e.attempts--
	if e.limiter != nil {
		e.limiter.refund(&w.reservation)
	}
}

// settle ends an attempt; fine says that it brought an answer. It reports whether it
// speaks for the present state of the breaker.
func (e *endpoint) settle(w *waiter, o outcome, fine bool, now time.Time) (current bool) {
	e.inFlight--
	switch {
	case fine:
		e.slots.answer(w.level, w.sent, now)
	case o == failed:
		e.slots.fail(w.sent, now)
	}
	if e.limiter != nil {
		seen := o == refused && e.slots.refuse(w.level, e.limiter.usual(), now)
		if e.limiter.settle(&w.reservation, o, seen, now) {
			e.slots.limit(w.level, now)
		}
		w.paced, w.spaced = e.limiter.paces(), e.limiter.spaces()
	}
	return e.breaker.settle(w.pass, o)
}

// observe takes in what an attempt on the wire learned.
func (e *endpoint) observe(w *waiter, o Observation, now time.Time) {
	if e.limiter.observe(&w.reservation, o, now) {
		e.slots.tell()
	}
}

// paced reports that there is a limit by which requests are paced.
func (e *endpoint) paced() bool { return e.limiter != nil && e.limiter.paces() }

// cool has everybody wait. A later cool-down never shortens an earlier one.
func (e *endpoint) cool(until time.Time) { e.cooling = later(e.cooling, until) }

// paused returns why nothing is sent, "" if something is, and until when.
func (e *endpoint) paused(now time.Time) (why string, until time.Time) {
	_, code := pipeline.Classify(e.lastErr)
	if again, ok := e.breaker.open(now); !e.breaker.closed() {
		if ok || again.Before(e.cooling) {
			again = e.cooling
		}
		return "keeps failing (" + code + ")", again
	}
	if e.cooling.After(now) {
		return "asked to wait (" + code + ")", e.cooling
	}
	return "", time.Time{}
}
