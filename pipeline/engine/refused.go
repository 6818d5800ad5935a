package engine

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// refusedMark is a record of which a checkpoint says that some of several sinks have refused
// it, and that it has not ended: its dead letter is not committed. The others have it, so that
// a run that goes on gives it to those alone.
type refusedMark struct {
	Row   uint64   `json:"row"`
	Child string   `json:"child,omitempty"`
	Sinks []string `json:"sinks"`
}

// recordKey names a record in all runs that go on with each other.
type recordKey struct {
	row   uint64
	child string
}

// refusals are the sinks that have refused a record, by record.
type refusals map[recordKey][]string

// refusalsOf are those of a batch, by its places, that the others have.
func refusalsOf(batch []*pipeline.Record, refused map[int]error) refusals {
	all := refusals{}
	for i, r := range batch {
		var refusal *pipeline.Refusal
		if errors.As(refused[i], &refusal) {
			all[recordKey{r.Ref.Seq, r.Ref.Path}] = refusal.Sinks
		}
	}
	return all
}

func (r refusals) marks() (marks []refusedMark) {
	for key, sinks := range r {
		marks = append(marks, refusedMark{key.row, key.child, sinks})
	}
	slices.SortFunc(marks, func(x, y refusedMark) int {
		return cmp.Or(cmp.Compare(x.Row, y.Row), cmp.Compare(x.Child, y.Child))
	})
	return marks
}

// refuse notes what was refused, of which the others have just committed the rest. The caller
// holds the lock of a commit.
func (k *keeper) refuse(more refusals) {
	if k == nil || len(more) == 0 {
		return
	}
	if k.refused == nil {
		k.refused = refusals{}
	}
	maps.Copy(k.refused, more)
}

// forgetRefused forgets those that have ended. The caller holds the lock of a commit.
func (k *keeper) forgetRefused(ended []member) {
	if k == nil || len(k.refused) == 0 {
		return
	}
	for _, m := range ended {
		if m.leaf.row != nil {
			delete(k.refused, recordKey{m.leaf.row.seq, m.path})
		}
	}
}

// stillThere is nil if the sinks that have refused a record are still there, of several.
func stillThere(several pipeline.Router, refused []string) error {
	if several == nil {
		return fmt.Errorf("it was refused by %s of several sinks, and the pipeline has a single one now; the others have it: put them back", strings.Join(refused, ", "))
	}
	for _, name := range refused {
		if !slices.ContainsFunc(several.Uses(), func(u pipeline.SinkUse) bool { return u.Name == name }) {
			return fmt.Errorf("it was refused by %q, which is no sink of the pipeline now; the other sinks have it: put that one back", name)
		}
	}
	return nil
}

// restrict has the records that some sinks have refused, when the run that this one goes on
// with was cut short, go to those alone.
func (k *keeper) restrict() error {
	if len(k.previous.Refused) == 0 {
		return nil
	}
	several, _ := k.run.sink.sink.(pipeline.Router)
	before := refusals{}
	for _, m := range k.previous.Refused {
		if err := stillThere(several, m.Sinks); err != nil {
			return fmt.Errorf("row %d: %w, or start over with --fresh", m.Row, err)
		}
		before[recordKey{m.Row, m.Child}] = m.Sinks
	}
	k.refused = maps.Clone(before)
	several.Restrict(func(r *pipeline.Record) []string {
		if sinks := before[recordKey{r.Ref.Seq, r.Ref.Path}]; sinks != nil {
			return sinks
		}
		return k.run.retried.onlyTo(r)
	})
	return nil
}
