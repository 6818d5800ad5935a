// Package fsystest is a file system in memory for tests of files that must outlive a
// crash. It knows what was synced: a power cut loses of the rest what the test chooses,
// in any order, as real disks do. Any call can be made to fail, to do only a part of its
// work, or to be the last one of the process.
package fsystest

import (
	"errors"
	"path/filepath"
	"sync"

	"github.com/rowmill/rowmill/internal/fsys"
)

// ErrKilled is what calls of a process return that has been killed.
var ErrKilled = errors.New("the process was killed")

// Op is a kind of call.
type Op string

// The kinds of calls that can fail.
const (
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpMkdir    Op = "mkdir"
	OpSyncDir  Op = "sync folder"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
)

// Call is a call that is about to be made.
type Call struct {
	Op   Op
	Path string // of a rename, where it goes to
	Size int    // of a write, how many bytes
}

// Fault is what becomes of a call. A sync that fails may have saved nothing, and what
// was written before it is not saved by a later sync either: so do systems that mark
// the pages of a failed write clean.
type Fault struct {
	// Err is what the call returns. [ErrKilled] ends the process: all its later calls
	// return that too.
	Err error
	// Bytes are how many bytes a write or read moves all the same.
	Bytes int
	// Done has any other call do its work all the same.
	Done bool
}

// Disk is what outlives a process. It is safe for concurrent use.
type Disk struct {
	mu      sync.Mutex
	now     names
	durable names
	pending []rename // of files and folders, not durable
	process int      // the one that is running
	faults  func(Call) Fault
}

// names are the files and folders by their cleaned paths.
type names map[string]*node

// node is a file or a folder.
type node struct {
	folder  bool
	now     []byte
	base    []byte // durable before the changes
	changes []change
}

// change is a write or a truncation that is not part of the base.
type change struct {
	at    int
	data  []byte
	size  int // of a truncation; else -1
	state uint8
}

const (
	pending  = iota
	synced   // durable, but behind a doubtful one
	doubtful // a sync of it has failed
)

// rename is a change of names: a creation has no from, a removal no to.
type rename struct {
	from, to string
	node     *node
}

// New returns an empty disk.
func New() *Disk {
	d := &Disk{now: names{}, durable: names{}}
	for _, root := range []string{".", string(filepath.Separator)} {
		folder := &node{folder: true}
		d.now[root], d.durable[root] = folder, folder
	}
	return d
}

// Boot begins a process and returns the file system as it sees it. The process before
// it is killed: what it has written stays, synced or not.
func (d *Disk) Boot() fsys.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process++
	d.faults = nil
	return view{d, d.process}
}

// Inject has f decide about every call of the process that is running; nil is no
// faults. f must not use the disk.
func (d *Disk) Inject(f func(Call) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

// KillAt kills the process at its n-th changing call from now on, from 0. The call does
// nothing, or a part as choose says; see [Disk.PowerCut].
func (d *Disk) KillAt(n int, choose func(n int) int) {
	d.Inject(func(c Call) Fault {
		if c.Op == OpRead {
			return Fault{}
		}
		if n--; n >= 0 {
			return Fault{}
		}
		return Fault{Err: ErrKilled, Bytes: choose(c.Size + 1), Done: choose(2) == 1}
	})
}

// PowerCut kills the process and loses what was not synced, but for what choose keeps:
// it returns a number from 0 to n-1; 0 always is the one that loses most.
func (d *Disk) PowerCut(choose func(n int) int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process++
	for _, r := range d.pending {
		if choose(2) == 1 {
			d.durable.apply(r)
		}
	}
	d.pending = nil
	d.durable.dropOrphans()
	d.now = names{}
	for path, n := range d.durable {
		d.now[path] = n
	}
	for _, path := range d.now.sorted() { // so that choose is asked in the same order
		d.now[path].lose(choose)
	}
}

func (s names) apply(r rename) {
	if r.from != "" {
		delete(s, r.from)
	}
	if r.to != "" {
		s[r.to] = r.node
	}
}

// dropOrphans removes what is in folders that are not there.
func (s names) dropOrphans() {
	for _, path := range s.sorted() { // folders come before what is in them
		if s[filepath.Dir(path)] == nil {
			delete(s, path)
		}
	}
}

// lose ends a power cut: of the changes, those that survived are the file.
func (n *node) lose(choose func(int) int) {
	data := n.base
	keep := survivors(n.changes, choose)
	for i, c := range n.changes {
		data = c.apply(data, keep[i])
	}
	n.now, n.base, n.changes = data, append([]byte(nil), data...), nil
}

// all keeps the whole of a change.
const all = -1

// survivors are how many bytes of each change survive.
func survivors(changes []change, choose func(int) int) []int {
	keep := make([]int, len(changes))
	first := len(changes) // that is lost
	how := 0
	if len(changes) > 0 {
		how = choose(5)
	}
	switch how {
	case 0:
		first = 0
	case 1, 2:
		first = choose(len(changes) + 1)
	}
	for i, c := range changes {
		switch {
		case c.state == synced, how != 4 && i < first:
			keep[i] = all
		case how == 2 && i == first && len(c.data) > 0:
			keep[i] = choose(len(c.data))
		case how == 4 && choose(2) == 1:
			keep[i] = all
		}
	}
	return keep
}

// apply returns the data with the first bytes of the change.
func (c change) apply(data []byte, keep int) []byte {
	switch {
	case keep == 0:
		return data
	case c.size >= 0:
		return resize(data, c.size)
	case keep == all:
		keep = len(c.data)
	}
	if end := c.at + keep; end > len(data) {
		data = resize(data, end)
	}
	data = append([]byte(nil), data...)
	copy(data[c.at:], c.data[:keep])
	return data
}

// resize returns the data cut, or with zeros behind it.
func resize(data []byte, size int) []byte {
	if size <= len(data) {
		return data[:size:size]
	}
	return append(data[:len(data):len(data)], make([]byte, size-len(data))...)
}

// sync makes the changes durable, but for doubtful ones.
func (n *node) sync() {
	doubt := false
	for i := range n.changes {
		if n.changes[i].state == pending {
			n.changes[i].state = synced
		}
		doubt = doubt || n.changes[i].state == doubtful
	}
	if !doubt {
		n.base, n.changes = append([]byte(nil), n.now...), nil
	}
}

// failSync makes the changes doubtful.
func (n *node) failSync() {
	for i := range n.changes {
		if n.changes[i].state == pending {
			n.changes[i].state = doubtful
		}
	}
}
