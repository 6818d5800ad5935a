// Package grouped groups rows by a key in bounded memory: what does not fit is written to
// files in the order of the keys, which are merged when they are read.
package grouped

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/internal/aggregate"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// Options are what a Collection needs to know.
type Options struct {
	Plan *aggregate.Plan
	// Memory bounds the groups that are held, in bytes.
	Memory int
	// FS is the file system; nil is that of the operating system.
	FS fsys.FS
}

// Collection groups records that have the fields of the Plan, and nothing else but them. It
// keeps three kinds of file in its folder, each with a number that no other has: a log of
// the records since the last run, as JSON lines; runs, each the groups of some rows in the
// order of their keys; and, once Finish was called, the list of the runs. In a folder that it
// was not given it keeps no log, as nobody goes on with that.
type Collection struct {
	plan   *aggregate.Plan
	memory int
	fs     fsys.FS

	mostRuns int
	mostLog  int64

	dir       string
	temporary bool // the folder is its own

	at      mark
	log     fsys.File
	pending []byte // of the log, not written yet
	groups  map[string]*aggregate.Group
	size    int // of the groups

	finished bool
	progress progress

	key    []byte // scratch
	by     []pipeline.Value
	values []pipeline.Value
}

var (
	_ pipeline.Collection = (*Collection)(nil)
	_ pipeline.Publisher  = (*Collection)(nil)
	_ pipeline.Deliverer  = (*Collection)(nil)
	_ pipeline.Meter      = (*Collection)(nil)
)

// mark is where a Collection stands: a [pipeline.Position].
type mark struct {
	// Runs are the numbers of the runs, in the order of the rows.
	Runs []int `json:"runs,omitempty"`
	// Log is the number of the log, and Size how long it is.
	Log  int   `json:"log"`
	Size int64 `json:"size"`
}

// New makes a Collection.
func New(o Options) *Collection {
	c := &Collection{plan: o.Plan, memory: o.Memory, fs: o.FS, mostRuns: mostRuns, mostLog: mostLog}
	if c.fs == nil {
		c.fs = fsys.OS{}
	}
	return c
}

const (
	logPrefix = "log-"
	runPrefix = "run-"
	listName  = "runs.json"
)

func (c *Collection) path(prefix string, number int) string {
	return filepath.Join(c.dir, prefix+strconv.Itoa(number))
}

// Spool has the files lie in a folder.
func (c *Collection) Spool(dir string) { c.dir, c.temporary = dir, false }

// Delivery is [pipeline.ExactlyOnce].
func (c *Collection) Delivery() pipeline.Delivery { return pipeline.ExactlyOnce }

// Start begins anew, whatever is there: the folder is nobody else's.
func (c *Collection) Start(context.Context, bool) error {
	if c.dir == "" {
		c.temporary = true // and made when it is needed
	} else if err := c.keepOnly(func(string, int) bool { return false }); err != nil {
		return err
	}
	c.at, c.groups, c.size, c.pending, c.finished = mark{}, map[string]*aggregate.Group{}, 0, nil, false
	return c.openLog(1)
}

// openLog begins or goes on with a log.
func (c *Collection) openLog(number int) error {
	c.at.Log, c.at.Size = number, 0
	if c.temporary {
		return nil
	}
	if err := c.fs.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	parent := filepath.Dir(c.dir)
	if err := errors.Join(c.fs.SyncDir(parent), c.fs.SyncDir(filepath.Dir(parent))); err != nil {
		return err
	}
	file, err := c.fs.OpenFile(c.path(logPrefix, number), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	c.log = file
	return c.fs.SyncDir(c.dir)
}

// keepOnly removes the files that are not wanted, by the prefix of their name and number.
func (c *Collection) keepOnly(wanted func(prefix string, number int) bool) error {
	entries, err := c.fs.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if name := e.Name(); !c.wants(name, wanted) {
			err = errors.Join(err, c.fs.Remove(filepath.Join(c.dir, name)))
		}
	}
	return err
}

func (c *Collection) wants(name string, wanted func(prefix string, number int) bool) bool {
	if name == listName {
		return wanted(listName, 0)
	}
	for _, prefix := range []string{logPrefix, runPrefix} {
		if n, err := strconv.Atoi(strings.TrimPrefix(name, prefix)); strings.HasPrefix(name, prefix) && err == nil {
			return wanted(prefix, n)
		}
	}
	return name != listName+temporaryEnd
}

const temporaryEnd = ".tmp"

// Check says whether everything is there that Rewind needs.
func (c *Collection) Check(_ context.Context, to pipeline.Position) error {
	at, err := parseMark(to)
	if err != nil || to == "" {
		return err
	}
	if info, err := c.fs.Stat(c.path(logPrefix, at.Log)); err != nil {
		return c.missing(err)
	} else if info.Size() < at.Size {
		return c.missing(fmt.Errorf("%s has %d bytes and should have %d", c.path(logPrefix, at.Log), info.Size(), at.Size))
	}
	for _, n := range at.Runs {
		if _, err := c.fs.Stat(c.path(runPrefix, n)); err != nil {
			return c.missing(err)
		}
	}
	return nil
}

func (c *Collection) missing(err error) error {
	return pipeline.Fatal("state", fmt.Errorf("what was grouped so far: %w; --fresh starts over", err))
}

func parseMark(p pipeline.Position) (at mark, err error) {
	if p != "" {
		err = json.Unmarshal([]byte(p), &at)
	}
	return at, err
}

// Rewind goes on where a Commit left it.
func (c *Collection) Rewind(ctx context.Context, to pipeline.Position) error {
	if to == "" {
		return c.Start(ctx, true)
	}
	if err := c.Check(ctx, to); err != nil {
		return err
	}
	at, err := parseMark(to)
	if err != nil {
		return err
	}
	if err := c.keepOnly(at.has); err != nil {
		return err
	}
	c.groups, c.size, c.pending, c.finished = map[string]*aggregate.Group{}, 0, nil, false
	if err := c.openLog(at.Log); err != nil {
		return err
	}
	c.at = at
	if err := c.log.Truncate(at.Size); err != nil {
		return err
	}
	return c.replay()
}

// has reports whether a file is a part of what stands there.
func (m mark) has(prefix string, number int) bool {
	return prefix == logPrefix && number == m.Log || prefix == runPrefix && slices.Contains(m.Runs, number)
}

// replay groups what is in the log, and leaves the file at its end.
func (c *Collection) replay() error {
	lines := bufio.NewReaderSize(io.NewSectionReader(c.log, 0, c.at.Size), runBuffer)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		var r *pipeline.Record
		if err == nil {
			r, err = pipeline.ParseRecord(bytes.TrimSpace(line))
		}
		if err == nil {
			err = c.add(r)
		}
		if err != nil {
			return c.missing(fmt.Errorf("%s: %w", c.log.Name(), err))
		}
	}
	_, err := c.log.Seek(c.at.Size, io.SeekStart)
	return err
}

// Write groups the records.
func (c *Collection) Write(_ context.Context, batch []*pipeline.Record) error {
	for _, r := range batch {
		if !c.temporary {
			c.pending = append(r.AppendJSON(c.pending), '\n')
		}
		if err := c.add(r); err != nil {
			return pipeline.Fatal("group", err)
		}
		if c.size < c.memory && c.at.Size+int64(len(c.pending)) < c.mostLog {
			continue
		}
		if err := c.spill(); err != nil {
			return pipeline.Fatal("disk", err)
		}
	}
	if len(c.pending) >= logBuffer {
		if err := c.flush(); err != nil {
			return pipeline.Fatal("disk", err)
		}
	}
	return nil
}

// logBuffer is how much of the log is held back at the most, and mostLog how long one gets
// before its groups are written to a run, however few they are.
const (
	logBuffer = 256 << 10
	mostLog   = 64 << 20
)

// add groups a record.
func (c *Collection) add(r *pipeline.Record) (err error) {
	c.by, c.values = c.by[:0], c.values[:0]
	for _, name := range c.plan.By {
		v, _ := r.Lookup(name)
		c.by = append(c.by, v)
	}
	for _, column := range c.plan.Columns {
		v, _ := r.Lookup(column.Name)
		c.values = append(c.values, v)
	}
	if c.key, err = c.plan.Key(c.key[:0], c.by); err != nil {
		return err
	}
	g := c.groups[string(c.key)]
	if g == nil {
		g = c.plan.Begin(c.by)
		c.groups[string(c.key)] = g
		c.size += g.Size() + len(c.key)
	}
	c.size += c.plan.Add(g, c.values)
	return nil
}

// flush writes what is held back of the log.
func (c *Collection) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	if _, err := c.log.Write(c.pending); err != nil {
		return err
	}
	c.at.Size += int64(len(c.pending))
	c.pending = c.pending[:0]
	return nil
}

// Commit makes durable what was written.
func (c *Collection) Commit(context.Context) (pipeline.Position, error) {
	if c.temporary {
		return "", nil
	}
	if err := errors.Join(c.flush(), c.log.Sync()); err != nil {
		return "", err
	}
	return c.at.position()
}

func (m mark) position() (pipeline.Position, error) {
	raw, err := json.Marshal(m)
	return pipeline.Position(raw), err
}

// Publish removes what nobody needs any more who goes on at the position.
func (c *Collection) Publish(_ context.Context, to pipeline.Position) error {
	at, err := parseMark(to)
	if err != nil || to == "" {
		return err
	}
	return c.keepOnly(func(prefix string, number int) bool {
		return prefix == listName || number > at.Log || at.has(prefix, number)
	})
}

// Close releases the log. What has no folder of its own and is not going to be read is gone.
func (c *Collection) Close(ctx context.Context) error {
	var err error
	if c.log != nil {
		err = c.log.Close()
		c.log = nil
	}
	if c.temporary && !c.finished {
		err = errors.Join(err, c.Discard(ctx))
	}
	return err
}

// Discard removes all files.
func (c *Collection) Discard(context.Context) error {
	c.groups = nil
	if c.dir == "" {
		return nil
	}
	err := c.keepOnly(func(string, int) bool { return false })
	if gone := c.fs.Remove(c.dir); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	if c.temporary {
		c.dir = ""
	}
	return err
}
