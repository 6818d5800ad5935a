package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// probeTime bounds how long one component may take to say whether it will work.
const probeTime = 15 * time.Second

// rehearsedRows is how many rows are prepared before the run begins.
const rehearsedRows = 3

// PreflightError is why a run was not begun: nothing was written, nothing paid.
type PreflightError struct{ Err error }

// Error returns the reason.
func (e *PreflightError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *PreflightError) Unwrap() error { return e.Err }

// probe asks every component that can say whether it will work.
func (r *run) probe(ctx context.Context) error {
	var errs []error
	ask := func(name string, component any) {
		p, ok := component.(pipeline.Prober)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		err := r.safely(name, func() error { return p.Probe(ctx) })
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	ask("source", r.pipeline.Source)
	for _, s := range r.pipeline.Steps {
		ask("stage "+s.Name, s.Stage)
	}
	ask("sink", r.pipeline.Sink)
	if r.pipeline.DeadLetter != nil {
		ask("dead_letter", r.pipeline.DeadLetter)
	}
	return errors.Join(errs...)
}

// rehearsal holds back the first rows until one of them could be prepared, so
// that a prompt which works for no row costs nothing and writes nothing.
type rehearsal struct {
	run      *run
	held     []heldRow
	bytes    int // of what is held
	prepared int
	errs     []error
	passed   bool
}

type heldRow struct {
	record     *pipeline.Record
	unreadable error
}

// mostHeld bounds how many unreadable rows are held back before the first readable
// one, as queueBytes does.
const mostHeld = 64

// take takes the next row, and reports whether more are wanted.
func (h *rehearsal) take(r *pipeline.Record, unreadable error) bool {
	if h.passed {
		h.run.source.pass(r, unreadable)
		return true
	}
	h.held = append(h.held, heldRow{r, unreadable})
	h.bytes += r.Size()
	if unreadable == nil {
		h.prepared++
		if err := h.rehearse(r); err != nil {
			h.errs = append(h.errs, fmt.Errorf("row %s: %w", r.ID(), err))
		}
	}
	full := h.prepared >= rehearsedRows || len(h.held) >= mostHeld || h.bytes >= queueBytes
	if h.run.options.Preflight && len(h.errs) == h.prepared && !full {
		return true
	}
	return h.open()
}

// open begins the run in earnest, and reports whether more rows are wanted.
func (h *rehearsal) open() bool {
	if h.passed {
		return true
	}
	if h.run.reading.Err() != nil {
		return false // stopped meanwhile: the output stays as it is
	}
	if err := h.ready(); err != nil {
		if !cutOff(h.run.reading, err) {
			h.run.failNow(&PreflightError{err})
		}
		return false
	}
	h.passed = true
	for i, row := range h.held {
		if h.run.reading.Err() != nil {
			return false
		}
		h.held[i] = heldRow{}
		h.run.source.pass(row.record, row.unreadable)
	}
	h.held = nil
	return true
}

// drain brings in what was held back when the source has failed, like what was
// passed on before.
func (h *rehearsal) drain() bool { return len(h.held) > 0 && h.open() }

// refuse lets go of what was held back and did not come into the run.
func (h *rehearsal) refuse() {
	for _, row := range h.held {
		h.run.tracker.teller.row(row.record, pipeline.Unfinished)
	}
	h.held = nil
}

// ready readies the sinks, unless no row could be prepared. A soft stop does not
// wait for it.
func (h *rehearsal) ready() error {
	if len(h.errs) > 0 && len(h.errs) == h.prepared {
		return fmt.Errorf("none of the first rows can be prepared: %w", h.errs[0])
	}
	ctx, cancel := context.WithCancel(h.run.ctx)
	stop := context.AfterFunc(h.run.reading, cancel)
	defer stop() // and no cancel: a sink may hold on to the context it was started with
	return h.run.ready(ctx)
}

// rehearse prepares a copy of the row as far as that costs nothing: through the
// computing stages, up to the first that can only say whether it could go on.
func (h *rehearsal) rehearse(r *pipeline.Record) error {
	if !h.run.options.Preflight || h.run.retried != nil {
		return nil
	}
	c := r.Clone()
	for _, s := range h.run.pipeline.Steps {
		if can, ok := s.Stage.(pipeline.Rehearser); ok {
			return h.ask(s, can, c)
		}
		if !plain(s) {
			return nil
		}
		var made []*pipeline.Record
		err := h.run.safely(s.Name, func() (err error) {
			made, err = s.Stage.Process(h.run.ctx, c)
			return err
		})
		if err != nil || len(made) == 0 || made[0] == nil {
			return nil // its own dead letter, or left out: says nothing about the rest
		}
		c = made[0]
	}
	return nil
}

// ask asks a stage whether it could go on with the record, if it is for it.
func (h *rehearsal) ask(s pipeline.Step, can pipeline.Rehearser, r *pipeline.Record) error {
	yes := s.When == nil
	_ = h.run.safely(s.Name, func() (err error) { // an error is a dead letter of its own
		if s.When != nil {
			yes, err = s.When.Bool(r)
		}
		return err
	})
	if !yes {
		return nil
	}
	if err := h.run.safely(s.Name, func() error { return can.Rehearse(r) }); err != nil {
		return fmt.Errorf("stage %s: %w", s.Name, err)
	}
	return nil
}

// plain reports whether a stage may be tried on a copy: it only computes, and
// remembers nothing.
func plain(s pipeline.Step) bool {
	_, sequential := s.Stage.(pipeline.Sequential)
	_, batcher := s.Stage.(pipeline.Batcher)
	_, foreign := s.Stage.(*foreignStage)
	return s.Workload == pipeline.Computes && s.When == nil && !sequential && !batcher && !foreign
}
