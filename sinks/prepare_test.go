package sinks_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sinks"
)

// TestPrepare: an output that may never be opened is neither overwritten nor left
// with rows of an earlier run.
func TestPrepare(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	f, err := sinks.NewFile(sinks.FileConfig{Path: path}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Prepare(t.Context(), false); err != nil {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Prepare(t.Context(), false); err == nil || !strings.Contains(err.Error(), "already has rows; --fresh overwrites it") {
		t.Errorf("error %v, want a refusal", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the refused file is gone: %v", err)
	}
	if err := f.Prepare(t.Context(), true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("with fresh the file is still there (%v)", err)
	}
}
