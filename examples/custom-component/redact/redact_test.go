package redact_test

import (
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"

	"example.com/custom-component/redact"
)

// TestConformance holds the stage to the laws that every stage keeps.
func TestConformance(t *testing.T) {
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			s, err := redact.New(redact.Config{Field: "body", With: "[redacted]"}, pipeline.Env{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Rows: []string{`{"body":"Write to anna@example.com.","n":1}`, `{"body":"No address."}`, `{"n":3}`},
		Want: []string{`{"body":"Write to [redacted].","n":1}`, `{"body":"No address."}`, `{"n":3}`},
	})
}

// TestAFieldThatNoRowHas is a mistake in the YAML.
func TestAFieldThatNoRowHas(t *testing.T) {
	shape := pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{{Name: "body"}}}
	if _, err := redact.New(redact.Config{Field: "bodi"}, pipeline.Env{Shape: shape}); err == nil {
		t.Error("it was accepted")
	}
}
