package engine

import (
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// The bounds of a queue between two nodes: enough that neither waits for the
// other's scheduling, little enough that memory stays flat.
const (
	queueRecords = 512
	queueBytes   = 16 << 20
)

// queue links two nodes. Many may push, one takes at a time, and takes all there
// is: in chunks under load, one by one when idle, without a flush timer. A
// channel costs three times as much a record.
type queue struct {
	ready chan struct{} // size 1: a token says that there may be something to take
	room  chan struct{} // size 1: a token says that there may be room

	mu     sync.Mutex
	items  []*pipeline.Record
	bytes  int
	closed bool
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// push adds records, waiting for room. It reports false, and adds nothing, once
// the queue is closed. It needs no context: whoever takes goes on taking until
// the queue is closed, also when the run is stopped.
func (q *queue) push(records ...*pipeline.Record) bool {
	size := sizeOf(records)
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			notify(q.room) // for another who waits
			return false
		}
		if len(q.items) == 0 || len(q.items) < queueRecords && q.bytes+size <= queueBytes {
			q.items = append(q.items, records...)
			q.bytes += size
			more := len(q.items) < queueRecords && q.bytes < queueBytes
			q.mu.Unlock()
			notify(q.ready)
			if more {
				notify(q.room) // for another who waits
			}
			return true
		}
		q.mu.Unlock()
		<-q.room
	}
}

// take moves up to most records onto dst. It waits for the first one until
// timeout fires (nil: for ever). open is false once the queue is closed and empty.
func (q *queue) take(dst []*pipeline.Record, most int, timeout <-chan time.Time) (taken []*pipeline.Record, open bool) {
	for {
		q.mu.Lock()
		if n := min(most, len(q.items)); n > 0 {
			dst = append(dst, q.items[:n]...)
			q.drop(n)
			q.mu.Unlock()
			notify(q.room)
			return dst, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return dst, false
		}
		select {
		case <-q.ready:
		case <-timeout:
			return dst, true
		}
	}
}

// drop forgets the first n records.
func (q *queue) drop(n int) {
	if n == len(q.items) {
		clear(q.items)
		q.items, q.bytes = q.items[:0], 0
		return
	}
	q.bytes -= sizeOf(q.items[:n])
	clear(q.items[:n])
	q.items = q.items[n:]
}

// close ends the queue: what is in it can still be taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	notify(q.ready)
	notify(q.room)
}

func sizeOf(records []*pipeline.Record) int {
	size := 0
	for _, r := range records {
		size += r.Size()
	}
	return size
}

// notify leaves a token where there is none.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
