package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/pipeline/load"
)

// The exit codes; those of signals are in signals.go.
const (
	exitOK     = 0 // every row delivered, or left out on purpose
	exitFailed = 1 // the run failed
	exitUsage  = 2 // usage, configuration, preflight: nothing was written
	exitLosses = 3 // finished, but rows were dead-lettered, or dropped by on_error
)

const exitHelp = `Exit codes:
  0        every row was delivered, or left out on purpose
  1        the run failed
  2        usage, configuration or preflight: nothing was written, nothing paid
  3        finished, but rows became dead letters or were dropped by on_error
  130/143  stopped by SIGINT/SIGTERM; what was finished is written`

// app is the command.
type app struct{ host }

// exitError ends the command with a code. What there was to say may have been said
// already: then err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// run executes a command line and returns the exit code.
func run(ctx context.Context, h host) int {
	a := &app{host: h}
	root := a.root()
	root.SetArgs(h.args)
	root.SetIn(h.stdin)
	root.SetOut(h.stdout)
	root.SetErr(h.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			complain(h.stderr, exit.err)
		}
		return exit.code
	default: // cobra's own errors are all about the usage
		complain(h.stderr, err)
		say(h.stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rowmill",
		Short: "Run a model over every row of a dataset",
		Long: `Rowmill runs a model over every row of a dataset: a pipeline in a YAML file says
where the rows come from, what is done with each, and where they go.

` + exitHelp,
		Example: `  rowmill run pipelines/quickstart.yaml
  rowmill validate pipelines/*.yaml
  rowmill components llm`,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version().String(),
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(a.runCommand(), a.retryCommand(), a.validateCommand(), a.componentsCommand(), a.schemaCommand(), a.simulateCommand(), a.cacheCommand(), a.versionCommand())
	return root
}

// noArguments names a command that does not exist, with those that are near.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("there is no command %q; did you mean %q?", args[0], near[0])
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// say writes to standard error. Nothing can be done where that is gone, and the
// work goes on.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// print writes what was asked for to standard output.
func (a *app) print(text string) error {
	if _, err := io.WriteString(a.stdout, text); err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

// complain says what is wrong, each mistake on a line of its own.
func complain(w io.Writer, err error) {
	var mistakes load.Mistakes
	if !errors.As(err, &mistakes) {
		for line := range strings.Lines(err.Error()) {
			say(w, "rowmill: %s\n", printable(line))
		}
		return
	}
	for _, m := range mistakes {
		say(w, "rowmill: %s\n", printable(m.Error()))
	}
	if len(mistakes) > 1 {
		say(w, "rowmill: %d mistakes\n", len(mistakes))
	}
}
