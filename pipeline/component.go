package pipeline

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Source reads records.
type Source interface {
	// Records yields the rows in the order of the source:
	//
	//   - (r, nil) for a row;
	//   - (r, err) for a row that cannot be read: r is [Unreadable] and holds its
	//     bytes and Origin. It becomes a dead letter, and reading goes on;
	//   - (nil, err) when the source itself fails. It is the last thing yielded,
	//     and the run fails with it.
	//
	// The engine sets each record's Ref. Records stops when the consumer does, and
	// soon after ctx is done, then without an error of its own. A run that ends waits
	// a second for that, and then leaves the source behind as it is.
	Records(ctx context.Context) iter.Seq2[*Record, error]
}

// Stage turns a record into records.
type Stage interface {
	// Process returns what becomes of r: nothing (it is dropped), r itself, changed
	// or not, or several records made with [Record.Child]. Their number and order
	// depend on the record alone. On an error nothing of r's is used: the next
	// attempt, and the dead letter, start from r as it entered the stage. See
	// [Class] for what each error does. Process may be called concurrently for
	// different records, except for a [Sequential] stage.
	Process(ctx context.Context, r *Record) ([]*Record, error)
}

// StageFunc is a function as a [Stage].
type StageFunc func(ctx context.Context, r *Record) ([]*Record, error)

// Process calls f.
func (f StageFunc) Process(ctx context.Context, r *Record) ([]*Record, error) { return f(ctx, r) }

// Sink writes records. The engine calls it from one goroutine at a time.
type Sink interface {
	// Write takes a batch, perhaps only into a buffer. An error means that nothing
	// of the batch was taken, or that it may be written again; a [BatchError] names
	// the records that were refused for good, all others are taken.
	Write(ctx context.Context, batch []*Record) error
	// Commit makes durable all that was taken and says where the sink stands. Only
	// then are those records delivered.
	Commit(ctx context.Context) (Position, error)
	// Close releases what the sink holds. It does not commit.
	Close(ctx context.Context) error
}

// Sequential is a stage that remembers, or whose answer depends on the order of
// the records: it gets them one at a time, in the order of the source.
type Sequential interface {
	Stage
	// Sequential has no effect; it marks the type.
	Sequential()
}

// Batcher is a stage that works on several records at once.
type Batcher interface {
	// Batch says how many records make a batch (at least 1), and how long a begun
	// batch waits for more of them (0: until the input ends).
	Batch() (size int, wait time.Duration)
	// ProcessBatch returns one outcome for each record, in their order. Those that failed
	// in a way after which another attempt may succeed are tried again by themselves, as a
	// batch of their own, unless some of the batch were merged; see [Class]. What it made of
	// records that it did not merge is journalled, if the stage costs.
	ProcessBatch(ctx context.Context, batch []*Record) []Outcome
}

// Independent marks a [Batcher] whose batches only save time: what becomes of a record does
// not depend on which others are there, and none is merged. It may have a condition (When),
// runs unordered if it is told to, and forms other batches in a run that goes on.
type Independent interface {
	Batcher
	// Independent has no effect; it marks the type.
	Independent()
}

// Together reports whether what a stage makes of a record depends on which others are in its
// batch: it is a [Batcher], and not [Independent].
func Together(s Stage) bool {
	_, batcher := s.(Batcher)
	_, independent := s.(Independent)
	return batcher && !independent
}

// Outcome is what became of one record of a batch.
type Outcome struct {
	// Records is what the record turned into.
	Records []*Record
	// Merged says that the record lives on inside the first of the Records of the
	// nearest outcome before it that has any.
	Merged bool
	// Err is the record's error; see [Class].
	Err error
}

// Turner marks a stage that puts each of its turns under the policies itself
// (policy.Turn). Around the Process of any other stage the engine does.
type Turner interface {
	Stage
	// TakesTurns has no effect; it marks the type.
	TakesTurns()
}

// Prober is a component that can say before the first row whether it is going to
// work: without cost, without writing, without reading a row.
type Prober interface {
	Probe(ctx context.Context) error
}

// Rehearser is a stage that can prepare its work on a record without doing it
// (an LLM stage renders its prompt), so that a mistake shows before it costs.
type Rehearser interface{ Rehearse(r *Record) error }

// Starter is a sink that is told how its run begins, before the first Write.
// With fresh it starts over; else it must keep what is there, and refuse where
// it would have to overwrite it.
type Starter interface {
	Start(ctx context.Context, fresh bool) error
}

// Preparer is a sink that may never be started, because it takes only what fails.
// Prepare is called before the first row: it refuses what Start would refuse, and
// with fresh removes what an earlier run left.
type Preparer interface {
	Prepare(ctx context.Context, fresh bool) error
}

// Closer is a source or stage that holds something to be released after the run.
type Closer interface{ Close() error }

// Meter is a source that knows how far it has read: done of total, in a unit of
// its own (bytes, rows). A total of 0 means that it is not known. It is called
// while Records runs.
type Meter interface{ Progress() (done, total int64) }

// Orderless is a sink to which the order of the records means nothing.
type Orderless interface{ Orderless() }

// BatchError is a [Sink.Write] error that names the records which were refused
// for good: they become dead letters, all others of the batch are taken. One whose reason
// is that of a run which was stopped meanwhile ([ErrStopped], the error of the context) is
// left unfinished.
type BatchError struct {
	// Refused maps the index in the batch to the reason.
	Refused map[int]error
}

// Error says how many records were refused, and why the first.
func (e *BatchError) Error() string {
	first := -1
	for i := range e.Refused {
		if first < 0 || i < first {
			first = i
		}
	}
	return fmt.Sprintf("%d of the batch refused: %v", len(e.Refused), e.Refused[first])
}

// Scaler is a stage that is told, before the first record, how many requests it will
// have on the wire at once, so that it holds as many connections.
type Scaler interface{ Scale(parallelism int) }

// Deadliner is a stage that is told, before the first record, how long the parts of
// an attempt may take. One that takes longer fails with a transient error whose code
// is connect_timeout, first_byte_timeout or idle_timeout.
type Deadliner interface{ Deadlines(d Deadlines) }

// Accountant is a stage that counts what it used (tokens, say), by name. It is
// called while the stage works.
type Accountant interface{ Usage() map[string]int64 }
