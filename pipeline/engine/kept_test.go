package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// What a run keeps on the disk.

// fat answers with so many bytes.
func fat(size int) pipeline.Step {
	text := strings.Repeat("x", size)
	return pipeline.Step{
		Stage: pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			r.Set("a", pipeline.Text(text))
			return []*pipeline.Record{r}, nil
		}),
		Workload: pipeline.Waits, Costs: true, StepOptions: pipeline.StepOptions{Name: "fat"},
	}
}

// watchedFS counts syncs and renames.
type watchedFS struct {
	fsys.FS
	syncs, renames *atomic.Int64
}

func (f watchedFS) OpenFile(path string, flag int, perm fs.FileMode) (fsys.File, error) {
	file, err := f.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return watchedFile{file, f.syncs}, nil
}

func (f watchedFS) Rename(from, to string) error {
	f.renames.Add(1)
	return f.FS.Rename(from, to)
}

type watchedFile struct {
	fsys.File
	syncs *atomic.Int64
}

func (f watchedFile) Sync() error {
	if strings.Contains(f.Name(), "journal.") {
		f.syncs.Add(1)
	}
	return f.File.Sync()
}

// The journal holds what no checkpoint covers, and is not as long as the run. When it
// grows fast a checkpoint does not wait for its time.
func TestTheJournalIsNotAsLongAsTheRun(t *testing.T) {
	t.Parallel()
	const rows, size = 5_000, 32 << 10 // 156 MiB in all
	dir := t.TempDir()
	var most int64
	sink := &watchingSink{paperSink: &paperSink{paper: new(paper)}, seen: func() { most = max(most, sizeOfFiles(t, dir, "journal.")) }}
	var syncs, renames atomic.Int64
	checkpoints := make(chan struct{}, rows)
	o := engine.Options{State: dir}.On(renamingFS{watchedFS{fsys.OS{}, &syncs, &renames}, checkpoints}, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	step := fat(size)
	step.Stage = pausing{step.Stage, 600, checkpoints}
	_, err := engine.Run(ctx, pipeline.Pipeline{
		Source: &rowsOf{w: &world{rows: rows}}, Sink: sink, Flush: pipeline.Flush{Records: 20, Every: time.Millisecond}, Steps: []pipeline.Step{step},
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	if most > rows*size*3/4 || most == 0 {
		t.Errorf("the journal had %d MiB, want far less than the %d of all answers", most>>20, rows*size>>20)
	}
	if n := renames.Load(); n < 6 {
		t.Errorf("%d checkpoints, want one at least for every 16 MiB of answers", n)
	}
}

// renamingFS says when a checkpoint was renamed.
type renamingFS struct {
	watchedFS
	renamed chan<- struct{}
}

func (f renamingFS) Rename(from, to string) error {
	err := f.watchedFS.Rename(from, to)
	f.renamed <- struct{}{}
	return err
}

// pausing is a stage that works on no more than so many rows for each checkpoint, so that
// a slow disk is not outrun.
type pausing struct {
	pipeline.Stage
	rows        uint64
	checkpoints <-chan struct{}
}

func (s pausing) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if r.Ref.Seq%s.rows == s.rows-1 {
		select {
		case <-s.checkpoints:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Stage.Process(ctx, r)
}

func sizeOfFiles(t *testing.T, dir, prefix string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), prefix) {
			sum += info.Size()
		}
	}
	return sum
}

// watchingSink calls a function at every commit, and keeps no rows.
type watchingSink struct {
	*paperSink
	seen func()
}

func (s *watchingSink) Write(context.Context, []*pipeline.Record) error { return nil }

func (s *watchingSink) Commit(ctx context.Context) (pipeline.Position, error) {
	s.seen()
	return s.paperSink.Commit(ctx)
}

// With SyncEvery below zero every answer is durable before it is used.
func TestEveryAnswerIsDurableIfWanted(t *testing.T) {
	t.Parallel()
	const rows = 20
	for every, least := range map[time.Duration]int64{-1: rows, time.Hour: 0} {
		var syncs, renames atomic.Int64
		step := fat(10)
		step.Parallelism = 1
		o := engine.Options{State: t.TempDir(), SyncEvery: every}.On(watchedFS{fsys.OS{}, &syncs, &renames}, time.Hour)
		_, err := engine.Run(t.Context(), pipeline.Pipeline{Source: &rowsOf{w: &world{rows: rows}}, Sink: &paperSink{paper: new(paper)}, Steps: []pipeline.Step{step}}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := syncs.Load(); got < least || least == 0 && got >= rows {
			t.Errorf("every %v: %d syncs of the journal for %d answers", every, got, rows)
		}
	}
}

// publishing is a sink that shows what it has when it is told to.
type publishing struct {
	*paperSink
	dir       string
	published []string
	early     error
}

func (p *publishing) Publish(_ context.Context, to pipeline.Position) error {
	checkpoint, err := os.ReadFile(filepath.Join(p.dir, "checkpoint"))
	if !bytes.Contains(checkpoint, fmt.Appendf(nil, `"position":%q`, to)) {
		p.early = fmt.Errorf("published at %q: the checkpoint is %s, %w", to, checkpoint, err)
	}
	p.published = append(p.published, string(to))
	return nil
}

// What a checkpoint covers is published once that is there, the last of it too.
func TestWhatACheckpointCoversIsPublished(t *testing.T) {
	t.Parallel()
	p := &publishing{paperSink: &paperSink{paper: new(paper)}, dir: t.TempDir()}
	_, err := engine.Run(t.Context(), pipeline.Pipeline{Source: &rowsOf{w: &world{rows: 30}}, Sink: p, Steps: []pipeline.Step{fat(10)}}, engine.Options{State: p.dir})
	if err != nil || p.early != nil {
		t.Fatal(err, p.early)
	}
	if n := len(p.published); n == 0 || p.published[n-1] != "30" {
		t.Errorf("published at %v, want at 30 in the end", p.published)
	}
}

// unwilling is a sink whose end fails.
type unwilling struct {
	*paperSink
	err error
}

func (u unwilling) Close(context.Context) error { return u.err }

// A run that has failed at its very end is not finished: the next one has something to do.
func TestAFailedRunIsNotFinished(t *testing.T) {
	t.Parallel()
	w := &world{rows: 10, dir: t.TempDir()}
	run := func(end error) (engine.Summary, error) {
		return engine.Run(t.Context(), pipeline.Pipeline{
			Source: seekable{&rowsOf{w: w}}, Sink: unwilling{&paperSink{paper: &w.paper}, end}, Steps: []pipeline.Step{fat(10)},
		}, engine.Options{State: w.dir})
	}
	if _, err := run(io.ErrShortWrite); !errors.Is(err, io.ErrShortWrite) {
		t.Fatalf("got %v, want the failure of the sink", err)
	}
	s, err := run(nil)
	if err != nil || s.NothingToDo || !s.Resumed || len(w.paper.lines) != w.rows {
		t.Errorf("got %+v, %v and %d rows, want that it goes on to its end", s, err, len(w.paper.lines))
	}
}

// paidTurner is a stage that takes turns. Nobody has said that it costs.
type paidTurner struct {
	asked *atomic.Int64
	each  func(n int64)
}

func (paidTurner) TakesTurns() {}

func (p paidTurner) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	p.each(p.asked.Add(1))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.Set("a", pipeline.Text("answer"))
	return []*pipeline.Record{r}, nil
}

// What a stage that takes turns has returned is not asked for again, also where the
// program has not said that it costs.
func TestAStageThatTakesTurnsCosts(t *testing.T) {
	t.Parallel()
	w := &world{rows: 20, dir: t.TempDir()}
	var asked atomic.Int64
	var e *engine.Execution
	ready := make(chan struct{})
	start := func(each func(int64)) {
		var err error
		e, err = engine.Start(t.Context(), pipeline.Pipeline{
			Source: seekable{&rowsOf{w: w}}, Sink: &paperSink{paper: &w.paper}, Flush: pipeline.Flush{Every: time.Hour},
			Steps: []pipeline.Step{{Stage: paidTurner{&asked, each}, StepOptions: pipeline.StepOptions{Parallelism: 1}}},
		}, engine.Options{State: w.dir})
		if err != nil {
			t.Fatal(err)
		}
	}
	start(func(n int64) {
		if n == 10 {
			<-ready
			e.Abort()
		}
	})
	close(ready)
	if s, err := e.Wait(); err != nil || s.Counts.Unfinished == 0 {
		t.Fatal(s.Counts, err)
	}
	start(func(int64) {})
	s, err := e.Wait()
	if err != nil || s.Counts.Delivered != int64(w.rows) || s.Replayed == 0 {
		t.Fatal(s, err)
	}
	if got := asked.Load(); got > int64(w.rows)+1 {
		t.Errorf("asked %d times about %d rows, want one more at most", got, w.rows)
	}
}

// Neither keys nor what a provider says of them is in the state, the output, the log or
// the error; and nobody else may read the state.
func TestTheStateHasNoSecrets(t *testing.T) {
	t.Parallel()
	const key, token = "sk-very-secret-0001", "token-very-secret-0002"
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := calls.Add(1); {
		case n <= 5:
			_, _ = io.WriteString(w, `{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"fine"}}]}`)
		case n <= 7:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"error":{"message":"no row for %s and %s","code":"bad"}}`, key, token)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":{"message":"wrong key %s with %s"}}`, key, token)
		}
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	yaml := strings.NewReplacer("DIR", dir, "URL", server.URL).Replace(`
source: {range: {to: 30}}
stages:
  - dedupe: {by: i}
  - llm: {model: m, base_url: URL/v1, api_key: "${KEY}", headers: {X-Token: "${TOKEN}"}, prompt: "{{.i}}", output: a}
    parallelism: 1
sink: {file: {path: DIR/out.jsonl}, flush: {every: 1ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`)
	registry, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"KEY": key, "TOKEN": token}[name] }
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := load.Bytes("p.yaml", []byte(yaml), load.Options{Registry: registry, Env: pipeline.Env{Getenv: getenv, Logger: logger}})
	if err != nil {
		t.Fatal(err)
	}
	s, failure := engine.Run(t.Context(), p, engine.Options{State: filepath.Join(dir, "state"), Logger: logger})
	if failure == nil || s.Counts.Delivered != 5 || s.Counts.DeadLettered != 2 {
		t.Fatalf("got %+v, %v, want five rows, two dead letters and a failure", s.Counts, failure)
	}
	texts := map[string]string{"the log": log.String(), "the error": failure.Error(), "the summary": fmt.Sprintf("%+v", s)}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && strings.Contains(path, "state") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", path, info.Mode())
		}
		text, readErr := os.ReadFile(path)
		texts[path] = string(text)
		return errors.Join(err, readErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range texts {
		for _, secret := range []string{key, token} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", where, secret)
			}
		}
	}
	for _, name := range []string{"checkpoint", "journal.0", "lock", "state.dedupe"} {
		if _, looked := texts[filepath.Join(dir, "state", name)]; !looked {
			t.Errorf("there is no %s to look at", name)
		}
	}
}
