package llm

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// phase is what an exchange waits for.
type phase uint8

const (
	connecting phase = iota // a connection: name, TCP, proxy and TLS together
	answering               // the head of the answer
	reading                 // the next bytes of the answer
	phases
)

// watch cuts an exchange off that gets stuck in one of its phases. It is a timer of
// its own and not those of the transport: that one bounds the parts of connecting
// only, and what comes between two bytes not at all. A nil watch bounds nothing.
type watch struct {
	limits [phases]time.Duration // 0 for none
	cut    context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	phase phase
	due   time.Time // zero if the phase has no limit
}

// watched returns ctx with a watch over the exchange, and what ends it.
func (s *Stage) watched(ctx context.Context, x *exchange) (context.Context, func()) {
	if s.deadlines == (pipeline.Deadlines{}) {
		return ctx, func() {}
	}
	ctx, cut := context.WithCancelCause(ctx)
	w := &watch{cut: cut, limits: [phases]time.Duration{s.deadlines.Connect, s.deadlines.FirstByte, s.deadlines.Idle}}
	w.enter(connecting)
	x.watch = w
	// It may be called by another goroutine, and again where the transport takes
	// another connection.
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { w.enter(answering) }}
	return httptrace.WithClientTrace(ctx, trace), w.end
}

// enter begins a phase, or the same one again.
func (w *watch) enter(p phase) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.due = p, time.Time{}
	limit := w.limits[p]
	switch {
	case limit <= 0 && w.timer != nil:
		w.timer.Stop()
	case limit <= 0:
	case w.timer == nil:
		w.due = time.Now().Add(limit)
		w.timer = time.AfterFunc(limit, w.expire)
	default:
		w.due = time.Now().Add(limit)
		w.timer.Reset(limit)
	}
}

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.due.IsZero() || time.Now().Before(w.due) {
		return // a phase began in the same moment
	}
	w.cut(stuck(w.phase, w.limits[w.phase]))
}

// end stops the timer.
func (w *watch) end() {
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.due = time.Time{}
	w.mu.Unlock()
	w.cut(nil)
}

// stuck is the error of an exchange that did not get on within a limit.
func stuck(p phase, limit time.Duration) error {
	d := pipeline.Duration(limit)
	switch p {
	case connecting:
		return pipeline.Transient("connect_timeout", fmt.Errorf("no connection within %s (timeout.connect)", d))
	case answering:
		return pipeline.Transient("first_byte_timeout", fmt.Errorf("no answer within %s (timeout.first_byte)", d))
	default:
		return pipeline.Transient("idle_timeout", fmt.Errorf("nothing more of the answer for %s (timeout.idle)", d))
	}
}

// whyCut returns why the exchange of ctx was cut off, nil if it was not.
func whyCut(ctx context.Context) error {
	var e *pipeline.Error
	if errors.As(context.Cause(ctx), &e) {
		return e
	}
	return nil
}
