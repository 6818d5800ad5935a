// Package wrongtypes does not compile, in each line that says "wrong" and in no other:
// a value of another type must not get into a pipeline. See types_test.go.
package wrongtypes

import (
	"context"
	"iter"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
)

type ticket struct{ ID int }

type answer struct{ Text string }

func embed(stage pipeline.Stage, tickets chan ticket, answers chan answer, seq iter.Seq2[ticket, error]) {
	_ = sources.Channel(tickets)
	_ = sources.Channel[answer](tickets)          // wrong
	_ = sources.Channel((chan<- ticket)(tickets)) // wrong
	_ = sources.Slice[ticket]([]answer{})         // wrong
	_ = sources.Seq[answer](seq)                  // wrong
	_ = sources.Channel(tickets, sources.OnSettle(func(ticket, pipeline.Settlement) {}))
	_ = sources.Channel(tickets, sources.OnSettle(func(answer, pipeline.Settlement) {})) // wrong
	_ = sources.Channel(tickets, sources.OnSettle(func(ticket) {}))                      // wrong

	_ = sinks.Channel(answers)
	_ = sinks.Channel[ticket](answers)          // wrong
	_ = sinks.Channel((<-chan answer)(answers)) // wrong
	_ = sinks.Func(func(context.Context, []answer) error { return nil })
	_ = sinks.Func(func(context.Context, answer) error { return nil })           // wrong
	_ = sinks.Func[ticket](func(context.Context, []answer) error { return nil }) // wrong

	bound, _ := engine.Bind[ticket, answer](stage, pipeline.StepOptions{})
	var ctx context.Context
	var a answer
	a, _ = bound.Do(ctx, ticket{})
	a, _ = bound.Do(ctx, a) // wrong
	var t ticket
	t, _ = bound.Do(ctx, t)     // wrong
	_ = bound.Map(ctx, answers) // wrong
	var f *engine.Flow[ticket, answer] = engine.NewFlow(ctx, bound, func(error) {})
	var g *engine.Flow[answer, answer] = engine.NewFlow(ctx, bound, func(error) {}) // wrong
	_, _, _, _ = f, g, a, t
}
