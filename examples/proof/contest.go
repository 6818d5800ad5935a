package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// result is what became of the rows of one contestant.
type result struct {
	role    string
	lost    int // rows of the input that no whole line of the output has
	doubled int // lines of the output too many
	torn    int // lines that are no row with an answer
	ledger  ledger
	elapsed time.Duration // both processes together
	quota   float64       // the share of what the provider allowed in that time
	memory  int64         // the most a process had, in bytes
}

// ledger is what the provider has noted; see GET /simulator/ledger.
type ledger struct {
	Requests  int64            `json:"requests"`
	Refused   int64            `json:"refused"` // by the quota
	Paid      int64            `json:"paid"`
	PaidAgain int64            `json:"paid_again"`
	Faults    map[string]int64 `json:"faults"`
}

// refused is how many requests were answered with 429.
func (l ledger) refused() int64 { return l.Refused + l.Faults["rate_limit"] }

// contest has one do the job against a provider of its own: it kills the process when
// half of the rows are paid for, and starts it again.
func contest(ctx context.Context, role string, c conditions, input, folder string) (r result, err error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return r, err
	}
	provider, err := startProvider(ctx, c)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, provider.end()) }()
	j := job{conditions: c, URL: provider.url, Input: input, Output: filepath.Join(folder, "out.jsonl"), State: filepath.Join(folder, "state")}
	r.role = role
	half := func() (bool, error) {
		l, err := provider.ledger(ctx)
		return l.Paid >= int64(c.Rows/2), err
	}
	for _, until := range []func() (bool, error){half, nil} {
		began := time.Now()
		memory, err := runChild(ctx, role, j, until)
		if err != nil {
			return r, err
		}
		r.elapsed += time.Since(began)
		r.memory = max(r.memory, memory)
	}
	if r.ledger, err = provider.ledger(ctx); err != nil {
		return r, err
	}
	r.quota = float64(r.ledger.Requests-r.ledger.Refused) / r.elapsed.Seconds() / float64(c.PerSecond)
	r.lost, r.doubled, r.torn, err = join(j.Output, c.Rows)
	return r, err
}

// child returns this program as another process.
func child(ctx context.Context, role string, task any) (*exec.Cmd, error) {
	text, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, string(text))
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd, nil
}

// errEarly is a child that had ended before it was to be killed.
var errEarly = errors.New("it ended before half of the rows were paid for")

// runChild runs a child to its end, or kills it (SIGKILL) as soon as until says so. It
// returns the most memory that the process had.
func runChild(ctx context.Context, role string, j job, until func() (bool, error)) (int64, error) {
	cmd, err := child(ctx, role, j)
	if err != nil {
		return 0, err
	}
	said := &strings.Builder{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1) // 1: it is not always read
	go func() { ended <- cmd.Wait() }()
	if until == nil {
		if err := <-ended; err != nil {
			return 0, fmt.Errorf("%w: %s", err, said)
		}
		return peakMemory(cmd.ProcessState), nil
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return 0, fmt.Errorf("%w: %w: %s", errEarly, err, said)
		case <-tick.C:
		}
		now, err := until()
		if !now && err == nil {
			continue
		}
		err = errors.Join(err, cmd.Process.Kill())
		if <-ended == nil {
			err = errors.Join(err, errEarly)
		}
		return peakMemory(cmd.ProcessState), err
	}
}

// process is the provider's.
type process struct {
	cmd *exec.Cmd
	in  io.Closer // it ends when this is closed
	url string
}

func startProvider(ctx context.Context, c conditions) (*process, error) {
	cmd, err := child(ctx, roleProvider, job{conditions: c})
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("provider: %w", err), p.end())
	}
	p.url = strings.TrimSpace(line)
	return p, nil
}

func (p *process) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// ledger asks the provider what it has noted.
func (p *process) ledger(ctx context.Context) (l ledger, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.url, "/v1")+"/simulator/ledger", nil)
	if err != nil {
		return l, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return l, err
	}
	defer func() { _ = res.Body.Close() }()
	return l, json.NewDecoder(res.Body).Decode(&l)
}
