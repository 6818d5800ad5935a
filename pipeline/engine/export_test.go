package engine

import (
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
)

// Refused is of how many records a checkpoint says that some of several sinks have refused them.
func Refused(dir string) (int, error) {
	c, err := readCheckpoint(Options{}, dir)
	return len(c.Refused), err
}

// On has the state of a run on another file system, with checkpoints more often.
func (o Options) On(files fsys.FS, every time.Duration) Options {
	o.files, o.CheckpointEvery = files, every
	return o
}
