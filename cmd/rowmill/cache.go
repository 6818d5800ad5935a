package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/internal/cache"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at the answers that were kept, or remove some",
		Long: `A stage with cache: true keeps its answers in .rowmill/cache.db of the working
directory, with cache: PATH in another file. They stay until they are pruned.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.cacheStatsCommand(), a.cachePruneCommand())
	return cmd
}

func (a *app) cacheStatsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "stats [FILE]",
		Short:   "Say how many answers there are, how large they are, and from when",
		Example: "  rowmill cache stats",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := cachePath(args)
			stats, err := cacheStats(path)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			return a.print(cacheTable(path, stats))
		},
	}
}

func (a *app) cachePruneCommand() *cobra.Command {
	var olderThan age
	maxSize := pipeline.Size(-1)
	cmd := &cobra.Command{
		Use:   "prune [FILE]",
		Short: "Remove answers that are old, or too many",
		Long: `Remove the answers that are older than --older-than, and then the oldest ones until
the rest takes no more than --max-size, and give their room back. No run may have the
file open meanwhile.`,
		Example: `  rowmill cache prune --older-than 30d
  rowmill cache prune --max-size 1GiB`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bounds := cache.Bounds{Bytes: int64(maxSize)}
			if flags := cmd.Flags(); flags.Changed("older-than") {
				bounds.Since = time.Now().Add(-time.Duration(olderThan))
			} else if !flags.Changed("max-size") {
				return fmt.Errorf("say what to remove: --older-than 30d, --max-size 1GiB, or both")
			}
			path := cachePath(args)
			before, after, err := cache.Prune(path, bounds)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			return a.print(fmt.Sprintf("removed %s of %s answers\n", humanize.Comma(before.Values-after.Values), humanize.Comma(before.Values)) +
				cacheTable(path, after))
		},
	}
	cmd.Flags().Var(text{&olderThan, "age"}, "older-than", "remove answers that are older, like 30d or 12h")
	cmd.Flags().Var(text{unset{&maxSize}, "size"}, "max-size", "remove the oldest answers until the rest is no larger, like 1GiB")
	return cmd
}

// cachePath is the file that is named, or that of cache: true.
func cachePath(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return llm.DefaultCache
}

func cacheStats(path string) (cache.Stats, error) {
	file, err := cache.OpenExisting(path, true)
	if err != nil {
		return cache.Stats{}, err
	}
	stats, err := file.Stats()
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return stats, err
}

// cacheTable says what is in a cache.
func cacheTable(path string, s cache.Stats) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	size := func(n int64) string {
		return humanize.IBytes(uint64(n)) + " (" + humanize.Comma(n) + " bytes)"
	}
	say(w, "file\t%s\n", printable(path))
	say(w, "answers\t%s\n", humanize.Comma(s.Values))
	say(w, "size\t%s\n", size(s.Bytes))
	say(w, "on disk\t%s\n", size(s.FileBytes))
	if s.Values > 0 {
		say(w, "oldest\t%s\n", s.Oldest.Format(time.DateTime))
		say(w, "newest\t%s\n", s.Newest.Format(time.DateTime))
	}
	_ = w.Flush() // into memory
	return b.String()
}

// unset is a size that is not shown as a default.
type unset struct{ *pipeline.Size }

// String is empty while there is no size.
func (u unset) String() string {
	if u.Size == nil || *u.Size < 0 {
		return ""
	}
	return u.Size.String()
}

// age is a duration that may be written in days: "30d".
type age time.Duration

// UnmarshalText parses days, or a duration like "12h".
func (g *age) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		const most = 100 * 365
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= most) {
			return fmt.Errorf("%q is not an age; write it like 30d or 12h", text)
		}
		*g = age(n * 24 * float64(time.Hour))
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not an age; write it like 30d or 12h", text)
	}
	*g = age(d)
	return nil
}

// String returns the age as a duration; none is empty.
func (g *age) String() string {
	if *g == 0 {
		return ""
	}
	return time.Duration(*g).String()
}
