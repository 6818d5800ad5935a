package policy

import "time"

// cause is what a turn waits for.
type cause uint8

const (
	backoff    cause = iota // the pause after a failure or refusal
	retryAfter              // the pause the other end asked for
	away                    // the other end: the breaker is open
	slot                    // one of those on the wire to come back
	limited                 // the limits of the other end
	causes
)

// ledger adds up where the time of turns goes: waiting times by cause, and the time
// on the wire. It counts who waits for what and multiplies by the time that passes,
// so that nobody has to keep a clock.
type ledger struct {
	booked  time.Time
	resting [causes]int // how many rest, by cause
	ready   int         // how many queue,
	why     cause       // all of them for the same thing
	onWire  int
	waits   [causes]time.Duration
	wire    time.Duration
}

// book adds the time since the last booking. Every change of the counts comes
// after one.
func (l *ledger) book(now time.Time) {
	passed := now.Sub(l.booked)
	if passed <= 0 {
		return
	}
	l.booked = now
	for c, n := range l.resting {
		l.waits[c] += time.Duration(n) * passed
	}
	l.waits[l.why] += time.Duration(l.ready) * passed
	l.wire += time.Duration(l.onWire) * passed
}
