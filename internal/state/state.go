// Package state is the folder in which a run keeps what it needs to go on after it was
// killed: a lock, a checkpoint, and what others put there (the journal, what stages
// remember).
package state

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/internal/fsys"
)

// The files of the folder.
const (
	lockName       = "lock"
	checkpointName = "checkpoint"
	temporaryName  = "checkpoint.tmp"

	// DoneName is the file of the rows that are done.
	DoneName = "done"
)

// HeldError is why a folder cannot be used: another run does.
type HeldError struct {
	Dir string
	PID int // 0 if it is not known
}

// Error names the other run.
func (e *HeldError) Error() string {
	who := "another run"
	if e.PID > 0 {
		who = fmt.Sprintf("another run (process %d)", e.PID)
	}
	return fmt.Sprintf("%s uses the state in %s; wait for its end, or give this one a folder of its own with --state", who, e.Dir)
}

// Lock is a folder that nobody else uses.
type Lock struct{ file fsys.File }

// Take makes the folder if need be and takes it for this process, until Release or the
// end of the process, however that comes. The error is a [HeldError] if another has it.
func Take(files fsys.FS, dir string) (*Lock, error) {
	if err := makeFolder(files, dir); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	file, err := files.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := exclude(file); err != nil {
		if errors.Is(err, errHeld) {
			err = &HeldError{Dir: dir, PID: holder(file)}
		}
		return nil, errors.Join(err, file.Close())
	}
	if err := sign(file); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %w", err), file.Close())
	}
	return &Lock{file}, nil
}

// makeFolder makes a folder and those it is in, durably. The two nearest are synced even
// if they are there: who made them may have been killed before it did.
func makeFolder(files fsys.FS, dir string) error {
	in := []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))}
	for up := in[1]; ; up = in[len(in)-1] {
		if _, err := files.Stat(up); err == nil || up == filepath.Dir(up) {
			break
		}
		in = append(in, filepath.Dir(up))
	}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, up := range in {
		if err := files.SyncDir(up); err != nil {
			return err
		}
	}
	return nil
}

// Release gives the folder back. The file stays: to remove it would let two have it.
func (l *Lock) Release() error { return errors.Join(admit(l.file), l.file.Close()) }

// sign writes who has the folder.
func sign(file fsys.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(file, "%d\n", os.Getpid())
	return err
}

// holder reads who has the folder.
func holder(file fsys.File) int {
	b := make([]byte, 32)
	n, err := file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n]))) // 0 for what is no number
	return pid
}

var errHeld = errors.New("held")

// WriteCheckpoint puts a checkpoint in the place of the one before, at once: whenever
// the program or the machine ends, one of the two is there, whole.
func WriteCheckpoint(files fsys.FS, dir string, data []byte) error {
	temporary := filepath.Join(dir, temporaryName)
	if err := writeWhole(files, temporary, seal(data)); err != nil {
		return err
	}
	if err := files.Rename(temporary, filepath.Join(dir, checkpointName)); err != nil {
		return err
	}
	return files.SyncDir(dir)
}

func writeWhole(files fsys.FS, path string, data []byte) error {
	file, err := files.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// ReadCheckpoint returns the checkpoint; the error is [fs.ErrNotExist] if there is none.
// It is durable then: who wrote it may have been killed before, and what it replaces may
// be forgotten now.
func ReadCheckpoint(files fsys.FS, dir string) ([]byte, error) {
	path := filepath.Join(dir, checkpointName)
	if err := files.SyncDir(dir); err != nil {
		return nil, err
	}
	file, err := files.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	sealed, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	data, ok := unseal(sealed)
	if !ok {
		return nil, fmt.Errorf("%s is damaged; --fresh starts over", path)
	}
	return data, nil
}

// seal puts a line with a checksum behind the data.
func seal(data []byte) []byte {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return fmt.Appendf(data[:len(data):len(data)], "\n%08x\n", sum)
}

func unseal(sealed []byte) (data []byte, ok bool) {
	const tail = 10 // "\n", eight digits, "\n"
	data = sealed[:max(0, len(sealed)-tail)]
	return data, bytes.Equal(seal(data), sealed)
}

// Clear forgets a run: the checkpoint first, so that there is never one without what it
// needs.
func Clear(files fsys.FS, dir string) error {
	for _, name := range []string{checkpointName, temporaryName} {
		if err := files.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := files.SyncDir(dir); err != nil {
		return err
	}
	entries, err := files.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == DoneName || strings.HasPrefix(e.Name(), "journal.") || strings.HasPrefix(e.Name(), "state.") {
			if err := files.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
