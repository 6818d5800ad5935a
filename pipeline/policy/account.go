package policy

import (
	"math"
	"time"
)

// account is what we think the other end thinks: how much of one limit it takes
// for used. It follows what the headers say, carried on from the moment they speak
// of: headers come with the answer, and by then much has been sent and refilled.
//
// A limit a minute is taken for a bucket that is refilled steadily, as the
// providers' own documentation has it. Where the headers contradict that (a window
// that starts anew every minute, a limit that is one a day), what remains is still
// a ceiling, and nothing else is concluded from them.
type account struct {
	refill   float64 // units a second
	capacity float64 // of the full bucket: what a minute allows, or less for a shorter window; 0 if nothing is known
	used     float64 // how far the bucket is from full
	low      float64 // what remains below this is little
	coarse   bool    // resets come in whole seconds only

	// scale is what the other end takes for each unit that we ask. It is 1 if our
	// estimates are right and nobody else uses the limit.
	scale  float64
	least  float64 // scale is not below
	charge mean    // what one request makes used
	asked  mean    // what we ask for it
	anchor anchor

	seen      time.Time // when the request was made that told us last
	irregular time.Time // when it last was no steady bucket
	empty     time.Time // irregular, and nothing remains before
}

// anchor is where the measuring of the scale began.
type anchor struct {
	at          time.Time
	spent, used float64
}

const (
	// regularAfter is how long a limit must have been like a steady bucket after it
	// was not.
	regularAfter = 10 * time.Second
	// mostScale and leastScale bound what is learned: beyond, it is a mistake. A
	// request is never less than one.
	mostScale, leastScale = 8, 1.0 / 64
	// shortWindow is up to which share of a minute a bucket is one that says
	// honestly what may be had at once. One that speaks of a whole minute may have
	// shorter windows behind it, of which its headers do not tell.
	shortWindow = 1.0 / 3
)

func (a *account) known() bool { return a.capacity > 0 }

func (a *account) regular(now time.Time) bool {
	return a.irregular.IsZero() || now.Sub(a.irregular) > regularAfter
}

// advance lets time pass.
func (a *account) advance(passed float64) { a.used = max(0, a.used-a.refill*passed) }

// take notes that something is sent, or given back if it is negative.
func (a *account) take(units float64) { a.used = max(0, a.used+units*a.scale) }

// room reports whether there is room for so much; if not, how many seconds until
// there is. What is more than the whole bucket needs a full one. The estimate of a
// single request may be wrong by a quarter, and by more if it was refused before.
func (a *account) room(units float64, refused int, now time.Time) (wait float64, ok bool) {
	if now.Before(a.empty) {
		return a.empty.Sub(now).Seconds(), false
	}
	over := a.used - max(0, a.capacity-(1.25+0.5*float64(refused))*units*a.scale)
	if over <= tiny {
		return 0, true
	}
	return over / a.refill, false
}

// gain is by how much to pace faster or slower than the limit a minute says. Slower
// while little remains, so that all who share a limit get along with what is left of
// it. And so that some of the bucket is used at all times: full, it is refilled for
// nobody. An honest short one may be used up to two thirds; one that speaks of a
// minute little, as a second may be all that there is behind it.
func (a *account) gain(now time.Time) float64 {
	if !a.known() {
		return 1
	}
	g := 1.0
	if second := min(a.capacity, a.refill); !a.regular(now) {
		// Nothing is known of what it means to be full.
	} else if a.capacity <= 60*a.refill*shortWindow {
		g = min(2, max(0.5, 1+2*(0.7-a.used/second)))
	} else {
		g = min(1.15, max(1, 1+0.5*(0.3-a.used/second)))
	}
	if left := a.capacity - a.used; left < a.low {
		g = min(g, max(0.05, left/a.low))
	}
	return g
}

// learn takes in what an answer said of the limit, to the request of a charge, made
// at a time; spentNow is what has been asked by now.
func (a *account) learn(l Limit, at time.Time, c charge, spentNow float64, now time.Time) {
	if refill := float64(l.PerMinute) / 60; a.refill != refill {
		*a = account{refill: refill, scale: 1, least: a.least}
	}
	if l.Remaining < 0 || at.Before(a.seen) { // what is older is known already
		return
	}
	a.seen = at
	a.measureBucket(l, now)
	a.used = a.capacity - float64(l.Remaining)
	switch {
	case !a.regular(now):
		a.scale, a.charge, a.asked, a.anchor = 1, mean{}, mean{}, anchor{}
	case l.Remaining == 0: // or even less: only reset tells how much
		a.used = max(a.used, a.refill*(l.Reset-l.Rounded).Seconds())
	case c.refused > 0:
		// What remains was too little, if it was this limit that refused.
		a.scale = max(a.scale, min(1, float64(l.Remaining)/c.refused))
	default:
		a.measureScale(at, c)
	}
	a.used = max(0, a.used-a.refill*now.Sub(at).Seconds()+a.scale*(spentNow-c.spent))
}

// measureBucket finds out how large the bucket is, and whether it is one: what
// remains and what is refilled until reset add up to the same at all times.
func (a *account) measureBucket(l Limit, now time.Time) {
	perMinute, left := float64(l.PerMinute), float64(l.Remaining)
	full := max(a.capacity, left)
	inexact := 2 + 0.02*perMinute
	if l.Reset >= 0 {
		full = left + a.refill*l.Reset.Seconds()
		inexact = 2 + 0.02*min(full, perMinute)
		a.coarse = l.Rounded > 0 || l.Reset%time.Second == 0 && (a.coarse || !a.known())
	}
	if a.coarse { // rounded up: it is at most a second less, and surely not the larger one
		inexact += a.refill
		full = max(a.capacity, left, full-a.refill)
	}
	if full > perMinute+inexact || a.known() && math.Abs(full-a.capacity) > inexact {
		a.irregular, full = now, perMinute
	}
	a.capacity = max(1, left, min(full, perMinute))
	a.low, a.empty = min(a.capacity/4, 5*a.refill), time.Time{}
	if l.Reset >= 0 && !a.regular(now) {
		a.low = min(a.low, a.refill*l.Reset.Seconds())
		if l.Remaining == 0 {
			a.empty = now.Add(min(l.Reset, time.Minute))
		}
	}
}

// measureScale learns what the other end takes for what we ask. Two things bound it
// from above, and one of them is exact: what was used up between two answers (exact
// while the bucket is never full), and what is used right after a request (exact if
// it was full before).
func (a *account) measureScale(at time.Time, c charge) {
	if c.units <= 0 || a.used <= 0 { // rounded, or as it was before the request
		return
	}
	a.charge.add(a.used)
	a.asked.add(c.units)
	bound := a.charge.value / a.asked.value
	if bound < a.scale {
		a.scale = max(bound, a.least)
	}
	asked, passed := c.spent-a.anchor.spent, at.Sub(a.anchor.at).Seconds()
	if !a.anchor.at.IsZero() && asked > 0 {
		if passed < 1 {
			return
		}
		measured := (a.used - a.anchor.used + a.refill*passed) / asked
		if measured > 1 && a.used <= a.anchor.used { // others use it too, but there is enough: do not give way for good
			measured *= 0.95
		}
		a.scale += (min(max(min(measured, bound), a.least), mostScale) - a.scale) / 2
	}
	a.anchor = anchor{at, c.spent, a.used}
}

// mean is a running mean of the last values, about 16 of them.
type mean struct {
	value float64
	n     int
}

func (m *mean) add(v float64) {
	m.n = min(m.n+1, 16)
	m.value += (v - m.value) / float64(m.n)
}
