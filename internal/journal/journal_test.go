package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/journal"
	"github.com/rowmill/rowmill/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t *testing.T) journal.Options {
	t.Helper()
	return journal.Options{FS: fsys.OS{}, Dir: t.TempDir()}
}

func entry(i int) journal.Entry {
	return journal.Entry{
		Key:   journal.Key{Stage: "label", Ref: pipeline.Ref{Seq: uint64(i), Path: "/" + fmt.Sprint(i%3)}},
		Guard: uint64(i) * 7, Payload: fmt.Appendf(nil, "answer %d", i),
	}
}

func create(t *testing.T, o journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Create(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func add(t *testing.T, j *journal.Journal, entries ...journal.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func has(t *testing.T, j *journal.Journal, e journal.Entry) bool {
	t.Helper()
	got, ok, err := j.Lookup(e.Key, e.Guard)
	if err != nil {
		t.Fatal(err)
	}
	if ok && string(got) != string(e.Payload) {
		t.Fatalf("got %q for %v, want %q", got, e.Key, e.Payload)
	}
	return ok
}

func TestWhatWasAppendedIsThereAgain(t *testing.T) {
	t.Parallel()
	o := options(t)
	j := create(t, o)
	add(t, j, entry(1), entry(2), entry(3))
	newer := entry(2)
	newer.Payload = []byte("again")
	add(t, j, newer)
	for _, again := range []bool{false, true} {
		if again { // not closed: killed
			var torn journal.Torn
			var err error
			if j, torn, err = journal.Open(o, journal.Mark{}); err != nil || torn != (journal.Torn{}) {
				t.Fatal(torn, err)
			}
		}
		for _, e := range []journal.Entry{entry(1), newer, entry(3)} {
			if !has(t, j, e) {
				t.Errorf("reopened %v: %v is not there", again, e.Key)
			}
		}
		other := entry(1)
		other.Guard++
		if has(t, j, other) {
			t.Errorf("reopened %v: an entry of another guard is used", again)
		}
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if err := j.Append(entry(4)); err == nil {
		t.Error("a closed journal takes an entry")
	}
}

// Whatever is cut off at the end, the entries in front of it are there, and writing
// goes on behind them.
func TestATornTailIsCutOff(t *testing.T) {
	t.Parallel()
	o := options(t)
	j := create(t, o)
	add(t, j, entry(1))
	one := size(t, o)
	add(t, j, entry(2))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(o.Dir, "journal.0"))
	if err != nil {
		t.Fatal(err)
	}
	for n := one; n < int64(len(whole)); n++ {
		o := options(t)
		write(t, o, whole[:n])
		j, torn, err := journal.Open(o, journal.Mark{})
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if !has(t, j, entry(1)) || has(t, j, entry(2)) || torn.Bytes != n-one {
			t.Errorf("cut at %d: got %+v, want the first entry and %d bytes cut off", n, torn, n-one)
		}
		add(t, j, entry(3))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j, _, err = journal.Open(o, journal.Mark{})
		if err != nil || !has(t, j, entry(1)) || !has(t, j, entry(3)) {
			t.Errorf("cut at %d: what was written behind it is not there: %v", n, err)
		}
		_ = j.Close()
	}
}

// A changed byte in front of what was durable is damage; behind it, it ends the journal.
func TestAChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	o := options(t)
	j := create(t, o)
	add(t, j, entry(1), entry(2))
	mark, err := j.Mark()
	if err != nil {
		t.Fatal(err)
	}
	add(t, j, entry(3), entry(4))
	_ = j.Close()
	whole, err := os.ReadFile(filepath.Join(o.Dir, "journal.0"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		o := options(t)
		changed := append([]byte(nil), whole...)
		changed[i] ^= 0x10
		write(t, o, changed)
		j, torn, err := journal.Open(o, mark)
		var corrupt *journal.CorruptError
		switch durable := int64(i) < mark.Size; {
		case durable && !errors.As(err, &corrupt):
			t.Errorf("byte %d: got %v, want damage", i, err)
		case !durable && (err != nil || torn.Bytes == 0):
			t.Errorf("byte %d: got %+v, %v, want a torn tail", i, torn, err)
		}
		if err == nil {
			_ = j.Close()
		}
	}
}

func TestForgettingKeepsTheJournalSmall(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Slack = 4 << 10
	j := create(t, o)
	const window = 20
	checkpoint := 0
	for i := range 5000 {
		add(t, j, entry(i))
		if i%10 != 9 {
			continue
		}
		if err := j.Forget(checkpoint, func(r pipeline.Ref) bool { return r.Seq+window <= uint64(i) }); err != nil {
			t.Fatal(err)
		}
		m, err := j.Mark()
		if err != nil {
			t.Fatal(err)
		}
		checkpoint = m.File
	}
	if got := j.Size(); got > 3*o.Slack {
		t.Errorf("got %d bytes, want about %d at most", got, o.Slack)
	}
	files, err := os.ReadDir(o.Dir)
	if err != nil || len(files) > 2 {
		t.Errorf("got %d files, %v, want two at most", len(files), err)
	}
	again, _, err := journal.Open(o, journal.Mark{File: checkpoint})
	if err != nil {
		t.Fatal(err)
	}
	for i := 5000 - window + 1; i < 5000; i++ {
		if !has(t, again, entry(i)) {
			t.Errorf("entry %d is not there", i)
		}
	}
	_, _ = j.Close(), again.Close()
}

func TestManyAppendAtOnce(t *testing.T) {
	t.Parallel()
	for _, every := range []int{0, -1} {
		o := options(t)
		if o.SyncEvery = 0; every < 0 {
			o.SyncEvery = -1
		}
		j := create(t, o)
		var all sync.WaitGroup
		const each = 50
		for w := range 32 {
			all.Go(func() {
				for i := range each {
					if err := j.Append(entry(w*each + i)); err != nil {
						t.Error(err)
					}
					if i%20 == 0 {
						if _, err := j.Mark(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Wait()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		again, _, err := journal.Open(o, journal.Mark{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 32 * each {
			if !has(t, again, entry(i)) {
				t.Errorf("entry %d is not there", i)
			}
		}
		_ = again.Close()
	}
}

func BenchmarkAppend(b *testing.B) {
	j, err := journal.Create(journal.Options{FS: fsys.OS{}, Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	e := entry(1)
	e.Payload = make([]byte, 500)
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := j.Append(e); err != nil {
				b.Error(err)
			}
		}
	})
}

func size(t *testing.T, o journal.Options) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(o.Dir, "journal.0"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func write(t *testing.T, o journal.Options, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.Dir, "journal.0"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
