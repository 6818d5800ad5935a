// Package benchmark measures Rowmill against a hand-written loop over net/http, in
// the same run, with the server in a process of its own:
//
//	go test ./internal/benchmark -run '^$' -bench . -benchtime 1x
package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages"
	"github.com/rowmill/rowmill/stages/llm"
)

const serverVariable = "ROWMILL_BENCHMARK_LATENCY" // set in the server's process

func TestMain(m *testing.M) {
	if latency := os.Getenv(serverVariable); latency != "" {
		serve(latency)
		return
	}
	if os.Getenv(bucketVariable) != "" {
		serveBucket()
		return
	}
	// As cmd/rowmill does; for the loop as well, so that the ratio is of like with like.
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// serve is the server's process: it ends when its standard input does. It does as
// little as a server can, since it takes its time from the same two cores.
func serve(latency string) {
	d, err := time.ParseDuration(latency)
	if err != nil {
		panic(err)
	}
	debug.SetGCPercent(400)
	answer := []byte(`{"id":"c","object":"chat.completion","created":1,"model":"simulated","choices":[{"index":0,` +
		`"message":{"role":"assistant","content":"The shipping department, as the parcel is late."},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":30,"completion_tokens":12,"total_tokens":42}}`)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s/v1\n", listener.Addr())
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // it is asked by this program alone
			_, _ = io.Copy(io.Discard, r.Body)
			if r.Method == http.MethodGet {
				http.NotFound(w, r)
				return
			}
			time.Sleep(d)
			w.Header()["Content-Type"] = []string{"application/json"}
			_, _ = w.Write(answer)
		}))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// server starts a server in a process of its own, and returns its address.
func server(tb testing.TB, latency time.Duration) string {
	tb.Helper()
	return child(tb, serverVariable+"="+latency.String())
}

// child starts this program as a server, and returns the address that it prints.
func child(tb testing.TB, variable string) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), variable)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// rows writes a JSONL file of n small rows.
func rows(tb testing.TB, n int) string {
	tb.Helper()
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"id":%d,"channel":"email","body":"My order %d has not arrived yet, and the tracking page says nothing."}`+"\n", i, i)
	}
	path := filepath.Join(tb.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

const (
	system = "You label tickets. Answer with one word."
	prompt = "Which department is this for? "
)

// loop is what a good engineer writes by hand: workers, one Transport, no retries,
// no limits, no order, errors end it.
func loop(tb testing.TB, url, in, out string, parallelism int) {
	tb.Helper()
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	type request struct {
		Model    string    `json:"model"`
		Messages []message `json:"messages"`
	}
	type answer struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	source, err := os.Open(in)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	target, err := os.Create(out)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = target.Close() }()
	w := bufio.NewWriterSize(target, 1<<16)
	var lock sync.Mutex
	lines := make(chan []byte, parallelism)
	var workers sync.WaitGroup
	for range parallelism {
		workers.Go(func() {
			for line := range lines {
				var row map[string]any
				if err := json.Unmarshal(line, &row); err != nil {
					tb.Error(err)
					return
				}
				body, err := json.Marshal(request{"simulated", []message{{"system", system}, {"user", prompt + row["body"].(string)}}})
				if err != nil {
					tb.Error(err)
					return
				}
				res, err := client.Post(url+"/chat/completions", "application/json", bytes.NewReader(body))
				if err != nil {
					tb.Error(err)
					return
				}
				raw, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				var a answer
				if err == nil {
					err = json.Unmarshal(raw, &a)
				}
				if err != nil || res.StatusCode != http.StatusOK || len(a.Choices) == 0 {
					tb.Error(res.Status, err)
					return
				}
				row["answer"] = a.Choices[0].Message.Content
				enriched, err := json.Marshal(row)
				if err != nil {
					tb.Error(err)
					return
				}
				lock.Lock()
				_, _ = w.Write(append(enriched, '\n'))
				lock.Unlock()
			}
		})
	}
	scanner := bufio.NewScanner(source)
	for scanner.Scan() {
		lines <- bytes.Clone(scanner.Bytes())
	}
	close(lines)
	workers.Wait()
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
}

// mill is the same job with Rowmill, everything on but the state of the run.
func mill(tb testing.TB, url, in, out string, parallelism int) engine.Summary {
	tb.Helper()
	return durableMill(tb, url, in, out, "off", parallelism)
}

// durableMill is mill with the state of the run in a folder, "off" for none.
func durableMill(tb testing.TB, url, in, out, state string, parallelism int) engine.Summary {
	tb.Helper()
	source, err := sources.NewFile(sources.FileConfig{Path: []string{in}}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	ask, err := llm.New(llm.Config{Model: "simulated", BaseURL: url, System: system, Prompt: prompt + "{{.body}}"}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: out}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: source, Sink: sink,
		Steps: []pipeline.Step{{Stage: ask, Costs: true, StepOptions: pipeline.StepOptions{Name: "ask", Parallelism: parallelism}}},
	}, engine.Options{Fresh: true, Preflight: true, State: state})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// cost is what a job has used of this process.
type cost struct {
	cpu, wall time.Duration
	allocs    uint64
}

func measure(job func()) cost {
	runtime.GC()
	var before, after runtime.MemStats
	var from, to syscall.Rusage
	runtime.ReadMemStats(&before)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &from)
	began := time.Now()
	job()
	wall := time.Since(began)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &to)
	runtime.ReadMemStats(&after)
	used := func(u syscall.Rusage) time.Duration {
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return cost{used(to) - used(from), wall, after.Mallocs - before.Mallocs}
}

// BenchmarkCPU is the processor time a row against the loop. The two take turns,
// so that what else the machine does falls on both.
func BenchmarkCPU(b *testing.B) {
	const n, rounds = 10_000, 5
	url := server(b, 0)
	in := rows(b, n)
	out := filepath.Join(b.TempDir(), "out.jsonl")
	loop(b, url, in, out, 64) // warm up the server
	for range b.N {
		var bare, ours cost
		for range rounds {
			one := measure(func() { loop(b, url, in, out, 64) })
			bare.cpu, bare.allocs = bare.cpu+one.cpu, bare.allocs+one.allocs
			one = measure(func() { mill(b, url, in, out, 64) })
			ours.cpu, ours.allocs = ours.cpu+one.cpu, ours.allocs+one.allocs
		}
		per := func(d time.Duration) float64 { return float64(d.Microseconds()) / n / rounds }
		b.ReportMetric(per(bare.cpu), "loop-µs/row")
		b.ReportMetric(per(ours.cpu), "rowmill-µs/row")
		b.ReportMetric(float64(ours.cpu)/float64(bare.cpu), "cpu-ratio")
		b.ReportMetric(float64(bare.allocs)/n/rounds, "loop-allocs/row")
		b.ReportMetric(float64(ours.allocs)/n/rounds, "rowmill-allocs/row")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkWall is 5,000 rows of 20 ms at parallelism 64, against the ideal.
func BenchmarkWall(b *testing.B) {
	const n, latency, parallelism = 5_000, 20 * time.Millisecond, 64
	url := server(b, latency)
	in := rows(b, n)
	out := filepath.Join(b.TempDir(), "out.jsonl")
	ideal := time.Duration((n+parallelism-1)/parallelism) * latency
	for range b.N {
		bare := measure(func() { loop(b, url, in, out, parallelism) })
		ours := measure(func() { mill(b, url, in, out, parallelism) })
		b.ReportMetric(float64(bare.wall)/float64(ideal), "loop-of-ideal")
		b.ReportMetric(float64(ours.wall)/float64(ideal), "rowmill-of-ideal")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkMemory is the peak of the heap at 5,000 and at 500,000 rows.
func BenchmarkMemory(b *testing.B) {
	url := server(b, 0)
	for _, n := range []int{5_000, 500_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			in := rows(b, n)
			out := filepath.Join(b.TempDir(), "out.jsonl")
			for range b.N {
				peak := peakHeap(func() { mill(b, url, in, out, 64) })
				b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// peakHeap samples what the process has from the system while job runs.
func peakHeap(job func()) uint64 {
	debug.FreeOSMemory()
	var peak atomic.Uint64
	done := make(chan struct{})
	var sampler sync.WaitGroup
	sampler.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse+m.StackInuse))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	job()
	close(done)
	sampler.Wait()
	return peak.Load()
}

// BenchmarkFile is a job without a model: file, filter, map, file, every row validated.
func BenchmarkFile(b *testing.B) {
	const n = 500_000
	in := rows(b, n)
	out := filepath.Join(b.TempDir(), "out.jsonl")
	for range b.N {
		c := measure(func() { plain(b, in, out) })
		b.ReportMetric(float64(c.cpu.Nanoseconds())/n, "cpu-ns/row")
		b.ReportMetric(n/c.wall.Seconds(), "rows/s")
		b.ReportMetric(0, "ns/op")
	}
}

func plain(tb testing.TB, in, out string) {
	tb.Helper()
	source, err := sources.NewFile(sources.FileConfig{Path: []string{in}}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	keep, err := stages.NewFilter(stages.FilterConfig{Where: `channel == "email"`}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	change, err := stages.NewMap(stages.MapConfig{Set: pipeline.Pairs{{Key: "double", Value: "id * 2"}}}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: out}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	_, err = engine.Run(context.Background(), pipeline.Pipeline{
		Source: source, Sink: sink, Steps: []pipeline.Step{{Stage: keep}, {Stage: change}},
	}, engine.Options{Fresh: true})
	if err != nil {
		tb.Fatal(err)
	}
}

// TestConnections: at parallelism 64 there are about 64 connections for any number
// of rows, and the answers are all there.
func TestConnections(t *testing.T) {
	const n = 2_000
	s := simulator.New(simulator.Options{Latency: pipeline.Duration(time.Millisecond)})
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	out := filepath.Join(t.TempDir(), "out.csv")
	mill(t, url, rows(t, n), out, 64)
	// The probe may open one of its own.
	if got := s.Ledger().Connections; got < 32 || got > 65 {
		t.Errorf("%d connections for %d rows, want at most 65", got, n)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	written, err := csv.NewReader(f).ReadAll()
	if err != nil || len(written) != n+1 {
		t.Errorf("%d lines written (%v), want %d", len(written), err, n+1)
	}
}
