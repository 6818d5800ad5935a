package sources

import (
	"context"
	_ "embed"
	"iter"
	"math"
	"math/big"
	"sync/atomic"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed range.go
var rangeCode string

// RangeConfig is the configuration of the source "range".
type RangeConfig struct {
	// From is the first number. Defaults to 1.
	From int64 `yaml:"from"`
	// To is the last number; it is reached only if Step meets it. Required unless `count`
	// is given.
	To *int64 `yaml:"to"`
	// Count is how many numbers there are, in place of `to`. Defaults to as many as there
	// are up to `to`.
	Count *int64 `yaml:"count" rowmill:"min=1"`
	// Step is the distance from one number to the next; below 0 it counts down.
	// Defaults to 1.
	Step int64 `yaml:"step"`
	// Field is the name of the field that holds the number. Defaults to i.
	Field string `yaml:"field"`
}

// DefaultRange returns a config with every default in its place.
func DefaultRange() RangeConfig { return RangeConfig{From: 1, Step: 1, Field: "i"} }

// Validate checks that the numbers come to an end.
func (c RangeConfig) Validate() error {
	var problems pipeline.Problems
	switch {
	case c.To == nil && c.Count == nil:
		problems.Addf("", "either `to`, the last number, or `count` is required")
	case c.To != nil && c.Count != nil:
		problems.Addf("count", "`to` says how many there are; leave out one of them")
	case c.Step == 0:
		problems.Addf("step", "must not be 0: the numbers would not come to an end")
	case c.Count != nil:
		c.checkCount(&problems)
	case c.Step > 0 && *c.To < c.From, c.Step < 0 && *c.To > c.From:
		problems.Addf("to", "%d is never reached from %d in steps of %d", *c.To, c.From, c.Step)
	}
	if c.Field == "" {
		problems.Addf("field", "must not be empty")
	}
	return problems.Err()
}

func (c RangeConfig) checkCount(problems *pipeline.Problems) {
	if *c.Count < 1 {
		problems.Addf("count", "must be at least 1")
		return
	}
	last := new(big.Int).Mul(big.NewInt(*c.Count-1), big.NewInt(c.Step))
	if last.Add(last, big.NewInt(c.From)); !last.IsInt64() {
		problems.Addf("count", "the last number would be %v, which is too large", last)
	}
}

// rows is how many numbers a valid configuration means, less one: all there are
// are one too many for an uint64.
func (c RangeConfig) rows() uint64 {
	switch {
	case c.Count != nil:
		return uint64(*c.Count) - 1
	case c.Step < 0: // unsigned differences do not overflow
		return (uint64(c.From) - uint64(*c.To)) / -uint64(c.Step)
	default:
		return (uint64(*c.To) - uint64(c.From)) / uint64(c.Step)
	}
}

// Range is the source "range": a counter. A run that goes on counts from the start again
// and leaves out what had ended.
type Range struct {
	from, step int64
	last       uint64 // the index of the last row
	field      string
	read       atomic.Int64
}

var (
	_ pipeline.Source = (*Range)(nil)
	_ pipeline.Meter  = (*Range)(nil)
	_ pipeline.Shaper = (*Range)(nil)
)

// NewRange makes a Range. The error is [pipeline.Problems].
func NewRange(c RangeConfig, _ pipeline.Env) (*Range, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Range{from: c.From, step: c.Step, last: c.rows(), field: c.Field}, nil
}

// RangeSpec describes the source "range".
func RangeSpec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "range",
		Summary: "counts",
		Code:    rangeCode,
		Example: "range: {from: 1, to: 100, field: number}",
	}, DefaultRange,
		func(c RangeConfig, env pipeline.Env) (pipeline.Source, error) { return asSource(NewRange(c, env)) })
}

// Records yields a row for each number.
func (s *Range) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		s.read.Store(0)
		for i := uint64(0); i <= s.last && ctx.Err() == nil; i++ {
			v, err := pipeline.ValueOf(s.from + int64(i)*s.step)
			if err != nil {
				yield(nil, err)
				return
			}
			r := pipeline.NewRecord(pipeline.Field{Name: s.field, Value: v})
			r.Origin = pipeline.Origin{Path: "range", Line: int64(i) + 1, Offset: -1}
			s.read.Add(1)
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Progress returns how many numbers were read, and how many there are.
func (s *Range) Progress() (done, total int64) {
	return s.read.Load(), int64(min(s.last, math.MaxInt64-1)) + 1
}

// Shape returns the one field.
func (s *Range) Shape(pipeline.Shape) pipeline.Shape {
	return pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{{Name: s.field, Type: pipeline.NumberType}}}
}
