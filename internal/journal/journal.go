// Package journal keeps what costing stages returned until a checkpoint covers it: a
// log that is only appended to. An entry outlives a kill of the program from the moment
// Append returns, and a power cut from the next sync on.
package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// Key names an entry: what a stage made of a record.
type Key struct {
	Stage string
	Ref   pipeline.Ref
}

// Entry is what a stage made of a record.
type Entry struct {
	Key
	// Guard tells the record from another that has its Ref in another run.
	Guard uint64
	// Payload is the caller's.
	Payload []byte
}

// Options say where a journal is and how it is kept.
type Options struct {
	FS  fsys.FS
	Dir string
	// SyncEvery is how long an entry may be only in the memory of the operating system.
	// Negative makes it durable before Append returns; 0 means 50ms.
	SyncEvery time.Duration
	// Slack is how many dead bytes are put up with beside twice the live ones; 0 means
	// 16 MiB.
	Slack int64
}

// DefaultSyncEvery is how long an entry may not be durable.
const DefaultSyncEvery = 50 * time.Millisecond

const defaultSlack = 16 << 20

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	o Options

	mu      sync.Mutex
	written sync.Cond // something was written, or will not be
	files   map[int]fsys.File
	first   int   // the oldest file there is
	needed  int   // the oldest one that holds live entries which no newer one does
	last    int   // the one that is written to
	size    int64 // of that
	index   map[Key]place
	live    int64 // bytes of the frames in the index
	total   int64 // bytes of all frames in the files from first on
	err     error // it is broken: nothing more is written

	pending []byte // frames nobody has begun to write
	spare   []byte // a buffer to be used again
	queued  int64  // bytes of all frames that were ever appended
	done    int64  // and of those that are written
	writing bool   // somebody writes
	held    bool   // nobody may append
	timer   *time.Timer
	dirty   bool // something is written and not synced
	syncing bool
	closed  bool
}

// place is where an entry stands.
type place struct {
	guard uint64
	file  int
	at    int64
	size  int
}

func open(o Options) *Journal {
	if o.SyncEvery == 0 {
		o.SyncEvery = DefaultSyncEvery
	}
	if o.Slack == 0 {
		o.Slack = defaultSlack
	}
	j := &Journal{o: o, files: map[int]fsys.File{}, index: map[Key]place{}}
	j.written.L = &j.mu
	return j
}

// Create begins a journal. Files of an older one are removed.
func Create(o Options) (*Journal, error) {
	j := open(o)
	err := j.Delete()
	if err == nil {
		err = j.begin(0)
	}
	if err != nil {
		return nil, errors.Join(err, j.closeFiles())
	}
	return j, nil
}

// begin makes a new file the one that is written to.
func (j *Journal) begin(number int) error {
	file, err := j.o.FS.OpenFile(j.path(number), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	j.files[number], j.last = file, number
	if _, err := file.Write([]byte(fileHead)); err != nil {
		return err
	}
	j.size = int64(len(fileHead))
	return errors.Join(file.Sync(), j.o.FS.SyncDir(j.o.Dir))
}

func (j *Journal) path(number int) string {
	return filepath.Join(j.o.Dir, "journal."+strconv.Itoa(number))
}

var errClosed = errors.New("the journal is closed")

// Append adds an entry, in place of one with the same key. Whoever finds nobody
// writing writes for all who wait. After an error nothing is written any more: what a
// failed write or sync has left is not known.
func (j *Journal) Append(e Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.held && j.err == nil {
		j.written.Wait()
	}
	if err := j.broken(); err != nil {
		return err
	}
	before := len(j.pending)
	j.pending = appendFrame(j.pending, e)
	size := len(j.pending) - before
	if size-headSize > mostLen {
		j.pending = j.pending[:before]
		return fmt.Errorf("an entry of %d bytes is too long", size)
	}
	j.note(e.Key, place{e.Guard, j.last, j.size, size})
	j.size += int64(size)
	j.queued += int64(size)
	return j.reach(j.queued)
}

// reach waits until so many of the queued bytes are written, or writes them.
func (j *Journal) reach(queued int64) error {
	for j.done < queued && j.err == nil {
		if j.writing {
			j.written.Wait()
		} else {
			j.write()
		}
	}
	if j.done < queued {
		return j.err
	}
	return nil
}

func (j *Journal) broken() error {
	if j.closed {
		return errClosed
	}
	return j.err
}

// note enters an entry into the index.
func (j *Journal) note(k Key, p place) {
	if old, ok := j.index[k]; ok {
		j.live -= int64(old.size)
	}
	j.index[k] = p
	j.live += int64(p.size)
	j.total += int64(p.size)
}

// write writes what is pending. The lock is held before and after, not meanwhile.
func (j *Journal) write() {
	j.writing = true
	j.mu.Unlock()
	runtime.Gosched() // whoever else is ready appends first, and is written along
	j.mu.Lock()
	if j.err != nil { // a sync failed meanwhile: nothing is written any more
		j.writing = false
		j.written.Broadcast()
		return
	}
	batch, file := j.pending, j.files[j.last]
	j.pending, j.spare, j.writing = j.spare[:0], nil, true
	j.mu.Unlock()
	_, err := file.Write(batch)
	if err == nil && j.o.SyncEvery < 0 {
		err = file.Sync()
	}
	j.mu.Lock()
	j.writing = false
	if j.spare = batch[:0]; cap(batch) > 4<<20 {
		j.spare = nil
	}
	if err != nil {
		j.breaks(err)
	} else {
		j.done += int64(len(batch))
		j.later()
	}
	j.written.Broadcast()
}

func (j *Journal) breaks(err error) {
	if j.err == nil {
		j.err = err
	}
	j.written.Broadcast()
}

// later sees to it that what was written becomes durable.
func (j *Journal) later() {
	if j.o.SyncEvery < 0 || j.dirty {
		return
	}
	j.dirty = true
	if j.timer == nil {
		j.timer = time.AfterFunc(j.o.SyncEvery, j.sync)
	} else {
		j.timer.Reset(j.o.SyncEvery)
	}
}

// sync makes durable what was written. It holds up nobody who appends.
func (j *Journal) sync() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.syncWritten()
	}
}

// syncWritten makes durable what was written by now. The lock is held before and after,
// not meanwhile.
func (j *Journal) syncWritten() {
	for j.syncing {
		j.written.Wait()
	}
	if !j.dirty || j.err != nil {
		return
	}
	file := j.files[j.last]
	j.dirty, j.syncing = false, true
	j.mu.Unlock()
	err := file.Sync()
	j.mu.Lock()
	j.syncing = false
	if err != nil {
		j.breaks(fmt.Errorf("%s: %w", file.Name(), err))
	}
	j.written.Broadcast()
}

// Lookup returns the payload of an entry, if there is one with that guard.
func (j *Journal) Lookup(k Key, guard uint64) (payload []byte, ok bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p, known := j.index[k]
	if !known || p.guard != guard {
		return nil, false, nil
	}
	frame := make([]byte, p.size)
	if _, err := j.files[p.file].ReadAt(frame, p.at); err != nil {
		return nil, false, fmt.Errorf("%s: %w", j.path(p.file), err)
	}
	e, _, err := readFrame(frame)
	if err != nil || e.Key != k {
		return nil, false, &CorruptError{j.path(p.file), p.at}
	}
	return e.Payload, true, nil
}

// Size is how many bytes the files have that are needed.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.total
}

// Forget lets go of the entries of which settled says that nobody will ask for them, and
// of the files older than the checkpoint needs: that is durable. If that leaves too many
// dead bytes, the live ones move to a new file, which [Journal.Mark] names from then on.
func (j *Journal) Forget(checkpoint int, settled func(pipeline.Ref) bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.hold()()
	if err := j.broken(); err != nil {
		return err
	}
	for k, p := range j.index {
		if settled(k.Ref) {
			j.live -= int64(p.size)
			delete(j.index, k)
		}
	}
	if err := j.drop(checkpoint); err != nil {
		return err
	}
	if j.first < j.needed || j.total-j.live <= 2*j.live+j.o.Slack {
		return nil
	}
	if err := j.compact(); err != nil {
		j.breaks(err)
		return err
	}
	return nil
}

// hold waits until nobody writes or syncs, and everything pending is written, and lets
// nobody append until release.
func (j *Journal) hold() (release func()) {
	for j.held {
		j.written.Wait()
	}
	j.held = true
	j.idle()
	return func() {
		j.held = false
		j.written.Broadcast()
	}
}

func (j *Journal) idle() {
	for j.err == nil && (j.writing || j.syncing || len(j.pending) > 0) {
		if !j.writing && !j.syncing {
			j.write()
		} else {
			j.written.Wait()
		}
	}
}

// drop removes the files in front of the one a checkpoint names.
func (j *Journal) drop(checkpoint int) error {
	for ; j.first < min(checkpoint, j.needed); j.first++ {
		if j.files[j.first] == nil {
			continue
		}
		err := errors.Join(j.files[j.first].Close(), j.o.FS.Remove(j.path(j.first)))
		delete(j.files, j.first)
		if err != nil {
			return err
		}
	}
	return nil
}

// compact copies the live entries to a new file, in the order in which they were
// written.
func (j *Journal) compact() error {
	keys := j.inOrder()
	// What is torn in a file that another follows is damage, and no crash.
	if err := j.files[j.last].Sync(); err != nil {
		return err
	}
	if err := j.begin(j.last + 1); err != nil {
		return err
	}
	var buffer []byte
	for _, k := range keys {
		p := j.index[k]
		at := len(buffer)
		buffer = append(buffer, make([]byte, p.size)...)
		if _, err := j.files[p.file].ReadAt(buffer[at:], p.at); err != nil {
			return err
		}
		j.index[k] = place{p.guard, j.last, j.size, p.size}
		j.size += int64(p.size)
		if len(buffer) > 1<<20 {
			if _, err := j.files[j.last].Write(buffer); err != nil {
				return err
			}
			buffer = buffer[:0]
		}
	}
	if _, err := j.files[j.last].Write(buffer); err != nil {
		return err
	}
	if err := j.files[j.last].Sync(); err != nil {
		return err
	}
	j.needed, j.total, j.dirty = j.last, j.live, false
	return nil
}
