package s3_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources/s3"
)

// object is a Parquet file of so many rows a row group: a number, and a text that does not
// compress, of so many bytes.
func object(t *testing.T, from, rows, group, fat int) (data string, want []string) {
	t.Helper()
	root, err := parquetfile.ParseSchema(pipeline.RawJSON(`{"n":"int64","fat":"string"}`))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := parquetfile.NewWriter(&out, parquetfile.Given(root), parquetfile.WriteOptions{GroupRows: int64(group)})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, fat)
	for i := from; i < from+rows; i++ {
		for j := range text {
			text[j] = 'A' + byte(random.IntN(64))%58
		}
		row := fmt.Sprintf(`{"n":%d,"fat":"%s"}`, i, strings.ReplaceAll(string(text), `\`, "-"))
		r, err := pipeline.ParseRecord([]byte(row))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		want = append(want, row)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), want
}

func TestParquetConformance(t *testing.T) {
	t.Parallel()
	a, want := object(t, 0, 7, 3, 10)
	b, more := object(t, 7, 4, 4, 10)
	var numbers []string
	for i := range 11 {
		numbers = append(numbers, fmt.Sprintf(`{"n":%d}`, i))
	}
	for name, c := range map[string]struct {
		config func(*s3.Config)
		want   []string
	}{
		"by key":  {keys("in/*.parquet"), append(want, more...)},
		"format":  {func(c *s3.Config) { c.Prefix, c.Format = "in/", "parquet" }, append(want, more...)},
		"columns": {func(c *s3.Config) { c.Prefix, c.Columns, c.Prefetch = "in/", []string{"n"}, 0 }, numbers},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			server.Put(t, "in/a.parquet", a)
			server.Put(t, "in/b.parquet", b)
			pipelinetest.Source(t, pipelinetest.SourceCase{
				New: func(t *testing.T) pipeline.Source { return source(t, server, c.config) }, Want: c.want,
			})
		})
	}
}

// fetched is how many bytes of an object were asked for, from the n-th request for it on, and
// with how many requests.
func fetched(t *testing.T, server *buckettest.Server, key string, from int) (bytes int64, requests int) {
	t.Helper()
	for _, r := range server.Requests(http.MethodGet, key)[from:] {
		var first, last int64
		if _, err := fmt.Sscanf(r.Range, "bytes=%d-%d", &first, &last); err != nil {
			t.Fatalf("a request for %q: %v", r.Range, err)
		}
		bytes += last - first + 1
		requests++
	}
	return bytes, requests
}

// TestParquetFetchesWhatItNeeds: of columns that nobody wants nothing is fetched, nor of row
// groups in front of the place at which a run goes on; nothing twice, and no page by itself.
func TestParquetFetchesWhatItNeeds(t *testing.T) {
	t.Parallel()
	data, want := object(t, 0, 1600, 200, 2000) // eight row groups of 400 KB
	server := buckettest.New(t)
	server.Put(t, "a.parquet", data)
	all := source(t, server, keys("a.parquet"))
	got := read(t.Context(), all)
	compare(t, got, want)
	if n, requests := fetched(t, server, "a.parquet", 0); n > int64(len(data))+200<<10 || requests > 6 {
		t.Errorf("%d bytes of %d were fetched, with %d requests", n, len(data), requests)
	}
	if done, total := all.Progress(); done != int64(len(data)) || total != done {
		t.Errorf("progress %d of %d", done, total)
	}
	before := len(server.Requests(http.MethodGet, "a.parquet"))
	numbers := read(t.Context(), source(t, server, func(c *s3.Config) { c.Key, c.Columns = []string{"a.parquet"}, []string{"n"} }))
	if n, requests := fetched(t, server, "a.parquet", before); len(numbers) != 1600 || n > 300<<10 || requests > 12 {
		t.Errorf("for one column of %d rows %d bytes of %d were fetched, with %d requests", len(numbers), n, len(data), requests)
	}
	before = len(server.Requests(http.MethodGet, "a.parquet"))
	s := source(t, server, keys("a.parquet"))
	if err := s.Seek(t.Context(), pipeline.Origin{Path: "s3://rows/a.parquet", Line: 1501, Offset: -1}); err != nil {
		t.Fatal(err)
	}
	compare(t, read(t.Context(), s), want[1500:])
	if n, _ := fetched(t, server, "a.parquet", before); n > 700<<10 {
		t.Errorf("for the last row group %d bytes of %d were fetched", n, len(data))
	}
}

// TestParquetFaults: what goes wrong is said with the object, and with the row group where it
// is in one.
func TestParquetFaults(t *testing.T) {
	t.Parallel()
	data, _ := object(t, 0, 300, 100, 2000)
	other, _ := object(t, 0, 1, 1, 1)
	flipped := []byte(data)
	flipped[len(data)/2] ^= 0xff
	for name, c := range map[string]struct {
		objects map[string]string
		config  func(*s3.Config)
		want    string // in the error
		rows    int    // in front of it
	}{
		"damaged":        {map[string]string{"a.parquet": string(flipped)}, keys("a.parquet"), `error: s3://rows/a.parquet: row group 2 of 3: `, 100},
		"cut off":        {map[string]string{"a.parquet": data[:len(data)/2]}, keys("a.parquet"), "error: s3://rows/a.parquet: it is no Parquet file: it does not begin and end with PAR1; its end is missing", 0},
		"empty":          {map[string]string{"a.parquet": ""}, keys("a.parquet"), "error: s3://rows/a.parquet: it is no Parquet file", 0},
		"no such column": {map[string]string{"a.parquet": data}, func(c *s3.Config) { c.Prefix, c.Columns = "a", []string{"m"} }, `error: s3://rows/a.parquet: `, 0},
		"other columns": {
			map[string]string{"a.parquet": other, "b.parquet": strings.ReplaceAll(other, "fat", "fit")},
			keys("*.parquet"), `error: s3://rows/b.parquet: its columns are not those of s3://rows/a.parquet: it lacks "fat" and it has "fit" besides`, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			for key, data := range c.objects {
				server.Put(t, key, data)
			}
			got := read(t.Context(), source(t, server, c.config))
			if last := got[len(got)-1]; !strings.HasPrefix(last, c.want) || len(got)-1 < c.rows {
				t.Errorf("after %d rows: %s\nwant %d rows and %s", len(got)-1, last, c.rows, c.want)
			}
		})
	}
}

// TestAChangedParquetObject is noticed, with the code that says so.
func TestAChangedParquetObject(t *testing.T) {
	t.Parallel()
	data, _ := object(t, 0, 300, 100, 2000)
	server := buckettest.New(t)
	server.Put(t, "a.parquet", data)
	s := source(t, server, keys("a.parquet"))
	if _, err := s.Identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Put(t, "a.parquet", data+data)
	var last error
	for _, err := range s.Records(t.Context()) {
		last = err
	}
	if !bucket.IsCode(last, bucket.CodeChanged) || !strings.Contains(fmt.Sprint(last), "s3://rows/a.parquet") {
		t.Errorf("got %v", last)
	}
}

// TestParquetFetchesAhead: with prefetch a column's next block comes while others are read, the
// requests at a time are no more than it says, and the rows are the same; without, it is one.
func TestParquetFetchesAhead(t *testing.T) {
	t.Parallel()
	data, want := object(t, 0, 1600, 400, 4000) // four row groups of 1.6 MB
	for prefetch, atOnce := range map[int]int{0: 1, 1: 2, 3: 4} {
		t.Run(fmt.Sprint(prefetch), func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			server.Put(t, "a.parquet", data)
			var mu sync.Mutex
			now, most := 0, 0
			second := make(chan struct{})
			server.Set(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				mu.Lock()
				if now++; now > most {
					if most = now; most == 2 {
						close(second)
					}
				}
				mu.Unlock()
				if prefetch > 0 && r.Method == http.MethodGet && planned(r.Header.Get("Range"), len(data)) {
					select { // whoever fetches ahead does not wait for this one
					case <-second:
					case <-time.After(time.Minute):
						t.Errorf("nothing else is fetched while %s is", r.Header.Get("Range"))
					}
				}
				next.ServeHTTP(w, r)
				mu.Lock()
				now--
				mu.Unlock()
				return true
			})
			got := read(t.Context(), source(t, server, func(c *s3.Config) { c.Key, c.Prefetch = []string{"a.parquet"}, prefetch }))
			compare(t, got, want)
			if n, _ := fetched(t, server, "a.parquet", 0); most > atOnce || n > int64(len(data))+400<<10 {
				t.Errorf("%d requests at once, want at most %d; %d bytes of %d", most, atOnce, n, len(data))
			}
		})
	}
}

// planned reports whether a range is neither the first bytes of an object nor its footer, before
// which nobody knows what to fetch ahead.
func planned(text string, size int) bool {
	var first, last int
	_, err := fmt.Sscanf(text, "bytes=%d-%d", &first, &last)
	return err == nil && first > 0 && first < size-100<<10
}
