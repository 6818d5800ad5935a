package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// ErrDropped is the error of a value that the stage left out on purpose.
var ErrDropped = errors.New("the stage dropped the record")

// Bound is a stage bound to a program's own types: a function, under the policies
// of the stage, which all callers share: its parallelism, retries and breaker
// count over all of them. It is safe for concurrent use.
type Bound[In, Out any] struct {
	run    *run
	node   *stageNode
	slots  chan struct{} // as many tokens as records may be in the stage
	closed sync.Once
}

// Bind binds a stage. In and Out are *pipeline.Record, or types that marshal to
// and from a JSON object; struct tags decide the names of the fields. Of
// pipeline.StepOptions, ReorderWindow bounds how far [Bound.Map] reads ahead, and
// OnError has no effect: the caller gets every error. A stage that works on
// batches, or on one record at a time in order, cannot be bound.
func Bind[In, Out any](stage pipeline.Stage, o pipeline.StepOptions) (*Bound[In, Out], error) {
	if err := cmp.Or(pipeline.CheckType[In](), pipeline.CheckType[Out]()); err != nil {
		return nil, err
	}
	if NeedsOrder(stage) {
		return nil, fmt.Errorf("%T cannot be bound: its answer depends on the order of the records", stage)
	}
	if o.Name == "" {
		o.Name = "stage"
	}
	if err := runnable(pipeline.Step{Stage: stage, StepOptions: o}); err != nil {
		return nil, err
	}
	r := &run{log: discard(), limits: new(policy.Limits)}
	r.ctx, r.abort = context.WithCancel(context.Background())
	n := newStageNode(r, pipeline.Step{Stage: stage, StepOptions: o}, true)
	return &Bound[In, Out]{run: r, node: n, slots: make(chan struct{}, n.most)}, nil
}

// Close cancels what is in flight, waits for its end and releases the stage. Do
// returns pipeline.ErrStopped from then on.
func (b *Bound[In, Out]) Close() error {
	var err error
	b.closed.Do(func() {
		b.node.stopBeginning()
		b.run.abort()
		for range cap(b.slots) { // nobody is in the stage any more, or gets in again
			b.slots <- struct{}{}
		}
		if c, ok := b.node.step.Stage.(pipeline.Closer); ok {
			err = c.Close()
		}
	})
	return err
}

// Do has the stage process one value. The error is the stage's ([ErrDropped] if
// it left the value out), or ctx's. A stage that makes several records of one
// is an error; use [Bound.Records].
func (b *Bound[In, Out]) Do(ctx context.Context, v In) (Out, error) {
	var none Out
	made, err := b.Records(ctx, v)
	switch {
	case err != nil:
		return none, err
	case len(made) == 0:
		return none, ErrDropped
	case len(made) > 1:
		return none, fmt.Errorf("the stage made %d records of one", len(made))
	}
	return pipeline.Decode[Out](made[0])
}

// Records has the stage process one value and returns the records it made.
func (b *Bound[In, Out]) Records(ctx context.Context, v In) ([]*pipeline.Record, error) {
	r, err := pipeline.Encode(v)
	if err != nil {
		return nil, err
	}
	if own, ok := any(v).(*pipeline.Record); ok {
		r = own.Clone() // the caller's own is left as it is
	}
	r.Ref = pipeline.Ref{Seq: uint64(b.run.tracker.read.Add(1) - 1)}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
		if b.run.ctx.Err() != nil {
			return nil, pipeline.ErrStopped
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.run.ctx.Done():
		return nil, pipeline.ErrStopped
	}
	return b.process(ctx, r)
}

func (b *Bound[In, Out]) process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	switch yes, err := b.node.when(r); {
	case err != nil:
		return nil, err
	case !yes:
		return []*pipeline.Record{r}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.run.ctx, cancel)()
	b.node.calls.Add(1)
	made, _, err := b.node.call(ctx, r, r.Snapshot())
	if errors.Is(err, context.Canceled) && b.run.ctx.Err() != nil {
		err = pipeline.ErrStopped
	}
	if err == nil {
		err = check(made)
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

// Map has the stage process what arrives on in, several at once, and yields the
// answers in the same order: (answer, nil), or (zero, error) for a value that
// failed; a value that the stage left out yields nothing. It ends when in is
// closed, when the consumer stops, or, with ctx's error, when ctx is done.
func (b *Bound[In, Out]) Map(ctx context.Context, in <-chan In) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var workers sync.WaitGroup
		defer workers.Wait()
		defer cancel()
		// As many answers wait in order as the reorder window allows.
		answers := make(chan chan answer[Out], b.node.step.ReorderWindow)
		workers.Go(func() { b.feed(ctx, in, answers, &workers) })
		var last error
		for next := range answers {
			a := <-next
			if errors.Is(a.err, ErrDropped) {
				continue
			}
			if last = a.err; !yield(a.out, a.err) {
				return
			}
			if ctx.Err() != nil {
				break
			}
		}
		if err := ctx.Err(); err != nil && !errors.Is(last, err) {
			var none Out
			yield(none, err)
		}
	}
}

type answer[Out any] struct {
	out Out
	err error
}

// feed begins the work on each value that arrives.
func (b *Bound[In, Out]) feed(ctx context.Context, in <-chan In, answers chan<- chan answer[Out], workers *sync.WaitGroup) {
	defer close(answers)
	free := make(chan struct{}, b.node.most) // bounds the goroutines of this Map
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		select {
		case v, ok := <-in:
			if !ok {
				return
			}
			next := make(chan answer[Out], 1)
			select {
			case answers <- next:
			case <-ctx.Done():
				return
			}
			workers.Go(func() {
				defer func() { <-free }()
				out, err := b.Do(ctx, v)
				next <- answer[Out]{out, err}
			})
		case <-ctx.Done():
			return
		}
	}
}

// Stats is what the stage did so far, for all callers.
func (b *Bound[In, Out]) Stats() StageSummary { return b.node.summary() }
