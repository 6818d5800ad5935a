package policy

import (
	"math"
	"time"
)

// pace is a limit of requests of which nobody tells: it is found by being refused.
//
// The pace grows until more requests are refused than usual. What was let in tells
// the limit then, and the pace is set a little below it. What is refused there is
// refused whatever the pace, for the other end is overloaded, or refuses at random:
// that is what is usual, and if it is as much as above, then it was not the pace. Then
// it grows again, fast to near where it was too fast, slowly from there.
type pace struct {
	rate    float64 // requests a second; 0 while there is none
	ceiling float64 // where too many were refused last
	due     float64
	bound   time.Time // when it last held somebody up

	changed time.Time // when it was lowered last
	window  window
	below   float64 // 0, or: the window is the first one below a pace at which this share was refused
	usual   float64 // which share is refused whatever the pace
	doubts  int     // how often in a row it made no difference that it was lowered

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
	made := float64(w.made)
	return float64(w.refused) > usual*made+2*math.Sqrt(usual*made)+1+(windowSize-made)/10
}

const (
	// windowSize is how many requests make a window.
	windowSize = 64
	// mostUsual bounds what is taken for usual: beyond, the other end has to be spared.
	mostUsual = 0.2
	// near is from which share of the ceiling on the pace is near it.
	near = 0.93
	// leastElapsed is the shortest time over which a rate is told: what is sent in one
	// moment has none.
	leastElapsed = 250 * time.Millisecond
	// slowest is the least pace: one a minute.
	slowest = 1.0 / 60
)

func (p *pace) advance(passed float64, now time.Time) {
	if p.rate == 0 {
		return
	}
	if p.below == 0 && now.Sub(p.bound) < time.Second {
		p.rate *= 1 + p.growth()*min(passed, 1)
	}
	p.due = min(p.rate*spread.Seconds(), p.due+p.rate*passed)
}

// growth is by how much the pace grows in a second: by less where a second brings
// few requests, and so few that could show that it is too fast.
func (p *pace) growth() float64 {
	switch {
	case math.IsInf(p.ceiling, 1):
		return 1
	case p.rate < near*p.ceiling, p.usual > 0.01: // it cannot be told exactly anyway
		return min(0.1, p.rate/100)
	default:
		return min(0.01, p.rate/3000)
	}
}

// ready returns in how many seconds a request may be made, 0 for now.
func (p *pace) ready(now time.Time) (wait float64) {
	if p.rate == 0 || p.due >= -tiny {
		return 0
	}
	p.bound = now
	return -p.due / p.rate
}

func (p *pace) take(now time.Time) {
	if p.rate > 0 {
		p.due--
	}
	p.sent[p.n%len(p.sent)] = now
	p.n++
	if p.window.made++; p.window.made > windowSize {
		p.look()
		p.window = window{made: 1}
	}
}

func (p *pace) giveBack() {
	if p.rate > 0 {
		p.due++
	}
	p.window.made--
}

// look sees what a whole window tells in which not too many were refused.
func (p *pace) look() {
	share := p.window.share()
	switch {
	case p.below > 0:
		p.usual = (p.usual + share) / 2
		if p.window.refused > 1 && share >= p.below/2 { // it was not the pace
			p.ceiling = math.Inf(1)
		}
	case share == 0:
		p.usual *= 0.8
	}
	p.below, p.doubts = 0, 0
}

// doubt reports whether it is not the pace that the other end minds: as many were
// refused as before it was lowered, and it was so before.
func (p *pace) doubt(share float64) bool {
	if share > mostUsual || share < p.below/2 || share > 2*p.below {
		p.doubts = 0
		return false
	}
	if p.doubts++; p.doubts < 2 {
		return false
	}
	p.usual, p.ceiling = max(p.usual, share), math.Inf(1)
	p.window, p.below, p.doubts = window{}, 0, 0
	return true
}

// settle takes in how a request made at a time ended. It reports whether it was
// refused for there being too many.
func (p *pace) settle(at time.Time, refused bool, now time.Time) (tooMany bool) {
	if !refused {
		return false
	}
	if !at.After(p.changed) { // of the same burst
		return false
	}
	if p.window.refused++; !p.window.tooMany(p.usual) {
		return false
	}
	share := p.window.share()
	if p.doubt(share) {
		return false
	}
	p.lower(share, now)
	return true
}

// lower sets the pace below what was let in.
func (p *pace) lower(share float64, now time.Time) {
	if p.rate == 0 {
		p.rate = p.achieved(now)
	}
	p.ceiling, p.rate = p.rate, max(slowest, 0.95*p.rate*(1-share))
	p.due = min(p.due, 0)
	p.changed, p.window, p.below = now, window{}, share
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
