// Package cache keeps values from run to run in a file, each under a digest of
// what it depends on. It is the only package that imports bbolt.
//
// A value that was put is found at once; it reaches the disk a moment later, together
// with all that were put meanwhile, so that nobody waits for the disk. A kill loses
// only those last ones, and leaves a file that is whole.
package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// patience is how long it is waited for another process that has the file open.
	patience = time.Second
	// mostPending bounds the bytes that wait for the disk; then Put waits too.
	mostPending = 16 << 20
	// header is the time (Unix nanoseconds) and the checksum before each value.
	header = 8 + 4
	// bucket holds the values. Another format gets another name.
	bucket = "values 1"
)

// Key is a digest of all that a value depends on.
type Key [sha256.Size]byte

// File is an open cache, for one process at a time and several goroutines.
type File struct {
	path string // as the user wrote it
	file *os.File
	db   *bolt.DB

	panicked atomic.Bool // bbolt did, and may still hold its locks

	mu      sync.Mutex
	changed sync.Cond
	pending map[Key][]byte // not being written yet, with header
	writing map[Key][]byte
	bytes   int   // of pending
	busy    bool  // somebody writes
	err     error // of the write that failed; nothing is written after it
}

// Open opens the cache at path, and makes it (mode 0600) and its folder if they are
// not there. An error names path and says what to do: the file is open in another
// process, is damaged, or is something else than a cache, which it then stays.
func Open(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cache %s: %w", path, err)
	}
	return open(path, false)
}

// OpenExisting is Open for a file that must be there already.
func OpenExisting(path string, readOnly bool) (*File, error) {
	if _, err := os.Stat(path); err != nil {
		if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
			err = failed.Err // which path it is comes first
		}
		return nil, fmt.Errorf("cache %s: %w", path, err)
	}
	return open(path, readOnly)
}

func open(path string, readOnly bool) (*File, error) {
	f := &File{path: path, pending: map[Key][]byte{}}
	f.changed.L = &f.mu
	var err error
	for range 3 { // until it is the file at path, which Prune may have replaced while it was waited for
		var replaced bool
		if replaced, err = f.open(readOnly); err != nil {
			return nil, err
		}
		if !replaced {
			return f, nil
		}
	}
	return nil, fmt.Errorf("cache %s: is being replaced all the time; use another file", path)
}

// open opens the file once. It may turn out to be no longer the one at its path.
func (f *File) open(readOnly bool) (replaced bool, err error) {
	f.file = nil
	err = f.guarded(func() (err error) {
		f.db, err = bolt.Open(f.path, 0o600, &bolt.Options{
			Timeout: patience, ReadOnly: readOnly, PreLoadFreelist: true, FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				f.file, err = os.OpenFile(name, flag, mode)
				return f.file, err
			},
		})
		return err
	})
	if err != nil {
		if f.file != nil {
			_ = f.file.Close() // bbolt has done so, unless it panicked
		}
		return false, f.explain(err)
	}
	here, hereErr := f.file.Stat()
	there, thereErr := os.Stat(f.path)
	if err := errors.Join(hereErr, thereErr); err != nil || !os.SameFile(here, there) {
		return true, f.db.Close()
	}
	if err := f.guarded(func() error { return f.prepare(readOnly) }); err != nil {
		return false, errors.Join(f.explain(err), f.close())
	}
	return false, nil
}

// errForeign says that the file is bbolt's, but not of this package.
var errForeign = errors.New("it holds something else")

// prepare makes the bucket in a new file, and refuses files of others.
func (f *File) prepare(readOnly bool) error {
	var there, foreign bool
	err := f.db.View(func(tx *bolt.Tx) error {
		there = tx.Bucket([]byte(bucket)) != nil
		name, _ := tx.Cursor().First()
		foreign = name != nil
		return nil
	})
	switch {
	case err != nil || there:
		return err
	case foreign:
		return errForeign
	case readOnly:
		return nil
	}
	return f.db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(bucket))
		return err
	})
}

// explain makes a message for the user of an error of bbolt's.
func (f *File) explain(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("cache %s: is open in another run; wait until that has ended, or use another file: %w", f.path, err)
	case errors.Is(err, errForeign):
		return fmt.Errorf("cache %s: is no cache of rowmill; use another file: %w", f.path, err)
	case errors.As(err, &path):
		return fmt.Errorf("cache %s: %w", f.path, err)
	default:
		return fmt.Errorf("cache %s: is damaged, or no cache; delete it (what was kept will be asked for again), or use another file: %w", f.path, err)
	}
}

// Get returns the value of a key, and whether there is one. The error is of the
// file, which is damaged, or of an earlier write that failed: a disk may be full.
func (f *File) Get(key Key) (value []byte, found bool, err error) {
	f.mu.Lock()
	kept := f.pending[key]
	if kept == nil {
		kept = f.writing[key]
	}
	err = f.err
	f.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	if kept != nil {
		return slices.Clone(kept[header:]), true, nil
	}
	err = f.guarded(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			kept := tx.Bucket([]byte(bucket)).Get(key[:])
			if kept == nil {
				return nil
			}
			if !sound(key[:], kept) {
				return errors.New("a value does not match its checksum")
			}
			value, found = slices.Clone(kept[header:]), true // tx owns kept
			return nil
		})
	})
	if err != nil {
		return nil, false, f.explain(err)
	}
	return value, found, nil
}

// seal puts time and checksum before a value.
func seal(key Key, value []byte, at time.Time) []byte {
	b := make([]byte, header, header+len(value))
	binary.BigEndian.PutUint64(b, uint64(at.UnixNano()))
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[8:], checksum(key[:], b))
	return b
}

func checksum(key, sealed []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli) // made once
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, sealed[:8])
	return crc32.Update(sum, castagnoli, sealed[header:])
}

func sound(key, sealed []byte) bool {
	return len(sealed) >= header && binary.BigEndian.Uint32(sealed[8:]) == checksum(key, sealed)
}

func putAt(sealed []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(sealed)))
}

// Put keeps a value, in place of an earlier one. A write that fails is the error of
// every later Get, and of Close: the value at hand is worth something without it.
func (f *File) Put(key Key, value []byte) {
	sealed := seal(key, value, time.Now())
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.err == nil && f.bytes > mostPending {
		f.changed.Wait()
	}
	if f.err != nil {
		return
	}
	f.bytes += len(key) + len(sealed) - len(f.pending[key])
	f.pending[key] = sealed
	if !f.busy {
		f.busy = true
		go f.write()
	}
}

// write writes until nothing is pending.
func (f *File) write() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.pending) > 0 && f.err == nil {
		f.writing, f.pending, f.bytes = f.pending, map[Key][]byte{}, 0
		f.changed.Broadcast()
		f.mu.Unlock()
		err := f.commit(f.writing) // nobody else sets it
		f.mu.Lock()
		f.writing = nil
		if err != nil {
			f.err = fmt.Errorf("cache %s: write: %w", f.path, err)
		}
	}
	f.busy = false
	f.changed.Broadcast()
}

// commit makes a batch durable.
func (f *File) commit(batch map[Key][]byte) error {
	return f.guarded(func() error {
		return f.db.Update(func(tx *bolt.Tx) error { return fill(tx, batch) })
	})
}

// fill puts a batch into the bucket, in the order of the keys, which is the quickest.
func fill(tx *bolt.Tx, batch map[Key][]byte) error {
	b := tx.Bucket([]byte(bucket))
	order := func(a, b Key) int { return cmp.Compare(string(a[:]), string(b[:])) }
	for _, key := range slices.SortedFunc(maps.Keys(batch), order) {
		if err := b.Put(key[:], batch[key]); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what is pending and closes the file. Nothing may be put or got any more.
func (f *File) Close() error {
	f.mu.Lock()
	for f.busy {
		f.changed.Wait()
	}
	err := f.err
	f.mu.Unlock()
	return errors.Join(err, f.close())
}

// close closes the file. After a panic bbolt may hold the locks that it would wait for:
// then the file alone is closed, which lets others open it, and its map stays.
func (f *File) close() error {
	if f.panicked.Load() {
		return f.file.Close()
	}
	return f.db.Close()
}
