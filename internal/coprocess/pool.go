// Package coprocess talks to child processes line by line: a line in, a line out. A
// pool holds as many processes as are asked at once, starts them when they are first
// needed, and ends them all: with the end of their standard input, then with SIGTERM,
// then with SIGKILL, and with each of them what it has started. On Unix none of them
// outlives this process either, however that ends.
//
// An answer belongs to the question by its place alone. So a process that says more
// than it was asked, that says what cannot be an answer, or that is late, is killed: what
// it says next would be taken for the answer to another question.
package coprocess

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// The codes of errors.
const (
	codeStart     = "exec_start"       // the process cannot be started
	codeCrash     = "exec_crash"       // it ended without an answer
	codeTimeout   = "timeout"          // it did not answer in time
	codeAnswer    = "exec_answer"      // what it said is no answer
	codeTooLong   = "exec_too_long"    // its answer is longer than it may be
	codeBarren    = "exec_no_answers"  // the command never answers
	codeOutOfStep = "exec_out_of_step" // it said what nobody asked for
)

// barrenStarts is how many processes may end, or be late, before a command that has
// never answered is taken for one that never will.
const barrenStarts = 5

// Options say how the processes are made.
type Options struct {
	// Command is the program and its arguments.
	Command []string
	// Dir is the working directory of the processes; "" is that of this one.
	Dir string
	// Env is their whole environment, as NAME=value.
	Env []string
	// MaxLine is the longest answer, in bytes.
	MaxLine int
	// Grace is how long a process has to end by itself when its input ends, and again
	// after a SIGTERM. Defaults to 5 seconds.
	Grace time.Duration
	// Log gets what the processes say on standard error, at level debug.
	Log *slog.Logger
	// Hide takes secrets out of what the processes say on standard error, before anybody
	// sees it; nil leaves it as it is.
	Hide func(string) string
}

// Pool is processes of one command. It is safe for concurrent use; the zero Pool is not
// usable, see [New].
type Pool struct {
	options  Options
	answered atomic.Bool  // some process has answered something
	barren   atomic.Int64 // processes that ended before anybody had answered

	unwatched sync.Once // said that processes may outlive this one

	mu     sync.Mutex
	idle   []*process // the one that was used last is at the end
	closed bool
}

// New returns a pool without processes.
func New(o Options) *Pool {
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Hide == nil {
		o.Hide = func(s string) string { return s }
	}
	return &Pool{options: o}
}

// Probe says whether the command can be found, and its working directory; it starts
// nothing.
func (p *Pool) Probe() error {
	err := checkDir(p.options.Dir)
	if err == nil {
		err = p.checkProgram()
	}
	if err != nil {
		return fmt.Errorf("command: %w", hint(err))
	}
	return nil
}

// checkProgram looks for the program where it would be looked for.
func (p *Pool) checkProgram() error {
	name := p.options.Command[0]
	if filepath.Base(name) == name {
		return p.command().Err
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(cmp.Or(p.options.Dir, "."), name)
	}
	_, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		return nil
	}
	return err
}

// hint says what to do about a command that cannot be started.
func hint(err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; write the program and each of its arguments as one entry: [python3, clean.py]", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; make it executable (chmod +x), or name the program that runs it: [python3, clean.py]", err)
	default:
		return err
	}
}

// Ask sends one line, without its end, to a process and hands accept the line that it
// answers, which is accept's own. An error of accept says that this is no answer: the
// process is ended. The error is a [pipeline.Error]: transient, where the process has
// crashed or was late; fatal, where the command cannot be started or has never
// answered; or ctx's.
func (p *Pool) Ask(ctx context.Context, question []byte, accept func(answer []byte) error) error {
	question = append(question, '\n')
	for ctx.Err() == nil {
		proc, err := p.take()
		if err != nil {
			return err
		}
		used := proc.answers > 0
		answer, err := proc.ask(ctx, question)
		if used && errors.Is(err, errLeft) {
			proc.kill()
			continue // it answers so many questions and no more, and has ended well
		}
		if err == nil {
			err = p.check(answer, accept)
		}
		if err == nil {
			p.answered.Store(true)
			proc.answers++
			p.put(proc)
			return nil
		}
		proc.kill()
		return p.failure(proc, err)
	}
	return ctx.Err()
}

// check has the answer judged.
func (p *Pool) check(a line, accept func([]byte) error) error {
	if err := accept(a.text); err != nil {
		return pipeline.Permanent(codeAnswer, err)
	}
	if a.more {
		return pipeline.Permanent(codeAnswer, fmt.Errorf(
			"the command said more than one line for one record, the first of them %s; print one line for each line read, and what else there is to say to standard error", Excerpt(a.text)))
	}
	return nil
}

// failure says what the end of a process without an answer means.
func (p *Pool) failure(proc *process, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		err = pipeline.Transient(codeTimeout, fmt.Errorf("the command has not answered; "+
			"if it holds back what it prints, have it flush every line (python3 -u, or print(…, flush=True)); "+
			"it must answer each line before it reads the next one%s", proc.stderr.words()))
	case errors.Is(err, errLeft), errors.Is(err, errFailed), errors.Is(err, errCut):
		err = pipeline.Transient(codeCrash, fmt.Errorf("%w: %s%s", err, proc.status(), proc.stderr.words()))
	}
	if !p.answered.Load() && p.barren.Add(1) >= barrenStarts {
		return pipeline.Fatal(codeBarren, fmt.Errorf("the command was started %d times and has answered nothing, at last: %w", barrenStarts, bare(err)))
	}
	return err
}

// bare is an error without its class.
func bare(err error) error {
	var known *pipeline.Error
	if errors.As(err, &known) {
		return known.Err
	}
	return err
}

// take returns a process that has nothing to do, or a new one.
func (p *Pool) take() (*process, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		switch {
		case p.closed:
			p.mu.Unlock()
			return nil, pipeline.ErrStopped
		case n == 0:
			p.mu.Unlock()
			return p.start()
		}
		proc := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		switch fault := proc.idleFault(); {
		case fault == nil:
			return proc, nil
		case !errors.Is(fault, errLeft):
			proc.kill()
			return nil, fault
		default:
			proc.kill()
			p.options.Log.Debug("the command ended while it had nothing to do", slog.String("status", proc.status()))
		}
	}
}

// put gives a process back.
func (p *Pool) put(proc *process) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.idle = append(p.idle, proc)
	}
	p.mu.Unlock()
	if closed {
		proc.end(p.options.Grace)
	}
}

// Close ends the processes, all at the same time, and waits for that. A process that is
// being asked ends when that has ended.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var all sync.WaitGroup
	errs := make([]error, len(idle))
	for i, proc := range idle {
		all.Go(func() {
			errs[i] = proc.idleFault()
			if errors.Is(errs[i], errLeft) {
				errs[i] = nil
			}
			proc.end(p.options.Grace)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// excerptBytes is how much of a line a message shows.
const excerptBytes = 200

// Excerpt returns a line as messages show it: quoted, and not too long.
func Excerpt(text []byte) string {
	if len(text) > excerptBytes {
		return fmt.Sprintf("%q… (%d bytes)", bytes.ToValidUTF8(text[:excerptBytes], nil), len(text))
	}
	return fmt.Sprintf("%q", text)
}
