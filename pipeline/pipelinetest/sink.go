package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// SinkCase is a sink, rows, and what must be where it writes.
type SinkCase struct {
	// New makes the sink, with nothing where it writes.
	New func(t *testing.T) pipeline.Sink
	// Rows go in, as JSON objects; at least three.
	Rows []string
	// Read returns what is where the sink made last writes, one string a row. It is
	// called before the sink is closed as well: a compressed file may lack its end.
	Read func(t *testing.T) []string
	// Want is what Read must return. Defaults to Rows.
	Want []string
	// Refused are rows that the sink must refuse for good, each by itself. They are
	// mixed in between Rows; leave it empty for a sink that takes every row.
	Refused []string
	// Again makes another sink that writes where the one made last does; nil where
	// nothing stays.
	Again func(t *testing.T) pipeline.Sink
	// Stuck makes a sink whose other end takes nothing and never will; nil for sinks
	// that never wait.
	Stuck func(t *testing.T) pipeline.Sink
	// KeepsNothing is for a sink that forgets what it takes: Read and Want are not
	// looked at.
	KeepsNothing bool
}

// Sink checks that a sink keeps the laws of [pipeline.Sink].
func Sink(t *testing.T, c SinkCase) {
	t.Helper()
	switch {
	case len(c.Rows) < 3:
		t.Fatal("the case needs at least three rows")
	case c.Read == nil && !c.KeepsNothing:
		t.Fatal("the case needs Read, unless the sink keeps nothing")
	}
	hold(t, c.laws())
}

func (c SinkCase) laws() []law {
	laws := []law{
		{"delivers what was committed", c.delivers},
		{"does without rows", c.empty},
		{"only reads the records", c.onlyReads},
		{"says where it stands", c.stands},
		{"returns when the context is done", c.cancelled},
		{"is probed without a trace", c.probed},
		{"is closed unused", c.unused},
		{"has what it delivered when it is aborted", c.aborted},
		{"promises what it can keep", c.promises},
	}
	for _, records := range []int{1, 1000} {
		laws = append(laws, law{
			fmt.Sprintf("runs in a pipeline, in batches of %d", records),
			func(t *testing.T) breaches { return c.runs(t, records) },
		})
	}
	if c.Again != nil {
		laws = append(laws, law{"keeps what is there", c.keeps}, law{"is prepared as it starts", c.prepares})
		laws = append(laws, c.rewindLaws()...)
	}
	if len(c.Refused) > 0 {
		laws = append(laws, law{"names what it refuses", c.refuses})
	}
	if c.Stuck != nil {
		laws = append(laws, law{"stops while it waits", c.stuck})
	}
	return laws
}

// start makes a sink and begins its run; nil if that fails.
func (b *breaches) start(t *testing.T, build func(*testing.T) pipeline.Sink, fresh bool) pipeline.Sink {
	t.Helper()
	sink := build(t)
	if s, ok := sink.(pipeline.Starter); ok {
		if err := s.Start(t.Context(), fresh); err != nil {
			b.addf("start: %v", err)
			return nil
		}
	}
	return sink
}

// write hands a batch over as the engine does: afterwards the slice is used again.
func (b *breaches) write(ctx context.Context, sink pipeline.Sink, batch []*pipeline.Record) {
	if err := sink.Write(ctx, batch); err != nil {
		b.addf("write: %v", err)
	}
	clear(batch)
}

func (b *breaches) commit(ctx context.Context, sink pipeline.Sink) pipeline.Position {
	p, err := sink.Commit(ctx)
	if err != nil {
		b.addf("commit: %v", err)
	}
	return p
}

func (b *breaches) end(ctx context.Context, sink pipeline.Sink) {
	if err := sink.Close(ctx); err != nil {
		b.addf("close: %v", err)
	}
}

// check compares what is there with what must be there.
func (c SinkCase) check(t *testing.T, b *breaches, when string) {
	t.Helper()
	if c.KeepsNothing {
		return
	}
	want := c.Want
	if want == nil {
		want = c.Rows
	}
	b.equal("there "+when, c.Read(t), want)
}

// delivers writes two batches, each committed. What is committed is there although
// the sink is not closed: the program may be killed.
func (c SinkCase) delivers(t *testing.T) (b breaches) {
	sink := b.start(t, c.New, false)
	if sink == nil {
		return b
	}
	all := records(t, c.Rows)
	b.write(t.Context(), sink, slices.Clone(all[:1]))
	b.commit(t.Context(), sink)
	b.write(t.Context(), sink, slices.Clone(all[1:]))
	b.commit(t.Context(), sink)
	c.check(t, &b, "after the commit")
	b.end(t.Context(), sink)
	c.check(t, &b, "after the end")
	return b
}

func (c SinkCase) empty(t *testing.T) (b breaches) {
	sink := b.start(t, c.New, false)
	if sink == nil {
		return b
	}
	b.commit(t.Context(), sink)
	b.write(t.Context(), sink, nil)
	b.commit(t.Context(), sink)
	b.end(t.Context(), sink)
	if c.KeepsNothing {
		return b
	}
	b.equal("there without rows", c.Read(t), nil)
	return b
}

func (c SinkCase) onlyReads(t *testing.T) (b breaches) {
	sink := b.start(t, c.New, false)
	if sink == nil {
		return b
	}
	all := records(t, c.Rows)
	b.write(t.Context(), sink, slices.Clone(all))
	b.commit(t.Context(), sink)
	b.end(t.Context(), sink)
	for i, r := range all {
		b.unchanged("a record", r, c.Rows[i])
	}
	return b
}

// stands checks the position: it moves with what is written alone, and forward.
func (c SinkCase) stands(t *testing.T) (b breaches) {
	sink := b.start(t, c.New, false)
	if sink == nil {
		return b
	}
	last := b.commit(t.Context(), sink)
	for _, r := range records(t, c.Rows) {
		b.write(t.Context(), sink, []*pipeline.Record{r})
		p := b.commit(t.Context(), sink)
		was, isNumber := number(last)
		if is, _ := number(p); isNumber && is < was {
			b.addf("the position went back, from %s to %s", last, p)
		}
		if again := b.commit(t.Context(), sink); again != p {
			b.addf("nothing was written, and the position moved from %q to %q", p, again)
		}
		last = p
	}
	b.end(t.Context(), sink)
	return b
}

// number returns a position that is a number, as that of a file is.
func number(p pipeline.Position) (int64, bool) {
	n, err := strconv.ParseInt(string(p), 10, 64)
	return n, err == nil
}

// cancelled hands over a batch when nobody waits any more, and then again: a
// failed Write had no effect, or may be repeated.
func (c SinkCase) cancelled(t *testing.T) (b breaches) {
	sink := b.start(t, c.New, false)
	if sink == nil {
		return b
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	all := records(t, c.Rows)
	err := within(&b, "Write", func() error { return sink.Write(ctx, all) })
	if err != nil {
		b.write(t.Context(), sink, records(t, c.Rows))
	}
	if len(b) > 0 {
		return b // Write may still be at work
	}
	b.commit(t.Context(), sink)
	b.end(t.Context(), sink)
	if err == nil {
		c.check(t, &b, "after a Write that took the batch although the context was done")
		return b
	}
	if !c.KeepsNothing {
		b.among("there after a Write that was repeated", c.Read(t), c.wanted())
	}
	return b
}

// byKey reports whether a row takes the place of an earlier one of its key.
func (c SinkCase) byKey(t *testing.T, b *breaches) bool {
	t.Helper()
	if c.Again == nil {
		return false
	}
	sink := c.Again(t)
	defer b.end(t.Context(), sink)
	return engine.DeliveryOf(sink) == pipeline.ExactlyOnceByKey
}

func (c SinkCase) wanted() []string {
	if c.Want == nil {
		return c.Rows
	}
	return c.Want
}

// among notes it if some of what is wanted is not there, in its order; it may be
// there more than once.
func (b *breaches) among(what string, got, want []string) {
	rest := got
	for _, w := range want {
		i := slices.Index(rest, w)
		if i < 0 {
			b.addf("%s: %q lacks %q", what, got, w)
			return
		}
		rest = rest[i+1:]
	}
}

func (c SinkCase) stuck(t *testing.T) (b breaches) {
	sink := b.start(t, c.Stuck, false)
	if sink == nil {
		return b
	}
	ctx, cancel := context.WithTimeout(t.Context(), headStart)
	defer cancel()
	all := records(t, c.Rows)
	if err := within(&b, "Write", func() error { return sink.Write(ctx, all) }); err == nil {
		b.addf("Write took a batch that nobody takes from it")
	}
	if err := within(&b, "Close", func() error { return sink.Close(t.Context()) }); err != nil {
		b.addf("close: %v", err)
	}
	return b
}

// probed asks a sink whether it is going to work, with nothing there and with
// rows there. It must find nothing wrong the first time, and change nothing.
func (c SinkCase) probed(t *testing.T) (b breaches) {
	p, ok := c.New(t).(pipeline.Prober)
	if !ok {
		return nil
	}
	if err := p.Probe(t.Context()); err != nil {
		b.addf("probe: %v", err)
	}
	if c.Again == nil {
		return b
	}
	// Start refuses what would be overwritten: so Probe has left nothing behind.
	c.fill(t, &b, c.Again, false)
	if p, ok := c.Again(t).(pipeline.Prober); ok {
		_ = p.Probe(t.Context()) // it may say that there are rows already
	}
	c.check(t, &b, "after a probe")
	return b
}

// fill delivers the rows.
func (c SinkCase) fill(t *testing.T, b *breaches, build func(*testing.T) pipeline.Sink, fresh bool) {
	t.Helper()
	sink := b.start(t, build, fresh)
	if sink == nil {
		return
	}
	b.write(t.Context(), sink, records(t, c.Rows))
	b.commit(t.Context(), sink)
	b.end(t.Context(), sink)
}

// unused checks the end of a run that never wrote anything: the engine closes a
// sink that has no Start all the same, and who does without an engine may close any.
func (c SinkCase) unused(t *testing.T) (b breaches) {
	b.end(t.Context(), c.New(t))
	return b
}

// keeps begins runs where there are rows: those of another run are not lost
// unless it is told so.
func (c SinkCase) keeps(t *testing.T) (b breaches) {
	c.fill(t, &b, c.New, false)
	sink := c.Again(t)
	s, ok := sink.(pipeline.Starter)
	if !ok {
		b.addf("rows stay where it writes, and it is no pipeline.Starter: who begins anew would add to them")
		return b
	}
	if err := s.Start(t.Context(), false); err == nil {
		b.end(t.Context(), sink)
		b.among("there after another run has begun", c.Read(t), c.wanted())
	} else {
		c.check(t, &b, "after another run was refused")
	}
	c.fill(t, &b, c.Again, true)
	c.check(t, &b, "after a fresh run")
	return b
}

// prepares checks what is done for a sink that may never be started: what Start
// would refuse is refused, and with fresh nothing of an earlier run is left.
func (c SinkCase) prepares(t *testing.T) (b breaches) {
	p, ok := c.New(t).(pipeline.Preparer)
	if !ok {
		return nil
	}
	if err := p.Prepare(t.Context(), false); err != nil {
		b.addf("prepare, with nothing there: %v", err)
	}
	c.fill(t, &b, c.Again, false)
	sink := c.Again(t)
	if s, ok := sink.(pipeline.Starter); ok {
		refused := s.Start(t.Context(), false) != nil
		if !refused {
			b.end(t.Context(), sink)
		}
		p, _ := c.Again(t).(pipeline.Preparer)
		if err := p.Prepare(t.Context(), false); (err != nil) != refused {
			b.addf("prepare, with rows there: %v; start refuses it: %v", err, refused)
		}
		c.check(t, &b, "after it was prepared")
	}
	again, _ := c.Again(t).(pipeline.Preparer)
	if err := again.Prepare(t.Context(), true); err != nil {
		b.addf("prepare fresh: %v", err)
	}
	c.fill(t, &b, c.Again, false) // nobody is refused any more
	c.check(t, &b, "after it was prepared fresh")
	return b
}

// mixed is the rows with those to be refused in between, and where these are.
func (c SinkCase) mixed() (mixed []string, refused map[int]bool) {
	mixed, refused = slices.Clone(c.Rows), map[int]bool{}
	for i, row := range c.Refused {
		at := min(2*i+1, len(mixed))
		mixed = slices.Insert(mixed, at, row)
		refused[at] = true
	}
	return mixed, refused
}

func (c SinkCase) refuses(t *testing.T) (b breaches) {
	sink := b.start(t, c.New, false)
	if sink == nil {
		return b
	}
	mixed, want := c.mixed()
	err := sink.Write(t.Context(), records(t, mixed))
	var batch *pipeline.BatchError
	if !errors.As(err, &batch) {
		b.addf("write: %v, want a BatchError that names records %v", err, want)
		batch = &pipeline.BatchError{}
	}
	for i, row := range mixed {
		if got := batch.Refused[i] != nil; got != want[i] {
			b.addf("record %d (%s): refused is %v, want %v", i, row, got, want[i])
		}
	}
	b.commit(t.Context(), sink)
	b.end(t.Context(), sink)
	c.check(t, &b, "beside what was refused")
	return b
}

func (c SinkCase) runs(t *testing.T, most int) (b breaches) {
	in, refused := c.mixed()
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: Rows(t, in), Sink: c.New(t), Flush: pipeline.Flush{Records: most}, StopWhen: pipeline.StopWhen{Off: true},
	}, engine.Options{Preflight: true})
	if err != nil {
		b.addf("the run failed: %v", err)
	}
	if k := s.Counts; k.Delivered != int64(len(c.Rows)) || k.DeadLettered != int64(len(refused)) {
		b.addf("%d delivered and %d dead letters, want %d and %d", k.Delivered, k.DeadLettered, len(c.Rows), len(refused))
	}
	c.check(t, &b, "after a run")
	return b
}

// aborted stops a run hard in the middle. What the run counts as delivered must be
// there.
func (c SinkCase) aborted(t *testing.T) (b breaches) {
	s := b.abort(t, pipeline.Pipeline{Sink: c.New(t), Flush: pipeline.Flush{Records: 2}}, c.Rows)
	b.addUp(s.Counts)
	if c.KeepsNothing || s.Counts.Delivered == 0 {
		return b
	}
	want := s.Counts.Delivered
	if c.byKey(t, &b) { // the rows come again and again, and take each other's place
		want = min(want, int64(len(c.wanted())))
	}
	if got := len(c.Read(t)); int64(got) < want {
		b.addf("%d rows count as delivered, and %d are there", s.Counts.Delivered, got)
	}
	return b
}
