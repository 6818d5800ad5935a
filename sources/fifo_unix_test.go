//go:build unix

package sources_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sources"
)

// TestAPipeIsReadOnce looks at a named pipe before the run: to open it would take
// its writer's rows.
func TestAPipeIsReadOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe.csv")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("no named pipes here:", err)
	}
	f := newFile(t, sources.FileConfig{Path: []string{path}}, pipeline.Env{})
	if err := f.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if s := f.Shape(pipeline.Shape{}); s.Closed {
		t.Error("the pipe was read for its header")
	}
	go func() {
		_ = os.WriteFile(path, []byte("a\n1\n"), 0o600) // waits for the reader
	}()
	if diff := cmp.Diff([]string{`{"a":"1"}`}, rows(t.Context(), f, "")); diff != "" {
		t.Error(diff)
	}
}
