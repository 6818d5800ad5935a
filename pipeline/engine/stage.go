package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// chunkRecords is how many records a worker of a computing stage takes at once: it
// makes the cost of handing them over vanish.
const chunkRecords = 64

// adjustEvery is how often the number of workers follows the rows that rest.
const adjustEvery = 20 * time.Millisecond

// waitingRows is how many rows for each request on the wire a stage that asks
// others may hold, those that wait for a backoff or a limit included.
const waitingRows = 4

// stageNode runs one stage: workers take records in order, process them, and pass
// on what became of them.
type stageNode struct {
	run     *run
	step    pipeline.Step
	index   int              // among the stages
	trial   *trial           // nil for a bound stage
	batcher pipeline.Batcher // nil for a stage that takes one record at a time
	turner  bool             // puts its turns under the policies itself
	answers *answers         // the journal of what it returns; nil if there is none
	groups  *groups          // that of what it puts together; nil if nobody needs it
	memory  *stateFile       // of a stage that remembers, if the run keeps state
	policy  *policy.Stage    // nil for a stage that has none
	ordered bool
	order   *order // nil where one worker keeps the order, or nobody does

	in, out *queue
	taking  chan struct{} // size 1: held by the one worker that takes
	chunk   int           // how many records one call of a worker takes
	wait    time.Duration // how long a begun batch waits for more; 0 for ever

	halt     chan struct{} // closed when nothing new is to be begun
	haltOnce sync.Once
	enough   atomic.Bool // a later stage wants no more: what is here is dropped
	cut      bool        // ordered: a record is unfinished, and so all behind it; passing on owns it

	workers sync.WaitGroup
	most    int64        // how many workers there may be at the most
	wanted  atomic.Int64 // how many there are to be now

	spawning sync.Mutex
	ended    bool // the input has ended: no more workers

	started atomic.Int64
	idle    atomic.Int64
	calls   atomic.Int64
	busy    atomic.Int64
	flight  flight
}

func newStageNode(r *run, step pipeline.Step, ordered bool) *stageNode {
	_, turner := step.Stage.(pipeline.Turner)
	if turner {
		step.Workload, step.Costs = pipeline.Waits, true
	}
	step.StepOptions = policy.Defaults(step.StepOptions, step.Workload)
	step.Parallelism = max(1, step.Parallelism)
	n := &stageNode{
		run: r, step: step, turner: turner, ordered: ordered,
		in: newQueue(), taking: make(chan struct{}, 1), chunk: 1, halt: make(chan struct{}),
	}
	n.trial = r.trials[step.Name]
	n.batcher, _ = step.Stage.(pipeline.Batcher)
	if _, one := step.Stage.(pipeline.Sequential); one {
		n.step.Parallelism, n.ordered = 1, true
	}
	if step.Workload == pipeline.Computes {
		n.chunk = chunkRecords
	}
	if n.batcher != nil {
		n.chunk, n.wait = n.batcher.Batch()
		n.chunk = max(1, n.chunk)
	}
	if n.ordered && (n.step.Parallelism > 1 || turner) {
		n.order = newOrder(max(n.step.ReorderWindow, n.chunk), &n.flight)
	}
	if turner || step.Retry.Attempts > 1 || step.Timeout > 0 || step.Workload == pipeline.Waits {
		settings := policy.Settings{StepOptions: n.step.StepOptions, Logger: r.log, Rows: r.tracker.read.Load}
		if step.Workload == pipeline.Waits {
			settings.Stop = n.halt // a stage that computes lets through what is paid for already
		}
		if l, ok := step.Stage.(policy.Limited); ok {
			settings.Limiter = r.limits.For(l.RateLimit())
		}
		if s, ok := step.Stage.(policy.Several); ok {
			settings.Endpoints = r.limits.Equip(s.Endpoints())
		}
		n.policy = policy.New(settings)
	}
	n.most = int64(n.step.Parallelism)
	if turner && n.step.Parallelism > 1 {
		n.most = int64(max(n.step.Parallelism, min(waitingRows*n.step.Parallelism, n.step.ReorderWindow)))
	}
	n.wanted.Store(int64(n.step.Parallelism))
	if d, ok := step.Stage.(pipeline.Deadliner); ok && step.Deadlines != (pipeline.Deadlines{}) {
		d.Deadlines(step.Deadlines)
	}
	if s, ok := step.Stage.(pipeline.Scaler); ok {
		s.Scale(n.step.Parallelism + policy.Spare(n.step.StepOptions))
	}
	return n
}

// start begins the work; out must be known.
func (n *stageNode) start() {
	n.workers.Add(1)
	n.started.Store(1)
	go n.work()
	done := make(chan struct{})
	if n.most > int64(n.step.Parallelism) {
		go n.adjust(done)
	}
	go func() {
		n.workers.Wait()
		close(done)
		n.out.close()
	}()
}

// adjust keeps as many workers as there may be requests on the wire, and one more
// for each row that rests: such a row must not keep another from being asked. More
// than that would only queue for the wire.
func (n *stageNode) adjust(done <-chan struct{}) {
	tick := time.NewTicker(adjustEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		wanted := min(n.most, int64(n.step.Parallelism+n.policy.Resting()))
		n.wanted.Store(wanted)
		for n.idle.Load() == 0 && n.started.Load() < wanted && n.spawn() {
		}
	}
}

// spawn starts a worker, unless all have ended.
func (n *stageNode) spawn() bool {
	n.spawning.Lock()
	defer n.spawning.Unlock()
	if n.ended {
		return false
	}
	n.started.Add(1)
	n.workers.Add(1)
	go n.work()
	return true
}

// surplus ends a worker that is not wanted any more.
func (n *stageNode) surplus() bool {
	for {
		started := n.started.Load()
		if started <= n.wanted.Load() {
			return false
		}
		if n.started.CompareAndSwap(started, started-1) {
			return true
		}
	}
}

// stopBeginning lets nothing new through the gate.
func (n *stageNode) stopBeginning() { n.haltOnce.Do(func() { close(n.halt) }) }

func (n *stageNode) work() {
	defer n.workers.Done()
	var buf []*pipeline.Record
	for {
		batch, ticket, open := n.next(buf[:0])
		if !open {
			n.spawning.Lock()
			n.ended = true
			n.spawning.Unlock()
			return
		}
		n.busy.Add(int64(len(batch)))
		n.flight.move(len(batch), 0, 0)
		outs := n.process(batch, ticket)
		n.busy.Add(int64(-len(batch)))
		if n.order != nil {
			n.flight.move(-len(batch), len(batch), 0)
			n.order.finish(ticket, outs, n.pass)
		} else {
			n.flight.move(-len(batch), len(batch), 1)
			n.pass(outs)
			n.flight.move(0, -len(batch), -1)
		}
		clear(batch) // while there is nothing to do, nothing is held
		if buf = batch; n.surplus() {
			return
		}
	}
}

// next takes the next records and their ticket. One worker at a time does, so
// that tickets are in the order of the records.
func (n *stageNode) next(dst []*pipeline.Record) (batch []*pipeline.Record, ticket uint64, open bool) {
	n.idle.Add(1)
	n.taking <- struct{}{}
	n.idle.Add(-1)
	defer func() { <-n.taking }()
	most := n.chunk
	if n.order != nil {
		most = min(most, n.order.await())
	}
	if n.batcher != nil {
		batch, open = n.gather(dst)
	} else {
		batch, open = n.in.take(dst, most, nil)
	}
	if !open {
		return nil, 0, false
	}
	if n.order != nil {
		ticket = n.order.begin(batch)
	}
	n.grow()
	return batch, ticket, true
}

// grow starts another worker if there may be one and nobody is free to take.
func (n *stageNode) grow() {
	if n.idle.Load() == 0 && n.started.Load() < n.wanted.Load() {
		n.spawn()
	}
}

// The most that one worker holds of what became of its records, before it passes
// on a part: a stage may make thousands of each.
const (
	partRecords = 512
	partBytes   = 1 << 20
)

// process returns what became of the records, in their order, or the rest of that.
func (n *stageNode) process(batch []*pipeline.Record, ticket uint64) []*pipeline.Record {
	outs := make([]*pipeline.Record, 0, len(batch))
	if n.batcher != nil {
		return n.processBatch(batch, outs)
	}
	split := 0 // bytes of the children
	for i, r := range batch {
		before := len(outs)
		if n.admit(r, &outs) {
			outs = n.processOne(r, outs)
		}
		if made := outs[before:]; len(made) > 1 {
			split += sizeOf(made)
		}
		if i < len(batch)-1 && (len(outs) >= partRecords || split >= partBytes) {
			n.passPart(outs, ticket)
			outs, split = make([]*pipeline.Record, 0, len(batch)), 0
		}
	}
	return outs
}

// passPart passes on what became of the first records of a ticket.
func (n *stageNode) passPart(outs []*pipeline.Record, ticket uint64) {
	if n.order != nil {
		n.order.part(ticket, outs, n.pass)
	} else {
		n.pass(outs)
	}
}

// admit reports whether the stage is to work on r. If not, r has ended, or is in
// outs because it passes by.
func (n *stageNode) admit(r *pipeline.Record, outs *[]*pipeline.Record) bool {
	switch {
	case n.run.ctx.Err() != nil:
		*outs = n.leave(r, *outs)
		return false
	case n.enough.Load():
		n.run.settle(r, dropped)
		return false
	}
	if d := n.run.retried; d != nil && d.stageOf(r.Ref.Seq) > n.index {
		*outs = append(*outs, r) // it has been through
		return false
	}
	yes, err := n.when(r)
	switch {
	case err != nil:
		*outs = n.failed(r, err, 0, *outs)
		return false
	case !yes:
		*outs = append(*outs, r)
	}
	return yes
}

// when reports whether the stage is for r.
func (n *stageNode) when(r *pipeline.Record) (yes bool, err error) {
	if n.step.When == nil {
		return true, nil
	}
	defer n.run.recovered(n.step.Name, &err)
	if yes, err = n.step.When.Bool(r); err != nil {
		err = fmt.Errorf("when: %w", err)
	}
	return yes && err == nil, err
}

func (n *stageNode) processOne(r *pipeline.Record, outs []*pipeline.Record) []*pipeline.Record {
	saved := r.Snapshot()
	made, attempts, err := n.outcome(r, &saved)
	if errors.Is(err, pipeline.ErrEnough) {
		n.run.enoughFor(n)
		err = nil
	}
	if err == nil {
		err = check(made)
	}
	if err != nil {
		r.Restore(saved)
		return n.failed(r, err, attempts, outs)
	}
	return n.accept(r, identityOf(&saved), made, outs)
}

// outcome returns what becomes of r, which came in as saved says: what the journal
// knows of it, else what the stage makes of it now.
func (n *stageNode) outcome(r, saved *pipeline.Record) (made []*pipeline.Record, attempts int, err error) {
	if n.memory != nil {
		n.memory.busy.Lock()
		defer n.memory.busy.Unlock()
	}
	if n.answers == nil {
		n.calls.Add(1)
		return n.call(n.run.ctx, r, *saved)
	}
	if made, attempts, err, known := n.answers.replay(r); known {
		return made, attempts, err
	}
	made, attempts, err = n.call(n.run.ctx, r, *saved)
	n.calls.Add(1)
	if err == nil {
		err = check(made)
	}
	if lost := n.keep(saved, r, made, attempts, err); lost != nil {
		return nil, attempts, lost
	}
	return made, attempts, err
}

// keep makes an outcome durable, unless there is none yet, and counts those that may have been
// paid for and have to be had again.
func (n *stageNode) keep(saved, r *pipeline.Record, made []*pipeline.Record, attempts int, failure error) error {
	if failure != nil && !n.final(failure) {
		if attempts > 0 && cutOff(n.run.ctx, failure) {
			n.run.cutOff.Add(1)
		}
		return nil
	}
	err := n.answers.keep(saved, r, made, attempts, failure)
	if err != nil {
		n.run.cutOff.Add(1)
	}
	return err
}

// call has the stage process the record under its policies.
func (n *stageNode) call(ctx context.Context, r *pipeline.Record, saved pipeline.Record) (made []*pipeline.Record, attempts int, err error) {
	if n.policy == nil {
		made, err = n.safely(ctx, r)
		return made, 1, err
	}
	ctx, call := n.policy.Begin(ctx)
	if n.turner {
		made, err = n.safely(ctx, r)
	} else {
		made, err = n.turn(ctx, r, saved)
	}
	return made, call.Attempts(), err
}

// turn makes the whole of Process one turn. It is apart from call so that only
// here the snapshot moves to the heap.
func (n *stageNode) turn(ctx context.Context, r *pipeline.Record, saved pipeline.Record) ([]*pipeline.Record, error) {
	return policy.Turn(ctx, policy.Ask{}, func(ctx context.Context, _ *policy.Attempt) ([]*pipeline.Record, error) {
		r.Restore(saved)
		return n.step.Stage.Process(ctx, r)
	})
}

// safely turns a panic of the stage into the record's error.
func (n *stageNode) safely(ctx context.Context, r *pipeline.Record) (made []*pipeline.Record, err error) {
	defer n.run.recovered(n.step.Name, &err)
	return n.step.Stage.Process(ctx, r)
}

// safely turns a panic of a component into an error.
func (r *run) safely(component string, f func() error) (err error) {
	defer r.recovered(component, &err)
	return f()
}

// recovered, deferred, turns a panic into an error; the stack goes to the log.
func (r *run) recovered(component string, err *error) {
	if p := recover(); p != nil {
		r.log.Error("panic", slog.String("component", component), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		*err = pipeline.Permanent("panic", fmt.Errorf("panic: %v", p))
	}
}

var errSameRecord = errors.New("the stage returned nil or the same record twice")

// check refuses what cannot be settled.
func check(made []*pipeline.Record) error {
	if len(made) > 16 {
		return checkIn(made, make(map[*pipeline.Record]struct{}, len(made)))
	}
	for i, m := range made {
		if m == nil || slices.Contains(made[:i], m) {
			return errSameRecord
		}
	}
	return nil
}

// checkIn refuses what cannot be settled beside what was seen before.
func checkIn(made []*pipeline.Record, seen map[*pipeline.Record]struct{}) error {
	for _, m := range made {
		if _, again := seen[m]; again || m == nil {
			return errSameRecord
		}
		seen[m] = struct{}{}
	}
	return nil
}

// accept adds what the record r, that came in as who, turned into.
func (n *stageNode) accept(r *pipeline.Record, who identity, made, outs []*pipeline.Record) []*pipeline.Record {
	if n.trial != nil {
		n.trial.passed.Add(1)
	}
	switch {
	case len(made) == 0:
		n.run.settled(n.run.tracker.settleLeaves(dropped, who.member()))
		return outs
	case len(made) == 1 && made[0] == r:
		r.Ref = who.ref
		r.SetTicket(who.leaf) // the stage may have copied another record over it
		return append(outs, r)
	}
	n.run.tracker.split(who, made)
	return append(outs, n.run.unsettled(who, made)...)
}
