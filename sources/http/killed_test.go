package http_test

import (
	"bytes"
	"fmt"
	stdhttp "net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/doomed"
)

const doomedRows = 90

const doomedPipeline = `
name: doomed
source: {http: {url: 'URL', rows: items, paging: PAGING, headers: {Authorization: 'Bearer opensesame'}, timeout: 300ms}}
stages:
  - llm: {provider: simulator, simulator: {latency: 4ms, latency_spread: 0.3}, prompt: '{{.i}}', output: answer}
    parallelism: 8
sink: {file: {path: DIR/out.jsonl}, flush: {records: 10, every: 5ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

// TestKilledAgainAndAgain: a process that reads an API, which refuses, fails, is cut off and
// late now and then, is killed. Every row comes out once and in order, and no page is asked
// for again that stood in front of the first row that had not ended.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ path, paging string }{
		"cursor": {"/cursor?key=hunter2hunter", "{kind: cursor, next: next, param: offset}"},
		"offset": {"/offset", "{kind: offset}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, doomedRows)
			a.set(faults())
			dir := doomed.Folder(t, doomedPipeline, "URL", a.url+c.path, "PAGING", c.paging)
			life, from, before := 0, 0, 0
			check := func() {
				for _, uri := range a.asked()[before:] {
					if offset := offsetOf(t, uri); offset < from {
						t.Errorf("life %d asked for %s, and no row below %d was open", life, uri, from)
					}
				}
			}
			doomed.KillRepeatedly(t, dir, doomedRows, func(at doomed.Checkpoint) {
				check()
				life, from, before = life+1, goesOnAt(t, at), len(a.asked())
			})
			check()
			checkOutput(t, dir)
			if from == 0 {
				t.Error("it never went on behind the first page: this tests nothing")
			}
			t.Logf("%d pages", len(a.asked()))
		})
	}
}

// faults makes a page take a moment, and has some fail the first time that they are asked for.
func faults() func(int, stdhttp.ResponseWriter, *stdhttp.Request) bool {
	seen := make(chan map[string]bool, 1)
	seen <- map[string]bool{}
	return func(n int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool {
		time.Sleep(30 * time.Millisecond) // in another process there is no other clock
		all := <-seen
		again := all[r.URL.RequestURI()]
		all[r.URL.RequestURI()] = true
		number := len(all)
		seen <- all
		if again {
			return false
		}
		switch number % 16 {
		case 3:
			w.Header().Set("Retry-After", "0.02")
			w.WriteHeader(stdhttp.StatusTooManyRequests)
		case 7:
			w.WriteHeader(stdhttp.StatusBadGateway)
		case 11:
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"items": [{"i": 1},`))
		case 15:
			<-r.Context().Done()
		default:
			return false
		}
		return true
	}
}

// goesOnAt is the offset of the page with which a run goes on.
func goesOnAt(t *testing.T, at doomed.Checkpoint) int {
	t.Helper()
	if bytes.Contains(at.Text, []byte("hunter2")) || bytes.Contains(at.Text, []byte("opensesame")) {
		t.Errorf("the checkpoint holds a secret: %s", at.Text)
	}
	return offsetOf(t, at.Source.At.Path)
}

func offsetOf(t *testing.T, uri string) int {
	t.Helper()
	_, text, _ := strings.Cut(uri, "offset=")
	n, _ := strconv.Atoi(text)
	return n
}

// checkOutput checks that every row is there once, in order, and none among the dead letters.
func checkOutput(t *testing.T, dir string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "out.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != doomedRows {
		t.Errorf("%d rows came out, want %d", len(lines), doomedRows)
	}
	for i, line := range lines {
		if want := fmt.Sprintf(`{"i":%d,`, i); !strings.HasPrefix(line, want) {
			t.Fatalf("line %d is %s, want %s…", i+1, line, want)
		}
	}
	if dead, err := os.ReadFile(filepath.Join(dir, "dead.jsonl")); err == nil && len(dead) > 0 {
		t.Errorf("dead letters: %s", dead)
	}
}
