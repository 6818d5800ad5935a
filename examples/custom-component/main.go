// Custom-component is a program in a module of its own that loads a pipeline from YAML in
// which, beside components of Rowmill's, one of its own may stand: redact. It registers
// those components alone that its pipelines may name, and depends on no others; all that
// come with Rowmill are in package builtin.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages/llm"

	"example.com/custom-component/redact"
)

//go:embed pipeline.yaml
var pipelineYAML []byte

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "custom-component:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	registry := new(pipeline.Registry)
	if err := registry.Register(sources.ValuesSpec(), redact.Spec(), llm.Spec(), sinks.FileSpec()); err != nil {
		return err
	}
	// What a mistake in the YAML is, the loader knows for this component as well.
	p, err := load.Bytes("pipeline.yaml", pipelineYAML, load.Options{
		Registry: registry,
		Env:      pipeline.Env{Getenv: os.Getenv, Stdout: os.Stdout}, // what a path of "-" is
	})
	if err != nil {
		return err
	}
	summary, err := engine.Run(ctx, p, engine.Options{Preflight: true})
	if err != nil {
		return err
	}
	if dead := summary.Counts.DeadLettered; dead > 0 {
		return fmt.Errorf("%d rows failed; they are in %s", dead, summary.DeadLetters)
	}
	return nil
}
