package policy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/common"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/rowmill/rowmill/pipeline"
)

// turn is one question: the attempts at it, one after the other. It is the gate as
// a failsafe-go policy too, because the gate has to know whose attempt it holds up.
type turn struct {
	stage *Stage
	call  *Call
	send  func(context.Context, *Attempt) error

	leg            // the present attempt
	won      int   // which leg of it had the answer
	refusals int   // in a row
	failures int   // attempts spent
	verdict  error // why it ended, where that is not the last attempt's error
}

// newRetry returns the policy that decides whether a turn goes on. It never waits
// and never counts: failsafe-go's own count takes refusals and waits for attempts,
// and its delay could not be given up for a stop.
func newRetry() retrypolicy.RetryPolicy[*turn] {
	return retrypolicy.NewBuilder[*turn]().
		HandleIf(func(t *turn, err error) bool { return t.again(err) }).
		WithMaxRetries(-1).
		Build()
}

// turn runs retry(gate(hedge(deadline(recover(send))))) and returns which leg of the
// last attempt counts. The executor gets no context: it would throw away the answer to
// an attempt that ends as its context does.
func (c *Call) turn(ctx context.Context, ask Ask, send func(context.Context, *Attempt) error) (won int, err error) {
	t := &turn{stage: c.stage, call: c, send: send}
	t.leg = leg{turn: t, ctx: ctx, waiter: waiter{ask: ask}}
	t.attempt.gate, t.attempt.waiter = &c.stage.gate, &t.waiter
	c.stage.enter()
	defer c.stage.leave()
	_, err = failsafe.With[*turn](c.stage.retry, t).Get(t.once)
	if t.verdict != nil {
		err = t.verdict
	}
	return t.won, err
}

// ToExecutor implements [failsafe.Policy].
func (t *turn) ToExecutor(*turn) any { return t }

// Apply puts the gate around an attempt.
func (t *turn) Apply(attempt func(failsafe.Execution[*turn]) *common.PolicyResult[*turn]) func(failsafe.Execution[*turn]) *common.PolicyResult[*turn] {
	return func(e failsafe.Execution[*turn]) *common.PolicyResult[*turn] {
		if err := t.stage.gate.enter(t.ctx, &t.waiter); err != nil {
			t.verdict = err
			return &common.PolicyResult[*turn]{Result: t, Error: err, Done: true}
		}
		return attempt(e)
	}
}

// once makes one attempt.
func (t *turn) once() (*turn, error) {
	t.attempt.Number++
	t.attempt.Endpoint = t.waiter.at.index
	t.won = 0
	if t.waiter.late > 0 {
		t.hedged()
	} else {
		t.run()
	}
	return t, t.err
}

// again decides whether another attempt follows on one that ended in err, and
// from when on. Without a verdict of its own, err is the turn's.
func (t *turn) again(err error) bool {
	if err == nil || t.verdict != nil {
		return false
	}
	t.waiter.shun = t.waiter.at
	switch t.outcome {
	case expelled:
		t.waiter.retry = false
		return true
	case refused:
		return t.afterRefusal(err, known(err).RetryAfter)
	case failed:
		return t.afterFailure(err, known(err).RetryAfter)
	default:
		return false
	}
}

func (t *turn) afterRefusal(err error, after time.Duration) bool {
	if t.tooLong(err, after) {
		return false
	}
	t.refusals++
	t.waiter.retry = false
	t.waiter.ask.refused++ // it may have been taken for too small
	after = t.here(after)
	switch {
	case t.waiter.spaced:
		t.rest(after, 0)
	case t.waiter.paced: // the pace spares the other end; who doubles on top of it is left behind
		t.rest(after, 1)
	default:
		t.rest(after, t.refusals)
	}
	return true
}

func (t *turn) afterFailure(err error, after time.Duration) bool {
	if known(err).ForAll {
		if t.tooLong(err, after) {
			return false
		}
		after = t.here(after)
	}
	t.refusals, t.waiter.ask.refused = 0, 0
	t.waiter.retry = true
	if t.waiter.pass.probe { // it was not this row that failed; the next probe is another's
		t.waiter.ticket = 0
		t.rest(after, 0)
		return true
	}
	t.failures++
	if t.verdict = t.spent(err, after); t.verdict != nil {
		return false
	}
	t.rest(after, t.failures)
	return true
}

// spent returns the error with which a turn ends that may not be tried again, nil
// if it may.
func (t *turn) spent(err error, after time.Duration) error {
	retry := t.stage.settings.Retry
	switch {
	case t.failures >= retry.Attempts && retry.Attempts <= 1:
		return err
	case t.failures >= retry.Attempts:
		return because(err, fmt.Sprintf("after %d attempts", t.failures))
	case after > t.stage.settings.Breaker.MaxPause:
		return because(err, fmt.Sprintf("asked to wait %s", pipeline.Duration(after)))
	case !t.stage.mayRetry():
		return because(err, fmt.Sprintf("the retry budget of the run (%s of its rows) is spent", retry.RunBudget))
	default:
		return nil
	}
}

// tooLong ends the run where everybody is asked to wait longer than a pause may last.
func (t *turn) tooLong(err error, after time.Duration) bool {
	limit := t.stage.settings.Breaker.MaxPause
	if after <= limit || t.stage.gate.elsewhere(t.waiter.at, limit) {
		return false
	}
	t.verdict = pipeline.Fatal("outage", fmt.Errorf("asked to wait %s, longer than max_pause (%s): %w",
		pipeline.Duration(after), pipeline.Duration(limit), err))
	return true
}

// here is how long a turn has to wait because everybody has to: not at all, if another
// endpoint can be asked.
func (t *turn) here(after time.Duration) time.Duration {
	if after > 0 && t.stage.gate.elsewhere(t.waiter.at, 0) {
		return 0
	}
	return after
}

// rest has the turn wait before its next attempt: what the other end asked for,
// and on top of it a random time that doubles with n; none for n = 0.
func (t *turn) rest(after time.Duration, n int) {
	t.waiter.why = backoff
	if after > 0 {
		t.waiter.why = retryAfter
	}
	if after += t.stage.backoff(n); after > 0 {
		t.waiter.rest = time.Now().Add(after)
	}
}

// backoff returns the pause after the n-th failure in a row: full jitter.
func (s *Stage) backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	limit := s.settings.Retry.Backoff
	for ; n > 1 && limit < s.settings.Retry.MaxBackoff; n-- {
		limit *= 2
	}
	return jitter(min(limit, s.settings.Retry.MaxBackoff))
}

// mayRetry takes one retry from the budget of the run.
func (s *Stage) mayRetry() bool {
	allowed := int64(float64(s.settings.Retry.RunBudget)*float64(s.rows())) + freeRetries
	if s.spent.Add(1) > allowed {
		s.spent.Add(-1)
		return false
	}
	return true
}

// freeRetries are not counted against the budget, so that a small run has one.
const freeRetries = 100

// announce logs that a pause has begun or ended.
func (s *Stage) announce(e *endpoint, opened bool, err error) {
	log := s.log.With(slog.String("stage", s.settings.Name))
	if e.name != "" {
		log = log.With(slog.String("endpoint", e.name))
	}
	if opened {
		log.Warn("paused: the other end keeps failing", slog.Any("error", err))
		return
	}
	log.Info("the pause is over")
}
