package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/rowmill/rowmill/internal/known"
	"github.com/rowmill/rowmill/internal/state"
	"github.com/rowmill/rowmill/pipeline"
)

// read finds out whether there is a run to go on with, and whether that can be.
func (k *keeper) read(ctx context.Context) error {
	if id, ok := k.run.pipeline.Source.(pipeline.Identifier); ok {
		var err error
		if k.identity, err = id.Identify(ctx); err != nil {
			return fmt.Errorf("source: %w", err)
		}
	}
	if err := k.fingerprint(ctx); err != nil {
		return err
	}
	if k.run.options.Fresh {
		return nil
	}
	if _, err := state.ReadCheckpoint(k.fs, filepath.Join(k.dir, retryFolder)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dead letters of the run in %s are being run again, which is not finished: go on with `rowmill retry`, or start over with --fresh", k.dir)
	}
	data, err := state.ReadCheckpoint(k.fs, k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if k.run.options.New {
			k.old = new(known.Set)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if k.previous, err = decodeCheckpoint(data); err != nil {
		return fmt.Errorf("%s: %w", k.dir, err)
	}
	k.resumed = true
	if err := k.compare(ctx); err != nil {
		return err
	}
	if err := k.readKnown(); err != nil {
		return err
	}
	return k.outputs(ctx)
}

// fingerprint notes what shapes the rows: what the pipeline says, and its stages.
func (k *keeper) fingerprint(ctx context.Context) error {
	k.shape = maps.Clone(k.run.pipeline.Fingerprint)
	for _, step := range k.run.pipeline.Steps {
		f, ok := step.Stage.(pipeline.Fingerprinter)
		if !ok {
			continue
		}
		var digests map[string]string
		err := k.run.safely(step.Name, func() (err error) {
			digests, err = f.Fingerprint(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("stage %s: %w", step.Name, err)
		}
		if k.shape == nil {
			k.shape = map[string]string{}
		}
		for name, digest := range digests {
			k.shape[fmt.Sprintf("%s of stage %s", name, step.Name)] = digest
		}
	}
	return nil
}

// compare refuses to go on where the rows or answers would be others.
func (k *keeper) compare(ctx context.Context) error {
	which := "the unfinished run"
	if k.previous.Finished {
		which = "the run that is finished"
	}
	begins := k.run.options.New && k.previous.Finished
	keys := differences(k.previous.Shape, k.shape)
	if d := k.previous.Done; d != nil && d.Key != k.run.pipeline.Key && !slices.Contains(keys, keyOfKeys) {
		keys = append(keys, keyOfKeys) // a program may say nothing of it
	}
	if begins { // where the rows come from does not matter, but how they are known
		keys = slices.DeleteFunc(keys, ofPlace)
	}
	if len(keys) > 0 {
		return fmt.Errorf("%s in %s was made with another pipeline; changed: %s; "+
			"--fresh starts over, --state FOLDER begins one beside it, or put back what was changed", which, k.dir, listDifferences(keys))
	}
	id, ok := k.run.pipeline.Source.(pipeline.Identifier)
	if !ok || begins {
		return nil
	}
	var err error
	if k.change, err = id.Compare(ctx, k.previous.Source.Identity); err != nil {
		return fmt.Errorf("the source is not what %s in %s has read: %w; %s", which, k.dir, err, k.waysOn())
	}
	return nil
}

// outputs says whether what the earlier run wrote is still there.
func (k *keeper) outputs(ctx context.Context) error {
	if k.previous.Finished && k.run.behind != nil { // others have gone on with them
		return nil
	}
	for _, n := range []*sinkNode{k.run.sink, k.run.dead} {
		if n == nil {
			continue
		}
		at := k.previous.Sink
		if n == k.run.dead {
			at = k.previous.DeadLetter
		}
		if r, ok := n.sink.(pipeline.Rewinder); ok && at.Started {
			if err := k.run.safely(n.name, func() error { return r.Check(ctx, at.Position) }); err != nil {
				return fmt.Errorf("%s: %w", n.name, err)
			}
		}
	}
	return nil
}

// nothingToDo reports whether the run is finished and nothing has come to it since.
func (k *keeper) nothingToDo() bool {
	return k != nil && k.resumed && k.previous.Finished && k.change == pipeline.Same && !k.begins
}
