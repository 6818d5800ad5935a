package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/reugn/go-streams"

	"github.com/rowmill/rowmill/pipeline"
)

// Foreign puts a go-streams operator between two stages. It is handed *pipeline.Record
// values and must pass on each of them, in order, exactly once; it may change
// them. The run fails when records get lost or are repeated. A panic in the
// operator's own goroutine ends the program: nobody else can catch it.
func Foreign(flow streams.Flow) pipeline.Stage { return &foreignStage{flow: flow} }

type foreignStage struct{ flow streams.Flow }

func (*foreignStage) Process(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
	return nil, errors.New("a go-streams operator works in a pipeline only")
}

// wire links the nodes as go-streams does, and returns when the sink has ended.
// Between two nodes of our own the link is a queue, else a channel of *Record.
func (r *run) wire() {
	var flow streams.Flow
	nodes := r.stages
	for _, step := range r.pipeline.Steps {
		var next streams.Flow
		if foreign, ok := step.Stage.(*foreignStage); ok {
			next = foreign.flow
		} else {
			next = &stageFlow{stageNode: nodes[0]}
			nodes = nodes[1:]
		}
		if flow == nil {
			flow = (&sourceFlow{r.source}).Via(next)
		} else {
			flow = flow.Via(next)
		}
	}
	if flow == nil {
		go r.source.work(r.reading)
		go r.sink.work()
		<-r.sink.done
		return
	}
	go r.sink.work()
	flow.To(&sinkFlow{sinkNode: r.sink})
}

// firstQueue is where the source puts its rows.
func (r *run) firstQueue() *queue {
	if len(r.pipeline.Steps) == 0 {
		return r.sink.in
	}
	if _, foreign := r.pipeline.Steps[0].Stage.(*foreignStage); foreign {
		return newQueue()
	}
	return r.stages[0].in
}

// sourceFlow is a source as go-streams sees it.
type sourceFlow struct{ *sourceNode }

var _ streams.Source = (*sourceFlow)(nil)

// Out is for foreign operators.
func (s *sourceFlow) Out() <-chan any { return outlet(s.out) }

// Via links the source to a flow and begins to read.
func (s *sourceFlow) Via(next streams.Flow) streams.Flow {
	if _, own := next.(*stageFlow); !own {
		go pump(s.out, next)
	}
	go s.work(s.run.reading)
	return next
}

// stageFlow is a stage as go-streams sees it.
type stageFlow struct {
	*stageNode
	inlet inlet
}

var _ streams.Flow = (*stageFlow)(nil)

// In is for foreign operators.
func (s *stageFlow) In() chan<- any { return s.inlet.open(s.run, s.in) }

// Out is for foreign operators.
func (s *stageFlow) Out() <-chan any { return outlet(s.stageNode.out) }

// Via links the stage to a flow and begins its work.
func (s *stageFlow) Via(next streams.Flow) streams.Flow {
	if own, ok := next.(*stageFlow); ok {
		s.out = own.in
	} else {
		s.out = newQueue()
		go pump(s.out, next)
	}
	s.start()
	return next
}

// To links the stage to a sink and returns when that has ended.
func (s *stageFlow) To(sink streams.Sink) {
	if own, ok := sink.(*sinkFlow); ok {
		s.out = own.in
	} else {
		s.out = newQueue()
		go pump(s.out, sink)
	}
	s.start()
	sink.AwaitCompletion()
}

// sinkFlow is a sink as go-streams sees it.
type sinkFlow struct {
	*sinkNode
	inlet inlet
}

var _ streams.Sink = (*sinkFlow)(nil)

// In is for foreign operators.
func (s *sinkFlow) In() chan<- any { return s.inlet.open(s.run, s.in) }

// AwaitCompletion returns when everything is written and settled.
func (s *sinkFlow) AwaitCompletion() { <-s.done }

// pump hands what a queue holds to a foreign operator.
func pump(q *queue, to streams.Inlet) {
	in := to.In()
	defer close(in)
	var batch []*pipeline.Record
	for open := true; open; {
		batch, open = q.take(batch[:0], queueRecords, nil)
		for _, r := range batch {
			in <- r
		}
		clear(batch)
	}
}

// inlet is a channel from which a foreign operator's records go into a queue.
// Operators ask for it once for every element.
type inlet struct {
	once sync.Once
	in   chan any
}

func (i *inlet) open(r *run, q *queue) chan<- any {
	i.once.Do(func() {
		i.in = make(chan any)
		go r.receive(i.in, q)
	})
	return i.in
}

func (r *run) receive(in <-chan any, q *queue) {
	defer q.close()
	for v := range in {
		rec, ok := v.(*pipeline.Record)
		if !ok || rec == nil {
			r.failNow(fmt.Errorf("a go-streams operator passed on a %T; it must pass on the *pipeline.Record it was handed", v))
			continue
		}
		q.push(rec)
	}
}

// outlet is a channel to which a queue's records go.
func outlet(q *queue) <-chan any {
	c := make(chan any)
	go pump(q, outletEnd(c))
	return c
}

type outletEnd chan any

func (c outletEnd) In() chan<- any { return c }
