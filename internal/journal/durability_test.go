package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/internal/journal"
	"github.com/rowmill/rowmill/pipeline"
)

// onDisk returns a disk, a process, and a journal in it.
func onDisk(t *testing.T, every time.Duration) (*fsystest.Disk, journal.Options, *journal.Journal) {
	t.Helper()
	disk := fsystest.New()
	o := journal.Options{FS: disk.Boot(), Dir: ".", SyncEvery: every}
	return disk, o, create(t, o)
}

// none loses all that was not synced.
func none(int) int { return 0 }

// An entry outlives a power cut from the next sync on, and nobody waits for that.
func TestWhatAPowerCutLeaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		every, wait time.Duration
		want        bool
	}{
		{"at once", 0, 0, false},
		{"just before the sync", 0, journal.DefaultSyncEvery - 1, false},
		{"after it", 0, journal.DefaultSyncEvery, true},
		{"after one that is asked for", time.Second, time.Second, true},
		{"before that", time.Second, 999 * time.Millisecond, false},
		{"synced before it returns", -1, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				disk, o, j := onDisk(t, c.every)
				for i := range 2 { // the timer is used again
					add(t, j, entry(i))
					if i == 0 {
						time.Sleep(time.Minute)
					}
				}
				time.Sleep(c.wait)
				synctest.Wait()
				disk.PowerCut(none)
				_ = j.Close()
				o.FS = disk.Boot()
				again, _, err := journal.Open(o, journal.Mark{})
				if err != nil {
					t.Fatal(err)
				}
				if !has(t, again, entry(0)) {
					t.Error("an old entry is not there")
				}
				if got := has(t, again, entry(1)); got != c.want {
					t.Errorf("there: %v, want %v", got, c.want)
				}
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// After a call that fails nothing is acknowledged any more, and what was stays.
func TestAFailureIsForGood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		op    fsystest.Op
		fault fsystest.Fault
	}{
		{"full", fsystest.OpWrite, fsystest.Fault{Err: syscall.ENOSPC}},
		{"short", fsystest.OpWrite, fsystest.Fault{Err: syscall.ENOSPC, Bytes: 11}},
		{"sync", fsystest.OpSync, fsystest.Fault{Err: syscall.EIO}},
	} {
		for _, every := range []time.Duration{0, -1} {
			t.Run(fmt.Sprint(c.name, every), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					disk, o, j := onDisk(t, every)
					add(t, j, entry(1))
					time.Sleep(time.Second)
					disk.Inject(func(call fsystest.Call) fsystest.Fault {
						if call.Op == c.op {
							return c.fault
						}
						return fsystest.Fault{}
					})
					first := j.Append(entry(2))
					time.Sleep(time.Second)
					synctest.Wait()
					disk.Inject(nil)
					if later := c.op == fsystest.OpSync && every == 0; later != (first == nil) {
						t.Errorf("got %v from the call that fails", first)
					}
					for _, err := range []error{
						j.Append(entry(3)), func() error { _, err := j.Mark(); return err }(),
						j.Forget(0, func(pipeline.Ref) bool { return false }), j.Close(),
					} {
						if !errors.Is(err, c.fault.Err) {
							t.Errorf("got %v after it, want %v", err, c.fault.Err)
						}
					}
					o.FS = disk.Boot()
					again, torn, err := journal.Open(o, journal.Mark{})
					if err != nil {
						t.Fatal(err)
					}
					if !has(t, again, entry(1)) || has(t, again, entry(3)) {
						t.Error("what was acknowledged, and that alone, must be there")
					}
					if torn.Bytes != int64(c.fault.Bytes) {
						t.Errorf("got %+v, want that %d bytes were cut off", torn, c.fault.Bytes)
					}
					_ = again.Close()
				})
			})
		}
	}
}

// A failed write or sync fails all that wait for it.
func TestAFailureIsEverybodys(t *testing.T) {
	t.Parallel()
	disk, o, j := onDisk(t, -1)
	n := 0
	disk.Inject(func(call fsystest.Call) fsystest.Fault {
		if call.Op != fsystest.OpSync {
			return fsystest.Fault{}
		}
		if n++; n < 5 {
			return fsystest.Fault{}
		}
		return fsystest.Fault{Err: syscall.EIO}
	})
	var all sync.WaitGroup
	acknowledged := make([]bool, 200)
	for i := range acknowledged {
		all.Go(func() { acknowledged[i] = j.Append(entry(i)) == nil })
	}
	all.Wait()
	disk.PowerCut(none)
	_ = j.Close()
	o.FS = disk.Boot()
	again, _, err := journal.Open(o, journal.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	for i, yes := range acknowledged {
		if got := has(t, again, entry(i)); got != yes {
			t.Errorf("entry %d is there: %v, acknowledged: %v", i, got, yes)
		}
	}
	_ = again.Close()
}

// Nobody who appends waits for the sync of a checkpoint.
func TestNobodyWaitsForASync(t *testing.T) {
	t.Parallel()
	slow := &slowSync{FS: fsys.OS{}, begun: make(chan struct{}), end: make(chan struct{})}
	o := options(t)
	o.FS, o.SyncEvery = slow, time.Hour
	j := create(t, o)
	add(t, j, entry(1))
	slow.is = true
	marked := make(chan journal.Mark)
	go func() {
		m, err := j.Mark()
		if err != nil {
			t.Error(err)
		}
		marked <- m
	}()
	<-slow.begun
	add(t, j, entry(2)) // hangs if it waits
	close(slow.end)
	if m := <-marked; m.Size >= size(t, o) {
		t.Errorf("the mark says that %d bytes are durable, which may be wrong of the last entry", m.Size)
	}
	slow.is = false
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// slowSync is a file system whose syncs take their time.
type slowSync struct {
	fsys.FS
	is         bool
	begun, end chan struct{}
}

func (s *slowSync) OpenFile(path string, flag int, perm os.FileMode) (fsys.File, error) {
	f, err := s.FS.OpenFile(path, flag, perm)
	return slowFile{f, s}, err
}

type slowFile struct {
	fsys.File
	fs *slowSync
}

func (f slowFile) Sync() error {
	if f.fs.is {
		close(f.fs.begun)
		<-f.fs.end
	}
	return f.File.Sync()
}

func TestWhatIsNoJournal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, o journal.Options)
		mark  journal.Mark
		where string // what the error names
	}{
		{"the file is gone", func(t *testing.T, o journal.Options) { remove(t, o, "journal.0") }, journal.Mark{}, "journal.0 is missing"},
		{"the newer one is gone", func(*testing.T, journal.Options) {}, journal.Mark{Last: 1, Size: 5}, "journal.1 is missing"},
		{"it is shorter", func(t *testing.T, o journal.Options) { write(t, o, []byte("rowmill journal 1\n")) }, journal.Mark{Size: 30}, "journal.0 is damaged at byte 18"},
		{"of another version", func(t *testing.T, o journal.Options) { write(t, o, []byte("rowmill journal 9\nxxxxxxxxxxxxxx")) }, journal.Mark{Size: 30}, "journal.0 is damaged at byte 0"},
		{"torn, and another follows", func(t *testing.T, o journal.Options) {
			write(t, o, []byte("rowmill journal 1\nxx"))
			if err := os.WriteFile(filepath.Join(o.Dir, "journal.1"), []byte("rowmill journal 1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, journal.Mark{}, "journal.0 is damaged at byte 18"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			j := create(t, o)
			add(t, j, entry(1))
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			c.do(t, o)
			if _, _, err := journal.Open(o, c.mark); err == nil || !strings.Contains(err.Error(), filepath.Join(o.Dir, c.where)) || !strings.Contains(err.Error(), "--fresh") {
				t.Errorf("got %v, want that %s, and what to do", err, c.where)
			}
		})
	}
}

func remove(t *testing.T, o journal.Options, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(o.Dir, name)); err != nil {
		t.Fatal(err)
	}
}

// What an older journal has left is not taken for a part of a new one.
func TestANewJournalIsAlone(t *testing.T) {
	t.Parallel()
	o := options(t)
	j := create(t, o)
	add(t, j, entry(1))
	_ = j.Close()
	if err := os.Rename(filepath.Join(o.Dir, "journal.0"), filepath.Join(o.Dir, "journal.7")); err != nil {
		t.Fatal(err)
	}
	j = create(t, o)
	add(t, j, entry(2))
	_ = j.Close()
	j, _, err := journal.Open(o, journal.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	if has(t, j, entry(1)) || !has(t, j, entry(2)) {
		t.Error("want the entry of the new one alone")
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "journal.7")); err == nil {
		t.Error("the file of the older one is still there")
	}
	_ = j.Close()
}

// A power cut may lose an entry and leave those behind it. They are gone then: they must
// not come back behind what is written in its place.
func TestWhatIsBehindATornEntryIsGone(t *testing.T) {
	t.Parallel()
	o := options(t)
	j := create(t, o)
	add(t, j, entry(1))
	two := size(t, o)
	add(t, j, entry(2))
	three := size(t, o)
	add(t, j, entry(3))
	_ = j.Close()
	whole, err := os.ReadFile(filepath.Join(o.Dir, "journal.0"))
	if err != nil {
		t.Fatal(err)
	}
	clear(whole[two:three])
	write(t, o, whole)
	j, torn, err := journal.Open(o, journal.Mark{})
	want := journal.Torn{Path: filepath.Join(o.Dir, "journal.0"), Offset: two, Bytes: int64(len(whole)) - two, Whole: true}
	if err != nil || torn != want {
		t.Fatalf("got %+v, %v, want %+v", torn, err, want)
	}
	add(t, j, entry(4)) // as long as the one that was lost
	_ = j.Close()
	if j, torn, err = journal.Open(o, journal.Mark{}); err != nil || torn != (journal.Torn{}) {
		t.Fatal(torn, err)
	}
	for i, want := range []bool{1: true, 4: true} {
		if got := has(t, j, entry(i)); got != want {
			t.Errorf("entry %d is there: %v, want %v", i, got, want)
		}
	}
	if has(t, j, entry(3)) {
		t.Error("what was behind the torn entry is there again")
	}
	_ = j.Close()
}

// What is of use is not copied again and again.
func TestLiveEntriesStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Slack = 1 << 10
	j := create(t, o)
	for i := range 500 {
		add(t, j, entry(i))
		if err := j.Forget(0, func(r pipeline.Ref) bool { return r.Seq%2 == 0 }); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := j.Mark(); got.File != 0 || err != nil {
		t.Errorf("got file %d, %v, want the first", got.File, err)
	}
	_ = j.Close()
}

// The files of a journal are their owner's alone: they hold rows and answers.
func TestFilesAreTheOwners(t *testing.T) {
	t.Parallel()
	o := options(t)
	j := create(t, o)
	info, err := os.Stat(filepath.Join(o.Dir, "journal.0"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v, want 0600", info.Mode(), err)
	}
	_ = j.Close()
}
