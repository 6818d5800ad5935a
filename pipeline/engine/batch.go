package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// gather takes records until there is a batch, the wait is over or the input ends.
func (n *stageNode) gather(dst []*pipeline.Record) (batch []*pipeline.Record, open bool) {
	size, wait := n.batcher.Batch()
	batch, open = n.in.take(dst, size, nil)
	var timeout <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
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
	admitted := make([]*pipeline.Record, 0, len(batch))
	for _, r := range batch {
		if n.admit(r, &outs) {
			admitted = append(admitted, r)
		}
	}
	if len(admitted) == 0 {
		return outs
	}
	saved := make([]pipeline.Record, len(admitted))
	for i, r := range admitted {
		saved[i] = r.Snapshot()
	}
	outcomes := n.callBatch(admitted)
	n.calls.Add(1)
	var g group
	for i, r := range admitted {
		o := outcomes[i]
		if o.Err == nil {
			o.Err = n.check(o.Records)
		}
		switch {
		case o.Err == nil && o.Merged && g.host != nil:
			g.members = append(g.members, ticketOf(&saved[i]))
			r.SetTicket(nil)
		case o.Err != nil || o.Merged:
			r.Restore(saved[i])
			outs = n.failed(r, errors.Join(o.Err, mergedIntoNothing(o)), 1, outs)
		default:
			g.close(&n.run.tracker)
			if len(o.Records) > 0 {
				g = group{host: o.Records[0], members: []*leaf{ticketOf(&saved[i])}}
			}
			outs = n.accept(r, o.Records, outs)
		}
	}
	g.close(&n.run.tracker)
	return outs
}

func mergedIntoNothing(o pipeline.Outcome) error {
	if !o.Merged {
		return nil
	}
	return errors.New("merged into a record that is not there")
}

// callBatch returns an outcome for every record, whatever the stage does.
func (n *stageNode) callBatch(batch []*pipeline.Record) []pipeline.Outcome {
	var outcomes []pipeline.Outcome
	err := func() (err error) {
		defer n.run.recovered(n.step.Name, &err)
		outcomes = n.batcher.ProcessBatch(n.run.ctx, batch)
		return nil
	}()
	if err == nil && len(outcomes) != len(batch) {
		err = fmt.Errorf("the stage returned %d outcomes for %d records", len(outcomes), len(batch))
	}
	if err != nil {
		outcomes = make([]pipeline.Outcome, len(batch))
		for i := range outcomes {
			outcomes[i].Err = err
		}
	}
	return outcomes
}

// group is the record that others are being merged into.
type group struct {
	host    *pipeline.Record
	members []*leaf
}

func (g *group) close(t *tracker) {
	if g.host != nil && len(g.members) > 1 {
		t.merge(g.host, g.members)
	}
}
