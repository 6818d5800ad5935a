package pipeline

import "fmt"

// Ending is how a row has ended: it and all that was made of it. Where its parts ended
// differently it is the one furthest down this list.
type Ending string

// The endings of a row.
const (
	// Dropped: a stage left it out on purpose.
	Dropped Ending = "dropped"
	// Delivered: the sink has committed it.
	Delivered Ending = "delivered"
	// Absorbed: a stage that puts rows together has it durably ([Collector]); or a
	// go-streams operator has taken it that does not pass on each record, and what becomes
	// of it there nobody knows.
	Absorbed Ending = "absorbed"
	// DroppedOnError: it failed in a stage with on_error: drop.
	DroppedOnError Ending = "dropped on error"
	// DeadLettered: it failed for good, and the sink for dead letters, if there is one, has
	// committed it.
	DeadLettered Ending = "dead letter"
	// Unfinished: the run has ended before it did, or never began it.
	Unfinished Ending = "unfinished"
	// EndedBefore: it had ended in an earlier run that this one goes on with.
	EndedBefore Ending = "ended before"
)

// Settlement is what became of a row.
type Settlement struct {
	Ending Ending
	// Err is why a row failed, a [*Failure]; nil where it did not, or that was in an
	// earlier run.
	Err error
}

// Done reports whether the row needs to come no more: acknowledge its message. Of a row
// that is not done nothing is lost if it comes again.
func (s Settlement) Done() bool { return s.Ending != Unfinished }

// OnSettle has f told what became of the row, so that its message can be acknowledged. It
// is for sources, before they yield the record; of any other record it has no effect.
//
// f is called once for each row that was yielded, whatever happens in the run, and before
// the run ends. With a run that keeps state it is called when a checkpoint says durably
// how the row has ended: a kill before makes the row come again, one just after too, so
// that there a message may be acknowledged that had been already. The calls come
// one at a time; f must not wait for the run. While thousands are yet to be made, the
// source is not asked for more.
func (r *Record) OnSettle(f func(Settlement)) { r.onSettle = f }

// TakeOnSettle returns what [Record.OnSettle] was given, and forgets it; nil if it was
// given nothing. It is the engine's own; components leave it alone.
func (r *Record) TakeOnSettle() func(Settlement) {
	f := r.onSettle
	r.onSettle = nil
	return f
}

// Failure is the error of a [Settlement]: why a row failed.
type Failure struct {
	// Stage is the name of the stage in which it failed, "source" or "sink".
	Stage string
	Class Class
	// Code is the short machine name, as in [Error].
	Code string
	// Err is the reason, in the words of whoever refused.
	Err error
	// Attempts is how many requests were made for it in that stage.
	Attempts int
}

// Error returns the stage and the reason.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Stage, f.Err) }

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Err }
