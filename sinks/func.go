package sinks

import (
	"context"
	"errors"

	"github.com/rowmill/rowmill/internal/handover"
	"github.com/rowmill/rowmill/pipeline"
)

// Func is a sink that hands each batch to a function of the program's, as values
// of its own type (see [pipeline.Decode]); one call at a time, in order. What the
// function has returned nil for is delivered; an error of the class
// pipeline.ClassTransient has the batch handed over again, any other ends the
// run; a [pipeline.BatchError] refuses single values for good. A record that is no T
// is a dead letter; a T that no record can be (a number, a list) ends the run. T may be *pipeline.Record. After a kill, values of the time since the
// last checkpoint are handed over again: [pipeline.AtLeastOnce].
func Func[T any](f func(ctx context.Context, batch []T) error) pipeline.Sink { return &funcSink[T]{f} }

type funcSink[T any] struct {
	f func(context.Context, []T) error
}

func (s *funcSink[T]) Write(ctx context.Context, batch []*pipeline.Record) error {
	if err := pipeline.CheckType[T](); err != nil {
		return err
	}
	values := make([]T, 0, len(batch))
	places := make([]int, 0, len(batch)) // of the values in the batch
	refused := map[int]error{}
	for i, r := range batch {
		v, err := decode[T](r)
		if err != nil {
			refused[i] = err
			continue
		}
		values, places = append(values, v), append(places, i)
	}
	if len(values) > 0 {
		err := s.f(ctx, values)
		var named *pipeline.BatchError
		if err != nil && !errors.As(err, &named) {
			return err
		}
		if named != nil {
			for i, err := range named.Refused {
				if 0 <= i && i < len(places) {
					refused[places[i]] = err
				}
			}
		}
	}
	if len(refused) > 0 {
		return &pipeline.BatchError{Refused: refused}
	}
	return nil
}

// decode returns the value of a record. A record itself is given as a copy: the
// engine goes on with its own.
func decode[T any](r *pipeline.Record) (T, error) {
	v, err := pipeline.Decode[T](r)
	if own, ok := any(&v).(**pipeline.Record); ok {
		*own = r.Child()
	}
	return v, err
}

func (*funcSink[T]) Commit(context.Context) (pipeline.Position, error) { return "", nil }
func (*funcSink[T]) Close(context.Context) error                       { return nil }

// Channel is a sink that sends each record to a channel, as a value of the
// program's own type. A record is delivered once it was received, or is in the
// channel's buffer, and no other is, whenever the run is stopped. The channel is
// closed when the run ends, however it ends; the Summary says how. A record that is no T is a dead letter. T may be
// *pipeline.Record.
func Channel[T any](values chan<- T) pipeline.Sink { return &channelSink[T]{values: values} }

type channelSink[T any] struct {
	values chan<- T
	closed bool
}

func (s *channelSink[T]) Write(ctx context.Context, batch []*pipeline.Record) error {
	if err := pipeline.CheckType[T](); err != nil {
		return err
	}
	return handover.Write(ctx, batch, decode[T], s.values)
}

// Delivery is not kept: what went to the channel cannot be had again.
func (*channelSink[T]) Delivery() pipeline.Delivery { return pipeline.NotKept }

func (*channelSink[T]) Commit(context.Context) (pipeline.Position, error) { return "", nil }

func (s *channelSink[T]) Close(context.Context) error {
	if !s.closed {
		s.closed = true
		close(s.values)
	}
	return nil
}
