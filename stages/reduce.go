package stages

import (
	"context"
	_ "embed"

	"github.com/rowmill/rowmill/internal/grouped"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed reduce.go
var reduceCode string

// ReduceConfig is the configuration of the stage "reduce": of all records with the same
// values it makes one row. The rows come once the input has ended, in the order of their
// values: null, booleans, numbers, texts. What does not fit into memory (32 MiB of groups) is
// kept on disk until then: in the folder of the run's state, or a temporary one.
type ReduceConfig struct {
	Aggregates
}

// DefaultReduce returns a config with every default in its place.
func DefaultReduce() ReduceConfig { return ReduceConfig{Aggregates: aggregatesDefaults()} }

// reduceMemory bounds the groups that are held in memory.
const reduceMemory = 32 << 20

// Validate checks that there is something to say of a group.
func (c ReduceConfig) Validate() error {
	var problems pipeline.Problems
	c.validate(&problems)
	return problems.Err()
}

// Reduce is the stage "reduce": it makes one row of all records with the same values.
type Reduce struct {
	aggregates aggregates
	collection *grouped.Collection
}

var (
	_ pipeline.Collector = (*Reduce)(nil)
	_ pipeline.Shaper    = (*Reduce)(nil)
)

// NewReduce makes a Reduce. The error is [pipeline.Problems].
func NewReduce(c ReduceConfig, env pipeline.Env) (*Reduce, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	s := &Reduce{aggregates: compileAggregates(c.Aggregates, env.Shape, &problems)}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	s.collection = grouped.New(grouped.Options{Plan: s.aggregates.plan, Memory: reduceMemory})
	return s, nil
}

// ReduceSpec describes the stage "reduce".
func ReduceSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "reduce",
		Summary:  "makes one row of all records with the same values: counts, sums, lists",
		Code:     reduceCode,
		MoreCode: []string{aggregatesCode},
		Workload: pipeline.Computes,
		Example: `reduce:
  by: [label]
  count: tickets
  mean: {score: score}
  list: {bodies: body}
  at_most: 20`,
	}, DefaultReduce,
		func(c ReduceConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewReduce(c, env)) })
}

// Process leaves of r what goes into its group.
func (s *Reduce) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	by, values, err := s.aggregates.row(r)
	if err != nil {
		return nil, err
	}
	plan := s.aggregates.plan
	fields := make([]pipeline.Field, 0, len(by)+len(values))
	for i, name := range plan.By {
		fields = append(fields, pipeline.Field{Name: name, Value: by[i]})
	}
	for i, column := range plan.Columns {
		fields = append(fields, pipeline.Field{Name: column.Name, Value: values[i]})
	}
	r.SetFields(fields)
	return []*pipeline.Record{r}, nil
}

// Collection is where the groups are.
func (s *Reduce) Collection() pipeline.Collection { return s.collection }

// Shape returns the fields of a group.
func (s *Reduce) Shape(in pipeline.Shape) pipeline.Shape { return s.aggregates.shape(in) }
