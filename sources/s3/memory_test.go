package s3_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sources/s3"
)

// generated is an object that nobody holds: its rows are made when they are asked for.
type generated struct{ rows int64 }

const generatedRow = 1 << 10

func (g generated) size() int64 { return g.rows * generatedRow }

// at writes the bytes of a row.
func (g generated) at(i int64, dst []byte) []byte {
	from := len(dst)
	dst = fmt.Appendf(dst, `{"i":%d,"text":"`, i)
	dst = append(dst, bytes.Repeat([]byte{'x'}, generatedRow-3-(len(dst)-from))...)
	return append(dst, "\"}\n"...)
}

// ServeHTTP is as much of S3 as the source needs.
func (g generated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"e"`)
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", strconv.FormatInt(g.size(), 10))
		return
	}
	var from, to int64
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, g.size()))
	w.Header().Set("Content-Length", strconv.FormatInt(to-from+1, 10))
	w.WriteHeader(http.StatusPartialContent)
	row := make([]byte, 0, generatedRow)
	for from <= to {
		row = g.at(from/generatedRow, row[:0])
		part := row[from%generatedRow:]
		part = part[:min(int64(len(part)), to-from+1)]
		if _, err := w.Write(part); err != nil {
			return
		}
		from += int64(len(part))
	}
}

// TestPeakMemory reads an object that is much larger than what may be held of it. With
// ROWMILL_TEST_LARGE=1 it has 1 GB.
func TestPeakMemory(t *testing.T) {
	g := generated{96 << 10}
	if os.Getenv("ROWMILL_TEST_LARGE") != "" {
		g.rows = 1 << 20
	}
	server := httptest.NewServer(g)
	defer server.Close()
	c := s3.Default()
	c.Bucket, c.Endpoint, c.Key = "large", server.URL, []string{"a.jsonl"}
	s, err := s3.New(c, buckettest.Env())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak := m.HeapInuse, uint64(0)
	n := int64(0)
	for r, err := range s.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%(16<<10) == 0 {
			runtime.GC() // what is held, not what is left behind
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse-min(before, m.HeapInuse))
		}
		_ = r
	}
	// Five chunks of 4 MiB, and some room for the server in the same process.
	if most := uint64(40 << 20); n != g.rows || peak > most {
		t.Errorf("%d rows of %d; %d MiB were held, want %d at most", n, g.rows, peak>>20, most>>20)
	}
	t.Logf("%d MiB read, %d MiB held at most", g.size()>>20, peak>>20)
	var _ pipeline.Meter = s
	if done, total := s.Progress(); done != g.size() || total != g.size() {
		t.Errorf("progress %d of %d", done, total)
	}
}
