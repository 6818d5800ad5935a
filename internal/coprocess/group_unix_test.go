//go:build unix

package coprocess

import (
	"errors"
	"io/fs"
	"os/exec"
	"testing"
)

// TestWithoutAShell: a command runs, and can be ended, where nothing can watch over it.
func TestWithoutAShell(t *testing.T) {
	t.Parallel()
	g, err := newGroupOf(t.TempDir() + "/sh")
	if err != nil || !errors.Is(g.unwatched, fs.ErrNotExist) {
		t.Fatalf("got %+v, %v; want a group that says why there is no watch", g, err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := g.start(cmd); err != nil {
		t.Fatal(err)
	}
	g.end()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Success() {
		t.Errorf("got %v, want that it was killed", err)
	}
}
