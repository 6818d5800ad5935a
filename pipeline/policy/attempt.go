package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// errDeadline tells our deadline from the caller's.
var errDeadline = errors.New("the time for one attempt is over")

// leg is one request of a turn: an attempt, or the second one beside a late one.
type leg struct {
	turn    *turn
	ctx     context.Context
	waiter  waiter
	attempt Attempt
	outcome outcome
	err     error
}

// run makes the request, for which the gate has let the leg through.
func (l *leg) run() {
	t := l.turn
	t.call.attempts.Add(1)
	l.err = l.bounded()
	l.outcome = l.judge()
	if l.err != nil && l.outcome == answered && fatal(l.err) {
		l.expel()
	}
	opened, closed := t.stage.gate.settle(&l.waiter, l.outcome, l.err, l.everybody())
	if opened || closed {
		t.stage.announce(l.waiter.at, opened, l.err)
	}
}

// expel has the endpoint of a request asked no more, if there is another.
func (l *leg) expel() {
	e, stage := l.waiter.at, l.turn.stage
	first, ok := stage.gate.expel(e, l.err)
	if !ok {
		return
	}
	l.outcome = expelled
	if first {
		stage.log.Warn("an endpoint is asked no more", slog.String("stage", stage.settings.Name), slog.String("endpoint", e.name), slog.Any("error", l.err))
	}
}

// bounded makes the request within the time-out. It is a context and not the timeout
// policy of failsafe-go: that throws away an answer that comes in as the time ends,
// and what the attempt said of its own failure, and costs more (0.7 against 0.5 µs).
// An attempt that does not heed its context is waited for.
func (l *leg) bounded() error {
	limit := l.turn.stage.settings.Timeout
	if limit <= 0 {
		return l.interrupted(l.recovered(l.ctx))
	}
	ctx, cancel := context.WithTimeoutCause(l.ctx, limit, errDeadline)
	defer cancel()
	err := l.interrupted(l.recovered(ctx))
	if err == nil || l.ctx.Err() != nil || !errors.Is(context.Cause(ctx), errDeadline) || final(err) {
		return err
	}
	late := *known(err)
	late.Class, late.Code = pipeline.ClassTransient, "timeout"
	late.Err = fmt.Errorf("no answer within %s: %w", pipeline.Duration(limit), err)
	return &late
}

// interrupted replaces what an attempt says when its caller gave up by the
// caller's reason.
func (l *leg) interrupted(err error) error {
	if err == nil || l.ctx.Err() == nil || final(err) {
		return err
	}
	return l.ctx.Err()
}

// recovered makes the request. A panic becomes the record's error.
func (l *leg) recovered(ctx context.Context) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		stage := l.turn.stage
		stage.log.Error("panic", slog.String("stage", stage.settings.Name), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		err = pipeline.Permanent(codePanic, fmt.Errorf("panic: %v", p))
	}()
	return l.turn.send(ctx, &l.attempt)
}

const codePanic = "panic"

// judge says what the request's error means for the other end.
func (l *leg) judge() outcome {
	err := l.err
	if err == nil {
		return answered
	}
	if l.ctx.Err() != nil && errors.Is(err, l.ctx.Err()) {
		return cancelled
	}
	switch class, code := pipeline.Classify(err); {
	case class == pipeline.ClassTransient:
		return failed
	case class == pipeline.ClassRefused:
		return refused
	case code == codePanic:
		return void
	default:
		return answered
	}
}

// everybody returns how long all turns of the stage have to wait because of it.
func (l *leg) everybody() time.Duration {
	if l.outcome != refused && l.outcome != failed {
		return 0
	}
	e := known(l.err)
	if l.outcome == refused || e.ForAll {
		return e.RetryAfter
	}
	return 0
}

// final reports an error that a done context cannot have caused.
func final(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var e *pipeline.Error
	return errors.As(err, &e) && e.Class != pipeline.ClassTransient
}

// known returns the classed error in the chain of err, else a new one.
func known(err error) *pipeline.Error {
	var e *pipeline.Error
	if errors.As(err, &e) {
		return e
	}
	class, code := pipeline.Classify(err)
	return &pipeline.Error{Class: class, Code: code, Err: err}
}

// because returns err with the reason for which it is the last one in front; class,
// code and answer stay.
func because(err error, reason string) error {
	last := *known(err)
	last.Err = fmt.Errorf("%s: %w", reason, err)
	return &last
}
