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
// before stays. And who refuses at random does so at any pace: when it makes no
// difference that the pace was lowered, it is lowered to the half for once, and what
// is refused then is what is usual.
type pace struct {
	rate  float64 // requests a second; 0 while there is none
	due   float64
	bound time.Time // when it last held somebody up

	limit  float64 // what was found
	low    float64 // where the curve begins
	grown  float64 // for how many seconds it has grown
	closed bool    // nothing has been let in since changed

	changed time.Time // when it was lowered last
	since   window    // all since then
	window  window
	usual   float64 // which share is refused whatever the pace
	doubt   doubt

	sent [64]time.Time // when the last requests were made, a ring
	n    int           // how many there were in all
}

// window counts requests made at about the same pace, and those of them that were
// refused. Refusals come sooner than answers, so answers are not waited for.
type window struct{ made, refused int }

func (w window) share() float64 { return float64(w.refused) / float64(max(8, w.made)) }

// tooMany reports that more than usual were refused, and more than chance explains:
// the sooner in a window, the larger a share it takes.
func (w window) tooMany(usual float64) bool {
	expected := usual * float64(max(0, w.made)) // below 0: made before the window, and given back
	return float64(w.refused) > expected+3*math.Sqrt(expected)+1+max(0, windowSize-float64(w.made))/10
}

// doubt is about whether it is the pace that the other end minds.
type doubt struct {
	seen  window  // since the first of several times that it was lowered
	from  float64 // the pace before it
	times int     // how often
	clean int     // so many windows since in which not too many were refused
	trial int     // 0, or: so many requests are made at a fraction of the pace to find out
	pause time.Duration
	until time.Time
}

const (
	// windowSize is how many requests make a window.
	windowSize = 64
	// mostUsual bounds what is taken for usual: beyond, the other end has to be spared.
	mostUsual = 0.5
	// mostlyClosed is from which share on so little is let in that it tells no limit.
	mostlyClosed = 0.75
	// below and farBelow are which share of what was let in the pace is set to: far below
	// while the limit is still looked for, as more was sent than it is known to allow.
	below, farBelow = 0.94, 0.75
	// doubtAfter is how often in a row lowering it must have made no difference.
	doubtAfter = 5
	// doubtSize is how many requests it takes at least to doubt: at first, what the other
	// end has in store makes it look as if the pace made no difference.
	doubtSize = 320
	// trialPart is which part of the pace is tried then.
	trialPart = 2
	// cleanAfter is in how many windows in a row not too many must have been refused
	// for the pace to have made a difference.
	cleanAfter = 4
	// doubtPause is for how long the outcome of a trial is believed.
	doubtPause = 30 * time.Second
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

func (p *pace) advance(passed float64, now time.Time) {
	if p.rate == 0 {
		return
	}
	if !p.closed && p.doubt.trial == 0 && now.Sub(p.bound) < time.Second {
		p.grown += min(passed, 1)
		p.rate = p.curve()
	}
	p.due = min(p.rate*spread.Seconds(), p.due+p.rate*passed)
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

// ready returns in how many seconds a request may be made, 0 for now.
func (p *pace) ready(now time.Time) (wait float64) {
	if p.rate == 0 || p.due >= -tiny {
		return 0
	}
	p.bound = now
	return -p.due / p.rate
}

// take takes a request and reports whether that took something of what was due, for
// giveBack.
func (p *pace) take(now time.Time) (paced bool) {
	if paced = p.rate > 0; paced {
		p.due--
	}
	p.sent[p.n%len(p.sent)] = now
	p.n++
	p.since.made++
	if p.window.made++; p.window.made > max(windowSize, p.doubt.trial) {
		p.look(now)
		p.window = window{made: 1}
	}
	return paced
}

// giveBack undoes take, at once or later.
func (p *pace) giveBack(paced bool) {
	if paced && p.rate > 0 {
		p.due = min(p.rate*spread.Seconds(), p.due+1)
	}
	p.since.made--
	p.window.made--
}

// look sees what a whole window tells in which not too many were refused.
func (p *pace) look(now time.Time) {
	share := p.window.share()
	if p.doubt.trial > 0 {
		p.resolve(now)
		return
	}
	p.usual = min(p.usual, p.usual+(share-p.usual)/8)
	if p.doubt.clean++; p.doubt.clean >= cleanAfter {
		p.doubt.forget()
	}
}

// settle takes in how a request made at a time ended. It reports whether it was
// refused for there being too many.
func (p *pace) settle(at time.Time, refused bool, now time.Time) (tooMany bool) {
	if !at.After(p.changed) { // of the same burst
		return false
	}
	if !refused {
		p.open()
		return false
	}
	p.since.refused++
	if p.window.refused++; !p.window.tooMany(p.usual) {
		return false
	}
	share := p.window.share()
	if p.doubts(now) {
		return false
	}
	p.lower(share, now)
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
func (p *pace) begin(now time.Time) { p.changed, p.since, p.window = now, window{}, window{} }

// doubts reports whether it may not be the pace that the other end minds: it was
// lowered time and again, and as many are refused. If it was not found out of late,
// it is tried.
func (p *pace) doubts(now time.Time) bool {
	d := &p.doubt
	d.clean = 0
	few := p.window.share() <= mostlyClosed
	if d.trial > 0 && few {
		if p.window.made >= d.trial {
			p.resolve(now)
		}
		return true
	}
	if d.trial > 0 || !few {
		d.forget()
		return false
	}
	if d.from == 0 {
		d.from = p.rate
	}
	d.seen.made, d.seen.refused = d.seen.made+p.since.made, d.seen.refused+p.since.refused
	if d.times++; d.times < doubtAfter || d.seen.made < doubtSize || d.seen.share() > mostUsual || p.rate == 0 || p.rate > 0.65*d.from || now.Before(d.until) {
		return false
	}
	d.trial = int(min(250, max(windowSize, 8/d.seen.share())))
	p.rate = max(slowest, p.rate/trialPart)
	p.due = min(p.due, 0)
	p.begin(now)
	return true
}

// forget ends a doubt, or the trial of it.
func (d *doubt) forget() { *d = doubt{pause: d.pause, until: d.until} }

// resolve ends a trial. If as many were refused at a fraction of the pace, that is
// usual.
func (p *pace) resolve(now time.Time) {
	d, share := &p.doubt, p.window.share()
	if p.window.refused > 2 && share >= d.seen.share()/3 {
		p.usual = max(p.usual, share)
		p.rate = 0
	} else {
		p.rate = p.low
		d.pause = min(16*doubtPause, max(doubtPause, 2*d.pause))
		d.until = now.Add(d.pause)
	}
	d.forget()
	p.grown = 0
	p.begin(now)
}

// achieved returns how many requests a second were made of late.
func (p *pace) achieved(now time.Time) float64 {
	n := min(p.n, len(p.sent))
	if n == 0 {
		return 1
	}
	elapsed := now.Sub(p.sent[(p.n-n)%len(p.sent)])
	return float64(n) / max(elapsed, leastElapsed).Seconds()
}
