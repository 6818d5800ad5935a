package pipeline

import (
	"context"
	"io"
	"time"
)

// What a component may implement so that a run that was killed goes on where it was:
// sources that can begin in the middle, stages that remember, sinks that can be cut
// back. A component without them still works; the engine then reads from the start and
// leaves out what was settled, or promises less.

// Identifier is a source over something that may change between two runs. A source
// without it is taken for the same as long as its configuration is.
type Identifier interface {
	Source
	// Identify returns what there is to read now, in words of the source's own (sizes,
	// hashes, entity tags). It reads no more than it must and is called before Records.
	Identify(ctx context.Context) (string, error)
	// Compare reports how what there is to read now differs from what Identify returned
	// in an earlier run: Same; Grown, when all that was there still is, in front of what
	// is new; else an error that says what changed.
	Compare(ctx context.Context, was string) (Change, error)
}

// Change is how a source differs from what an earlier run found.
type Change uint8

// The kinds of Change that a run can go on with.
const (
	// Same says that there is nothing new.
	Same Change = iota
	// Grown says that there are new rows behind those that were there.
	Grown
)

// Seeker is a source that can begin in the middle.
type Seeker interface {
	Source
	// Seek has the next Records begin with the row that stood at the Origin, which is
	// that of a record it yielded in an earlier run, and go on as if all before it had
	// been read. The source has been compared ([Identifier]) before.
	Seek(ctx context.Context, at Origin) error
}

// Stateful is a stage that remembers from one record to the next. Beside that, it must
// answer a record that it is shown again, by Ref, as it did the first time.
type Stateful interface {
	Sequential
	// Save writes what has changed since the last Save or Load. What is written is
	// appended to what was. It is called between two records.
	Save(w io.Writer) error
	// Load takes in all that was saved, before the first record; there is nothing to read
	// in a run that begins. A stage that is not loaded is not going to be saved either.
	Load(r io.Reader) error
}

// Fingerprinter is a stage whose answers hang on more than its configuration and the
// record: on a file that it reads, for instance.
type Fingerprinter interface {
	Stage
	// Fingerprint returns a digest of each such thing, by a name for messages ("file
	// prices.csv"). It is called before the first row, in a run that keeps state; a run that
	// was ended is not gone on with where one differs.
	Fingerprint(ctx context.Context) (map[string]string, error)
}

// Rewinder is a sink whose output can be cut back to where a [Sink.Commit] left it.
type Rewinder interface {
	Sink
	// Rewind is called in place of [Starter.Start] when a run goes on: it leaves what was
	// there at the position and nothing behind it. It refuses, and changes nothing, where
	// the output is not what it was then. The empty position is an output in which
	// nothing was committed yet.
	Rewind(ctx context.Context, to Position) error
	// Check says what Rewind would refuse, and changes nothing.
	Check(ctx context.Context, to Position) error
}

// Delivery says how often a record is in the output of a run that was killed and went
// on.
type Delivery string

// The kinds of Delivery.
const (
	// NotKept: what is written goes to whoever reads it now (a pipe, a terminal) and
	// cannot be had again, so that a run keeps no state unless it is told to.
	NotKept Delivery = "not kept"
	// AtLeastOnce: what was written after the last checkpoint is there twice.
	AtLeastOnce Delivery = "at least once"
	// ExactlyOnce: the output is cut back to the checkpoint, or written under names that
	// a second run writes again.
	ExactlyOnce Delivery = "exactly once"
	// ExactlyOnceByKey: a record written again takes the place of the first, if no other
	// has its key.
	ExactlyOnceByKey Delivery = "exactly once by key"
)

// Deliverer is a sink that says what it can promise; any other delivers
// [AtLeastOnce].
type Deliverer interface {
	Sink
	// Delivery is known before the sink is started.
	Delivery() Delivery
}

// DeliveryOf returns what a sink promises.
func DeliveryOf(s Sink) Delivery {
	if d, ok := s.(Deliverer); ok {
		return d.Delivery()
	}
	return AtLeastOnce
}

// Guarantor is a component that may leave less of the promises of a run than others.
type Guarantor interface {
	// Guarantee completes "the component is …" with what it is and what it leaves of the
	// promises, for the summary; "" if that is all of them. It is known before the run.
	Guarantee() string
}

// Router is a sink made of several, each of which gets some of the records.
type Router interface {
	Sink
	// Uses says how many records each has taken, in all runs that went on with each other.
	// No two have the same name.
	Uses() []SinkUse
	// Restrict has the records for which only returns names go to the sinks that are
	// called so, and to no other; nil leaves a record alone. It is called before the first
	// Write, for records that the other sinks have taken before: see [Refusal].
	Restrict(only func(*Record) []string)
}

// Refusal is why some sinks of a [Router] have refused a record that the others, to which
// it went too, have taken. It stands in a [BatchError].
type Refusal struct {
	// Sinks are the names of those that have not taken it, as in [SinkUse].
	Sinks []string
	Err   error
}

// Error is that of the reason.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// SinkUse is one of several sinks.
type SinkUse struct {
	// Name says which: "file out/urgent.jsonl".
	Name string `json:"name"`
	// Delivered is how many records it has committed. One that went to two sinks is
	// counted by both.
	Delivered int64 `json:"delivered"`
	// Delivery is what the sink promises.
	Delivery Delivery `json:"delivery"`
}

// Timely is a sink that has something to end at a time, whether a record comes or not.
type Timely interface {
	Sink
	// Due is when Commit is to be called, although nothing may have been taken since the
	// last one; zero for no such time. It is asked for behind each Write and Commit.
	Due() time.Time
}

// Portioned is a sink that takes so many records in one request, and any more in others.
type Portioned interface {
	Sink
	// Portion is how many records a Write gets at most, 0 for any number: so each request is
	// made again by itself where it is refused, and none that was taken waits for that.
	Portion() int
}

// Publisher is a sink that shows what it wrote only when a checkpoint covers it.
type Publisher interface {
	Sink
	// Publish is called after the checkpoint that holds the position is durable; it may be
	// called again with the same one, while the sink is written to, and for the last time
	// behind Close. A run that keeps no state has no checkpoints, and never calls it.
	Publish(ctx context.Context, to Position) error
}

// Spooler is a sink that needs a folder for what it took and has not passed on yet.
type Spooler interface {
	Sink
	// Spool names the folder, before anything else is asked of the sink. It is the sink's
	// alone, is there again in the run that goes on, and may not exist yet. A run that keeps
	// no state does not call it: what the sink puts anywhere then is its own to remove.
	Spool(dir string)
}

// Finisher is a sink whose output has an end of its own: a manifest, a last part.
type Finisher interface {
	Sink
	// Finish is called behind the last Commit, before Close, of a run in which everything has
	// ended and nothing is left to read. The position that it returns takes the place of that
	// Commit's; a run that keeps state publishes it ([Publisher]) before it counts as finished.
	// A run that was killed meanwhile calls it again, as does one that goes on because its
	// source has grown, when it has come to its new end.
	Finish(ctx context.Context) (Position, error)
}
