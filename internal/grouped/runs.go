package grouped

import (
	"bufio"
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/rowmill/rowmill/internal/aggregate"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// mostRuns is how many runs there are before they are merged to one: as many files are
// open at once.
const mostRuns = 64

// entry is a group in a run, with its key.
type entry struct {
	key   []byte
	group *aggregate.Group
}

// spill writes the groups that are held to a run, and begins another log.
func (c *Collection) spill() error {
	if len(c.groups) == 0 {
		return nil
	}
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "rowmill-groups-")
		if err != nil {
			return err
		}
		c.dir = dir
	}
	number, err := c.write(c.held())
	if err != nil {
		return err
	}
	c.at.Runs = append(slices.Clone(c.at.Runs), number)
	if len(c.at.Runs) >= c.mostRuns {
		if number, err = c.write(c.merged(c.at.Runs, nil)); err != nil {
			return err
		}
		c.at.Runs = []int{number}
		if c.temporary { // else Publish does, once nobody may go back
			if err := c.keepOnly(c.at.has); err != nil {
				return err
			}
		}
	}
	c.groups, c.size, c.pending = map[string]*aggregate.Group{}, 0, c.pending[:0]
	if c.log != nil {
		if err := c.log.Close(); err != nil {
			return err
		}
	}
	return c.openLog(number + 1)
}

// held are the groups in memory, in the order of their keys.
func (c *Collection) held() iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(c.groups)) {
			if !yield(entry{[]byte(key), c.groups[key]}, nil) {
				return
			}
		}
	}
}

// write writes a run and makes what is in it durable.
func (c *Collection) write(entries iter.Seq2[entry, error]) (number int, err error) {
	number = c.at.Log + 1
	for _, n := range c.at.Runs {
		number = max(number, n+1)
	}
	file, err := c.fs.OpenFile(c.path(runPrefix, number), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, runBuffer)
	var body, frame []byte
	for e, err := range entries {
		if err != nil {
			return 0, err
		}
		body = binary.AppendUvarint(body[:0], uint64(len(e.key)))
		body = c.plan.Append(append(body, e.key...), e.group)
		frame = binary.AppendUvarint(frame[:0], uint64(len(body)))
		frame = binary.LittleEndian.AppendUint32(frame, crc32.Checksum(body, castagnoli()))
		if _, err := w.Write(append(frame, body...)); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(w.WriteByte(0), w.Flush(), file.Sync()); err != nil {
		return 0, err
	}
	return number, nil // openLog, which follows, makes its name durable
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

const (
	runBuffer = 64 << 10
	mostFrame = 1 << 30
)

// Finish writes what is held, unless nobody is going to go on with it, and which runs there
// are.
func (c *Collection) Finish(context.Context) (pipeline.Position, error) {
	if c.temporary {
		c.finished = true
		return "", nil
	}
	if err := c.spill(); err != nil {
		return "", err
	}
	at, err := c.at.position()
	if err == nil {
		err = c.list(at)
	}
	c.finished = err == nil
	return at, err
}

// list writes durably which runs there are.
func (c *Collection) list(at pipeline.Position) error {
	path := filepath.Join(c.dir, listName)
	file, err := c.fs.OpenFile(path+temporaryEnd, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(at))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := c.fs.Rename(path+temporaryEnd, path); err != nil {
		return err
	}
	return c.fs.SyncDir(c.dir)
}

// runs are those that Finish has left.
func (c *Collection) runs() ([]int, error) {
	if c.finished {
		return c.at.Runs, nil
	}
	file, err := c.fs.OpenFile(filepath.Join(c.dir, listName), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || c.dir == "" {
		return nil, errors.New("not everything was grouped")
	}
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	var at mark
	if err := json.Unmarshal(raw, &at); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return at.Runs, nil
}

// Records yields a row for each group, in the order of the keys.
func (c *Collection) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		runs, err := c.runs()
		if err != nil {
			yield(nil, c.missing(err))
			return
		}
		for e, err := range c.merged(runs, c.held()) {
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, c.missing(err))
				return
			}
			r := pipeline.NewRecord(c.plan.Fields(e.group)...)
			r.SetKey(e.group.Name())
			if !yield(r, nil) {
				return
			}
		}
	}
}

// progress is how much of the runs was read.
type progress struct{ done, total atomic.Int64 }

// Progress is in bytes of the runs.
func (c *Collection) Progress() (done, total int64) {
	return c.progress.done.Load(), c.progress.total.Load()
}

// merged are the groups of all runs, and of those that are held, in the order of their keys,
// those with the same key as one.
func (c *Collection) merged(runs []int, held iter.Seq2[entry, error]) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		var m merger
		defer m.stop()
		c.progress.done.Store(0)
		c.progress.total.Store(c.sizes(runs))
		for _, n := range runs {
			if err := m.add(c.read(n)); err != nil {
				yield(entry{}, err)
				return
			}
		}
		if held != nil {
			if err := m.add(held); err != nil {
				yield(entry{}, err)
				return
			}
		}
		for len(m.heads) > 0 {
			e, err := m.next(c.plan)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (c *Collection) sizes(runs []int) (total int64) {
	for _, n := range runs {
		if info, err := c.fs.Stat(c.path(runPrefix, n)); err == nil {
			total += info.Size()
		}
	}
	return total
}

// read reads a run.
func (c *Collection) read(number int) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		file, err := c.fs.OpenFile(c.path(runPrefix, number), os.O_RDONLY, 0)
		if err != nil {
			yield(entry{}, err)
			return
		}
		defer func() { _ = file.Close() }() // nothing was written
		r := bufio.NewReaderSize(&counted{file, &c.progress.done}, runBuffer)
		for {
			e, more, err := c.frame(r)
			if err != nil {
				yield(entry{}, fmt.Errorf("%s: %w", file.Name(), err))
				return
			}
			if !more || !yield(e, nil) {
				return
			}
		}
	}
}

type counted struct {
	from fsys.File
	done *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.done.Add(int64(n))
	return n, err
}

// frame reads the next group of a run; more is false behind the last one.
func (c *Collection) frame(r *bufio.Reader) (e entry, more bool, err error) {
	size, err := binary.ReadUvarint(r)
	switch {
	case errors.Is(err, io.EOF):
		return e, false, io.ErrUnexpectedEOF
	case err != nil:
		return e, false, err
	case size == 0:
		return e, false, nil
	case size > mostFrame:
		return e, false, aggregate.ErrDamaged
	}
	var sum [4]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return e, false, io.ErrUnexpectedEOF
	}
	var body bytes.Buffer // grows with what is there, whatever the size says
	if n, err := io.CopyN(&body, r, int64(size)); err != nil || n < int64(size) {
		return e, false, io.ErrUnexpectedEOF
	}
	if crc32.Checksum(body.Bytes(), castagnoli()) != binary.LittleEndian.Uint32(sum[:]) {
		return e, false, aggregate.ErrDamaged
	}
	n, width := binary.Uvarint(body.Bytes())
	if width <= 0 || n > uint64(body.Len()-width) {
		return e, false, aggregate.ErrDamaged
	}
	rest := body.Bytes()[width:]
	e.key = rest[:n]
	e.group, err = c.plan.Decode(rest[n:])
	return e, err == nil, err
}

// merger merges sequences, each in the order of the keys. Of those with the same key the
// one that was added first comes first.
type merger struct{ heads []*head }

// head is the next entry of a sequence.
type head struct {
	entry
	number int
	next   func() (entry, error, bool)
	stop   func()
}

func (m *merger) Len() int { return len(m.heads) }

func (m *merger) Less(i, j int) bool {
	a, b := m.heads[i], m.heads[j]
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.number < b.number
}

func (m *merger) Swap(i, j int) { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merger) Push(x any)    { m.heads = append(m.heads, x.(*head)) }

func (m *merger) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}

func (m *merger) add(entries iter.Seq2[entry, error]) error {
	next, stop := iter.Pull2(entries)
	h := &head{number: len(m.heads), next: next, stop: stop}
	e, err, ok := next()
	if h.entry = e; !ok || err != nil {
		stop()
		return err
	}
	heap.Push(m, h)
	return nil
}

func (m *merger) stop() {
	for _, h := range m.heads {
		h.stop()
	}
}

// next returns the next group, with the parts of all sequences.
func (m *merger) next(p *aggregate.Plan) (entry, error) {
	first := m.heads[0].entry
	for at := 0; len(m.heads) > 0 && bytes.Equal(m.heads[0].key, first.key); at++ {
		if at > 0 {
			p.Merge(first.group, m.heads[0].group)
		}
		if err := m.advance(); err != nil {
			return entry{}, err
		}
	}
	return first, nil
}

// advance moves on in the sequence that is first.
func (m *merger) advance() error {
	h := m.heads[0]
	e, err, ok := h.next()
	if err != nil {
		return err
	}
	if ok {
		h.entry = e
		heap.Fix(m, 0)
		return nil
	}
	h.stop()
	heap.Pop(m)
	return nil
}
