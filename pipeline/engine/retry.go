package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/state"
	"github.com/rowmill/rowmill/pipeline"
)

// Retry says which dead letters are run again.
type Retry struct {
	// DeadLetters is the file that they are in, as JSON lines. The pipeline's own sink for
	// dead letters must write to Again, which then takes its place: it gets those that
	// are not taken, and those that fail again.
	DeadLetters, Again string
	// Class takes those alone whose error is of a class ("transient", "record"); "" takes
	// all.
	Class string
}

// ErrNoDeadLetters is why there is nothing to be run again.
var ErrNoDeadLetters = errors.New("there are no dead letters")

// retryFolder is where the state of a retry is, within that of the run.
const retryFolder = "retry"

// StartRetry runs the dead letters of a finished run again: each enters the stage in
// which it failed, and goes to the same sink, behind what is there. One that is killed
// goes on when it is started again. The pipeline may differ from that of the run, in a
// prompt that was mended for instance, but must have the same sink. The error is why it
// cannot begin.
func StartRetry(ctx context.Context, p pipeline.Pipeline, o Options, retry Retry) (*Execution, error) {
	dir := stateOf(p, o)
	if dir == "" {
		return nil, errors.New("dead letters can be run again only if the run kept its state")
	}
	a := &retrying{retry: retry, dir: dir, sub: filepath.Join(dir, retryFolder), options: o}
	var err error
	if a.lock, err = state.Take(o.fs(), dir); err != nil {
		return nil, err
	}
	e, err := a.start(ctx, p)
	if err != nil {
		return nil, errors.Join(err, a.lock.Release())
	}
	return e, nil
}

// retrying is a retry while it runs.
type retrying struct {
	retry    Retry
	dir, sub string // the folders of the run's state and of its own
	options  Options
	lock     *state.Lock
	run      checkpoint // whose dead letters they are
}

func (a *retrying) start(ctx context.Context, p pipeline.Pipeline) (*Execution, error) {
	if err := a.read(); err != nil {
		return nil, err
	}
	if sub, err := readCheckpoint(a.options, a.sub); err == nil && sub.Finished {
		if err := a.finish(sub); err != nil { // it was killed at its very end
			return nil, err
		}
	}
	if _, err := os.Stat(a.retry.DeadLetters); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDeadLetters, err)
	}
	if err := a.check(ctx, p.Sink); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	source := newDeadLetters(a.retry, p.Sink)
	p.Steps = nameSteps(p.Steps)
	source.cut = onlyLast(&p)
	source.stages["sink"] = len(p.Steps)
	for i, s := range p.Steps {
		if _, foreign := s.Stage.(*foreignStage); foreign {
			return nil, errors.New("a record cannot pass by a go-streams operator, which it would have to")
		}
		source.stages[s.Name] = i
	}
	p.Source, p.SourceName, p.Key = source, "dead letters", ""
	o := a.options
	o.State, o.Fresh, o.New, o.appendFrom = a.sub, false, false, &a.run.Sink
	r, err := newRun(ctx, p, o)
	if err != nil {
		return nil, err
	}
	r.retried, r.atEnd, source.log = source, a.end, r.log
	go r.main(ctx)
	return &Execution{run: r}, nil
}

// check says why a sink cannot take more than it has. One that is no [pipeline.Rewinder]
// takes records by their key, or as they come, and so these too.
func (a *retrying) check(ctx context.Context, sink pipeline.Sink) error {
	if DeliveryOf(sink) == pipeline.NotKept {
		return errors.New("what it is given is not kept, so that nothing can be added to it; run the pipeline anew")
	}
	if r, ok := sink.(pipeline.Rewinder); ok {
		return r.Check(ctx, a.run.Sink.Position)
	}
	return nil
}

// read reads how the run has ended.
func (a *retrying) read() (err error) {
	a.run, err = readCheckpoint(a.options, a.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no run in %s whose dead letters could be run again", a.dir)
	case err != nil:
		return err
	case !a.run.Finished:
		return fmt.Errorf("the run in %s is not finished: run it to its end first", a.dir)
	}
	return nil
}

func readCheckpoint(o Options, dir string) (checkpoint, error) {
	data, err := state.ReadCheckpoint(o.fs(), dir)
	if err != nil {
		return checkpoint{}, err
	}
	c, err := decodeCheckpoint(data)
	if err != nil {
		return c, fmt.Errorf("%s: %w", dir, err)
	}
	return c, nil
}

// end ends a retry whose run has ended.
func (a *retrying) end() error {
	sub, err := readCheckpoint(a.options, a.sub)
	if err == nil && sub.Finished {
		err = a.finish(sub)
	}
	if errors.Is(err, fs.ErrNotExist) { // it did not begin
		err = nil
	}
	return errors.Join(err, a.lock.Release())
}

// finish puts the dead letters that are left in the place of those that were there. The
// checkpoint of the run comes first: it says that the output is longer now. Each step
// may be done again after a kill.
func (a *retrying) finish(sub checkpoint) error {
	if a.run.Sink != sub.Sink || a.run.DeadLetter != sub.DeadLetter {
		a.run.Sink, a.run.DeadLetter = sub.Sink, sub.DeadLetter
		a.run.Counts.add(sub.Counts)
		data, err := a.run.encode()
		if err == nil {
			err = state.WriteCheckpoint(a.options.fs(), a.dir, data)
		}
		if err != nil {
			return fmt.Errorf("state in %s: %w", a.dir, err)
		}
	}
	err := a.options.fs().Rename(a.retry.Again, a.retry.DeadLetters)
	if errors.Is(err, fs.ErrNotExist) && !sub.DeadLetter.Started { // none is left
		if err = a.options.fs().Remove(a.retry.DeadLetters); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) { // it was done before
		err = nil
	}
	if err == nil {
		err = a.options.fs().SyncDir(filepath.Dir(a.retry.DeadLetters))
	}
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	return state.Clear(a.options.fs(), a.sub)
}

// add adds what became of the dead letters, each of which was counted as one.
func (c *Counts) add(more Counts) {
	c.Made += more.Made
	c.Merged += more.Merged
	c.Delivered += more.Delivered
	c.Dropped += more.Dropped
	c.DroppedOnError += more.DroppedOnError
	c.DeadLettered += more.DeadLettered - more.Read
}

// deadLetters is the source of a retry: the records as they entered the stages in which
// they failed.
type deadLetters struct {
	retry  Retry
	stages map[string]int
	cut    map[string]bool // stages in front of one that puts rows together
	log    *slog.Logger
	warned sync.Once // of letters of such stages

	several pipeline.Router // nil for one sink

	mu    sync.Mutex
	enter map[uint64]int      // by row: the stage it enters; -1 if it stays a dead letter
	only  map[uint64][]string // by row: the sinks that have refused it, if others have it
}

func newDeadLetters(retry Retry, sink pipeline.Sink) *deadLetters {
	d := &deadLetters{retry: retry, stages: map[string]int{}, enter: map[uint64]int{}, only: map[uint64][]string{}}
	if several, ok := sink.(pipeline.Router); ok {
		d.several = several
		several.Restrict(d.onlyTo)
	}
	return d
}

// letter is a dead letter; see [pipeline.Pipeline].
type letter struct {
	Record json.RawMessage `json:"record"`
	Error  struct {
		Stage string `json:"stage"`
		Class string `json:"class"`
		// Sinks are those of several that have refused it.
		Sinks []string `json:"sinks"`
	} `json:"error"`
	Source struct {
		Path   string `json:"path"`
		Line   int64  `json:"line"`
		Offset int64  `json:"offset"`
		Key    string `json:"key"`
		Child  string `json:"child"`
	} `json:"source"`
}

// Records reads the dead letters.
func (d *deadLetters) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		file, err := os.Open(d.retry.DeadLetters)
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = file.Close() }() // nothing was written
		stream := codec.Decompress(file, d.retry.DeadLetters, codec.AutoCompression)
		defer func() { _ = stream.Close() }()
		lines := bufio.NewReaderSize(stream, 1<<20)
		for row := uint64(0); ctx.Err() == nil; {
			line, err := lines.ReadBytes('\n')
			if line = bytes.TrimSpace(line); len(line) > 0 {
				r, bad := d.record(row, line)
				if bad != nil {
					yield(nil, fmt.Errorf("%s: line %d: %w", d.retry.DeadLetters, row+1, bad))
					return
				}
				if row++; !yield(r, nil) {
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(nil, err)
				}
				return
			}
		}
	}
}

// record makes of a line the record that failed, or, if it is not to be run again, the
// dead letter itself.
func (d *deadLetters) record(row uint64, line []byte) (*pipeline.Record, error) {
	var l letter
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, fmt.Errorf("it is no dead letter: %w", err)
	}
	stage, known := d.stages[l.Error.Stage]
	if !known || len(l.Record) == 0 || d.retry.Class != "" && l.Error.Class != d.retry.Class {
		stage = -1
	}
	if d.cut[l.Error.Stage] {
		d.warned.Do(func() {
			d.log.Warn("dead letters from in front of a stage that puts rows together stay as they are: what that made is in the output already; run the pipeline with --fresh to have them in it",
				slog.String("stage", l.Error.Stage))
		})
	}
	if stage >= 0 {
		if err := d.restrict(row, l.Error.Sinks); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	d.enter[row] = stage
	d.mu.Unlock()
	body := line
	if stage >= 0 {
		body = l.Record
	}
	r, err := pipeline.ParseRecord(bytes.Clone(body))
	if err != nil {
		return nil, fmt.Errorf("it is no dead letter: %w", err)
	}
	if stage >= 0 {
		r.Ref.Path = l.Source.Child
		r.Origin = pipeline.Origin{Path: l.Source.Path, Line: l.Source.Line, Offset: l.Source.Offset}
		r.SetKey(l.Source.Key)
	}
	return r, nil
}

// stageOf returns which stage a row enters; -1 if it stays a dead letter.
func (d *deadLetters) stageOf(row uint64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.enter[row]
}

// restrict notes that a row is for these sinks alone; none is for all.
func (d *deadLetters) restrict(row uint64, sinks []string) error {
	if len(sinks) == 0 {
		return nil
	}
	if err := stillThere(d.several, sinks); err != nil {
		return err
	}
	d.mu.Lock()
	d.only[row] = sinks
	d.mu.Unlock()
	return nil
}

// onlyTo returns the sinks that a record is still for; nil for those that it would go to anyway,
// which a nil receiver says of all.
func (d *deadLetters) onlyTo(r *pipeline.Record) []string {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.only[r.Ref.Seq]
}

// child is which child of its row a dead letter was; a nil receiver knows of none.
func (d *deadLetters) child(r *pipeline.Record) string {
	if d == nil {
		return ""
	}
	return r.Ref.Path
}
