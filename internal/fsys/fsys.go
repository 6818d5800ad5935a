// Package fsys is the part of a file system that durable files need, as an interface:
// so that a test can lose what was not synced, fail any call, or end the program
// between two of them.
package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is a file system. Paths are those of package os.
type FS interface {
	// OpenFile is [os.OpenFile].
	OpenFile(path string, flag int, perm fs.FileMode) (File, error)
	// Rename is [os.Rename]; it is durable once the folder is synced.
	Rename(from, to string) error
	// Remove is [os.Remove].
	Remove(path string) error
	// MkdirAll is [os.MkdirAll].
	MkdirAll(path string, perm fs.FileMode) error
	// Stat is [os.Stat].
	Stat(path string) (fs.FileInfo, error)
	// ReadDir is [os.ReadDir].
	ReadDir(path string) ([]fs.DirEntry, error)
	// SyncDir makes durable which files are in a folder, where the system can.
	SyncDir(path string) error
}

// File is an open file.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.Seeker
	io.Closer
	// Sync makes durable what was written, where the system can.
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
	Name() string
}

// OS is the file system of the operating system.
type OS struct{}

var _ FS = OS{}

// OpenFile opens a file.
func (OS) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename renames a file.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file or an empty folder.
func (OS) Remove(path string) error { return os.Remove(path) }

// MkdirAll makes a folder and those it is in.
func (OS) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(path, perm) }

// Stat describes a file.
func (OS) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// ReadDir lists a folder, sorted by name.
func (OS) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }

// SyncDir makes durable which files are in a folder. One that may be written to but
// not read, and systems where there is no such thing, are no errors.
func (OS) SyncDir(path string) error {
	folder, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return errors.Join(synced(folder), folder.Close())
}

// osFile is a file whose Sync is no error where there is no such thing.
type osFile struct{ *os.File }

// Sync makes durable what was written.
func (f osFile) Sync() error { return synced(f.File) }

func synced(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
