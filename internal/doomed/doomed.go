// Package doomed has tests run a pipeline in a process of its own, and kill that.
package doomed

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// variable names the folder of the pipeline, in a process that may not see its end.
const variable = "ROWMILL_TEST_DOOMED_FOLDER"

// Main is called first in TestMain. In a process that [Run] has started it calls run with
// the folder and ends the process; in any other it does nothing.
func Main(run func(dir string) error) {
	dir := os.Getenv(variable)
	if dir == "" {
		return
	}
	if err := run(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Run runs the pipeline in a process and reports whether that was killed, which it is
// a while after it has begun to use the folder "state" within dir; 0 for never. A process
// that fails by itself fails the test.
func Run(t *testing.T, dir string, after time.Duration) (killed bool) {
	t.Helper()
	if after == 0 {
		return start(t, dir).wait(t)
	}
	before, begun := newest(filepath.Join(dir, "state")), time.Time{}
	return RunUntil(t, dir, func() bool {
		if begun.IsZero() && newest(filepath.Join(dir, "state")).After(before) {
			begun = time.Now()
		}
		return !begun.IsZero() && time.Since(begun) >= after
	})
}

// newest is when something in a folder was changed last; zero if it is not there.
func newest(dir string) (at time.Time) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone meanwhile
		}
		if info, err := entry.Info(); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
		return nil
	})
	return at
}

// RunUntil is like Run, but the process is killed once due says so, which is asked every few
// milliseconds.
func RunUntil(t *testing.T, dir string, due func() bool) (killed bool) {
	t.Helper()
	p := start(t, dir)
	ended := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			if due() {
				p.kill()
				return
			}
		}
	})
	defer asking.Wait()
	defer close(ended)
	return p.wait(t)
}

// process is one that may be killed.
type process struct {
	cmd  *exec.Cmd
	talk bytes.Buffer
}

func start(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), variable+"="+dir, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = &p.talk
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

func (p *process) wait(t *testing.T) (killed bool) {
	t.Helper()
	err := p.cmd.Wait()
	if err == nil {
		return false
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Fatalf("%v: %s", err, p.talk.String())
	}
	return true
}
