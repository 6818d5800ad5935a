package sinks_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
)

// City is a row.
type City struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

func cities() pipeline.Source {
	return sources.Slice([]City{{"Lisbon", 545}, {"Kyoto", 1464}, {"", 0}})
}

// A function that stores a batch may refuse single rows, which become dead letters.
func ExampleFunc() {
	store := func(_ context.Context, batch []City) error {
		refused := map[int]error{}
		for i, c := range batch {
			if c.Name == "" {
				refused[i] = errors.New("a city needs a name")
				continue
			}
			fmt.Println(c.Name, c.Size)
		}
		if len(refused) > 0 {
			return &pipeline.BatchError{Refused: refused}
		}
		return nil
	}
	s, err := engine.Run(context.Background(), pipeline.Pipeline{Source: cities(), Sink: sinks.Func(store)}, engine.Options{})
	fmt.Println(s.Counts.Delivered, "delivered,", s.Counts.DeadLettered, "failed:", s.Reasons[0].Message, err)
	// Output:
	// Lisbon 545
	// Kyoto 1464
	// 2 delivered, 1 failed: a city needs a name <nil>
}

// The channel is closed when the run ends, however it ends.
func ExampleChannel() {
	out := make(chan City)
	e, err := engine.Start(context.Background(), pipeline.Pipeline{Source: cities(), Sink: sinks.Channel(out)}, engine.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for c := range out {
		fmt.Printf("%q\n", c.Name)
	}
	s, err := e.Wait()
	fmt.Println(s.Counts.Delivered, err)
	// Output:
	// "Lisbon"
	// "Kyoto"
	// ""
	// 3 <nil>
}
