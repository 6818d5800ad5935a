package policy

import "time"

// gap is the least time between two requests of somebody who makes one after the other,
// found by being refused. Such a one is refused too seldom for a [pace], which goes by
// shares: each of its requests would be refused once, and wait for that.
//
// The first refusal sets it, and each request that is let in shortens it, until one is
// refused: then it was enough a step before, and from there it shortens by very little.
// Where even the first request at a gap is refused, it is twice as long.
type gap struct {
	least    time.Duration // 0 while there is none
	near     bool          // what is enough is known, and least is about that
	calm     int           // how many were let in since one was refused
	refusals int           // in a row
	last     time.Time     // when the last request was made
}

const (
	// firstGap is the gap after the first refusal, and how long nothing is sent after
	// any, doubling with each in a row up to longestGap.
	firstGap, longestGap = 250 * time.Millisecond, time.Minute
	// shortens is the share by which a gap shortens with each request that is let in, and
	// nearly that of one that is about what is enough. It is margin longer than what was
	// enough: so one in fifty requests is refused, where the limit stays what it was. Where
	// more than patient are let in, the limit may have been raised, and it shortens ever
	// faster.
	shortens, nearly, margin, patient = 0.2, 0.001, 1.05, 64
	// noGap is what is as good as none.
	noGap = time.Millisecond
)

func (g *gap) advance(float64, float64, time.Time) {}

func (g *gap) ready(now time.Time) (wait float64) {
	return max(0, (g.hold() - now.Sub(g.last)).Seconds())
}

// hold is how long the next request has to be behind the last.
func (g *gap) hold() time.Duration {
	if g.refusals == 0 {
		return g.least
	}
	hold := max(g.least, firstGap)
	for n := g.refusals; n > 1 && hold < longestGap; n-- {
		hold *= 2
	}
	return min(hold, longestGap)
}

func (g *gap) take(now time.Time) mark {
	g.last = now
	return mark{}
}

// giveBack leaves it: to have made no request after all makes the next one late, no more.
func (g *gap) giveBack(mark) {}

func (g *gap) usual() float64 { return 0 }

func (g *gap) found() float64 {
	if g.least == 0 {
		return 0
	}
	return 1 / g.least.Seconds()
}

func (g *gap) holds() bool { return g.hold() > 0 }

func (g *gap) spaces() bool { return true }

// settle is never sure that there are too many: there is one at a time.
func (g *gap) settle(_ mark, _ time.Time, v verdict, _ time.Time) (tooMany bool) {
	switch v {
	case letIn:
		g.letIn()
	case unexplained, crowded:
		g.refuse()
	case explained: // the limit that is known holds it up
	}
	return false
}

// refuse lengthens the gap.
func (g *gap) refuse() {
	if g.refusals++; g.refusals > 1 { // what is waited after a refusal is no gap
		return
	}
	switch {
	case g.least == 0 || g.calm <= 1:
		g.least, g.near = min(longestGap, max(firstGap, 2*g.least)), false
	default: // a step before it was enough
		g.least, g.near = min(longestGap, scaled(g.least, margin/g.step())), true
	}
	g.calm = 0
}

// letIn shortens the gap, but for the first request after a refusal, which has waited
// longer than that.
func (g *gap) letIn() {
	g.refusals = 0
	if g.calm++; g.calm == 1 || g.least == 0 {
		return
	}
	if g.least = scaled(g.least, g.step()); g.least < noGap {
		g.least, g.near = 0, false
	}
}

// step is what becomes of the gap when a request was let in.
func (g *gap) step() float64 {
	if !g.near {
		return 1 - shortens
	}
	over := max(1, float64(g.calm)/patient)
	return 1 - min(shortens, nearly*over*over)
}

func scaled(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }
