// Ascompleted takes every answer as soon as it is there, like
//
//	for answer in asyncio.as_completed([ask(city) for city in cities]): ...
//
// Unordered lets rows overtake each other, and a sink that is a channel hands them
// to the program one by one. The model's latency varies widely here.
//
// ci: any order
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

// Place is what goes in (the city) and what comes out (with the season).
type Place struct {
	City   string `json:"city"`
	Season string `json:"season,omitempty"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "ascompleted:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	model, err := llm.New(llm.Config{
		Provider:  "simulator",
		Simulator: &llm.SimulatorOptions{Latency: pipeline.Duration(200 * time.Millisecond), LatencySpread: 1},
		Prompt:    "When should one see {{.city}}? Answer with one of: spring, summer, autumn, winter",
		Output:    "season",
	}, pipeline.Env{})
	if err != nil {
		return err
	}
	answers := make(chan Place)
	execution, err := engine.Start(ctx, pipeline.Pipeline{
		Source: sources.Slice([]Place{{City: "Lisbon"}, {City: "Kyoto"}, {City: "Cusco"}, {City: "Bergen"}, {City: "Hanoi"}, {City: "Tbilisi"}}),
		Steps:  []pipeline.Step{{Stage: model, StepOptions: pipeline.StepOptions{Name: "season", Unordered: true}}},
		Sink:   sinks.Channel(answers),
		Flush:  pipeline.Flush{Records: 1}, // on with each, do not gather more
	}, engine.Options{})
	if err != nil {
		return err
	}
	for place := range answers { // closed when the run ends
		fmt.Printf("%s in %s\n", place.City, place.Season)
	}
	_, err = execution.Wait()
	return err
}
