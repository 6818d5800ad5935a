package sinks

import (
	"context"
	_ "embed"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed discard.go
var discardCode string

// DiscardConfig is the configuration of the sink "discard": it has no keys.
type DiscardConfig struct{}

// Discard is the sink "discard": it keeps nothing. It is for trials, where the
// summary is all that is wanted.
type Discard struct{}

var (
	_ pipeline.Sink      = Discard{}
	_ pipeline.Orderless = Discard{}
	_ pipeline.Deliverer = Discard{}
)

// DiscardSpec describes the sink "discard".
func DiscardSpec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "discard",
		Summary: "keeps nothing, for trials",
		Code:    discardCode,
		Example: "discard: {}",
	}, func() DiscardConfig { return DiscardConfig{} },
		func(DiscardConfig, pipeline.Env) (pipeline.Sink, error) { return Discard{}, nil })
}

// Write forgets the batch.
func (Discard) Write(context.Context, []*pipeline.Record) error { return nil }

// Commit has nothing to do.
func (Discard) Commit(context.Context) (pipeline.Position, error) { return "", nil }

// Close has nothing to do.
func (Discard) Close(context.Context) error { return nil }

// Delivery is [pipeline.NotKept]: nothing is there that a second run could go on with.
func (Discard) Delivery() pipeline.Delivery { return pipeline.NotKept }

// Orderless says that the order means nothing here.
func (Discard) Orderless() {}
