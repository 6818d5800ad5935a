package main

import (
	"encoding"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	of    []string
}

var _ pflag.Value = (*choice)(nil)

// Set takes one of the words.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("must be one of %s", strings.Join(c.of, ", "))
	}
	c.value = s
	return nil
}

// String returns the word.
func (c *choice) String() string { return c.value }

// Type returns what stands for the value in the help.
func (c *choice) Type() string { return strings.Join(c.of, "|") }

// addChoice adds a flag that takes one of the words, the first unless given.
func addChoice(cmd *cobra.Command, c *choice, name, usage string, of ...string) {
	*c = choice{value: of[0], of: of}
	cmd.Flags().Var(c, name, usage)
	must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(of, cobra.ShellCompDirectiveNoFileComp)))
}

// text is a flag whose value parses itself: a duration, a share, a secret.
type text struct {
	value interface {
		encoding.TextUnmarshaler
		fmt.Stringer
	}
	kind string
}

var _ pflag.Value = text{}

// Set parses the value.
func (t text) Set(s string) error { return t.value.UnmarshalText([]byte(s)) }

// String returns the value as it is written.
func (t text) String() string {
	if t.value == nil { // pflag asks the zero value too
		return ""
	}
	return t.value.String()
}

// Type returns what stands for the value in the help.
func (t text) Type() string { return t.kind }

// must is for errors that only a defect of the command itself can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// pipelineFiles completes the names of YAML files.
func pipelineFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
