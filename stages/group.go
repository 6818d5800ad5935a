package stages

import (
	"context"
	_ "embed"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed group.go
var groupCode string

// GroupConfig is the configuration of the stage "group".
type GroupConfig struct {
	// Size is how many records make a group, in the order of the source; the last group
	// may be smaller. Defaults to 10.
	Size int `yaml:"size" rowmill:"min=1"`
	// Wait is how long a group that was begun waits for more records at most; 0 waits
	// until it is full or the input ends. With any other value the groups depend on how
	// fast records come, so that a repeated run may form others. Defaults to 0s.
	Wait pipeline.Duration `yaml:"wait" rowmill:"min=0s"`
	// As is the field that holds the list of the records, each as it came; it is the
	// only field of a group. Defaults to items.
	As string `yaml:"as"`
}

// Validate checks the numbers.
func (c GroupConfig) Validate() error {
	var problems pipeline.Problems
	if c.Size < 1 {
		problems.Addf("size", "must be at least 1, not %d", c.Size)
	}
	if c.Wait < 0 {
		problems.Addf("wait", "must not be negative, it is %v", c.Wait)
	}
	if c.As == "" {
		problems.Addf("as", "needs the name of a field")
	}
	return problems.Err()
}

// Group is the stage "group": it makes one record of several. The stage "ungroup"
// takes them apart again. A group has the identity and the place of its first record.
type Group struct{ config GroupConfig }

var (
	_ pipeline.Sequential = (*Group)(nil)
	_ pipeline.Batcher    = (*Group)(nil)
	_ pipeline.Shaper     = (*Group)(nil)
)

// NewGroup makes a Group. The error is [pipeline.Problems].
func NewGroup(c GroupConfig, _ pipeline.Env) (*Group, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Group{config: c}, nil
}

// DefaultGroup returns a config with every default in its place.
func DefaultGroup() GroupConfig { return GroupConfig{Size: 10, As: "items"} }

// GroupSpec describes the stage "group".
func GroupSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "group",
		Summary:  "makes one record of several",
		Code:     groupCode,
		Workload: pipeline.Computes,
		Example:  `group: {size: 10, as: items}`,
	}, DefaultGroup,
		func(c GroupConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewGroup(c, env)) })
}

// Batch returns the size of a group and how long it waits.
func (g *Group) Batch() (size int, wait time.Duration) {
	return g.config.Size, time.Duration(g.config.Wait)
}

// ProcessBatch makes a group of the records; the first one becomes it.
func (g *Group) ProcessBatch(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	outcomes := make([]pipeline.Outcome, len(batch))
	if len(batch) == 0 {
		return outcomes
	}
	list := []byte{'['}
	for i, r := range batch {
		if i > 0 {
			list = append(list, ',')
		}
		list = r.AppendJSON(list)
		outcomes[i].Merged = i > 0
	}
	list = append(list, ']')
	batch[0].SetFields([]pipeline.Field{{Name: g.config.As, Value: pipeline.RawJSON(string(list))}})
	outcomes[0].Records = batch[:1:1]
	return outcomes
}

// Process makes a group of one record.
func (g *Group) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return g.ProcessBatch(ctx, []*pipeline.Record{r})[0].Records, nil
}

// Sequential marks a stage that depends on the order.
func (g *Group) Sequential() {}

// Shape returns the one field of a group.
func (g *Group) Shape(pipeline.Shape) pipeline.Shape {
	return pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{{Name: g.config.As}}}
}
