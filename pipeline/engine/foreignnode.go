package engine

import (
	"errors"
	"fmt"
	"sync"

	"github.com/reugn/go-streams"

	"github.com/rowmill/rowmill/pipeline"
)

// foreignNode runs a go-streams operator: one goroutine hands it records, one takes what
// it emits. Records of one that passes on each are in between, in order, and what comes
// out must be the first of them.
type foreignNode struct {
	run   *run
	stage *foreignStage
	name  string
	index int // among the stages

	in, out *queue
	entered chan struct{} // closed when nothing more is handed over
	left    chan struct{} // closed when nothing more is taken

	mu     sync.Mutex
	inside []traveller
	fed    bool // everything was handed over
	over   bool // nothing is taken any more
	made   uint64
}

// traveller is a record that the operator has. What it was is kept, as the operator may
// do to it what it likes.
type traveller struct {
	record *pipeline.Record
	identity
}

// place names a record without touching it.
func (t traveller) place() string {
	if t.key != "" {
		return t.key
	}
	if place := t.origin.String(); place != "" {
		return place + t.ref.Path
	}
	return t.ref.String()
}

func newForeignNode(r *run, s *foreignStage, name string, index int) *foreignNode {
	return &foreignNode{run: r, stage: s, name: name, index: index, in: newQueue(), entered: make(chan struct{}), left: make(chan struct{})}
}

// start begins the work; out must be known.
func (n *foreignNode) start() {
	exit := &exit{in: make(chan any)}
	n.stage.flow.Via(exit)
	go n.enter(n.stage.flow.In())
	go n.exit(exit.in)
}

// enter hands the operator what arrives.
func (n *foreignNode) enter(in chan<- any) {
	defer close(n.entered)
	var batch []*pipeline.Record
	for open := true; open; {
		batch, open = n.in.take(batch[:0], queueRecords, nil)
		for _, r := range batch {
			if n.stage.loose() {
				n.absorb(in, r)
			} else {
				n.travel(in, r)
			}
		}
		clear(batch)
	}
	n.mu.Lock()
	n.fed = true
	n.mu.Unlock()
	close(in)
}

// travel hands over a record that must come out again. Whatever does not is ended when
// nothing more comes.
func (n *foreignNode) travel(in chan<- any, r *pipeline.Record) {
	n.mu.Lock()
	if n.over || n.run.ctx.Err() != nil {
		n.mu.Unlock()
		n.run.settle(r, unfinished)
		return
	}
	n.inside = append(n.inside, traveller{r, identityOf(r)})
	n.mu.Unlock()
	select {
	case in <- r:
	case <-n.left:
	}
}

// absorb hands over a record for good.
func (n *foreignNode) absorb(in chan<- any, r *pipeline.Record) {
	who := identityOf(r)
	r.SetTicket(nil)
	var v any
	err := n.run.safely(n.name, func() (err error) { v, err = n.stage.hand(r); return err })
	if err != nil {
		r.SetTicket(who.leaf)
		n.run.bury(r, n.name, err, 1)
		return
	}
	how := unfinished
	if n.run.ctx.Err() == nil {
		select {
		case in <- v:
			how = absorbed
		case <-n.left:
		}
	}
	n.run.settled(n.run.tracker.settleLeaves(how, who.member()))
}

// exit takes what the operator emits, until it ends or the run is stopped hard.
func (n *foreignNode) exit(out <-chan any) {
	defer n.out.close() // last: those behind must not end before everything here has
	for n.next(out) {
	}
	close(n.left)
	n.sweep()
	<-n.entered
}

func (n *foreignNode) next(out <-chan any) bool {
	select {
	case <-n.run.ctx.Done():
		go discardAll(out) // whoever emits must not hang
		return false
	case v, open := <-out:
		if !open {
			return false
		}
		r, err := n.arrived(v)
		if err != nil {
			n.run.failNow(fmt.Errorf("stage %s: %w", n.name, err))
			return true // until the run's end is noticed, more may come
		}
		if r != nil {
			n.out.push(r)
		}
		return true
	}
}

func discardAll(c <-chan any) {
	for range c { //nolint:revive // it is thrown away
	}
}

// arrived returns the record that the operator has emitted; nil for a dead letter.
func (n *foreignNode) arrived(v any) (*pipeline.Record, error) {
	if n.stage.loose() {
		return n.begin(v)
	}
	r, ok := v.(*pipeline.Record)
	if !ok || r == nil {
		return nil, fmt.Errorf("the go-streams operator passed on a %T; it must pass on the *pipeline.Record it was handed, or be declared with engine.Loose", v)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.inside) == 0 || n.inside[0].record != r {
		return nil, n.wrong(r)
	}
	who := n.inside[0]
	n.inside[0] = traveller{}
	n.inside = n.inside[1:]
	r.Ref = who.ref
	r.SetTicket(who.leaf)
	return r, nil
}

// wrong says what is wrong with a record that is not the next.
func (n *foreignNode) wrong(r *pipeline.Record) error {
	for _, t := range n.inside {
		if t.record == r {
			return fmt.Errorf("the go-streams operator passed on record %s and not yet record %s, which came first: it has lost that, or does not keep the order; declare it with engine.Loose", t.place(), n.inside[0].place())
		}
	}
	return fmt.Errorf("the go-streams operator passed on a record that it was not handed, or had passed on before: %w", errTwice)
}

// begin makes what a loose operator has emitted a row.
func (n *foreignNode) begin(v any) (*pipeline.Record, error) {
	var r *pipeline.Record
	err := n.run.safely(n.name, func() (err error) { r, err = n.stage.take(v); return err })
	if r == nil {
		return nil, err
	}
	r.Ref = pipeline.Ref{Source: 1 + n.index, Seq: n.made}
	n.made++
	if key, ok := r.Lookup(n.run.pipeline.Key); ok && n.run.pipeline.Key != "" && !key.IsNull() {
		r.SetKey(key.Text())
	}
	n.run.tracker.begin(r)
	if err == nil {
		return r, nil
	}
	n.run.bury(r, n.name, err, 1)
	return nil, nil
}

var errEndedEarly = errors.New("the go-streams operator ended before its input did")

// sweep ends what the operator has kept.
func (n *foreignNode) sweep() {
	n.mu.Lock()
	kept, fed := n.inside, n.fed
	n.inside, n.over = nil, true
	n.mu.Unlock()
	if n.run.ctx.Err() == nil {
		switch {
		case !fed:
			n.run.failNow(fmt.Errorf("stage %s: %w", n.name, errEndedEarly))
		case len(kept) > 0:
			n.run.failNow(fmt.Errorf("stage %s: the go-streams operator has lost %d records, first %s; declare it with engine.Loose", n.name, len(kept), kept[0].place()))
		}
	}
	for _, t := range kept {
		n.run.settled(n.run.tracker.settleLeaves(unfinished, t.member()))
	}
}

// exit is what the operator streams to.
type exit struct{ in chan any }

var _ streams.Flow = (*exit)(nil)

func (e *exit) In() chan<- any                { return e.in }
func (e *exit) Out() <-chan any               { return nil }
func (e *exit) Via(streams.Flow) streams.Flow { return nil }
func (e *exit) To(streams.Sink)               {}
