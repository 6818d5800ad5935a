package s3_test

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/internal/several"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks/s3"
)

// waiting is a source of two rows, of which the second comes when somebody says so.
type waiting struct{ second <-chan struct{} }

func (w waiting) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		if !yield(pipeline.RawRecord(`{"i":0}`), nil) {
			return
		}
		select {
		case <-w.second:
			yield(pipeline.RawRecord(`{"i":1}`), nil)
		case <-ctx.Done():
		}
	}
}

// TestAPartEndsByTime although no row comes: the second one comes only when the part with the
// first is in the bucket.
func TestAPartEndsByTime(t *testing.T) {
	t.Parallel()
	itself := func(s pipeline.Sink) (pipeline.Sink, error) { return s, nil }
	alone := func(s pipeline.Sink) (pipeline.Sink, error) { return several.All(several.Branch{Sink: s}) }
	for name, c := range map[string]struct {
		state string
		wrap  func(pipeline.Sink) (pipeline.Sink, error)
	}{
		"with state":          {t.TempDir(), itself},
		"without state":       {"off", itself},
		"one of several":      {"off", alone},
		"several, with state": {t.TempDir(), alone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			uploaded := make(chan struct{})
			server.Set(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "out/part-00001.jsonl.gz") {
					return false
				}
				next.ServeHTTP(w, r)
				close(uploaded)
				return true
			})
			to := sink(t, server, func(c *s3.Config) { c.Part.Every = pipeline.Duration(50 * time.Millisecond) })
			whole, err := c.wrap(to)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = engine.Run(ctx, pipeline.Pipeline{
				Name: "s3", Source: waiting{uploaded}, Sink: whole, Flush: pipeline.Flush{Every: time.Millisecond},
			}, engine.Options{State: c.state})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"out/_manifest.json", "out/part-00001.jsonl.gz", "out/part-00002.jsonl.gz"}
			if got := server.Keys(t, ""); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			checkManifest(t, server, 2, 1, 1)
		})
	}
}
