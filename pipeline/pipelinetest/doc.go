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
//
// Each law is a subtest. Run them with -race: some laws are about components that
// are used from several goroutines.
package pipelinetest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

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
func Rows(t testing.TB, objects []string) pipeline.Source {
	t.Helper()
	for _, o := range objects {
		Record(t, o)
	}
	return rows(objects)
}

type rows []string

func (s rows) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for i, o := range s {
			r, err := pipeline.ParseRecord([]byte(o))
			if err != nil {
				yield(nil, fmt.Errorf("row %d: %w", i, err))
				return
			}
			if ctx.Err() != nil || !yield(r, nil) {
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
