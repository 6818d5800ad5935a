package engine

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rowmill/rowmill/internal/known"
	"github.com/rowmill/rowmill/pipeline"
)

// leaf is what the engine knows of a row that is on its way: how many leaves of it
// have not ended. Records carry it as their ticket. A record that others were
// merged into has a leaf of its own, and ends for all of them.
type leaf struct {
	open   int
	left   bool     // a part of it is unfinished
	worst  badness  // of the endings of its parts so far
	lost   bool     // a part of it failed, and nobody has it
	kept   bool     // a part of it is in the output, or a dead letter that can be run again
	merged []member // what a group was made of; nil for a row
	row    *row     // of a group, that of its first member; nil if the run keeps no state

	receipt *receipt // of a row, if somebody is to be told
}

// member is a leaf, and which child of the row the record was that carried it.
type member struct {
	leaf *leaf
	path string
}

// ending is how a leaf ended.
type ending uint8

const (
	delivered ending = iota
	dropped
	droppedOnError
	deadLettered
	unfinished
	endings

	mergedInto = endings     // it lives on inside another record, which has ended
	absorbed   = endings + 1 // an operator took it that does not pass on each; never with state
)

var errTwice = errors.New("a record ended twice: a stage or a foreign operator passed it on more than once")

// tracker settles: it counts every leaf exactly once, by how it ended.
type tracker struct {
	read    atomic.Int64
	arrived atomic.Int64 // leaves that came to the end of the stages

	mu           sync.Mutex
	made, merged int64
	absorbed     int64
	ended        [endings]int64
	openRows     int64 // rows with leaves that have not ended
	rows         *rows // nil if the run keeps no state

	collects  bool // what is delivered goes into other rows
	teller    *teller
	receipts  map[*receipt]struct{} // of rows that have not ended
	uncovered []notice              // of rows that have, and no checkpoint says so
}

// begin makes r a row of the run.
func (t *tracker) begin(r *pipeline.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read.Add(1) // a checkpoint must not see it before the row is counted
	t.openRows++
	var l *leaf
	if t.rows != nil {
		l = ticketOf(r)
		l.row.counted = true
	} else {
		l = &leaf{open: 1}
	}
	t.owe(l, r.TakeOnSettle())
	r.SetTicket(l)
}

// identity is who a record was when it entered a stage, whatever that did to it.
type identity struct {
	leaf   *leaf
	ref    pipeline.Ref
	origin pipeline.Origin
	key    string
}

func identityOf(r *pipeline.Record) identity {
	return identity{ticketOf(r), r.Ref, r.Origin, r.Key()}
}

func (i identity) member() member { return member{i.leaf, i.ref.Path} }

// split makes the children leaves of what parent is a leaf of. The parent may be
// one of them.
func (t *tracker) split(parent identity, children []*pipeline.Record) {
	for i, c := range children {
		c.Ref = parent.ref.Child(i)
		c.SetTicket(parent.leaf)
		if c.Key() == "" {
			c.SetKey(parent.key)
		}
		if c.Origin == (pipeline.Origin{}) {
			c.Origin = parent.origin
		}
	}
	n := len(children) - 1
	if n <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made += int64(n)
	if l := parent.leaf; l != nil {
		l.open += n
		if l.row != nil {
			l.row.made += int64(n)
		}
	}
}

// merge makes into the record that members live on in; into is the first of them
// or made of it.
func (t *tracker) merge(into *pipeline.Record, members []member) {
	l := &leaf{open: 1, merged: members}
	into.SetTicket(l)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.merged += int64(len(members) - 1)
	if first := members[0].leaf; first != nil {
		l.row = first.row
	}
	for _, m := range members[1:] {
		if m.leaf != nil && m.leaf.row != nil {
			m.leaf.row.merged++
		}
	}
}

// settle ends a leaf. A record can end only once.
func (t *tracker) settle(r *pipeline.Record, how ending) error {
	l := ticketOf(r)
	if l == nil {
		return fmt.Errorf("%w (%s)", errTwice, r.ID())
	}
	r.SetTicket(nil)
	return t.settleLeaves(how, member{l, r.Ref.Path})
}

// settleLeaves ends leaves whose records were let go of.
func (t *tracker) settleLeaves(how ending, leaves ...member) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs error
	for _, m := range leaves {
		switch how {
		case mergedInto: // in an earlier run: how the other ended nobody knows
			t.merged++
			m.leaf.worst, m.leaf.kept = max(m.leaf.worst, wasDelivered), true
		case absorbed:
			t.absorbed++
		default:
			t.ended[how]++
		}
		if m.leaf.row != nil {
			m.leaf.row.count(how)
		}
		if err := t.close(m, how); err != nil {
			errs = err
		}
	}
	return errs
}

func (t *tracker) close(m member, how ending) error {
	l := m.leaf
	l.open--
	l.left = l.left || how == unfinished
	l.worst = max(l.worst, badnessOf(how))
	if t.rows != nil {
		t.rows.judge(l, how)
	}
	if l.row != nil && how != unfinished && (l.open > 0 || l.left) {
		l.row.mark(m.path, how)
	}
	switch {
	case l.open > 0:
		return nil
	case l.open < 0:
		return errTwice
	case l.merged == nil:
		t.openRows--
		t.settleReceipt(l)
		if l.row != nil && !l.left {
			t.rows.end(l.row, !l.lost || l.kept)
		}
		return nil
	}
	return t.closeMerged(l, how)
}

// closeMerged ends the members of a group whose last leaf has ended.
func (t *tracker) closeMerged(l *leaf, how ending) error {
	for i, m := range l.merged {
		m.leaf.lost, m.leaf.kept = m.leaf.lost || l.lost, m.leaf.kept || l.kept
		was := how
		switch {
		case l.left:
			was = unfinished
		case i > 0:
			was = mergedInto
		}
		m.leaf.worst = max(m.leaf.worst, l.worst)
		if err := t.close(m, was); err != nil {
			return err
		}
	}
	return nil
}

// counts is a moment's view; exact once the run has ended.
func (t *tracker) counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sum()
}

func (t *tracker) sum() Counts {
	return Counts{
		Read:           t.read.Load(),
		Made:           t.made,
		Merged:         t.merged,
		Delivered:      t.ended[delivered],
		Dropped:        t.ended[dropped],
		DroppedOnError: t.ended[droppedOnError],
		DeadLettered:   t.ended[deadLettered],
		Absorbed:       t.absorbed,
		Unfinished:     t.ended[unfinished],
	}
}

// unfinished reports whether a leaf was left.
func (t *tracker) someUnfinished() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended[unfinished] > 0
}

// openLeft is how many rows have leaves that have not ended.
func (t *tracker) openLeft() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.openRows
}

// lost is how many leaves are nowhere; anything but 0 at the end is a defect of
// the engine or of a foreign operator.
func (c Counts) lost() int64 {
	return c.Read + c.Made - c.Merged - c.Delivered - c.Dropped - c.DroppedOnError - c.DeadLettered - c.Absorbed - c.Unfinished
}

func ticketOf(r *pipeline.Record) *leaf {
	l, _ := r.Ticket().(*leaf)
	return l
}

// enter notes that r was read, which id knows, and reports whether it is passed by: it
// has ended in the run that this one goes on with, or is no new one. The error is that
// the source is not the same.
func (t *tracker) enter(r *pipeline.Record, id known.ID) (passedBy bool, err error) {
	if t.rows == nil {
		return false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	passedBy, err = t.rows.skip(r, id)
	if !passedBy && err == nil {
		r.SetTicket(t.rows.begin(r, id))
	}
	return passedBy, err
}

// short reports whether a source that has so many rows has fewer than the run has read
// that this one goes on with: some of them may not have ended.
func (t *tracker) short(rows uint64) bool { return t.rows != nil && rows < t.rows.skipBelow }

// passed is how many rows of the source were read, by all runs that went on with each
// other, but for those that were known.
func (t *tracker) passed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		return uint64(t.read.Load())
	}
	return t.rows.next - t.rows.base - t.rows.known
}

// passedBelow is passed as it was when the row of a number had not been read.
func (t *tracker) passedBelow(seq uint64) int64 {
	if t.rows == nil {
		return int64(seq)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(seq) - int64(t.rows.base) - int64(t.rows.known)
}

// newRows is how many rows of the source a run for new rows has passed by, how many of
// the others have the key of one, and how many there are.
func (t *tracker) newRows() (known, changed, fresh int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil || t.rows.old == nil {
		return 0, 0, 0
	}
	s := t.rows
	return int64(s.known), int64(s.changed), int64(s.next - s.base - s.known)
}
