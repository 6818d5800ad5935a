package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/pipeline"
)

// TestSyncEvery: what is said on the command line reaches the journal, and 0 is not taken
// for nothing said.
func TestSyncEvery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flags []string
		want  time.Duration // negative: every answer is durable before it is used
		err   string
	}{
		{"by default", nil, 50 * time.Millisecond, ""},
		{"longer", []string{"--sync-every", "2s"}, 2 * time.Second, ""},
		{"every answer", []string{"--sync-every", "0"}, -1, ""},
		{"nonsense", []string{"--sync-every", "-1s"}, 0, "--sync-every -1s: must be 0s or more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var f runFlags
			cmd := &cobra.Command{Use: "run"}
			f.add(cmd, "")
			if err := cmd.ParseFlags(c.flags); err != nil {
				t.Fatal(err)
			}
			if err := f.check(); err != nil || c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || c.err == "" {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if got := f.options(pipeline.Pipeline{State: "off"}, nil).SyncEvery; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
