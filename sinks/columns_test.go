package sinks_test

import (
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sinks"
)

// TestColumnsThatLackAField: every row would be paid for, and then be a dead letter.
func TestColumnsThatLackAField(t *testing.T) {
	t.Parallel()
	known := pipeline.Env{Shape: pipeline.Shape{}.With("id", pipeline.AnyType).With("answer", pipeline.StringType)}
	_, err := sinks.NewFile(sinks.FileConfig{Path: "out.csv", Columns: []string{"id"}}, known)
	if err == nil || !strings.Contains(err.Error(), `columns: lacks "answer"`) {
		t.Errorf("error %v", err)
	}
	if _, err := sinks.NewFile(sinks.FileConfig{Path: "out.csv", Columns: []string{"answer", "more", "id"}}, known); err != nil {
		t.Error(err)
	}
}
