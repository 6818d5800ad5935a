package policy

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/rowmill/rowmill/pipeline"
)

// Settings are what a stage's policies need.
type Settings struct {
	// StepOptions with every default in its place; see [Defaults].
	pipeline.StepOptions
	// Stop is closed on a soft stop: the gate lets nothing more through, and whoever
	// waits in it gets [pipeline.ErrStopped] at once. Nil never stops; a stage that
	// only computes wants nil, so that what is already paid for flows on.
	Stop <-chan struct{}
	// Limiter paces the requests, by the limits of the other end; stages that ask the
	// same one share it. Nil paces nothing.
	Limiter *Limiter
	// Endpoints are what is asked, in place of Limiter, where there is a choice.
	Endpoints []Endpoint
	// Logger gets the stacks of panics and the pauses; nil discards.
	Logger *slog.Logger
	// Rows is how many rows the run has so far, for the retry budget; nil counts the
	// calls of the stage.
	Rows func() int64
}

// Defaults fills the zero fields of o with the defaults of a stage's workload. A
// negative Timeout is none. A stage that computes and has one attempt gets no
// breaker: there is no other end that could be away.
func Defaults(o pipeline.StepOptions, w pipeline.Workload) pipeline.StepOptions {
	parallelism, attempts, timeout := runtime.GOMAXPROCS(0), 1, time.Duration(0)
	if w == pipeline.Waits {
		parallelism, attempts, timeout = 16, 6, time.Minute
	}
	fill(&o.Parallelism, parallelism)
	fill(&o.ReorderWindow, max(1024, 16*o.Parallelism))
	fill(&o.Timeout, timeout)
	fill(&o.OnError, pipeline.DeadLetters)
	fill(&o.Retry.Attempts, attempts)
	fill(&o.Retry.Backoff, 500*time.Millisecond)
	fill(&o.Retry.MaxBackoff, time.Minute)
	fill(&o.Retry.RunBudget, 1)
	fill(&o.Hedge.AtMost, 0.05)
	fill(&o.Breaker.FailureRate, 0.8)
	fill(&o.Breaker.OpenFor, 15*time.Second)
	fill(&o.Breaker.MaxPause, 30*time.Minute)
	if w == pipeline.Computes && o.Retry.Attempts == 1 {
		o.Breaker.Off = true
	}
	return o
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Stage is the policies of one stage, shared by all of its workers.
type Stage struct {
	settings Settings
	log      *slog.Logger
	retry    retrypolicy.RetryPolicy[*turn]
	gate     gate
	calls    atomic.Int64
	turns    atomic.Int64 // in progress
	spent    atomic.Int64 // of the retry budget
}

// New returns the policies of a stage. It starts nothing and holds nothing that
// would have to be released.
func New(s Settings) *Stage {
	stage := &Stage{settings: s, log: s.Logger, retry: newRetry()}
	if stage.log == nil {
		stage.log = slog.New(slog.DiscardHandler)
	}
	stage.gate.setUp(s)
	return stage
}

func (s *Stage) rows() int64 {
	if s.settings.Rows != nil {
		return s.settings.Rows()
	}
	return s.calls.Load()
}

// enter and leave count the turns in progress.
func (s *Stage) enter() {
	if s.turns.Add(1) == 1 {
		s.gate.awaken()
	}
}

func (s *Stage) leave() { s.turns.Add(-1) }

// Call is one record's (or batch's) work in a stage.
type Call struct {
	stage    *Stage
	attempts atomic.Int64
}

// Begin begins a call. The context it returns carries the call to [Turn].
func (s *Stage) Begin(ctx context.Context) (context.Context, *Call) {
	s.calls.Add(1)
	c := &Call{stage: s}
	return context.WithValue(ctx, callKey{}, c), c
}

// Attempts is how many requests the call has put on the wire so far, refused
// ones included.
func (c *Call) Attempts() int { return int(c.attempts.Load()) }

// Waits are how long turns have waited in the gate, added up over all of them,
// by what they waited for.
type Waits struct {
	// Backoff is the pause after a failure or refusal.
	Backoff time.Duration
	// RetryAfter is the pause the other end asked for.
	RetryAfter time.Duration
	// Breaker is the pause while the other end is away.
	Breaker time.Duration
	// Slot is until fewer requests were on the wire.
	Slot time.Duration
	// Limiter is until the limits of the other end allowed more.
	Limiter time.Duration
}

// Snapshot is how a stage's policies stand.
type Snapshot struct {
	// Attempts are the requests put on the wire, refused ones included; Retries those
	// made again after a failure; Refusals those refused (429, 529).
	Attempts, Retries, Refusals int64
	// Hedges are the requests made beside a late one, which Attempts count too;
	// HedgesWon those that answered first.
	Hedges, HedgesWon int64
	// InFlight is how many requests are on the wire, Waiting how many turns wait in
	// the gate.
	InFlight, Waiting int
	// Paused is why nothing is sent, "" if something is.
	Paused string
	// PausedUntil is when something will be sent again, a probe for instance; zero if
	// nothing is paused, or a probe is on the wire.
	PausedUntil time.Time
	// Waits are the waiting times so far, those of present waiters included.
	Waits Waits
	// OnWire is the time that attempts spent on the wire, added up over all of them,
	// those that still are included; what went on beside a late one is not counted
	// again. With Waits it is where the time of the turns went.
	OnWire time.Duration
	// Slots are how many requests may be on the wire at once, now. SlotsFound says
	// that it is what the other end was found to have use for, where it does not tell;
	// else it is the stage's parallelism, or not known yet.
	Slots      int
	SlotsFound bool
	// Limits are the limits by which requests are paced, where one endpoint is asked.
	Limits []FoundLimit
	// Endpoints is how each stands, where there are several.
	Endpoints []EndpointState
}

// Snapshot returns how the policies stand now.
func (s *Stage) Snapshot() Snapshot {
	g := &s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.ledger.book(now)
	shot := Snapshot{
		Attempts: g.attempts, Retries: g.retries, Refusals: g.refusals, Hedges: g.hedges, HedgesWon: g.won,
		InFlight: g.inFlight(), Waiting: g.waiting(),
		Waits: Waits{
			Backoff: g.ledger.waits[backoff], RetryAfter: g.ledger.waits[retryAfter], Breaker: g.ledger.waits[away],
			Slot: g.ledger.waits[slot], Limiter: g.ledger.waits[limited],
		},
		OnWire: g.ledger.wire,
	}
	g.found(&shot)
	shot.Paused, shot.PausedUntil = g.paused(now)
	return shot
}
