package stages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

// stubborn answers as clean does, takes a moment for a row, and has started a process
// that heeds nothing. Where there is a file "stubborn" in its folder it heeds neither
// SIGTERM nor the end of its input. It notes its number, that of the other, and the rows
// that it sees in files, and never answers {"n": …, "hang": true}.
func stubborn() {
	signal.Ignore(syscall.SIGTERM)
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		panic(err)
	}
	note("pids", os.Getpid(), other.Process.Pid)
	eachLine(func(line string) {
		var row struct {
			N    int  `json:"n"`
			Hang bool `json:"hang"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			panic(err)
		}
		note("seen", row.N)
		if row.Hang {
			time.Sleep(time.Hour)
		}
		time.Sleep(time.Duration(rand.IntN(12)) * time.Millisecond)
		fmt.Println(cleaned(row.N))
	})
	if _, err := os.Stat("stubborn"); err == nil {
		time.Sleep(time.Hour)
	}
}

// note adds a line for each number to a file.
func note(name string, numbers ...int) {
	var text []byte
	for _, n := range numbers {
		text = fmt.Appendln(text, n)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := f.Write(text); err != nil {
		panic(err)
	}
	_ = f.Close()
}

// noted are the numbers in such a file.
func noted(t *testing.T, dir, name string) (numbers []int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// gone waits until no process is there that has noted its number, and returns how many
// there were.
func gone(t *testing.T, dir string) int {
	t.Helper()
	pids := noted(t, dir, "pids")
	deadline, tick := time.After(10*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for running(pid) {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("process %d of %v is still there", pid, pids)
			}
		}
	}
	return len(pids)
}

// running reports whether there is a process that has not ended; one that has may wait
// for somebody to take note of that.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !bytes.Contains(stat, []byte(") Z "))
}

// TestExecLeavesNoProcess: when a run has ended, by itself or because it was cancelled, no
// process is left of it.
func TestExecLeavesNoProcess(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ended", "cancelled"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			input, want := cleanRows(8)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "cancelled" {
				input = append(input, `{"n":8,"hang":true}`, `{"n":9,"hang":true}`)
				go func() {
					for ctx.Err() == nil && len(noted(t, dir, "seen")) < len(input) {
						<-time.After(time.Millisecond)
					}
					cancel()
				}()
			}
			config := program(t, "stubborn", func(c *stages.ExecConfig) { c.Dir = dir })
			out := &pipelinetest.Memory{}
			_, err := engine.Run(ctx, pipeline.Pipeline{
				Source: pipelinetest.Rows(t, input), Sink: out,
				Steps: []pipeline.Step{{
					Stage: newExec(t, config, pipeline.Env{Getenv: os.Getenv}), Workload: pipeline.Waits, StepOptions: pipeline.StepOptions{Parallelism: 2},
				}},
			}, engine.Options{})
			if err != nil && name == "ended" {
				t.Fatal(err)
			}
			if rows := out.Rows(); name == "ended" && !slices.Equal(rows, want) {
				t.Errorf("got %q, want %q", rows, want)
			}
			if n := gone(t, dir); n < 4 {
				t.Errorf("%d processes were started: this tests nothing", n)
			}
		})
	}
}

const doomedPipeline = `
name: doomed
source: {file: {path: DIR/in.jsonl}}
stages:
  - exec: {command: [SELF], dir: DIR, env: {EXEC_PROGRAM: stubborn, GORACE: atexit_sleep_ms=0}, keeps: [n]}
    parallelism: 4
sink: {file: {path: DIR/out.jsonl}, flush: {records: 10, every: 20ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

// TestExecKilledAgainAndAgain kills a process whose commands heed nothing: they are gone
// with it, each row is in the output as often as it must be, and none was given to a
// command twice but those that one was at work on.
func TestExecKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	const rows, parallelism = 600, 4
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := doomed.Folder(t, doomedPipeline, "SELF", path)
	input, want := cleanRows(rows)
	for name, text := range map[string]string{"in.jsonl": strings.Join(input, "\n"), "stubborn": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lives := 0
	kills := doomed.KillRepeatedly(t, dir, rows, func(doomed.Checkpoint) {
		gone(t, dir)
		if lives++; lives > doomed.MostKills { // it is to see its end
			if err := os.Remove(filepath.Join(dir, "stubborn")); err != nil {
				t.Fatal(err)
			}
		}
	})
	processes := gone(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSpace(string(text)), "\n"); !slices.Equal(got, want) {
		t.Errorf("%d rows, want %d:\n%.500q", len(got), len(want), got)
	}
	seen := len(noted(t, dir, "seen"))
	if seen < rows || seen > rows+kills*parallelism {
		t.Errorf("the commands have seen %d records, with %d kills over %d", seen, kills, rows)
	}
	t.Logf("%d records seen of %d, %d processes", seen, rows, processes)
}
