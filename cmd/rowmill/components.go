package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/load"
)

func (a *app) componentsCommand() *cobra.Command {
	var format choice
	cmd := &cobra.Command{
		Use:   "components [NAME]",
		Short: "Show what pipelines are made of: every component and its keys",
		Long: `Without a NAME, list the components. With one, show its keys: their types, defaults
and meaning, and an example. Where a source and a sink share a name, sink/NAME is
the sink. The names pipeline, source, stage and sink are for the keys of the engine:
at the top of the file, and beside each component.`,
		Example: `  rowmill components
  rowmill components llm
  rowmill components source/file
  rowmill components stage
  rowmill components --format markdown`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeComponents,
		RunE: func(_ *cobra.Command, args []string) error {
			page, err := reference(strings.Join(args, ""), format.value)
			if err != nil {
				return err
			}
			return a.print(page)
		},
	}
	addChoice(cmd, &format, "format", "the form; markdown is one page with everything", "text", "markdown")
	return cmd
}

func reference(name, format string) (string, error) {
	registry, err := builtin.Registry()
	switch {
	case err != nil:
		return "", err
	case format == "text":
		return referenceText(registry, name)
	case name == "":
		return load.ReferenceMarkdown(registry)
	default:
		return "", errors.New("--format markdown makes one page of all components; leave the NAME out")
	}
}

// referenceText is the reference of NAME or KIND/NAME.
func referenceText(registry *pipeline.Registry, name string) (string, error) {
	kind, rest, qualified := strings.Cut(name, "/")
	if !qualified {
		return load.ReferenceText(registry, name)
	}
	if !slices.Contains(componentKinds(), pipeline.Kind(kind)) {
		return "", fmt.Errorf("%q: a component is a source, a stage or a sink, like sink/file", name)
	}
	spec, ok := registry.Lookup(pipeline.Kind(kind), rest)
	if !ok {
		_, err := load.Reference(registry, pipeline.Kind(kind), rest) // says which there are
		return "", err
	}
	var one pipeline.Registry
	if err := one.Register(spec); err != nil {
		return "", err
	}
	return load.ReferenceText(&one, rest)
}

func componentKinds() []pipeline.Kind {
	return []pipeline.Kind{pipeline.KindSource, pipeline.KindStage, pipeline.KindSink}
}

// completeComponents completes the names of components, with their kind where
// several kinds have one of that name.
func completeComponents(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	registry, err := builtin.Registry()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	seen := map[string]int{"pipeline": 1, "source": 1, "stage": 1, "sink": 1}
	names := []string{"pipeline", "source", "stage", "sink"}
	for _, kind := range componentKinds() {
		for _, name := range registry.Names(kind) {
			if seen[name]++; seen[name] == 1 {
				names = append(names, name)
			}
		}
	}
	for _, kind := range componentKinds() {
		for _, name := range registry.Names(kind) {
			if seen[name] > 1 {
				names = append(names, string(kind)+"/"+name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of pipelines, for editors",
		Long: `Print the JSON Schema of a pipeline's YAML, with which an editor completes keys and
explains them. It knows keys, types and bounds; "rowmill validate" knows the rest.`,
		Example: `  rowmill schema > rowmill.schema.json
  # then, in the first line of a pipeline:
  # yaml-language-server: $schema=rowmill.schema.json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			registry, err := builtin.Registry()
			if err != nil {
				return err
			}
			schema, err := load.Schema(registry)
			if err != nil {
				return err
			}
			return a.print(string(schema) + "\n")
		},
	}
}
