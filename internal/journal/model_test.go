package journal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/internal/journal"
	"github.com/rowmill/rowmill/internal/state"
	"github.com/rowmill/rowmill/pipeline"
)

// What must be true of a journal and its checkpoints, whenever the process is killed or
// the power cut, and whatever call fails: what was acknowledged outlives a kill, what
// was synced a power cut, nothing is there that nobody wrote, and a crash is never taken
// for damage.

// attempt is a value that was appended, or was about to be.
type attempt struct {
	guard   uint64
	payload string
}

// past is what was appended under one key, the oldest first.
type past struct {
	tried []attempt
	acked int // how many of them a kill leaves at the least; the last one counts
	safe  int // and a power cut
}

// note is the checkpoint: what is settled, and the mark.
type note struct {
	Number  int
	Settled []uint64
	Mark    journal.Mark
}

type model struct {
	t      *rapid.T
	disk   *fsystest.Disk
	files  fsys.FS
	j      *journal.Journal
	past   map[journal.Key]*past
	known  note // the last checkpoint that was acknowledged; 0 if none
	tried  []note
	broken bool // a call failed: the process is to end
	doubt  bool // a sync has failed, so that what the system shows may not be on the disk
	every  time.Duration
	count  int
}

const modelDir = "state"

func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, disk: fsystest.New(), past: map[journal.Key]*past{}}
		m.every = rapid.SampledFrom([]time.Duration{time.Hour, -1}).Draw(t, "sync every")
		m.start(false)
		for range 1 + m.choose(6) {
			m.work()
			m.end()
		}
		m.cut()
	})
}

func (m *model) choose(n int) int {
	return rapid.IntRange(0, n-1).Draw(m.t, "choice")
}

// work does what a run does, and a run that something failed for does nothing more.
func (m *model) work() {
	m.trouble()
	for n := m.choose(25); n >= 0 && !m.broken; n-- {
		switch m.choose(10) {
		case 0:
			m.checkpoint()
		case 1:
			m.mark()
		case 2:
			m.verify(func(p *past) int { return p.acked })
		default:
			m.append()
		}
	}
}

// trouble has some later call fail.
func (m *model) trouble() {
	after, choose := m.choose(60), m.choose
	switch m.choose(6) {
	case 0:
		m.disk.KillAt(after, choose)
	case 1:
		m.failing(fsystest.OpWrite, after, func(c fsystest.Call) fsystest.Fault {
			return fsystest.Fault{Err: syscall.ENOSPC, Bytes: choose(c.Size + 1)}
		})
	case 2:
		m.failing(fsystest.OpSync, after/4, func(fsystest.Call) fsystest.Fault {
			m.doubt = true
			return fsystest.Fault{Err: syscall.EIO}
		})
	case 3:
		m.failing(fsystest.OpRename, after/20, func(fsystest.Call) fsystest.Fault {
			return fsystest.Fault{Err: syscall.EIO, Done: choose(2) == 1}
		})
	case 4:
		m.failing(fsystest.OpSyncDir, after/20, func(fsystest.Call) fsystest.Fault { return fsystest.Fault{Err: syscall.EIO} })
	}
}

// failing has the n-th call of a kind fail, once.
func (m *model) failing(op fsystest.Op, n int, how func(fsystest.Call) fsystest.Fault) {
	m.disk.Inject(func(c fsystest.Call) fsystest.Fault {
		if c.Op != op {
			return fsystest.Fault{}
		}
		if n--; n != -1 {
			return fsystest.Fault{}
		}
		return how(c)
	})
}

func (m *model) append() {
	m.count++
	k := journal.Key{
		Stage: []string{"a", "b"}[m.choose(2)],
		Ref:   pipeline.Ref{Seq: uint64(m.choose(8)), Path: []string{"", "/1"}[m.choose(2)]},
	}
	if slices.Contains(m.last().Settled, k.Ref.Seq) {
		return // nobody asks for it
	}
	a := attempt{uint64(m.choose(2)), fmt.Sprintf("%d %s", m.count, strings.Repeat("x", m.choose(40)))}
	p := m.past[k]
	if p == nil {
		p = &past{}
		m.past[k] = p
	}
	p.tried = append(p.tried, a)
	if m.fails(m.j.Append(journal.Entry{Key: k, Guard: a.guard, Payload: []byte(a.payload)})) {
		return
	}
	p.acked = len(p.tried)
	if m.every < 0 {
		p.safe = p.acked
	}
}

// fails notes that a call failed, after which the run ends.
func (m *model) fails(err error) bool {
	m.broken = m.broken || err != nil
	return err != nil
}

func (m *model) mark() (journal.Mark, bool) {
	mark, err := m.j.Mark()
	if m.fails(err) {
		return mark, false
	}
	for _, p := range m.past {
		p.safe = p.acked
	}
	return mark, true
}

// last is the last checkpoint that may be there.
func (m *model) last() note {
	if len(m.tried) == 0 {
		return note{}
	}
	return m.tried[len(m.tried)-1]
}

func (m *model) checkpoint() {
	settled := slices.Clone(m.last().Settled)
	if row := uint64(m.choose(8)); !slices.Contains(settled, row) {
		settled = append(settled, row)
	}
	mark, ok := m.mark()
	if !ok || !m.write(note{Number: m.last().Number + 1, Settled: settled, Mark: mark}) {
		return
	}
	m.fails(m.j.Forget(mark.File, func(r pipeline.Ref) bool { return slices.Contains(settled, r.Seq) }))
}

func (m *model) write(n note) bool {
	data, err := json.Marshal(n)
	if err != nil {
		m.t.Fatal(err)
	}
	m.tried = append(m.tried, n)
	if m.fails(state.WriteCheckpoint(m.files, modelDir, data)) {
		return false
	}
	m.known = n
	return true
}

// end ends the process and begins the next one.
func (m *model) end() {
	if m.choose(8) == 0 && !m.fails(m.j.Close()) {
		for _, p := range m.past {
			p.safe = p.acked
		}
	}
	if m.choose(2) == 1 {
		m.cut()
		return
	}
	old := m.j
	m.start(false)
	_ = old.Close() // it is dead: that ends its timer
	if m.doubt {
		m.cut()
	}
}

// cut cuts the power and begins the next process.
func (m *model) cut() {
	m.disk.PowerCut(m.choose)
	m.doubt = false
	old := m.j
	m.start(true)
	_ = old.Close()
}

// start begins a process, which may be killed while it does.
func (m *model) start(cut bool) {
	for {
		m.files, m.j, m.broken = m.disk.Boot(), nil, false
		if m.count > 0 && m.choose(3) == 0 {
			m.disk.KillAt(m.choose(12), m.choose)
		}
		err := m.open(cut)
		if err == nil {
			return
		}
		if !errors.Is(err, fsystest.ErrKilled) {
			m.t.Fatalf("after a crash: %v\n%v", err, m.disk)
		}
		if again := m.choose(2) == 1; again {
			m.disk.PowerCut(m.choose)
			cut = true
		}
	}
}

func (m *model) open(cut bool) (err error) {
	m.count++
	lock, err := state.Take(m.files, modelDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	o := journal.Options{FS: m.files, Dir: modelDir, SyncEvery: m.every, Slack: 300}
	data, err := state.ReadCheckpoint(m.files, modelDir)
	if errors.Is(err, fs.ErrNotExist) && m.known.Number == 0 {
		return m.anew(o)
	}
	var n note
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err != nil {
		return err
	}
	if m.j, _, err = journal.Open(o, n.Mark); err != nil {
		return err
	}
	m.goOn(n, cut)
	return nil
}

// anew begins a run.
func (m *model) anew(o journal.Options) (err error) {
	if err = state.Clear(m.files, modelDir); err != nil {
		return err
	}
	if m.j, err = journal.Create(o); err != nil {
		return err
	}
	clear(m.past)
	m.tried = nil
	if mark, err := m.j.Mark(); err != nil {
		return err
	} else if !m.write(note{Number: 1, Mark: mark}) {
		return fsystest.ErrKilled
	}
	return nil
}

// goOn compares what is left with what must be.
func (m *model) goOn(n note, cut bool) {
	if n.Number < m.known.Number || n.Number > m.last().Number {
		m.t.Fatalf("got checkpoint %d, want %d to %d", n.Number, m.known.Number, m.last().Number)
	}
	m.known, m.tried = n, []note{n}
	for k := range m.past {
		if slices.Contains(n.Settled, k.Ref.Seq) {
			delete(m.past, k)
		}
	}
	m.verify(func(p *past) int {
		if cut {
			return p.safe
		}
		return p.acked
	})
	for k, p := range m.past { // what was read is what will be read
		if p.tried = p.tried[:m.find(k, p)]; m.doubt {
			continue
		}
		p.acked, p.safe = len(p.tried), len(p.tried)
	}
}

// verify compares the journal with the past: of each key, a value at least as new as
// the one that must be there, and none that was not tried.
func (m *model) verify(least func(*past) int) {
	for k, p := range m.past {
		if slices.Contains(m.last().Settled, k.Ref.Seq) {
			continue
		}
		if got, want := m.find(k, p), least(p); got < want {
			m.t.Fatalf("%v: got value %d, want at least %d of %v\n%v", k, got, want, p.tried, m.disk)
		}
	}
}

// find returns which value a key has, from 1; 0 for none.
func (m *model) find(k journal.Key, p *past) int {
	for guard := range uint64(2) {
		payload, ok, err := m.j.Lookup(k, guard)
		if err != nil {
			if errors.Is(err, fsystest.ErrKilled) {
				m.broken = true
				return len(p.tried)
			}
			m.t.Fatal(err)
		}
		if !ok {
			continue
		}
		for i, a := range slices.Backward(p.tried) {
			if a.guard == guard && a.payload == string(payload) {
				return i + 1
			}
		}
		m.t.Fatalf("%v: %q is there, which nobody wrote: %v", k, payload, p.tried)
	}
	return 0
}
