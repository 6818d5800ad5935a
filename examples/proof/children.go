package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages/llm"
)

// The roles of the processes that this program starts of itself.
const (
	roleProvider = "provider"
	roleScript   = "script"
	roleRowmill  = "rowmill"
)

// play does in a child what it was told to.
func play(ctx context.Context, role string) error {
	var j job
	if len(os.Args) != 2 {
		return errors.New("want one argument, the job")
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &j); err != nil {
		return err
	}
	switch role {
	case roleProvider:
		return provide(j.conditions)
	case roleScript:
		return script(ctx, j)
	case roleRowmill:
		return mill(ctx, j)
	default:
		return fmt.Errorf("there is no role %q", role)
	}
}

// provide is the provider, like `rowmill simulate`, until its standard input ends.
func provide(c conditions) error {
	s := simulator.New(simulator.Options{
		Latency: pipeline.Duration(c.Latency), LatencySpread: 0.5, RequestsPerMinute: 60 * c.PerSecond,
		RetryAfter: pipeline.Duration(100 * time.Millisecond),
		Faults:     simulator.Faults{RateLimit: 0.05, Hang: 0.01},
	})
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(url)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

// mill is the job with Rowmill: the second time it goes on where the first was killed.
func mill(ctx context.Context, j job) error {
	source, err := sources.NewFile(sources.FileConfig{Path: []string{j.Input}}, pipeline.Env{})
	if err != nil {
		return err
	}
	ask, err := llm.New(llm.Config{Model: "simulated", BaseURL: j.URL, Prompt: question + "{{.body}}"}, pipeline.Env{})
	if err != nil {
		return err
	}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: j.Output}, pipeline.Env{})
	if err != nil {
		return err
	}
	s, err := engine.Run(ctx, pipeline.Pipeline{
		Source: source, Sink: sink,
		Steps: []pipeline.Step{{
			Stage: ask, Costs: true, // its answers go to the journal
			StepOptions: pipeline.StepOptions{
				Name: "ask", Parallelism: j.Parallelism, Timeout: j.Timeout,
				Unordered: true, // as with the script: in order, a row that hangs holds up the others
			},
		}},
	}, engine.Options{State: j.State})
	if err == nil && s.Counts.Delivered != s.Counts.Read {
		err = fmt.Errorf("%d of %d rows were delivered: %v", s.Counts.Delivered, s.Counts.Read, s.Reasons)
	}
	return err
}
