package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build says which program this is.
type build struct {
	version, revision string
	modified          bool
}

// version reads what the Go tool wrote into the program.
func version() build {
	b := build{version: "(devel)"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			b.modified = s.Value == "true"
		}
	}
	return b
}

// String is "rowmill v1.2.3 (3f5a7c9e1b2d, modified) go1.26.0 linux/amd64".
func (b build) String() string {
	from := b.revision
	if b.modified {
		from += ", modified"
	}
	if from != "" {
		from = " (" + from + ")"
	}
	return fmt.Sprintf("rowmill %s%s %s %s/%s", b.version, from, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			return a.print(version().String() + "\n")
		},
	}
}
