package policy

import (
	"sync"
	"time"
)

// Limiter paces what is asked of one endpoint and model by its limits: requests
// and tokens, together. Several stages, and runs, may share one; see [Limits]. It
// reserves before something is sent, corrects that by what was counted, and gives
// back what was not sent.
type Limiter struct {
	mu     sync.Mutex
	at     time.Time // up to when time has passed
	meters [kinds]meter
	finder finder
	output mean // tokens of an answer
}

// finder finds, by being refused, a limit of requests of which nobody tells, and holds them
// to it.
type finder interface {
	// advance lets seconds pass. told is the limit of requests of which somebody tells, too,
	// in requests a second; 0 for none.
	advance(passed, told float64, now time.Time)
	// ready returns in how many seconds a request may be made, 0 for now.
	ready(now time.Time) (wait float64)
	// take takes a request. What it returns is for giveBack and settle.
	take(now time.Time) mark
	// giveBack undoes take, at once or later.
	giveBack(m mark)
	// settle takes in how a request made at a time ended. It reports whether it was refused
	// for there being too many.
	settle(m mark, at time.Time, v verdict, now time.Time) (tooMany bool)
	// usual is which share of the requests is refused whatever their pace.
	usual() float64
	// found is the limit that was found, in requests a second; 0 for none.
	found() float64
	// holds reports that it holds requests up, or would.
	holds() bool
	// spaces reports that whoever was refused is held up by it, and needs no backoff.
	spaces() bool
}

// verdict is what the end of a request tells of a limit.
type verdict uint8

const (
	letIn       verdict = iota
	unexplained         // refused, and nothing that is known says why
	crowded             // refused, as too many were in flight
	explained           // refused by a limit that is known
)

// NewLimiter returns a limiter of its own, shared by nobody yet.
func NewLimiter(limit RateLimit) *Limiter {
	return newLimiter(limit, &pace{})
}

func newLimiter(limit RateLimit, f finder) *Limiter {
	l := &Limiter{finder: f}
	for k := range kinds {
		l.meters[k] = newMeter(k, Auto)
	}
	l.set(limit)
	return l
}

// NewSerialLimiter returns a limiter for requests of which each is made when the one
// before has ended. Where nobody tells a limit of them, it keeps a gap between them that
// refusals have shown to be wanted.
func NewSerialLimiter(limit RateLimit) *Limiter {
	return newLimiter(limit, &gap{})
}

func (l *Limiter) set(limit RateLimit) {
	l.meters[Requests].want = limit.RequestsPerMinute
	l.meters[Tokens].want = limit.TokensPerMinute
	// A number is for both together; whether those apart are heeded is one question.
	l.meters[InputTokens].want = min(limit.TokensPerMinute, Auto)
	l.meters[OutputTokens].want = min(limit.TokensPerMinute, Auto)
}

func (l *Limiter) limit() RateLimit {
	return RateLimit{RequestsPerMinute: l.meters[Requests].want, TokensPerMinute: l.meters[Tokens].want}
}

// tighten adds the wishes of somebody else who shares the limiter.
func (l *Limiter) tighten(limit RateLimit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	had := l.limit()
	l.set(RateLimit{
		RequestsPerMinute: tighter(had.RequestsPerMinute, limit.RequestsPerMinute),
		TokensPerMinute:   tighter(had.TokensPerMinute, limit.TokensPerMinute),
	})
}

// reservation is what an attempt holds of the limits.
type reservation struct {
	at      time.Time // zero if it holds nothing
	charges [kinds]charge
	mark    mark
	// explained says that it was refused because of a limit that is known.
	explained bool
}

// charge is what a reservation took of one limit.
type charge struct {
	units   float64 // asked for
	due     float64 // taken of what was due
	spent   float64 // what had been asked for in all, itself included
	refused float64 // what was asked for, if that was refused
}

// reserve takes what ask needs, of all limits or of none. If some limit does not
// have it now, it returns when to ask again, which may turn out to be too early.
func (l *Limiter) reserve(r *reservation, ask Ask, now time.Time) (again time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(now)
	units := l.units(ask)
	var longest float64
	for k := range kinds {
		if wait, ok := l.meters[k].ready(units[k], ask.refused, now); !ok {
			longest = max(longest, wait)
		}
	}
	if l.meters[Requests].want != Off {
		longest = max(longest, l.finder.ready(now))
	}
	if longest > 0 {
		return now.Add(min(recheck, max(soonest, time.Duration(longest*float64(time.Second))))), false
	}
	r.at, r.explained, r.mark = now, false, l.finder.take(now)
	for k := range kinds {
		m := &l.meters[k]
		due := m.take(units[k])
		r.charges[k] = charge{units: units[k], due: due, spent: m.spent}
	}
	return time.Time{}, true
}

const (
	// recheck bounds how long somebody waits before asking again: what others learn
	// or give back may let him go before his time.
	recheck = 100 * time.Millisecond
	// soonest is about how exact timers are.
	soonest = 50 * time.Microsecond
)

// units is what an ask needs of each limit.
func (l *Limiter) units(ask Ask) (units [kinds]float64) {
	in, out := float64(ask.InputTokens), float64(ask.OutputTokens)
	if out == 0 {
		out = l.output.value
	}
	return [kinds]float64{Requests: 1, Tokens: in + out, InputTokens: in, OutputTokens: out}
}

func (l *Limiter) advance(now time.Time) {
	passed := now.Sub(l.at).Seconds()
	if passed <= 0 {
		return
	}
	if l.at.IsZero() {
		passed = 0 // nothing fell due before: no burst at the start
	}
	l.at = now
	for k := range kinds {
		l.meters[k].advance(passed, now)
	}
	told := 0.0
	if m := &l.meters[Requests]; !m.off() {
		told = m.rate(now)
	}
	l.finder.advance(passed, told, now)
}

// refund gives back the reservation of an attempt that was not made.
func (l *Limiter) refund(r *reservation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.at.IsZero() {
		return
	}
	l.finder.giveBack(r.mark)
	for k := range kinds {
		l.meters[k].giveBack(r.charges[k].units, r.charges[k].due)
	}
	r.at = time.Time{}
}

// observe takes in what the attempt learned that holds the reservation. It reports
// whether the other end told a limit.
func (l *Limiter) observe(r *reservation, o Observation, now time.Time) (told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.at.IsZero() {
		return false
	}
	l.advance(now)
	if o.Refused {
		l.refuse(r)
	}
	for _, said := range o.Limits {
		if said.Kind >= kinds || said.PerMinute <= 0 || l.meters[said.Kind].want == Off {
			continue
		}
		c := &r.charges[said.Kind]
		told, r.explained = true, r.explained || float64(said.Remaining) < c.refused
		l.meters[said.Kind].learn(said, r.at, *c, now)
	}
	if o.InputTokens > 0 || o.OutputTokens > 0 {
		l.adjust(r, float64(o.InputTokens), float64(o.OutputTokens), now)
	}
	return told
}

// settle takes in how the attempt of a reservation ended; seen says that it was refused
// because too many were in flight. It reports whether it was refused for there being too
// many, though no limit that is known explains it.
func (l *Limiter) settle(r *reservation, o outcome, seen bool, now time.Time) (tooMany bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.at.IsZero() || o != answered && o != refused { // a failure tells nothing of a limit
		return false
	}
	v := letIn
	if o == refused {
		l.refuse(r)
		v = r.verdict(seen)
	}
	return l.finder.settle(r.mark, r.at, v, now)
}

// verdict is what it tells that the attempt of a reservation was refused.
func (r *reservation) verdict(seen bool) verdict {
	switch {
	case r.explained:
		return explained
	case seen:
		return crowded
	default:
		return unexplained
	}
}

// usual is which share of the requests is refused whatever their pace.
func (l *Limiter) usual() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.finder.usual()
}

// wanted reports that there is anything to pace by, or to find out.
func (l *Limiter) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit() != RateLimit{RequestsPerMinute: Off, TokensPerMinute: Off}
}

// refuse notes that the request of a reservation was not let in: the other end took
// nothing. What fell due for it is gone all the same: it was sent.
func (l *Limiter) refuse(r *reservation) {
	for k := range kinds {
		l.meters[k].refuse(&r.charges[k])
	}
}

// adjust corrects a reservation by what was counted, once; but only where the other
// end does not tell what it takes for used. It may count otherwise than it bills:
// the longest possible answer, say, when the request comes in.
func (l *Limiter) adjust(r *reservation, in, out float64, now time.Time) {
	l.output.add(out)
	counted := [kinds]float64{Tokens: in + out, InputTokens: in, OutputTokens: out}
	for k := Tokens; k < kinds; k++ {
		if m := &l.meters[k]; !m.account.known() || !m.account.regular(now) {
			m.correct(&r.charges[k], counted[k])
		}
	}
}

// paces reports that there is something to pace by.
func (l *Limiter) paces() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range kinds {
		if !l.meters[k].off() {
			return true
		}
	}
	return l.finder.holds()
}

// spaces reports that it holds up whoever was refused.
func (l *Limiter) spaces() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.finder.spaces() && l.meters[Requests].want != Off
}

// FoundLimit is a limit by which requests are paced.
type FoundLimit struct {
	Kind Kind `json:"kind"`
	// PerMinute is the limit.
	PerMinute float64 `json:"per_minute"`
	// By is where it is from: "configuration", "headers", or "refusals" for one that
	// nobody tells and that was found by being refused.
	By string `json:"by"`
}

// found returns the limits by which requests are paced.
func (l *Limiter) found() (all []FoundLimit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range kinds {
		m := &l.meters[k]
		configured, said := float64(m.want), m.account.refill*60
		switch {
		case m.off():
		case m.want > 0 && (said == 0 || configured <= said):
			all = append(all, FoundLimit{k, configured, "configuration"})
		default:
			all = append(all, FoundLimit{k, said, "headers"})
		}
	}
	if rate := l.finder.found(); rate > 0 {
		all = append(all, FoundLimit{Requests, rate * 60, "refusals"})
	}
	return all
}
