package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// patience is how long a component may take to notice that it is to stop.
const patience = 5 * time.Second

// law is one promise that every component of a kind keeps. It says how it was
// broken instead of failing the test, so that it can be tested itself: with a
// component that breaks it.
type law struct {
	name  string
	check func(t *testing.T) breaches
}

// breaches are the ways in which a law was broken; none if it was kept.
type breaches []string

func (b *breaches) addf(format string, args ...any) { *b = append(*b, fmt.Sprintf(format, args...)) }

// hold holds a component to the laws, each in a subtest.
func hold(t *testing.T, laws []law) {
	t.Helper()
	for _, l := range laws {
		t.Run(l.name, func(t *testing.T) {
			for _, breach := range l.broken(t) {
				t.Error(breach)
			}
		})
	}
}

// broken returns how the law was broken. A panic breaks every law.
func (l law) broken(t *testing.T) (b breaches) {
	defer func() {
		if p := recover(); p != nil {
			b.addf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.check(t)
}

// within returns what f does, and notes it if f does not return in time, or panics.
// What f changes besides must not be looked at.
func within[T any](b *breaches, what string, f func() T) (out T) {
	type end struct {
		out      T
		panicked string
	}
	done := make(chan end, 1) // it is left there if nobody waits any more
	go func() {
		var e end
		defer func() {
			if p := recover(); p != nil {
				e.panicked = fmt.Sprintf("%s: panic: %v\n%s", what, p, debug.Stack())
			}
			done <- e
		}()
		e.out = f()
	}()
	select {
	case e := <-done:
		if e.panicked != "" {
			b.addf("%s", e.panicked)
		}
		return e.out
	case <-time.After(patience):
		b.addf("%s did not return within %v", what, patience)
		return out
	}
}

// close releases a component that holds something.
func (b *breaches) close(component any) {
	if closer, ok := component.(pipeline.Closer); ok {
		if err := closer.Close(); err != nil {
			b.addf("close: %v", err)
		}
	}
}

// equal notes it if what came is not what was wanted.
func (b *breaches) equal(what string, got, want []string) {
	if !slices.Equal(got, want) {
		b.addf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// unchanged notes it if a record is not what it was made of. It looks at the fields
// too: an untouched record writes its bytes, whatever was done to its fields.
func (b *breaches) unchanged(what string, r *pipeline.Record, row string) {
	want, err := pipeline.ParseRecord([]byte(row))
	if err != nil {
		b.addf("the case's own row %s: %v", row, err)
		return
	}
	if got := string(r.AppendJSON(nil)); got != row {
		b.addf("%s has changed: %s, was %s", what, got, row)
	}
	if got, was := fieldsOf(r), fieldsOf(want); !slices.Equal(got, was) {
		b.addf("the fields of %s have changed: %q, were %q", what, got, was)
	}
}

func fieldsOf(r *pipeline.Record) []string {
	var out []string
	for _, f := range r.Fields() {
		out = append(out, f.Name+"="+f.Value.JSON())
	}
	return out
}

// fits notes it if a record is not of a shape that a component said it would have.
func (b *breaches) fits(s pipeline.Shape, r *pipeline.Record) {
	for _, f := range r.Fields() {
		known, ok := s.Lookup(f.Name)
		if !ok && s.Closed {
			b.addf("the shape says that there are no fields but %q, and there is %s", s.Names(), r.AppendJSON(nil))
		}
		if !hasType(known.Type, f.Value) {
			b.addf("the shape says of field %q what %s is not", f.Name, f.Value.JSON())
		}
	}
}

func hasType(t pipeline.FieldType, v pipeline.Value) bool {
	switch t {
	case pipeline.StringType:
		return v.Kind() == '"'
	case pipeline.NumberType:
		return v.Kind() == '0' || v.IsNull()
	case pipeline.BoolType:
		return v.Kind() == 't' || v.Kind() == 'f' || v.IsNull()
	default:
		return true
	}
}

// addUp notes it if records got lost in a run, or ended more than once.
func (b *breaches) addUp(k engine.Counts) {
	if k.Read+k.Made-k.Merged != k.Delivered+k.Dropped+k.DroppedOnError+k.DeadLettered+k.Absorbed+k.Unfinished {
		b.addf("the counts do not add up: %+v", k)
	}
}

// abort runs a pipeline whose rows come again and again, and aborts it after a
// while.
func (b *breaches) abort(t *testing.T, p pipeline.Pipeline, objects []string) (s engine.Summary) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Source = endless{objects: objects, after: 200, then: cancel}
	p.StopWhen.Off = true
	type end struct {
		engine.Summary
		err error
	}
	e := within(b, "a run that is aborted", func() (e end) {
		e.Summary, e.err = engine.Run(ctx, p, engine.Options{})
		return e
	})
	if e.err != nil && !errors.Is(e.err, context.Canceled) {
		b.addf("a run that is aborted has failed: %v", e.err)
	}
	return e.Summary
}

// headStart is how long a run may work before it is aborted.
const headStart = 10 * time.Millisecond

// endless is a source whose rows come again and again; somewhere among them it
// calls a function.
type endless struct {
	objects []string
	after   int
	then    func()
}

// Records yields rows until the run ends.
func (s endless) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for i := 0; ctx.Err() == nil; i++ {
			if i == s.after {
				time.Sleep(headStart)
				s.then()
			}
			if r, err := pipeline.ParseRecord([]byte(s.objects[i%len(s.objects)])); !yield(r, err) {
				return
			}
		}
	}
}
