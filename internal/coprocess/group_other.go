//go:build !unix

package coprocess

import (
	"os"
	"os/exec"
)

// Without process groups, what a process has started is not ended with it.
func ownGroup(*exec.Cmd) {}

func terminate(p *os.Process) { kill(p) }

func kill(p *os.Process) { _ = p.Kill() }

func busy(error) bool { return false }
