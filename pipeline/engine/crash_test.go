package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// These tests kill a process, with SIGKILL, while it runs a pipeline, again and again,
// and look at what is in its output in the end. The process is this test's own binary.

// doomedVariable names the variable that makes the test binary run a pipeline. Its value
// is the file, and where to be killed: "point:n", the n-th time at a point; or ":".
const doomedVariable = "ROWMILL_TEST_DOOMED"

// killsVariable sets how often every pipeline is killed at a moment of chance.
const killsVariable = "ROWMILL_TEST_KILLS"

// doom kills the process the n-th time that a point is reached.
type doom struct {
	point string
	left  atomic.Int64
}

func (d *doom) at(point string) {
	if point == d.point && d.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it takes a moment
	}
}

// The points at which a process is killed.
const (
	pointJournalled = "journalled"   // an answer is in the journal and nowhere else
	pointWritten    = "written"      // rows are in the output, and no checkpoint says so
	pointCheckpoint = "checkpoint"   // half of a checkpoint is written
	pointRename     = "rename"       // it is written whole, in the wrong place
	pointRenamed    = "renamed"      // it is in its place, which may not be durable
	pointRewinding  = "rewinding"    // the output is about to be cut back
	pointRewound    = "rewound"      // it is
	pointRemember   = "remember"     // what a stage remembers is written, and no checkpoint says so
	pointForget     = "forget"       // an old file of the journal goes
	pointDead       = "dead letters" // like written
	pointDone       = "done"         // which rows are done is written, and no checkpoint says so
)

// doomedFS is a file system with points in it.
type doomedFS struct {
	fsys.FS
	doom *doom
}

func (f doomedFS) OpenFile(path string, flag int, perm fs.FileMode) (fsys.File, error) {
	file, err := f.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return doomedFile{file, f.doom}, nil
}

func (f doomedFS) Rename(from, to string) error {
	f.doom.at(pointRename)
	err := f.FS.Rename(from, to)
	f.doom.at(pointRenamed)
	return err
}

func (f doomedFS) Remove(path string) error {
	f.doom.at(pointForget)
	return f.FS.Remove(path)
}

type doomedFile struct {
	fsys.File
	doom *doom
}

// Fd is for the lock.
func (f doomedFile) Fd() uintptr { return f.File.(interface{ Fd() uintptr }).Fd() }

func (f doomedFile) Write(p []byte) (int, error) {
	name := filepath.Base(f.Name())
	if name == "checkpoint.tmp" {
		half, err := f.File.Write(p[:len(p)/2])
		f.doom.at(pointCheckpoint)
		if err != nil {
			return half, err
		}
		rest, err := f.File.Write(p[len(p)/2:])
		return half + rest, err
	}
	n, err := f.File.Write(p)
	switch {
	case strings.HasPrefix(name, "journal."):
		f.doom.at(pointJournalled)
	case strings.HasPrefix(name, "state."):
		f.doom.at(pointRemember)
	case name == "done":
		f.doom.at(pointDone)
	}
	return n, err
}

// doomedSink is a sink with points in it.
type doomedSink struct {
	pipeline.Sink
	doom    *doom
	written string
}

func (s doomedSink) Commit(ctx context.Context) (pipeline.Position, error) {
	to, err := s.Sink.Commit(ctx)
	s.doom.at(s.written)
	return to, err
}

func (s doomedSink) Start(ctx context.Context, fresh bool) error {
	return s.Sink.(pipeline.Starter).Start(ctx, fresh)
}

func (s doomedSink) Prepare(ctx context.Context, fresh bool) error {
	return s.Sink.(pipeline.Preparer).Prepare(ctx, fresh)
}

func (s doomedSink) Check(ctx context.Context, to pipeline.Position) error {
	return s.Sink.(pipeline.Rewinder).Check(ctx, to)
}

func (s doomedSink) Rewind(ctx context.Context, to pipeline.Position) error {
	s.doom.at(pointRewinding)
	err := s.Sink.(pipeline.Rewinder).Rewind(ctx, to)
	s.doom.at(pointRewound)
	return err
}

// provider answers every prompt with the same, and counts.
type provider struct {
	mu    sync.Mutex
	asked map[string]int
}

func (s *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Messages []struct{ Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Messages) == 0 {
		http.Error(w, "what?", http.StatusBadRequest)
		return
	}
	prompt := body.Messages[len(body.Messages)-1].Content
	s.mu.Lock()
	s.asked[prompt]++
	s.mu.Unlock()
	time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"choices": []any{map[string]any{"finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": "re: " + prompt}}},
		"usage":   map[string]any{"prompt_tokens": 1, "completion_tokens": 1},
	})
}

func (s *provider) total() (calls, prompts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.asked {
		calls += n
	}
	return calls, len(s.asked)
}

// doomedCase is a pipeline that is killed.
type doomedCase struct {
	name   string
	input  string // its file's name
	output string
	yaml   string // between source and sink
	// inOrder says that the output is to be in the order of the input.
	inOrder bool
	points  []string
	// shuffle has the rows in another order, without every tenth, and with new ones among
	// them.
	shuffle bool
	// merge and route are for a pipeline with two sources and three sinks.
	merge, route string
}

// doomedRows is how many rows the input has, and shuffledNew how many of the shuffled ones
// are new.
const doomedRows, shuffledNew = 160, 16

func doomedCases() []doomedCase {
	always := []string{pointJournalled, pointWritten, pointCheckpoint, pointRename, pointRenamed, pointRewinding, pointRewound}
	const ask = `  - llm: {model: m, prompt: "a {{.i}} {{field \"c\" \"\"}}", output: a, base_url: URL, api_key: k}
    parallelism: 8
    retry: {attempts: 1}
`
	return []doomedCase{
		{"ordered", "in.jsonl", "out.jsonl", ask, true, always, false, "", ""},
		{"unordered csv to gzip", "in.csv", "out.csv.gz", ask + "    ordered: false\n", false, nil, false, "", ""},
		{"split to zstd", "in.jsonl.gz", "out.jsonl.zst", "  - split: {field: parts, as: c}\n" + ask + "    ordered: false\n", false, nil, false, "", ""},
		{"two questions and dedupe", "in.jsonl.zst", "out.jsonl", ask +
			"  - dedupe: {by: g}\n" +
			"  - llm: {model: m, prompt: \"b {{.a}}\", output: b, base_url: URL, api_key: k}\n", true, []string{pointRemember}, false, "", ""},
		{"group", "in.jsonl", "out.jsonl.gz", "  - group: {size: 7}\n" +
			"  - llm: {model: m, prompt: \"b {{.items}}\", output: b, base_url: URL, api_key: k}\n" +
			"  - ungroup: {field: items}\n" +
			"  - llm: {model: m, prompt: \"c {{.i}}\", output: c, base_url: URL, api_key: k}\n", true, nil, false, "", ""},
		{"dead letters", "in.jsonl", "out.jsonl", "  - llm: {model: m, prompt: \"d {{.only}}\", output: d, base_url: URL, api_key: k}\n    ordered: false\n", false, []string{pointDead}, false, "", ""},
		{
			name: "two sources in turns to all of three sinks", input: "in.jsonl", output: "out.jsonl", merge: "interleave", route: "all",
			yaml: ask + "  - map: {keep: [i, a]}\n", inOrder: true,
		},
		{
			name: "two sources to the first of three sinks", input: "in.jsonl.gz", output: "out.jsonl", merge: "concat", route: "first",
			yaml: ask + "    ordered: false\n  - map: {keep: [i, a]}\n",
		},
		{
			name: "reduced between two questions", input: "in.jsonl", output: "out.jsonl", inOrder: true,
			points: []string{pointJournalled, pointWritten, pointRenamed, pointDead},
			yaml: "  - llm: {model: m, prompt: \"d {{.only}}\", output: d, base_url: URL, api_key: k}\n    parallelism: 8\n" +
				"  - map: {set: {k: 'i % 90'}}\n" +
				"  - reduce: {by: [k], count: n, sum: {s: i}, list: {l: d}}\n" +
				"  - map: {set: {z: 'fromJSON(k % 7 == 3 ? \"{\" : \"1\")'}}\n" +
				"  - llm: {model: m, prompt: \"e {{.k}} {{.n}} {{.s}}\", output: e, base_url: URL, api_key: k}\n    parallelism: 4\n",
		},
		{
			name: "reduced twice", input: "in.csv", output: "out.jsonl.gz", inOrder: true,
			yaml: ask + "  - reduce: {by: [g], count: n, list: {l: a}}\n" +
				"  - llm: {model: m, prompt: \"b {{.g}} {{.n}}\", output: b, base_url: URL, api_key: k}\n" +
				"  - reduce: {by: [n], list: {all: b}, count: m, first: {g: g}}\n" +
				"  - llm: {model: m, prompt: \"c {{.n}} {{.m}}\", output: c, base_url: URL, api_key: k}\n",
		},
		{"several files with a limit", "in*.jsonl", "out.jsonl", ask + "  - limit: {count: 100}\n", true, nil, false, "", ""},
	}
}

func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	kills := someKills
	if s := os.Getenv(killsVariable); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range doomedCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, kills)
		})
	}
}

// run kills the pipeline at its points, each so many times, and so often at a moment of
// chance, over as many runs to the end as it takes.
func (c doomedCase) run(t *testing.T, kills int) {
	t.Helper()
	want := c.undisturbed(t)
	hits := map[string]int{}
	random := rand.New(rand.NewPCG(1, uint64(len(c.name))))
	for begun := 0; kills > 0 || slices.ContainsFunc(c.points, func(p string) bool { return hits[p] < eachPoint }); begun++ {
		if begun > 400 {
			t.Fatalf("the points are not reached: %v", hits)
		}
		server := &provider{asked: map[string]int{}}
		dir := c.prepare(t, server)
		killed := 0
		for {
			point, nth, after := "", 0, time.Duration(0)
			switch missing := slices.DeleteFunc(slices.Clone(c.points), func(p string) bool {
				return hits[p] >= eachPoint || killed == 0 && (p == pointRewinding || p == pointRewound)
			}); {
			case killed >= 8: // now to the end
			case len(missing) > 0 && random.IntN(3) > 0:
				point, nth = missing[random.IntN(len(missing))], 1+random.IntN(4)
			case kills > 0:
				after = time.Duration(20+random.IntN(150)) * time.Millisecond
			case len(missing) > 0:
				point, nth = missing[random.IntN(len(missing))], 1
			case killed == 0: // what is missing needs a run that goes on
				point, nth = pointRenamed, 2+random.IntN(3)
			}
			if !c.process(t, dir, point, nth, after) {
				break
			}
			if killed++; point != "" {
				hits[point]++
			} else {
				kills--
			}
		}
		c.check(t, dir, want, server, killed)
	}
}

// process runs the pipeline in a process and reports whether that was killed.
func (c doomedCase) process(t *testing.T, dir, point string, nth int, after time.Duration) (killed bool) {
	t.Helper()
	return doomed(t, dir, fmt.Sprintf("%s:%d", point, nth), after)
}

// doomed runs what is in a folder in a process and reports whether that was killed.
func doomed(t *testing.T, dir, where string, after time.Duration) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	spec := filepath.Join(dir, "p.yaml") + "|" + where
	cmd.Env = append(os.Environ(), doomedVariable+"="+spec, "GORACE=atexit_sleep_ms=0",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=testtest123", "AWS_REGION=us-east-1")
	var talk bytes.Buffer
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	if err == nil {
		return false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Fatalf("killed at %q: %v: %s", where, err, talk.String())
	}
	return true
}

// prepare writes the pipeline and its input into a folder.
func (c doomedCase) prepare(t *testing.T, server *provider) (dir string) {
	t.Helper()
	dir = t.TempDir()
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	c.write(t, dir)
	source, sink := "source: {file: {path: 'DIR/"+c.input+"'}}", "sink: {file: {path: DIR/"+c.output+"}, flush: {records: 10, every: 4ms}}"
	if c.merge != "" {
		source = "sources: [{file: {path: DIR/" + c.input + "}}, {file: {path: DIR/" + c.input + "}}]\nmerge: " + c.merge
		sink = "sinks:\n  - {file: {path: DIR/" + c.output + "}, flush: {records: 10, every: 4ms}}\n" +
			"  - {file: {path: DIR/second.jsonl.gz}, when: 'i % 3 == 1'}\n  - {file: {path: DIR/third.csv, columns: [i, a]}, when: 'i % 2 == 0'}\nroute: " + c.route
	}
	yaml := "name: doomed\n" + source + "\nstages:\n" + c.yaml + sink + "\ndead_letter: {file: {path: DIR/dead.jsonl}}\nstop_when: off\n"
	yaml = strings.NewReplacer("DIR", dir, "URL", listener.URL+"/v1").Replace(yaml)
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c doomedCase) write(t *testing.T, dir string) {
	t.Helper()
	var jsonl, csv bytes.Buffer
	csv.WriteString("i,g\n")
	for n := range doomedRows {
		i := n
		if c.shuffle {
			if i = doomedRows - 1 - n; i%10 == 3 {
				i += 1000
			}
		}
		only := ""
		if i%5 != 0 {
			only = fmt.Sprintf(`,"only":%d`, i)
		}
		fmt.Fprintf(&jsonl, `{"i":%d,"g":%d,"parts":["x","y","z"]%s}`+"\n", i, i%100, only)
		fmt.Fprintf(&csv, "%d,\"%d\n\"\n", i, i%100)
	}
	for _, name := range []string{c.input, strings.ReplaceAll(c.input, "*", "2")} {
		name = strings.ReplaceAll(name, "*", "1")
		data := jsonl.Bytes()
		if strings.Contains(name, ".csv") {
			data = csv.Bytes()
		}
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var w io.WriteCloser = file
		switch filepath.Ext(name) {
		case ".gz":
			w = gzip.NewWriter(file)
		case ".zst":
			w, _ = zstd.NewWriter(file)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
}

// doomedOutcome is what a run leaves.
type doomedOutcome struct {
	rows, dead     []string
	calls, prompts int
}

func (c doomedCase) undisturbed(t *testing.T) doomedOutcome {
	t.Helper()
	server := &provider{asked: map[string]int{}}
	dir := c.prepare(t, server)
	if c.process(t, dir, "", 0, 0) {
		t.Fatal("killed by somebody else")
	}
	want := c.read(t, dir)
	calls, prompts := server.total()
	if want.calls, want.prompts = calls, prompts; calls < prompts || len(want.rows) == 0 {
		t.Fatalf("got %d rows for %d calls", len(want.rows), calls)
	}
	return want
}

func (c doomedCase) read(t *testing.T, dir string) doomedOutcome {
	t.Helper()
	rows := lines(t, filepath.Join(dir, c.output))
	if c.merge != "" {
		rows = append(append(rows, lines(t, filepath.Join(dir, "second.jsonl.gz"))...), lines(t, filepath.Join(dir, "third.csv"))...)
	}
	dead := lines(t, filepath.Join(dir, "dead.jsonl"))
	if !c.inOrder {
		slices.Sort(rows)
	}
	slices.Sort(dead)
	return doomedOutcome{rows: rows, dead: dead}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var r io.Reader = file
	switch filepath.Ext(path) {
	case ".gz":
		r, err = gzip.NewReader(file)
	case ".zst":
		r, err = zstd.NewReader(file)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func (c doomedCase) check(t *testing.T, dir string, want doomedOutcome, server *provider, killed int) {
	t.Helper()
	got := c.read(t, dir)
	clean := func(list []string) []string { // the path of the input is another
		out := make([]string, len(list))
		for i, s := range list {
			before, rest, ok := strings.Cut(s, `"source":{"path":"`)
			if _, after, found := strings.Cut(rest, `"`); ok && found {
				s = before + after
			}
			out[i] = s
		}
		return out
	}
	if !slices.Equal(got.rows, want.rows) {
		t.Errorf("after %d kills: got %d rows, want %d: %s", killed, len(got.rows), len(want.rows), firstDifference(got.rows, want.rows))
	}
	if g, w := clean(got.dead), clean(want.dead); !slices.Equal(g, w) {
		t.Errorf("after %d kills: got %d dead letters, want %d: %s", killed, len(g), len(w), firstDifference(g, w))
	}
	calls, prompts := server.total()
	if limited := strings.Contains(c.yaml, "limit:"); !limited && prompts != want.prompts { // what it reads ahead is chance
		t.Errorf("after %d kills: %d prompts, want %d", killed, prompts, want.prompts)
	}
	if most := max(want.calls, prompts) + killed*32; calls > most {
		t.Errorf("after %d kills: %d calls, want %d at most", killed, calls, most)
	}
	t.Logf("%d kills: %d calls for %d prompts", killed, calls, prompts)
}

func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			at := func(list []string) string {
				if i < len(list) {
					return list[i]
				}
				return "nothing"
			}
			return fmt.Sprintf("at %d: got %s, want %s", i, at(got), at(want))
		}
	}
	return ""
}
