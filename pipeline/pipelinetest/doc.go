// Package pipelinetest holds the laws that every component keeps: a suite for
// sources, one for stages, one for sinks. Whoever writes a component calls the
// suite of its kind from a test of their own:
//
//	func TestConformance(t *testing.T) {
//		pipelinetest.Stage(t, pipelinetest.StageCase{
//			New:  func(t *testing.T) pipeline.Stage { return &Upper{} },
//			Rows: []string{`{"text":"a"}`, `{"text":"b"}`},
//			Want: []string{`{"text":"A"}`, `{"text":"B"}`},
//		})
//	}
package pipelinetest

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// patience is how long a component may take to notice that it is to stop.
const patience = 5 * time.Second

// Record returns the record of a JSON object.
func Record(t testing.TB, object string) *pipeline.Record {
	t.Helper()
	r, err := pipeline.ParseRecord([]byte(object))
	if err != nil {
		t.Fatalf("the case's own row %s: %v", object, err)
	}
	return r
}

// Rows is a source of records given as JSON objects.
func Rows(t testing.TB, objects []string) pipeline.Source { return rows{t, objects} }

type rows struct {
	t       testing.TB
	objects []string
}

func (s rows) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for _, o := range s.objects {
			if ctx.Err() != nil || !yield(Record(s.t, o), nil) {
				return
			}
		}
	}
}

// Memory is a sink that keeps what was committed, as JSON.
type Memory struct {
	mu        sync.Mutex
	taken     []string
	committed []string
}

// Write takes a batch.
func (m *Memory) Write(_ context.Context, batch []*pipeline.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range batch {
		m.taken = append(m.taken, string(r.AppendJSON(nil)))
	}
	return nil
}

// Commit makes what was taken part of Rows.
func (m *Memory) Commit(context.Context) (pipeline.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.committed = append(m.committed, m.taken...)
	m.taken = nil
	return "", nil
}

// Close does nothing.
func (m *Memory) Close(context.Context) error { return nil }

// Rows returns what was committed.
func (m *Memory) Rows() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.committed
}

// within fails the test if f does not return in time.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s did not return within %v", what, patience)
	}
}
