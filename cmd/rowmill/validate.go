package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
	"github.com/rowmill/rowmill/pipeline/policy"
)

func (a *app) validateCommand() *cobra.Command {
	var f sourceFlags
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Find every mistake in pipelines",
		Long: `Load the pipelines without running them, and print every mistake with its place.
A pipeline without mistakes is shown as the engine would run it. What a run would
refuse, this refuses; the exit code is 2 then.`,
		Example: `  rowmill validate pipelines/*.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("validate needs the FILE of a pipeline, or several")
			}
			return nil
		},
		ValidArgsFunction: pipelineFiles,
		RunE: func(_ *cobra.Command, files []string) error {
			wrong := false
			for _, file := range files {
				p, err := a.load(file, f)
				if err != nil {
					complain(a.stderr, err)
					wrong = true
					continue
				}
				if err := a.print(file + ": ok\n" + outline(p)); err != nil {
					return err
				}
			}
			if wrong {
				return &exitError{code: exitUsage}
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) load(file string, f sourceFlags) (pipeline.Pipeline, error) {
	options, err := a.loadOptions(file, f, newLogger(a.stderr, slog.LevelInfo), a.stderr)
	if err != nil {
		return pipeline.Pipeline{}, err
	}
	return load.File(file, options)
}

// outline shows a pipeline from source to sink, a line each.
func outline(p pipeline.Pipeline) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	line := func(name string, parts ...string) {
		say(w, "  %s\t%s\n", printable(name), printable(strings.Join(parts, ", ")))
	}
	source := []string{p.SourceName}
	if g := engine.GuaranteeOf(p.Source); g != "" {
		source = append(source, g)
	}
	if p.Key != "" {
		source = append(source, "key "+p.Key)
	}
	line("source", source...)
	for i, s := range p.Steps {
		line(s.Name, stepTraits(p.Steps[i:])...)
	}
	outlineSink(p, line)
	if why := engine.NoState(p); why != "" {
		line("state", why)
	}
	if p.DeadLetterName != "" {
		line("dead letters", p.DeadLetterName)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// outlineSink shows the sink, or each of several and what it promises.
func outlineSink(p pipeline.Pipeline, line func(name string, parts ...string)) {
	if several, ok := p.Sink.(pipeline.Router); ok {
		for _, use := range several.Uses() {
			line("sink", use.Name, string(use.Delivery))
		}
		return
	}
	sink := []string{p.SinkName}
	if g := engine.GuaranteeOf(p.Sink); g != "" {
		sink = append(sink, g)
	}
	line("sink", sink...)
}

// stepTraits says how the engine runs the first of these stages.
func stepTraits(steps []pipeline.Step) []string {
	s := steps[0]
	if g := engine.GuaranteeOf(s.Stage); g != "" {
		return []string{g}
	}
	if _, turner := s.Stage.(pipeline.Turner); turner {
		s.Workload = pipeline.Waits
	}
	o := policy.Defaults(s.StepOptions, s.Workload)
	var traits []string
	if s.Component != s.Name && s.Component != "" {
		traits = append(traits, s.Component)
	}
	if _, collects := s.Stage.(pipeline.Collector); collects {
		return append(traits, "puts all rows together before the next stage begins")
	}
	if _, one := s.Stage.(pipeline.Sequential); one {
		return append(traits, "one record at a time, in order")
	}
	traits = append(traits, fmt.Sprintf("parallelism %d", o.Parallelism), order(steps))
	if o.OnError != pipeline.DeadLetters {
		traits = append(traits, "on error "+string(o.OnError))
	}
	if s.When != nil {
		traits = append(traits, "not for every record")
	}
	return traits
}

func order(steps []pipeline.Step) string {
	if !steps[0].Unordered {
		return "ordered"
	}
	for _, s := range steps {
		if engine.NeedsOrder(s.Stage) {
			return "ordered, as " + s.Name + " needs it"
		}
	}
	return "unordered"
}
