// Package doomed has tests run a pipeline in a process of its own, and kill that.
package doomed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// variable names the folder of the pipeline, in a process that may not see its end.
const variable = "ROWMILL_TEST_DOOMED_FOLDER"

// checkpointEvery leaves time for a few batches between two checkpoints, so that a kill
// meets what no checkpoint covers, and not too much, so that a short run has several.
const checkpointEvery = 100 * time.Millisecond

// Options are how the pipelines of a package are run.
type Options struct {
	// Env is what their components are given.
	Env pipeline.Env
	// Preflight is that of [engine.Options].
	Preflight bool
	// DeadLetters is how many there are in the end.
	DeadLetters int64
}

// Main is called first in TestMain. In a process that [KillRepeatedly] has started it runs
// the pipeline and ends the process; in any other it does nothing.
func Main(o Options) {
	dir := os.Getenv(variable)
	if dir == "" {
		return
	}
	if err := run(dir, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(dir string, o Options) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	p, err := load.File(filepath.Join(dir, "p.yaml"), load.Options{Registry: registry, Env: o.Env})
	if err != nil {
		return err
	}
	s, err := engine.Run(context.Background(), p, engine.Options{
		State: filepath.Join(dir, "state"), CheckpointEvery: checkpointEvery, Preflight: o.Preflight,
	})
	if err == nil && s.Counts.DeadLettered != o.DeadLetters {
		err = fmt.Errorf("%d dead letters, want %d: %v", s.Counts.DeadLettered, o.DeadLetters, s.Reasons)
	}
	return err
}

// Folder makes a folder with a pipeline: DIR in it stands for the folder, and the first of
// each of the pairs for the second.
func Folder(t *testing.T, yaml string, pairs ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	yaml = strings.NewReplacer(append(pairs, "DIR", dir)...).Replace(yaml)
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
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
