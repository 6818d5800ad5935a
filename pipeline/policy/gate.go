package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// gate is the one place where the turns of a stage wait. A turn first rests until
// a time of its own (backoff, Retry-After, a cool-down of the other end), and then
// queues, first come first served, for what it shares with the others: the breaker,
// a slot, the limits. All are asked before any is taken, under one lock, so that
// nothing is held while waiting: a slot is taken for the time on the wire only.
type gate struct {
	stop     <-chan struct{}
	maxPause time.Duration
	spread   time.Duration // the jitter on top of a cool-down

	most int // requests on the wire of all endpoints

	mu        sync.Mutex
	endpoints []endpoint // mostly one
	choices   int64      // between several endpoints
	turn      float64    // the virtual time of the last one
	hedging   hedging
	tickets   int64
	resting   queue // the earliest first
	ready     queue // the first come first
	timer     *time.Timer
	wake      time.Time // what the timer is set to; zero if it is not

	trouble time.Time // since when there was nothing but pauses; zero if there are none
	lastErr error     // the last failure or refusal

	attempts, retries, refusals int64
	hedges, won                 int64
	ledger                      ledger
}

// waiter is a turn's place in the gate.
type waiter struct {
	ask    Ask
	ticket int64     // its place in the order; 0 for the end
	rest   time.Time // it may not go before; zero for none
	why    cause     // what it rests for
	spread time.Duration
	retry  bool // the last attempt failed
	hedge  bool // it is the second request of an attempt

	admitted chan error // of size 1, so that the gate never waits for a waiter
	in       *queue     // where it stands; nil if it is not waiting
	index    int

	at          *endpoint // to which it was let through
	shun        *endpoint // where the last attempt failed; another is better
	pass        pass
	reservation reservation
	sent        time.Time
	level       int           // how many were on the wire then, itself included
	late        time.Duration // after which a second request may be made; 0 for never
	paced       bool          // the last attempt was settled with requests being paced
	spaced      bool          // and with a limiter that holds up who was refused
}

// enter returns nil when an attempt may be made; [gate.settle] must follow. Else
// it returns [pipeline.ErrStopped], the error of ctx, or that the run has failed.
func (g *gate) enter(ctx context.Context, w *waiter) error {
	if err := g.stopped(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	if w.ticket == 0 {
		g.tickets++
		w.ticket = g.tickets
	}
	now := time.Now()
	g.ledger.book(now)
	if g.clear(w, now) && g.pass(w, now) {
		g.mu.Unlock()
		return nil
	}
	g.join(w, now)
	g.mu.Unlock()
	return g.wait(ctx, w)
}

// stopped returns why nothing is to be sent any more, nil if it may.
func (g *gate) stopped(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-g.stop:
		return pipeline.ErrStopped
	default:
		return nil
	}
}

// clear reports that nothing and nobody is before w.
func (g *gate) clear(w *waiter, now time.Time) bool {
	return w.rest.IsZero() && len(g.ready.list) == 0 && g.cooling(now).IsZero()
}

func (g *gate) join(w *waiter, now time.Time) {
	w.admitted = make(chan error, 1)
	if w.spread = 0; !g.paced() { // a pace spreads by itself, and loses no time
		w.spread = jitter(g.spread)
	}
	g.queue(w, now)
	g.admit(now)
}

// queue puts w where it has to wait first.
func (g *gate) queue(w *waiter, now time.Time) {
	if cooling := g.cooling(now); !cooling.IsZero() && cooling.Add(w.spread).After(w.rest) {
		w.rest, w.why = cooling.Add(w.spread), retryAfter
	}
	if w.rest.After(now) {
		g.resting.push(w)
		g.ledger.resting[w.why]++
		return
	}
	w.rest = time.Time{}
	g.ready.push(w)
	g.ledger.ready++
}

// dequeue takes w out of where it waits.
func (g *gate) dequeue(w *waiter) {
	if w.in == &g.resting {
		g.ledger.resting[w.why]--
	} else {
		g.ledger.ready--
	}
	w.in.remove(w)
}

func (g *gate) wait(ctx context.Context, w *waiter) error {
	var reason error
	select {
	case err := <-w.admitted:
		if err != nil {
			return err
		}
		if reason = g.stopped(ctx); reason == nil {
			return nil
		}
	case <-ctx.Done():
		reason = ctx.Err()
	case <-g.stop:
		reason = pipeline.ErrStopped
	}
	g.leave(w)
	return reason
}

// leave ends the wait of a turn that is not going to send.
func (g *gate) leave(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.ledger.book(now)
	if w.in == nil { // let through, or failed, in the same moment
		select {
		case err := <-w.admitted:
			if err != nil {
				return
			}
		default: // taken by wait already
		}
		w.at.release(w)
		g.count(w, -1)
	} else {
		g.dequeue(w)
	}
	g.admit(now)
}

// admit lets through whoever may go now and sets the timer to when the next may.
func (g *gate) admit(now time.Time) {
	g.ledger.book(now)
	if g.lost(now) {
		g.failAll(g.outage(now))
	}
	g.wakeRested(now)
	for len(g.ready.list) > 0 {
		first := g.ready.list[0]
		why, until, ok := g.choose(first, now)
		if !ok {
			g.ledger.why = why
			g.arm(now, until)
			return
		}
		g.dequeue(first)
		g.count(first, 1)
		first.admitted <- nil
	}
	g.arm(now, time.Time{})
}

// wakeRested moves those whose rest is over into the queue, and everybody out of it
// while the other end cools down.
func (g *gate) wakeRested(now time.Time) {
	for len(g.resting.list) > 0 && !g.resting.list[0].rest.After(now) {
		w := g.resting.list[0]
		g.dequeue(w)
		g.queue(w, now)
	}
	if g.cooling(now).IsZero() {
		return
	}
	for len(g.ready.list) > 0 {
		w := g.ready.list[0]
		g.dequeue(w)
		g.queue(w, now)
	}
}

// pass lets w through if it may go.
func (g *gate) pass(w *waiter, now time.Time) bool {
	_, _, ok := g.choose(w, now)
	if ok {
		g.count(w, 1)
	}
	return ok
}

// count notes that w was let through (1), or after all was not (-1).
func (g *gate) count(w *waiter, n int) {
	w.late = g.hedging.after(w)
	g.ledger.onWire += n
	g.attempts += int64(n)
	if w.retry {
		g.retries += int64(n)
	}
}

// settle ends an attempt. cool is how long everybody has to wait because of it. It
// reports whether the breaker opened or closed by it.
func (g *gate) settle(w *waiter, o outcome, err error, cool time.Duration) (opened, closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.ledger.book(now)
	if !w.hedge {
		g.ledger.onWire--
	}
	e := w.at
	was := e.breaker.closed()
	current := e.settle(w, o, err == nil, now)
	is := e.breaker.closed()
	opened, closed = was && !is, !was && is
	switch {
	case o == answered && current:
		g.trouble = time.Time{}
	case o == refused:
		g.refusals++
		g.suffer(e, err, true)
	case o == failed:
		g.suffer(e, err, opened)
	}
	g.hedging.learn(w, o, err == nil, now)
	if cool > 0 {
		e.cool(now.Add(cool))
	}
	if g.waiting() > 0 {
		g.admit(now)
	}
	return opened, closed
}

// observe takes in what an attempt on the wire learned.
func (g *gate) observe(w *waiter, o Observation) {
	if w.at.limiter == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	w.at.observe(w, o, now)
	g.ledger.book(now)
	if g.waiting() > 0 {
		g.admit(now)
	}
}

// suffer notes a failure, and that there is trouble from now on, if there is.
func (g *gate) suffer(e *endpoint, err error, trouble bool) {
	g.lastErr, e.lastErr = err, err
	if trouble && g.trouble.IsZero() {
		g.trouble = time.Now()
	}
}

// awaken says that there is somebody again after nobody was there: a pause counts
// only while somebody waits for its end.
func (g *gate) awaken() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.trouble.IsZero() {
		g.trouble = time.Now()
	}
}

func (g *gate) waiting() int { return len(g.resting.list) + len(g.ready.list) }

func (g *gate) lost(now time.Time) bool {
	return !g.trouble.IsZero() && now.Sub(g.trouble) >= g.maxPause
}

// outage is the error with which the run fails.
func (g *gate) outage(now time.Time) error {
	return pipeline.Fatal("outage", fmt.Errorf("nothing has succeeded for %s (max_pause): last error: %w",
		pipeline.Duration(now.Sub(g.trouble).Truncate(time.Second)), g.lastErr))
}

func (g *gate) failAll(err error) {
	for _, q := range []*queue{&g.resting, &g.ready} {
		for len(q.list) > 0 {
			w := q.list[0]
			g.dequeue(w)
			w.admitted <- err
		}
	}
}

// arm sets the timer: to when somebody's rest is over, to until (unless zero), or
// to when the pause has lasted too long.
func (g *gate) arm(now, until time.Time) {
	if len(g.resting.list) > 0 {
		until = earlier(until, g.resting.list[0].rest)
	}
	if g.waiting() > 0 && !g.trouble.IsZero() {
		until = earlier(until, g.trouble.Add(g.maxPause))
	}
	switch {
	case until.Equal(g.wake):
	case until.IsZero():
		g.timer.Stop()
	case g.timer == nil:
		g.timer = time.AfterFunc(until.Sub(now), g.tick)
	default:
		g.timer.Reset(until.Sub(now))
	}
	g.wake = until
}

func (g *gate) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wake = time.Time{}
	g.admit(time.Now())
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// jitter returns a random time from 0 to limit.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit + 1)
}
