package sinks

import (
	"github.com/rowmill/rowmill/internal/several"
	"github.com/rowmill/rowmill/pipeline"
)

// Branch is one of several sinks, and which records go to it.
type Branch = several.Branch

// All is a sink that gives each record to every branch that it is for. One branch at
// least must have no When, so that no record goes nowhere in silence.
//
// A record is delivered when every sink that it went to has committed it. One that a
// sink refuses, or for which a When fails, is a dead letter that names the branch; the
// sinks that had taken it keep it, and a retry gives it to the others alone. What the sink
// promises is the weakest of what they do.
func All(branches ...Branch) (pipeline.Sink, error) { return several.All(branches...) }

// First is a sink that gives each record to the first branch that it is for, and else to
// the one without a When, of which there must be exactly one. See [All].
func First(branches ...Branch) (pipeline.Sink, error) { return several.First(branches...) }
