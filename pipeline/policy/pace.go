package policy

import (
	"math"
	"time"
)

// pace is a limit of requests of which nobody tells: it is found by being refused.
//
// When more requests are refused than usual, what was let in tells the limit, and the
// pace is set a little below. From there it grows, fast at first, hardly at all near
// what was found, and then ever faster, for the limit may have been raised: a cubic
// curve, as TCP has one for the same reasons.
//
// Two things look like a limit and are none. When nothing is let in at all, the other
// end is closed: the pace is halved until something is let in, and what was found
// before stays. And who refuses at random does so at any pace: before one is found, and
// when it makes no difference that it was lowered, there is a trial at a pace at which
// a limit would refuse none, and what is refused then is what is usual.
type pace struct {
	told  float64 // the limit of requests of which somebody tells, too; 0 for none
	rate  float64 // requests a second; 0 while there is none
	due   float64
	bound time.Time // when it last held somebody up

	limit  float64 // what was found
	low    float64 // where the curve begins
	grown  float64 // for how many seconds it has grown
	closed bool    // nothing has been let in since changed

	changed time.Time // when it was lowered last
	since   window    // all since then
	turn    int       // the number of the window
	window  window
	last    window    // the one before it
	began   time.Time // when the window did
	first   time.Time // when the one before it did, or the window itself
	normal  float64   // which share is refused whatever the pace
	tried   float64   // the same as the last trial has it; normal is around it
	doubt   doubt
	trial   trial

	sent [windowSize]time.Time // when the last requests were made, a ring
	n    int                   // how many there were in all
}

// window counts requests made at about the same pace, and those of them that were
// refused. Refusals come sooner than answers, so answers are not waited for.
type window struct{ made, refused int }

// mark is what a request keeps of the pace at which it was made.
type mark struct {
	turn  int  // the number of its window
	paced bool // it took something of what is due
}

func (w window) share() float64 { return float64(w.refused) / float64(max(8, w.made)) }

// least is what the share is at least: it is looked at when there were many.
func (w window) least() float64 {
	n := float64(w.refused)
	return (n - 2*math.Sqrt(n)) / float64(max(8, w.made))
}

// tooMany reports that more than usual were refused, and more than chance explains:
// the sooner in a window, the larger a share it takes.
func (w window) tooMany(usual float64) bool {
	expected, full := usual*float64(w.made), float64(w.made)/windowSize
	return float64(w.refused) > expected+4*math.Sqrt(expected)+max(1, full)+min(1, expected)+max(0, 1-full)*windowSize/10
}

const (
	// windowSize is how many requests make a window, if that takes so long that most of
	// those that are refused are by then; else as many as are made in windowTime.
	windowSize, windowTime = 64, 250 * time.Millisecond
	// mostDrift is how far normal may drift above what a trial found.
	mostDrift = 1.5
	// mostlyClosed is from which share on so little is let in that it tells no limit.
	mostlyClosed = 0.75
	// below and farBelow are which share of what was let in the pace is set to: far below
	// while the limit is still looked for, as more was sent than it is known to allow.
	below, farBelow = 0.94, 0.75
	// leastElapsed is the shortest time over which a rate is told: what is sent in one
	// moment has none.
	leastElapsed = 250 * time.Millisecond
	// pause is for how long nothing is sent when the pace is lowered: the other end has
	// nothing in store then, and would go on refusing what is large.
	pause = 250 * time.Millisecond
	// longTime is how long it must have gone well for all that was let in to tell the
	// limit better than what was refused last, for that comes in bunches.
	longTime = 2 * time.Second
	// slowest is the least pace: one a minute.
	slowest = 1.0 / 60
)

func (p *pace) advance(passed, told float64, now time.Time) {
	p.told = told
	if p.rate == 0 {
		return
	}
	if !p.closed && p.trial.size == 0 && now.Sub(p.bound) < time.Second {
		p.grown += min(passed, 1)
		p.rate = p.curve()
	}
	p.due = min(p.rate*spread.Seconds(), p.due+p.rate*passed)
	if p.told > 0 && p.rate > p.told && p.due >= 0 && p.trial.size == 0 { // it holds nobody up
		p.rate, p.grown = 0, 0
	}
}

// curve is the pace that it has grown to.
func (p *pace) curve() float64 {
	level := min(20, max(6, 360/p.limit)) // seconds until it is where the limit was found
	x, by := p.grown/level-1, p.limit-p.low
	if x > 0 {
		by = 0.15 * p.limit
	}
	return p.limit + by*x*x*x
}

func (p *pace) ready(now time.Time) (wait float64) {
	if p.rate == 0 || p.due >= -tiny {
		return 0
	}
	p.bound = now
	return -p.due / p.rate
}

func (p *pace) take(now time.Time) mark {
	paced := p.rate > 0
	if paced {
		p.due--
	}
	if p.n == 0 {
		p.began, p.first = now, now
	}
	p.sent[p.n%len(p.sent)] = now
	p.n++
	if p.trial.over(p.turn, p.window) {
		p.resolve(now)
	}
	if p.window.made >= max(windowSize, p.trial.size) && (p.trial.size > 0 || now.Sub(p.began) >= windowTime) {
		p.look()
		p.next(now)
	}
	p.since.made++
	p.window.made++
	return mark{p.turn, paced}
}

// next begins the next window.
func (p *pace) next(now time.Time) {
	p.turn++
	p.last, p.first = p.window, p.began
	p.window, p.began = window{}, now
}

func (p *pace) giveBack(m mark) {
	if m.paced && p.rate > 0 {
		p.due = min(p.rate*spread.Seconds(), p.due+1)
	}
	if w := p.of(m); w.made > 0 {
		w.made--
		p.since.made--
	}
}

// of returns the window of a request, or the oldest there is.
func (p *pace) of(m mark) *window {
	if m.turn == p.turn {
		return &p.window
	}
	return &p.last
}

// look sees what a whole window tells in which not too many were refused, and the one
// before it, of which all that were refused are by now.
func (p *pace) look() {
	if p.trial.size > 0 {
		return
	}
	if p.last.made > 0 {
		p.normal = min(mostDrift*p.tried, p.normal+(p.last.share()-p.normal)/32)
	}
	if p.doubt.clean++; p.doubt.clean >= cleanAfter {
		p.doubt.forget()
	}
}

func (p *pace) usual() float64 { return p.normal }

func (p *pace) found() float64 {
	if p.trial.size > 0 {
		return 0
	}
	return p.rate
}

func (p *pace) holds() bool { return p.rate > 0 }

func (p *pace) spaces() bool { return false }

func (p *pace) settle(m mark, at time.Time, v verdict, now time.Time) (tooMany bool) {
	if !at.After(p.changed) { // of the same burst
		return false
	}
	if v != unexplained {
		p.open()
		return false
	}
	w := p.of(m)
	p.since.refused++
	w.refused++
	switch {
	case p.trial.size > 0:
		if !w.tooMany(p.trial.seen.share()) {
			return false
		}
		p.trial = trial{}
		p.doubt.forget()
	case !w.tooMany(p.normal) || p.doubts(*w, now):
		return false
	}
	p.lower(w.share(), now)
	return true
}

// open notes that something was let in: from here it grows again.
func (p *pace) open() {
	if p.closed {
		p.closed, p.low, p.grown = false, p.rate, 0
	}
}

// lower sets the pace below what was let in.
func (p *pace) lower(share float64, now time.Time) {
	first := p.rate == 0
	if first || now.Sub(p.bound) > time.Second { // it was not the pace that held them up
		p.rate = p.achieved(now)
	}
	in := p.rate * max(0.5, 1-share)
	if passed := now.Sub(p.changed); !first && passed >= longTime && p.since.made >= windowSize {
		in = max(in, min(p.rate, float64(p.since.made-p.since.refused)/passed.Seconds()))
	}
	switch {
	case share < mostlyClosed:
		p.limit, p.rate, p.closed = in, in*below, false
		if first || p.since.made < 2*windowSize {
			p.rate = in * farBelow
		}
	default:
		if !p.closed {
			p.limit = p.rate
		}
		p.rate, p.closed = p.rate/2, true
	}
	p.rate = max(slowest, p.rate)
	p.limit = max(p.limit, p.rate)
	p.low, p.grown = p.rate, 0
	p.due = min(p.due, 0) - p.rate*pause.Seconds()
	p.begin(now)
}

// begin begins to count anew.
func (p *pace) begin(now time.Time) {
	p.changed, p.since = now, window{}
	p.next(now)
	p.last, p.first = window{}, now
}

// achieved returns how many requests a second were made of late. Where a limit is told
// they are made evenly, and a whole window tells it, else the last few.
func (p *pace) achieved(now time.Time) float64 {
	n, since := min(p.n, len(p.sent)), now
	if n > 0 {
		since = p.sent[(p.n-n)%len(p.sent)]
	}
	if whole := p.last.made + p.window.made; whole > n && (p.told > 0 || p.tried > 0) {
		n, since = whole, p.first
	}
	return float64(max(1, n)) / max(now.Sub(since), leastElapsed).Seconds()
}
