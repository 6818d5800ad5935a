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
	room   chan struct{} // size 1: a token says that there may be room

	mu      sync.Mutex
	slots   []slot // a ring: ticket % len
	next    uint64 // the ticket to hand out
	head    uint64 // the oldest ticket that has not left
	records int    // in the window
	bytes   int
	leaving bool // somebody is passing on
	full    bool // somebody waits for room
}

// slot is a ticket's place.
type slot struct {
	done    bool
	records int // how many were taken for the ticket
	bytes   int
	outs    []*pipeline.Record
	ref     pipeline.Ref // of the first, to name what is waited for
	origin  pipeline.Origin
}

func newOrder(window int) *order {
	return &order{window: window, room: make(chan struct{}, 1), slots: make([]slot, window)}
}

// await waits until the window has room, and says how many records fit.
func (o *order) await() int {
	for {
		o.mu.Lock()
		n := o.window - o.records
		if o.records > 0 && o.bytes >= windowBytes {
			n = 0
		}
		o.full = n == 0
		o.mu.Unlock()
		if n > 0 {
			return n
		}
		<-o.room
	}
}

// begin hands out the ticket of records that were just taken. The caller sees to
// it that nobody takes and begins in between.
func (o *order) begin(records []*pipeline.Record) uint64 {
	size := 0
	for _, r := range records {
		size += r.Size()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.next
	o.next++
	o.records += len(records)
	o.bytes += size
	*o.slot(t) = slot{records: len(records), bytes: size, ref: records[0].Ref, origin: records[0].Origin}
	return t
}

// finish gives back a ticket with what became of its records, and passes on what
// is ready, in order. One worker at a time is in pass.
func (o *order) finish(ticket uint64, outs []*pipeline.Record, pass func([]*pipeline.Record)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.slot(ticket)
	s.done, s.outs = true, outs
	if o.leaving {
		return // whoever passes on comes by here again
	}
	o.leaving = true
	for o.headDone() {
		ready := o.collect()
		o.mu.Unlock()
		notify(o.room)
		if len(ready) > 0 {
			pass(ready)
		}
		o.mu.Lock()
	}
	o.leaving = false
}

func (o *order) slot(ticket uint64) *slot { return &o.slots[ticket%uint64(len(o.slots))] }

func (o *order) headDone() bool { return o.head < o.next && o.slot(o.head).done }

// collect frees the slots of all tickets that are ready from the head on, and
// returns what became of their records.
func (o *order) collect() []*pipeline.Record {
	var ready []*pipeline.Record
	for o.headDone() {
		s := o.slot(o.head)
		if ready == nil {
			ready = s.outs
		} else {
			ready = append(ready, s.outs...)
		}
		o.records -= s.records
		o.bytes -= s.bytes
		*s = slot{}
		o.head++
	}
	return ready
}

// waitingFor names the record that everybody waits for, "" if the window has room.
func (o *order) waitingFor() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.full || o.head == o.next {
		return ""
	}
	s := o.slot(o.head)
	if place := s.origin.String(); place != "" {
		return place
	}
	return strconv.FormatUint(s.ref.Seq+1, 10)
}
