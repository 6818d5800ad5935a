//go:build !unix

package main

import "os"

// peakMemory is 0: it is not known.
func peakMemory(*os.ProcessState) int64 { return 0 }
