package engine

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/rowmill/rowmill/pipeline"
)

// leaf is what the engine knows of a row that is on its way: how many leaves of it
// have not ended. Records carry it as their ticket. A record that others were
// merged into has a leaf of its own, and ends for all of them.
type leaf struct {
	open   atomic.Int32
	merged []*leaf // what a group was made of; nil for a row
}

func newLeaf() *leaf {
	l := &leaf{}
	l.open.Store(1)
	return l
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
)

var errTwice = errors.New("a record ended twice: a stage or a foreign operator passed it on more than once")

// tracker settles: it counts every leaf exactly once, by how it ended.
type tracker struct {
	read, made, merged atomic.Int64
	ended              [endings]atomic.Int64
	openRows           atomic.Int64 // rows with leaves that have not ended
	arrived            atomic.Int64 // leaves that came to the end of the stages
}

// begin makes r a new row.
func (t *tracker) begin(r *pipeline.Record) {
	t.read.Add(1)
	t.openRows.Add(1)
	r.SetTicket(newLeaf())
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
	if n := len(children) - 1; n > 0 {
		t.made.Add(int64(n))
		if parent.leaf != nil {
			parent.leaf.open.Add(int32(n))
		}
	}
}

// merge makes into the record that members live on in; into is the first of them
// or made of it.
func (t *tracker) merge(into *pipeline.Record, members []*leaf) {
	l := newLeaf()
	l.merged = members
	into.SetTicket(l)
	t.merged.Add(int64(len(members) - 1))
}

// settle ends a leaf. A record can end only once.
func (t *tracker) settle(r *pipeline.Record, how ending) error {
	l := ticketOf(r)
	if l == nil {
		return fmt.Errorf("%w (%s)", errTwice, r.ID())
	}
	r.SetTicket(nil)
	return t.settleLeaf(l, how)
}

// settleLeaf ends a leaf whose record was let go of.
func (t *tracker) settleLeaf(l *leaf, how ending) error {
	t.ended[how].Add(1)
	return t.close(l)
}

func (t *tracker) close(l *leaf) error {
	switch open := l.open.Add(-1); {
	case open > 0:
		return nil
	case open < 0:
		return errTwice
	case l.merged == nil:
		t.openRows.Add(-1)
		return nil
	}
	for _, m := range l.merged {
		if err := t.close(m); err != nil {
			return err
		}
	}
	return nil
}

// counts is a moment's view; exact once the run has ended.
func (t *tracker) counts() Counts {
	return Counts{
		Read:           t.read.Load(),
		Made:           t.made.Load(),
		Merged:         t.merged.Load(),
		Delivered:      t.ended[delivered].Load(),
		Dropped:        t.ended[dropped].Load(),
		DroppedOnError: t.ended[droppedOnError].Load(),
		DeadLettered:   t.ended[deadLettered].Load(),
		Unfinished:     t.ended[unfinished].Load(),
	}
}

// lost is how many leaves are nowhere; anything but 0 at the end is a defect of
// the engine or of a foreign operator.
func (c Counts) lost() int64 {
	return c.Read + c.Made - c.Merged - c.Delivered - c.Dropped - c.DroppedOnError - c.DeadLettered - c.Unfinished
}

func ticketOf(r *pipeline.Record) *leaf {
	l, _ := r.Ticket().(*leaf)
	return l
}
