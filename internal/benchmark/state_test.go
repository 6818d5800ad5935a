package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	json "github.com/go-json-experiment/json"
	"github.com/klauspost/compress/gzip"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
)

// BenchmarkState is what journal and checkpoint cost of the processor, 64 in flight and
// reordered, against the same run that keeps no state. The two take turns, and so does
// who begins.
func BenchmarkState(b *testing.B) {
	const n, rounds = 10_000, 10
	url := server(b, 0)
	in := rows(b, n)
	out := filepath.Join(b.TempDir(), "out.jsonl")
	folder := filepath.Join(b.TempDir(), "state")
	mill(b, url, in, out, 64) // warm up the server
	for range b.N {
		var used [2]cost // without, with
		for round := range 2 * rounds {
			with := (round + round/2) % 2
			state := []string{"off", folder}[with]
			one := measure(func() { durableMill(b, url, in, out, state, 64) })
			used[with].cpu, used[with].allocs = used[with].cpu+one.cpu, used[with].allocs+one.allocs
		}
		for i, name := range []string{"without", "with"} {
			b.ReportMetric(float64(used[i].cpu.Microseconds())/n/rounds, name+"-µs/row")
			b.ReportMetric(float64(used[i].allocs)/n/rounds, name+"-allocs/row")
		}
		b.ReportMetric(float64(used[1].cpu)/float64(used[0].cpu), "cpu-ratio")
		b.ReportMetric(0, "ns/op")
	}
}

// breaking is a stage that ends its run at a row, as a signal would; at 0 it never does.
type breaking struct {
	at     int64
	cancel context.CancelFunc
	seen   atomic.Int64 // records
}

var _ pipeline.Stage = (*breaking)(nil)

func (s *breaking) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if n := s.seen.Add(1); s.at > 0 && n > s.at {
		s.cancel()
		return nil, ctx.Err()
	}
	return []*pipeline.Record{r}, nil
}

// copied runs in → out, and ends it behind a number of rows. It returns how many records
// came to the stage.
func copied(tb testing.TB, in, out, state string, until int64) (engine.Summary, int64) {
	tb.Helper()
	source, err := sources.NewFile(sources.FileConfig{Path: []string{in}}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: out}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stage := &breaking{at: until, cancel: cancel}
	s, err := engine.Run(ctx, pipeline.Pipeline{
		Source: source, Sink: sink, Steps: []pipeline.Step{{Stage: stage, StepOptions: pipeline.StepOptions{Parallelism: 1}}},
	}, engine.Options{State: state})
	if err != nil && (until == 0 || !errors.Is(err, context.Canceled)) {
		tb.Fatal(err)
	}
	return s, stage.seen.Load()
}

// compressed packs a file, and returns the path of the copy.
func compressed(tb testing.TB, path string) string {
	tb.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(whole)
	if err = errors.Join(err, w.Close()); err == nil {
		err = os.WriteFile(path+".gz", packed.Bytes(), 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return path + ".gz"
}

// inputs are the same rows in the ways in which a source passes what is done.
func inputs(tb testing.TB, n int) map[string]string {
	tb.Helper()
	path := rows(tb, n)
	return map[string]string{"plain": path, "gzip": compressed(tb, path)}
}

// BenchmarkResume is a run that goes on behind a million rows that are done, and has a
// thousand left: all of it, the comparison of the source included.
func BenchmarkResume(b *testing.B) {
	const done, left = 1_000_000, 1_000
	for name, in := range inputs(b, done+left) {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				folder := b.TempDir()
				out, state := filepath.Join(folder, "out.jsonl"), filepath.Join(folder, "state")
				copied(b, in, out, state, done)
				c := measure(func() {
					s, seen := copied(b, in, out, state, 0)
					if !s.Resumed || seen > 2*left {
						b.Fatalf("went on: %v, with %d rows; want about %d", s.Resumed, seen, left)
					}
				})
				b.ReportMetric(c.wall.Seconds(), "s")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// TestWhatIsDoneIsPassed: a run that goes on sees only the rows that are left, and every
// row is in the output once.
func TestWhatIsDoneIsPassed(t *testing.T) {
	const done, left, flush = 20_000, 500, 1_000
	for name, in := range inputs(t, done+left) {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			out, state := filepath.Join(folder, "out.jsonl"), filepath.Join(folder, "state")
			first, _ := copied(t, in, out, state, done)
			// What the sink had not committed when the run was broken off is not done.
			if got := first.Counts.Delivered; got > done || got < done-flush {
				t.Fatalf("%d rows are done when it ends, want %d to %d", got, done-flush, done)
			}
			second, seen := copied(t, in, out, state, 0)
			if want := first.Counts.Delivered; second.DoneBefore != want || seen != done+left-want {
				t.Errorf("%d rows were done and %d came to the stage, want %d and %d", second.DoneBefore, seen, want, done+left-want)
			}
			if err := onceEach(out, done+left); err != nil {
				t.Error(err)
			}
		})
	}
}

// onceEach says which of the rows 0 to n-1 is not in a file exactly once.
func onceEach(path string, n int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	times := make(map[int]int, n)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var row struct {
			ID int `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return err
		}
		times[row.ID]++
	}
	for i := range n {
		if times[i] != 1 {
			return fmt.Errorf("row %d is in the output %d times", i, times[i])
		}
	}
	if len(times) != n {
		return fmt.Errorf("%d rows are in the output, want %d", len(times), n)
	}
	return lines.Err()
}
