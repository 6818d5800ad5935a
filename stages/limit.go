package stages

import (
	"context"
	_ "embed"
	"errors"
	"io"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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
	saved        int          // how many were taken at the last Save
}

var (
	_ pipeline.Stateful = (*Limit)(nil)
	_ pipeline.Shaper   = (*Limit)(nil)
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
// after that. The records come in order: one that is not behind the last one taken is
// shown again, and was taken.
func (l *Limit) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	place := 1
	if l.taken > 0 {
		place = r.Ref.Compare(l.last)
	}
	if l.taken == l.count && place > 0 {
		return nil, pipeline.ErrEnough
	}
	if place > 0 {
		l.taken++
		l.last = r.Ref
		place = 0
	}
	if l.taken == l.count && place == 0 {
		return []*pipeline.Record{r}, pipeline.ErrEnough
	}
	return []*pipeline.Record{r}, nil
}

// limitState is what is saved, a line each time: the last one counts.
type limitState struct {
	Taken int          `json:"taken"`
	Last  pipeline.Ref `json:"last"`
}

// Save writes how many were taken, and the last of them.
func (l *Limit) Save(w io.Writer) error {
	if l.saved == l.taken {
		return nil
	}
	if err := json.MarshalWrite(w, limitState{l.taken, l.last}); err != nil {
		return err
	}
	l.saved = l.taken
	_, err := io.WriteString(w, "\n")
	return err
}

// Load takes in how many were taken.
func (l *Limit) Load(r io.Reader) error {
	d := jsontext.NewDecoder(r)
	for {
		var s limitState
		switch err := json.UnmarshalDecode(d, &s); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		l.taken, l.saved, l.last = s.Taken, s.Taken, s.Last
	}
}

// Sequential marks a stage that depends on the order.
func (l *Limit) Sequential() {}

// Shape returns in: the records stay as they are.
func (l *Limit) Shape(in pipeline.Shape) pipeline.Shape { return in }
