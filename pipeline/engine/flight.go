package engine

import (
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline/policy"
)

// StageTime says where the time went that records spent in a stage, in seconds, added up
// over all records: ten records that wait for a second have waited for ten. The causes
// and Server (of a stage that asks nobody, Compute) make up InFlight, but for what it
// takes to write requests and read answers.
type StageTime struct {
	// InFlight is from when the stage took a record until what it made of it was passed
	// on.
	InFlight float64 `json:"in_flight"`
	// Server is until the other end had answered.
	Server float64 `json:"server,omitzero"`
	// Compute is the work itself, in a stage that asks nobody.
	Compute float64 `json:"compute,omitzero"`
	// Limiter is until the limits of the other end allowed more.
	Limiter float64 `json:"limiter,omitzero"`
	// Slot is until fewer requests were on the wire, where fewer than parallelism were
	// found to be of use.
	Slot float64 `json:"slot,omitzero"`
	// Backoff is the pauses after failures and refusals, RetryAfter those that the other
	// end asked for.
	Backoff    float64 `json:"backoff,omitzero"`
	RetryAfter float64 `json:"retry_after,omitzero"`
	// Breaker is while the other end was away.
	Breaker float64 `json:"breaker,omitzero"`
	// Window is the time of records that were ready, for one before them that was not.
	Window float64 `json:"window,omitzero"`
	// Sink is until whoever follows had room.
	Sink float64 `json:"sink,omitzero"`
}

// flight adds up where the time of a stage's records goes. It counts how many are where
// and multiplies by the time that passes, so that no record has to keep a clock.
type flight struct {
	mu      sync.Mutex
	booked  time.Time
	working int // are being processed
	ready   int // are processed
	passing int // of those, are being passed on

	work, window, sink time.Duration
}

// move books the time so far, and then moves records.
func (f *flight) move(working, ready, passing int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.book(time.Now())
	f.working += working
	f.ready += ready
	f.passing += passing
}

// book adds the time since the last booking. What is ready while others are passed on
// waits for whoever follows, and else for a record before it.
func (f *flight) book(now time.Time) {
	passed := now.Sub(f.booked)
	f.booked = now
	f.work += time.Duration(f.working) * passed
	if f.passing > 0 {
		f.sink += time.Duration(f.ready) * passed
	} else {
		f.window += time.Duration(f.ready) * passed
	}
}

// time says where the time went, together with what the policies know, which may be nil.
func (f *flight) time(p *policy.Snapshot) StageTime {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.book(time.Now())
	t := StageTime{
		InFlight: (f.work + f.window + f.sink).Seconds(),
		Window:   f.window.Seconds(), Sink: f.sink.Seconds(),
	}
	if p == nil {
		t.Compute = f.work.Seconds()
		return t
	}
	t.Server, t.Limiter, t.Slot = p.OnWire.Seconds(), p.Waits.Limiter.Seconds(), p.Waits.Slot.Seconds()
	t.Backoff, t.RetryAfter, t.Breaker = p.Waits.Backoff.Seconds(), p.Waits.RetryAfter.Seconds(), p.Waits.Breaker.Seconds()
	return t
}
