package pipeline

import "time"

// Pipeline is a declared pipeline: one source, stages, one sink. YAML and Go make
// the same value; package engine runs it.
type Pipeline struct {
	// Name is for messages and for the folder of the run's state.
	Name string
	// Fingerprint is everything that shapes the rows and the answers, digested, by the
	// path of its key: a run that was killed is not gone on with under another. Package
	// load fills it in; of a pipeline built in Go it is the program's to say.
	Fingerprint map[string]string
	// State is the folder in which a run keeps what it needs to go on after it was killed.
	// Empty, or "off", keeps nothing, unless the program says otherwise.
	State string
	// Source is where the rows come from.
	Source Source
	// SourceName says so in messages: "file data/tickets.csv". It may be empty.
	SourceName string
	// Key is the field that identifies a row; empty for none.
	Key string
	// Steps are the stages, in order.
	Steps []Step
	// Sink is where the records go.
	Sink Sink
	// SinkName says so in messages: "file out/tickets.jsonl". It may be empty.
	SinkName string
	// Flush says how the records are put together for the sink.
	Flush Flush
	// DeadLetter takes the records that failed for good; nil only counts them. What
	// it gets are records of the form
	//
	//	{"record": …, "error": {stage, class, code, message, attempts, answer?, sinks?},
	//	 "source": {path, line, offset, key, child}}
	//
	// with "raw" in place of "record" where the row could not be read. Of several sinks,
	// "sinks" are those that have refused the record.
	DeadLetter Sink
	// DeadLetterName is where they go, for the summary.
	DeadLetterName string
	// StopWhen ends a run that goes wrong early.
	StopWhen StopWhen
	// DrainTimeout bounds how long a soft stop waits for what is in flight; then it
	// becomes a hard stop. Defaults to 2 minutes.
	DrainTimeout time.Duration
}

// Step is a stage and how the engine is to run it.
type Step struct {
	Stage Stage
	// Component is the name of the stage's Spec, for messages. It may be empty.
	Component string
	// Workload is what the stage's Spec declares. A [Turner] always waits.
	Workload Workload
	// Costs is what the stage's Spec declares: a run that keeps state has what the stage
	// returns in its journal, and does not ask for it again after a kill. A [Turner] always
	// costs.
	Costs bool
	StepOptions
}

// OnError says what becomes of a record that failed for good.
type OnError string

// The choices of OnError.
const (
	DeadLetters OnError = "dead_letter"
	StopRun     OnError = "stop"
	DropRecord  OnError = "drop"
)

// Condition decides whether a stage is for a record; [lang.Expression] is one.
type Condition interface {
	Bool(r *Record) (bool, error)
}

// StepOptions are the engine's keys of a stage. The zero value means the defaults.
type StepOptions struct {
	// Name is the stage's name in messages, dead letters and the summary. Defaults to
	// the component's name, with a number where that is taken.
	Name string
	// Parallelism is how many records are in the stage at once; of one that asks a
	// provider, how many requests are on the wire. Defaults to 16 for stages that
	// wait, and to GOMAXPROCS for those that compute.
	Parallelism int
	// Unordered lets records leave the stage as they get ready. It has no effect
	// where something behind the stage depends on the order.
	Unordered bool
	// ReorderWindow bounds how many records may be read ahead of the oldest one that
	// is not ready. Defaults to 16 x parallelism, at least 1024.
	ReorderWindow int
	// Retry is what happens after a failed attempt.
	Retry Retry
	// Breaker pauses the stage when the other end fails.
	Breaker Breaker
	// Timeout bounds one attempt; waiting for a turn is excluded. Defaults to 60s for
	// stages that wait, else none; negative for none.
	Timeout time.Duration
	// Deadlines bound the parts of one attempt, within Timeout, where the stage knows
	// of parts ([Deadliner]).
	Deadlines Deadlines
	// Hedge makes requests a second time whose answers are late, where the stage allows
	// it; the zero Hedge none.
	Hedge Hedge
	// OnError is what becomes of a record that failed for good. Defaults to
	// DeadLetters.
	OnError OnError
	// When lets only some records into the stage; the others pass by. Nil is all.
	When Condition
}

// Deadlines bound the parts of one attempt; StepOptions.Timeout bounds the whole. A
// part without a bound of its own (0) is bounded by that alone.
type Deadlines struct {
	// Connect is until there is a connection: name, TCP, proxy and TLS together.
	Connect time.Duration
	// FirstByte is from then until the answer begins.
	FirstByte time.Duration
	// Idle is between any two bytes of the answer.
	Idle time.Duration
}

// Retry says how often and when a failed attempt is repeated. Zero fields mean
// the defaults.
type Retry struct {
	// Attempts is how many requests a turn may make, the first included; refusals
	// (429) are not counted. Defaults to 6 for stages that wait, else 1.
	Attempts int
	// Backoff is the longest wait before the second attempt; it doubles with each.
	// The wait itself is random below that (full jitter). Defaults to 500ms.
	Backoff time.Duration
	// MaxBackoff bounds the backoff. Defaults to 60s.
	MaxBackoff time.Duration
	// RunBudget bounds the retries of the whole run, as a share of its rows so far;
	// the first 100 are free. Defaults to 100%.
	RunBudget Share
}

// Breaker pauses a stage whose other end fails: nothing is sent but probes, the
// rows wait, no attempt is spent. Zero fields mean the defaults.
type Breaker struct {
	// Off switches the breaker off.
	Off bool
	// FailureRate is the share of the last max(20, parallelism) calls at which it
	// opens. Refusals (429) do not count. Defaults to 80%.
	FailureRate Share
	// OpenFor is how long nothing is sent before the next probe. Defaults to 15s.
	OpenFor time.Duration
	// MaxPause is how long the other end may be away, in all, before the run fails.
	// Defaults to 30m.
	MaxPause time.Duration
}

// Flush says when records are handed to the sink and made durable.
type Flush struct {
	// Records is the largest batch. Defaults to 1000.
	Records int
	// Every is how long a record waits at most. Defaults to 1s.
	Every time.Duration
}

// StopWhen ends a run early when too much of it fails.
type StopWhen struct {
	// Off switches it off.
	Off bool
	// DeadLetters is the share of the rows that become dead letters at which the
	// run fails. Defaults to 50%.
	DeadLetters Share
	// After is how many rows a component must have seen before its share counts.
	// Defaults to 200.
	After int
}
