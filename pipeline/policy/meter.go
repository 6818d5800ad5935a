package policy

import (
	"math"
	"time"
)

// tiny is what floating point may be wrong by.
const tiny = 1e-6

// spread is over which time a pace holds: after a pause, no more is caught up on
// than fell due in it. Timers are late by a few milliseconds, answers come in
// bunches; a tenth of a second makes up for both and is far below the second over
// which limits a minute are enforced.
const spread = 100 * time.Millisecond

// meter paces one kind of limit. What is sent is taken from what has fallen due,
// and may take it below zero: the next one then waits until it is made up for. So
// the large and the small wait for the same, and none can starve the other, even
// where they stand in different queues.
type meter struct {
	want    Rate
	due     float64 // what may be sent now, at most
	most    float64 // so much, if not off
	spent   float64 // what was ever taken, less what was given back
	account account
}

func newMeter(k Kind, want Rate) meter {
	m := meter{want: want, account: account{scale: 1, least: leastScale}}
	if k == Requests {
		m.account.least = 1
	}
	return m
}

// off reports that there is nothing to pace by.
func (m *meter) off() bool { return m.want == Off || m.want == Auto && m.account.refill == 0 }

// rate is how much falls due in a second now; only for a meter that is not off.
func (m *meter) rate(now time.Time) float64 {
	r := math.Inf(1)
	if m.account.refill > 0 {
		r = m.account.refill * m.account.gain(now)
	}
	if m.want > 0 {
		r = min(r, float64(m.want)/60)
	}
	return r
}

// advance lets time pass, of which it is now the end.
func (m *meter) advance(passed float64, now time.Time) {
	if m.off() {
		return
	}
	rate := m.rate(now)
	m.most = rate * spread.Seconds()
	m.due = min(m.most, m.due+rate*passed)
	m.account.advance(passed)
}

// ready reports whether units may be sent; if not, in how many seconds at the
// soonest.
func (m *meter) ready(units float64, refused int, now time.Time) (wait float64, ok bool) {
	if m.off() {
		return 0, true
	}
	if m.due < -tiny {
		wait = -m.due / m.rate(now)
	}
	if m.account.known() {
		if w, room := m.account.room(units, refused, now); !room {
			wait = max(wait, w)
		}
	}
	return wait, wait == 0
}

// take takes units and returns what that took of what is due, for giveBack.
func (m *meter) take(units float64) (due float64) {
	if !m.off() {
		due = units * m.account.scale
	}
	m.spent += units
	m.due -= due
	m.account.take(units)
	return due
}

// giveBack undoes take, at once or later.
func (m *meter) giveBack(units, due float64) {
	m.spent -= units
	m.due = min(m.most, m.due+due)
	m.account.take(-units)
}

// refuse is for a charge of which the other end took nothing.
func (m *meter) refuse(c *charge) {
	m.spent -= c.units
	m.account.take(-c.units)
	c.spent -= c.units
	c.refused += c.units
	c.units = 0
}

// correct is for a charge of which so many units were counted.
func (m *meter) correct(c *charge, counted float64) {
	more := counted - c.units
	c.due += m.take(more)
	c.units = counted
	m.due = min(m.most, m.due)
}

// learn takes in what the other end said of its limit.
func (m *meter) learn(l Limit, at time.Time, c charge, now time.Time) {
	was := m.account.refill
	m.account.learn(l, at, c, m.spent, now)
	if was == 0 && m.want == Auto {
		m.due = 0 // nothing fell due before: no burst at the start
	}
}
