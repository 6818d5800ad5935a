package load

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// keysCode is this file: the comments on the fields are the reference.
//
//go:embed keys.go
var keysCode string

// pipelineKeys are the keys of a pipeline's YAML file.
type pipelineKeys struct {
	// Name is for messages and for the folder of the run's state. It may hold letters,
	// digits, spaces and "-_.". Defaults to the name of the file without its extension.
	Name string `yaml:"name"`
	// Source is where the rows come from: one source component, and beside it `key`.
	// Defaults to none, where there are `sources`.
	Source captured `yaml:"source"`
	// Sources are several in place of one `source`: each entry is one source component, and
	// beside it `key`, which must be the same in all. Defaults to none.
	Sources []captured `yaml:"sources"`
	// Merge is in which order the rows of several `sources` come: `concat` reads one source
	// after the other, `interleave` takes turns, a row of each. A run goes on faster with
	// concat, and of that the last source may have grown. Defaults to concat.
	Merge string `yaml:"merge" rowmill:"oneof=concat|interleave"`
	// Stages are what is done with each record, in this order: each entry is one stage
	// component, and beside it the keys of the engine. Defaults to none.
	Stages []captured `yaml:"stages"`
	// Sink is where the records go: one sink component, and beside it `flush`. Defaults
	// to none, where there are `sinks`.
	Sink captured `yaml:"sink"`
	// Sinks are several in place of one `sink`: each entry is one sink component, and beside
	// it `when` and `flush`. A record is delivered once every sink that it goes to has it;
	// one that a sink refuses is a dead letter that names the sink. Defaults to none.
	Sinks []captured `yaml:"sinks"`
	// Route is to which of several `sinks` a record goes: with `all` to each whose `when` is
	// true, and to each that has none; with `first` to the first whose `when` is true, else
	// to the one that has none. Defaults to all.
	Route string `yaml:"route" rowmill:"oneof=all|first"`
	// DeadLetter is where the records go that failed for good, with the reason: one
	// sink component. Defaults to a file beside the output, out/x.dead.jsonl for
	// out/x.jsonl; else to .rowmill/<name>/dead.jsonl. It is made with the first one.
	DeadLetter captured `yaml:"dead_letter"`
	// StopWhen ends a run early that goes wrong; `off` never does.
	StopWhen stopWhenKeys `yaml:"stop_when"`
	// DrainTimeout bounds how long a run that was asked to stop waits for what is in
	// flight. Defaults to 2m.
	DrainTimeout pipeline.Duration `yaml:"drain_timeout" rowmill:"tuning,min=1ms"`
	// State is the folder in which a run keeps what it needs to go on after it was killed;
	// `off` keeps nothing. Defaults to .rowmill/<name> in the working directory, and to off
	// where the output goes to standard output.
	State string `yaml:"state" rowmill:"tuning"`
}

// sourceKeys are the keys beside a source.
type sourceKeys struct {
	// Key is the field that identifies a row, for messages and dead letters; repeated
	// ones are counted. With it `rowmill run --new` takes the rows that are new or have
	// changed. Defaults to none: a row is named by its file and line.
	Key string `yaml:"key"`
}

// sinkKeys are the keys beside a sink.
type sinkKeys struct {
	// When is for one of several `sinks`: an expression, which says whether a record goes
	// there. At least one sink has none. A record for which it fails is a dead letter.
	// Defaults to none.
	When string `yaml:"when" rowmill:"expr"`
	// Flush says when records are written and made durable; of several sinks the most
	// frequent counts for all.
	Flush flushKeys `yaml:"flush" rowmill:"tuning"`
}

// deadLetterKeys are the keys beside a sink for dead letters: none.
type deadLetterKeys struct{}

// flushKeys says when records are handed to the sink and made durable.
type flushKeys struct {
	// Records is how many at most are written at once. Defaults to 1000.
	Records int `yaml:"records" rowmill:"tuning,min=1"`
	// Every is how long a record waits at most. Defaults to 1s.
	Every pipeline.Duration `yaml:"every" rowmill:"tuning,min=1ms"`
}

// stopWhenKeys end a run early when too much of it fails.
type stopWhenKeys struct {
	off bool
	// DeadLetters is the share of the rows so far that become dead letters at
	// which the run fails. Defaults to 50%.
	DeadLetters pipeline.Share `yaml:"dead_letters" rowmill:"tuning,min=0.01%,max=100%"`
	// After is how many rows a component must have seen before its share counts.
	// Defaults to 200.
	After int `yaml:"after" rowmill:"tuning,min=1"`
}

// UnmarshalText takes "off".
func (k *stopWhenKeys) UnmarshalText(text []byte) error {
	return offText(text, &k.off, "dead_letters and after")
}

// stageKeys are the keys of the engine beside a stage.
type stageKeys struct {
	// Name is the stage's name in messages, dead letters and the summary. Defaults to
	// the component's, with a number where that is taken: llm, llm-2.
	Name string `yaml:"name"`
	// Parallelism is how many records are in the stage at once. Defaults to 16 for
	// stages that wait for others, and to the number of processors for those that
	// compute.
	Parallelism int `yaml:"parallelism" rowmill:"tuning,min=1,max=100000"`
	// Ordered keeps the records in the order in which they came in; `false` lets each
	// go on as soon as it is ready. The order is kept all the same where a later stage
	// depends on it (limit, dedupe, group). Defaults to true.
	Ordered bool `yaml:"ordered"`
	// ReorderWindow is how many records may be read ahead of the oldest one that is not
	// ready. Defaults to 16 x parallelism, at least 1024.
	ReorderWindow int `yaml:"reorder_window" rowmill:"tuning,min=1"`
	// Retry is how often and when a failed attempt is repeated.
	Retry retryKeys `yaml:"retry" rowmill:"tuning"`
	// Breaker pauses the stage while the other end fails, without spending attempts;
	// `off` never does.
	Breaker breakerKeys `yaml:"breaker" rowmill:"tuning"`
	// Timeout bounds one attempt, without the time it waits for its turn; `off` or 0
	// for none. A stage that asks others over the network takes a mapping too, with bounds
	// for the parts. Defaults to 60s for stages that wait for others, else to none.
	Timeout timeoutKeys `yaml:"timeout" rowmill:"tuning"`
	// Hedge makes a request a second time whose answer is late; the first answer
	// counts. For stages that ask a model. Both may cost. Defaults to off.
	Hedge hedgeKeys `yaml:"hedge" rowmill:"tuning"`
	// OnError is what becomes of a record that failed for good: `dead_letter` puts it
	// aside with the reason, `stop` ends the run, `drop` leaves it out. Defaults to
	// dead_letter.
	OnError string `yaml:"on_error" rowmill:"oneof=dead_letter|stop|drop"`
	// When is an expression: only records for which it is true go through the stage,
	// the others pass by unchanged. Defaults to all.
	When string `yaml:"when" rowmill:"expr"`
}

// retryKeys say how often and when a failed attempt is repeated.
type retryKeys struct {
	// Attempts is how many are made for one question, the first included. A refusal
	// (429) is repeated without being counted. Defaults to 6 for stages that wait for
	// others, else to 1.
	Attempts int `yaml:"attempts" rowmill:"tuning,min=1,max=1000"`
	// Backoff is the longest wait before the second attempt. It doubles with each; the
	// wait itself is random below it. Defaults to 500ms.
	Backoff pipeline.Duration `yaml:"backoff" rowmill:"tuning,min=1ms"`
	// MaxBackoff bounds the backoff. Defaults to 60s.
	MaxBackoff pipeline.Duration `yaml:"max_backoff" rowmill:"tuning,min=1ms"`
	// RunBudget bounds the retries of the whole run, as a share of its rows so far; the
	// first 100 are free. Defaults to 100%.
	RunBudget pipeline.Share `yaml:"run_budget" rowmill:"tuning,min=0.01%,max=1000%"`
}

// hedgeKeys have late requests made a second time.
type hedgeKeys struct {
	off bool
	// After is how late an answer has to be: a percentile of how long the last answers
	// took, like p95, or a duration, like 10s. Required.
	After pipeline.Lateness `yaml:"after" rowmill:"tuning,required"`
	// AtMost bounds the requests made a second time, as a share of the others. None is made
	// where the limits of the other end leave no room for it. Defaults to 5%.
	AtMost pipeline.Share `yaml:"at_most" rowmill:"tuning,min=0.01%,max=100%"`
}

// UnmarshalText takes "off".
func (k *hedgeKeys) UnmarshalText(text []byte) error {
	return offText(text, &k.off, "after and at_most")
}

// breakerKeys pause a stage whose other end fails.
type breakerKeys struct {
	off bool
	// FailureRate is the share of the last max(20, parallelism) calls at which it
	// opens. Defaults to 80%.
	FailureRate pipeline.Share `yaml:"failure_rate" rowmill:"tuning,min=0.01%,max=100%"`
	// OpenFor is how long nothing is sent before the next probe. Defaults to 15s.
	OpenFor pipeline.Duration `yaml:"open_for" rowmill:"tuning,min=1ms"`
	// MaxPause is how long the other end may be away, in all, before the run fails.
	// Defaults to 30m.
	MaxPause pipeline.Duration `yaml:"max_pause" rowmill:"tuning,min=1ms"`
}

// UnmarshalText takes "off".
func (k *breakerKeys) UnmarshalText(text []byte) error {
	return offText(text, &k.off, "failure_rate, open_for and max_pause")
}

// timeoutKeys bound one attempt and its parts. As a text it is the bound of the whole.
type timeoutKeys struct {
	off bool
	// Connect bounds the time until there is a connection: name, TCP, proxy and TLS
	// together. Defaults to none of its own.
	Connect pipeline.Duration `yaml:"connect" rowmill:"tuning,min=1ms"`
	// FirstByte bounds the time from then until the answer begins. Defaults to none of its
	// own.
	FirstByte pipeline.Duration `yaml:"first_byte" rowmill:"tuning,min=1ms"`
	// Idle bounds the time between any two bytes of the answer: a provider that trickles is
	// cut. Defaults to none of its own.
	Idle pipeline.Duration `yaml:"idle" rowmill:"tuning,min=1ms"`
	// Total bounds the whole attempt. Defaults to 60s.
	Total pipeline.Duration `yaml:"total" rowmill:"tuning,min=1ms"`
}

// UnmarshalText takes a duration, "off", or 0.
func (k *timeoutKeys) UnmarshalText(text []byte) error {
	var d pipeline.Duration
	switch err := d.UnmarshalText(text); {
	case isOff(text), err == nil && d == 0:
		k.off = true
	case err != nil:
		return fmt.Errorf("%w, or off", err)
	default:
		k.Total = d
	}
	return nil
}

// whole returns the bound of the whole attempt as the engine takes it.
func (k timeoutKeys) whole() time.Duration {
	if k.off {
		return -1
	}
	return time.Duration(k.Total)
}

func (k timeoutKeys) parts() pipeline.Deadlines {
	return pipeline.Deadlines{Connect: time.Duration(k.Connect), FirstByte: time.Duration(k.FirstByte), Idle: time.Duration(k.Idle)}
}

// isOff also takes false, which is what other tools make of a plain off.
func isOff(text []byte) bool {
	return string(text) == "off" || strings.EqualFold(string(text), "false")
}

func offText(text []byte, off *bool, keys string) error {
	if !isOff(text) {
		return fmt.Errorf("must be off, or a mapping with %s", keys)
	}
	*off = true
	return nil
}

// options returns what the engine takes.
func (k stageKeys) options() pipeline.StepOptions {
	return pipeline.StepOptions{
		Parallelism:   k.Parallelism,
		Unordered:     !k.Ordered,
		ReorderWindow: k.ReorderWindow,
		Retry: pipeline.Retry{
			Attempts:   k.Retry.Attempts,
			Backoff:    time.Duration(k.Retry.Backoff),
			MaxBackoff: time.Duration(k.Retry.MaxBackoff),
			RunBudget:  k.Retry.RunBudget,
		},
		Breaker: pipeline.Breaker{
			Off:         k.Breaker.off,
			FailureRate: k.Breaker.FailureRate,
			OpenFor:     time.Duration(k.Breaker.OpenFor),
			MaxPause:    time.Duration(k.Breaker.MaxPause),
		},
		Timeout:   k.Timeout.whole(),
		Deadlines: k.Timeout.parts(),
		Hedge:     pipeline.Hedge{After: k.Hedge.After, AtMost: k.Hedge.AtMost},
		OnError:   pipeline.OnError(k.OnError),
	}
}
