package coprocess

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

var (
	// errLeft is a process that has ended between two lines.
	errLeft = errors.New("the command ended without an answer")
	// errFailed is one that has ended so, and says that something is wrong.
	errFailed = errors.New("the command failed")
	// errCut is one that has ended within a line.
	errCut = errors.New("the command ended within a line (an answer ends with a line break)")
)

// line is a line that a process said.
type line struct {
	text []byte
	more bool // it said more along with it
	err  error
}

// process is a child process.
type process struct {
	cmd    *exec.Cmd
	group  *group
	stdin  *os.File
	stdout *os.File
	errs   *os.File // its standard error

	lines   chan line     // closed at the end of stdout
	unheard chan struct{} // closed when nobody listens to lines any more
	exited  chan struct{} // closed when the process was waited for
	exitErr error         // of that
	stderr  tail
	pipes   sync.WaitGroup // whoever reads or writes one
	answers int            // how many it has given
}

// command returns what is to be started.
func (p *Pool) command() *exec.Cmd {
	cmd := exec.Command(p.options.Command[0], p.options.Command[1:]...)
	cmd.Dir, cmd.Env = p.options.Dir, p.options.Env
	return cmd
}

// checkDir says why a folder cannot be a working directory.
func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("dir %s is no folder", dir)
	}
	return err
}

// start starts a process.
func (p *Pool) start() (*process, error) {
	proc := &process{
		cmd: p.command(), lines: make(chan line), unheard: make(chan struct{}), exited: make(chan struct{}),
		stderr: tail{log: p.options.Log, hide: p.options.Hide, ended: make(chan struct{})},
	}
	if err := proc.open(); err != nil {
		return nil, err
	}
	if err := proc.group.unwatched; err != nil {
		p.unwatched.Do(func() {
			p.options.Log.Warn("commands may go on if this process is killed with SIGKILL: there is no shell that watches over them", slog.Any("error", err))
		})
	}
	go func() {
		proc.exitErr = proc.cmd.Wait()
		close(proc.exited)
	}()
	proc.pipes.Go(func() { proc.read(p.options.MaxLine) })
	proc.pipes.Go(func() { proc.stderr.read(proc.errs) })
	return proc, nil
}

// open makes the pipes and starts the process. It is given files, so that to wait for
// it is to wait for nobody else.
func (c *process) open() error {
	var theirs []*os.File
	pipe := func(write bool) (ours, their *os.File, err error) {
		r, w, err := os.Pipe()
		if ours, their = r, w; write {
			ours, their = w, r
		}
		if err == nil {
			theirs = append(theirs, their)
		}
		return ours, their, err
	}
	var stdin, stdout, stderr *os.File
	var errIn, errOut, errErr, err error
	c.stdin, stdin, errIn = pipe(true)
	c.stdout, stdout, errOut = pipe(false)
	c.errs, stderr, errErr = pipe(false)
	if err = errors.Join(errIn, errOut, errErr); err == nil {
		c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = stdin, stdout, stderr
		err = c.startInGroup()
	}
	for _, f := range theirs {
		_ = f.Close() // the process has its own
	}
	if err == nil {
		return nil
	}
	for _, f := range []*os.File{c.stdin, c.stdout, c.errs} {
		_ = f.Close() // nothing was written
	}
	if busy(err) {
		return pipeline.Transient(codeStart, fmt.Errorf("the command cannot be started now: %w", err))
	}
	return pipeline.Fatal(codeStart, fmt.Errorf("the command cannot be started: %w", hint(err)))
}

// startInGroup starts the process in a group of its own.
func (c *process) startInGroup() error {
	g, err := newGroup()
	if err != nil {
		return err
	}
	if err := g.start(c.cmd); err != nil {
		g.end()
		return err
	}
	c.group = g
	return nil
}

// read reads lines until the end of stdout.
func (c *process) read(longest int) {
	defer close(c.lines)
	in := bufio.NewReaderSize(c.stdout, 32<<10)
	for {
		text, err := readLine(in, longest)
		if err != nil && len(text) == 0 && errors.Is(err, errLeft) {
			return
		}
		select {
		case c.lines <- line{text: text, more: err == nil && in.Buffered() > 0, err: err}:
		case <-c.unheard:
			_, _ = io.Copy(io.Discard, c.stdout) // so that it is not held up at its end
			return
		}
		if err != nil {
			return
		}
	}
}

// readLine returns the next line without its end, in memory of its own.
func readLine(in *bufio.Reader, longest int) (text []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case len(bytes.TrimRight(text, "\r\n")) > longest:
			return text[:longest], pipeline.Permanent(codeTooLong, fmt.Errorf(
				"the answer is longer than max_answer (%v): %s", pipeline.Size(longest), Excerpt(text[:min(longest, excerptBytes)])))
		case err == nil:
			return bytes.TrimRight(text, "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case len(text) == 0:
			return nil, errLeft
		default:
			return text, errCut
		}
	}
}

// idleFault says why a process cannot be asked: errLeft if it has ended, else that it
// has spoken without being asked.
func (c *process) idleFault() error {
	select {
	case l, open := <-c.lines:
		if !open || errors.Is(l.err, errCut) {
			return errLeft
		}
		return pipeline.Fatal(codeOutOfStep, fmt.Errorf("the command said a line that nobody asked for, %s, so that answers before it may have gone to the wrong records; "+
			"print one line for each line read, and what else there is to say to standard error", Excerpt(l.text)))
	default:
		return nil
	}
}

// pipeHolds is what any pipe takes without blocking, if it is empty.
const pipeHolds = 4096

// ask sends a question, with its line break, and returns the answer. The error is
// errLeft if the process has ended and that well.
func (c *process) ask(ctx context.Context, question []byte) (line, error) {
	if len(question) <= pipeHolds {
		_, _ = c.stdin.Write(question) // if nobody reads it, that is seen below
	} else { // it may begin to answer before it has read all
		c.pipes.Go(func() { _, _ = c.stdin.Write(question) })
	}
	select {
	case l, open := <-c.lines:
		if !open {
			return l, c.left()
		}
		return l, l.err
	case <-ctx.Done():
		return line{}, ctx.Err()
	}
}

// patience is how long a process has to end that has closed its output, or was killed.
const patience = 2 * time.Second

// left says how a process ended whose output has.
func (c *process) left() error {
	switch {
	case !c.wait(patience):
		return fmt.Errorf("%w: it closed its output and went on", errFailed)
	case c.exitErr == nil:
		return errLeft
	default:
		return errFailed
	}
}

// wait waits for the end of the process, and reports whether that has come.
func (c *process) wait(most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-c.exited:
		return true
	case <-timer.C:
		return false
	}
}

// status says how the process has ended: "exit status 1".
func (c *process) status() string {
	if !c.wait(patience) {
		return "it does not end"
	}
	return c.cmd.ProcessState.String()
}

// end ends a process that has nothing to do: by the end of its input, if it heeds that.
func (c *process) end(grace time.Duration) {
	close(c.unheard)
	_ = c.stdin.Close() // all of it was answered
	if !c.wait(grace) {
		c.group.terminate()
		c.wait(grace)
	}
	c.release()
}

// kill ends a process at once.
func (c *process) kill() {
	close(c.unheard)
	c.release()
}

// release kills what is left of the process and of what it has started.
func (c *process) release() {
	c.group.kill()
	c.wait(patience)
	c.stderr.wait()
	for _, f := range []*os.File{c.stdin, c.stdout, c.errs} {
		_ = f.Close() // somebody may hold the other end
	}
	c.pipes.Wait()
	c.group.end()
}
