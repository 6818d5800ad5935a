// Gather asks three things at once and waits for all answers, like
//
//	answers = await asyncio.gather(*[ask(p) for p in prompts])
//
// A stage that is bound to Go types is a function: call it from as many goroutines
// as you like. Retries, rate limits and parallelism are the stage's, shared by all
// callers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/stages/llm"
)

// Question is what a prompt is made of; the names are those of the template.
type Question struct {
	Prompt string `json:"prompt"`
}

// Answer is what is read of the row that comes back.
type Answer struct {
	Answer string `json:"answer"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "gather:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	stage, err := llm.New(llm.Config{Provider: "simulator", Prompt: "{{.prompt}}"}, pipeline.Env{})
	if err != nil {
		return err
	}
	model, err := engine.Bind[Question, Answer](stage, pipeline.StepOptions{Parallelism: 3})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()

	prompts := []string{"Write a haiku about the sea.", "Explain recursion to a six-year-old.", "Name a bakery in a lighthouse."}
	answers, errs := make([]Answer, len(prompts)), make([]error, len(prompts))
	var all sync.WaitGroup
	for i, p := range prompts {
		all.Go(func() { answers[i], errs[i] = model.Do(ctx, Question{p}) })
	}
	all.Wait()
	for i, p := range prompts {
		fmt.Printf("%s\n  %s\n", p, answers[i].Answer)
	}
	return errors.Join(errs...)
}
