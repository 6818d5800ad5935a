package benchmark

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages"
)

const reduceRows = 500_000

// amounts is a file of rows that belong to so many customers, as they come.
func amounts(b *testing.B, customers int) string {
	b.Helper()
	var out bytes.Buffer
	for i := range reduceRows {
		fmt.Fprintf(&out, `{"id":%d,"customer":"c%d","amount":%d.%02d,"body":"My order has not arrived yet, and the tracking page says nothing."}`+"\n",
			i, i*7919%customers, i%1000, i%100)
	}
	path := filepath.Join(b.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// customer is a row of what comes out.
type customer struct {
	Customer string  `json:"customer"`
	N        int64   `json:"n"`
	Sum      float64 `json:"sum"`
	Most     float64 `json:"most"`
}

// byMap is the loop without Rowmill: it holds all groups, and its sums are floats.
func byMap(b *testing.B, in, out string) {
	b.Helper()
	from, err := os.Open(in)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	groups := map[string]*customer{}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var row struct {
			Customer string  `json:"customer"`
			Amount   float64 `json:"amount"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			b.Fatal(err)
		}
		c := groups[row.Customer]
		if c == nil {
			c = &customer{Customer: row.Customer, Most: row.Amount}
			groups[row.Customer] = c
		}
		c.N++
		c.Sum += row.Amount
		c.Most = max(c.Most, row.Amount)
	}
	to, err := os.Create(out)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(to, 1<<20)
	sorted := slices.SortedFunc(maps.Values(groups), func(x, y *customer) int { return cmp.Compare(x.Customer, y.Customer) })
	for _, c := range sorted {
		if err := json.MarshalWrite(w, c); err != nil {
			b.Fatal(err)
		}
		_ = w.WriteByte('\n') // Flush returns its error
	}
	if err := errors.Join(lines.Err(), w.Flush(), to.Sync(), to.Close()); err != nil {
		b.Fatal(err)
	}
}

// byReduce is the same as a pipeline.
func byReduce(b *testing.B, in, out, state string, groups int64) {
	b.Helper()
	source, err := sources.NewFile(sources.FileConfig{Path: []string{in}}, pipeline.Env{})
	if err != nil {
		b.Fatal(err)
	}
	c := stages.DefaultReduce()
	c.By, c.Count = []string{"customer"}, "n"
	c.Sum, c.Max = pipeline.Pairs{{Key: "sum", Value: "amount"}}, pipeline.Pairs{{Key: "most", Value: "amount"}}
	reduce, err := stages.NewReduce(c, pipeline.Env{})
	if err != nil {
		b.Fatal(err)
	}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: out}, pipeline.Env{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := engine.Run(b.Context(), pipeline.Pipeline{
		Name: "reduce", Source: source, Sink: sink, Steps: []pipeline.Step{{Stage: reduce}},
	}, engine.Options{Fresh: true, State: state})
	if err != nil || s.Counts.Delivered != groups {
		b.Fatal(err, s.Counts)
	}
}

// BenchmarkReduce puts rows together, with groups that fit into memory and with more, which
// do not; the loop holds them all.
func BenchmarkReduce(b *testing.B) {
	for _, customers := range []int{1_000, 400_000} {
		b.Run(fmt.Sprint(customers), func(b *testing.B) {
			in, out := amounts(b, customers), filepath.Join(b.TempDir(), "out.jsonl")
			for range b.N {
				loop := measure(func() { byMap(b, in, out) })
				off := measure(func() { byReduce(b, in, out, "off", int64(customers)) })
				state := measure(func() { byReduce(b, in, out, filepath.Join(b.TempDir(), "state"), int64(customers)) })
				peak := peakHeap(func() { byReduce(b, in, out, "off", int64(customers)) })
				b.ReportMetric(float64(loop.cpu.Nanoseconds())/reduceRows, "loop-cpu-ns/row")
				b.ReportMetric(float64(off.cpu.Nanoseconds())/reduceRows, "cpu-ns/row")
				b.ReportMetric(float64(state.cpu.Nanoseconds())/reduceRows, "state-cpu-ns/row")
				b.ReportMetric(off.wall.Seconds()/loop.wall.Seconds(), "wall-ratio")
				b.ReportMetric(state.wall.Seconds()/loop.wall.Seconds(), "state-wall-ratio")
				b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
