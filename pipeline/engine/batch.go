package engine

import (
	"errors"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// gather takes records until there is a batch, the wait is over or the input ends.
func (n *stageNode) gather(dst []*pipeline.Record) (batch []*pipeline.Record, open bool) {
	if n.groups != nil && n.groups.keeper.resumed {
		return n.gatherAgain(dst)
	}
	size := n.chunk
	batch, open = n.in.take(dst, size, nil)
	var timeout <-chan time.Time
	if n.wait > 0 {
		timer := time.NewTimer(n.wait)
		defer timer.Stop()
		timeout = timer.C
	}
	for open && len(batch) < size {
		before := len(batch)
		if batch, open = n.in.take(batch, size-before, timeout); len(batch) == before {
			break
		}
	}
	return batch, len(batch) > 0
}

// processBatch has a Batcher work on the records, and returns what became of them.
func (n *stageNode) processBatch(batch, outs []*pipeline.Record) []*pipeline.Record {
	admitted, ahead := n.admitted(batch)
	if len(admitted) == 0 {
		return append(outs, ahead[0]...)
	}
	if err := n.groups.keep(admitted); err != nil {
		for i, r := range admitted {
			outs = n.failed(r, err, 0, append(outs, ahead[i]...))
		}
		return append(outs, ahead[len(admitted)]...)
	}
	saved := make([]pipeline.Record, len(admitted))
	for i, r := range admitted {
		saved[i] = r.Snapshot()
	}
	outcomes, attempts := n.batchOutcomes(admitted, saved)
	g := group{tracker: &n.run.tracker, seen: map[*pipeline.Record]struct{}{}, merges: pipeline.Together(n.step.Stage)}
	for i, r := range admitted {
		o, who := outcomes[i], identityOf(&saved[i])
		outs = append(outs, ahead[i]...)
		if errors.Is(o.Err, pipeline.ErrEnough) {
			n.run.enoughFor(n)
			o.Err = nil
		}
		if o.Err == nil {
			o.Err = g.check(o)
		}
		switch {
		case o.Err != nil: // what entered, and not r: another outcome may hold that
			outs = n.failed(&saved[i], o.Err, attempts[i], outs)
		case o.Merged:
			g.members = append(g.members, who.member())
		default:
			g.begin(o.Records, who.member())
			outs = n.accept(r, who, o.Records, outs)
		}
	}
	g.close()
	return append(outs, ahead[len(admitted)]...)
}

// admitted returns the records that the stage is to work on, and those that pass by, or have
// not ended, in front of each, and behind the last.
func (n *stageNode) admitted(batch []*pipeline.Record) (admitted []*pipeline.Record, ahead [][]*pipeline.Record) {
	admitted, ahead = make([]*pipeline.Record, 0, len(batch)), make([][]*pipeline.Record, len(batch)+1)
	torn := n.torn(batch)
	for _, r := range batch {
		by := &ahead[len(admitted)]
		if torn {
			*by = n.leave(r, *by)
		} else if n.admit(r, by) {
			admitted = append(admitted, r)
		}
	}
	return admitted, ahead
}

// torn reports whether a batch is too small only because the run was stopped: one that
// goes on would make others of the same records.
func (n *stageNode) torn(batch []*pipeline.Record) bool {
	return pipeline.Together(n.step.Stage) && n.run.keeper != nil && n.wait == 0 && len(batch) < n.chunk && n.run.stopped.Load() && n.run.cutShort()
}

// group is the record that others of a batch are being merged into.
type group struct {
	tracker *tracker
	seen    map[*pipeline.Record]struct{} // what the outcomes hold so far
	merges  bool                          // the stage may merge
	host    *pipeline.Record
	members []member
}

var (
	errMergedIntoNothing = errors.New("merged into a record that is not there")
	errMergedAndMore     = errors.New("an outcome is merged and has records too")
	errMergedAnyway      = errors.New("an outcome is merged, and the stage says that it merges none")
)

// check refuses an outcome that cannot be settled.
func (g *group) check(o pipeline.Outcome) error {
	switch {
	case o.Merged && !g.merges:
		return errMergedAnyway
	case o.Merged && len(o.Records) > 0:
		return errMergedAndMore
	case o.Merged && g.host == nil:
		return errMergedIntoNothing
	default:
		return checkIn(o.Records, g.seen)
	}
}

// begin lets the next ones be merged into the first of the records. Where there is
// none the one before it stays.
func (g *group) begin(records []*pipeline.Record, m member) {
	if len(records) > 0 {
		g.close()
		g.host, g.members = records[0], []member{m}
	}
}

func (g *group) close() {
	if len(g.members) > 1 {
		g.tracker.merge(g.host, g.members)
	}
}
