// Semaphore asks about a hundred numbers, never more than five at once, like
//
//	limit = asyncio.Semaphore(5)
//	async def ask(i):
//	    async with limit: ...
//
// The parallelism of a bound stage is the semaphore. Map feeds it from a channel
// and is an iterator over the answers, in the order of the questions.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/stages/llm"
)

// Row is what goes in (the number) and what comes out (with the fact).
type Row struct {
	Number int    `json:"number"`
	Fact   string `json:"fact,omitempty"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "semaphore:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	stage, err := llm.New(llm.Config{Provider: "simulator", Prompt: "Tell me a fact about number {{.number}}.", Output: "fact"}, pipeline.Env{})
	if err != nil {
		return err
	}
	model, err := engine.Bind[Row, Row](stage, pipeline.StepOptions{Parallelism: 5})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()

	ctx, cancel := context.WithCancel(ctx) // ends feed, however the loop ends
	defer cancel()
	for row, err := range model.Map(ctx, feed(ctx)) {
		if err != nil {
			return err // or note it and go on: it is this row's alone
		}
		if row.Number%20 == 0 {
			fmt.Printf("%3d  %s\n", row.Number, row.Fact)
		}
	}
	fmt.Println(model.Stats().Calls, "calls")
	return nil
}

func feed(ctx context.Context) <-chan Row {
	rows := make(chan Row)
	go func() {
		defer close(rows)
		for i := 1; i <= 100; i++ {
			select {
			case rows <- Row{Number: i}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return rows
}
