package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// reading is a stage that reads a file of which it says what it holds.
type reading struct {
	pipeline.Stage
	holds string
	err   error
}

func (r reading) Fingerprint(context.Context) (map[string]string, error) {
	return map[string]string{"file prices.csv": r.holds}, r.err
}

// TestAStageThatReadsAnotherFileIsAnotherPipeline: what a stage reads is compared with
// what it read when the run began.
func TestAStageThatReadsAnotherFileIsAnotherPipeline(t *testing.T) {
	t.Parallel()
	same := pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		return []*pipeline.Record{r}, nil
	})
	w := &world{rows: 5, dir: t.TempDir()}
	run := func(holds string, err error, fresh bool) error {
		p := pipeline.Pipeline{
			Fingerprint: map[string]string{"a": "b"},
			Source:      &rowsOf{w: w}, Sink: &paperSink{&w.paper},
			Steps: []pipeline.Step{{Stage: reading{same, holds, err}, StepOptions: pipeline.StepOptions{Name: "lookup"}}},
		}
		_, failed := engine.Run(t.Context(), p, engine.Options{State: w.dir, Fresh: fresh})
		return failed
	}
	unreadable := errors.New("no such file")
	for i, c := range []struct {
		holds string
		err   error
		fresh bool
		says  string
	}{
		{"1", nil, false, ""},
		{"1", nil, false, ""},
		{"2", nil, false, "changed: file prices.csv of stage lookup"},
		{"1", unreadable, false, "stage lookup: no such file"},
		{"1", unreadable, true, "stage lookup: no such file"},
		{"2", nil, true, ""},
		{"2", nil, false, ""},
		{"1", nil, false, "changed: file prices.csv"},
	} {
		switch err := run(c.holds, c.err, c.fresh); {
		case c.says == "" && err != nil:
			t.Errorf("run %d: %v", i, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("run %d: got %v, want an error that says %q", i, err, c.says)
		}
	}
}
