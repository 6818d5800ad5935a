package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Stats say what is in a cache.
type Stats struct {
	// Values is how many there are.
	Values int64
	// Bytes is what they take, their keys included.
	Bytes int64
	// FileBytes is what the file takes on the disk.
	FileBytes int64
	// Oldest and Newest are when values were put; zero if there are none.
	Oldest, Newest time.Time
}

func (s *Stats) add(at time.Time, size int64) {
	s.Values++
	s.Bytes += size
	if s.Oldest.IsZero() || at.Before(s.Oldest) {
		s.Oldest = at
	}
	if at.After(s.Newest) {
		s.Newest = at
	}
}

// Stats counts what is in the cache on the disk. It reads all of it.
func (f *File) Stats() (Stats, error) {
	var s Stats
	if err := f.each(func(_, sealed []byte, size int64) error { s.add(putAt(sealed), size); return nil }); err != nil {
		return Stats{}, err
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return Stats{}, fmt.Errorf("cache %s: %w", f.path, err)
	}
	s.FileBytes = info.Size()
	return s, nil
}

// errUse is an error of what is done with a value, which is not the file's.
type errUse struct{ error }

// each calls use with every value on the disk, in the order of the keys.
func (f *File) each(use func(key, sealed []byte, size int64) error) error {
	err := f.guarded(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			if b == nil {
				return nil // new
			}
			return b.ForEach(func(key, sealed []byte) error {
				if !sound(key, sealed) {
					return errors.New("a value does not match its checksum")
				}
				if err := use(key, sealed, int64(len(key)+len(sealed))); err != nil {
					return errUse{err}
				}
				return nil
			})
		})
	})
	var used errUse
	switch {
	case errors.As(err, &used):
		return fmt.Errorf("cache %s: %w", f.path, used.error)
	case err != nil:
		return f.explain(err)
	}
	return nil
}

// Bounds say what may stay in a cache. The zero Bounds let everything stay.
type Bounds struct {
	// Since is the time since which a value must have been put.
	Since time.Time
	// Bytes is how much the values may take, their keys included; the oldest go first.
	// Negative is no bound.
	Bytes int64
}

// Prune removes from the cache at path what is out of bounds, and returns what there
// was and what is left. What stays is copied into a new file, which then takes the
// place of the old one: a kill leaves one of the two, whole.
func Prune(path string, b Bounds) (before, after Stats, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the file is to be replaced, not the link
	}
	old, err := OpenExisting(path, false)
	if err != nil {
		return before, after, err
	}
	defer func() { err = errors.Join(err, old.Close()) }() // last: whoever waits for it sees the new one
	if before, err = old.Stats(); err != nil {
		return before, after, err
	}
	since, err := old.since(b)
	if err != nil {
		return before, after, err
	}
	after, err = old.replace(since)
	return before, after, err
}

// since returns the time since which values stay.
func (f *File) since(b Bounds) (time.Time, error) {
	type one struct {
		at   int64
		size int64
	}
	var all []one
	if b.Bytes < 0 {
		return b.Since, nil
	}
	err := f.each(func(_, sealed []byte, size int64) error {
		all = append(all, one{putAt(sealed).UnixNano(), size})
		return nil
	})
	slices.SortFunc(all, func(a, b one) int { return int(min(1, max(-1, b.at-a.at))) }) // the newest first
	var sum int64
	for _, o := range all {
		if sum += o.size; sum > b.Bytes { // and all that are as old
			if at := time.Unix(0, o.at+1); at.After(b.Since) {
				return at, err
			}
			break
		}
	}
	return b.Since, err
}

// replace puts a file in the place of this one that has only what was put since.
func (f *File) replace(since time.Time) (after Stats, err error) {
	temporary := f.path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return after, fmt.Errorf("cache %s: %w", f.path, err) // one that a kill left
	}
	next, err := Open(temporary)
	if err != nil {
		return after, err
	}
	err = f.copyTo(next, since)
	if err == nil {
		after, err = next.Stats()
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(temporary, f.path)
	}
	if err != nil {
		return Stats{}, errors.Join(err, os.Remove(temporary))
	}
	return after, nil
}

// copyTo copies what was put since, a few megabytes a transaction.
func (f *File) copyTo(next *File, since time.Time) error {
	const most = 4 << 20
	batch, bytesOf := map[Key][]byte{}, int64(0)
	flush := func() error {
		err := next.commit(batch)
		clear(batch)
		bytesOf = 0
		return err
	}
	err := f.each(func(key, sealed []byte, size int64) error {
		if putAt(sealed).Before(since) {
			return nil
		}
		batch[Key(key)] = bytes.Clone(sealed)
		if bytesOf += size; bytesOf < most {
			return nil
		}
		return flush()
	})
	return errors.Join(err, flush())
}
