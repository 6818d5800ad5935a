package sources_test

import (
	"context"
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages"
)

// Order is what the program's messages are; the tags name the fields of the row.
type Order struct {
	ID    int    `json:"id"`
	Body  string `json:"body"`
	Offer func() `json:"-"` // no part of the row, and there again when the row is settled
}

func show(_ context.Context, batch []Order) error {
	for _, o := range batch {
		fmt.Println(o.ID, o.Body)
	}
	return nil
}

// Messages of a queue are acknowledged when their row has ended, and not before.
func ExampleOnSettle() {
	messages := make(chan Order)
	go func() {
		defer close(messages)
		messages <- Order{ID: 1, Body: "a chair"}
		messages <- Order{ID: 2, Body: ""}
	}()
	filled, err := stages.NewFilter(stages.FilterConfig{Where: `body != ""`}, pipeline.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	acknowledge := func(o Order, s pipeline.Settlement) {
		if s.Done() {
			fmt.Println("ack", o.ID, s.Ending)
		} else {
			fmt.Println("nack", o.ID)
		}
	}
	_, err = engine.Run(context.Background(), pipeline.Pipeline{
		Source: sources.Channel(messages, sources.OnSettle(acknowledge)),
		Steps:  []pipeline.Step{{Stage: filled}},
		Sink:   sinks.Discard{},
	}, engine.Options{})
	fmt.Println(err)
	// Unordered output:
	// ack 2 dropped
	// ack 1 delivered
	// <nil>
}

func ExampleChannel() {
	orders := make(chan Order)
	go func() {
		defer close(orders) // ends the input
		for i := range 3 {
			orders <- Order{ID: i, Body: "a chair"} // waits until the run has room
		}
	}()
	s, err := engine.Run(context.Background(), pipeline.Pipeline{Source: sources.Channel(orders), Sink: sinks.Func(show)}, engine.Options{})
	fmt.Println(s.Counts.Delivered, err)
	// Output:
	// 0 a chair
	// 1 a chair
	// 2 a chair
	// 3 <nil>
}

// An iterator is read as far as the run gets; an error that it yields ends the run.
func ExampleSeq() {
	pages := func(yield func(Order, error) bool) {
		if yield(Order{ID: 1, Body: "a table"}, nil) {
			yield(Order{}, fmt.Errorf("page 2: gone"))
		}
	}
	_, err := engine.Run(context.Background(), pipeline.Pipeline{Source: sources.Seq(pages), Sink: sinks.Func(show)}, engine.Options{})
	fmt.Println(err)
	// Output:
	// 1 a table
	// source: page 2: gone
}
