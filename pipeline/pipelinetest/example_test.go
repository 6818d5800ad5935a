package pipelinetest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
)

// upper is somebody's stage: it writes the field "text" in capitals.
type upper struct{}

func (upper) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if text, ok := r.Lookup("text"); ok {
		r.Set("text", pipeline.Text(strings.ToUpper(text.Text())))
	}
	return []*pipeline.Record{r}, nil
}

// TestUpper is all it takes: each law is a subtest of it.
func TestUpper(t *testing.T) {
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New:  func(*testing.T) pipeline.Stage { return upper{} },
		Rows: []string{`{"text":"a","n":1}`, `{"text":"b"}`, `{"n":2}`},
		Want: []string{`{"text":"A","n":1}`, `{"text":"B"}`, `{"n":2}`},
	})
}

// TestWords holds a source to its laws.
func TestWords(t *testing.T) {
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New:  func(t *testing.T) pipeline.Source { return pipelinetest.Rows(t, []string{`{"n":1}`, `{"n":2}`}) },
		Want: []string{`{"n":1}`, `{"n":2}`},
	})
}

// TestMemory holds a sink to its laws.
func TestMemory(t *testing.T) {
	var last *pipelinetest.Memory
	pipelinetest.Sink(t, pipelinetest.SinkCase{
		New: func(*testing.T) pipeline.Sink {
			last = new(pipelinetest.Memory)
			return last
		},
		Rows: []string{`{"n":1}`, `{"n":2}`, `{"n":3}`},
		Read: func(*testing.T) []string { return last.Rows() },
	})
}

// The whole test of a stage: each law is a subtest. It is compiled here and not run, as an
// example has no testing.T; TestUpper runs it.
func ExampleStage() {
	TestUpper := func(t *testing.T) {
		pipelinetest.Stage(t, pipelinetest.StageCase{
			New:  func(*testing.T) pipeline.Stage { return upper{} },
			Rows: []string{`{"text":"a","n":1}`, `{"text":"b"}`},
			Want: []string{`{"text":"A","n":1}`, `{"text":"B"}`},
		})
	}
	_ = TestUpper
}
