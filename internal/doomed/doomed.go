// Package doomed has tests run a pipeline in a process of its own, and kill that.
package doomed

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
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
// after a while; 0 for never. A process that fails by itself fails the test.
func Run(t *testing.T, dir string, after time.Duration) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+dir, "GORACE=atexit_sleep_ms=0")
	var talk bytes.Buffer
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		defer time.AfterFunc(after, func() { _ = cmd.Process.Kill() }).Stop()
	}
	err := cmd.Wait()
	if err == nil {
		return false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Fatalf("%v: %s", err, talk.String())
	}
	return true
}
