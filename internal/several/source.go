// Package several makes one source of several, and one sink, for package load and for
// programs that build their pipelines themselves.
package several

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Concat is one source after the other.
func Concat(of ...pipeline.Source) pipeline.Source {
	var flat []pipeline.Source // Origin.Source says which of all
	for _, s := range of {
		switch s := s.(type) {
		case *seekableSeveral:
			flat = append(flat, s.of...)
		case *several:
			if !s.turns {
				flat = append(flat, s.of...)
				continue
			}
			flat = append(flat, s)
		default:
			flat = append(flat, s)
		}
	}
	s := &several{of: flat}
	for _, part := range flat {
		if _, ok := part.(pipeline.Seeker); !ok {
			return s
		}
	}
	return &seekableSeveral{s}
}

// Interleave takes turns: a row of each source, in their order, for as long as it has any.
func Interleave(of ...pipeline.Source) pipeline.Source { return &several{of: of, turns: true} }

// several are sources that are read as one.
type several struct {
	of    []pipeline.Source
	turns bool
	first int // the source to begin with
}

// seekableSeveral can begin in the middle of one.
type seekableSeveral struct{ *several }

var (
	_ pipeline.Source     = (*several)(nil)
	_ pipeline.Identifier = (*several)(nil)
	_ pipeline.Prober     = (*several)(nil)
	_ pipeline.Meter      = (*several)(nil)
	_ pipeline.Shaper     = (*several)(nil)
	_ pipeline.Closer     = (*several)(nil)
	_ pipeline.Guarantor  = (*several)(nil)
	_ pipeline.Seeker     = (*seekableSeveral)(nil)
)

// Records reads them.
func (s *several) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	if s.turns {
		return s.inTurns(ctx)
	}
	return func(yield func(*pipeline.Record, error) bool) {
		for i := s.first; i < len(s.of); i++ {
			for r, err := range s.of[i].Records(ctx) {
				if !s.pass(i, r, err, yield) {
					return
				}
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// pass yields what a source yielded, and reports whether more is wanted.
func (s *several) pass(i int, r *pipeline.Record, err error, yield func(*pipeline.Record, error) bool) bool {
	if r == nil {
		if err != nil {
			err = s.named(i, err)
		}
		yield(nil, err)
		return false
	}
	r.Origin.Source = i
	return yield(r, err)
}

func (s *several) inTurns(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		type turn struct {
			i    int
			next func() (*pipeline.Record, error, bool)
		}
		var turns []turn
		for i, part := range s.of {
			next, stop := iter.Pull2(part.Records(ctx))
			defer stop()
			turns = append(turns, turn{i, next})
		}
		for len(turns) > 0 {
			left := turns[:0]
			for _, t := range turns {
				r, err, more := t.next()
				switch {
				case ctx.Err() != nil && !more:
					return // it has not ended: it was stopped
				case !more:
					continue
				case !s.pass(t.i, r, err, yield):
					return
				}
				left = append(left, t)
			}
			turns = left
		}
	}
}

// named says of which source an error is.
func (s *several) named(i int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sources[%d]: %w", i, err)
}

// each calls f for every source.
func (s *several) each(f func(pipeline.Source) error) error {
	var errs []error
	for i, part := range s.of {
		errs = append(errs, s.named(i, f(part)))
	}
	return errors.Join(errs...)
}

// Guarantee says what those leave of the promises of a run that leave something.
func (s *several) Guarantee() string {
	var all []string
	for i, part := range s.of {
		all = guarantee(all, fmt.Sprintf("sources[%d]", i), part)
	}
	return severalOf(all)
}

func guarantee(all []string, name string, component any) []string {
	if g, ok := component.(pipeline.Guarantor); ok && g.Guarantee() != "" {
		all = append(all, name+" is "+g.Guarantee())
	}
	return all
}

func severalOf(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return "several: " + strings.Join(all, "; ")
}

// Identify says what each of them is known by; "" if one that knows cannot say.
func (s *several) Identify(ctx context.Context) (string, error) {
	ids := make([]string, len(s.of))
	for i, part := range s.of {
		known, ok := part.(pipeline.Identifier)
		if !ok {
			continue
		}
		var err error
		if ids[i], err = known.Identify(ctx); err != nil {
			return "", s.named(i, err)
		}
		if ids[i] == "" {
			return "", nil
		}
	}
	text, err := json.Marshal(ids)
	return string(text), err
}

// Compare says how they differ from those of an earlier run.
func (s *several) Compare(ctx context.Context, was string) (pipeline.Change, error) {
	if was == "" { // what it has read is compared row by row
		if now, err := s.Identify(ctx); now != "" || err != nil {
			return pipeline.Same, errors.Join(err, errors.New("what are files now were pipes then"))
		}
		return pipeline.Same, nil
	}
	var before []string
	if err := json.Unmarshal([]byte(was), &before); err != nil {
		return pipeline.Same, fmt.Errorf("what is known of the sources then is damaged: %w", err)
	}
	if len(before) != len(s.of) {
		return pipeline.Same, fmt.Errorf("there are %d sources and were %d", len(s.of), len(before))
	}
	all := pipeline.Same
	for i, part := range s.of {
		known, ok := part.(pipeline.Identifier)
		if !ok {
			continue
		}
		change, err := known.Compare(ctx, before[i])
		switch {
		case err != nil:
			return all, s.named(i, err)
		case change == pipeline.Grown && s.turns:
			return all, s.named(i, errors.New("it has grown, and its new rows would come between those of the others"))
		case change == pipeline.Grown && i < len(s.of)-1:
			return all, s.named(i, errors.New("it has grown, and other sources follow it; only the last one may grow"))
		}
		all = max(all, change)
	}
	return all, nil
}

// Seek begins in the source that the row was of.
func (s *seekableSeveral) Seek(ctx context.Context, at pipeline.Origin) error {
	i := at.Source
	if i < 0 || i >= len(s.of) {
		return fmt.Errorf("there is no sources[%d]", i)
	}
	s.first, at.Source = i, 0
	return s.named(i, s.of[i].(pipeline.Seeker).Seek(ctx, at))
}

// Probe asks all of them.
func (s *several) Probe(ctx context.Context) error {
	return s.each(func(part pipeline.Source) error {
		if p, ok := part.(pipeline.Prober); ok {
			return p.Probe(ctx)
		}
		return nil
	})
}

// Close closes all of them.
func (s *several) Close() error {
	return s.each(func(part pipeline.Source) error {
		if c, ok := part.(pipeline.Closer); ok {
			return c.Close()
		}
		return nil
	})
}

// Progress is the sum, if all are of one kind, so that they count the same, and each
// knows how much it has.
func (s *several) Progress() (done, total int64) {
	for i, part := range s.of {
		m, ok := part.(pipeline.Meter)
		if !ok || reflect.TypeOf(part) != reflect.TypeOf(s.of[0]) {
			return 0, 0
		}
		d, all := m.Progress()
		if all <= 0 && i >= s.first {
			return 0, 0
		}
		done, total = done+d, total+all
	}
	return done, total
}

// Shape is what the rows of one or the other look like.
func (s *several) Shape(in pipeline.Shape) pipeline.Shape {
	shape := pipeline.Shape{}
	for i, part := range s.of {
		one := pipeline.Shape{}
		if known, ok := part.(pipeline.Shaper); ok {
			one = known.Shape(in)
		}
		if i == 0 {
			shape = one
		} else {
			shape = shape.Or(one)
		}
	}
	return shape
}
