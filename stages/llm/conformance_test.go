package llm_test

import (
	"testing"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages/llm"
)

func TestLLMConformance(t *testing.T) {
	t.Parallel()
	answer := func(question string) string {
		return string(pipeline.Text(simulator.Answer(7, "simulated",
			simulator.Message{Role: "system", Content: "Be brief."}, simulator.Message{Role: "user", Content: question})).AppendJSON(nil))
	}
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			t.Helper()
			s, err := llm.New(llm.Config{
				Provider: llm.ProviderSimulator, System: "Be brief.", Prompt: "{{.q}}", Output: "a",
				Simulator: &llm.SimulatorOptions{Seed: 7},
			}, pipeline.Env{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // a case may leave it open
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		},
		Workload: llm.Spec().Workload,
		Rows:     []string{`{"q":"Why is the sky blue?"}`, `{"q": 1e400,"id":1}`, `{"a":"old","q":"\u00e9"}`, `{"q":["x", null]}`},
		Want: []string{
			`{"q":"Why is the sky blue?","a":` + answer("Why is the sky blue?") + `}`,
			`{"q":1e400,"id":1,"a":` + answer("1e400") + `}`,
			`{"a":` + answer("é") + `,"q":"\u00e9"}`,
			`{"q":["x", null],"a":` + answer(`["x", null]`) + `}`,
		},
		Failing: []string{`{"p":"no question"}`},
	})
}
