package stages

import (
	"context"
	_ "embed"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed filter.go
var filterCode string

// FilterConfig is the configuration of the stage "filter".
type FilterConfig struct {
	// Where is the expression that says which records go on: those for which it is
	// true. The others are dropped and counted as that. A record for which it is
	// neither true nor false, or cannot be computed (it lacks a field that is compared),
	// is a dead letter: write `has("score") && score > 3` or `(score ?? 0) > 3` where
	// that is to be expected.
	Where string `yaml:"where" rowmill:"required,expr"`
}

// Validate checks that there is a condition.
func (c FilterConfig) Validate() error {
	var problems pipeline.Problems
	if c.Where == "" {
		problems.Addf("where", `needs an expression, such as score > 3`)
	}
	return problems.Err()
}

// Filter is the stage "filter": it lets some records through, as they are.
type Filter struct{ where *lang.Expression }

var (
	_ pipeline.Stage  = (*Filter)(nil)
	_ pipeline.Shaper = (*Filter)(nil)
)

// NewFilter makes a Filter. The error is [pipeline.Problems].
func NewFilter(c FilterConfig, env pipeline.Env) (*Filter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	f := &Filter{where: compile("where", c.Where, env.Shape, &problems)}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// FilterSpec describes the stage "filter".
func FilterSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "filter",
		Summary:  "lets only some records through",
		Code:     filterCode,
		Workload: pipeline.Computes,
		Example:  `filter: {where: 'score > 3 && channel == "email"'}`,
	}, func() FilterConfig { return FilterConfig{} },
		func(c FilterConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewFilter(c, env)) })
}

// Process returns r if the condition holds for it.
func (f *Filter) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	yes, err := f.where.Bool(r)
	if err != nil {
		return nil, at("where", err)
	}
	if !yes {
		return nil, nil
	}
	return []*pipeline.Record{r}, nil
}

// Shape returns in: the records stay as they are.
func (f *Filter) Shape(in pipeline.Shape) pipeline.Shape { return in }
