// Command rowmill runs pipelines: every row of a dataset through a model, and
// into a file. See "rowmill help".
//
// It holds what only a program at a terminal needs: flags, signals, the progress
// line, the summary's looks. Everything else is in the packages below pipeline,
// where a Go program can call it as well.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gcPercent trades memory for time: a row's garbage is small and short-lived, and
// next to a bare loop an LLM row costs 1.04 to 1.18 times the processor time with
// it, 1.24 to 1.29 times with Go's default of 100 (DESIGN.md §9).
const gcPercent = 400

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(context.Background(), host{
		args:      os.Args[1:],
		stdin:     os.Stdin,
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		lookupEnv: os.LookupEnv,
		catch:     catchSignals,
		exit:      os.Exit,
	}))
}

// host is what the command gets from the operating system.
type host struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	lookupEnv      func(name string) (value string, set bool)
	// catch makes SIGINT and SIGTERM arrive in a channel, until release is called,
	// in place of ending the process.
	catch func() (signals <-chan os.Signal, release func())
	// exit ends the process at once.
	exit func(code int)
}

// catchSignals also makes a reader of stdout that goes away ("| head") an error of
// the next write, where the process would be killed by SIGPIPE without a word.
func catchSignals() (<-chan os.Signal, func()) {
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, mostSignals)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return signals, func() { signal.Stop(signals) }
}
