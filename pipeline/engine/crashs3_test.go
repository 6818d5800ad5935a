package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/pipeline"
)

// More points at which a process is killed, of a sink that publishes.
const (
	pointFinished   = "finished"   // the last part is sealed, and no checkpoint says so
	pointPublishing = "publishing" // a checkpoint covers parts, and they are not shown
	pointPublished  = "published"  // they are
)

// doomedBucket is a sink that publishes, with points in it.
type doomedBucket struct{ doomedSink }

// published adds the points of a sink that publishes, where it is one.
func (s doomedSink) published() pipeline.Sink {
	if _, ok := s.Sink.(pipeline.Publisher); ok {
		return doomedBucket{s}
	}
	return s
}

func (s doomedBucket) Spool(dir string) { s.Sink.(pipeline.Spooler).Spool(dir) }

func (s doomedBucket) Finish(ctx context.Context) (pipeline.Position, error) {
	at, err := s.Sink.(pipeline.Finisher).Finish(ctx)
	s.doom.at(pointFinished)
	return at, err
}

func (s doomedBucket) Publish(ctx context.Context, to pipeline.Position) error {
	s.doom.at(pointPublishing)
	err := s.Sink.(pipeline.Publisher).Publish(ctx, to)
	s.doom.at(pointPublished)
	return err
}

// bucketRun is a pipeline from a bucket into it that is killed.
type bucketRun struct {
	server *buckettest.Server
	asked  *provider
	dir    string
}

func newBucketRun(t *testing.T) *bucketRun {
	t.Helper()
	r := &bucketRun{server: buckettest.New(t), asked: &provider{asked: map[string]int{}}, dir: t.TempDir()}
	model := httptest.NewServer(r.asked)
	t.Cleanup(model.Close)
	for i := range 4 { // the first and the last are not compressed
		var text bytes.Buffer
		for j := range doomedRows / 4 {
			fmt.Fprintf(&text, `{"i":%d}`+"\n", i*doomedRows/4+j)
		}
		if key := fmt.Sprintf("in/%d.jsonl", i); i%3 == 0 {
			r.server.Put(t, key, text.String())
		} else {
			r.server.Put(t, key+".gz", packed(text.String()))
		}
	}
	// An upload takes a moment, so that it is met by a kill now and then.
	r.server.Set(func(_ http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if q.Method == http.MethodPut {
			time.Sleep(5 * time.Millisecond)
		}
		return false
	})
	yaml := `name: doomed
source: {s3: {bucket: rows, prefix: in/, endpoint: URL}}
stages:
  - llm: {model: m, prompt: "a {{.i}}", output: a, base_url: MODEL/v1, api_key: k}
    parallelism: 8
    retry: {attempts: 1}
sink: {s3: {bucket: rows, prefix: out, part: {rows: 23}, endpoint: URL}, flush: {records: 10, every: 4ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
stop_when: off
`
	yaml = strings.NewReplacer("URL", r.server.URL, "MODEL", model.URL, "DIR", r.dir).Replace(yaml)
	if err := os.WriteFile(filepath.Join(r.dir, "p.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func packed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// TestABucketKilledAgainAndAgain: whatever point a run from S3 to S3 is killed at, every row is
// in the bucket once, in its order, and the manifest says what is there.
func TestABucketKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	points := []string{
		pointJournalled, pointWritten, pointCheckpoint, pointRename, pointRenamed, pointFinished, pointPublishing, pointPublished, pointRewinding, pointRewound, "",
	}
	random := rand.New(rand.NewPCG(3, 5))
	hits := map[string]int{}
	missing := func() []string {
		return slices.DeleteFunc(slices.Clone(points), func(p string) bool { return hits[p] > 0 })
	}
	for begun := 0; len(missing()) > 0; begun++ {
		if begun > 30 {
			t.Fatalf("the points are not reached: %v", hits)
		}
		r := newBucketRun(t)
		killed := map[string]int{}
		for i := range 8 {
			left := append(missing(), points[random.IntN(len(points))])
			point := left[random.IntN(len(left))]
			after := time.Duration(0)
			if point == "" || i == 0 && strings.HasPrefix(point, "rew") { // those need a run that goes on
				point, after = "", time.Duration(30+random.IntN(150))*time.Millisecond
			}
			if !doomed(t, r.dir, fmt.Sprintf("%s:%d", point, 1+random.IntN(2)), after) {
				break
			}
			killed[point]++
			hits[point]++
		}
		if doomed(t, r.dir, ":0", 0) {
			t.Fatal("killed by somebody else")
		}
		r.check(t, killed)
	}
}

func (r *bucketRun) check(t *testing.T, killed map[string]int) {
	t.Helper()
	var m struct {
		Rows  int
		Parts []struct {
			Key  string
			Rows int
		}
	}
	text, ok := r.server.Read(t, "out/_manifest.json")
	if err := json.Unmarshal(text, &m); err != nil || !ok {
		t.Fatalf("after %v: the manifest is %q: %v", killed, text, err)
	}
	keys := []string{"out/_manifest.json"}
	var rows []string
	for _, p := range m.Parts {
		keys = append(keys, p.Key)
		data, _ := r.server.Read(t, p.Key)
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("after %v: %s: %v", killed, p.Key, err)
		}
		lines, err := io.ReadAll(z)
		if n := bytes.Count(lines, []byte("\n")); err != nil || n != p.Rows {
			t.Errorf("after %v: %s has %d rows, and %d by the manifest; %v", killed, p.Key, n, p.Rows, err)
		}
		rows = append(rows, strings.Split(strings.TrimSuffix(string(lines), "\n"), "\n")...)
	}
	if there := r.server.Keys(t, "out/"); !slices.Equal(there, keys) {
		t.Errorf("after %v: there is %q, by the manifest %q", killed, there, keys)
	}
	want := make([]string, doomedRows)
	for i := range want {
		want[i] = fmt.Sprintf(`{"i":%d,"a":"re: a %d"}`, i, i)
	}
	if !slices.Equal(rows, want) || m.Rows != doomedRows {
		t.Errorf("after %v: got %d rows, want %d: %s", killed, len(rows), len(want), firstDifference(rows, want))
	}
	total := 0
	for _, n := range killed {
		total += n
	}
	if calls, prompts := r.asked.total(); prompts != doomedRows || calls > prompts+total*32 {
		t.Errorf("after %v: %d calls for %d prompts", killed, calls, prompts)
	}
	t.Logf("killed %v", killed)
}
