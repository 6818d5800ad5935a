//go:build !unix

package coprocess

import "os/exec"

// group is a process. Without process groups, what it has started is not ended with it,
// and when this process is killed its input ends and no more.
type group struct {
	cmd       *exec.Cmd
	unwatched error // always nil: the documentation says so
}

func newGroup() (*group, error) { return &group{}, nil }

func (g *group) start(cmd *exec.Cmd) error {
	err := cmd.Start()
	if err == nil {
		g.cmd = cmd
	}
	return err
}

func (g *group) terminate() { g.kill() }

func (g *group) kill() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill() // it may have ended
	}
}

func (g *group) end() { g.kill() }

func busy(error) bool { return false }
