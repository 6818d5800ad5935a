package engine

import (
	"context"
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
)

// ready readies what is written to, before the first row is passed on.
func (r *run) ready(ctx context.Context) error {
	if r.behind != nil { // that its output can be written shows before anything is paid
		if err := r.behind.ready(ctx); err != nil {
			return err
		}
	}
	if r.opened {
		return nil
	}
	r.opened = true
	if r.keeper != nil {
		return r.keeper.begin(ctx)
	}
	return r.readySinks(ctx, r.options.Fresh)
}

// readySinks starts the sink. That for dead letters is started with the first of them,
// and there may be none.
func (r *run) readySinks(ctx context.Context, fresh bool) error {
	if err := r.prepareDead(ctx, fresh); err != nil {
		return err
	}
	if err := r.sink.start(ctx); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	return nil
}

func (r *run) prepareDead(ctx context.Context, fresh bool) error {
	if r.dead == nil {
		return nil
	}
	return r.dead.prepare(ctx, fresh)
}

// prepareSinks refuses what the sinks would refuse to overwrite, and changes nothing.
func (r *run) prepareSinks(ctx context.Context) error {
	if err := r.prepareDead(ctx, false); err != nil {
		return err
	}
	return r.sink.prepare(ctx, false)
}

// rewindSinks cuts the sinks back to where they stood.
func (r *run) rewindSinks(ctx context.Context, sink, dead sinkMark) error {
	r.sink.resume = &sink
	if err := r.sink.start(ctx); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	if r.before != nil { // the part before has it until it ends
		return nil
	}
	return r.rewindDead(ctx, dead)
}

// rewindDead cuts the sink for dead letters back to where it stood.
func (r *run) rewindDead(ctx context.Context, dead sinkMark) error {
	if r.dead == nil {
		return nil
	}
	if !dead.Started { // what is there was written after the checkpoint
		r.dead.fresh = true
		return r.dead.prepare(ctx, true)
	}
	r.dead.resume = &dead
	if err := r.dead.start(ctx); err != nil {
		return fmt.Errorf("dead_letter: %w", err)
	}
	return nil
}

// finishSinks has the sinks end their outputs, if nothing is left to do.
func (r *run) finishSinks() {
	if !r.complete() {
		return
	}
	r.sink.finish()
	if r.dead != nil && r.behind == nil {
		r.dead.finish()
	}
}

// publishes reports whether a sink shows what it wrote only behind a checkpoint.
func (r *run) publishes() bool {
	_, sink := r.sink.sink.(pipeline.Publisher)
	dead := false
	if r.dead != nil {
		_, dead = r.dead.sink.(pipeline.Publisher)
	}
	return sink || dead
}

// publish has the sinks show what a checkpoint covers.
func (r *run) publish(c checkpoint) error {
	if err := r.sink.publish(c.Sink); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	if r.dead == nil {
		return nil
	}
	if err := r.dead.publish(c.DeadLetter); err != nil {
		return fmt.Errorf("dead_letter: %w", err)
	}
	return nil
}

// openState takes the folder of the run's state, if it keeps one.
func (r *run) openState() (err error) {
	if r.options.State == "" {
		return nil
	}
	if r.keeper, err = r.openKeeper(r.ctx); err != nil {
		return err
	}
	r.keeper.install()
	return nil
}

// complete reports whether everything has ended, and nothing is left to read.
func (r *run) complete() bool {
	limited := r.options.Limit > 0 && r.behind == nil && r.tracker.passed() >= uint64(r.options.Limit)
	return r.failed() == nil && !r.cutShort() && (r.enough.Load() || !limited)
}
