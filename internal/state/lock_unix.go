//go:build unix

package state

import (
	"errors"
	"syscall"

	"github.com/rowmill/rowmill/internal/fsys"
)

// exclude takes the lock on a file. The system gives it back when the process ends. A
// file that is only in memory needs none.
func exclude(file fsys.File) error {
	f, ok := file.(interface{ Fd() uintptr })
	if !ok {
		return nil
	}
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

// admit gives the lock back. To close the file is not enough: a process that is just
// being started has it open too, for a moment.
func admit(file fsys.File) error {
	if f, ok := file.(interface{ Fd() uintptr }); ok {
		return syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	}
	return nil
}
