// Package engine runs pipelines: it owns concurrency, order, batching, settling
// and stops, once, for all components. See package pipeline for the words.
package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// Options are what the program decides about a run.
type Options struct {
	// Logger gets what is worth saying while running; nil discards.
	Logger *slog.Logger
	// Limit ends reading after so many rows; 0 is all of them.
	Limit int64
	// Limits are the limits of the endpoints that are asked. Runs and bound stages that
	// are given the same ones share what an endpoint allows; nil makes new ones.
	Limits *policy.Limits
	// Fresh starts over: the sinks overwrite output of an earlier run, and what State
	// has of it is forgotten.
	Fresh bool
	// New takes those rows only whose key (Pipeline.Key) and content are not among what the
	// finished run in State has done, whatever else has become of the source: it is read
	// from its beginning, rows that are known are passed by, and the sinks go on behind what
	// is there. Of rows with the same key and content one is taken. Rows whose dead letters
	// are kept are known too: see [StartRetry]. Without a run in State it is a first run;
	// one that is not finished is gone on with first, and must have the source that it had.
	New bool
	// State is the folder in which the run keeps what it needs to go on after it was
	// killed: a run that finds one unfinished there goes on with it. Nobody else may
	// use the folder. "off" keeps nothing; "" leaves it to Pipeline.State, and keeps
	// nothing if that is empty too.
	State string
	// SyncEvery is how long an answer may be only in the memory of the operating system,
	// which a kill leaves alone and a power cut does not. Negative makes every answer
	// durable before it is used. Defaults to 50ms.
	SyncEvery time.Duration
	// CheckpointEvery is how often the run notes in State how far it got. What a sink that
	// cannot be cut back was given since then it is given again after a kill. Defaults to 1s.
	CheckpointEvery time.Duration
	// Watch has the run fail with errors that connectors only log; nil has none.
	Watch *Watch

	files      fsys.FS   // nil for those of the operating system
	appendFrom *sinkMark // where the sink goes on in a run that begins
	// Preflight probes every component and rehearses the first rows before
	// anything is written or paid.
	Preflight bool
}

// Snapshot is how a run stands now.
type Snapshot struct {
	Elapsed time.Duration
	// Counts are the rows so far; while the run goes on they are a moment's view.
	Counts Counts
	// Finished is how many records have come to the end of the stages, or ended on
	// the way; those among them that the sink has not committed are not counted as
	// delivered yet.
	Finished int64
	// EstimatedRows is how many rows the source is thought to have; 0 if not known.
	EstimatedRows int64
	// Stages is how each stage stands.
	Stages []StageSnapshot
	// Waiting names the row that everybody waits for, when a reorder window is full.
	Waiting string
	// Draining says that the run was asked to stop.
	Draining bool
}

// StageSnapshot is how one stage stands.
type StageSnapshot struct {
	Name string
	// InFlight is how many records are in the stage now.
	InFlight int
	// OnWire is how many of its requests are being answered now; those that wait for
	// their turn are not among them.
	OnWire int
	// Calls, Attempts, Retries and Refusals count so far.
	Calls, Attempts, Retries, Refusals int64
	// Hedges and HedgesWon are as in [StageSummary].
	Hedges, HedgesWon int64
	// Endpoints is how each stands, where it has several.
	Endpoints []policy.EndpointState
	// Paused is why nothing is sent, "" if something is.
	Paused string
	// PausedUntil is when the next probe is.
	PausedUntil time.Time
	// Time says where the time of its records went so far.
	Time StageTime
	// Limits are those by which its requests are paced.
	Limits []policy.FoundLimit
	// Concurrency is how many requests at once the other end was found to have use for, 0
	// if that was not looked for, or parallelism is not too many.
	Concurrency int
}

// Counts are leaves by how they ended. Read + Made - Merged is the sum of
// Delivered, Dropped, DeadLettered, Absorbed and Unfinished once a run has ended.
type Counts struct {
	// Read is the rows read, unreadable ones included.
	Read int64 `json:"read"`
	// Collected is how many of those were made by stages that put rows together
	// ([pipeline.Collector]); the others come from the source.
	Collected int64 `json:"collected,omitzero"`
	// Made is the records made by splitting, less those they were made of.
	Made int64 `json:"made"`
	// Merged is the records that live on inside another one.
	Merged int64 `json:"merged"`
	// Delivered is what the sink has committed.
	Delivered int64 `json:"delivered"`
	// Dropped is what stages left out on purpose.
	Dropped int64 `json:"dropped"`
	// DroppedOnError is the failed records of stages with on_error: drop.
	DroppedOnError int64 `json:"dropped_on_error"`
	// DeadLettered is the records that failed for good.
	DeadLettered int64 `json:"dead_lettered"`
	// Absorbed is what went into the Collected rows; and what go-streams operators have taken that do not
	// pass on each record, see [Loose].
	Absorbed int64 `json:"absorbed,omitzero"`
	// Unfinished is what the run left when it was stopped.
	Unfinished int64 `json:"unfinished"`
}

// Summary is how a run ended.
type Summary struct {
	Name    string         `json:"name"`
	Elapsed time.Duration  `json:"elapsed"`
	Counts  Counts         `json:"counts"`
	Stages  []StageSummary `json:"stages"`
	// Reasons are why records became dead letters, the most frequent first.
	Reasons []Reason `json:"reasons,omitempty"`
	// Sinks are the sinks and how many records each has committed, where there are several.
	Sinks []pipeline.SinkUse `json:"sinks,omitempty"`
	// DeadLetters is where they went.
	DeadLetters string `json:"dead_letters,omitempty"`
	// RepeatedKeys counts the rows whose `key` an earlier row had.
	RepeatedKeys int64 `json:"repeated_keys,omitempty"`
	// Stopped says that the run was asked to stop before its end.
	Stopped bool `json:"stopped,omitempty"`
	// State is the folder of the run's state; "" if none is kept.
	State string `json:"state,omitempty"`
	// Resumed says that the run went on with an earlier one; Counts are of both.
	Resumed bool `json:"resumed,omitempty"`
	// DoneBefore is how many rows had ended in that one, and Replayed how many answers
	// were taken from its journal.
	DoneBefore int64 `json:"done_before,omitempty"`
	Replayed   int64 `json:"replayed,omitempty"`
	// CutOff is how many answers of stages that cost the run did not wait for, or could not
	// keep: they may have been paid for, and are asked for again by the run that goes on.
	CutOff int64 `json:"cut_off,omitempty"`
	// NothingToDo says that the earlier run was finished, and nothing has come to its
	// source since. Nothing was written.
	NothingToDo bool `json:"nothing_to_do,omitempty"`
	// Known is how many rows of the source a run for new ones ([Options.New]) has passed by;
	// they are not in Counts. Changed is how many of the others have the key of a row that
	// was done, with other content: what that row became is in the output too.
	Known   int64 `json:"known,omitempty"`
	Changed int64 `json:"changed,omitempty"`
	// Delivery is how often a record may be in the output of a run that was killed and
	// went on.
	Delivery pipeline.Delivery `json:"delivery,omitempty"`
	// Guarantees says where the promises of the run end, if somewhere: at components of
	// go-streams.
	Guarantees []string `json:"guarantees,omitempty"`
	// NoState says why the run kept no state although it was to; see [NoState].
	NoState string `json:"no_state,omitempty"`
}

// StageSummary is what one stage did.
type StageSummary struct {
	Name     string `json:"name"`
	Calls    int64  `json:"calls"`
	Attempts int64  `json:"attempts"`
	Retries  int64  `json:"retries"`
	Refusals int64  `json:"refusals"`
	// Hedges are the requests made a second time because the first one's answer was
	// late, which Attempts count too; HedgesWon those that answered first.
	Hedges    int64 `json:"hedges,omitempty"`
	HedgesWon int64 `json:"hedges_won,omitempty"`
	// Usage is the sum of what the stage reports, by name ("input_tokens"). Unlike the
	// others it is also that of the runs that this one went on with; a kill takes that of its
	// last 50 ms, and of what was on the wire.
	Usage map[string]int64 `json:"usage,omitempty"`
	// Time says where the time of its records went.
	Time StageTime `json:"time"`
	// Endpoints is how each stood at the end, where it has several.
	Endpoints []policy.EndpointState `json:"endpoints,omitempty"`
	// Limits are those by which its requests were paced at the end.
	Limits []policy.FoundLimit `json:"limits,omitzero"`
	// Concurrency is how many requests at once the other end was found to have use for, 0
	// if that was not looked for, or parallelism is not too many.
	Concurrency int `json:"concurrency,omitzero"`
}

// Reason is a reason for dead letters and how many had it.
type Reason struct {
	Stage   string `json:"stage"`
	Code    string `json:"code"`
	Message string `json:"message"` // of the first
	Count   int64  `json:"count"`
}

// Run runs a pipeline to its end. See [Start].
func Run(ctx context.Context, p pipeline.Pipeline, o Options) (Summary, error) {
	e, err := Start(ctx, p, o)
	if err != nil {
		return Summary{Name: p.Name}, err
	}
	return e.Wait()
}

func (o Options) fs() fsys.FS {
	if o.files == nil {
		return fsys.OS{}
	}
	return o.files
}
