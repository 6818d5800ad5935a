package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reugn/go-streams"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// failGrace is how long requests on the wire may still finish after a failure:
// they may have been paid for.
const failGrace = time.Second

// sourceGrace is how long a run that ends waits for a source to notice.
const sourceGrace = time.Second

// run is one run of a pipeline.
type run struct {
	pipeline pipeline.Pipeline
	options  Options
	log      *slog.Logger
	began    time.Time

	ctx      context.Context // done after a hard stop
	abort    context.CancelFunc
	reading  context.Context // done when nothing more is to be read
	endInput context.CancelFunc
	softOnce sync.Once
	stopped  atomic.Bool // asked to stop
	enough   atomic.Bool // a stage wants no more: what the source has left is not missing
	idle     bool        // an earlier run did everything
	// estimateFrom is how many rows were read by runs that have read another source.
	estimateFrom int64
	before       *run // collects the rows that this one reads; nil if they come from the source
	behind       *run // reads what this one collects; nil if it delivers
	opened       bool // what is written to is ready
	noState      string
	finished     chan struct{}
	summary      Summary
	limits       *policy.Limits
	keeper       *keeper      // nil if the run keeps no state
	retried      *deadLetters // the source of a retry, else nil
	atEnd        func() error // what a retry does at the end
	tracker      tracker
	reasons      reasons
	source       *sourceNode
	stages       []*stageNode
	nodes        []streams.Flow // the stages, and go-streams operators between them
	sink         *sinkNode
	dead         *sinkNode // nil where dead letters are only counted
	mu           sync.Mutex
	failure      error
	overtime     *time.Timer // stops the run hard at abortAt; nil for never
	abortAt      time.Time
	over         bool         // the run has ended
	cutOff       atomic.Int64 // see Summary
	deadSoFar    atomic.Int64
	trials       map[string]*trial // by component; not changed while running
}

// Execution is a run that was started.
type Execution struct{ run *run }

// Start begins to run a pipeline. A ctx that is cancelled stops the run hard:
// what is in flight is left unfinished, and the run fails with ctx's cause; see
// [Execution.Stop] for the soft stop. The error is a pipeline that cannot be run.
func Start(ctx context.Context, p pipeline.Pipeline, o Options) (*Execution, error) {
	r, err := newRun(ctx, p, o)
	if err != nil {
		return nil, err
	}
	go r.main(ctx)
	return &Execution{run: r}, nil
}

// Stop asks the run to drain: nothing more is read or sent, what is in flight
// finishes and is written. After Pipeline.DrainTimeout what still goes on is
// cancelled. Stop returns at once, and may be called again.
func (e *Execution) Stop() { e.run.softStop(true) }

// Abort cancels what is in flight, and leaves it unfinished. What was written is
// committed all the same. Abort returns at once, and may be called again.
func (e *Execution) Abort() {
	for r := e.run; r != nil; r = r.before {
		r.stopped.Store(true)
	}
	e.run.abort()
}

// Wait returns when the run has ended. The error is why it failed; a run that was
// stopped, or that had dead letters, has not failed: see the Summary.
func (e *Execution) Wait() (Summary, error) {
	<-e.run.finished
	return e.run.summary, e.run.failed()
}

// Done is closed when the run has ended.
func (e *Execution) Done() <-chan struct{} { return e.run.finished }

func newRun(ctx context.Context, p pipeline.Pipeline, o Options) (*run, error) {
	if p.Source == nil || p.Sink == nil {
		return nil, errors.New("a pipeline needs a source and a sink")
	}
	p.Steps = nameSteps(p.Steps)
	for _, s := range p.Steps {
		if err := runnable(s); err != nil {
			return nil, err
		}
	}
	o.State = stateOf(p, o)
	why := noState(p, o)
	if why != "" && o.State != "" {
		if o.Logger != nil {
			o.Logger.Warn(why)
		}
		o.State = ""
	}
	r, err := newParts(ctx, p, o, lastCollector(p.Steps))
	if err != nil {
		return nil, err
	}
	r.noState = why
	return r, nil
}

// newPart makes the run of a pipeline, or of a part of one; o.State is the folder of its
// state, "" for none.
func newPart(ctx context.Context, p pipeline.Pipeline, o Options) (*run, error) {
	r := &run{pipeline: p, options: o, log: o.Logger, began: time.Now(), finished: make(chan struct{})}
	if r.log == nil {
		r.log = discard()
	}
	if r.limits = o.Limits; r.limits == nil {
		r.limits = new(policy.Limits)
	}
	if r.pipeline.DrainTimeout <= 0 {
		r.pipeline.DrainTimeout = 2 * time.Minute
	}
	r.pipeline.StopWhen.DeadLetters = cmp.Or(p.StopWhen.DeadLetters, 0.5)
	r.pipeline.StopWhen.After = cmp.Or(p.StopWhen.After, 200)
	if err := checkNew(p, r.options); err != nil {
		return nil, err
	}
	r.ctx, r.abort = context.WithCancel(ctx)
	r.reading, r.endInput = context.WithCancel(r.ctx)
	r.trials = map[string]*trial{"source": {}, "sink": {}}
	for _, step := range r.pipeline.Steps {
		r.trials[step.Name] = &trial{}
	}
	r.source = &sourceNode{run: r, source: p.Source, trial: r.trials["source"], done: make(chan struct{})}
	r.source.rehearsal = rehearsal{run: r}
	r.tracker.teller = newTeller(r)
	for i, s := range r.pipeline.Steps {
		if foreign, ok := s.Stage.(*foreignStage); ok {
			r.nodes = append(r.nodes, &foreignFlow{foreignNode: newForeignNode(r, foreign, s.Name, i)})
			continue
		}
		n := newStageNode(r, s, runsOrdered(r.pipeline.Steps[i:]))
		n.index = i
		r.stages = append(r.stages, n)
		r.nodes = append(r.nodes, &stageFlow{stageNode: n})
	}
	r.sink = newSinkNode(r, "sink", p.Sink, p.Flush, delivered)
	if p.DeadLetter != nil {
		r.dead = newSinkNode(r, "dead_letter", p.DeadLetter, pipeline.Flush{}, deadLettered)
	}
	r.source.out = r.firstQueue()
	return r, nil
}

// stateOf returns the folder for the state of a run, "" if it keeps none.
func stateOf(p pipeline.Pipeline, o Options) string {
	switch dir := cmp.Or(o.State, p.State); dir {
	case "off":
		return ""
	default:
		return dir
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// main runs the pipeline from probe to summary.
func (r *run) main(parent context.Context) {
	context.AfterFunc(r.ctx, func() { r.softStop(false) })
	defer close(r.finished)
	defer r.abort()
	r.options.Watch.begin(r.fail)
	defer r.options.Watch.end()
	if begun, err := r.begin(parent); err != nil {
		r.failNow(err)
	} else if begun {
		r.stream()
	}
	r.finishSinks()
	r.release()
	r.account()
	if r.keeper != nil {
		r.keeper.end()
	}
	r.discard()
	r.tracker.teller.end()
	if r.atEnd != nil {
		if err := r.atEnd(); err != nil {
			r.setFailure(err)
		}
	}
	if cause := context.Cause(parent); cause != nil && !r.stopped.Load() && r.cutShort() {
		r.setFailure(fmt.Errorf("the run was cancelled: %w", cause))
	}
	r.summary = r.summarize()
	r.end()
}

// begin makes everything ready, and reports whether there is something to stream.
func (r *run) begin(parent context.Context) (stream bool, err error) {
	if err := r.openState(); err != nil {
		return false, &PreflightError{err}
	}
	if r.before != nil {
		return r.collect(parent)
	}
	if r.keeper.nothingToDo() {
		r.keeper.repeat()
		return false, nil
	}
	if err := r.mayCollect(); err != nil {
		return false, &PreflightError{err}
	}
	if err := r.preflight(); err != nil {
		return false, &PreflightError{err}
	}
	return true, nil
}

// end leaves nothing behind that would go on, or change how the run has ended.
func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.overtime != nil {
		r.overtime.Stop()
	}
}

func (r *run) preflight() error {
	if !r.options.Preflight {
		return nil
	}
	err := r.probe(r.reading) // a soft stop does not wait for it
	if r.reading.Err() != nil {
		return nil // nothing will be read, and that is not the preflight's failure
	}
	return err
}

// stream runs the nodes to the end, then the dead letters.
func (r *run) stream() {
	if r.dead != nil {
		go r.dead.work()
	}
	done := make(chan struct{})
	if r.keeper != nil {
		var keeping sync.WaitGroup
		keeping.Go(func() { r.keeper.work(done) })
		defer keeping.Wait()
	}
	defer close(done)
	r.wire()
	if r.dead != nil {
		r.dead.in.close()
		<-r.dead.done
	}
	r.awaitSource()
}

// awaitSource lets the source notice that nothing more is wanted of it, so that what it
// reads can be closed, and is its owner's again once the run has ended. One that hangs
// is left behind.
func (r *run) awaitSource() {
	timer := time.NewTimer(sourceGrace)
	defer timer.Stop()
	select {
	case <-r.source.done:
	case <-timer.C:
		r.log.Warn("the source has not noticed that its context is done; it is closed as it is")
	}
}

// cutShort reports whether rows were left unread or unfinished.
func (r *run) cutShort() bool {
	unread := !r.source.ended.Load() && !r.enough.Load()
	return unread || r.tracker.someUnfinished()
}

// release closes every component.
func (r *run) release() {
	r.sink.close()
	if r.dead != nil && r.behind == nil { // else the next part goes on with it
		r.dead.close()
	}
	components := []any{r.pipeline.Source}
	for _, s := range r.pipeline.Steps {
		components = append(components, s.Stage)
	}
	for _, c := range components {
		if c, ok := c.(pipeline.Closer); ok {
			if err := r.safely("close", c.Close); err != nil {
				r.log.Warn("close", slog.Any("error", err))
			}
		}
	}
}

// account checks that every leaf has ended.
func (r *run) account() {
	if lost := r.tracker.counts().lost(); lost != 0 || r.tracker.openLeft() != 0 {
		r.fail(fmt.Errorf("%d records are unaccounted for: an operator between the stages must pass on each record exactly once", lost))
	}
}

// softStop ends the input and lets nothing new through the gates.
func (r *run) softStop(asked bool) {
	if asked {
		r.stopped.Store(true)
	}
	r.softOnce.Do(func() {
		r.endReading()
		for _, s := range r.stages {
			s.stopBeginning()
		}
		r.abortAfter(r.pipeline.DrainTimeout)
	})
	if r.before != nil {
		r.before.softStop(asked)
	}
}

// endReading ends the input at once, even where the source hangs.
func (r *run) endReading() {
	r.endInput()
	r.source.seal()
}

// abortAfter stops the run hard after a while; the earliest time counts.
func (r *run) abortAfter(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now().Add(d)
	if r.over || r.overtime != nil && !at.Before(r.abortAt) {
		return
	}
	if r.overtime != nil {
		r.overtime.Stop()
	}
	r.abortAt, r.overtime = at, time.AfterFunc(d, r.abort)
}

// uncancelled returns a context for what is to be done also after a hard stop, but
// then not for ever. It ends with cancel.
func (r *run) uncancelled() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	stop := context.AfterFunc(r.ctx, func() {
		timer := time.NewTimer(finalCommit)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() { stop(); cancel() }
}

// fail ends the run with an error; what is on the wire may finish within a moment.
func (r *run) fail(err error) {
	r.setFailure(err)
	r.softStop(false)
	r.abortAfter(failGrace)
}

// failNow ends the run with an error and nothing more can be done for it.
func (r *run) failNow(err error) {
	r.setFailure(err)
	r.abort()
}

// failKeeping ends the run with an error behind which nothing more may be delivered. Where
// answers are kept, those on the wire may still arrive.
func (r *run) failKeeping(err error) {
	if r.keeper != nil {
		r.fail(err)
	} else {
		r.failNow(err)
	}
}

// failAfterDrain ends the run with an error when all that was read is finished.
func (r *run) failAfterDrain(err error) { r.setFailure(err) }

func (r *run) setFailure(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil && !r.over {
		r.failure = err
	}
}

func (r *run) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// enoughFor: the stage wants no more; the input ends, and what is in front of it
// and in it is dropped.
func (r *run) enoughFor(n *stageNode) {
	r.enough.Store(true)
	for _, s := range r.stages {
		s.enough.Store(true)
		if s == n {
			break
		}
		s.stopBeginning()
	}
	r.endReading()
}

// settle ends a record.
func (r *run) settle(rec *pipeline.Record, how ending) { r.settled(r.tracker.settle(rec, how)) }

func (r *run) settled(err error) {
	if err != nil {
		r.failNow(err)
	}
}

// note counts why a record failed.
func (r *run) note(stage string, err error) {
	_, code := pipeline.Classify(err)
	r.reasons.add(stage, code, err.Error())
}

// blame notes why a record failed, for whoever asked what becomes of it.
func (r *run) blame(rec *pipeline.Record, stage string, err error, attempts int) {
	class, code := pipeline.Classify(err)
	r.tracker.blame(rec, &pipeline.Failure{Stage: stage, Class: class, Code: code, Err: err, Attempts: attempts})
}

// bury makes a record a dead letter.
func (r *run) bury(rec *pipeline.Record, stage string, err error, attempts int) {
	r.note(stage, err)
	r.blame(rec, stage, err, attempts)
	r.log.Debug("dead letter", slog.String("stage", stage), slog.String("record", rec.ID()), slog.Any("error", err))
	r.deadSoFar.Add(1)
	if t := r.trials[stage]; t != nil {
		t.dead.Add(1)
	}
	if r.dead == nil {
		r.settle(rec, deadLettered)
	} else {
		r.dead.in.push(deadLetter(rec, stage, err, attempts))
	}
	r.checkStopWhen()
}
