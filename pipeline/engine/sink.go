package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// commitRecords bounds how many records are written and not yet committed.
const commitRecords = 1 << 16

// finalCommit is how long the last commit of a run may go on after a hard stop.
const finalCommit = 30 * time.Second

// sinkNode writes records in batches, commits, and settles what was committed.
type sinkNode struct {
	run    *run
	name   string
	sink   pipeline.Sink
	flush  pipeline.Flush
	how    ending // what a committed record has become
	policy *policy.Stage
	in     *queue
	done   chan struct{}
	broken bool      // the sink has failed: nothing more is written
	fresh  bool      // it starts over
	resume *sinkMark // where it goes on; nil if it begins

	mu      sync.Mutex
	started bool
	closed  bool

	at sinkMark // of the last commit; under the keeper's lock

	taken []member // written, not committed
	due   time.Time
	wake  time.Time // when the sink wants a commit, whatever was taken; zero for never
}

func newSinkNode(r *run, name string, sink pipeline.Sink, flush pipeline.Flush, how ending) *sinkNode {
	if flush.Records <= 0 {
		flush.Records = 1000
	}
	if flush.Every <= 0 {
		flush.Every = time.Second
	}
	options := policy.Defaults(pipeline.StepOptions{Name: name, Parallelism: 1}, pipeline.Waits)
	options.Timeout = 0 // a sink's own business
	return &sinkNode{
		run: r, name: name, sink: sink, flush: flush, how: how, in: newQueue(), done: make(chan struct{}),
		policy: policy.New(policy.Settings{
			StepOptions: options, Stop: r.ctx.Done(), Logger: r.log, Rows: r.tracker.read.Load,
			Limiter: policy.NewSerialLimiter(policy.RateLimit{TokensPerMinute: policy.Off}),
		}),
	}
}

// start readies the sink: the main one before the first row is passed on, the one
// for dead letters with the first of them.
func (n *sinkNode) start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		return nil
	}
	if n.closed {
		return pipeline.ErrStopped
	}
	if err := n.run.safely(n.name, func() error { return n.open(ctx) }); err != nil {
		return err
	}
	n.started = true
	return nil
}

// open opens the sink where it begins or goes on.
func (n *sinkNode) open(ctx context.Context) error {
	if n.resume != nil {
		n.at = *n.resume
		if r, ok := n.sink.(pipeline.Rewinder); ok {
			return r.Rewind(ctx, n.resume.Position)
		}
	}
	if s, ok := n.sink.(pipeline.Starter); ok {
		return s.Start(ctx, n.fresh || n.run.options.Fresh)
	}
	return nil
}

// prepare has a sink that may never be started refuse what is there, or remove it.
func (n *sinkNode) prepare(ctx context.Context, fresh bool) error {
	p, ok := n.sink.(pipeline.Preparer)
	if !ok {
		return nil
	}
	if err := n.run.safely(n.name, func() error { return p.Prepare(ctx, fresh) }); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// mark is where the sink stood at its last commit. The caller holds the keeper's lock.
func (n *sinkNode) mark() sinkMark {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at.Started = n.started || n.at.Started
	return n.at
}

// publish has the sink show what a checkpoint covers.
func (n *sinkNode) publish(at sinkMark) error {
	p, ok := n.sink.(pipeline.Publisher)
	if !ok || !at.Started {
		return nil
	}
	ctx, cancel := n.run.uncancelled()
	defer cancel()
	return n.run.safely(n.name, func() error { return p.Publish(ctx, at.Position) })
}

// spool gives the sink a folder within that of the run's state, if it wants one.
func (n *sinkNode) spool(state string) {
	if s, ok := n.sink.(pipeline.Spooler); ok {
		s.Spool(filepath.Join(state, "spool", url.PathEscape(n.name)))
	}
}

// finish has the sink end its output, in a run that is complete.
func (n *sinkNode) finish() {
	f, ok := n.sink.(pipeline.Finisher)
	if !ok || !n.hasStarted() || n.broken {
		return
	}
	ctx, cancel := n.run.uncancelled()
	defer cancel()
	defer n.run.keeper.committing()()
	var at pipeline.Position
	err := n.run.safely(n.name, func() (err error) {
		at, err = f.Finish(ctx)
		return err
	})
	if err != nil {
		n.run.fail(fmt.Errorf("%s: %w", n.name, err))
		return
	}
	n.at.Position = at
}

// DeliveryOf returns what a sink promises; see [pipeline.DeliveryOf].
func DeliveryOf(s pipeline.Sink) pipeline.Delivery { return pipeline.DeliveryOf(s) }

// work writes what arrives until the input ends.
func (n *sinkNode) work() {
	defer close(n.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []*pipeline.Record
	size := 0
	for open := true; open; {
		held := len(batch)
		batch, open = n.in.take(batch, n.flush.Records-held, n.timeout(timer, held))
		if n.how == delivered {
			n.run.tracker.arrived.Add(int64(len(batch) - held))
		}
		if n.due.IsZero() && len(batch) > 0 {
			// A little early, so that a record can be read within Every of its arrival.
			n.due = time.Now().Add(n.flush.Every * 9 / 10)
		}
		late := !open || past(n.due) || past(n.wake)
		size += sizeOf(batch[held:])
		if late || len(batch) >= n.flush.Records || size >= queueBytes {
			n.write(batch)
			clear(batch)
			batch, size = batch[:0], 0
		}
		var asked time.Time
		if late || len(n.taken) >= commitRecords {
			asked = n.commit()
			n.due = time.Time{}
		}
		n.wakeUp(asked)
	}
}

// past reports whether it is so late already; zero is never.
func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// wakeUp notes when the sink wants a commit. One that has had it, asked at that time or later,
// and wants it still does not get another before it has taken something.
func (n *sinkNode) wakeUp(asked time.Time) {
	n.wake = time.Time{}
	t, ok := n.sink.(pipeline.Timely)
	if !ok || n.broken || !n.hasStarted() {
		return
	}
	if n.wake = t.Due(); !n.wake.After(asked) {
		n.wake = time.Time{}
	}
}

func (n *sinkNode) hasStarted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.started
}

// timeout is when to look at the clock again; nil if nothing is held.
func (n *sinkNode) timeout(timer *time.Timer, held int) <-chan time.Time {
	next := n.due
	if next.IsZero() || !n.wake.IsZero() && n.wake.Before(next) {
		next = n.wake
	}
	if next.IsZero() {
		return nil
	}
	timer.Reset(time.Until(next))
	return timer.C
}

func (n *sinkNode) write(batch []*pipeline.Record) {
	most := max(1, len(batch))
	if p, ok := n.sink.(pipeline.Portioned); ok && p.Portion() > 0 {
		most = p.Portion()
	}
	for portion := range slices.Chunk(batch, most) {
		n.writePortion(portion)
	}
}

// writePortion writes what one Write takes.
func (n *sinkNode) writePortion(batch []*pipeline.Record) {
	batch, leaves := n.claim(batch)
	if len(batch) == 0 {
		return
	}
	if n.broken || n.run.ctx.Err() != nil {
		n.end(leaves, unfinished)
		return
	}
	err := n.put(batch)
	var refused *pipeline.BatchError
	if err != nil && !errors.As(err, &refused) {
		n.broken = true
		n.end(leaves, unfinished)
		if !n.stopped(err) {
			n.run.failKeeping(fmt.Errorf("%s: %w", n.name, err))
		}
		return
	}
	if n.how == delivered {
		passed := len(batch)
		if refused != nil {
			passed -= len(refused.Refused)
		}
		n.run.trials["sink"].passed.Add(int64(passed))
	}
	if refused == nil {
		n.taken = append(n.taken, leaves...)
		return
	}
	n.part(batch, leaves, refused.Refused)
}

// part parts what was taken of a batch from what was refused.
func (n *sinkNode) part(batch []*pipeline.Record, leaves []member, refused map[int]error) {
	for i := range batch {
		if refused[i] == nil {
			n.taken = append(n.taken, leaves[i])
		}
	}
	if _, several := n.sink.(pipeline.Router); several {
		// What one sink has refused, others may have taken. That is committed first: once
		// a record is a dead letter, it is not written again after a kill. And until it is
		// one, a checkpoint says that those have it.
		n.commitAll(refusalsOf(batch, refused))
	}
	for i, r := range batch {
		if err := refused[i]; err != nil {
			n.refuse(r, leaves[i], err)
		}
	}
}

// claim takes over the leaves of the records, and leaves out records that ended
// before: they must not be written twice.
func (n *sinkNode) claim(batch []*pipeline.Record) ([]*pipeline.Record, []member) {
	leaves := make([]member, 0, len(batch))
	kept := batch[:0]
	for _, r := range batch {
		l := ticketOf(r)
		if l == nil {
			n.run.failNow(fmt.Errorf("%w (%s)", errTwice, r.ID()))
			continue
		}
		r.SetTicket(nil)
		leaves, kept = append(leaves, member{l, r.Ref.Path}), append(kept, r)
	}
	return kept, leaves
}

// put writes a batch under the policies.
func (n *sinkNode) put(batch []*pipeline.Record) error {
	ctx, _ := n.policy.Begin(n.run.ctx)
	if err := n.start(ctx); err != nil {
		return err
	}
	var last error
	_, err := policy.Turn(ctx, policy.Ask{}, func(ctx context.Context, _ *policy.Attempt) (struct{}, error) {
		last = n.run.safely(n.name, func() error { return n.sink.Write(ctx, batch) })
		return struct{}{}, last
	})
	if err != nil && last != nil && n.stopped(err) && !again(last) {
		return last // and not that the run was stopped meanwhile
	}
	return err
}

// again reports whether an error is one after which another attempt is made.
func again(err error) bool {
	class, _ := pipeline.Classify(err)
	return class == pipeline.ClassTransient || class == pipeline.ClassRefused
}

// stopped reports whether an error only says that the run was stopped hard.
func (n *sinkNode) stopped(err error) bool {
	return n.run.ctx.Err() != nil && errors.Is(err, pipeline.ErrStopped) || cutOff(n.run.ctx, err)
}

// refuse ends a record that the sink does not take.
func (n *sinkNode) refuse(r *pipeline.Record, m member, err error) {
	stopped := n.stopped(err)
	if n.how == deadLettered && !stopped {
		n.run.failKeeping(fmt.Errorf("%s: dead letter of %s: %w", n.name, r.ID(), err))
	}
	if n.how == deadLettered || n.broken || stopped {
		n.end([]member{m}, unfinished)
		return
	}
	r.SetTicket(m.leaf)
	n.run.tracker.arrived.Add(-1) // it counts as a dead letter
	n.run.bury(r, n.name, err, 1)
	if n.run.dead == nil { // it has ended
		defer n.run.keeper.committing()()
		n.run.keeper.forgetRefused([]member{m})
	}
}

func (n *sinkNode) end(leaves []member, how ending) {
	n.run.settled(n.run.tracker.settleLeaves(how, leaves...))
}

// commit makes durable what was written; only then has it ended. It returns when it asked the
// sink; zero if it did not.
func (n *sinkNode) commit() (asked time.Time) {
	if n.torn() {
		n.end(n.taken, unfinished)
		n.forgetTaken()
	} else if len(n.taken) > 0 || past(n.wake) {
		asked = time.Now()
		n.commitAll(nil)
	}
	return asked
}

// torn reports whether some of several sinks may have taken a batch that another has failed
// with. It comes again in the run that goes on, which cuts them back to the commit before it.
func (n *sinkNode) torn() bool {
	_, several := n.sink.(pipeline.Router)
	return n.broken && several && n.run.keeper != nil
}

// commitAll commits even if nothing was taken; beside what was, some sinks have refused these.
func (n *sinkNode) commitAll(refused refusals) {
	ctx, cancel := n.run.uncancelled()
	defer cancel()
	defer n.run.keeper.committing()()
	how := n.how
	var at pipeline.Position
	err := n.run.safely(n.name, func() (err error) {
		at, err = n.sink.Commit(ctx)
		return err
	})
	if err != nil { // the last checkpoint names the commit before
		n.broken, how = true, unfinished
		n.run.failKeeping(fmt.Errorf("%s: %w", n.name, err))
	} else {
		n.at.Position = at
		n.run.keeper.forgetRefused(n.taken)
		n.run.keeper.refuse(refused)
	}
	n.end(n.taken, how)
	n.forgetTaken()
}

func (n *sinkNode) forgetTaken() {
	clear(n.taken)
	n.taken = n.taken[:0]
}

// close releases the sink. Its error fails the run: a compressed file may lack its end.
func (n *sinkNode) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if _, starts := n.sink.(pipeline.Starter); starts && !n.started {
		if _, several := n.sink.(pipeline.Router); !several { // one of them may begin unstarted
			return // there is nothing to release
		}
	}
	ctx, cancel := n.run.uncancelled()
	defer cancel()
	err := n.run.safely(n.name, func() error { return n.sink.Close(ctx) })
	if err != nil {
		n.run.fail(fmt.Errorf("%s: %w", n.name, err))
	}
}
