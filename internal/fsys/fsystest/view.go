package fsystest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
)

// view is the disk as one process sees it.
type view struct {
	disk    *Disk
	process int
}

var _ fsys.FS = view{}

// call does work, or what the test says instead.
func (v view) call(c Call, work func(f Fault) error) error {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	if v.process != v.disk.process {
		return ErrKilled
	}
	f := Fault{Bytes: c.Size, Done: true}
	if v.disk.faults != nil {
		if bad := v.disk.faults(c); bad.Err != nil {
			f = bad
		}
	}
	var err error
	if f.Done || f.Bytes > 0 {
		err = work(f)
	}
	if f.Err == nil {
		return err
	}
	if errors.Is(f.Err, ErrKilled) {
		v.disk.process++
	}
	return &fs.PathError{Op: string(c.Op), Path: c.Path, Err: f.Err}
}

// change changes names, durable from the next sync of their folder on.
func (d *Disk) change(r rename) {
	d.now.apply(r)
	d.pending = append(d.pending, r)
}

// inFolder returns an error unless the folder of a path is there.
func (d *Disk) inFolder(op Op, path string) error {
	if parent := d.now[filepath.Dir(path)]; parent == nil || !parent.folder {
		return &fs.PathError{Op: string(op), Path: path, Err: fs.ErrNotExist}
	}
	return nil
}

// OpenFile opens a file.
func (v view) OpenFile(path string, flag int, _ fs.FileMode) (fsys.File, error) {
	path = filepath.Clean(path)
	file := &file{view: v, path: path, flag: flag}
	err := v.call(Call{Op: OpOpen, Path: path}, func(Fault) error {
		n := v.disk.now[path]
		switch {
		case n == nil && flag&os.O_CREATE == 0:
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		case n != nil && flag&os.O_EXCL != 0:
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
		case n != nil && n.folder:
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
		case n == nil:
			if err := v.disk.inFolder(OpOpen, path); err != nil {
				return err
			}
			n = &node{}
			v.disk.change(rename{to: path, node: n})
		case flag&os.O_TRUNC != 0 && len(n.now) > 0:
			n.truncate(0)
		}
		file.node = n
		return nil
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Rename renames a file.
func (v view) Rename(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	return v.call(Call{Op: OpRename, Path: to}, func(Fault) error {
		n := v.disk.now[from]
		if n == nil {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		if err := v.disk.inFolder(OpRename, to); err != nil {
			return err
		}
		v.disk.change(rename{from: from, to: to, node: n})
		return nil
	})
}

// Remove removes a file or an empty folder.
func (v view) Remove(path string) error {
	path = filepath.Clean(path)
	return v.call(Call{Op: OpRemove, Path: path}, func(Fault) error {
		n := v.disk.now[path]
		switch {
		case n == nil:
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
		case n.folder && len(v.disk.now.in(path)) > 0:
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrInvalid}
		}
		v.disk.change(rename{from: path, node: n})
		return nil
	})
}

// MkdirAll makes a folder and those it is in; they are durable once the folders they
// are in are synced.
func (v view) MkdirAll(path string, _ fs.FileMode) error {
	path = filepath.Clean(path)
	return v.call(Call{Op: OpMkdir, Path: path}, func(Fault) error {
		var missing []string
		for ; v.disk.now[path] == nil; path = filepath.Dir(path) {
			missing = append(missing, path)
		}
		for _, path := range slices.Backward(missing) {
			v.disk.change(rename{to: path, node: &node{folder: true}})
		}
		return nil
	})
}

// Stat describes a file or a folder.
func (v view) Stat(path string) (info fs.FileInfo, err error) {
	path = filepath.Clean(path)
	err = v.call(Call{Op: OpRead, Path: path}, func(Fault) error {
		n := v.disk.now[path]
		if n == nil {
			return &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
		}
		info = n.info(path)
		return nil
	})
	return info, err
}

// ReadDir lists a folder, sorted by name.
func (v view) ReadDir(path string) (entries []fs.DirEntry, err error) {
	path = filepath.Clean(path)
	err = v.call(Call{Op: OpRead, Path: path}, func(Fault) error {
		if n := v.disk.now[path]; n == nil || !n.folder {
			return &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
		}
		for _, name := range v.disk.now.in(path) {
			entries = append(entries, fs.FileInfoToDirEntry(v.disk.now[name].info(name)))
		}
		return nil
	})
	return entries, err
}

// SyncDir makes durable which files are in a folder.
func (v view) SyncDir(path string) error {
	path = filepath.Clean(path)
	return v.call(Call{Op: OpSyncDir, Path: path}, func(Fault) error {
		d := v.disk
		d.pending = slices.DeleteFunc(d.pending, func(r rename) bool {
			here := r.to != "" && filepath.Dir(r.to) == path || r.from != "" && filepath.Dir(r.from) == path
			if here {
				d.durable.apply(r)
			}
			return here
		})
		return nil
	})
}

// in are the paths of what is in a folder.
func (s names) in(folder string) []string {
	return slices.DeleteFunc(s.sorted(), func(path string) bool { return path == folder || filepath.Dir(path) != folder })
}

func (s names) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// file is an open file.
type file struct {
	view
	path   string
	flag   int
	node   *node
	at     int
	closed bool
}

// Name is the path.
func (f *file) Name() string { return f.path }

// call does work, unless the file is closed.
func (f *file) call(op Op, size int, work func(Fault) error) error {
	return f.view.call(Call{Op: op, Path: f.path, Size: size}, func(fault Fault) error {
		if f.closed {
			return &fs.PathError{Op: string(op), Path: f.path, Err: fs.ErrClosed}
		}
		return work(fault)
	})
}

// Write writes where the file stands, or at its end if it was opened to append.
func (f *file) Write(p []byte) (n int, err error) {
	err = f.call(OpWrite, len(p), func(fault Fault) error {
		if f.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
			return &fs.PathError{Op: "write", Path: f.path, Err: fs.ErrPermission}
		}
		if f.flag&os.O_APPEND != 0 && len(p) > 0 {
			f.at = len(f.node.now)
		}
		n = fault.Bytes
		f.node.write(f.at, p[:n])
		f.at += n
		return nil
	})
	return n, err
}

// Read reads from where the file stands.
func (f *file) Read(p []byte) (n int, err error) {
	n, err = f.ReadAt(p, int64(f.at))
	if f.at += n; n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt reads from an offset.
func (f *file) ReadAt(p []byte, at int64) (n int, err error) {
	err = f.call(OpRead, len(p), func(fault Fault) error {
		if f.flag&os.O_WRONLY != 0 {
			return &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrPermission}
		}
		if at < int64(len(f.node.now)) {
			n = copy(p[:fault.Bytes], f.node.now[at:])
		}
		if n < fault.Bytes {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// Seek says where the next Read or Write begins.
func (f *file) Seek(offset int64, whence int) (at int64, err error) {
	err = f.call(OpRead, 0, func(Fault) error {
		switch whence {
		case io.SeekCurrent:
			offset += int64(f.at)
		case io.SeekEnd:
			offset += int64(len(f.node.now))
		}
		if offset < 0 {
			return &fs.PathError{Op: "seek", Path: f.path, Err: fs.ErrInvalid}
		}
		f.at, at = int(offset), offset
		return nil
	})
	return at, err
}

// Truncate cuts the file, or makes it longer by zeros.
func (f *file) Truncate(size int64) error {
	return f.call(OpTruncate, 0, func(Fault) error {
		f.node.truncate(int(size))
		return nil
	})
}

// Sync makes durable what was written. A file that nobody knows by name after a power
// cut is lost all the same; see SyncDir.
func (f *file) Sync() error {
	done := false
	err := f.call(OpSync, 0, func(Fault) error {
		done = true
		f.node.sync()
		return nil
	})
	if err != nil && !done && !errors.Is(err, ErrKilled) && !errors.Is(err, fs.ErrClosed) {
		f.disk.mu.Lock()
		defer f.disk.mu.Unlock()
		f.node.failSync()
	}
	return err
}

// Stat describes the file.
func (f *file) Stat() (info fs.FileInfo, err error) {
	err = f.call(OpRead, 0, func(Fault) error {
		info = f.node.info(f.path)
		return nil
	})
	return info, err
}

// Close lets go of the file. What is not synced stays so.
func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

func (n *node) write(at int, p []byte) {
	if len(p) == 0 {
		return
	}
	p = append([]byte(nil), p...)
	if end := at + len(p); end > len(n.now) {
		n.now = append(n.now, make([]byte, end-len(n.now))...)
	}
	copy(n.now[at:], p)
	n.changes = append(n.changes, change{at: at, data: p, size: -1})
}

func (n *node) truncate(size int) {
	n.now = append([]byte(nil), resize(n.now, size)...)
	n.changes = append(n.changes, change{size: size})
}

func (n *node) info(path string) fs.FileInfo {
	return info{filepath.Base(path), int64(len(n.now)), n.folder}
}

// info describes a file or a folder. All are for their owner alone.
type info struct {
	name   string
	size   int64
	folder bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.folder }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.folder {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// String shows what is on the disk and what of that is durable, for messages of tests.
func (d *Disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, path := range d.now.sorted() {
		n := d.now[path]
		fmt.Fprintf(&b, "%s: %d bytes, %d durable, named durably: %v\n", path, len(n.now), len(n.base), d.durable[path] == n)
	}
	return b.String()
}
