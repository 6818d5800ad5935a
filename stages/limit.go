package stages

import (
	"context"
	_ "embed"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed limit.go
var limitCode string

// LimitConfig is the configuration of the stage "limit".
type LimitConfig struct {
	// Count is how many records go on: the first ones, in the order of the source. Then
	// the source is asked to stop; what was read beyond that is dropped.
	Count int `yaml:"count" rowmill:"required,min=1"`
}

// Validate checks the number.
func (c LimitConfig) Validate() error {
	var problems pipeline.Problems
	if c.Count < 1 {
		problems.Addf("count", "must be at least 1, not %d", c.Count)
	}
	return problems.Err()
}

// Limit is the stage "limit": it lets the first records through.
type Limit struct {
	count, taken int
	last         pipeline.Ref // of the last record taken
}

var (
	_ pipeline.Sequential = (*Limit)(nil)
	_ pipeline.Shaper     = (*Limit)(nil)
)

// NewLimit makes a Limit. The error is [pipeline.Problems].
func NewLimit(c LimitConfig, _ pipeline.Env) (*Limit, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Limit{count: c.Count}, nil
}

// LimitSpec describes the stage "limit".
func LimitSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "limit",
		Summary:  "lets the first records through and ends the run",
		Code:     limitCode,
		Workload: pipeline.Computes,
		Example:  `limit: {count: 100}`,
	}, func() LimitConfig { return LimitConfig{} },
		func(c LimitConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewLimit(c, env)) })
}

// Process returns r, with [pipeline.ErrEnough] beside the last one, and alone
// after that. The last record taken, when it is shown again, gets the same answer.
func (l *Limit) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	again := l.taken > 0 && r.Ref == l.last
	if l.taken == l.count && !again {
		return nil, pipeline.ErrEnough
	}
	if !again {
		l.taken++
		l.last = r.Ref
	}
	if l.taken == l.count {
		return []*pipeline.Record{r}, pipeline.ErrEnough
	}
	return []*pipeline.Record{r}, nil
}

// Sequential marks a stage that depends on the order.
func (l *Limit) Sequential() {}

// Shape returns in: the records stay as they are.
func (l *Limit) Shape(in pipeline.Shape) pipeline.Shape { return in }
