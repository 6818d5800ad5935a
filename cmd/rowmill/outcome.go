package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/rowmill/rowmill/pipeline/engine"
)

// outcome is how a run ended, or why it did not begin.
type outcome struct {
	summary engine.Summary
	sink    string
	err     error
	began   bool // rows were read
	signal  os.Signal
}

// refusal is why a run did not begin: nothing was written.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// code is the exit code: a signal goes before a failure, a failure before losses.
func (o outcome) code() int {
	switch counts := o.summary.Counts; {
	case o.signal != nil:
		return signalCode(o.signal)
	case errors.As(o.err, new(*refusal)), errors.As(o.err, new(*engine.PreflightError)):
		return exitUsage
	case o.err != nil, counts.Unfinished > 0:
		return exitFailed
	case o.summary.NothingToDo:
		return exitOK
	case counts.DeadLettered > 0, counts.DroppedOnError > 0:
		return exitLosses
	default:
		return exitOK
	}
}

// interrupted: the error only says that the signal was obeyed.
func (o outcome) interrupted() bool {
	return o.signal != nil && errors.Is(o.err, context.Canceled)
}

func (o outcome) verdict() string {
	switch {
	case o.signal != nil:
		return "stopped"
	case o.err != nil:
		return "failed"
	default:
		return "finished"
	}
}

// advice is what to do next, "" if there is nothing to be done.
func (o outcome) advice() string {
	counts := o.summary.Counts
	switch {
	case errors.Is(o.err, syscall.EPIPE):
		return "whoever read standard output went away before the end"
	case errors.As(o.err, new(*engine.PreflightError)):
		return "nothing was written, and no row was sent anywhere"
	case o.err == nil && counts.DeadLettered > 0 && o.summary.DeadLetters != "":
		advice := fmt.Sprintf("%s: see %s", plural(counts.DeadLettered, "record failed", "records failed"), printable(o.summary.DeadLetters))
		if o.summary.Known > 0 { // they are no new rows
			advice += "; `rowmill retry` runs " + map[bool]string{true: "it", false: "them"}[counts.DeadLettered == 1] + " again"
		}
		return advice
	case o.verdict() != "finished" && o.summary.State != "" && o.began:
		advice := "run it again to go on; nothing that is done is done or paid for again"
		if cut := o.summary.CutOff; cut > 0 {
			advice += fmt.Sprintf(", only %s that had not arrived, or could not be kept", plural(cut, "answer", "answers"))
		}
		return advice
	case o.verdict() != "finished" && counts.Delivered > 0 && !toStdout(o.sink):
		return "what was delivered stays; run with --fresh to start over"
	default:
		return ""
	}
}

// nothingToDo says of a finished run what it delivered.
func (o outcome) nothingToDo() string {
	if o.summary.Known > 0 {
		return fmt.Sprintf("none of the %s of %s is new", plural(o.summary.Known, "row", "rows"), printable(o.summary.Name))
	}
	return fmt.Sprintf("%s was finished before, with %s; --fresh runs anew",
		printable(o.summary.Name), plural(o.summary.Counts.Delivered, "record delivered", "records delivered"))
}

func (o outcome) report() report {
	s := o.summary
	r := report{
		Name: s.Name, Outcome: o.verdict(), ExitCode: o.code(), Counts: s.Counts, Stages: s.Stages, Reasons: s.Reasons,
		ElapsedSeconds: thousandths(s.Elapsed.Seconds()), RowsPerSecond: thousandths(rowsPerSecond(s)),
		Sinks: s.Sinks, Output: o.sink, DeadLetters: s.DeadLetters, RepeatedKeys: s.RepeatedKeys,
		State: s.State, DoneBefore: s.DoneBefore, Replayed: s.Replayed, CutOff: s.CutOff, Known: s.Known, Changed: s.Changed, NothingToDo: s.NothingToDo, Delivery: string(s.Delivery),
	}
	if o.err != nil && !o.interrupted() {
		r.Error = o.err.Error()
	}
	if r.ExitCode == exitUsage {
		r.Outcome = "refused"
	}
	return r
}
