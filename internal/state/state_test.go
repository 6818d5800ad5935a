package state_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/internal/state"
)

// holdVariable makes the test binary take a folder and keep it until its stdin ends.
const holdVariable = "ROWMILL_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		if _, err := state.Take(fsys.OS{}, dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("taken")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// hold starts a process that has the folder.
func hold(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdVariable+"="+dir)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said := make([]byte, len("taken"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "taken" {
		t.Fatalf("the other process says %q, %v", said, err)
	}
	return cmd
}

func TestAFolderHasOneRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".rowmill", "name")
	other := hold(t, dir)
	_, err := state.Take(fsys.OS{}, dir)
	var held *state.HeldError
	if !errors.As(err, &held) || held.PID != other.Process.Pid || !strings.Contains(err.Error(), fmt.Sprintf("process %d", held.PID)) {
		t.Errorf("got %v, want that process %d has it", err, other.Process.Pid)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	lock, err := state.Take(fsys.OS{}, dir) // what it left is no obstacle
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Take(fsys.OS{}, dir); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("got %v, want that this process has it", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	again, err := state.Take(fsys.OS{}, dir)
	if err != nil {
		t.Fatalf("released, and not to be had: %v", err)
	}
	_ = again.Release()
}

func TestAFolderThatCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Take(fsys.OS{}, filepath.Join(file, "state")); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("got %v, want an error that says whose it is", err)
	}
}

func checkpoint(t *testing.T, files fsys.FS, dir, text string) {
	t.Helper()
	if err := state.WriteCheckpoint(files, dir, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func read(files fsys.FS, dir string) string {
	data, err := state.ReadCheckpoint(files, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	if err != nil {
		return "damaged"
	}
	return string(data)
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := read(fsys.OS{}, dir); got != "none" {
		t.Errorf("got %q where there is none", got)
	}
	for _, text := range []string{`{"next":1}`, "", "\n\n", strings.Repeat("x", 100_000)} {
		checkpoint(t, fsys.OS{}, dir, text)
		if got := read(fsys.OS{}, dir); got != text {
			t.Errorf("got %.20q, want %.20q", got, text)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %v, %v, want the checkpoint alone", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v, want a file of its owner's alone", info.Mode(), err)
	}
}

func TestADamagedCheckpointIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "checkpoint")
	checkpoint(t, fsys.OS{}, dir, `{"next":1}`)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := state.ReadCheckpoint(fsys.OS{}, dir); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want that %s is damaged", what, err, path)
		}
	}
	for n := range whole {
		try(fmt.Sprint("cut at ", n), whole[:n])
		for bit := range 8 {
			changed := append([]byte(nil), whole...)
			changed[n] ^= 1 << bit
			try(fmt.Sprintf("bit %d of byte %d", bit, n), changed)
		}
	}
	try("longer", append(whole, '\n'))
}

// Wherever a process is killed or the power cut while a checkpoint takes the place of
// another, one of the two is there, whole; and the new one if it was acknowledged.
func TestACheckpointReplacesAtOnce(t *testing.T) {
	t.Parallel()
	none, most := func(int) int { return 0 }, func(n int) int { return n - 1 }
	for call := range 12 {
		for _, power := range []bool{false, true} {
			for _, choose := range []func(int) int{none, most, func(n int) int { return n / 2 }} {
				disk := fsystest.New()
				files := disk.Boot()
				if _, err := state.Take(files, "a/b"); err != nil {
					t.Fatal(err)
				}
				checkpoint(t, files, "a/b", "old")
				disk.KillAt(call, choose)
				err := state.WriteCheckpoint(files, "a/b", []byte("new"))
				if power {
					disk.PowerCut(choose)
				}
				got := read(disk.Boot(), "a/b")
				if got != "new" && (got != "old" || err == nil) {
					t.Errorf("killed at call %d, power cut %v: got %q after %v", call, power, got, err)
				}
			}
		}
	}
}

func TestACheckpointThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op   fsystest.Op
		want error
		left string
	}{
		{fsystest.OpOpen, syscall.EROFS, "old"},
		{fsystest.OpWrite, syscall.ENOSPC, "old"},
		{fsystest.OpSync, syscall.EIO, "old"},
		{fsystest.OpRename, syscall.EIO, "old"},
		{fsystest.OpSyncDir, syscall.EIO, "new"}, // and perhaps not after a power cut
	} {
		disk := fsystest.New()
		files := disk.Boot()
		checkpoint(t, files, ".", "old")
		disk.Inject(func(call fsystest.Call) fsystest.Fault {
			if call.Op != c.op {
				return fsystest.Fault{}
			}
			return fsystest.Fault{Err: c.want, Bytes: call.Size / 2}
		})
		if err := state.WriteCheckpoint(files, ".", []byte("new")); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.op, err, c.want)
		}
		disk.Inject(nil)
		if got := read(files, "."); got != c.left {
			t.Errorf("%s: got %q, want %q", c.op, got, c.left)
		}
		checkpoint(t, files, ".", "newer")
		if got := read(files, "."); got != "newer" {
			t.Errorf("%s: got %q after it, want newer", c.op, got)
		}
	}
}

// Clear leaves nothing of a run, and at no moment a checkpoint without what it needs.
func TestClear(t *testing.T) {
	t.Parallel()
	for chance := range 20 * 64 {
		call, kept := chance%20, chance/20
		disk := fsystest.New()
		files := disk.Boot()
		lock, err := state.Take(files, "run")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"journal.3", "journal.4", "state.dedupe", "checkpoint.tmp", "mine"} {
			f, err := files.OpenFile(filepath.Join("run", name), os.O_CREATE|os.O_RDWR, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		checkpoint(t, files, "run", "old")
		disk.KillAt(call, func(int) int { return 0 })
		err = state.Clear(files, "run")
		disk.PowerCut(func(n int) int {
			one := kept % n
			kept /= 2
			return one
		})
		files = disk.Boot()
		entries, _ := files.ReadDir("run")
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		all := strings.Join(names, " ")
		if strings.Contains(all, "checkpoint ") && !strings.Contains(all, "journal.3 journal.4 lock mine state.dedupe") {
			t.Errorf("killed at call %d: a checkpoint without what it needs: %s", call, all)
		}
		if err == nil {
			if err := state.Clear(files, "run"); err != nil {
				t.Error(err)
			}
			if left, _ := files.ReadDir("run"); len(left) > 2 {
				t.Errorf("%d files are left, want the lock and what is the user's", len(left))
			}
		}
		_ = lock.Release()
	}
}
