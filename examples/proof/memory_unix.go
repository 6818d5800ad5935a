//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peakMemory is the most resident memory that a process had, in bytes; 0 if that is not
// known.
func peakMemory(s *os.ProcessState) int64 {
	usage, ok := s.SysUsage().(*syscall.Rusage)
	switch {
	case !ok:
		return 0
	case runtime.GOOS == "darwin" || runtime.GOOS == "ios":
		return int64(usage.Maxrss) //nolint:unconvert // an int32 on some systems
	default:
		return int64(usage.Maxrss) << 10 //nolint:unconvert // as above; in KiB
	}
}
