package policy

import "time"

// slots says how many requests may be on the wire at once. Where the other end tells
// its limits it is as many as the stage may have. Where it does not, how many it can
// serve is found out: from a few, they are doubled as long as the requests answered
// in a time grow with them. When they no longer do, the other end is as busy as it
// can be, and more requests would only wait there, and run into their time-out. Nor
// are there as many as when one was refused. What was found is tried again after a
// while, and less and less often.
//
// Failures tell nothing, the fast ones least of all: where there are more of them
// than before, nothing grows.
type slots struct {
	most  int // of the stage
	now   int
	state search

	round   round // with as many slots as now
	best    round // the last one that was worth its slots
	wait    int   // for how long what was found is believed, in rounds, or in successes
	step    int   // how many more to try, where refusals tell; 0 for twice as many
	fine    int   // so many on the wire were not too many
	latency mean  // of the last answers, in seconds
	next    time.Time
}

// search is the state of the search for the number of slots.
type search uint8

const (
	settled  search = iota // over: the other end tells its limits, or nobody wants to know
	doubling               // at the start
	holding                // found
	trying                 // more than was found
)

// round is what happened with one number of slots, to requests made in the time.
type round struct {
	slots  int
	began  time.Time
	fine   int
	failed int
	// refused is how many of those beyond the slots of the best round were.
	refused int
	sum     time.Duration // latencies of the fine ones
	short   bool          // somebody had to wait for a slot
}

// rate is how many are answered in a second.
func (r *round) rate() float64 { return float64(r.slots*r.fine) / max(r.sum.Seconds(), tiny) }

func (r *round) failures() float64 { return float64(r.failed) / float64(max(1, r.failed+r.fine)) }

const (
	// fewest is how many slots there are at first at least, if the stage may have so
	// many, and firstShare which part of what it may have.
	fewest, firstShare = 4, 4
	// glance is how many answers it takes to go on doubling, and sample to tell a fifth
	// more from chance.
	glance, sample = 8, 64
	// successes without a refusal are enough for a step further.
	successes = 25
	// longestWait bounds for how many rounds, and longestPause for how many times so
	// many successes, what was found is believed.
	longestWait, longestPause = 64, 16
	// usual is how much larger the share of failures may be than it was.
	usual = 0.1
)

func newSlots(most int, adaptive bool) slots {
	s := slots{most: most, now: most}
	if adaptive && most > fewest {
		s.now, s.state = max(fewest, most/firstShare), doubling
	}
	s.round.slots = s.now
	return s
}

// free reports whether one more request may be on the wire; if not, when, the zero
// time if when one comes back.
func (s *slots) free(inFlight int, now time.Time) (until time.Time, ok bool) {
	if inFlight >= s.now {
		s.round.short = true
		return time.Time{}, false
	}
	return s.next, !s.next.After(now.Add(time.Millisecond)) // about as exact as timers are
}

// take notes that a request is made. Those of the start are set a little apart, to a
// quarter of an even distance: answers that come all at once would release twice as
// many requests in one moment, all of them sent before the first one is refused.
func (s *slots) take(now time.Time) {
	if s.state == doubling && s.latency.n > 0 {
		apart := s.latency.value / float64(4*s.now)
		s.next = later(s.next, now).Add(time.Duration(apart * float64(time.Second)))
	}
}

// tell says that the other end tells its limits.
func (s *slots) tell() {
	s.now, s.state, s.next = s.most, settled, time.Time{}
}

// found reports that fewer than there may be were found to be of use.
func (s *slots) found() bool { return s.now < s.most && (s.state == holding || s.state == trying) }

// change begins a round with n slots. With all there are, there is nothing to try.
func (s *slots) change(state search, n int, now time.Time) {
	if s.now == s.most && n > s.most {
		state = holding
	}
	if state != doubling {
		s.next = time.Time{}
	}
	s.state, s.now = state, min(s.most, max(1, n))
	s.round = round{slots: s.now, began: now}
}

// hold goes back to the best round, and longer each time.
func (s *slots) hold(now time.Time) {
	s.wait = min(longestWait, max(2, 2*s.wait))
	s.change(holding, s.best.slots, now)
}

// refuse takes in that a request was refused, one of level on the wire, where a share
// is refused as usual. It reports whether that was to be seen: there was one more than
// had been fine.
func (s *slots) refuse(level int, usual float64, now time.Time) bool {
	if s.state != trying || s.step == 0 || level <= s.best.slots {
		return false
	}
	if s.round.refused++; s.round.refused <= int(3*usual*successes) {
		return false
	}
	s.wait = min(longestPause, max(1, 2*s.wait))
	s.step = 1
	s.change(holding, s.best.slots, now)
	return true
}

// limit takes in that there are too many requests, of whatever: the one refused was
// one of level on the wire. If never as many were fine, it is the slots that are too
// many.
func (s *slots) limit(level int, now time.Time) {
	if s.state == settled || s.fine == 0 || level > s.now || level <= s.fine {
		return
	}
	s.best, s.step, s.wait = round{slots: max(1, level-1)}, 1, 1
	s.change(holding, s.best.slots, now)
}

// fail takes in that a request failed that was made at a time. If far more fail than
// before there were so many, they were too many. But a fast failure tells nothing where
// as many were fine once: the other end has broken down.
func (s *slots) fail(made, now time.Time) {
	if s.state == settled || made.Before(s.round.began) {
		return
	}
	if fast := now.Sub(made).Seconds() < s.latency.value/2; fast && s.fine >= s.now {
		return
	}
	r := &s.round
	r.failed++
	if s.state != holding && s.best.slots > 0 && r.fine+r.failed >= s.now && r.failures() > s.best.failures()+0.25 {
		s.hold(now)
	}
}

// answer takes in that a request was answered, made as one of level on the wire.
func (s *slots) answer(level int, made, now time.Time) {
	if s.state == settled {
		return
	}
	took := now.Sub(made)
	s.latency.add(took.Seconds())
	if s.state == doubling {
		s.fine = max(s.fine, level)
	}
	if made.Before(s.round.began) {
		return
	}
	if s.best.slots > 0 && s.step == 0 && 4*level < 3*s.now { // not among as many as the later ones
		return
	}
	s.round.fine++
	s.round.sum += took
	if s.now < s.most || s.state != holding {
		s.look(now)
	}
}

// look decides what follows on the round, if there is enough to see.
func (s *slots) look(now time.Time) {
	r, first := &s.round, s.best.slots == 0
	if r.fine < s.enough() {
		return
	}
	switch more := !first && r.failures() > s.best.failures()+usual; {
	case more && s.state != holding:
		s.hold(now)
	case more, !r.short: // says nothing
		s.change(s.state, s.now, now)
	case s.state == holding:
		s.best = *r
		s.change(trying, s.more(), now)
	case first || s.worth():
		s.best = *r
		s.fine = max(s.fine, s.now)
		s.step, s.wait = min(2*s.step, s.now), 0
		s.change(s.state, s.more(), now)
	case r.fine >= 3*s.now && r.fine >= 3*glance:
		s.hold(now)
	}
}

// enough is how many answers it takes to look at a round.
func (s *slots) enough() int {
	switch {
	case s.state == doubling:
		return max(s.now, glance)
	case s.step > 0 && s.state == trying:
		return successes
	case s.step > 0:
		return s.wait * successes
	case s.state == trying:
		return max(s.now, sample)
	default:
		return max(s.wait*s.now, sample)
	}
}

// more is how many slots to go on with.
func (s *slots) more() int {
	if s.step > 0 {
		return s.now + s.step
	}
	return 2 * s.now
}

// worth reports whether the slots added since the best round brought at least a fifth
// of what they could have.
func (s *slots) worth() bool {
	if s.step > 0 {
		return true
	}
	ratio := float64(s.now) / float64(s.best.slots)
	return s.round.rate() >= s.best.rate()*(1+0.2*(ratio-1))
}
