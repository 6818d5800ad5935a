package policy

import (
	"testing"
	"time"
)

// TestWhatARefusalTells: one that something known explains finds no limit, with a pace also
// one of too many in flight, which whoever makes one request at a time never is.
func TestWhatARefusalTells(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		finder func() finder
		finds  map[verdict]bool
	}{
		"pace": {func() finder { return &pace{} }, map[verdict]bool{letIn: false, explained: false, crowded: false, unexplained: true}},
		"gap":  {func() finder { return &gap{} }, map[verdict]bool{letIn: false, explained: false, crowded: true, unexplained: true}},
	} {
		for v, want := range c.finds {
			f, now := c.finder(), time.Unix(1, 0)
			for range 64 {
				now = now.Add(time.Millisecond)
				f.settle(f.take(now), now, v, now)
			}
			if f.holds() != want {
				t.Errorf("%s, verdict %d: it holds requests up: %t, want %t", name, v, f.holds(), want)
			}
		}
	}
}
