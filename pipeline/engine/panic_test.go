package engine_test

import (
	"context"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

type panics struct{ memory }

func (*panics) Start(context.Context, bool) error { panic("start") }

type panicsOnClose struct{ numbers }

func (panicsOnClose) Close() error { panic("close") }

type panicsWhen struct{}

func (panicsWhen) Bool(*pipeline.Record) (bool, error) { panic("when") }

func TestPanics(t *testing.T) {
	t.Parallel()
	when := step("a", pass)
	when.When = panicsWhen{}
	for _, tc := range []struct {
		name string
		p    pipeline.Pipeline
		want string // in the error
		dead int64
	}{
		{"when", pipeline.Pipeline{Source: numbers{rows: 10}, Sink: &memory{}, Steps: []pipeline.Step{when}}, "", 10},
		{"start of the sink", pipeline.Pipeline{Source: numbers{rows: 10}, Sink: &panics{}}, "sink: panic: start", 0},
		{"start of the dead letters", pipeline.Pipeline{Source: numbers{rows: 10, broken: 2}, Sink: &memory{}, DeadLetter: &panics{}}, "dead_letter: panic: start", 0},
		{"close", pipeline.Pipeline{Source: panicsOnClose{numbers{rows: 10}}, Sink: &memory{}}, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, err := engine.Run(t.Context(), tc.p, engine.Options{})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if s.Counts.DeadLettered != tc.dead {
				t.Errorf("counts %+v", s.Counts)
			}
		})
	}
}
