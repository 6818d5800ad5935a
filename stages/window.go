package stages

import (
	"context"
	_ "embed"
	"maps"
	"slices"
	"time"

	"github.com/rowmill/rowmill/internal/aggregate"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed window.go
var windowCode string

// WindowConfig is the configuration of the stage "window": it parts the records, in the order
// of the source, in windows that follow each other, and makes one row of each. It is for
// sources that do not end; for one that does reduce makes the groups of all records.
type WindowConfig struct {
	// Rows is how many records a window has at the most; the last one may have fewer. They
	// are held in memory until it ends. Defaults to 1000.
	Rows int `yaml:"rows" rowmill:"min=1,max=100000"`
	// Every ends a window so long after its first record came, however many there are. The
	// time is that of the machine: it depends on how fast records come which window they are
	// in. A run that goes on forms the windows again that were begun. Defaults to 0s: until
	// there are rows, or the input ends.
	Every pipeline.Duration `yaml:"every" rowmill:"min=0s"`
	// As is the field with the list of the groups, if `by` parts a window in some: a row
	// for each, in the order of their values. The stage ungroup with that field makes records
	// of them. Defaults to groups.
	As string `yaml:"as"`
	Aggregates
}

// mostWindow bounds the records that a window holds.
const mostWindow = 100_000

// Validate checks the numbers, and that there is something to say of a window.
func (c WindowConfig) Validate() error {
	var problems pipeline.Problems
	if c.Rows < 1 || c.Rows > mostWindow {
		problems.Addf("rows", "must be from 1 to %d, not %d: they are held in memory", mostWindow, c.Rows)
	}
	if c.Every < 0 {
		problems.Addf("every", "must not be negative, it is %v", c.Every)
	}
	if c.As == "" {
		problems.Addf("as", "needs the name of a field")
	}
	c.validate(&problems)
	return problems.Err()
}

// Window is the stage "window": it makes one row of the records that come in some time. The
// row has the identity and the place of the first of them.
type Window struct {
	config     WindowConfig
	aggregates aggregates
}

var (
	_ pipeline.Sequential = (*Window)(nil)
	_ pipeline.Batcher    = (*Window)(nil)
	_ pipeline.Shaper     = (*Window)(nil)
)

// NewWindow makes a Window. The error is [pipeline.Problems].
func NewWindow(c WindowConfig, env pipeline.Env) (*Window, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	w := &Window{config: c, aggregates: compileAggregates(c.Aggregates, env.Shape, &problems)}
	return w, problems.Err()
}

// DefaultWindow returns a config with every default in its place.
func DefaultWindow() WindowConfig {
	return WindowConfig{Rows: 1000, As: "groups", Aggregates: aggregatesDefaults()}
}

// WindowSpec describes the stage "window".
func WindowSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "window",
		Summary:  "makes one row of the records that come one after the other: so many, or for so long",
		Code:     windowCode,
		MoreCode: []string{aggregatesCode},
		Workload: pipeline.Computes,
		Example: `window:
  rows: 10000
  every: 1m
  count: requests
  mean: {seconds: seconds}`,
	}, DefaultWindow,
		func(c WindowConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewWindow(c, env)) })
}

// Batch returns how many records a window has, and how long it waits for them.
func (w *Window) Batch() (size int, wait time.Duration) {
	return w.config.Rows, time.Duration(w.config.Every)
}

// ProcessBatch makes a row of a window; its first record that is none of the failed ones
// becomes it.
func (w *Window) ProcessBatch(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	outcomes := make([]pipeline.Outcome, len(batch))
	groups := map[string]*aggregate.Group{}
	host := -1
	for i, r := range batch {
		if outcomes[i].Err = w.add(groups, r); outcomes[i].Err != nil {
			continue
		}
		if outcomes[i].Merged = host >= 0; host < 0 {
			host = i
		}
	}
	if host >= 0 {
		batch[host].SetFields(w.fields(groups))
		outcomes[host].Records = batch[host : host+1 : host+1]
	}
	return outcomes
}

// add adds a record to its group.
func (w *Window) add(groups map[string]*aggregate.Group, r *pipeline.Record) error {
	by, values, err := w.aggregates.row(r)
	if err != nil {
		return err
	}
	key, err := w.aggregates.plan.Key(nil, by)
	if err != nil {
		return err
	}
	g := groups[string(key)]
	if g == nil {
		g = w.aggregates.plan.Begin(by)
		groups[string(key)] = g
	}
	w.aggregates.plan.Add(g, values)
	return nil
}

// fields is the row of a window: that of its one group, or the list of them.
func (w *Window) fields(groups map[string]*aggregate.Group) []pipeline.Field {
	plan := w.aggregates.plan
	list := []byte{'['}
	for i, key := range slices.Sorted(maps.Keys(groups)) {
		row := plan.Fields(groups[key])
		if len(plan.By) == 0 {
			return row
		}
		if i > 0 {
			list = append(list, ',')
		}
		list = pipeline.NewRecord(row...).AppendJSON(list)
	}
	return []pipeline.Field{{Name: w.config.As, Value: pipeline.RawJSON(string(append(list, ']')))}}
}

// Process makes a window of one record.
func (w *Window) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	o := w.ProcessBatch(ctx, []*pipeline.Record{r})[0]
	return o.Records, o.Err
}

// Sequential marks a stage that depends on the order.
func (w *Window) Sequential() {}

// Shape returns the fields of a window.
func (w *Window) Shape(in pipeline.Shape) pipeline.Shape {
	if len(w.config.By) == 0 {
		return w.aggregates.shape(in)
	}
	return pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{{Name: w.config.As}}}
}
