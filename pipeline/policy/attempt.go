package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/rowmill/rowmill/pipeline"
)

// errDeadline tells our deadline from the caller's.
var errDeadline = errors.New("the time for one attempt is over")

// bounded makes an attempt within the time-out. It is a context and not the timeout
// policy of failsafe-go: that throws away an answer that comes in as the time ends,
// and what the attempt said of its own failure, and costs more (0.7 against 0.5 µs).
// An attempt that does not heed its context is waited for.
func (t *turn) bounded() error {
	limit := t.stage.settings.Timeout
	if limit <= 0 {
		return t.interrupted(t.recovered(t.ctx))
	}
	ctx, cancel := context.WithTimeoutCause(t.ctx, limit, errDeadline)
	defer cancel()
	err := t.interrupted(t.recovered(ctx))
	if err == nil || t.ctx.Err() != nil || !errors.Is(context.Cause(ctx), errDeadline) || final(err) {
		return err
	}
	late := *known(err)
	late.Class, late.Code = pipeline.ClassTransient, "timeout"
	late.Err = fmt.Errorf("no answer within %s: %w", pipeline.Duration(limit), err)
	return &late
}

// interrupted replaces what an attempt says when its caller gave up by the
// caller's reason.
func (t *turn) interrupted(err error) error {
	if err == nil || t.ctx.Err() == nil || final(err) {
		return err
	}
	return t.ctx.Err()
}

// recovered makes an attempt. A panic becomes the record's error.
func (t *turn) recovered(ctx context.Context) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		t.stage.log.Error("panic", slog.String("stage", t.stage.settings.Name), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		err = pipeline.Permanent(codePanic, fmt.Errorf("panic: %v", p))
	}()
	return t.send(ctx, &t.attempt)
}

const codePanic = "panic"

// judge says what an attempt's error means for the other end.
func (t *turn) judge(err error) outcome {
	if err == nil {
		return answered
	}
	if t.ctx.Err() != nil && errors.Is(err, t.ctx.Err()) {
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
