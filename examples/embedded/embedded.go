// Package embedded is a module of its own that embeds Rowmill, as a user's would:
// it imports what it needs, and gets neither the command line nor YAML with it.
package embedded

import (
	"context"
	"fmt"
	"iter"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages"
	"github.com/rowmill/rowmill/stages/llm"
)

// Ticket is a support ticket; Team is what the model says.
type Ticket struct {
	ID   int    `json:"id"`
	Body string `json:"body"`
	Team string `json:"team,omitempty"`
}

// Sort asks a model for the team of each ticket that has a text, and hands the
// tickets to done, in order and many at a time. It returns how the run ended.
func Sort(ctx context.Context, model llm.Config, tickets iter.Seq2[Ticket, error], done func(context.Context, []Ticket) error) (engine.Summary, error) {
	written, err := stages.NewFilter(stages.FilterConfig{Where: `trim(body) != ""`}, pipeline.Env{})
	if err != nil {
		return engine.Summary{}, fmt.Errorf("filter: %w", err)
	}
	model.Prompt = "Who takes care of this? Answer with one of: delivery, billing, product\n\n{{.body}}"
	model.Output = "team"
	team, err := llm.New(model, pipeline.Env{})
	if err != nil {
		return engine.Summary{}, fmt.Errorf("llm: %w", err)
	}
	return engine.Run(ctx, pipeline.Pipeline{
		Name:   "tickets",
		Source: sources.Seq(tickets),
		Key:    "id",
		Steps: []pipeline.Step{
			{Stage: written, StepOptions: pipeline.StepOptions{Name: "written"}},
			{Stage: team, StepOptions: pipeline.StepOptions{Name: "team", Parallelism: 8}},
		},
		Sink: sinks.Func(done),
	}, engine.Options{Preflight: true})
}
