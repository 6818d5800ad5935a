package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/reugn/go-streams/extension"
	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages/llm"
)

// Review is what goes in, and comes out with a mood.
type Review struct {
	Text string `json:"text"`
	Mood string `json:"mood,omitempty"`
}

func reviews() []Review {
	return []Review{{Text: "It is great."}, {Text: "It broke after a day, I am disappointed."}}
}

// mood is a stage that asks a model; here a simulated one, which needs no key.
func mood() pipeline.Stage {
	stage, err := llm.New(llm.Config{
		Provider: "simulator",
		Prompt:   "How does this sound? Answer with one of: positive, negative\n\n{{.text}}",
		Output:   "mood",
	}, pipeline.Env{})
	if err != nil {
		panic(err)
	}
	return stage
}

// A pipeline built in Go: one's own structs in and out.
func ExampleRun() {
	summary, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: sources.Slice(reviews()),
		Steps:  []pipeline.Step{{Stage: mood(), StepOptions: pipeline.StepOptions{Name: "mood", Parallelism: 8}}},
		Sink: sinks.Func(func(_ context.Context, batch []Review) error {
			for _, r := range batch {
				fmt.Printf("%s: %s\n", r.Mood, r.Text)
			}
			return nil
		}),
	}, engine.Options{})
	fmt.Println(summary.Counts.Delivered, err)
	// Output:
	// positive: It is great.
	// negative: It broke after a day, I am disappointed.
	// 2 <nil>
}

// Start returns at once: the program can watch the run, and stop it.
func ExampleStart() {
	out := make(chan Review)
	e, err := engine.Start(context.Background(), pipeline.Pipeline{
		Source: sources.Slice(reviews()), Steps: []pipeline.Step{{Stage: mood()}}, Sink: sinks.Channel(out),
	}, engine.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for r := range out {
		fmt.Println(r.Mood)
	}
	s, err := e.Wait()
	fmt.Println(s.Counts.Read, "read,", s.Counts.Delivered, "delivered", err)
	// Output:
	// positive
	// negative
	// 2 read, 2 delivered <nil>
}

// A stage as a function, for a request handler: all callers share its connections,
// parallelism, retries and rate limits.
func ExampleBind() {
	model, err := engine.Bind[Review, Review](mood(), pipeline.StepOptions{Parallelism: 8})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = model.Close() }()
	r, err := model.Do(context.Background(), Review{Text: "It is great."})
	fmt.Println(r.Mood, err)
	// Output: positive <nil>
}

// Several values at once, the answers in their order.
func ExampleBound_Map() {
	model, err := engine.Bind[Review, Review](mood(), pipeline.StepOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = model.Close() }()
	in := make(chan Review)
	go func() {
		defer close(in)
		for _, r := range reviews() {
			in <- r
		}
	}()
	for r, err := range model.Map(context.Background(), in) {
		fmt.Println(r.Mood, err)
	}
	// Output:
	// positive <nil>
	// negative <nil>
}

// A stage of Rowmill's in somebody's go-streams program.
func ExampleNewFlow() {
	model, err := engine.Bind[Review, Review](mood(), pipeline.StepOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = model.Close() }()
	in, out := make(chan any), make(chan any)
	go func() {
		defer close(in)
		for _, r := range reviews() {
			in <- r.Text
		}
	}()
	failed := func(err error) { fmt.Println("failed:", err) }
	go extension.NewChanSource(in).
		Via(flow.NewMap(func(text string) Review { return Review{Text: text} }, 1)).
		Via(engine.NewFlow(context.Background(), model, failed)).
		To(extension.NewChanSink(out))
	for r := range out {
		fmt.Println(r.(Review).Mood)
	}
	// Output:
	// positive
	// negative
}

// A go-streams source, and its errors, which it can only log.
func ExampleForeignSource() {
	watch := engine.NewWatch(nil, slog.LevelWarn)
	lines := extension.NewFileSource("no/such/file.txt", extension.WithLogger(watch.Logger())).
		Via(flow.NewMap(func(line string) Review { return Review{Text: line} }, 1))
	acknowledge := func(r Review, s pipeline.Settlement) { fmt.Println(r.Text, s.Ending) }
	_, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: engine.ForeignSource(lines, acknowledge), Sink: sinks.Discard{},
	}, engine.Options{Watch: watch})
	fmt.Println(strings.Split(err.Error(), " error=")[0])
	// Output:
	// a connector has logged an error: Failed to open file name=no/such/file.txt
}

// An operator that passes on each record, once and in order: nothing is promised less.
func ExampleForeign() {
	trim := flow.NewMap(func(r *pipeline.Record) *pipeline.Record {
		text, _ := r.Lookup("text")
		r.Set("text", pipeline.Text(strings.ToLower(text.Text())))
		return r
	}, 1)
	s, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: sources.Slice(reviews()), Steps: []pipeline.Step{{Stage: engine.Foreign(trim)}}, Sink: printed(),
	}, engine.Options{})
	fmt.Println(s.Counts.Delivered, err)
	// Output:
	// it is great.
	// it broke after a day, i am disappointed.
	// 2 <nil>
}

// Any other operator, on one's own types. The summary says what is promised less.
func ExampleLoose() {
	short := flow.NewFilter(func(r Review) bool { return len(r.Text) < 20 }, 1)
	s, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: sources.Slice(reviews()),
		Steps:  []pipeline.Step{{Stage: engine.Loose[Review, Review](short), StepOptions: pipeline.StepOptions{Name: "short"}}},
		Sink:   printed(),
	}, engine.Options{})
	fmt.Println(s.Counts.Absorbed, "absorbed,", s.Counts.Delivered, "delivered", err)
	fmt.Println(s.Guarantees[0])
	// Output:
	// It is great.
	// 2 absorbed, 1 delivered <nil>
	// stage short is a go-streams operator: what goes in is absorbed, what comes out counts as read; no state is kept
}

// Records go to a go-streams sink, through a flow that makes texts of them.
func ExampleForeignSink() {
	out := make(chan any, 2) // of that size: both
	text := flow.NewMap(func(r Review) string { return r.Text }, 1)
	s, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: sources.Slice(reviews()), Sink: engine.ForeignSink[Review](extension.NewChanSink(out), text),
	}, engine.Options{})
	for t := range out {
		fmt.Println(t)
	}
	fmt.Println(s.Delivery, err)
	// Output:
	// It is great.
	// It broke after a day, I am disappointed.
	// not kept <nil>
}

// An error says of which class it is: try again later, or never.
func ExampleBound_Do() {
	busy := pipeline.StageFunc(func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
		return nil, pipeline.Transient("http_503", errors.New("come again"))
	})
	model, err := engine.Bind[Review, Review](busy, pipeline.StepOptions{Retry: pipeline.Retry{Attempts: 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = model.Close() }()
	_, err = model.Do(context.Background(), Review{})
	class, code := pipeline.Classify(err)
	fmt.Println(class, code)
	// Output: transient http_503
}

func printed() pipeline.Sink {
	return sinks.Func(func(_ context.Context, batch []Review) error {
		for _, r := range batch {
			fmt.Println(r.Text)
		}
		return nil
	})
}
