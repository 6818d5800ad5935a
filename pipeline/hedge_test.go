package pipeline_test

import (
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

func TestLateness(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pipeline.Lateness{
		"p95": {Percentile: 95}, "p99.9": {Percentile: 99.9}, "2s": {After: 2 * time.Second},
	} {
		var got pipeline.Lateness
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%q: got %+v (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "p", "p0", "p100", "pNaN", "95", "-2s", "0s", "soon"} {
		if err := new(pipeline.Lateness).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}
