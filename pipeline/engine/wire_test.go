package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/reugn/go-streams/flow"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestNamesMayRepeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		same := func(r *pipeline.Record) *pipeline.Record { r.Set("seen", pipeline.RawJSON("true")); return r }
		foreign := pipeline.Step{Stage: engine.Foreign(flow.NewMap(same, 1)), StepOptions: pipeline.StepOptions{Name: "a"}}
		s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: numbers{rows: 1000}, Steps: []pipeline.Step{foreign, step("a", pass)}, Sink: sink}, engine.Options{})
		if err != nil || s.Counts.Delivered != 1000 {
			t.Fatalf("error %v, counts %+v", err, s.Counts)
		}
		for i, got := range sink.committed {
			if want := fmt.Sprintf(`{"n":%d,"seen":true}`, i); got != want {
				t.Fatalf("row %d is %s", i, got)
			}
		}
	})
}
