package pipelinetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// SourceCase is a source and what it must yield.
type SourceCase struct {
	// New makes the source, ready to be read from its beginning.
	New func(t *testing.T) pipeline.Source
	// Want are the rows, as JSON objects, in order; at least two.
	Want []string
	// Unreadable is how many rows cannot be read.
	Unreadable int
}

// Source checks that a source keeps the laws of [pipeline.Source].
func Source(t *testing.T, c SourceCase) {
	t.Helper()
	if len(c.Want) < 2 {
		t.Fatal("the case needs at least two rows")
	}
	t.Run("yields its rows in order", func(t *testing.T) { c.yields(t) })
	t.Run("stops when the consumer does", func(t *testing.T) { c.breaks(t) })
	t.Run("stops when the context is done", func(t *testing.T) { c.cancelled(t) })
	t.Run("runs in a pipeline", func(t *testing.T) { c.runs(t) })
}

// yields reads all rows before it looks at the first one: a row must not change
// while others are read.
func (c SourceCase) yields(t *testing.T) {
	var records []*pipeline.Record
	unreadable := 0
	source := c.New(t)
	for r, err := range source.Records(t.Context()) {
		switch {
		case r == nil && err != nil:
			t.Fatalf("the source failed: %v", err)
		case r == nil:
			t.Fatal("it yielded neither a record nor an error")
		case err != nil:
			if r.Readable() {
				t.Errorf("row %s comes with an error (%v) but is not Unreadable", r.ID(), err)
			}
			unreadable++
		default:
			records = append(records, r)
		}
	}
	got := make([]string, len(records))
	for i, r := range records {
		got[i] = string(r.AppendJSON(nil))
	}
	if !slices.Equal(got, c.Want) {
		t.Errorf("rows:\ngot  %q\nwant %q", got, c.Want)
	}
	if unreadable != c.Unreadable {
		t.Errorf("%d rows could not be read, want %d", unreadable, c.Unreadable)
	}
	closeComponent(t, source)
}

func (c SourceCase) breaks(t *testing.T) {
	source := c.New(t)
	within(t, "Records", func() {
		for range source.Records(t.Context()) {
			break
		}
	})
	closeComponent(t, source)
}

func (c SourceCase) cancelled(t *testing.T) {
	source := c.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	within(t, "Records", func() {
		rows := 0
		for r, err := range source.Records(ctx) {
			if r == nil && err != nil {
				t.Errorf("a source that is stopped has not failed: %v", err)
			}
			rows++
			cancel()
		}
		if rows > len(c.Want)+c.Unreadable {
			t.Errorf("%d rows after it was stopped", rows)
		}
	})
	cancel()
	closeComponent(t, source)
}

func (c SourceCase) runs(t *testing.T) {
	sink := &Memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: c.New(t), Sink: sink, StopWhen: pipeline.StopWhen{Off: true},
	}, engine.Options{Preflight: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := sink.Rows(); !slices.Equal(got, c.Want) {
		t.Errorf("delivered:\ngot  %q\nwant %q", got, c.Want)
	}
	if want := int64(len(c.Want) + c.Unreadable); s.Counts.Read != want || s.Counts.DeadLettered != int64(c.Unreadable) {
		t.Errorf("counts %+v, want %d read, %d dead-lettered", s.Counts, want, c.Unreadable)
	}
}

func closeComponent(t *testing.T, component any) {
	t.Helper()
	if closer, ok := component.(pipeline.Closer); ok {
		if err := closer.Close(); err != nil {
			t.Error(fmt.Errorf("close: %w", err))
		}
	}
}
