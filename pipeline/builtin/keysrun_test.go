package builtin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// local is an address on this machine, whose port is another one each time.
var local = regexp.MustCompile(`(127\.0\.0\.1|\[::1\]):[0-9]+`)

// uploadID is another one each time.
var uploadID = regexp.MustCompile(`uploadId=[^&]+`)

// longest is how long a run may take on a real clock.
const longest = 30 * time.Second

// run runs the pipeline with one value of the key.
func (c keyCase) run(t *testing.T, value string) (o observation, err error) {
	dir := t.TempDir()
	for name, text := range c.files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return o, err
		}
	}
	stage := &scripted{script: c.script, began: time.Now()}
	pairs := []string{"DIR", dir}
	provider := &recording{answer: c.answer, pages: c.pages, missing: c.meet, met: make(chan struct{})}
	if c.script == nil { // with a fake clock there is no network
		server := httptest.NewServer(provider)
		defer server.Close()
		pairs = append(pairs, "URL", server.URL, "LOCALHOST", strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1))
	}
	var objects *store
	if c.objects != nil {
		objects = newStore(t, c.objects)
		pairs = append(pairs, "LOCALS3", strings.Replace(objects.URL, "127.0.0.1", "localhost", 1), "S3", objects.URL)
	}
	fill := strings.NewReplacer(pairs...)
	p, err := c.load(fill, value, stage)
	if err != nil {
		return o, err
	}
	if err := c.execute(t, p, &o); err != nil {
		return o, err
	}
	o.wire, o.log = provider.seen(), stage.log
	o.clean = strings.NewReplacer(dir, "DIR")
	o.files, err = readFiles(dir, c.files)
	if objects != nil {
		objects.observe(t, &o, c.objects)
	}
	return o, err
}

// load loads the pipeline with one value of the key.
func (c keyCase) load(fill *strings.Replacer, value string, stage *scripted) (pipeline.Pipeline, error) {
	reg, err := builtin.Registry()
	if err != nil {
		return pipeline.Pipeline{}, err
	}
	if err := reg.Register(stage.specs()...); err != nil {
		return pipeline.Pipeline{}, err
	}
	var set []string
	if value != "" {
		set = []string{c.path() + "=" + fill.Replace(value)}
	}
	p, err := load.Bytes("keys.yaml", []byte(fill.Replace(c.yaml)), load.Options{Registry: reg, Set: set, Env: environment()})
	if err != nil {
		return p, fmt.Errorf("with %q: %w", value, err)
	}
	return p, nil
}

// environment is that of the bucket, with a variable more.
func environment() pipeline.Env {
	env := buckettest.Env()
	bucket := env.Getenv
	env.Getenv = func(name string) string {
		if name == "GREETING" {
			return "hello"
		}
		return bucket(name)
	}
	return env
}

func (c keyCase) execute(t *testing.T, p pipeline.Pipeline, o *observation) error {
	ctx := t.Context()
	if c.script == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, longest)
		defer cancel()
	}
	began := time.Now()
	e, err := engine.Start(ctx, p, c.options)
	if err != nil {
		return err
	}
	if c.stop > 0 {
		defer time.AfterFunc(c.stop, e.Stop).Stop()
	}
	o.summary, o.err = e.Wait()
	o.elapsed = time.Since(began)
	if ctx.Err() != nil {
		return fmt.Errorf("the run did not end within %v: %w", longest, errors.Join(o.err, ctx.Err()))
	}
	return nil
}

// readFiles returns the files that a run has made, by their names.
func readFiles(dir string, before map[string]string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if filepath.Ext(name) == ".db" { // its bytes are SQLite's own business
			files[name], err = dump(path)
			return err
		}
		if _, input := before[name]; input {
			return nil
		}
		text, err := os.ReadFile(path)
		files[name] = string(text)
		return err
	})
	return files, err
}

// scripted is the stage "scripted", and the sink "recorder", which notes when it is
// given what.
type scripted struct {
	script    script
	began     time.Time
	deadlines pipeline.Deadlines

	mu       sync.Mutex
	attempts map[int]int
	total    int
	log      []string
}

func (s *scripted) specs() []pipeline.Spec {
	none := func() struct{} { return struct{}{} }
	return []pipeline.Spec{
		pipeline.StageSpec(pipeline.Spec{Name: "scripted", Workload: pipeline.Waits}, none,
			func(struct{}, pipeline.Env) (pipeline.Stage, error) { return scriptedStage{s}, nil }),
		pipeline.StageSpec(pipeline.Spec{Name: "asking", Workload: pipeline.Waits}, none,
			func(struct{}, pipeline.Env) (pipeline.Stage, error) { return asking{s}, nil }),
		pipeline.SinkSpec(pipeline.Spec{Name: "recorder"}, none,
			func(struct{}, pipeline.Env) (pipeline.Sink, error) { return recorder{s}, nil }),
	}
}

// scriptedStage is what the engine sees of it.
type scriptedStage struct{ *scripted }

func (s scriptedStage) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return s.process(ctx, r)
}

func (s scriptedStage) Deadlines(d pipeline.Deadlines) { s.deadlines = d }

// asking is scripted as a stage that takes turns, each request of which may be made a
// second time.
type asking struct{ *scripted }

func (asking) TakesTurns() {}

func (a asking) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return policy.Turn(ctx, policy.Ask{Hedge: true}, func(ctx context.Context, _ *policy.Attempt) ([]*pipeline.Record, error) {
		return a.process(ctx, r)
	})
}

func (s *scripted) process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	c := &call{ctx: ctx, since: time.Since(s.began), deadlines: s.deadlines}
	v, _ := r.Lookup("i")
	if _, err := fmt.Sscan(v.Text(), &c.n); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.attempts == nil {
		s.attempts = map[int]int{}
	}
	s.attempts[c.n]++
	s.total++
	c.attempt, c.total = s.attempts[c.n], s.total
	s.mu.Unlock()
	s.note("row %d, attempt %d", c.n, c.attempt)
	if err := s.script(c); err != nil {
		return nil, err
	}
	return []*pipeline.Record{r}, nil
}

func (s *scripted) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf("%v: ", time.Since(s.began).Round(time.Second))+fmt.Sprintf(format, args...))
}

type recorder struct{ *scripted }

func (r recorder) Write(_ context.Context, batch []*pipeline.Record) error {
	r.note("%d rows written", len(batch))
	return nil
}
func (recorder) Commit(context.Context) (pipeline.Position, error) { return "", nil }
func (recorder) Close(context.Context) error                       { return nil }

// answer is what a provider answers to a question: the last message.
type answer func(w http.ResponseWriter, question string)

// says answers as OpenAI does.
func says(w io.Writer, text, finish string) {
	quoted, _ := json.Marshal(text) // a string has no error
	_, _ = fmt.Fprintf(w, `{"choices":[{"message":{"role":"assistant","content":%s},"finish_reason":%q}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, quoted, finish)
}

// recording is a provider that remembers what it was asked.
type recording struct {
	answer answer
	pages  http.HandlerFunc // answers what is asked with GET; nil for nothing there

	mu      sync.Mutex
	said    []string
	missing int           // so many questions until they are answered
	met     chan struct{} // closed when none is missing
}

// meet returns when all questions are there that are to be answered together.
func (p *recording) meet() {
	p.mu.Lock()
	wait := p.missing > 0
	if p.missing--; p.missing == 0 {
		close(p.met)
	}
	p.mu.Unlock()
	if wait {
		<-p.met
	}
}

func (p *recording) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

// ServeHTTP answers a chat request. There is no list of models.
func (p *recording) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var header strings.Builder
	_ = r.Header.Write(&header) // sorted; a Builder has no error
	p.mu.Lock()
	p.said = append(p.said, fmt.Sprintf("%s %s\n%s%s", r.Method, r.RequestURI, header.String(), body))
	p.mu.Unlock()
	if r.Method == http.MethodGet && p.pages != nil {
		p.pages(w, r)
		return
	}
	if r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	var q struct{ Messages []struct{ Content string } }
	if err := json.Unmarshal(body, &q); err != nil || len(q.Messages) == 0 {
		http.Error(w, "no messages", http.StatusBadRequest)
		return
	}
	question := q.Messages[len(q.Messages)-1].Content
	p.meet()
	if p.answer == nil {
		says(w, "You said: "+question, "stop")
		return
	}
	p.answer(w, question)
}
