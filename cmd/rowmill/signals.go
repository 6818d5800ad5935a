package main

import (
	"io"
	"os"
	"syscall"
	"time"

	"github.com/rowmill/rowmill/pipeline/engine"
)

// mostSignals is how many signals count: the first drains, the second aborts, the
// third ends the process. So many must fit into the channel.
const mostSignals = 3

// execution is a run that was started; [engine.Execution] is one.
type execution interface {
	Stop()
	Abort()
	Done() <-chan struct{}
	Snapshot() engine.Snapshot
}

// follow watches a run until it ends: it shows how it stands every so often, and
// obeys the signals. It returns the first of them, nil if there was none.
func follow(e execution, signals <-chan os.Signal, talk io.Writer, show func(engine.Snapshot), every time.Duration, exit func(code int)) os.Signal {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var first os.Signal
	for count := 0; ; {
		select {
		case <-e.Done():
			return first
		case <-tick.C:
			show(e.Snapshot())
		case s := <-signals:
			count++
			switch count {
			case 1:
				first = s
				e.Stop()
				say(talk, "rowmill: stopping: %s; %s\n", finishing(e.Snapshot()), again(s))
			case 2:
				e.Abort()
				say(talk, "rowmill: aborting: what is in flight is left unfinished\n")
			default:
				exit(signalCode(first))
			}
		}
	}
}

// finishing says what a stopped run still waits for.
func finishing(s engine.Snapshot) string {
	requests, _, _ := asking(s)
	if requests == 0 {
		return "writing what is finished"
	}
	return "finishing " + plural(int64(requests), "request", "requests") + " in flight"
}

func again(s os.Signal) string {
	if s == os.Interrupt {
		return "press Ctrl-C again to abort"
	}
	return "a second signal aborts"
}

// signalCode is the exit code of a process that a signal ended.
func signalCode(s os.Signal) int {
	number, ok := s.(syscall.Signal)
	if !ok {
		number = syscall.SIGINT
	}
	return 128 + int(number)
}
