package http_test

import (
	"bytes"
	"encoding/json"
	"io"
	stdhttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/internal/doomed"
)

const doomedRows = 200

const doomedPipeline = `
name: doomed
source: {range: {from: 0, to: 199, field: i}}
stages:
  - llm: {provider: simulator, simulator: {latency: 20ms, latency_spread: 0.3}, prompt: '{{.i}}', output: answer}
    parallelism: 4
sink: {http: {url: 'URL/in?token=hunter2hunter', body: BODY, batch: 10}, flush: {records: 10, every: 50ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

// ledger takes the rows of requests, those of a key only once, and notes in which life of the
// process each was taken. Now and then it refuses, fails, or takes the rows and does not say so.
type ledger struct {
	mu    sync.Mutex
	life  int
	keys  map[string]bool
	takes map[int][]int // lives, by row
	sent  map[int][]int // all the same, of requests that came a second time too
	n     int
	rare  int // of so many requests four do not end well
}

func (l *ledger) ServeHTTP(w stdhttp.ResponseWriter, r *stdhttp.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var rows []struct{ I int }
	if text := "[" + strings.Trim(string(body), "[]") + "]"; json.Unmarshal([]byte(text), &rows) != nil {
		stdhttp.Error(w, "no JSON", stdhttp.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	switch key := r.Header.Get("Idempotency-Key"); l.n % l.rare {
	case 3:
		w.Header().Set("Retry-After", "0.02")
		w.WriteHeader(stdhttp.StatusTooManyRequests)
	case 9:
		w.WriteHeader(stdhttp.StatusBadGateway)
	case 12:
		l.take(key, rows)
		w.WriteHeader(stdhttp.StatusBadGateway)
	case 18:
		l.take(key, rows)
		if conn, _, err := w.(stdhttp.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	default:
		l.take(key, rows)
	}
}

func (l *ledger) take(key string, rows []struct{ I int }) {
	for _, row := range rows {
		l.sent[row.I] = append(l.sent[row.I], l.life)
		if !l.keys[key] {
			l.takes[row.I] = append(l.takes[row.I], l.life)
		}
	}
	l.keys[key] = true
}

// TestKilledAgainAndAgain: a process that posts rows is killed. Each row arrives, and none
// again that a checkpoint counts among those that have ended. A server that heeds the key takes
// a row twice only when it comes with others than before, after a kill; never where each row
// has a request of its own.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for body, rare := range map[string]int{"array": 20, "object": 100} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			l := &ledger{rare: rare, keys: map[string]bool{}, takes: map[int][]int{}, sent: map[int][]int{}}
			server := httptest.NewServer(l)
			defer server.Close()
			dir := doomed.Folder(t, doomedPipeline, "URL", server.URL, "BODY", body)
			var endedBefore []int // rows, by life: those below have ended
			doomed.KillRepeatedly(t, dir, doomedRows, func(from doomed.Checkpoint) {
				if bytes.Contains(from.Text, []byte("hunter2")) {
					t.Errorf("the checkpoint holds a secret: %s", from.Text)
				}
				endedBefore = append(endedBefore, from.Ended())
				l.mu.Lock()
				defer l.mu.Unlock()
				l.life++
			})
			again := l.check(t, endedBefore, body == "object")
			t.Logf("lives from row %v on, %d rows sent again after a kill", endedBefore, again)
		})
	}
}

// check judges what was taken, and returns how many rows were sent in two lives.
func (l *ledger) check(t *testing.T, endedBefore []int, once bool) (again int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range doomedRows {
		takes, sent := l.takes[i], l.sent[i]
		if len(takes) == 0 {
			t.Errorf("row %d was lost", i)
			continue
		}
		if once && len(takes) > 1 {
			t.Errorf("row %d was taken in lives %v, want it once", i, takes)
		}
		for n, life := range takes[1:] {
			if takes[n] == life {
				t.Errorf("row %d was taken twice in life %d", i, life)
			}
		}
		for _, life := range sent {
			if i < endedBefore[life-1] {
				t.Errorf("row %d was sent in life %d, and had ended before", i, life)
			}
		}
		if sent[0] != sent[len(sent)-1] {
			again++
		}
	}
	return again
}
