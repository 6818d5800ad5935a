package sources

import (
	"context"
	"iter"

	"github.com/rowmill/rowmill/pipeline"
)

// Option changes a source of a program's own values.
type Option[T any] func(*values[T])

// OnSettle has f told, once for each value, what became of its row, so that the program
// can acknowledge its own message: f gets the value as it was sent, fields that are no
// part of the row (`json:"-"`, unexported ones) included. When and from where it is called
// says [pipeline.Record.OnSettle].
func OnSettle[T any](f func(T, pipeline.Settlement)) Option[T] {
	return func(s *values[T]) { s.settle = f }
}

// Seq is a source of a program's own values: what seq yields, as records (see
// [pipeline.Encode]); of a record a copy. An error that seq yields is the source's
// own: it ends the run. A value that cannot be encoded (a NaN, say) is a dead letter. Where
// seq can be ranged over once only, so can the source. A run that goes on reads all values
// again and leaves out those that had ended; the first ones must be the same then.
func Seq[T any](seq iter.Seq2[T, error], options ...Option[T]) pipeline.Source {
	return newValues(func(context.Context) iter.Seq2[T, error] { return seq }, options)
}

// Slice is a source of the values of a slice.
func Slice[T any](values []T, options ...Option[T]) pipeline.Source {
	return Seq(func(yield func(T, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
	}, options...)
}

// Channel is a source of the values that arrive on a channel; the input ends when
// the channel is closed. One value at a time is received, when the run has room for it, so
// that whoever sends waits for the run. When the run stops nothing more is received: what
// is in the channel stays there, and whoever sends must not wait for this run any
// more. What was received cannot be had again: a run can go on only if the program
// sends it all anew, as with [OnSettle] it knows what to send.
func Channel[T any](values <-chan T, options ...Option[T]) pipeline.Source {
	return newValues(func(ctx context.Context) iter.Seq2[T, error] { return received(ctx, values) }, options)
}

// received yields what arrives on a channel, until it is closed or ctx is done.
func received[T any](ctx context.Context, values <-chan T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for ctx.Err() == nil { // first: a select chooses at random
			select {
			case <-ctx.Done():
			case v, open := <-values:
				if !open || !yield(v, nil) {
					return
				}
			}
		}
	}
}

// values is a source of values of type T.
type values[T any] struct {
	from   func(context.Context) iter.Seq2[T, error]
	settle func(T, pipeline.Settlement)
}

func newValues[T any](from func(context.Context) iter.Seq2[T, error], options []Option[T]) pipeline.Source {
	s := &values[T]{from: from}
	for _, o := range options {
		o(s)
	}
	return s
}

// Records yields the values as records.
func (s *values[T]) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		if err := pipeline.CheckType[T](); err != nil {
			yield(nil, err)
			return
		}
		for v, err := range s.from(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			r, err := pipeline.EncodeRow(v)
			if s.settle != nil {
				r.OnSettle(func(how pipeline.Settlement) { s.settle(v, how) })
			}
			// A value that was received is yielded also when the run is stopped meanwhile: it
			// is told then that it is unfinished.
			if !yield(r, err) || ctx.Err() != nil {
				return
			}
		}
	}
}
