package stages

import (
	"context"
	_ "embed"
	"encoding/json"
	"io"

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
	last         pipeline.Ref // of those taken, the one that stands behind all others
	passed       taken        // those taken

	saves   bool // Save or Load was called: who never does must not pay for unsaved
	unsaved taken
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
	return &Limit{count: c.Count, passed: taken{}, unsaved: taken{}}, nil
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
// after that. One that was taken, when it is shown again, gets the same answer.
func (l *Limit) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if !l.passed.has(r.Ref) {
		if l.taken == l.count {
			return nil, pipeline.ErrEnough
		}
		l.take(r.Ref)
	}
	// Behind one that comes late, because it failed before it was here the first time,
	// those that were taken then are still to come.
	if l.taken == l.count && r.Ref == l.last {
		return []*pipeline.Record{r}, pipeline.ErrEnough
	}
	return []*pipeline.Record{r}, nil
}

func (l *Limit) take(ref pipeline.Ref) {
	if l.passed.add(ref) {
		l.last = ref
	}
	if l.saves {
		l.unsaved.add(ref)
	}
	l.taken++
}

// Save writes how many were taken, and which of them since the last time.
func (l *Limit) Save(w io.Writer) error {
	news := l.unsaved
	if !l.saves {
		news = l.passed
	}
	l.saves = true
	if len(news) == 0 {
		return nil
	}
	text, err := json.Marshal(limitState{l.taken, l.last, news})
	if err != nil {
		return err
	}
	if err := saveChunk(w, text); err != nil {
		return err
	}
	l.unsaved = taken{}
	return nil
}

// limitState is what a chunk of the saved state says.
type limitState struct {
	Taken int          `json:"taken"`
	Last  pipeline.Ref `json:"last"`
	Which taken        `json:"which"`
}

// Load takes in what was saved.
func (l *Limit) Load(r io.Reader) error {
	l.saves = true
	return loadChunks(r, func(text []byte) error {
		var s limitState
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		l.taken, l.last = s.Taken, s.Last
		l.passed.merge(s.Which)
		return nil
	})
}

// Sequential marks a stage that depends on the order.
func (l *Limit) Sequential() {}

// Shape returns in: the records stay as they are.
func (l *Limit) Shape(in pipeline.Shape) pipeline.Shape { return in }
