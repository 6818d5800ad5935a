package engine

import (
	"context"
	"fmt"

	"github.com/reugn/go-streams"
)

// Flow is a bound stage as a go-streams flow, for programs built on go-streams.
type Flow[In, Out any] struct {
	in  chan any
	out chan any
}

var _ streams.Flow = (*Flow[any, any])(nil)

// NewFlow makes a go-streams flow of a bound stage. It takes In values and emits
// Out values, in their order, as many at once as the stage's parallelism. failed
// gets every error: of a value that could not be processed, of an element that is
// no In, and ctx's; go-streams has no place for them. It may be called by two goroutines at
// once. When ctx is done the flow ends and discards what still arrives.
//
// The policies of the stage hold: parallelism, retries, limits. The guarantees of a run do
// not: there is no journal, no dead letter, and no state. A value that was taken and not
// emitted when the program ends is for its source to repeat.
func NewFlow[In, Out any](ctx context.Context, stage *Bound[In, Out], failed func(error)) *Flow[In, Out] {
	f := &Flow[In, Out]{in: make(chan any), out: make(chan any)}
	typed := make(chan In)
	go func() {
		defer close(typed)
		for v := range f.in {
			t, ok := v.(In)
			if !ok {
				failed(fmt.Errorf("a flow of %T got a %T", t, v))
				continue
			}
			select {
			case typed <- t:
			case <-ctx.Done(): // go on receiving: whoever sends must not hang
			}
		}
	}()
	go func() {
		defer close(f.out)
		for v, err := range stage.Map(ctx, typed) {
			if err != nil {
				failed(err)
				continue
			}
			select {
			case f.out <- v:
			case <-ctx.Done():
			}
		}
	}()
	return f
}

// In is where values go in.
func (f *Flow[In, Out]) In() chan<- any { return f.in }

// Out is where answers come out.
func (f *Flow[In, Out]) Out() <-chan any { return f.out }

// Via streams the answers to another flow.
func (f *Flow[In, Out]) Via(next streams.Flow) streams.Flow {
	go f.transmit(next)
	return next
}

// To streams the answers to a sink and returns when that has ended.
func (f *Flow[In, Out]) To(sink streams.Sink) {
	go f.transmit(sink)
	sink.AwaitCompletion()
}

func (f *Flow[In, Out]) transmit(to streams.Inlet) {
	defer close(to.In())
	for v := range f.out {
		to.In() <- v
	}
}
