package fsystest_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/fsys/fsystest"
)

// most keeps all, none nothing.
func most(n int) int { return n - 1 }
func none(int) int   { return 0 }

func open(t *testing.T, files fsys.FS, path string) fsys.File {
	t.Helper()
	f, err := files.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, f fsys.File, text string) {
	t.Helper()
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// content is what is in a file, or "-" if there is none.
func content(t *testing.T, files fsys.FS, path string) string {
	t.Helper()
	f, err := files.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	ok(t, err)
	data, err := io.ReadAll(f)
	ok(t, err, f.Close())
	return string(data)
}

func TestWhatACrashLeaves(t *testing.T) {
	t.Parallel()
	folderSynced := func(t *testing.T, files fsys.FS) fsys.File {
		f := open(t, files, "a")
		ok(t, files.SyncDir("."))
		put(t, f, "one")
		return f
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, files fsys.FS)
		// What the files a and b hold after a kill, and after a power cut that leaves
		// nothing that was not synced.
		kill, cut [2]string
	}{
		{"a file that was not synced", func(t *testing.T, files fsys.FS) { put(t, open(t, files, "a"), "one") }, [2]string{"one", "-"}, [2]string{"-", "-"}},
		{"nor was its folder", func(t *testing.T, files fsys.FS) {
			f := open(t, files, "a")
			put(t, f, "one")
			ok(t, f.Sync())
		}, [2]string{"one", "-"}, [2]string{"-", "-"}},
		{"nor was what is in it", func(t *testing.T, files fsys.FS) { folderSynced(t, files) }, [2]string{"one", "-"}, [2]string{"", "-"}},
		{"synced, and then written", func(t *testing.T, files fsys.FS) {
			f := folderSynced(t, files)
			ok(t, f.Sync())
			put(t, f, " two")
		}, [2]string{"one two", "-"}, [2]string{"one", "-"}},
		{"cut", func(t *testing.T, files fsys.FS) {
			f := folderSynced(t, files)
			ok(t, f.Sync(), f.Truncate(1))
		}, [2]string{"o", "-"}, [2]string{"one", "-"}},
		{"renamed", func(t *testing.T, files fsys.FS) {
			f := folderSynced(t, files)
			ok(t, f.Sync(), files.Rename("a", "b"))
		}, [2]string{"-", "one"}, [2]string{"one", "-"}},
		{"renamed, and the folder synced", func(t *testing.T, files fsys.FS) {
			f := folderSynced(t, files)
			ok(t, f.Sync(), files.Rename("a", "b"), files.SyncDir("."))
		}, [2]string{"-", "one"}, [2]string{"-", "one"}},
		{"removed", func(t *testing.T, files fsys.FS) {
			f := folderSynced(t, files)
			ok(t, f.Sync(), files.Remove("a"))
		}, [2]string{"-", "-"}, [2]string{"one", "-"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, cut := range []bool{false, true} {
				d, want := fsystest.New(), c.kill
				files := d.Boot()
				c.do(t, files)
				if cut {
					d.PowerCut(none)
					want = c.cut
				}
				after := d.Boot()
				if got := [2]string{content(t, after, "a"), content(t, after, "b")}; got != want {
					t.Errorf("power cut %v: got %q, want %q\n%v", cut, got, want, d)
				}
				if err := files.Rename("a", "b"); !errors.Is(err, fsystest.ErrKilled) {
					t.Errorf("a process that was killed goes on: %v", err)
				}
			}
		})
	}
}

// Of three writes that were not synced, a power cut can leave any that a disk can.
func TestAPowerCutTearsAndReorders(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range 1000 {
		d := fsystest.New()
		files := d.Boot()
		f := open(t, files, "a")
		ok(t, files.SyncDir("."))
		for _, text := range []string{"aa", "bb", "cc"} {
			put(t, f, text)
		}
		d.PowerCut(func(n int) int {
			digit := seed % n
			seed /= n
			return digit
		})
		seen[content(t, d.Boot(), "a")] = true
	}
	for _, want := range []string{"", "a", "aa", "aab", "aabb", "aabbcc", "\x00\x00bb", "aa\x00\x00cc"} {
		if !seen[want] {
			t.Errorf("%q is never left", want)
		}
	}
	for _, never := range []string{"bb", "cc", "aacc", "aabbccc"} {
		if seen[never] {
			t.Errorf("%q is left, which no disk does", never)
		}
	}
}

func TestFoldersAreLostToo(t *testing.T) {
	t.Parallel()
	d := fsystest.New()
	files := d.Boot()
	ok(t, files.MkdirAll("x/y", 0o700))
	f := open(t, files, "x/y/a")
	put(t, f, "one")
	ok(t, f.Sync(), files.SyncDir("x/y"), files.SyncDir("x"))
	d.PowerCut(none)
	if got := content(t, d.Boot(), "x/y/a"); got != "-" {
		t.Errorf("got %q of a file whose folder was lost", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	fail := func(op fsystest.Op, f fsystest.Fault) func(fsystest.Call) fsystest.Fault {
		return func(c fsystest.Call) fsystest.Fault {
			if c.Op != op {
				return fsystest.Fault{}
			}
			return f
		}
	}
	d := fsystest.New()
	files := d.Boot()
	f := open(t, files, "a")
	ok(t, files.SyncDir("."))

	d.Inject(fail(fsystest.OpWrite, fsystest.Fault{Err: syscall.ENOSPC, Bytes: 2}))
	if n, err := f.Write([]byte("one")); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %d, %v, want a short write", n, err)
	}
	d.Inject(fail(fsystest.OpRename, fsystest.Fault{Err: syscall.EIO}))
	if err := files.Rename("a", "b"); !errors.Is(err, syscall.EIO) || content(t, files, "a") != "on" {
		t.Errorf("got %v, want a rename that did nothing", err)
	}
	d.Inject(fail(fsystest.OpSync, fsystest.Fault{Err: syscall.EIO}))
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want a sync that fails", err)
	}
	d.Inject(nil)
	put(t, f, "!")
	ok(t, f.Sync()) // it does not save what the one before has not
	d.PowerCut(none)
	if got := content(t, d.Boot(), "a"); got != "\x00\x00!" {
		t.Errorf("got %q, want that what a failed sync has lost stays lost", got)
	}
}

func TestAProcessIsKilledAtACall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		choose func(int) int
		want   string
	}{{none, "one"}, {most, "onetwo"}, {func(n int) int { return n / 2 }, "onetw"}} {
		d := fsystest.New()
		f := open(t, d.Boot(), "a")
		d.KillAt(1, c.choose)
		put(t, f, "one")
		for _, text := range []string{"two", "three"} {
			if _, err := f.Write([]byte(text)); !errors.Is(err, fsystest.ErrKilled) {
				t.Errorf("got %v, want that the process is killed", err)
			}
		}
		if got := content(t, d.Boot(), "a"); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// The disk does what the operating system does.
func TestAsTheSystemDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		here := filepath.Join(dir, fmt.Sprint(round))
		disk := fsystest.New().Boot()
		both := [2]*user{{files: fsys.OS{}, dir: here}, {files: disk, dir: here}}
		for _, u := range both {
			if err := u.files.MkdirAll(u.dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			call := rapid.SampledFrom(calls).Draw(t, "call")
			a, b := rapid.IntRange(0, 9).Draw(t, "a"), rapid.IntRange(0, 9).Draw(t, "b")
			if want, got := call(both[0], a, b), call(both[1], a, b); got != want {
				t.Fatalf("got %q, the system says %q", got, want)
			}
		}
		for _, u := range both {
			if u.file != nil {
				_ = u.file.Close()
			}
		}
	})
}

// user is one who makes calls.
type user struct {
	files fsys.FS
	dir   string
	file  fsys.File
}

func (u *user) path(n int) string { return filepath.Join(u.dir, string(rune('a'+n%3))) }

// say is what a call returned, in words that do not depend on the system.
func say(err error, more ...any) string {
	for _, known := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrClosed, io.EOF} {
		if errors.Is(err, known) {
			return fmt.Sprint(known, more)
		}
	}
	return fmt.Sprint(err != nil, more)
}

var calls = []func(u *user, a, b int) string{
	func(u *user, a, b int) string {
		flag := []int{os.O_RDWR | os.O_CREATE, os.O_RDWR, os.O_WRONLY | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_CREATE | os.O_APPEND, os.O_CREATE | os.O_EXCL | os.O_RDWR}[b%5]
		f, err := u.files.OpenFile(u.path(a), flag, 0o600)
		if err != nil {
			return say(err)
		}
		if u.file != nil {
			_ = u.file.Close()
		}
		u.file = f
		return say(nil, f.Name())
	},
	func(u *user, a, b int) string {
		return u.withFile(func() string {
			n, err := u.file.Write([]byte(strings.Repeat(string(rune('0'+a)), b)))
			return say(err, n)
		})
	},
	func(u *user, a, _ int) string {
		return u.withFile(func() string {
			p := make([]byte, 1+a)
			n, err := u.file.Read(p)
			return say(err, n, p)
		})
	},
	func(u *user, a, b int) string {
		return u.withFile(func() string {
			n, err := u.file.Seek(int64(a-3), b%3)
			return say(err, n)
		})
	},
	func(u *user, a, _ int) string {
		return u.withFile(func() string { return say(u.file.Truncate(int64(a))) })
	},
	func(u *user, _, _ int) string { return u.withFile(func() string { return say(u.file.Sync()) }) },
	func(u *user, _, _ int) string { return u.withFile(func() string { return say(u.file.Close()) }) },
	func(u *user, a, b int) string { return say(u.files.Rename(u.path(a), u.path(b))) },
	func(u *user, a, _ int) string { return say(u.files.Remove(u.path(a))) },
	func(u *user, _, _ int) string { return say(u.files.SyncDir(u.dir)) },
	func(u *user, a, _ int) string {
		info, err := u.files.Stat(u.path(a))
		if err != nil {
			return say(err)
		}
		return say(err, info.Name(), info.Size(), info.IsDir(), info.Mode())
	},
	func(u *user, _, _ int) string {
		entries, err := u.files.ReadDir(u.dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return say(err, slices.Clone(names))
	},
}

func (u *user) withFile(f func() string) string {
	if u.file == nil {
		return "no file"
	}
	return f()
}
