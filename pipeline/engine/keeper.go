package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/journal"
	"github.com/rowmill/rowmill/internal/known"
	"github.com/rowmill/rowmill/internal/state"
	"github.com/rowmill/rowmill/pipeline"
)

// checkpointEvery is how often a checkpoint is taken where nothing is said, and
// checkpointBytes of the journal after which one is taken at once.
const (
	checkpointEvery = time.Second
	checkpointBytes = 16 << 20
)

// keeper keeps what a run needs to go on after it was killed, in a folder of its own:
// the answers that were paid for, and from time to time how far everything got.
type keeper struct {
	run  *run
	fs   fsys.FS
	dir  string
	lock *state.Lock

	previous checkpoint // of the run that this one goes on with
	resumed  bool       // there is one
	begins   bool       // it is finished, and this one looks for rows that are new
	begun    bool       // everything is ready, rows may be passed on
	change   pipeline.Change

	journal  *journal.Journal
	states   []*stateFile // of the stages that remember
	done     *doneFile    // the rows that are done; nil if they are not noted
	old      *known.Set   // rows that are passed by; nil unless the run is for new ones
	replayed atomic.Int64 // outcomes taken from the journal

	// commit is held while a sink commits and what it committed ends, and while both
	// are noted for a checkpoint: so that they are of the same moment.
	commit  sync.Mutex
	refused refusals // of several sinks, that have not ended; under commit

	taking       sync.Mutex        // one checkpoint at a time
	changes      atomic.Int64      // commits and answers so far
	checkpointed int64             // how many of them the last checkpoint knows
	usageNoted   int64             // and what the journal knows of the usage
	identity     string            // of the source
	shape        map[string]string // see checkpoint

	appended     atomic.Int64  // bytes of answers since the last checkpoint, about
	journalGrown chan struct{} // size 1: a token says that they are many
}

// openKeeper takes the folder for this run, and reads what an earlier one left there.
func (r *run) openKeeper(ctx context.Context) (*keeper, error) {
	k := &keeper{run: r, fs: r.options.fs(), dir: r.options.State, journalGrown: make(chan struct{}, 1)}
	var err error
	if k.lock, err = state.Take(k.fs, k.dir); err != nil {
		return nil, err
	}
	r.sink.spool(k.dir)
	if r.dead != nil {
		r.dead.spool(r.outermost().options.State)
	}
	if err = k.read(ctx); err != nil {
		return nil, errors.Join(err, k.lock.Release())
	}
	return k, nil
}

// begin makes the folder ready and then the sinks, before the first row is passed on.
func (k *keeper) begin(ctx context.Context) error {
	var err error
	if k.resumed {
		err = k.goOn(ctx)
	} else if err = k.startAnew(ctx); err == nil {
		if err = k.firstSinks(ctx); err != nil {
			err = errors.Join(err, k.forget()) // nothing was written: there is nothing to go on with
		}
	}
	k.begun = err == nil
	return err
}

// firstSinks readies the sinks of a run that begins.
func (k *keeper) firstSinks(ctx context.Context) error {
	if at := k.run.options.appendFrom; at != nil {
		return k.run.rewindSinks(ctx, *at, sinkMark{})
	}
	return k.run.readySinks(ctx, k.run.options.Fresh)
}

// startAnew writes a checkpoint at zero before anything is written or cut.
func (k *keeper) startAnew(ctx context.Context) error {
	if !k.run.options.Fresh && k.run.options.appendFrom == nil {
		if err := k.run.prepareSinks(ctx); err != nil {
			return k.withoutState(err)
		}
	}
	err := errors.Join(state.Clear(k.fs, k.dir), k.clearParts())
	if sub := filepath.Join(k.dir, retryFolder); err == nil && k.run.options.Fresh {
		if err = state.Clear(k.fs, sub); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		k.journal, err = journal.Create(k.journalOptions())
	}
	if err == nil {
		err = k.openStates(nil)
	}
	if err == nil {
		err = k.openDone(nil)
	}
	if err == nil {
		err = k.write(k.first())
	}
	if err != nil {
		return fmt.Errorf("state in %s: %w", k.dir, err)
	}
	return nil
}

// first is the checkpoint of a run that has not begun.
func (k *keeper) first() checkpoint {
	c := checkpoint{
		Version: checkpointVersion, Name: k.run.pipeline.Name, Shape: k.shape,
		Source: sourceMark{Identity: k.identity}, Done: k.done.mark(), New: k.old != nil,
	}
	if at := k.run.options.appendFrom; at != nil {
		c.Sink = *at
	}
	return c
}

// goOn cuts everything back to the checkpoint.
func (k *keeper) goOn(ctx context.Context) error {
	var torn journal.Torn
	var err error
	if k.previous.Finished {
		k.journal, err = journal.Create(k.journalOptions())
	} else {
		k.journal, torn, err = journal.Open(k.journalOptions(), k.previous.Journal)
		if err == nil {
			err = k.readUsage()
		}
	}
	if err == nil {
		err = k.openStates(k.previous.States)
	}
	if err == nil {
		err = k.openDone(k.previous.Done)
	}
	if err != nil {
		return fmt.Errorf("state in %s: %w", k.dir, err)
	}
	if torn.Whole {
		k.run.log.Warn("the end of the journal was torn: answers of its last moments are asked for again",
			slog.String("file", torn.Path), slog.Int64("byte", torn.Offset), slog.Int64("cut", torn.Bytes))
	}
	if err := k.restrict(); err != nil {
		return err
	}
	if err := k.run.rewindSinks(ctx, k.previous.Sink, k.previous.DeadLetter); err != nil {
		return err
	}
	if k.previous.Finished { // it was, and is not any more
		k.previous.Finished, k.previous.Journal = false, journal.Mark{}
		return k.write(k.previous)
	}
	if k.run.before != nil && k.previous.Source.Next == 0 {
		return nil // it is the part before that goes on
	}
	k.run.log.Info("going on with an earlier run", slog.Int64("rows done", k.previous.Counts.Read),
		slog.Uint64("rows begun", k.previous.Source.open()))
	return nil
}

func (k *keeper) journalOptions() journal.Options {
	return journal.Options{FS: k.fs, Dir: k.dir, SyncEvery: k.run.options.SyncEvery}
}

// work takes checkpoints, and notes the usage between them, until done is closed.
func (k *keeper) work(done <-chan struct{}) {
	tick, usage := time.NewTicker(cmp.Or(max(0, k.run.options.CheckpointEvery), checkpointEvery)), time.NewTicker(usageEvery)
	defer tick.Stop()
	defer usage.Stop()
	for {
		select {
		case <-done:
			return
		case <-usage.C:
			if err := k.noteUsage(); err != nil {
				k.run.fail(pipeline.Fatal("journal", fmt.Errorf("journal: %w", err)))
				return
			}
			continue
		case <-tick.C:
		case <-k.journalGrown:
		}
		k.appended.Store(0)
		if k.changes.Load() == k.checkpointed && !k.run.tracker.owes() {
			continue
		}
		if err := k.take(false); err != nil {
			k.run.fail(err)
			return
		}
	}
}

// take takes a checkpoint.
func (k *keeper) take(finished bool) error {
	k.taking.Lock()
	defer k.taking.Unlock()
	at := k.changes.Load()
	c, settled, covered := k.note()
	c.Finished = finished
	err := k.saveStates(&c)
	if err == nil {
		err = k.done.save(&c)
	}
	if err == nil {
		c.Journal, err = k.journal.Mark()
	}
	if err == nil {
		err = k.write(c)
	}
	if err != nil {
		k.run.tracker.uncover(covered)
		return pipeline.Fatal("state", fmt.Errorf("state in %s: %w", k.dir, err))
	}
	k.checkpointed = at
	if err := k.run.publish(c); err != nil {
		k.run.tracker.uncover(covered)
		return err
	}
	k.run.tracker.teller.add(covered...)
	if err := k.journal.Forget(c.Journal.File, settled); err != nil {
		return pipeline.Fatal("state", fmt.Errorf("state in %s: %w", k.dir, err))
	}
	return nil
}

// note returns how far everything got at one moment, which entries of the journal are of
// no use any more then, and who is to be told once the checkpoint is durable.
func (k *keeper) note() (c checkpoint, settled func(pipeline.Ref) bool, covered []notice) {
	k.commit.Lock()
	defer k.commit.Unlock()
	c = k.first()
	c.Source, c.Counts, covered = k.run.tracker.mark(k.done)
	c.Source.Identity = k.identity
	c.Sink = k.run.sink.mark()
	if k.run.dead != nil {
		c.DeadLetter = k.run.dead.mark()
	}
	c.Refused = k.refused.marks()
	c.Usage = k.run.usage()
	c.Elapsed = k.previous.Elapsed + time.Since(k.run.began)
	return c, c.Source.settled(), covered
}

func (k *keeper) write(c checkpoint) error {
	data, err := c.encode()
	if err != nil {
		return err
	}
	return state.WriteCheckpoint(k.fs, k.dir, data)
}

// end takes the last checkpoint, and gives the folder back.
func (k *keeper) end() {
	var err error
	finished := k.begun && k.run.complete()
	if finished && k.run.publishes() { // what is not shown yet keeps the run from being finished
		err = k.take(false)
	}
	if k.begun && err == nil {
		err = k.take(finished)
	}
	err = errors.Join(err, k.closeFiles())
	if err == nil && finished {
		err = k.journal.Delete()
	}
	if err != nil {
		k.run.setFailure(err)
	}
	if err := k.lock.Release(); err != nil {
		k.run.log.Warn("state", slog.String("folder", k.dir), slog.Any("error", err))
	}
}

// forget leaves no state of a run that has not begun.
func (k *keeper) forget() error {
	return errors.Join(k.closeFiles(), state.Clear(k.fs, k.dir))
}

func (k *keeper) closeFiles() error {
	err := errors.Join(k.closeStates(), k.done.close())
	if k.journal != nil {
		err = errors.Join(err, k.journal.Close())
	}
	return err
}

func (k *keeper) append(stage string, ref pipeline.Ref, guard uint64, payload []byte) error {
	err := k.journal.Append(journal.Entry{Key: journal.Key{Stage: stage, Ref: ref}, Guard: guard, Payload: payload})
	k.changes.Add(1)
	if k.appended.Add(int64(len(payload))) >= checkpointBytes {
		notify(k.journalGrown)
	}
	return err
}

func (k *keeper) lookup(stage string, ref pipeline.Ref, guard uint64) ([]byte, bool, error) {
	return k.journal.Lookup(journal.Key{Stage: stage, Ref: ref}, guard)
}

// install has the run's nodes keep what is needed.
func (k *keeper) install() {
	r := k.run
	_, seeks := r.pipeline.Source.(pipeline.Seeker)
	r.tracker.rows = &rows{hashed: !seeks || k.identity == "", deadKept: r.dead != nil, old: k.old}
	r.tracker.rows.noted = r.pipeline.Key != "" && r.behind == nil && (!k.resumed || k.previous.Done != nil)
	r.tracker.rows.enough = func() {
		k.changes.Add(1)
		notify(k.journalGrown)
	}
	if k.resumed {
		r.tracker.resume(k.previous.Source, k.previous.Counts)
		r.deadSoFar.Store(k.previous.Counts.DeadLettered)
	}
	for _, n := range r.stages {
		n.groups = k.groupsOf(n)
		if n.step.Costs {
			n.answers = &answers{stage: n.step.Name, keeper: k}
		}
	}
}

// repeat says of a run that is finished what it said when it was.
func (k *keeper) repeat() {
	k.run.idle = true
	k.run.source.ended.Store(true)
}

// committing is to be called around a commit of a sink and the end of what was
// committed, which belong together.
func (k *keeper) committing() (end func()) {
	if k == nil {
		return func() {}
	}
	k.commit.Lock()
	return func() {
		k.changes.Add(1)
		k.commit.Unlock()
	}
}

// seek has the source begin where no row below is open, and returns the number of the
// row it begins with.
func (k *keeper) seek(ctx context.Context) (uint64, error) {
	if k == nil || !k.resumed {
		return 0, nil
	}
	if m := k.previous.Source; m.Next == m.Base || k.run.tracker.rows.hashed {
		return m.Base, nil
	}
	return k.previous.Source.From, k.run.pipeline.Source.(pipeline.Seeker).Seek(ctx, k.previous.Source.At)
}
