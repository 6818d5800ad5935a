package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/known"
	"github.com/rowmill/rowmill/internal/state"
	"github.com/rowmill/rowmill/pipeline"
)

// doneMark is how far the file of the rows that are done reaches.
type doneMark struct {
	// Key is the field by which they are known.
	Key  string `json:"key"`
	Size int64  `json:"size"`
}

// doneFile is which rows of a source with a key are done, in a file that only grows: so
// that [Options.New] can leave them out whatever has become of the source. A row is done
// once all that was made of it has ended, unless everything failed and there is not even
// a dead letter of it: what can be run again by its dead letters must not be paid for
// as a new row too.
type doneFile struct {
	key     string
	file    fsys.File
	size    int64
	pending []known.ID // of rows that have ended since
	frames  []byte     // scratch
}

// openDone opens the file, cut to what it was at the checkpoint. A run without a key has
// none, nor has one that was begun by a program which did not know of it.
func (k *keeper) openDone(at *doneMark) error {
	key := k.run.pipeline.Key
	if key == "" || k.run.behind != nil || k.resumed && at == nil { // --new cannot be had with parts
		return nil
	}
	f := &doneFile{key: key}
	if at != nil {
		f.size = at.Size
	}
	var err error
	path := filepath.Join(k.dir, state.DoneName)
	if f.file, err = k.fs.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	k.done = f
	info, err := f.file.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() < f.size:
		return fmt.Errorf("%s has %d bytes and should have %d; --fresh starts over", path, info.Size(), f.size)
	}
	return errors.Join(f.file.Truncate(f.size), k.fs.SyncDir(k.dir))
}

// knownRows reads which rows are done.
func (k *keeper) knownRows() (*known.Set, error) {
	at := k.previous.Done
	path := filepath.Join(k.dir, state.DoneName)
	file, err := k.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("the rows that are done: %w; --fresh starts over", err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() < at.Size {
		err = fmt.Errorf("it has %d bytes and should have %d", info.Size(), at.Size)
	}
	var rows *known.Set
	if err == nil {
		rows, err = known.Read(io.NewSectionReader(file, 0, at.Size), at.Size)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w; --fresh starts over", path, err)
	}
	return rows, nil
}

// save makes durable which rows have ended. What could not be written is written by the
// next that saves.
func (f *doneFile) save(c *checkpoint) error {
	if f == nil {
		return nil
	}
	if len(f.pending) > 0 {
		f.frames = known.AppendFrames(f.frames[:0], f.pending)
		if err := f.write(); err != nil {
			return fmt.Errorf("the rows that are done: %w", err)
		}
		f.size += int64(len(f.frames))
		f.pending = f.pending[:0]
	}
	c.Done = &doneMark{Key: f.key, Size: f.size}
	return nil
}

func (f *doneFile) write() error {
	if _, err := f.file.Seek(f.size, io.SeekStart); err != nil {
		return err
	}
	if n, err := f.file.Write(f.frames); err != nil || n < len(f.frames) {
		return errors.Join(io.ErrShortWrite, err)
	}
	return f.file.Sync()
}

// take adds the rows that have ended; the caller holds the tracker's lock.
func (f *doneFile) take(rows *rows) {
	if f != nil {
		f.pending = append(f.pending, rows.done...)
		rows.done = rows.done[:0]
	}
}

func (f *doneFile) mark() *doneMark {
	if f == nil {
		return nil
	}
	return &doneMark{Key: f.key, Size: f.size}
}

func (f *doneFile) close() error {
	if f == nil {
		return nil
	}
	return f.file.Close()
}

// beginNew makes of a finished run what one for new rows goes on with: its rows are read
// from the first on, and are others to the engine than those of the run.
func (c *checkpoint) beginNew(identity string, shape map[string]string) {
	next := c.Source.Next
	c.New, c.Shape = true, shape
	c.Source = sourceMark{Identity: identity, Next: next, Base: next, From: next}
}

// onlyNew reports whether rows that are known are passed by.
func (k *keeper) onlyNew() bool { return k != nil && k.old != nil }

// checkNew refuses what a run for new rows needs and does not have.
func checkNew(p pipeline.Pipeline, o Options) error {
	switch {
	case !o.New:
		return nil
	case p.Key == "":
		return errors.New("--new knows a row by its key: name the field beside the source, as in source: {..., key: id}")
	case o.Fresh:
		return errors.New("--new goes on with what is there, and --fresh starts over: choose one")
	case o.State == "":
		return errors.New("--new needs the state of the run, which is not kept; name a folder for it with --state or `state:`")
	default:
		return nil
	}
}

// keyOfKeys is the path of the key by which rows are known, in a fingerprint.
const keyOfKeys = "source.key"

// ofPlace reports whether a key of a fingerprint says where the rows come from, and not
// how they are known.
func ofPlace(key string) bool {
	known := key == keyOfKeys || strings.HasPrefix(key, "sources[") && strings.HasSuffix(key, "].key")
	return !known && (strings.HasPrefix(key, "source") || key == "merge")
}

// checkDone refuses to tell new rows from old ones where that was not noted.
func (k *keeper) checkDone() error {
	if k.previous.Done == nil {
		return fmt.Errorf("the run in %s did not note which rows are done: it had no `key`, or an earlier version of this program began it; --new can go on only with runs that did; "+
			"rows that were only added behind are done without --new, --fresh starts over", k.dir)
	}
	return nil
}

// readKnown readies a run for new rows, be it one that begins or one that goes on.
func (k *keeper) readKnown() (err error) {
	begins := k.run.options.New && k.previous.Finished
	if k.previous.New = begins || k.previous.New && !k.previous.Finished; !k.previous.New {
		return nil
	}
	if begins {
		if err := k.checkDone(); err != nil {
			return err
		}
		k.begins = true
		k.previous.beginNew(k.identity, k.shape)
		k.run.estimateFrom = k.previous.Counts.Read
	}
	k.old, err = k.knownRows()
	return err
}

// waysOn says what can be done about a source that has changed.
func (k *keeper) waysOn() string {
	switch {
	case k.previous.Finished && k.previous.Done != nil:
		return "--new takes the rows that are new or have changed, --fresh starts over"
	case !k.previous.Finished && k.previous.Done != nil:
		return "put it back and run it to its end, then --new takes the rows that are new or have changed; --fresh starts over"
	default:
		return "--fresh starts over"
	}
}

// withoutState says of an output that is there, and of which nothing is known, what a run
// for new rows can do.
func (k *keeper) withoutState(err error) error {
	if !k.run.options.New {
		return err
	}
	return fmt.Errorf("--new finds no state in %s that says which rows are in the output: name the folder of the run that wrote it with --state, or choose another output: %w", k.dir, err)
}

// idOf returns what a row is known by, if that is noted.
func (k *keeper) idOf(r *pipeline.Record, scratch *[]byte) known.ID {
	if k == nil || !k.run.tracker.rows.noted {
		return known.ID{}
	}
	*scratch = r.AppendJSON((*scratch)[:0])
	return known.IDOf(r.Key(), *scratch)
}
