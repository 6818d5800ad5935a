package engine

import (
	"fmt"
	"sync"

	"github.com/reugn/go-streams"

	"github.com/rowmill/rowmill/pipeline"
)

// wire links the nodes as go-streams does, and returns when the sink has ended. Between
// two nodes of our own, and those are all, the link is a queue.
func (r *run) wire() {
	if len(r.nodes) == 0 {
		go r.source.work(r.reading)
		go r.sink.work()
		<-r.sink.done
		return
	}
	flow := (&sourceFlow{r.source}).Via(r.nodes[0])
	for _, next := range r.nodes[1:] {
		flow = flow.Via(next)
	}
	go r.sink.work()
	flow.To(&sinkFlow{sinkNode: r.sink})
}

// linked is a node of our own: whoever is in front of it fills its queue.
type linked interface{ queue() *queue }

// firstQueue is where the source puts its rows.
func (r *run) firstQueue() *queue {
	if len(r.nodes) == 0 {
		return r.sink.in
	}
	return r.nodes[0].(linked).queue()
}

// link returns the queue between a node of ours and what follows.
func link(next streams.Inlet) *queue {
	if own, ok := next.(linked); ok {
		return own.queue()
	}
	q := newQueue()
	go pump(q, next)
	return q
}

// sourceFlow is a source as go-streams sees it.
type sourceFlow struct{ *sourceNode }

var _ streams.Source = (*sourceFlow)(nil)

// Out is for foreign operators.
func (s *sourceFlow) Out() <-chan any { return outlet(s.out) }

// Via links the source to a flow and begins to read.
func (s *sourceFlow) Via(next streams.Flow) streams.Flow {
	if _, own := next.(linked); !own {
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

func (s *stageFlow) queue() *queue { return s.in }

// In is for foreign operators.
func (s *stageFlow) In() chan<- any { return s.inlet.open(s.run, s.in) }

// Out is for foreign operators.
func (s *stageFlow) Out() <-chan any { return outlet(s.stageNode.out) }

// Via links the stage to a flow and begins its work.
func (s *stageFlow) Via(next streams.Flow) streams.Flow {
	s.out = link(next)
	s.start()
	return next
}

// To links the stage to a sink and returns when that has ended.
func (s *stageFlow) To(sink streams.Sink) {
	s.out = link(sink)
	s.start()
	sink.AwaitCompletion()
}

// foreignFlow is a go-streams operator between two nodes of ours.
type foreignFlow struct {
	*foreignNode
	inlet inlet
}

var _ streams.Flow = (*foreignFlow)(nil)

func (f *foreignFlow) queue() *queue { return f.in }

// In is for foreign operators.
func (f *foreignFlow) In() chan<- any { return f.inlet.open(f.run, f.in) }

// Out is for foreign operators.
func (f *foreignFlow) Out() <-chan any { return outlet(f.out) }

// Via links the operator to a flow and begins its work.
func (f *foreignFlow) Via(next streams.Flow) streams.Flow {
	f.out = link(next)
	f.start()
	return next
}

// To links the operator to a sink and returns when that has ended.
func (f *foreignFlow) To(sink streams.Sink) {
	f.out = link(sink)
	f.start()
	sink.AwaitCompletion()
}

// sinkFlow is a sink as go-streams sees it.
type sinkFlow struct {
	*sinkNode
	inlet inlet
}

var _ streams.Sink = (*sinkFlow)(nil)

func (s *sinkFlow) queue() *queue { return s.in }

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
