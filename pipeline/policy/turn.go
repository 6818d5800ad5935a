// Package policy puts a stage's requests under its policies: retries, the gate
// (all waiting: backoff, Retry-After, the breaker, slots, limits), deadlines, recovered panics.
// The order is retry(gate(hedge(deadline(recover(send))))).
package policy

import "context"

// Ask says how much a turn is expected to need, for the limits of the gate.
// Zero fields mean that it is not known.
type Ask struct {
	// InputTokens and OutputTokens are estimates.
	InputTokens, OutputTokens int
	// Hedge says that send may be called a second time while it runs, if hedging is
	// wanted at all: a second request, in a goroutine of its own.
	Hedge bool

	refused int // how often, in a row
}

// Attempt is one request on the wire.
type Attempt struct {
	// Number counts the requests of the turn, from 1, refused ones included.
	Number int
	// Endpoint is which one is to be asked, counted from 0; see [Several].
	Endpoint int

	leg    int
	gate   *gate // nil if nobody wants to know what is observed
	waiter *waiter
}

// Turn puts one question under the policies of the stage whose call ctx is. send
// makes one attempt; its error's class (pipeline.Classify) decides what follows.
// A ctx that carries no call, as in a unit test, gets one attempt and nothing else.
func Turn[T any](ctx context.Context, ask Ask, send func(context.Context, *Attempt) (T, error)) (T, error) {
	call, ok := ctx.Value(callKey{}).(*Call)
	if !ok {
		return send(ctx, &Attempt{Number: 1})
	}
	var out [2]T // one for each request of an attempt
	won, err := call.turn(ctx, ask, func(ctx context.Context, a *Attempt) (err error) {
		out[a.leg], err = send(ctx, a)
		return err
	})
	return out[won], err
}

type callKey struct{}
