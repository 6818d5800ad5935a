package engine_test

import (
	"context"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

type nowhere struct{}

func (nowhere) Write(context.Context, []*pipeline.Record) error   { return nil }
func (nowhere) Commit(context.Context) (pipeline.Position, error) { return "", nil }
func (nowhere) Close(context.Context) error                       { return nil }

// BenchmarkEngine is what the engine costs a record, beside what the components
// do: a row that two computing stages pass on, in order.
func BenchmarkEngine(b *testing.B) {
	for _, stages := range []int{0, 1, 2, 4} {
		b.Run(string(rune('0'+stages))+" stages", func(b *testing.B) {
			raw := []byte(`{"n":1}`)
			rows := sourceFunc(func(yield func(*pipeline.Record, error) bool) {
				for range b.N {
					r, err := pipeline.ParseRecord(raw)
					if !yield(r, err) {
						return
					}
				}
			})
			var steps []pipeline.Step
			for range stages {
				steps = append(steps, step("", pass))
			}
			b.ReportAllocs()
			b.ResetTimer()
			s, err := engine.Run(b.Context(), pipeline.Pipeline{Source: rows, Steps: steps, Sink: nowhere{}}, engine.Options{})
			if err != nil || s.Counts.Delivered != int64(b.N) {
				b.Fatal(err, s.Counts)
			}
		})
	}
}
