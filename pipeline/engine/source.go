package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/rowmill/rowmill/pipeline"
)

// sourceNode reads the rows and names them.
type sourceNode struct {
	run    *run
	source pipeline.Source
	trial  *trial
	out    *queue
	done   chan struct{}
	ended  atomic.Bool // the source has no more rows
	keys   keySet

	content []byte // of the row that was read last; scratch

	gate atomic.Uint32 // passing, sealed, or both; cheaper for each row than a lock

	rehearsal rehearsal
}

// work reads until the source ends, fails, or the run wants no more.
func (n *sourceNode) work(ctx context.Context) {
	defer close(n.done)
	defer n.rehearsal.refuse()
	defer n.seal()
	var err error
	func() {
		defer n.run.recovered("source", &err)
		err = n.read(ctx)
	}()
	if err != nil && ctx.Err() == nil {
		n.run.failAfterDrain(fmt.Errorf("source: %w", err))
		n.within(n.rehearsal.drain)
	}
	n.ended.Store(ctx.Err() == nil)
}

func (n *sourceNode) read(ctx context.Context) error {
	seq, err := n.run.keeper.seek(ctx)
	if err != nil {
		return err
	}
	limit := n.run.options.Limit
	for r, err := range n.source.Records(ctx) {
		more, err := n.take(ctx, seq, r, err)
		if seq++; err != nil || !more {
			return err
		}
		if limit > 0 && n.run.tracker.passedBelow(seq) >= limit {
			n.within(n.rehearsal.open)
			return nil
		}
	}
	if ctx.Err() == nil && n.run.tracker.short(seq) {
		return errFewerRows
	}
	n.within(n.rehearsal.open)
	return nil
}

// take takes what the source yielded as its row number seq, and reports whether more is
// wanted. The error is the source's.
func (n *sourceNode) take(ctx context.Context, seq uint64, r *pipeline.Record, unreadable error) (more bool, err error) {
	switch {
	case ctx.Err() != nil:
		n.run.tracker.teller.row(r, pipeline.Unfinished)
		return false, nil
	case r == nil && unreadable == nil:
		return false, errNoRecord
	case r == nil:
		return false, unreadable
	}
	r.Ref = pipeline.Ref{Seq: seq, Path: n.run.retried.child(r)}
	if unreadable == nil {
		n.identify(r)
	}
	done, err := n.run.tracker.enter(r, n.run.keeper.idOf(r, &n.content))
	if r.Key() != "" && !(done && n.run.keeper.onlyNew()) {
		n.repeated(r)
	}
	switch {
	case err != nil:
		n.run.tracker.teller.row(r, pipeline.Unfinished)
		return false, err
	case done:
		n.run.tracker.teller.row(r, pipeline.EndedBefore)
		return true, nil
	}
	n.run.tracker.teller.wait(ctx)
	taken := false
	more = n.within(func() bool { taken = true; return n.rehearsal.take(r, unreadable) })
	if !taken {
		n.run.tracker.teller.row(r, pipeline.Unfinished)
	}
	return more, nil
}

var errNoRecord = errors.New("it yielded neither a record nor an error")

// within does a part of the run's work. As long as it takes, the stages behind it
// do not end, so that nothing is released that it uses. It returns false, and may
// have done nothing, once the run wants no more rows.
func (n *sourceNode) within(f func() bool) (more bool) {
	if !n.gate.CompareAndSwap(0, passing) {
		return false
	}
	defer func() {
		if !n.gate.CompareAndSwap(passing, 0) {
			n.gate.Store(sealed)
			n.out.close()
			more = false
		}
	}()
	return f()
}

// pass brings a row into the run.
func (n *sourceNode) pass(r *pipeline.Record, unreadable error) {
	n.run.tracker.begin(r)
	switch {
	case unreadable != nil:
		n.run.bury(r, "source", unreadable, 0)
	case n.run.retried != nil && n.run.retried.stageOf(r.Ref.Seq) < 0:
		n.run.deadSoFar.Add(1)
		n.run.dead.in.push(r)
	default:
		n.trial.passed.Add(1)
		n.out.push(r)
	}
}

// identify gives the row the user's identity.
func (n *sourceNode) identify(r *pipeline.Record) {
	key := n.run.pipeline.Key
	if key == "" {
		return
	}
	v, ok := r.Lookup(key)
	if !ok || v.IsNull() {
		return
	}
	r.SetKey(v.Text())
}

// repeated looks whether an earlier row had the key.
func (n *sourceNode) repeated(r *pipeline.Record) {
	if first, total := n.keys.repeated(r.Key()); first {
		n.run.log.Warn("a key is repeated; the rows are all processed", "key", r.Key(), "row", r.Origin.String(), "repeated", total)
	}
}

// seal ends the input at once, whatever the source is doing. Once the queue is
// closed no row is counted any more.
func (n *sourceNode) seal() {
	if n.gate.Or(sealed)&passing == 0 {
		n.out.close()
	}
}

// The states of the source's gate.
const (
	passing uint32 = 1 << iota // a row is within the run; only the source's goroutine says so
	sealed                     // no more rows
)

// mostKeys bounds the memory for finding repeated keys: 16 MiB for what is
// remembered. Behind that many distinct keys the oldest half is forgotten.
const mostKeys = 1 << 20

// keySet finds repeated keys.
type keySet struct {
	seed     maphash.Seed
	old, new map[uint64]struct{}
	total    atomic.Int64
}

// repeated notes a key. It returns whether it is the first one found that was
// there before, and how many were.
func (s *keySet) repeated(key string) (first bool, total int64) {
	if s.new == nil {
		s.seed, s.new = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	h := maphash.String(s.seed, key)
	_, inOld := s.old[h]
	_, inNew := s.new[h]
	if inOld || inNew {
		total = s.total.Add(1)
		return total == 1, total
	}
	s.new[h] = struct{}{}
	if len(s.new) >= mostKeys/2 {
		s.old, s.new = s.new, map[uint64]struct{}{}
	}
	return false, s.total.Load()
}
