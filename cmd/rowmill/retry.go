package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// retry is what the command retry has beside the flags of run.
type retry struct {
	class choice
	again engine.Retry
}

func (a *app) retryCommand() *cobra.Command {
	f := runFlags{retry: &retry{}}
	cmd := &cobra.Command{
		Use:   "retry FILE",
		Short: "Run the dead letters of a pipeline again",
		Long: `Run the dead letters of a finished run again, and only those.

Each record enters the stage in which it failed, as it came there. What succeeds goes
to the same output, behind the rows that are there, and leaves the dead letters; what
fails again stays one, with the new reason. The pipeline may have been mended meanwhile:
a prompt, a model, a limit. Rows that could not be read stay dead letters.

A retry that ends early goes on when it is run again, like a run.

` + exitHelp,
		Example: `  rowmill retry triage.yaml
  rowmill retry triage.yaml --class transient
  rowmill retry triage.yaml --set stages.label.max_tokens=2000`,
		Args:              oneFile,
		ValidArgsFunction: pipelineFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runFile(cmd.Context(), args[0], f)
		},
	}
	f.add(cmd, "the `folder` of the run's state, if it is not .rowmill/<name>")
	addChoice(cmd, &f.retry.class, "class", "the class of the errors whose records are taken", "all", "record", "transient")
	return cmd
}

// load loads the pipeline once more, with another place for what fails again.
func (r *retry) load(path string, options load.Options, p pipeline.Pipeline) (pipeline.Pipeline, error) {
	r.again.DeadLetters = p.DeadLetterName
	ext := filepath.Ext(r.again.DeadLetters)
	if !strings.HasSuffix(r.again.DeadLetters, ".jsonl") {
		return p, fmt.Errorf("the dead letters of %s are no file of JSON lines (%s): only such can be run again", path, p.DeadLetterName)
	}
	r.again.Again = strings.TrimSuffix(r.again.DeadLetters, ext) + ".retry" + ext
	if r.class.value != "all" {
		r.again.Class = r.class.value
	}
	options.Set = append(append([]string(nil), options.Set...), "dead_letter.file.path="+r.again.Again)
	again, err := load.File(path, options)
	again.DeadLetterName = r.again.DeadLetters
	return again, err
}

// start starts the run, or the retry.
func (a *app) start(ctx context.Context, p pipeline.Pipeline, f runFlags, o engine.Options) (*engine.Execution, error) {
	if f.retry == nil {
		return engine.Start(ctx, p, o)
	}
	return engine.StartRetry(ctx, p, o, f.retry.again)
}
