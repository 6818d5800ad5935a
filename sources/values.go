package sources

import (
	"context"
	_ "embed"
	"iter"
	"sync/atomic"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed values.go
var valuesCode string

// ValuesConfig is the configuration of the source "values".
type ValuesConfig struct {
	// Rows are the rows, written into the pipeline itself: mappings from field to
	// value. Anything else, such as a text, becomes a row with the one field "value".
	Rows []pipeline.Value `yaml:"rows" rowmill:"required"`
}

// Validate checks that there are rows.
func (c ValuesConfig) Validate() error {
	var problems pipeline.Problems
	if len(c.Rows) == 0 {
		problems.Addf("rows", "needs at least one row, such as {text: hello}")
	}
	return problems.Err()
}

// Values is the source "values": a few rows written into the pipeline. A run that goes on
// leaves out those that had ended.
type Values struct {
	rows []pipeline.Value
	read atomic.Int64
}

var (
	_ pipeline.Source = (*Values)(nil)
	_ pipeline.Meter  = (*Values)(nil)
	_ pipeline.Shaper = (*Values)(nil)
)

// NewValues makes a Values. The error is [pipeline.Problems].
func NewValues(c ValuesConfig, _ pipeline.Env) (*Values, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Values{rows: c.Rows}, nil
}

// ValuesSpec describes the source "values".
func ValuesSpec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "values",
		Summary: "reads rows that stand in the pipeline itself",
		Code:    valuesCode,
		Example: `values: {rows: [{question: "Why is the sky blue?"}, {question: "Who wrote Hamlet?"}]}`,
	}, func() ValuesConfig { return ValuesConfig{} },
		func(c ValuesConfig, env pipeline.Env) (pipeline.Source, error) { return asSource(NewValues(c, env)) })
}

// Records yields the rows.
func (s *Values) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		s.read.Store(0)
		for i, v := range s.rows {
			if ctx.Err() != nil {
				return
			}
			r := rowOf(v)
			r.Origin = pipeline.Origin{Line: int64(i) + 1, Offset: -1, Path: "values"}
			s.read.Add(1)
			if !yield(r, nil) {
				return
			}
		}
	}
}

// rowOf returns the row that a value stands for.
func rowOf(v pipeline.Value) *pipeline.Record {
	if v.Kind() == '{' {
		if r, err := pipeline.ParseRecord([]byte(v.JSON())); err == nil {
			return r
		}
	}
	return pipeline.NewRecord(pipeline.Field{Name: "value", Value: v})
}

// Progress returns how many rows were read, and how many there are.
func (s *Values) Progress() (done, total int64) { return s.read.Load(), int64(len(s.rows)) }

// Shape returns the fields of all rows.
func (s *Values) Shape(pipeline.Shape) pipeline.Shape {
	shape := pipeline.Shape{Closed: true}
	for _, v := range s.rows {
		for _, f := range rowOf(v).Fields() {
			if _, known := shape.Lookup(f.Name); !known {
				shape = shape.With(f.Name, pipeline.AnyType)
			}
		}
	}
	return shape
}
