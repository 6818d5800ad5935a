package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
)

// The pipeline that is stopped: so many requests of so many rows are in flight at once.
const (
	busyRows     = 1200
	busyInFlight = 64
	busyPipeline = `
source: {range: {from: 1, to: %d, field: n}}
stages:
  - llm: {base_url: %s/v1, api_key: none, model: m, prompt: "{{.n}}", rate_limit: {requests_per_minute: off, tokens_per_minute: off}}
    parallelism: %d
    timeout: 10m
sink: {file: {path: out.jsonl}, flush: {every: 50ms}}
drain_timeout: %s
`
)

// counting is a provider that says when it has answered so many requests.
type counting struct {
	*simulator.Server
	left    atomic.Int64
	reached chan struct{} // size 1: the test may not be looking
}

func (c *counting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.Server.ServeHTTP(w, r)
	if c.left.Add(-1) == 0 {
		c.reached <- struct{}{}
	}
}

// TestTermUnderLoad stops a process with 64 requests in flight, at several moments, and
// has it go on: every row is in the output once, and what was not cut off is not paid
// again. Nobody waits for the requests that hang: they have ten minutes.
func TestTermUnderLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		hang    pipeline.Share
		drain   string
		signals int   // at each stop
		cut     int64 // requests that a stop may cut off
	}{
		{"drained", 0, "5m", 1, 0},
		{"some hang for longer than drain_timeout", 0.03, "300ms", 1, busyInFlight},
		{"a second signal aborts", 0.03, "5m", 2, busyInFlight},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := simulator.Defaults()
			o.Latency, o.LatencySpread, o.Faults.Hang = pipeline.Duration(20*time.Millisecond), 0.5, c.hang
			provider := &counting{Server: simulator.New(o), reached: make(chan struct{}, 1)}
			server := httptest.NewServer(provider)
			defer server.Close()
			dir := t.TempDir()
			yaml := fmt.Sprintf(busyPipeline, busyRows, server.URL, busyInFlight, c.drain)
			if err := os.WriteFile(filepath.Join(dir, "busy.yaml"), []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			const stops = 3
			for range stops {
				provider.left.Store(int64(100 + rand.IntN(200)))
				stopBusy(t, dir, provider.reached, c.signals)
			}
			between := provider.Ledger()
			if between.Paid == 0 || between.Paid >= busyRows {
				t.Fatalf("%d of %d rows are paid for when it has been stopped: nothing was tried", between.Paid, busyRows)
			}
			if cut := between.Abandoned + between.Faults["hang"]; (cut > 0) != (c.cut > 0) || cut > stops*busyInFlight {
				t.Errorf("%d requests were cut off, want up to %d in each stop", cut, c.cut)
			}
			if code, talk := busy(t, dir, nil, "--set", "stages.llm.timeout=3s"); code != exitOK {
				t.Fatalf("to the end: exit code %d, want %d:\n%s", code, exitOK, talk)
			}
			wantEveryRowOnce(t, filepath.Join(dir, "out.jsonl"))
			if got := provider.Ledger(); got.PaidAgain > stops*c.cut || got.Paid != busyRows+got.PaidAgain {
				t.Errorf("paid %d, %d of them again; want %d, and at most %d again", got.Paid, got.PaidAgain, busyRows, stops*c.cut)
			}
		})
	}
}

// stopBusy runs the pipeline until it is to be stopped, and then ends it.
func stopBusy(t *testing.T, dir string, when <-chan struct{}, signals int) {
	t.Helper()
	code, talk := busy(t, dir, func(ctx context.Context, p *os.Process, stderr *bufio.Scanner) string {
		select {
		case <-when:
		case <-ctx.Done():
		}
		var said strings.Builder
		for _, want := range []string{"rowmill: stopping: ", "rowmill: aborting: "}[:signals] {
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Errorf("signal: %v", err)
			}
			for stderr.Scan() {
				said.WriteString(stderr.Text() + "\n")
				if strings.HasPrefix(stderr.Text(), want) {
					break
				}
			}
		}
		return said.String()
	})
	if want := 128 + int(syscall.SIGTERM); code != want || !strings.Contains(talk, "rowmill: run it again to go on") {
		t.Fatalf("stopped: exit code %d, want %d and that it can go on:\n%s", code, want, talk)
	}
}

// busy runs the pipeline in a process of its own. meanwhile, if it is not nil, gets its
// standard error, and returns what it has read of it.
func busy(t *testing.T, dir string, meanwhile func(context.Context, *os.Process, *bufio.Scanner) string, flags ...string) (code int, talk string) {
	t.Helper()
	// Far longer than it takes, and shorter than a drain or a request that nothing ends.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "rowmill", append([]string{"run", "busy.yaml", "--progress", "none"}, flags...)...)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	if meanwhile != nil {
		talk = meanwhile(ctx, cmd.Process, lines)
	}
	for lines.Scan() {
		talk += lines.Text() + "\n"
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), talk
}

// wantEveryRowOnce: the rows 1 to busyRows are there in their order, each with an answer.
func wantEveryRowOnce(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := json.NewDecoder(bytes.NewReader(content))
	for n := 1; ; n++ {
		var row struct {
			N      int
			Answer string
		}
		err := rows.Decode(&row)
		if errors.Is(err, io.EOF) && n == busyRows+1 {
			return
		}
		if err != nil || row.N != n || row.Answer == "" {
			t.Fatalf("line %d of the output: got %+v, %v, want row %d of %d", n, row, err, n, busyRows)
		}
	}
}
