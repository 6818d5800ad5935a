package stages

import (
	"context"
	_ "embed"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed sample.go
var sampleCode string

// SampleConfig is the configuration of the stage "sample".
type SampleConfig struct {
	// Rate is the share of the records that go on: above 0% and up to 100%. Each one is
	// decided by its place in the source and the seed alone, so that the same rows are
	// taken every time and at any parallelism, and about that share of them.
	Rate pipeline.Share `yaml:"rate" rowmill:"required"`
	// Seed makes another choice of rows. Two samples in one pipeline need different
	// ones: of the rows that a 50% sample takes, another 50% with the same seed takes
	// all. Defaults to 1.
	Seed int64 `yaml:"seed"`
}

// Validate checks the share.
func (c SampleConfig) Validate() error {
	var problems pipeline.Problems
	if !(c.Rate > 0 && c.Rate <= 1) {
		problems.Addf("rate", "must be above 0%% and at most 100%%, not %v", c.Rate)
	}
	return problems.Err()
}

// Sample is the stage "sample": it lets a random share of the records through.
type Sample struct{ config SampleConfig }

var (
	_ pipeline.Stage  = (*Sample)(nil)
	_ pipeline.Shaper = (*Sample)(nil)
)

// NewSample makes a Sample. The error is [pipeline.Problems].
func NewSample(c SampleConfig, _ pipeline.Env) (*Sample, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Sample{config: c}, nil
}

// DefaultSample returns a config with every default in its place.
func DefaultSample() SampleConfig { return SampleConfig{Seed: 1} }

// SampleSpec describes the stage "sample".
func SampleSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "sample",
		Summary:  "lets a random share of the records through, the same every time",
		Code:     sampleCode,
		Workload: pipeline.Computes,
		Example:  `sample: {rate: 10%, seed: 1}`,
	}, DefaultSample,
		func(c SampleConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewSample(c, env)) })
}

// Process returns r if it is in the sample.
func (s *Sample) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if float64(s.hash(r.Ref)>>11)/(1<<53) >= float64(s.config.Rate) {
		return nil, nil
	}
	return []*pipeline.Record{r}, nil
}

// hash mixes the seed with what identifies a record. It must never change: a run
// that is repeated takes the same rows.
func (s *Sample) hash(ref pipeline.Ref) uint64 {
	h := mix(uint64(s.config.Seed))
	h = mix(h ^ uint64(ref.Source))
	h = mix(h ^ ref.Seq)
	for i := range len(ref.Path) {
		h = mix(h ^ uint64(ref.Path[i]))
	}
	return h
}

// mix is one step of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Shape returns in: the records stay as they are.
func (s *Sample) Shape(in pipeline.Shape) pipeline.Shape { return in }
