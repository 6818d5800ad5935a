package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// groups keep in the journal which records a stage put together that waits only so long
// for more. A run that goes on puts the same together, so that what was asked about them
// is not asked again. Where the order alone decides, they form again by themselves: what
// was put together ends together.
type groups struct {
	stage  string
	keeper *keeper
}

// groupsOf returns the groups of a stage that need to be kept, or nil.
func (k *keeper) groupsOf(n *stageNode) *groups {
	if !pipeline.Together(n.step.Stage) || !n.ordered || n.wait == 0 {
		return nil
	}
	return &groups{n.step.Name + "/groups", k}
}

// keep notes that the records are put together.
func (g *groups) keep(records []*pipeline.Record) error {
	if g == nil || len(records) == 0 {
		return nil
	}
	first, last := records[0], records[len(records)-1]
	hash, _ := guard(nil, first)
	payload, err := json.Marshal(last.Ref)
	if err == nil {
		err = g.keeper.append(g.stage, first.Ref, hash, payload)
	}
	if err != nil {
		return pipeline.Fatal("journal", fmt.Errorf("journal: %w", err))
	}
	return nil
}

// last returns the last of the records that first was put together with.
func (g *groups) last(first *pipeline.Record) (last pipeline.Ref, known bool, err error) {
	hash, _ := guard(nil, first)
	payload, known, err := g.keeper.lookup(g.stage, first.Ref, hash)
	if err == nil && known {
		err = json.Unmarshal(payload, &last)
	}
	return last, known && err == nil, err
}

// gatherAgain is gather in a run that goes on.
func (n *stageNode) gatherAgain(dst []*pipeline.Record) (batch []*pipeline.Record, open bool) {
	var timeout <-chan time.Time
	last, known := pipeline.Ref{}, false
	for batch = dst; ; {
		before := len(batch)
		if batch, _ = n.in.take(batch, 1, timeout); len(batch) == before {
			return batch, before > 0
		}
		r := batch[before]
		if !known {
			var err error
			if last, known, err = n.groups.last(r); err != nil {
				n.run.failNow(pipeline.Fatal("journal", fmt.Errorf("journal: %w", err)))
			}
		}
		switch {
		case known && r.Ref.Compare(last) >= 0, !known && len(batch) == n.chunk:
			return batch, true
		case known:
			timeout = nil
		case before == 0:
			timer := time.NewTimer(n.wait)
			defer timer.Stop()
			timeout = timer.C
		}
	}
}
