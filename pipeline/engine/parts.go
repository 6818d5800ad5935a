package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/rowmill/rowmill/internal/state"
	"github.com/rowmill/rowmill/pipeline"
)

// A pipeline with a [pipeline.Collector] is run in parts, each a run of its own: the first
// delivers to the Collection, the next reads from that. The last part is the one that the
// program has hold of; it runs the part before it, then itself.

// lastCollector returns which stage puts rows together, the last if there are several; -1
// if there is none.
func lastCollector(steps []pipeline.Step) int {
	for i := len(steps) - 1; i >= 0; i-- {
		if _, ok := steps[i].Stage.(pipeline.Collector); ok {
			return i
		}
	}
	return -1
}

// newParts makes the run of a pipeline in which the rows of stage number at are put
// together before those behind it begin; -1 for none.
func newParts(ctx context.Context, p pipeline.Pipeline, o Options, at int) (*run, error) {
	if at < 0 {
		return newPart(ctx, p, o)
	}
	name := p.Steps[at].Name
	if o.New {
		return nil, fmt.Errorf("--new cannot add rows to what stage %s has put together; --fresh starts over", name)
	}
	c := p.Steps[at].Stage.(pipeline.Collector).Collection()
	if c == nil {
		return nil, fmt.Errorf("stage %s has no Collection", name)
	}
	last := p
	last.Source, last.SourceName, last.Key, last.Steps = c, "stage "+name, "", p.Steps[at+1:]
	own := o
	own.Limit = 0
	r, err := newPart(ctx, last, own)
	if err != nil {
		return nil, err
	}
	first := p
	first.Sink, first.SinkName, first.Steps = c, "stage "+name, p.Steps[:at+1]
	o.Watch = nil // the last part minds it
	if o.State != "" {
		o.State = filepath.Join(o.State, partFolder(name))
	}
	if r.before, err = newParts(r.ctx, first, o, lastCollector(p.Steps[:at])); err != nil {
		return nil, err
	}
	r.before.behind, r.before.tracker.collects = r, true
	r.before.sink.name = "stage " + name
	return r, nil
}

const partPrefix = "before."

// partFolder is where the state of the part in front of a stage is, within that of the part
// behind it.
func partFolder(stage string) string { return partPrefix + url.PathEscape(stage) }

// clearParts forgets the state of the parts before.
func (k *keeper) clearParts() error {
	entries, err := k.fs.ReadDir(k.dir)
	if err != nil {
		return err
	}
	var errs error
	for _, e := range entries {
		if sub := filepath.Join(k.dir, e.Name()); e.IsDir() && strings.HasPrefix(e.Name(), partPrefix) {
			part := keeper{fs: k.fs, dir: sub}
			errs = errors.Join(errs, part.clearParts(), state.Clear(k.fs, sub))
		}
	}
	return errs
}

// collect runs the part before, and reports whether this one is to go on with what that
// has put together.
func (r *run) collect(parent context.Context) (stream bool, err error) {
	if !r.keeper.nothingToDo() {
		if err := r.mayCollect(); err != nil {
			return false, &PreflightError{err}
		}
		if err := r.preflight(); err != nil {
			return false, &PreflightError{err}
		}
	}
	f := r.before
	if r.keeper != nil && !r.keeper.resumed { // what is there is of a run that is no more
		f.options.Fresh = true
	}
	f.main(parent)
	err = f.failed()
	switch {
	case err == nil && f.complete() && r.ctx.Err() == nil && !r.keeper.nothingToDo():
		if err := r.takeOver(); err != nil {
			return false, &PreflightError{err}
		}
		return true, nil
	case err == nil && r.keeper.nothingToDo():
		r.keeper.repeat()
	}
	if f.dead != nil { // nobody goes on with it
		f.dead.close()
	}
	return false, err
}

// mayCollect refuses to put together anew what the part behind has read already.
func (r *run) mayCollect() error {
	b := r.behind
	if b == nil || b.keeper == nil || !b.keeper.resumed {
		return nil
	}
	if was := b.keeper.previous; !was.Finished && was.Source.Next == 0 {
		return nil
	}
	if k := r.keeper; k.resumed && k.change == pipeline.Grown {
		return fmt.Errorf("the source has more rows than when %s put them together, and what came of those is in the output; --fresh starts over", r.sink.name)
	}
	return fmt.Errorf("the state in %s does not say what %s has put together, and rows of that are in the output; --fresh starts over", r.options.State, r.sink.name)
}

// takeOver goes on with the sink for dead letters where the part before has left it.
func (r *run) takeOver() error {
	f := r.before
	switch {
	case r.dead == nil:
		return nil
	case f.dead.started:
		r.dead.started, r.dead.at = true, f.dead.at
		return nil
	case r.keeper == nil:
		return nil
	}
	at := r.keeper.previous.DeadLetter
	if !at.Started {
		at = f.keeper.previous.DeadLetter
	}
	return r.rewindDead(r.ctx, at)
}

// discard removes what the part before has put together, unless a run that goes on is
// going to read it again.
func (r *run) discard() {
	if r.before == nil || r.keeper != nil && !r.complete() {
		return
	}
	c := r.pipeline.Source.(pipeline.Collection)
	ctx, cancel := r.uncancelled()
	defer cancel()
	if err := r.safely("source", func() error { return c.Discard(ctx) }); err != nil {
		r.log.Warn("what was put together could not be removed", slog.Any("error", err))
	}
}

// outermost is the part that delivers.
func (r *run) outermost() *run {
	for r.behind != nil {
		r = r.behind
	}
	return r
}

// after adds how a part stands to how the one before it does, whose rows went into it.
func (s Snapshot) after(before Snapshot) Snapshot {
	s.EstimatedRows += before.EstimatedRows
	s.Counts = before.Counts.into(s.Counts)
	s.Finished += before.Finished
	s.Stages = append(before.Stages, s.Stages...)
	s.Waiting = cmp.Or(before.Waiting, s.Waiting)
	return s
}

// after adds how a part has ended to how the one before it has.
func (s Summary) after(before Summary) Summary {
	s.Counts = before.Counts.into(s.Counts)
	s.Stages = append(before.Stages, s.Stages...)
	s.Reasons = append(before.Reasons, s.Reasons...)
	s.Guarantees = append(before.Guarantees, s.Guarantees...)
	s.RepeatedKeys = before.RepeatedKeys
	s.Resumed = s.Resumed && before.Resumed
	s.DoneBefore, s.Replayed, s.CutOff = s.DoneBefore+before.DoneBefore, s.Replayed+before.Replayed, s.CutOff+before.CutOff
	s.NothingToDo = s.NothingToDo && before.NothingToDo
	s.DeadLetters = cmp.Or(s.DeadLetters, before.DeadLetters)
	return s
}

// into adds the counts of the next part, into whose rows went what this one delivered.
func (c Counts) into(more Counts) Counts {
	c.Absorbed, c.Delivered = c.Absorbed+c.Delivered, 0
	c.Collected += more.Read
	c.Read += more.Read
	c.Made += more.Made
	c.Merged += more.Merged
	c.Delivered += more.Delivered
	c.Dropped += more.Dropped
	c.DroppedOnError += more.DroppedOnError
	c.DeadLettered += more.DeadLettered
	c.Absorbed += more.Absorbed
	c.Unfinished += more.Unfinished
	return c
}

// onlyLast leaves of a pipeline what is behind the last stage that puts rows together, and
// returns the names of the stages that are left out.
func onlyLast(p *pipeline.Pipeline) map[string]bool {
	at := lastCollector(p.Steps)
	cut := map[string]bool{}
	if at < 0 {
		return cut
	}
	cut["source"] = true
	for _, s := range p.Steps[:at+1] {
		cut[s.Name] = true
	}
	p.Steps = p.Steps[at+1:]
	return cut
}
