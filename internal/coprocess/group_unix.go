//go:build unix

package coprocess

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// ownGroup gives what is started a process group of its own: so a Ctrl-C is this
// process's alone, and what it starts in its turn can be ended with it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate and kill send a signal to the whole group, whose number is that of its first
// process. It is not given to another as long as somebody is in the group.
func terminate(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) }

func kill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }

// busy reports whether the system has no room for a process now.
func busy(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
