package engine

import (
	"strconv"
	"sync"

	"github.com/rowmill/rowmill/pipeline"
)

// windowBytes bounds the bytes of the records in a stage and in its reorder window.
const windowBytes = 64 << 20

// order hands out tickets in the order of the records, bounds how far they may
// run ahead of the oldest one that is not ready, and brings what became of them
// back into that order.
type order struct {
	window int
	flight *flight
	room   chan struct{} // size 1: a token says that there may be room

	mu      sync.Mutex
	moved   sync.Cond // the head has moved, or nobody is passing on any more
	slots   []slot    // a ring: ticket % len
	next    uint64    // the ticket to hand out
	head    uint64    // the oldest ticket that has not left
	records int       // in the window
	bytes   int       // of the records and of what became of them
	leaving bool      // somebody is passing on
	waiting int       // how many wait for room
}

// slot is a ticket's place.
type slot struct {
	done    bool
	records int // how many were taken for the ticket
	in      int // their bytes, until it is done
	outs    []*pipeline.Record
	out     int          // their bytes
	ref     pipeline.Ref // of the first, to name what is waited for
	origin  pipeline.Origin
}

func newOrder(window int, f *flight) *order {
	o := &order{window: window, flight: f, room: make(chan struct{}, 1), slots: make([]slot, window)}
	o.moved.L = &o.mu
	return o
}

// await waits until the window has room, and says how many records fit.
func (o *order) await() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting++
	defer func() { o.waiting-- }()
	for {
		if n := o.window - o.records; n > 0 && (o.records == 0 || o.bytes < windowBytes) {
			return n
		}
		o.mu.Unlock()
		<-o.room
		o.mu.Lock()
	}
}

// begin hands out the ticket of records that were just taken. The caller sees to
// it that nobody takes and begins in between.
func (o *order) begin(records []*pipeline.Record) uint64 {
	size := sizeOf(records)
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.next
	o.next++
	o.records += len(records)
	o.bytes += size
	*o.slot(t) = slot{records: len(records), in: size, ref: records[0].Ref, origin: records[0].Origin}
	return t
}

// finish gives back a ticket with what became of its records, or with the rest of
// that, and passes on what is ready, in order. One worker at a time is in pass.
func (o *order) finish(ticket uint64, outs []*pipeline.Record, pass func([]*pipeline.Record)) {
	size := sizeOf(outs)
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.slot(ticket)
	o.bytes -= s.in
	s.in, s.done = 0, true
	o.add(s, outs, size)
	o.leave(pass)
}

// part gives a part of what became of a ticket's records. It waits while the window
// is full of such parts, unless it is this ticket that everybody waits for.
func (o *order) part(ticket uint64, outs []*pipeline.Record, pass func([]*pipeline.Record)) {
	size := sizeOf(outs)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(o.slot(ticket), outs, size)
	o.leave(pass)
	o.waiting++
	for o.bytes >= windowBytes && (ticket != o.head || o.leaving) {
		o.moved.Wait()
	}
	o.waiting--
}

func (o *order) add(s *slot, outs []*pipeline.Record, size int) {
	if s.outs == nil {
		s.outs = outs
	} else {
		s.outs = append(s.outs, outs...)
	}
	s.out += size
	o.bytes += size
}

// leave passes on what is ready, unless somebody else does: who comes by here again.
func (o *order) leave(pass func([]*pipeline.Record)) {
	if o.leaving {
		return
	}
	o.leaving = true
	for o.headReady() {
		ready, left := o.collect()
		o.moved.Broadcast()
		o.mu.Unlock()
		notify(o.room)
		if len(ready) > 0 {
			o.flight.move(0, 0, 1)
			pass(ready)
			o.flight.move(0, -left, -1)
		} else {
			o.flight.move(0, -left, 0)
		}
		o.mu.Lock()
	}
	o.leaving = false
	o.moved.Broadcast()
}

func (o *order) slot(ticket uint64) *slot { return &o.slots[ticket%uint64(len(o.slots))] }

// headReady reports whether the oldest ticket is done, or a part of it is there.
func (o *order) headReady() bool {
	return o.head < o.next && (o.slot(o.head).done || len(o.slot(o.head).outs) > 0)
}

// collect frees the slots of all tickets that are done from the head on, and
// returns what became of their records, how many that were, and what is there of the next.
func (o *order) collect() (ready []*pipeline.Record, left int) {
	for o.headReady() {
		s := o.slot(o.head)
		if ready == nil {
			ready = s.outs
		} else {
			ready = append(ready, s.outs...)
		}
		o.bytes -= s.out
		if !s.done {
			s.outs, s.out = nil, 0
			break
		}
		o.records -= s.records
		left += s.records
		*s = slot{}
		o.head++
	}
	return ready, left
}

// waitingFor names the record that everybody waits for, "" if the window has room.
func (o *order) waitingFor() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting == 0 || o.head == o.next {
		return ""
	}
	s := o.slot(o.head)
	if place := s.origin.String(); place != "" {
		return place
	}
	return strconv.FormatUint(s.ref.Seq+1, 10)
}
