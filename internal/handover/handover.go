// Package handover is how a sink passes its records on to a channel.
package handover

import (
	"context"

	"github.com/rowmill/rowmill/pipeline"
)

// Write sends the value of each record of a batch, in order, until ctx is done. Its error is a
// [pipeline.BatchError] of the records that have no value and of those that were not sent,
// unless none was: what was received is delivered, and nothing else is.
func Write[T any](ctx context.Context, batch []*pipeline.Record, value func(*pipeline.Record) (T, error), to chan<- T) error {
	refused := map[int]error{}
	for i, r := range batch {
		v, err := value(r)
		if err != nil {
			refused[i] = err
			continue
		}
		select {
		case to <- v:
		case <-ctx.Done():
			if i == 0 {
				return ctx.Err()
			}
			for j := range batch[i:] {
				refused[i+j] = ctx.Err()
			}
			return &pipeline.BatchError{Refused: refused}
		}
	}
	if len(refused) > 0 {
		return &pipeline.BatchError{Refused: refused}
	}
	return nil
}
