// Backoff asks a provider that refuses 20 % of the requests (429) and breaks down
// on 5 % (500), and still gets every answer. It stands for
//
//	@backoff.on_exception(backoff.expo, RateLimitError, max_tries=6)
//
// but a refusal costs no attempt: it waits as long as the provider asks, and so
// does everybody else. A failure is repeated after a random, growing wait. An error
// that no repetition mends (a wrong key, a spent quota) ends the run at once.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages/llm"
)

// Row is what goes in (the number) and what comes out (with the fact).
type Row struct {
	Number int    `json:"number"`
	Fact   string `json:"fact,omitempty"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "backoff:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	model, err := llm.New(llm.Config{
		Provider:  "simulator",
		Simulator: &llm.SimulatorOptions{Seed: 5, Faults: llm.SimulatorFaults{RateLimit: 0.20, Error500: 0.05}},
		Prompt:    "Tell me a fact about number {{.number}}.",
		Output:    "fact",
	}, pipeline.Env{})
	if err != nil {
		return err
	}
	rows := make([]Row, 40)
	for i := range rows {
		rows[i].Number = i + 1
	}
	summary, err := engine.Run(ctx, pipeline.Pipeline{
		Source: sources.Slice(rows),
		Steps: []pipeline.Step{{Stage: model, StepOptions: pipeline.StepOptions{
			Name:  "facts",
			Retry: pipeline.Retry{Attempts: 6, Backoff: 100 * time.Millisecond, MaxBackoff: 2 * time.Second},
		}}},
		Sink: sinks.Func(func(context.Context, []Row) error { return nil }),
	}, engine.Options{})
	if err != nil {
		return err
	}
	facts := summary.Stages[0]
	fmt.Printf("%d rows, %d delivered, %d dead letters\n", summary.Counts.Read, summary.Counts.Delivered, summary.Counts.DeadLettered)
	fmt.Printf("%d requests, %d refused, %d repeated after a failure\n", facts.Attempts, facts.Refusals, facts.Retries)
	return nil
}
