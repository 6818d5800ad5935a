package llm_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// serverVariable makes the test binary a server for BenchmarkCall, so that the
// server's own work is not counted.
const serverVariable = "ROWMILL_BENCHMARK_SERVER"

// serveBenchmark answers every request until its input ends, and then says how
// many connections there were.
func serveBenchmark() {
	var opened atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header()["Content-Type"] = []string{"application/json"}
			w.Header()["Content-Length"] = []string{strconv.Itoa(len(fine))}
			_, _ = io.WriteString(w, fine)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		},
	}
	go func() { _ = server.Serve(listener) }()
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	fmt.Println(opened.Load())
}

// benchmarkServer starts the server and returns its address, and what ends it and
// returns the number of connections.
func benchmarkServer(b *testing.B) (address string, stop func() int) {
	b.Helper()
	command := exec.CommandContext(b.Context(), os.Args[0])
	command.Env = append(os.Environ(), serverVariable+"=1")
	in, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	return lines.Text(), func() int {
		_ = in.Close()
		lines.Scan()
		n, _ := strconv.Atoi(lines.Text())
		_ = command.Wait()
		return n
	}
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall measures the processor time of a row at parallelism 64: the stage
// against a program that does no more than it must, with the same transport and
// JSON library.
//
//	go test ./stages/llm -run '^$' -bench Call -benchtime 20000x -count 6
func BenchmarkCall(b *testing.B) {
	const parallelism = 64
	for _, size := range []struct {
		name string
		text string
	}{{"small", "France"}, {"20KB", strings.Repeat("all work and no play makes Jack a dull boy \"\n", 450)}} {
		type body = func(address string) (call func(ctx context.Context, i int) error, end func())
		for _, who := range []struct {
			name string
			make body
		}{
			{"bare", func(address string) (func(context.Context, int) error, func()) {
				client := &http.Client{Transport: llm.NewTransport(parallelism)}
				return func(ctx context.Context, _ int) error { return bareCall(ctx, client, address, size.text) }, client.CloseIdleConnections
			}},
			{"stage", func(address string) (func(context.Context, int) error, func()) {
				s, err := llm.New(llm.Config{BaseURL: "http://" + address + "/v1", Model: "gpt-4.1-mini", Prompt: "Capital of {{.country}}?", Temperature: ptr(0.0)}, pipeline.Env{})
				if err != nil {
					b.Fatal(err)
				}
				s.Scale(parallelism)
				return func(ctx context.Context, _ int) error {
					r := row("country", size.text)
					_, err := s.Process(ctx, r)
					return err
				}, func() { _ = s.Close() }
			}},
		} {
			b.Run(size.name+"/"+who.name, func(b *testing.B) {
				address, stop := benchmarkServer(b)
				call, end := who.make(address)
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu()
				var next atomic.Int64
				var workers sync.WaitGroup
				for range parallelism {
					workers.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if err := call(b.Context(), 0); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				workers.Wait()
				b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
				b.StopTimer()
				end()
				if n := stop(); n > parallelism+1 {
					b.Errorf("%d connections", n)
				}
			})
		}
	}
}

// bareCall is the call as one writes it by hand.
func bareCall(ctx context.Context, client *http.Client, address, text string) error {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	body, err := json.Marshal(struct {
		Model       string    `json:"model"`
		Messages    []message `json:"messages"`
		Temperature float64   `json:"temperature"`
	}{"gpt-4.1-mini", []message{{"user", "Capital of " + text + "?"}}, 0})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Choices []struct {
			Message      message `json:"message"`
			FinishReason string  `json:"finish_reason"`
		} `json:"choices"`
		Usage struct {
			PromptTokens     int `json:"prompt_tokens"`
			CompletionTokens int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	if len(answer.Choices) == 0 || answer.Choices[0].Message.Content != "Paris" {
		return fmt.Errorf("no answer in %s", raw)
	}
	return nil
}
