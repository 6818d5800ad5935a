package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/internal/handover"
	"github.com/rowmill/rowmill/pipeline"
)

// Foreign puts a go-streams operator between two stages that keeps what a pipeline stands
// on: it is handed *pipeline.Record values and passes on each of them, in order, exactly
// once; it may change them. Nothing is promised less then, a kill is survived as always.
// What the operator does is checked: the run fails, and names the record, at the first one
// that was lost, repeated, made anew or passed on before its turn (as flow.Map does above
// parallelism 1). Anything else is [Loose].
//
// A panic in the operator's own goroutine ends the program, as a kill does: nobody else can
// catch it. Some operators close their output meanwhile, and then the run may fail first, with
// that the operator has ended too early. A run that keeps state goes on then.
func Foreign(flow streams.Flow) pipeline.Stage { return &foreignStage{flow: flow} }

// Loose puts any go-streams operator between two stages: one that filters, splits, batches,
// reorders or throttles with losses. It is handed In values and emits Out values; both
// are *pipeline.Record, or types that marshal to and from a JSON object. A value that it
// emits and that is no Out ends the run; a record that is no In is a dead letter.
//
// The guarantees of the run end in front of it. A record that the operator has taken is
// absorbed: whether anything comes of it nobody can know. What it emits counts as read
// and is a row of its own from there on; a record that comes out as it went in keeps its key
// and its place in the source, for messages. A run with such an operator keeps no state, so
// that it cannot go on after a kill; [Summary.NoState] says so.
func Loose[In, Out any](flow streams.Flow) pipeline.Stage {
	return &foreignStage{
		flow: flow,
		hand: func(r *pipeline.Record) (any, error) { return pipeline.Decode[In](r) },
		take: func(v any) (*pipeline.Record, error) {
			out, ok := v.(Out)
			if !ok {
				return nil, fmt.Errorf("it emitted a %T, want a %T", v, *new(Out))
			}
			return pipeline.EncodeRow(out)
		},
		check: func() error { return errors.Join(pipeline.CheckType[In](), pipeline.CheckType[Out]()) },
	}
}

// foreignStage is a go-streams operator as a stage.
type foreignStage struct {
	flow streams.Flow
	// Of a loose one; nil for one that passes on each record.
	hand  func(*pipeline.Record) (any, error)
	take  func(any) (*pipeline.Record, error)
	check func() error
}

func (*foreignStage) Process(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
	return nil, errors.New("a go-streams operator works in a pipeline only")
}

func (s *foreignStage) loose() bool { return s.hand != nil }

// Guarantee says what the operator leaves of the promises of a run.
func (s *foreignStage) Guarantee() string {
	if s.loose() {
		return "a go-streams operator: what goes in is absorbed, what comes out counts as read; no state is kept"
	}
	return "a go-streams operator: it must pass on each record once and in order, and is held to that"
}

// runnable refuses what cannot be run as it is declared.
func (s *foreignStage) runnable(step pipeline.Step) error {
	if step.When != nil {
		return fmt.Errorf("stage %s is a go-streams operator, which gets every record: it cannot be had with When", step.Name)
	}
	if s.check != nil {
		if err := s.check(); err != nil {
			return fmt.Errorf("stage %s: %w", step.Name, err)
		}
	}
	return nil
}

// ForeignSource is what comes out of a go-streams source, or of a whole chain of them
// and of flows, as a source: elements of type T, which are *pipeline.Record or marshal to
// a JSON object. An element of another type ends the run. Map texts to a struct of
// yours with flow.NewMap.
//
// With settle, which may be nil, the program is told once for each element what became of
// its row, so that a message can be acknowledged; it gets the element as it was emitted. See
// [pipeline.Record.OnSettle].
//
// A go-streams source has no way to say that it has failed: most log that and end, so that
// half an input looks like a whole one. Give its logger to a [Watch]. It has none to be
// stopped either: when the run ends early nothing more is taken from it, and it has to be
// ended by a context of its own. It reads from its beginning in a run that goes on: rows
// that had ended are left out, if the first ones are the same as then, and the run
// refuses to go on if they are not. What was emitted and not settled when the program is
// killed is the source's to repeat.
func ForeignSource[T any](from streams.Outlet, settle func(T, pipeline.Settlement)) pipeline.Source {
	return &foreignSource[T]{from, settle}
}

type foreignSource[T any] struct {
	from   streams.Outlet
	settle func(T, pipeline.Settlement)
}

// Guarantee says what the source leaves of the promises of a run.
func (*foreignSource[T]) Guarantee() string {
	return "a go-streams source: an error that it only logs fails the run through an engine.Watch, and not else"
}

// Records yields what comes out.
func (s *foreignSource[T]) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		if err := pipeline.CheckType[T](); err != nil {
			yield(nil, err)
			return
		}
		out := s.from.Out()
		for ctx.Err() == nil { // first: a select chooses at random
			select {
			case <-ctx.Done():
			case v, open := <-out:
				if !open || !yield(s.row(v)) {
					return
				}
			}
		}
	}
}

func (s *foreignSource[T]) row(v any) (*pipeline.Record, error) {
	typed, ok := v.(T)
	if !ok {
		return nil, fmt.Errorf("the go-streams source emitted a %T, want a %T", v, typed)
	}
	r, err := pipeline.EncodeRow(typed)
	if s.settle != nil {
		r.OnSettle(func(how pipeline.Settlement) { s.settle(typed, how) })
	}
	return r, err
}

// ForeignSink has a go-streams sink take the records, as values of type T, which is
// *pipeline.Record or a type that a JSON object unmarshals to; a record that is no T is
// a dead letter. They go through the flows first, if there are any: one that makes texts
// of them, for a sink that writes texts. When the run ends the input of the first is
// closed, and the sink waited for, as long as the run is not stopped.
//
// The guarantees of the run end where the sink has received a value: that counts as
// delivered, although the sink may not have written it yet, and has no way to say that it
// could not. Give its logger to a [Watch], so that what it logs fails the run. After a
// kill what was handed over cannot be had back: [pipeline.NotKept].
func ForeignSink[T any](to streams.Sink, through ...streams.Flow) pipeline.Sink {
	return &foreignSink[T]{to: to, through: through}
}

type foreignSink[T any] struct {
	to      streams.Sink
	through []streams.Flow
	in      chan<- any    // nil before the first use
	ended   chan struct{} // closed when the sink has
	closed  bool
}

// begin links the flows with the sink.
func (s *foreignSink[T]) begin() {
	if s.in != nil {
		return
	}
	s.ended = make(chan struct{})
	if len(s.through) == 0 {
		s.in = s.to.In()
		return
	}
	all := Chain(s.through...)
	s.in = all.In()
	go func() {
		defer close(s.ended)
		all.To(s.to)
	}()
}

// Guarantee says what the sink leaves of the promises of a run.
func (*foreignSink[T]) Guarantee() string {
	return "a go-streams sink: delivered is what it has received; an error that it only logs fails the run through an engine.Watch, and not else"
}

// Write hands over the records.
func (s *foreignSink[T]) Write(ctx context.Context, batch []*pipeline.Record) error {
	if err := pipeline.CheckType[T](); err != nil {
		return err
	}
	s.begin()
	return handover.Write(ctx, batch, func(r *pipeline.Record) (any, error) { return pipeline.Decode[T](r.Child()) }, s.in)
}

// Commit has nothing to say.
func (*foreignSink[T]) Commit(context.Context) (pipeline.Position, error) { return "", nil }

// Delivery is not kept: what was handed over cannot be had back.
func (*foreignSink[T]) Delivery() pipeline.Delivery { return pipeline.NotKept }

var errSinkGoesOn = errors.New("the go-streams sink has not ended, and may not have written everything")

// Close ends the sink's input, and waits for the sink.
func (s *foreignSink[T]) Close(ctx context.Context) error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.begin()
	close(s.in)
	if len(s.through) == 0 {
		go func() {
			defer close(s.ended)
			s.to.AwaitCompletion()
		}()
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return errSinkGoesOn
	}
}

// Chain is several go-streams flows as one, for [Loose]: a batch and what takes it apart
// again, say. It links them.
func Chain(flows ...streams.Flow) streams.Flow {
	if len(flows) == 0 {
		return flow.NewPassThrough()
	}
	for i, next := range flows[1:] {
		flows[i].Via(next)
	}
	return chain{flows[len(flows)-1], flows[0]}
}

// chain is a flow that begins with another one.
type chain struct {
	streams.Flow
	first streams.Flow
}

// In is where elements go in.
func (c chain) In() chan<- any { return c.first.In() }

// GuaranteeOf says what a component leaves of the promises of a run, "" if all: of a source,
// a stage or a sink.
func GuaranteeOf(component any) string {
	if g, ok := component.(pipeline.Guarantor); ok {
		return g.Guarantee()
	}
	return ""
}

// guarantees says where the promises of a pipeline end.
func guarantees(p pipeline.Pipeline) []string {
	var all []string
	add := func(name string, component any) {
		if g := GuaranteeOf(component); g != "" {
			all = append(all, name+" is "+g)
		}
	}
	add("source", p.Source)
	for _, s := range p.Steps {
		add("stage "+s.Name, s.Stage)
	}
	add("sink", p.Sink)
	return all
}

// NoState says why a run of the pipeline cannot keep state, "" if it can.
func NoState(p pipeline.Pipeline) string { return noState(p, Options{}) }

func noState(p pipeline.Pipeline, o Options) string {
	if at := lastCollector(p.Steps); at >= 0 && o.Limit > 0 {
		return fmt.Sprintf("no state is kept: stage %s puts together all rows there are, and this run reads no more than %d", nameSteps(p.Steps)[at].Name, o.Limit)
	}
	for _, s := range nameSteps(p.Steps) {
		if foreign, ok := s.Stage.(*foreignStage); ok && foreign.loose() {
			return fmt.Sprintf("no state is kept: stage %s is a go-streams operator of which nobody knows what becomes of a record (engine.Loose)", s.Name)
		}
	}
	return ""
}
