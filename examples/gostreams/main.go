// Gostreams puts Rowmill and go-streams together, both ways: a model as a flow in
// a go-streams program, and an operator of go-streams in a pipeline of Rowmill.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/reugn/go-streams/extension"
	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages/llm"
)

// Review is what goes in (the text) and what comes out (with the mood).
type Review struct {
	Text string `json:"text"`
	Mood string `json:"mood,omitempty"`
}

func main() {
	ctx := context.Background()
	if err := errors.Join(inGoStreams(ctx), inRowmill(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, "gostreams:", err)
		os.Exit(1)
	}
}

func newModel() (*llm.Stage, error) {
	return llm.New(llm.Config{
		Provider: "simulator",
		Prompt:   "How does this sound? Answer with one of: happy, sad, angry\n\n{{.text}}",
		Output:   "mood",
	}, pipeline.Env{})
}

func reviews() []Review {
	return []Review{{Text: "  Boils quickly, pours well. "}, {Text: "The lid broke off after a month."}, {Text: " Nobody answers my mails!"}}
}

// inGoStreams is a go-streams program with a model in it.
func inGoStreams(ctx context.Context) (err error) {
	stage, err := newModel()
	if err != nil {
		return err
	}
	model, err := engine.Bind[Review, Review](stage, pipeline.StepOptions{Parallelism: 8})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()

	in, out := make(chan any), make(chan any)
	go func() {
		defer close(in)
		for _, r := range reviews() {
			in <- r
		}
	}()
	// go-streams has no place for errors, so that they come here.
	failed := func(err error) { fmt.Fprintln(os.Stderr, "gostreams:", err) }
	go extension.NewChanSource(in).
		Via(flow.NewMap(trim, 1)).
		Via(engine.NewFlow(ctx, model, failed)).
		To(extension.NewChanSink(out))
	for v := range out {
		r := v.(Review)
		fmt.Printf("go-streams: %s: %s\n", r.Mood, r.Text)
	}
	return nil
}

func trim(r Review) Review {
	r.Text = strings.TrimSpace(r.Text)
	return r
}

// inRowmill is a pipeline with an operator of go-streams in it. The operator is
// handed records and has to pass on each of them once and in order; the run fails
// if one gets lost.
func inRowmill(ctx context.Context) error {
	model, err := newModel()
	if err != nil {
		return err
	}
	_, err = engine.Run(ctx, pipeline.Pipeline{
		Source: sources.Slice(reviews()),
		Steps: []pipeline.Step{
			{Stage: engine.Foreign(flow.NewMap(trimRecord, 1)), StepOptions: pipeline.StepOptions{Name: "trim"}},
			{Stage: model, StepOptions: pipeline.StepOptions{Name: "mood"}},
		},
		Sink: sinks.Func(func(_ context.Context, batch []Review) error {
			for _, r := range batch {
				fmt.Printf("rowmill:    %s: %s\n", r.Mood, r.Text)
			}
			return nil
		}),
	}, engine.Options{})
	return err
}

func trimRecord(r *pipeline.Record) *pipeline.Record {
	if text, ok := r.Lookup("text"); ok {
		r.Set("text", pipeline.Text(strings.TrimSpace(text.Text())))
	}
	return r
}
