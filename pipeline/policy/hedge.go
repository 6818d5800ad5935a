package policy

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// errLost is why a request is given up whose other leg has the answer.
var errLost = errors.New("another request has the answer")

// hedging says when the second request of an attempt may be made. Under the gate's
// lock.
type hedging struct {
	options pipeline.Hedge

	took  [256]time.Duration // how long the last answers took, a ring
	n     int                // how many there were in all
	delay time.Duration      // the percentile of them; 0 if not known
}

const (
	// enoughAnswers is how many answers make a percentile.
	enoughAnswers = 20
	// freshAnswers is after how many it is told anew.
	freshAnswers = 32
)

func (h *hedging) setUp(o pipeline.StepOptions) {
	h.options, h.delay = o.Hedge, o.Hedge.After.After
}

// Spare returns how many requests a stage has on the wire beyond its parallelism, for
// late ones: they would be no help if they had to wait for a slot.
func Spare(o pipeline.StepOptions) int {
	if o.Hedge.After == (pipeline.Lateness{}) {
		return 0
	}
	return spare(o.Hedge, o.Parallelism)
}

// spare returns how many requests there may be beyond so many slots.
func spare(o pipeline.Hedge, slots int) int {
	return int(math.Ceil(float64(o.AtMost) * float64(slots)))
}

// after returns when w, which is let through, is late; 0 if that does not matter. A
// probe is not hedged: one is enough.
func (h *hedging) after(w *waiter) time.Duration {
	if !w.ask.Hedge || w.hedge || w.pass.probe {
		return 0
	}
	return h.delay
}

// learn takes in how long an answer took. One that was not waited for would have taken
// longer: without it, what is late would become earlier and earlier.
func (h *hedging) learn(w *waiter, o outcome, fine bool, now time.Time) {
	if h.options.After.Percentile == 0 || !w.ask.Hedge || !fine && (o != cancelled || w.late == 0) {
		return
	}
	h.took[h.n%len(h.took)] = now.Sub(w.sent)
	h.n++
	if h.n < enoughAnswers || h.delay > 0 && h.n%freshAnswers != 0 {
		return
	}
	sorted := slices.Clone(h.took[:min(h.n, len(h.took))])
	slices.Sort(sorted)
	h.delay = max(1, sorted[min(int(h.options.After.Percentile/100*float64(len(sorted))), len(sorted)-1)])
}

// hedge lets w through, the second request of a late attempt, if that is possible at
// once and there have not been too many.
func (g *gate) hedge(ctx context.Context, w *waiter) bool {
	if g.stopped(ctx) != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.ledger.book(now)
	h := &g.hedging
	if len(g.ready.list) > 0 && g.ledger.why == limited { // those who wait for the limits come first
		return false
	}
	if float64(g.hedges+1) > float64(h.options.AtMost)*float64(g.attempts-g.hedges) {
		return false
	}
	if _, _, ok := g.choose(w, now); !ok {
		return false
	}
	g.hedges++
	g.attempts++
	return true
}

// race is an attempt in two legs.
type race struct {
	first  *leg
	cut    context.CancelCauseFunc // gives up the first
	late   time.Duration           // when the second is made
	mu     sync.Mutex
	timer  *time.Timer
	second *leg // nil until it is made
	drop   context.CancelCauseFunc
	winner *leg // nil until one has the answer
	over   bool // the first has ended: no second one is to be made
	done   chan struct{}
}

// hedged makes an attempt; if it is late, a second request is made beside it, by the
// timer's goroutine. The first answer counts and the other request is given up. Both
// have ended when it returns: they may share what belongs to the turn.
func (t *turn) hedged() {
	caller := t.ctx
	r := &race{first: &t.leg, late: t.waiter.late, done: make(chan struct{})}
	t.ctx, r.cut = context.WithCancelCause(caller)
	r.start(caller)
	t.run()
	if second := r.finish(); second != nil {
		t.wait(r.done)
		t.attempt.Number = second.attempt.Number
		if r.winner == second {
			t.won, t.outcome, t.err = 1, second.outcome, second.err
		}
	}
	r.cut(nil)
	t.ctx = caller
}

// patience is which part of the time after which an attempt is late it takes until a
// second request is thought of again that could not be made. What is only a little
// late is over by then: those that are very late get what little is allowed.
const patience = 4

// start has the second request made when the first is late.
func (r *race) start(caller context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.late, func() { r.hedge(caller) })
}

// hedge makes the second request, if it may be made at once.
func (r *race) hedge(caller context.Context) {
	second := r.begin(caller)
	if second == nil {
		return
	}
	defer close(r.done)
	second.run()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(nil)
	if r.winner == nil && second.outcome == answered {
		r.winner = second
		second.turn.stage.gate.hedgeWon()
		r.cut(errLost)
	}
}

// begin returns the second request, let through; nil if there is to be none. The turn
// is looked at under the lock only: the timer may be so late that it is at its next
// attempt already.
func (r *race) begin(caller context.Context) *leg {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil
	}
	t := r.first.turn
	second := &leg{turn: t, waiter: waiter{ask: t.waiter.ask, shun: t.waiter.at, hedge: true}}
	if !t.stage.gate.hedge(caller, &second.waiter) {
		r.timer.Reset(max(r.late/patience, time.Millisecond))
		return nil
	}
	second.attempt = Attempt{Number: t.attempt.Number + 1, Endpoint: second.waiter.at.index, leg: 1, gate: &t.stage.gate, waiter: &second.waiter}
	second.ctx, r.drop = context.WithCancelCause(caller)
	r.second = second
	return second
}

// finish takes in that the first has ended. It returns the second, which has to be
// waited for, nil if there is none.
func (r *race) finish() *leg {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.timer.Stop()
	if r.second != nil && r.winner == nil && r.first.outcome == answered {
		r.winner = r.first
		r.drop(errLost)
	}
	return r.second
}

// wait waits for the second request. The attempt is on the wire until then, though
// its first request may have failed.
func (t *turn) wait(done <-chan struct{}) {
	g := &t.stage.gate
	g.onWire(1)
	<-done
	g.onWire(-1)
}

func (g *gate) onWire(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ledger.book(time.Now())
	g.ledger.onWire += n
}

func (g *gate) hedgeWon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.won++
}
