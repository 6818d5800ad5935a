package engine

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// stateFile is what a stage remembers, in a file that only grows.
type stateFile struct {
	node  *stageNode
	stage pipeline.Stateful
	busy  sync.Mutex // held while the stage has a record
	file  fsys.File
	size  int64
}

// openStates opens the files of the stages that remember, cut to what they were at the
// checkpoint, and has the stages load them.
func (k *keeper) openStates(sizes map[string]int64) error {
	for _, n := range k.run.stages {
		s, ok := n.step.Stage.(pipeline.Stateful)
		if !ok {
			continue
		}
		f := &stateFile{node: n, stage: s, size: sizes[n.step.Name]}
		if err := f.open(k); err != nil {
			return fmt.Errorf("what stage %s remembers: %w", n.step.Name, err)
		}
		k.states = append(k.states, f)
		n.memory = f
	}
	return nil
}

func (f *stateFile) open(k *keeper) error {
	path := filepath.Join(k.dir, "state."+url.PathEscape(f.node.step.Name))
	file, err := k.fs.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.file = file
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() < f.size:
		return fmt.Errorf("%s has %d bytes and should have %d; --fresh starts over", path, info.Size(), f.size)
	}
	if err := errors.Join(file.Truncate(f.size), k.fs.SyncDir(k.dir)); err != nil {
		return err
	}
	load := func() error { return f.stage.Load(io.NewSectionReader(file, 0, f.size)) }
	if err := k.run.safely(f.node.step.Name, load); err != nil {
		return err
	}
	_, err = file.Seek(f.size, io.SeekStart)
	return err
}

// saveStates makes durable what the stages remember. It may be newer than the rest of
// the checkpoint: a record that is shown again gets the same answer.
func (k *keeper) saveStates(c *checkpoint) error {
	for _, f := range k.states {
		if err := f.save(); err != nil {
			return fmt.Errorf("what stage %s remembers: %w", f.node.step.Name, err)
		}
		if c.States == nil {
			c.States = map[string]int64{}
		}
		c.States[f.node.step.Name] = f.size
	}
	return nil
}

func (f *stateFile) save() error {
	f.busy.Lock()
	defer f.busy.Unlock()
	counted := &countingWriter{to: f.file}
	err := f.node.run.safely(f.node.step.Name, func() error { return f.stage.Save(counted) })
	f.size += counted.n
	if err != nil || counted.n == 0 {
		return err
	}
	return f.file.Sync()
}

func (k *keeper) closeStates() error {
	var errs error
	for _, f := range k.states {
		errs = errors.Join(errs, f.file.Close())
	}
	k.states = nil
	return errs
}

// countingWriter counts what was written.
type countingWriter struct {
	to io.Writer
	n  int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.n += int64(n)
	return n, err
}
