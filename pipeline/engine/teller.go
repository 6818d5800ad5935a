package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// mostUntold is how many rows may have ended whose program was not told yet, before the
// source waits: enough that a function which takes a while now and then holds up nothing.
const mostUntold = 4096

// receipt is owed to whoever asked what becomes of a row ([pipeline.Record.OnSettle]).
type receipt struct {
	tell func(pipeline.Settlement)
	err  error // why a part of it failed, the first time
}

// notice is a receipt whose row has ended.
type notice struct {
	tell func(pipeline.Settlement)
	pipeline.Settlement
}

// badness orders endings: that of a row is the worst of its parts.
type badness uint8

const (
	wasDropped badness = iota
	wasDelivered
	wasAbsorbed
	wasDroppedOnError
	wasDeadLettered
	wasUnfinished
)

func badnessOf(how ending) badness {
	switch how {
	case delivered:
		return wasDelivered
	case droppedOnError:
		return wasDroppedOnError
	case deadLettered:
		return wasDeadLettered
	case unfinished:
		return wasUnfinished
	case absorbed:
		return wasAbsorbed
	default: // or it lives on in another, whose ending counts
		return wasDropped
	}
}

func (b badness) ending() pipeline.Ending {
	return [...]pipeline.Ending{
		wasDropped: pipeline.Dropped, wasDelivered: pipeline.Delivered, wasAbsorbed: pipeline.Absorbed,
		wasDroppedOnError: pipeline.DroppedOnError, wasDeadLettered: pipeline.DeadLettered, wasUnfinished: pipeline.Unfinished,
	}[b]
}

// teller tells the program what became of its rows, one at a time: from a goroutine of
// its own, so that no lock is held and no stage waits meanwhile.
type teller struct {
	run  *run
	some chan struct{} // size 1: a token says that there may be something to tell
	room chan struct{} // size 1: a token says that there may be room
	done chan struct{}

	untold atomic.Int64 // notices, and those that are being told

	mu      sync.Mutex
	notices []notice
	begun   bool
	closed  bool
}

func newTeller(r *run) *teller {
	return &teller{run: r, some: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
}

// add has notices told, in their order.
func (t *teller) add(notices ...notice) {
	if len(notices) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed { // a source that hung has come back after the run has ended
		go func() {
			for _, n := range notices {
				t.tell(n)
			}
		}()
		return
	}
	t.notices = append(t.notices, notices...)
	t.untold.Add(int64(len(notices)))
	if !t.begun {
		t.begun = true
		go t.work()
	}
	notify(t.some)
}

// row tells of a row that was read, and which the run does not begin.
func (t *teller) row(r *pipeline.Record, how pipeline.Ending) {
	if r == nil {
		return
	}
	if tell := r.TakeOnSettle(); tell != nil {
		t.add(notice{tell, pipeline.Settlement{Ending: how}})
	}
}

// wait waits while there is too much to tell.
func (t *teller) wait(ctx context.Context) {
	for {
		if t.untold.Load() < mostUntold {
			return
		}
		select {
		case <-t.room:
		case <-ctx.Done():
			return
		}
	}
}

func (t *teller) work() {
	defer close(t.done)
	for {
		t.mu.Lock()
		notices, closed := t.notices, t.closed
		t.notices = nil
		t.mu.Unlock()
		for _, n := range notices {
			t.tell(n)
			t.untold.Add(-1)
			notify(t.room)
		}
		if closed {
			return
		}
		if len(notices) == 0 {
			<-t.some
		}
	}
}

// tell tells one. A function that panics ends the run: its message is not acknowledged.
func (t *teller) tell(n notice) {
	if err := t.run.safely("settle", func() error { n.tell(n.Settlement); return nil }); err != nil {
		t.run.fail(fmt.Errorf("settle: %w", err))
	}
}

// end tells what there is, and returns when it is told. The source, which may be about
// to yield a row, is waited for.
func (t *teller) end() {
	t.mu.Lock()
	begun := t.begun
	t.mu.Unlock()
	if begun {
		select {
		case <-t.run.source.done:
		case <-time.After(failGrace):
		}
	}
	t.add(t.run.tracker.unsettled()...)
	t.mu.Lock()
	t.closed = true
	begun = t.begun
	t.mu.Unlock()
	if begun {
		notify(t.some)
		<-t.done
	}
}

// owe notes that somebody is to be told what becomes of a row.
func (t *tracker) owe(l *leaf, tell func(pipeline.Settlement)) {
	if tell == nil {
		return
	}
	l.receipt = &receipt{tell: tell}
	if t.receipts == nil {
		t.receipts = map[*receipt]struct{}{}
	}
	t.receipts[l.receipt] = struct{}{}
}

// blame notes why a record failed that is going to end.
func (t *tracker) blame(r *pipeline.Record, f *pipeline.Failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.receipts) > 0 {
		ticketOf(r).blame(f)
	}
}

func (l *leaf) blame(f *pipeline.Failure) {
	if l == nil {
		return
	}
	if l.receipt != nil && l.receipt.err == nil {
		l.receipt.err = f
	}
	for _, m := range l.merged {
		m.leaf.blame(f)
	}
}

// settleReceipt notes what became of a row that has ended. If the run keeps state, a
// checkpoint has to say so before anybody is told.
func (t *tracker) settleReceipt(l *leaf) {
	if l.receipt == nil {
		return
	}
	delete(t.receipts, l.receipt)
	n := notice{l.receipt.tell, pipeline.Settlement{Ending: l.worst.ending()}}
	if t.collects && n.Ending == pipeline.Delivered {
		n.Ending = pipeline.Absorbed
	}
	if l.worst == wasDroppedOnError || l.worst == wasDeadLettered {
		n.Err = l.receipt.err
	}
	if t.rows != nil {
		t.uncovered = append(t.uncovered, n)
	} else {
		t.teller.add(n)
	}
}

// owes reports whether somebody waits for a checkpoint.
func (t *tracker) owes() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.uncovered) > 0
}

// uncover takes back notices whose checkpoint has failed.
func (t *tracker) uncover(notices []notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.uncovered = append(notices, t.uncovered...)
}

// unsettled returns what is to be told at the end: rows that have not ended, and those
// of which no checkpoint says that they have.
func (t *tracker) unsettled() []notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	var left []notice
	for _, n := range t.uncovered {
		left = append(left, notice{n.tell, pipeline.Settlement{Ending: pipeline.Unfinished}})
	}
	for r := range t.receipts {
		left = append(left, notice{r.tell, pipeline.Settlement{Ending: pipeline.Unfinished}})
	}
	t.uncovered, t.receipts = nil, nil
	return left
}
