// Batches asks "Tell me a fact about number {i}" for a hundred numbers, ten at a
// time. The script that it replaces goes
//
//	for batch in batches(range(1, 101), 10):
//	    facts += await asyncio.gather(*[ask(i) for i in batch])
//
// and each batch is as slow as its slowest call. Here is no batch and no barrier:
// ten calls are in flight all the time, the answers come out in order all the
// same, and memory stays small whether there are a hundred numbers or a billion.
package main

import (
	"context"
	"fmt"
	"os"

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
		fmt.Fprintln(os.Stderr, "batches:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	facts, err := llm.New(llm.Config{Provider: "simulator", Prompt: "Tell me a fact about number {{.number}}.", Output: "fact"}, pipeline.Env{})
	if err != nil {
		return err
	}
	summary, err := engine.Run(ctx, pipeline.Pipeline{
		Name:   "number facts",
		Source: sources.Seq(numbers),
		Steps:  []pipeline.Step{{Stage: facts, StepOptions: pipeline.StepOptions{Name: "facts", Parallelism: 10}}},
		Sink:   sinks.Func(show),
	}, engine.Options{})
	if err != nil {
		return err
	}
	fmt.Printf("%d read, %d delivered\n", summary.Counts.Read, summary.Counts.Delivered)
	return nil
}

// numbers yields the rows, one after the other, as the pipeline asks for them.
func numbers(yield func(Row, error) bool) {
	for i := 1; i <= 100 && yield(Row{Number: i}, nil); i++ {
	}
}

// show gets the answers, many at a time.
func show(_ context.Context, rows []Row) error {
	for _, row := range rows {
		if row.Number <= 3 || row.Number == 100 {
			fmt.Printf("%3d  %s\n", row.Number, row.Fact)
		}
	}
	return nil
}
