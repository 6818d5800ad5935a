package policy

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// booking is a change of what was asked for, seen from outside.
type booking struct {
	at     time.Time
	amount [kinds]float64
	send   bool
	gone   bool // it was refused: the other end took nothing, but what was due is gone
}

// bookings is a limiter under random use, and what was done to it.
type bookings struct {
	t    *rapid.T
	l    *Limiter
	now  time.Time
	held []*reservation
	all  []booking
}

func (b *bookings) add(send bool, amount [kinds]float64) {
	b.all = append(b.all, booking{at: b.now, amount: amount, send: send})
}

func amounts(r *reservation) (a [kinds]float64) {
	for k := range kinds {
		a[k] = r.charges[k].units
	}
	return a
}

func (b *bookings) reserve() {
	ask := Ask{InputTokens: rapid.IntRange(0, 500).Draw(b.t, "in"), OutputTokens: rapid.IntRange(1, 500).Draw(b.t, "out")}
	r := &reservation{}
	again, ok := b.l.reserve(r, ask, b.now)
	if ok {
		b.held = append(b.held, r)
		b.add(true, amounts(r))
		return
	}
	if !again.After(b.now) {
		b.t.Fatalf("told to come again at %s, it is %s", again, b.now)
	}
}

// pick takes one out of those held.
func (b *bookings) pick() *reservation {
	if len(b.held) == 0 {
		return nil
	}
	i := rapid.IntRange(0, len(b.held)-1).Draw(b.t, "which")
	r := b.held[i]
	b.held[i] = b.held[len(b.held)-1]
	b.held = b.held[:len(b.held)-1]
	return r
}

func (b *bookings) refund() {
	r := b.pick()
	if r == nil {
		return
	}
	back := amounts(r)
	for k := range back {
		back[k] = -back[k]
	}
	b.l.refund(r)
	b.l.refund(r) // again: it is given back once
	b.add(false, back)
}

func (b *bookings) adjust() {
	r := b.pick()
	if r == nil {
		return
	}
	before := amounts(r)
	o := Observation{InputTokens: rapid.IntRange(1, 800).Draw(b.t, "in"), OutputTokens: rapid.IntRange(1, 800).Draw(b.t, "out")}
	b.l.observe(r, o, b.now)
	b.l.observe(r, o, b.now) // again: it is corrected once
	after := amounts(r)
	for k := range after {
		after[k] -= before[k]
	}
	b.add(false, after)
	b.held = append(b.held, r)
}

// end ends an attempt: what was refused is given back but for what was due, anything
// else stays as it is; a refund after it changes nothing any more.
func (b *bookings) end() {
	r := b.pick()
	if r == nil {
		return
	}
	o := rapid.SampledFrom([]outcome{answered, failed, refused, cancelled, void}).Draw(b.t, "outcome")
	before := amounts(r)
	if o == refused && rapid.Bool().Draw(b.t, "seen in the headers") {
		b.l.observe(r, Observation{Refused: true}, b.now)
	}
	b.l.settle(r, o, true, b.now)
	b.l.settle(r, o, true, b.now) // again: it is given back once
	after := amounts(r)
	for k := range after {
		after[k] -= before[k]
	}
	b.all = append(b.all, booking{at: b.now, amount: after, gone: true})
}

func (b *bookings) pass() {
	b.now = b.now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(b.t, "ms")) * time.Millisecond)
}

func (b *bookings) run(ops ...func()) {
	for range rapid.IntRange(1, 120).Draw(b.t, "steps") {
		ops[rapid.IntRange(0, len(ops)-1).Draw(b.t, "op")]()
	}
}

func newBookings(t *rapid.T) *bookings {
	limit := RateLimit{
		RequestsPerMinute: Rate(rapid.IntRange(1, 6000).Draw(t, "requests")),
		TokensPerMinute:   Rate(rapid.IntRange(100, 100000).Draw(t, "tokens")),
	}
	return &bookings{t: t, l: NewLimiter(limit), now: time.Unix(1e9, 0)}
}

// TestNeverAboveTheLimit: whenever something is sent, what was booked before it, over
// any time up to then, is at most what the limit brings in that time and the burst.
func TestNeverAboveTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := newBookings(t)
		b.run(b.reserve, b.reserve, b.reserve, b.refund, b.adjust, b.end, b.pass, b.pass)
		want := b.l.limit()
		for k, perMinute := range map[Kind]Rate{Requests: want.RequestsPerMinute, Tokens: want.TokensPerMinute} {
			if err := above(b.all, k, float64(perMinute)/60); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func above(all []booking, k Kind, rate float64) error {
	for end := range all {
		if !all[end].send {
			continue
		}
		sum := 0.0
		for begin := end - 1; begin >= 0; begin-- {
			if !all[begin].gone {
				sum += all[begin].amount[k]
			}
			window := all[end].at.Sub(all[begin].at)
			if most := rate * (window + spread).Seconds(); sum > most+1e-3 {
				return fmt.Errorf("%s: %v booked in %s before a request, %v allowed", k, sum, window, most)
			}
		}
	}
	return nil
}

// TestNoPermitLostOrMade: what is taken, refunded, corrected and refused adds up, of
// every limit and of a pace that was found; and when all that is held is given back,
// everything is as it was.
func TestNoPermitLostOrMade(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := newBookings(t)
		b.apart()
		p := &pace{rate: 0.01, limit: 0.01, low: 0.01} // below any limit that is told
		b.l.finder = p
		b.l.advance(b.now)
		b.now = b.now.Add(time.Hour)
		b.l.advance(b.now)
		before, paced := b.l.meters, p.due
		b.run(b.reserve, b.reserve, b.refund, b.adjust, b.end)
		check := func(when string) {
			var spent, due [kinds]float64
			for _, one := range b.all {
				for k, n := range one.amount {
					spent[k] += n
					if !one.gone {
						due[k] += n
					}
				}
			}
			for k := range kinds {
				if m := b.l.meters[k]; math.Abs(m.spent-spent[k]) > 1e-3 || !m.off() && math.Abs(before[k].due-m.due-due[k]) > 1e-3 {
					t.Fatalf("%s: %s: spent %v, due %v of %v; %v and %v were booked", when, k, m.spent, m.due, before[k].due, spent[k], due[k])
				}
			}
			if got := paced - p.due; math.Abs(got-due[Requests]) > 1e-3 {
				t.Fatalf("%s: %v taken of the pace, %v was booked", when, got, due[Requests])
			}
		}
		check("at the end")
		for len(b.held) > 0 {
			b.refund()
		}
		check("when all was given back")
	})
}

// apart has the other end tell limits of input and output apart.
func (b *bookings) apart() {
	r := &reservation{at: b.now}
	b.l.observe(r, Observation{Limits: []Limit{
		{Kind: InputTokens, PerMinute: 1 << 40, Remaining: Unknown, Reset: Unknown},
		{Kind: OutputTokens, PerMinute: 1 << 40, Remaining: Unknown, Reset: Unknown},
	}}, b.now)
}

// door is a provider's limits, which it tells with every answer.
type door struct {
	kind                       Kind
	perMinute, capacity, level float64
}

func (d *door) pass(passed time.Duration) {
	d.level = min(d.capacity, d.level+d.perMinute*passed.Minutes())
}

func (d *door) says() Limit {
	missing := (d.capacity - d.level) / d.perMinute * float64(time.Minute)
	return Limit{Kind: d.kind, PerMinute: int64(d.perMinute), Remaining: int64(max(0, d.level)), Reset: time.Duration(max(0, missing))}
}

// TestNothingIsRefused by a provider that tells its limits, of requests and of tokens
// (of prompts and answers apart, or together), where the estimates are right: whatever
// the order in which attempts are made, not made, answered and given up, and however
// late the answers are.
func TestNothingIsRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := &bookings{t: t, l: NewLimiter(RateLimit{}), now: time.Unix(1e9, 0)}
		window := rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(t, "window")
		var doors []*door
		for _, k := range rapid.SampledFrom([][]Kind{{Requests}, {Tokens}, {Requests, InputTokens, OutputTokens}, {InputTokens, OutputTokens}}).Draw(t, "limits") {
			perMinute := 60 * float64(rapid.IntRange(2000, 100_000).Draw(t, "a second"))
			if k == Requests {
				perMinute = 60 * float64(rapid.IntRange(5, 1000).Draw(t, "requests a second"))
			}
			c := perMinute * window.Minutes()
			left := float64(rapid.IntRange(0, 4).Draw(t, "quarters left")) / 4 // others have used the rest
			doors = append(doors, &door{k, perMinute, c, c * left})
		}
		said := map[*reservation][]Limit{}
		send := func(known bool) {
			ask := Ask{InputTokens: rapid.IntRange(1, 500).Draw(t, "in"), OutputTokens: rapid.IntRange(1, 500).Draw(t, "out")}
			r := &reservation{}
			if _, ok := b.l.reserve(r, ask, b.now); !ok {
				return
			}
			if known && rapid.IntRange(0, 9).Draw(t, "not made") == 0 {
				b.l.refund(r)
				return
			}
			for _, d := range doors {
				if d.level -= r.charges[d.kind].units; known && d.level < -1e-6 {
					t.Fatalf("%s: %v too many were asked for", d.kind, -d.level)
				}
				d.level = max(0, d.level)
				said[r] = append(said[r], d.says())
			}
			b.held = append(b.held, r)
		}
		answer := func() {
			if r := b.pick(); r != nil {
				b.l.observe(r, Observation{Limits: said[r]}, b.now)
				b.l.settle(r, answered, false, b.now)
			}
		}
		giveUp := func() {
			if r := b.pick(); r != nil {
				b.l.settle(r, cancelled, false, b.now)
			}
		}
		pass := func() {
			d := time.Duration(rapid.IntRange(1, 400).Draw(t, "ms")) * time.Millisecond
			b.now = b.now.Add(d)
			for _, one := range doors {
				one.pass(d)
			}
		}
		send(false)
		answer()
		b.run(func() { send(true) }, func() { send(true) }, func() { send(true) }, answer, answer, giveUp, pass, pass)
	})
}

func TestNoBurstAtTheStart(t *testing.T) {
	t.Parallel()
	l, now, n := NewLimiter(RateLimit{RequestsPerMinute: 6000}), time.Unix(1e9, 0), 0
	for range 100 {
		if _, ok := l.reserve(new(reservation), Ask{}, now); ok {
			n++
		}
		now = now.Add(time.Millisecond)
	}
	if n != 10 {
		t.Errorf("%d sent in the first 100ms of 100 a second, want 10", n)
	}
}

func TestTokensOfAnAnswerAreLearned(t *testing.T) {
	t.Parallel()
	l, now := NewLimiter(RateLimit{TokensPerMinute: 60_000}), time.Unix(1e9, 0)
	for range 50 {
		r := new(reservation)
		for {
			again, ok := l.reserve(r, Ask{InputTokens: 100}, now)
			if ok {
				break
			}
			now = again
		}
		l.observe(r, Observation{InputTokens: 110, OutputTokens: 300}, now.Add(time.Second))
	}
	if got := l.units(Ask{InputTokens: 100})[Tokens]; math.Abs(got-400) > 1 {
		t.Errorf("a request is taken for %v tokens, want 400", got)
	}
	if got := l.units(Ask{InputTokens: 100, OutputTokens: 50})[Tokens]; got != 150 {
		t.Errorf("a request with max_tokens is taken for %v tokens, want 150", got)
	}
}

// TestHeadersOfAllKinds has limits of one kind hold up requests.
func TestHeadersOfAllKinds(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for _, tc := range []struct {
		name string
		want RateLimit
		said Limit
		ok   bool // another request may go at once
	}{
		{"nothing left of the requests", RateLimit{}, Limit{Requests, 30, 0, time.Minute, 0}, false},
		{"nothing left of the tokens", RateLimit{}, Limit{Tokens, 6_000, 0, time.Minute, 0}, false},
		{"nothing left of the input", RateLimit{}, Limit{InputTokens, 6_000, 0, time.Minute, 0}, false},
		{"nothing left of the output", RateLimit{}, Limit{OutputTokens, 6_000, 0, time.Minute, 0}, false},
		{"too little left of the output", RateLimit{}, Limit{OutputTokens, 6_000, 100, 59 * time.Second, 0}, false},
		{"enough left", RateLimit{}, Limit{OutputTokens, 60_000, 40_000, 20 * time.Second, 0}, true},
		{"reset not known", RateLimit{}, Limit{Requests, 30, 0, Unknown, 0}, false},
		{"Azure does not know", RateLimit{}, Limit{Requests, 0, 0, 0, 0}, true},
		{"Azure does not know either", RateLimit{}, Limit{Tokens, Unknown, Unknown, 0, 0}, true},
		{"remaining not known", RateLimit{}, Limit{Tokens, 60_000, Unknown, Unknown, 0}, true},
		{"requests not wanted", RateLimit{RequestsPerMinute: Off}, Limit{Requests, 30, 0, time.Minute, 0}, true},
		{"tokens not wanted", RateLimit{TokensPerMinute: Off}, Limit{OutputTokens, 60, 0, time.Minute, 0}, true},
		{"no such kind", RateLimit{}, Limit{kinds, 60, 0, time.Minute, 0}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l, r, ask := NewLimiter(tc.want), new(reservation), Ask{InputTokens: 200, OutputTokens: 200}
			if _, ok := l.reserve(r, ask, now); !ok {
				t.Fatal("the first request has to wait")
			}
			l.observe(r, Observation{Limits: []Limit{tc.said}}, now.Add(time.Second))
			again, ok := l.reserve(r, ask, now.Add(time.Second))
			if ok != tc.ok {
				t.Errorf("another may go = %t, want %t", ok, tc.ok)
			}
			if wait := again.Sub(now.Add(time.Second)); !ok && (wait <= 0 || wait > recheck) {
				t.Errorf("to come again in %s, want within %s", wait, recheck)
			}
		})
	}
}

func TestLimitsAreShared(t *testing.T) {
	t.Parallel()
	var all Limits
	a := all.For("x", RateLimit{RequestsPerMinute: 100, TokensPerMinute: Off})
	b := all.For("x", RateLimit{RequestsPerMinute: 60})
	if a != b || all.For("y", RateLimit{}) == a {
		t.Error("want one limiter a name")
	}
	if got := a.limit(); got.RequestsPerMinute != 60 || got.TokensPerMinute != Auto {
		t.Errorf("got %v, want the tighter of the two", got)
	}
}

func TestRateText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{"auto": Auto, "off": Off, "6000": 6000} {
		var got Rate
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "1.5", "fast", "6000 "} {
		if err := new(Rate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	now := time.Unix(1e9, 0)
	b.Run("reserve", func(b *testing.B) {
		l, r := NewLimiter(RateLimit{RequestsPerMinute: 1 << 40, TokensPerMinute: 1 << 50}), new(reservation)
		b.ReportAllocs()
		for b.Loop() {
			l.reserve(r, Ask{InputTokens: 100}, now)
			now = now.Add(time.Microsecond)
		}
	})
	b.Run("reserve and wait", func(b *testing.B) {
		l, r := NewLimiter(RateLimit{RequestsPerMinute: 60}), new(reservation)
		b.ReportAllocs()
		for b.Loop() {
			l.reserve(r, Ask{InputTokens: 100}, now)
		}
	})
	b.Run("observe", func(b *testing.B) {
		l, r := NewLimiter(RateLimit{}), new(reservation)
		l.reserve(r, Ask{InputTokens: 100}, now)
		b.ReportAllocs()
		for b.Loop() {
			r.at = now
			l.observe(r, Observation{Limits: []Limit{
				{Requests, 6000, 5000, 10 * time.Second, 0}, {Tokens, 600_000, 500_000, 10 * time.Second, 0},
			}, InputTokens: 100, OutputTokens: 10}, now)
			now = now.Add(time.Microsecond)
		}
	})
}
