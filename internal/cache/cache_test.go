package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/cache"
)

// writerVariable makes the test's binary a process that fills the cache it names.
const writerVariable = "ROWMILL_CACHE_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerVariable); path != "" {
		writeForever(path)
	}
	goleak.VerifyTestMain(m)
}

func keyOf(n int) cache.Key { return sha256.Sum256([]byte(strconv.Itoa(n))) }

func valueOf(n int) []byte { return fmt.Appendf(nil, "value %d %0*d", n, n%2000, 0) }

func fresh(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "answers.db") }

func open(t *testing.T, path string) *cache.File {
	t.Helper()
	f, err := cache.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func shut(t *testing.T, f *cache.File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// has reports whether value n is there, and fails if there is another.
func has(t *testing.T, f *cache.File, n int) bool {
	t.Helper()
	value, found, err := f.Get(keyOf(n))
	if err != nil {
		t.Fatalf("Get %d: %v", n, err)
	}
	if found && !bytes.Equal(value, valueOf(n)) {
		t.Fatalf("Get %d: got %q, want %q", n, value, valueOf(n))
	}
	return found
}

// filled makes a cache with the values from 0 to n.
func filled(t *testing.T, path string, n int) {
	t.Helper()
	f := open(t, path)
	for i := range n {
		f.Put(keyOf(i), valueOf(i))
	}
	shut(t, f)
}

func TestWhatIsPutIsThereAtOnceAndLater(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	f := open(t, path)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := w; n < 800; n += 8 {
				if has(t, f, n) {
					t.Errorf("value %d is there before it was put", n)
				}
				f.Put(keyOf(n), valueOf(n))
				if !has(t, f, n) {
					t.Errorf("value %d is not there at once", n)
				}
			}
		})
	}
	all.Wait()
	shut(t, f)
	f = open(t, path)
	defer shut(t, f)
	for n := range 800 {
		if !has(t, f, n) {
			t.Fatalf("value %d is not there later", n)
		}
	}
	s, err := f.Stats()
	if err != nil || s.Values != 800 || s.Bytes > s.FileBytes || s.Oldest.After(s.Newest) || time.Since(s.Oldest) > time.Minute {
		t.Errorf("stats: %+v, %v", s, err)
	}
}

func TestLaterValueReplaces(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	f := open(t, path)
	f.Put(keyOf(1), []byte("old"))
	f.Put(keyOf(1), []byte("new"))
	for range 2 {
		if value, _, err := f.Get(keyOf(1)); err != nil || string(value) != "new" {
			t.Errorf("got %q, %v, want new", value, err)
		}
		shut(t, f)
		f = open(t, path)
	}
	shut(t, f)
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	f := open(t, path)
	_, err := cache.Open(path)
	if err == nil || !strings.Contains(err.Error(), path+": is open in another run; wait") {
		t.Errorf("got %v, want an error with the path and what to do", err)
	}
	shut(t, f)
	shut(t, open(t, path))
}

func TestFilesAreOpenOnce(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	var files cache.Files
	a, releaseA, err := files.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, releaseB, err := files.Open(filepath.Dir(path) + "/./answers.db")
	if err != nil || a != b {
		t.Fatalf("got %p and %p, %v, want the same", a, b, err)
	}
	a.Put(keyOf(1), valueOf(1))
	if err := releaseA(); err != nil {
		t.Fatal(err)
	}
	if !has(t, b, 1) {
		t.Error("the value is gone")
	}
	if err := releaseB(); err != nil {
		t.Fatal(err)
	}
	shut(t, open(t, path)) // nobody holds it any more
}

// TestDamage: whatever happened to the file, there is an error that names it, or
// right values, but no crash and no wrong value.
func TestDamage(t *testing.T) {
	t.Parallel()
	whole := fresh(t)
	filled(t, whole, 300)
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	cases := map[string]func([]byte) []byte{
		"cut to a page": func(b []byte) []byte { return b[:4096] },
		"cut to half":   func(b []byte) []byte { return b[:len(b)/2] },
		"a text":        func([]byte) []byte { return bytes.Repeat([]byte("no cache\n"), 5000) },
		"metas zero":    func(b []byte) []byte { clear(b[:8192]); return b },
		"rest zero":     func(b []byte) []byte { clear(b[8192:]); return b },
		"rest noise": func(b []byte) []byte {
			for i := 8192; i < len(b); i++ {
				b[i] = byte(dice.Uint32())
			}
			return b
		},
		"values changed": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("value "), []byte("volue ")) },
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			path := fresh(t)
			if err := os.WriteFile(path, damage(bytes.Clone(content)), 0o600); err != nil {
				t.Fatal(err)
			}
			wantDamaged(t, path, readAll(t, path, 300))
		})
	}
	for i := range 40 {
		path := fresh(t)
		b := bytes.Clone(content)
		at := dice.IntN(len(b))
		b[at] ^= 1 << dice.IntN(8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readAll(t, path, 300); err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("bit flip %d at %d: %v", i, at, err)
		}
	}
}

// TestPagesThatAreMissing: a large file that was cut short is mapped beyond its end, and
// a look at what is missing there is a fault, which ends a program unless it is guarded.
func TestPagesThatAreMissing(t *testing.T) {
	t.Parallel()
	const many = 3000
	whole := fresh(t)
	filled(t, whole, many)
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	// The map of a file is a power of two long: there is another quarter of the file in it,
	// which is missing.
	left := len(content)/4 + 4096
	t.Run("before it is opened", func(t *testing.T) {
		t.Parallel()
		path := fresh(t)
		if err := os.WriteFile(path, content[:left], 0o600); err != nil {
			t.Fatal(err)
		}
		wantDamaged(t, path, readAll(t, path, many))
	})
	t.Run("while it is open", func(t *testing.T) {
		t.Parallel()
		path := fresh(t)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, path)
		if err := os.Truncate(path, int64(left)); err != nil {
			t.Fatal(err)
		}
		wantDamaged(t, path, lookUp(t, f, many))
		f.Put(keyOf(many), valueOf(many))
		if err := f.Close(); err == nil || !strings.Contains(err.Error(), path) { // which does not wait for ever
			t.Errorf("Close: got %v, want that the write failed, with the path", err)
		}
	})
}

func wantDamaged(t *testing.T, path string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("got %v, want an error with the path and what to do", err)
	}
}

// readAll looks up the values from 0 to many; a wrong one fails the test.
func readAll(t *testing.T, path string, many int) error {
	t.Helper()
	f, err := cache.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it is damaged
	return lookUp(t, f, many)
}

func lookUp(t *testing.T, f *cache.File, many int) error {
	t.Helper()
	for n := range many {
		value, found, err := f.Get(keyOf(n))
		if err != nil {
			return err
		}
		if found && !bytes.Equal(value, valueOf(n)) {
			t.Fatalf("value %d is wrong: %q", n, value)
		}
	}
	return nil
}

func TestFileOfAnotherProgram(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Open(path); err == nil || !strings.Contains(err.Error(), "is no cache of rowmill; use another file") || strings.Contains(err.Error(), "delete") {
		t.Errorf("got %v, want that it is another program's", err)
	}
}

func TestMissingFileIsNotMade(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	if _, err := cache.OpenExisting(path, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenExisting: got %v, want fs.ErrNotExist", err)
	}
	if _, _, err := cache.Prune(path, cache.Bounds{Bytes: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Prune: got %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file was made: %v", err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	filled(t, path, 200)
	early, err := cache.OpenExisting(path, true)
	if err != nil {
		t.Fatal(err)
	}
	first, err := early.Stats()
	if err != nil {
		t.Fatal(err)
	}
	shut(t, early)
	f := open(t, path)
	for n := 200; n < 300; n++ {
		f.Put(keyOf(n), valueOf(n))
	}
	shut(t, f)

	before, after, err := cache.Prune(path, cache.Bounds{Since: first.Newest.Add(1), Bytes: -1})
	if err != nil || before.Values != 300 || after.Values != 100 || after.FileBytes >= before.FileBytes || !after.Oldest.After(first.Newest) {
		t.Errorf("by age: %+v → %+v, %v", before, after, err)
	}
	_, less, err := cache.Prune(path, cache.Bounds{Bytes: after.Bytes / 2})
	if err != nil || less.Bytes > after.Bytes/2 || less.Bytes < after.Bytes/2-5000 || !less.Newest.Equal(after.Newest) || !less.Oldest.After(after.Oldest) {
		t.Errorf("by size: %+v → %+v, %v", after, less, err)
	}
	_, all, err := cache.Prune(path, cache.Bounds{Bytes: less.Bytes})
	if err != nil || all.Values != less.Values {
		t.Errorf("what is within bounds: %+v → %+v, %v", less, all, err)
	}
	f = open(t, path)
	defer shut(t, f)
	if has(t, f, 0) || !has(t, f, 299) {
		t.Error("the oldest is there, or the newest is not")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestPruneFollowsLinks(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	filled(t, path, 10)
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := cache.Prune(link, cache.Bounds{Bytes: 0}); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	defer shut(t, f)
	if s, err := f.Stats(); err != nil || s.Values != 0 {
		t.Errorf("the file behind the link: %+v, %v, want no values", s, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is no link any more: %v, %v", info, err)
	}
}

// writeForever puts values until it is killed, and says which ones are there.
func writeForever(path string) {
	f, err := cache.Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("writing")
	for n := 0; ; n++ {
		f.Put(keyOf(n%20000), valueOf(n%20000))
	}
}

// TestKill: a process that is killed while it writes leaves a file that is whole.
func TestKill(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	total := int64(0)
	for range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 8)
		if _, err := out.Read(said); err != nil || string(said) != "writing\n" {
			t.Fatalf("the writer says %q, %v", said, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+rand.IntN(80))*time.Millisecond)
		<-ctx.Done()
		cancel()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		f := open(t, path)
		s, err := f.Stats() // reads and checks every value
		if err != nil || s.Values < total {
			t.Fatalf("after a kill: %+v, %v, want at least %d values", s, err, total)
		}
		total = s.Values
		shut(t, f)
	}
	if total == 0 {
		t.Error("no value was kept by any of the processes: nothing was tried")
	}
}
