package pipelinetest

import (
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// SinkCase is a sink, rows, and what must be where it writes.
type SinkCase struct {
	// New makes the sink, with nothing where it writes.
	New func(t *testing.T) pipeline.Sink
	// Rows go in, as JSON objects; at least three.
	Rows []string
	// Read returns what is where the sink made last writes, one string a row.
	Read func(t *testing.T) []string
	// Want is what Read must return. Defaults to Rows.
	Want []string
}

// Sink checks that a sink keeps the laws of [pipeline.Sink].
func Sink(t *testing.T, c SinkCase) {
	t.Helper()
	if len(c.Rows) < 3 {
		t.Fatal("the case needs at least three rows")
	}
	if c.Want == nil {
		c.Want = c.Rows
	}
	t.Run("delivers what was committed", func(t *testing.T) { c.delivers(t) })
	t.Run("does without rows", func(t *testing.T) { c.empty(t) })
	t.Run("only reads the records", func(t *testing.T) { c.onlyReads(t) })
	t.Run("runs in a pipeline", func(t *testing.T) { c.runs(t) })
}

func (c SinkCase) start(t *testing.T) pipeline.Sink {
	t.Helper()
	sink := c.New(t)
	if s, ok := sink.(pipeline.Starter); ok {
		if err := s.Start(t.Context(), false); err != nil {
			t.Fatalf("start: %v", err)
		}
	}
	return sink
}

func (c SinkCase) delivers(t *testing.T) {
	sink := c.start(t)
	var batch []*pipeline.Record
	for i, row := range c.Rows {
		batch = append(batch, Record(t, row))
		if i == 0 || i == len(c.Rows)-1 { // two batches, each committed
			write(t, sink, batch)
			commit(t, sink)
			batch = nil
		}
	}
	if err := sink.Close(t.Context()); err != nil {
		t.Fatalf("close: %v", err)
	}
	c.check(t)
}

func (c SinkCase) empty(t *testing.T) {
	sink := c.start(t)
	commit(t, sink)
	write(t, sink, nil)
	commit(t, sink)
	if err := sink.Close(t.Context()); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func (c SinkCase) onlyReads(t *testing.T) {
	sink := c.start(t)
	batch := make([]*pipeline.Record, len(c.Rows))
	for i, row := range c.Rows {
		batch[i] = Record(t, row)
	}
	write(t, sink, batch)
	commit(t, sink)
	for i, r := range batch {
		if got := string(r.AppendJSON(nil)); got != c.Rows[i] {
			t.Errorf("the sink changed a record: %s, was %s", got, c.Rows[i])
		}
	}
	if err := sink.Close(t.Context()); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func (c SinkCase) runs(t *testing.T) {
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: Rows(t, c.Rows), Sink: c.New(t)}, engine.Options{Preflight: true})
	if err != nil {
		t.Fatal(err)
	}
	if s.Counts.Delivered != int64(len(c.Rows)) {
		t.Errorf("delivered %d, want %d", s.Counts.Delivered, len(c.Rows))
	}
	c.check(t)
}

func (c SinkCase) check(t *testing.T) {
	t.Helper()
	if got := c.Read(t); !slices.Equal(got, c.Want) {
		t.Errorf("written:\ngot  %q\nwant %q", got, c.Want)
	}
}

func write(t *testing.T, sink pipeline.Sink, batch []*pipeline.Record) {
	t.Helper()
	if err := sink.Write(t.Context(), batch); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func commit(t *testing.T, sink pipeline.Sink) {
	t.Helper()
	if _, err := sink.Commit(t.Context()); err != nil {
		t.Fatalf("commit: %v", err)
	}
}
