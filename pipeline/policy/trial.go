package policy

import "time"

// doubt is about whether it is the pace that the other end minds.
type doubt struct {
	seen  window  // since the first of several times that it was lowered
	from  float64 // the pace before it
	times int     // how often
	clean int     // so many windows since in which not too many were refused
	pause time.Duration
	until time.Time
}

// forget ends a doubt.
func (d *doubt) forget() { *d = doubt{pause: d.pause, until: d.until} }

// trial finds out: so many requests are made at a pace at which a limit would refuse
// none. If about as many are refused as before, that is usual.
type trial struct {
	size  int     // 0 while there is none
	turn  int     // the number of its window
	seen  window  // what was refused before it
	made  float64 // what was made a second before it
	first bool    // there was no pace before it
}

// over reports that it can be told how a trial ended: what is refused of its window is
// refused by now.
func (t *trial) over(turn int, w window) bool {
	return t.size > 0 && turn > t.turn && w.made >= t.size/4
}

const (
	// mostUsual bounds what is taken for usual: beyond, the other end has to be spared.
	mostUsual = 0.5
	// toldPart is which part of the pace that would just be let in is tried, where requests
	// are made evenly. blindPart is which part of the pace where they are not, and where
	// what is refused may depend on their size.
	toldPart, blindPart = 0.8, 0.5
	// leastTrial and mostTrial are how many requests make a trial: so many that 8 are
	// refused if about as many are as before.
	leastTrial, mostTrial = 160, 400
	// doubtAfter is how often in a row lowering it must have made no difference.
	doubtAfter = 5
	// toldAfter is the same where a limit is told, and others are rare.
	toldAfter = 2
	// doubtSize is how many requests it takes at least to doubt: at first, what the other
	// end has in store makes it look as if the pace made no difference.
	doubtSize = 320
	// cleanAfter is in how many windows in a row not too many must have been refused
	// for the pace to have made a difference.
	cleanAfter = 4
	// doubtPause is for how long the outcome of a trial is believed.
	doubtPause = 30 * time.Second
)

// doubts reports whether it may not be the pace that the other end minds, as more of a
// window were refused than usual: requests keep to a limit that is told, or the pace was
// lowered time and again, and as many are refused. If it was not found out of late, it is
// tried.
func (p *pace) doubts(w window, now time.Time) bool {
	d := &p.doubt
	d.clean = 0
	switch {
	case w.share() > mostlyClosed:
		d.forget()
		return false
	case p.rate == 0:
		return p.told > 0 && p.try(w, p.achieved(now), toldPart*(1-w.share()), now)
	case d.from == 0:
		d.from = p.rate
	}
	d.seen.made, d.seen.refused = d.seen.made+p.since.made, d.seen.refused+p.since.refused
	times, made := doubtAfter, doubtSize
	if p.told > 0 {
		times, made = toldAfter, windowSize
	}
	if d.times++; d.times < times || d.seen.made < made || p.rate > 0.65*d.from {
		return false
	}
	return p.try(d.seen, p.rate, blindPart, now)
}

// try begins a trial, at a part of the pace that was made, of whether it is for the pace
// that so many were refused, unless there was one of late.
func (p *pace) try(seen window, made, part float64, now time.Time) bool {
	if seen.share() > mostUsual || now.Before(p.doubt.until) {
		return false
	}
	first := p.rate == 0
	p.rate = max(slowest, part*made)
	p.due = min(p.due, 0)
	p.begin(now)
	p.trial = trial{size: max(leastTrial, min(mostTrial, int(8/seen.share()))), turn: p.turn, seen: seen, made: made, first: first}
	return true
}

// resolve ends a trial. If about as many were refused all the same, that is usual.
func (p *pace) resolve(now time.Time) {
	t, tried := p.trial, p.last
	p.trial = trial{}
	p.doubt.forget()
	if tried.refused > 2 && tried.share()-p.normal >= (t.seen.least()-p.normal)/3 {
		p.normal = max(p.normal, tried.share())
		p.tried = p.normal
		p.rate, p.grown = 0, 0
		p.begin(now)
		return
	}
	p.doubt.pause = min(16*doubtPause, max(doubtPause, 2*p.doubt.pause))
	p.doubt.until = now.Add(p.doubt.pause)
	if t.first {
		p.limit, p.low = max(p.rate, t.made*(1-t.seen.share())), p.rate
	}
	p.rate, p.grown = p.low, 0
	p.begin(now)
}
