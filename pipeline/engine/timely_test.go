package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// parts is a sink that ends a part so long after its first record, when it is asked to commit,
// which takes a while.
type parts struct {
	memory
	every, takes time.Duration
	begun        time.Time // of the part; zero for none
	ended        []time.Duration
	asked        int
	stubborn     bool // the part never ends
}

func (s *parts) Write(ctx context.Context, batch []*pipeline.Record) error {
	if s.begun.IsZero() {
		s.begun = time.Now()
	}
	return s.memory.Write(ctx, batch)
}

func (s *parts) Commit(ctx context.Context) (pipeline.Position, error) {
	s.asked++
	if due := s.Due(); !s.stubborn && !due.IsZero() && !time.Now().Before(due) {
		s.ended = append(s.ended, time.Since(s.begun))
		s.begun = time.Time{}
	}
	time.Sleep(s.takes)
	return s.memory.Commit(ctx)
}

func (s *parts) Due() time.Time {
	if s.begun.IsZero() {
		return time.Time{}
	}
	return s.begun.Add(s.every)
}

// A part ends at its time although no record comes, also where that falls into a commit; and a
// sink that wants a commit for ever is not asked for ever.
func TestAPartEndsAtItsTime(t *testing.T) {
	t.Parallel()
	for name, sink := range map[string]*parts{
		"while it waits":     {every: 50 * time.Millisecond},
		"while it commits":   {every: 50 * time.Millisecond, takes: 100 * time.Millisecond},
		"it wants it always": {every: 50 * time.Millisecond, takes: time.Millisecond, stubborn: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, err := engine.Run(t.Context(), pipeline.Pipeline{
				Source: numbers{rows: 2, pause: time.Hour}, Sink: sink, Flush: pipeline.Flush{Every: time.Millisecond},
			}, engine.Options{})
			if err != nil || s.Counts.Delivered != 2 {
				t.Errorf("%s: got %+v, %v", name, s.Counts, err)
			}
			if !sink.stubborn && (len(sink.ended) == 0 || sink.ended[0] > 200*time.Millisecond) {
				t.Errorf("%s: parts ended after %v, want the first of them at its time", name, sink.ended)
			}
			if sink.asked > 6 {
				t.Errorf("%s: it was asked %d times for 2 records", name, sink.asked)
			}
		})
	}
}
