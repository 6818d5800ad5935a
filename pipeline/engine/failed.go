package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rowmill/rowmill/pipeline"
)

// failed ends a record that the stage could not process, or leaves it unfinished.
func (n *stageNode) failed(r *pipeline.Record, err error, attempts int, outs []*pipeline.Record) []*pipeline.Record {
	class, _ := pipeline.Classify(err)
	stopped := errors.Is(err, pipeline.ErrStopped) && n.stopping()
	switch {
	case stopped && n.enough.Load():
		n.run.settle(r, dropped)
		return outs
	case stopped, cutOff(n.run.ctx, err):
		return n.leave(r, outs)
	case class == pipeline.ClassFatal:
		n.run.fail(fmt.Errorf("stage %s: %w", n.step.Name, err))
		return n.leave(r, outs)
	case n.step.OnError == pipeline.StopRun:
		n.run.fail(fmt.Errorf("stage %s: record %s: %w", n.step.Name, r.ID(), err))
		return n.leave(r, outs)
	case n.step.OnError == pipeline.DropRecord:
		n.run.note(n.step.Name, err)
		n.run.blame(r, n.step.Name, err, attempts)
		n.run.settle(r, droppedOnError)
		return outs
	}
	n.run.bury(r, n.step.Name, err, attempts)
	return outs
}

// final reports whether a record ends with an error, so that it is not to be paid for
// again.
func (n *stageNode) final(err error) bool {
	class, _ := pipeline.Classify(err)
	cut := cutOff(n.run.ctx, err) || errors.Is(err, pipeline.ErrStopped) || errors.Is(err, pipeline.ErrEnough)
	return !cut && class != pipeline.ClassFatal && n.step.OnError != pipeline.StopRun
}

// unsettled returns those children that have not ended in the run that this one goes
// on with; the others end here, as they did.
func (r *run) unsettled(parent identity, children []*pipeline.Record) []*pipeline.Record {
	if parent.leaf == nil || parent.leaf.row == nil || len(parent.leaf.row.earlier) == 0 {
		return children
	}
	return slices.DeleteFunc(children, func(c *pipeline.Record) bool {
		how, ended := parent.leaf.row.earlier[c.Ref.Path]
		if ended {
			c.SetTicket(nil)
			r.settled(r.tracker.settleLeaves(how, member{parent.leaf, c.Ref.Path}))
		}
		return ended
	})
}

// stopping reports whether nothing new is begun. Without that, a stage that says
// [pipeline.ErrStopped] has failed: its rows must not be left out in silence.
func (n *stageNode) stopping() bool {
	select {
	case <-n.halt:
		return true
	default:
		return n.run.ctx.Err() != nil
	}
}

// cutOff reports whether err says no more than that ctx is done, by a deadline of
// the caller's or for whatever cause.
func cutOff(ctx context.Context, err error) bool {
	return ctx.Err() != nil &&
		(errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// leftTicket marks a record that is unfinished.
type leftTicket struct{ *leaf }

// leave leaves a record unfinished; in an ordered stage, all behind it too.
func (n *stageNode) leave(r *pipeline.Record, outs []*pipeline.Record) []*pipeline.Record {
	if !n.ordered {
		n.run.settle(r, unfinished)
		return outs
	}
	r.SetTicket(leftTicket{ticketOf(r)})
	return append(outs, r)
}

// pass hands records on. In an ordered stage one worker at a time is here.
func (n *stageNode) pass(records []*pipeline.Record) {
	if !n.ordered {
		n.push(records)
		return
	}
	for i, r := range records {
		if left, ok := r.Ticket().(leftTicket); ok {
			r.SetTicket(left.leaf)
			if !n.cut {
				n.push(records[:i])
				n.cut = true
			}
		}
		if n.cut {
			n.run.settle(r, unfinished)
		}
	}
	if !n.cut {
		n.push(records)
	}
}

func (n *stageNode) push(records []*pipeline.Record) {
	if len(records) > 0 {
		n.out.push(records...) // nobody closes it but this node
	}
}

// reasons counts why records failed.
type reasons struct {
	mu    sync.Mutex
	count map[[2]string]*Reason
}

// mostReasons bounds how many different reasons are told apart.
const mostReasons = 1000

func (s *reasons) add(stage, code, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = map[[2]string]*Reason{}
	}
	key := [2]string{stage, code}
	if len(s.count) >= mostReasons && s.count[key] == nil {
		key = [2]string{stage, "other"}
	}
	if s.count[key] == nil {
		s.count[key] = &Reason{Stage: stage, Code: key[1], Message: message}
	}
	s.count[key].Count++
}

// list returns the reasons, the most frequent first.
func (s *reasons) list() []Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Reason, 0, len(s.count))
	for _, r := range s.count {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Code, b.Code))
	})
	return list
}
