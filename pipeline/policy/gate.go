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
// queues, first come first served, for what it shares with the others: now the
// breaker. Further conditions (slots, requests, tokens, budget) belong into blocked,
// take and settle: all are asked before any is taken, under one lock, so that
// nothing is held while waiting.
type gate struct {
	stop     <-chan struct{}
	maxPause time.Duration
	spread   time.Duration // the jitter on top of a cool-down

	mu      sync.Mutex
	breaker breaker
	cooling time.Time // nothing is sent before; never moves back
	tickets int64
	resting queue // the earliest first
	ready   queue // the first come first
	timer   *time.Timer
	wake    time.Time // what the timer is set to; zero if it is not

	trouble time.Time // since when there was nothing but pauses; zero if there are none
	lastErr error     // the last failure or refusal

	inFlight                    int
	attempts, retries, refusals int64
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

	admitted chan error // of size 1, so that the gate never waits for a waiter
	in       *queue     // where it stands; nil if it is not waiting
	index    int
	pass     pass
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
	if g.clear(w) {
		g.take(w)
		g.mu.Unlock()
		return nil
	}
	g.join(w)
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

// clear reports that there is nothing whatever to wait for, without a look at the
// clock.
func (g *gate) clear(w *waiter) bool {
	return w.rest.IsZero() && g.cooling.IsZero() && len(g.ready.list) == 0 && g.breaker.closed()
}

func (g *gate) join(w *waiter) {
	now := time.Now()
	g.ledger.book(now)
	w.admitted = make(chan error, 1)
	w.spread = jitter(g.spread)
	g.queue(w, now)
	g.admit(now)
}

// queue puts w where it has to wait first.
func (g *gate) queue(w *waiter, now time.Time) {
	if until := g.cooling.Add(w.spread); g.cooling.After(now) && until.After(w.rest) {
		w.rest, w.why = until, retryAfter
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
	if w.in == nil { // let through, or failed, in the same moment
		select {
		case err := <-w.admitted:
			if err != nil {
				return
			}
		default: // taken by wait already
		}
		g.untake(w)
	} else {
		g.ledger.book(now)
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
		why, until, blocked := g.blocked(first, now)
		if blocked {
			g.ledger.why = why
			g.arm(now, until)
			return
		}
		g.dequeue(first)
		g.take(first)
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
	if !g.cooling.After(now) {
		g.cooling = time.Time{}
		return
	}
	for len(g.ready.list) > 0 {
		w := g.ready.list[0]
		g.dequeue(w)
		g.queue(w, now)
	}
}

// blocked reports whether w, the first in the queue, has to wait: for what, and
// until when; the zero time if only an event can tell. Limits will need what w asks.
func (g *gate) blocked(_ *waiter, now time.Time) (why cause, until time.Time, blocked bool) {
	if until, ok := g.breaker.open(now); !ok {
		return away, until, true
	}
	return 0, time.Time{}, false
}

// take lets w through.
func (g *gate) take(w *waiter) {
	w.pass = g.breaker.take()
	g.inFlight++
	g.attempts++
	if w.retry {
		g.retries++
	}
}

// untake undoes take, for an attempt that was not made.
func (g *gate) untake(w *waiter) {
	g.breaker.settle(w.pass, void)
	g.inFlight--
	g.attempts--
	if w.retry {
		g.retries--
	}
}

// settle ends an attempt. cool is how long everybody has to wait because of it. It
// reports whether the breaker opened or closed by it.
func (g *gate) settle(w *waiter, o outcome, err error, cool time.Duration) (opened, closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	was := g.breaker.closed()
	current := g.breaker.settle(w.pass, o)
	opened, closed = was && !g.breaker.closed(), !was && g.breaker.closed()
	switch {
	case o == answered && current:
		g.trouble = time.Time{}
	case o == refused:
		g.refusals++
		g.suffer(err, true)
	case o == failed:
		g.suffer(err, opened)
	}
	if cool > 0 { // a later cool-down never shortens an earlier one
		g.cooling = later(g.cooling, time.Now().Add(cool))
	}
	if g.waiting() > 0 {
		g.admit(time.Now())
	}
	return opened, closed
}

// suffer notes a failure, and that there is trouble from now on, if there is.
func (g *gate) suffer(err error, trouble bool) {
	g.lastErr = err
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

// paused returns why nothing is sent, "" if something is, and until when.
func (g *gate) paused(now time.Time) (why string, until time.Time) {
	_, code := pipeline.Classify(g.lastErr)
	if again, ok := g.breaker.open(now); !g.breaker.closed() {
		if ok || again.Before(g.cooling) {
			again = g.cooling
		}
		return "keeps failing (" + code + ")", again
	}
	if g.cooling.After(now) {
		return "asked to wait (" + code + ")", g.cooling
	}
	return "", time.Time{}
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
