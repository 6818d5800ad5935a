package benchmark

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
	parquetgo "github.com/parquet-go/parquet-go"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	parquetsink "github.com/rowmill/rowmill/sinks/parquet"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/sources/parquet"
)

const parquetRows = 300_000

// parquetRow is a row of the file that is read.
type parquetRow struct {
	ID    int64     `parquet:"id" json:"id"`
	Title string    `parquet:"title" json:"title"`
	Body  string    `parquet:"body" json:"body"`
	Kind  string    `parquet:"kind,dict" json:"kind"`
	Score float64   `parquet:"score" json:"score"`
	At    time.Time `parquet:"at,timestamp(microsecond)" json:"at"`
	Tags  []string  `parquet:"tags,list" json:"tags"`
}

// writeParquet writes the file with parquet-go, as its users do.
func writeParquet(b *testing.B, path string) {
	b.Helper()
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := parquetgo.NewGenericWriter[parquetRow](file, parquetgo.Compression(&parquetgo.Snappy), parquetgo.MaxRowsPerRowGroup(100_000))
	body := bytes.Repeat([]byte("Some words of a customer. "), 5)
	began := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i := range parquetRows {
		_, err := w.Write([]parquetRow{{
			ID: int64(i), Title: fmt.Sprint("Ticket ", i), Body: string(body[i%60:]), Kind: []string{"mail", "chat", "call"}[i%3], Score: float64(i) / 8,
			At: began.Add(time.Duration(i) * time.Second), Tags: []string{"new", "late"}[:i%3],
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), file.Close()); err != nil {
		b.Fatal(err)
	}
}

// byParquetGo is the loop without Rowmill.
func byParquetGo(b *testing.B, in, out string) {
	b.Helper()
	from, err := os.Open(in)
	if err != nil {
		b.Fatal(err)
	}
	to, err := os.Create(out)
	if err != nil {
		b.Fatal(err)
	}
	r, w := parquetgo.NewGenericReader[parquetRow](from), bufio.NewWriterSize(to, 1<<20)
	rows := make([]parquetRow, 256)
	for err == nil {
		var n int
		if n, err = r.Read(rows); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		for i := range rows[:n] {
			if err := json.MarshalWrite(w, &rows[i]); err != nil {
				b.Fatal(err)
			}
			_ = w.WriteByte('\n') // Flush returns its error
		}
	}
	if err := errors.Join(w.Flush(), to.Sync(), to.Close(), r.Close(), from.Close()); err != nil {
		b.Fatal(err)
	}
}

// byRowmill is the pipeline from a file in Parquet to one in JSON lines, or back.
func byRowmill(b *testing.B, source pipeline.Source, sink pipeline.Sink) {
	b.Helper()
	s, err := engine.Run(b.Context(), pipeline.Pipeline{Source: source, Sink: sink}, engine.Options{})
	if err != nil || s.Counts.Delivered != parquetRows {
		b.Fatal(err, s.Counts)
	}
}

// BenchmarkParquet is to take at most 1.5 times as long as parquet-go alone.
func BenchmarkParquet(b *testing.B) {
	dir := b.TempDir()
	in := filepath.Join(dir, "in.parquet")
	writeParquet(b, in)
	b.ResetTimer()
	for i := range b.N {
		name := func(ending string) string { return filepath.Join(dir, fmt.Sprint(i, ending)) }
		_, _ = os.ReadFile(in) // into the cache
		loop := measure(func() { byParquetGo(b, in, name("loop.jsonl")) })
		mill := measure(func() {
			source, err := parquet.New(parquet.Config{Path: []string{in}}, pipeline.Env{})
			sink, err2 := sinks.NewFile(sinks.FileConfig{Path: name("mill.jsonl")}, pipeline.Env{})
			if err := errors.Join(err, err2); err != nil {
				b.Fatal(err)
			}
			byRowmill(b, source, sink)
		})
		back := measure(func() {
			source, err := sources.NewFile(sources.FileConfig{Path: []string{name("mill.jsonl")}}, pipeline.Env{})
			sink, err2 := parquetsink.New(parquetsink.Config{Path: name("back.parquet")}, pipeline.Env{})
			if err := errors.Join(err, err2); err != nil {
				b.Fatal(err)
			}
			byRowmill(b, source, sink)
		})
		b.ReportMetric(loop.cpu.Seconds()/parquetRows*1e6, "loop-cpu-µs/row")
		b.ReportMetric(mill.cpu.Seconds()/parquetRows*1e6, "rowmill-cpu-µs/row")
		b.ReportMetric(mill.cpu.Seconds()/loop.cpu.Seconds(), "cpu-ratio")
		b.ReportMetric(mill.wall.Seconds()/loop.wall.Seconds(), "wall-ratio")
		b.ReportMetric(back.cpu.Seconds()/parquetRows*1e6, "write-cpu-µs/row")
	}
}
