package pipelinetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// SourceCase is a source and what it must yield.
type SourceCase struct {
	// New makes the source, ready to be read from its beginning. Where it is a
	// [pipeline.Seeker] or an [pipeline.Identifier], all that are made read one input.
	New func(t *testing.T) pipeline.Source
	// Want are the rows, as JSON objects, in order; at least two.
	Want []string
	// Unreadable is how many rows cannot be read.
	Unreadable int
	// Idle makes a source that is open but has nothing to read: a pipe or a channel
	// into which nobody writes. Nil for sources that never wait.
	Idle func(t *testing.T) pipeline.Source
}

// Source checks that a source keeps the laws of [pipeline.Source].
func Source(t *testing.T, c SourceCase) {
	t.Helper()
	if len(c.Want) < 2 {
		t.Fatal("the case needs at least two rows")
	}
	hold(t, c.laws())
}

func (c SourceCase) laws() []law {
	laws := []law{
		{"yields its rows in order", c.yields},
		{"yields the same rows again", c.repeats},
		{"lets go of its rows", c.letsGo},
		{"stops when the consumer does", c.breaks},
		{"stops when the context is done", c.cancelled},
		{"has the fields it says", c.shape},
		{"knows how far it has read", c.progress},
		{"is closed unread", c.unread},
		{"is known again", c.identifies},
		{"begins with any row", c.seeks},
		{"runs in a pipeline", c.runs},
	}
	if c.Idle != nil {
		laws = append(laws, law{"stops while it waits for a row", c.idles})
	}
	return laws
}

// read returns what a source yields. Each row is handed to use when it comes.
func (c SourceCase) read(ctx context.Context, source pipeline.Source, b *breaches, use func(*pipeline.Record)) (readable, unreadable []*pipeline.Record) {
	for r, err := range source.Records(ctx) {
		switch {
		case r == nil && err != nil:
			b.addf("the source failed: %v", err)
			return readable, unreadable
		case r == nil:
			b.addf("it yielded neither a record nor an error")
			return readable, unreadable
		case err == nil && r.Readable():
			readable = append(readable, r)
		case err == nil:
			b.addf("row %s is Unreadable, but comes without an error", r.ID())
		case r.Readable():
			b.addf("row %s comes with an error (%v) but is not Unreadable", r.ID(), err)
		default:
			if class, _ := pipeline.Classify(err); class != pipeline.ClassRecord {
				b.addf("the error of row %s is of class %v (%v), want the record's own", r.ID(), class, err)
			}
			unreadable = append(unreadable, r)
		}
		use(r)
	}
	return readable, unreadable
}

func jsonOf(records []*pipeline.Record) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = string(r.AppendJSON(nil))
	}
	return out
}

// yields reads all rows before it looks at the first one: a row must not change
// while others are read.
func (c SourceCase) yields(t *testing.T) (b breaches) {
	source := c.New(t)
	var atOnce []string
	readable, unreadable := c.read(t.Context(), source, &b, func(r *pipeline.Record) {
		if r.Ref != (pipeline.Ref{}) || r.Ticket() != nil {
			b.addf("row %s has a Ref or a ticket already: they are the engine's", r.ID())
		}
		if !r.Readable() {
			atOnce = append(atOnce, string(r.AppendJSON(nil)))
		}
	})
	b.equal("rows", jsonOf(readable), c.Want)
	if len(unreadable) != c.Unreadable {
		b.addf("%d rows could not be read, want %d", len(unreadable), c.Unreadable)
	}
	b.equal("rows that cannot be read, behind the last one", jsonOf(unreadable), atOnce)
	b.close(source)
	return b
}

// repeats checks what identity stands on: the same input is the same rows, in the
// same order and at the same places, in every run.
func (c SourceCase) repeats(t *testing.T) (b breaches) {
	var runs [2][]string
	for i := range runs {
		source := c.New(t)
		c.read(t.Context(), source, &b, func(r *pipeline.Record) {
			// Without the path: New may make the file anew.
			runs[i] = append(runs[i], fmt.Sprintf("line %d, offset %d: %s", r.Origin.Line, r.Origin.Offset, r.AppendJSON(nil)))
		})
		b.close(source)
	}
	b.equal("rows read again", runs[1], runs[0])
	return b
}

// letsGo changes each row as it comes: it belongs to whoever got it.
func (c SourceCase) letsGo(t *testing.T) (b breaches) {
	source := c.New(t)
	var got []string
	c.read(t.Context(), source, &b, func(r *pipeline.Record) {
		if !r.Readable() {
			return
		}
		got = append(got, string(r.AppendJSON(nil)))
		for _, f := range slices.Clone(r.Fields()) {
			r.Set(f.Name, pipeline.Text("changed"))
			r.Rename(f.Name, f.Name+" changed")
		}
	})
	b.equal("rows, with each changed before the next", got, c.Want)
	b.close(source)
	return b
}

func (c SourceCase) breaks(t *testing.T) (b breaches) {
	source := c.New(t)
	if !within(&b, "Records", func() (came bool) {
		for r, err := range source.Records(t.Context()) {
			came = r != nil && (err == nil || !r.Readable())
			break
		}
		return came
	}) {
		b.addf("the first row did not come")
	}
	b.close(source)
	return b
}

func (c SourceCase) cancelled(t *testing.T) (b breaches) {
	for _, early := range []bool{true, false} {
		source := c.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		if early {
			cancel()
		}
		rows := 0
		b = append(b, stopped(ctx, source, func() bool {
			cancel()
			rows++
			return rows <= len(c.Want)+c.Unreadable
		})...)
		cancel()
		b.close(source)
	}
	return b
}

// stopped reads from a source whose context ends. Each row is told to another,
// which says whether there may be one more.
func stopped(ctx context.Context, source pipeline.Source, row func() bool) (b breaches) {
	more := within(&b, "Records", func() (b breaches) {
		for r, err := range source.Records(ctx) {
			if r == nil && err != nil {
				b.addf("a source that is stopped has not failed: %v", err)
			}
			if !row() {
				b.addf("it goes on after it was stopped")
				break
			}
		}
		return b
	})
	return append(b, more...)
}

func (c SourceCase) idles(t *testing.T) (b breaches) {
	source := c.Idle(t)
	ctx, cancel := context.WithTimeout(t.Context(), headStart)
	defer cancel()
	b = stopped(ctx, source, func() bool { return true })
	b.close(source)
	return b
}

func (c SourceCase) shape(t *testing.T) (b breaches) {
	source := c.New(t)
	defer b.close(source)
	shaper, ok := source.(pipeline.Shaper)
	if !ok {
		return nil
	}
	shape := shaper.Shape(pipeline.Shape{})
	c.read(t.Context(), source, &b, func(r *pipeline.Record) {
		if r.Readable() {
			b.fits(shape, r)
		}
	})
	return b
}

// progress asks all the time how far the source has read, as who shows it does.
func (c SourceCase) progress(t *testing.T) (b breaches) {
	source := c.New(t)
	defer b.close(source)
	meter, ok := source.(pipeline.Meter)
	if !ok {
		return nil
	}
	done, asked := make(chan struct{}), make(chan breaches)
	go func() { asked <- askAlways(meter, done) }()
	c.read(t.Context(), source, &b, func(*pipeline.Record) { runtime.Gosched() })
	close(done)
	b = append(b, <-asked...)
	if read, total := meter.Progress(); total > 0 && read != total {
		b.addf("all is read, and Progress says %d of %d", read, total)
	}
	return b
}

func askAlways(meter pipeline.Meter, done <-chan struct{}) (b breaches) {
	for last := int64(0); ; {
		read, total := meter.Progress()
		if read < last || total > 0 && read > total {
			b.addf("Progress says %d of %d, after %d", read, total, last)
			return b
		}
		last = read
		select {
		case <-done:
			return b
		default:
			runtime.Gosched()
		}
	}
}

func (c SourceCase) unread(t *testing.T) (b breaches) {
	b.close(c.New(t))
	return b
}

func (c SourceCase) runs(t *testing.T) (b breaches) {
	sink := &Memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: c.New(t), Sink: sink, StopWhen: pipeline.StopWhen{Off: true},
	}, engine.Options{Preflight: true})
	if err != nil {
		b.addf("the run failed: %v", err)
	}
	b.equal("delivered", sink.Rows(), c.Want)
	if want := int64(len(c.Want) + c.Unreadable); s.Counts.Read != want || s.Counts.DeadLettered != int64(c.Unreadable) {
		b.addf("counts %+v, want %d read, %d dead-lettered", s.Counts, want, c.Unreadable)
	}
	return b
}
