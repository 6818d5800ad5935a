//go:build unix

package coprocess

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// group is a process group: a command and all that it starts, unless that leaves it
// (setsid). It is not this process's own, so that a Ctrl-C is this process's alone.
//
// Its first process is a watch, a shell that holds the reading end of a pipe whose other
// end is here, and that kills the group when the pipe ends, as it does with this process
// whatever ends that: a command that heeds neither the end of its input nor SIGTERM is
// gone when this process was killed with SIGKILL, and with it what it has started.
//
// The signal that Linux sends when a parent dies (PR_SET_PDEATHSIG) would be a
// millisecond cheaper for each start, but it reaches the command alone, not what that has
// started (sh -c, uv run, npx), it comes when the thread ends that has started the
// command, not the process (https://go.dev/issue/27505), and no other system has it.
//
// As the command joins a group that is there, there is no moment at which it runs
// unwatched; and as the watch is waited for last, the group's number is not given to
// another before.
type group struct {
	watch     *exec.Cmd
	leash     *os.File    // the end of the pipe that is here
	first     *os.Process // whose number is the group's
	unwatched error       // why there is no watch
}

// The watch, which a signal to the group is not to end but for the last one.
const (
	shell     = "/bin/sh"
	watchCode = "trap '' HUP INT QUIT TERM; read -r _; kill -KILL 0"
)

// newGroup starts the watch.
func newGroup() (*group, error) { return newGroupOf(shell) }

func newGroupOf(shell string) (*group, error) {
	theirs, leash, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }() // the watch has its own
	watch := exec.Command(shell, "-c", watchCode)
	watch.Stdin, watch.Dir, watch.Env = theirs, "/", []string{} // no secrets, and no folder that is held
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = watch.Start()
	if err == nil {
		return &group{watch: watch, leash: leash, first: watch.Process}, nil
	}
	_ = leash.Close() // nothing was written
	if busy(err) {
		return nil, err
	}
	return &group{unwatched: err}, nil
}

// start starts a command in the group.
func (g *group) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if g.watch != nil {
		cmd.SysProcAttr.Pgid = g.first.Pid
	}
	err := cmd.Start()
	if err == nil && g.watch == nil {
		g.first = cmd.Process
	}
	return err
}

// terminate and kill send a signal to the whole group.
func (g *group) terminate() { g.signal(syscall.SIGTERM) }

func (g *group) kill() { g.signal(syscall.SIGKILL) }

func (g *group) signal(s syscall.Signal) {
	if g.first != nil {
		_ = syscall.Kill(-g.first.Pid, s) // nobody may be left
	}
}

// end kills what is left of the group and waits for the watch.
func (g *group) end() {
	g.kill()
	if g.watch != nil {
		_ = g.watch.Wait()  // it was killed
		_ = g.leash.Close() // nothing was written
	}
}

// busy reports whether the system has no room for a process now.
func busy(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
