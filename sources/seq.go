package sources

import (
	"context"
	"iter"

	"github.com/rowmill/rowmill/pipeline"
)

// Seq is a source of a program's own values: what seq yields, as records (see
// [pipeline.Encode]); of a record a copy. An error that seq yields is the source's
// own: it ends the run. A value that cannot be encoded ends it too. Where seq can be
// ranged over once only, so can the source. A run that goes on reads all values again
// and leaves out those that had ended; the first ones must be the same then.
func Seq[T any](seq iter.Seq2[T, error]) pipeline.Source { return seqSource[T]{seq} }

type seqSource[T any] struct{ seq iter.Seq2[T, error] }

func (s seqSource[T]) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for v, err := range s.seq {
			if ctx.Err() != nil {
				return
			}
			var r *pipeline.Record
			if err == nil {
				r, err = encode(v)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// encode returns the record of a value. A record is taken as a copy: the run changes
// its own, and the program may read the same ones again.
func encode[T any](v T) (*pipeline.Record, error) {
	r, err := pipeline.Encode(v)
	if own, ok := any(v).(*pipeline.Record); ok && own != nil {
		r = own.Child()
	}
	if r != nil && r.Origin == (pipeline.Origin{}) {
		r.Origin.Offset = -1 // it stood nowhere
	}
	return r, err
}

// Slice is a source of the values of a slice.
func Slice[T any](values []T) pipeline.Source {
	return Seq(func(yield func(T, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
	})
}

// Channel is a source of the values that arrive on a channel; the input ends when
// the channel is closed. What is in the channel when the run stops stays there. What was
// received cannot be had again: a run can go on only if the program sends it all anew.
func Channel[T any](values <-chan T) pipeline.Source { return channelSource[T]{values} }

type channelSource[T any] struct{ values <-chan T }

func (s channelSource[T]) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case v, open := <-s.values:
				if !open {
					return
				}
				r, err := encode(v)
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}
