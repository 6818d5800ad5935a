package engine

import (
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
)

// On has the state of a run on another file system, with checkpoints more often.
func (o Options) On(files fsys.FS, every time.Duration) Options {
	o.files, o.checkpointEvery = files, every
	return o
}
