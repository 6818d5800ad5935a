package s3_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources/s3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source makes a source of a server; attempts follow each other quickly.
func source(t *testing.T, server *buckettest.Server, change func(c *s3.Config)) *s3.Source {
	t.Helper()
	c := s3.Default()
	c.Bucket, c.Endpoint = buckettest.Name, server.URL
	change(&c)
	s, err := s3.New(c, buckettest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.Impatient()
}

func keys(keys ...string) func(*s3.Config) { return func(c *s3.Config) { c.Key = keys } }

func prefix(p string) func(*s3.Config) { return func(c *s3.Config) { c.Prefix = p } }

// read returns the rows; the last is "error: …" if the source failed.
func read(ctx context.Context, s *s3.Source) (rows []string) {
	for r, err := range s.Records(ctx) {
		if r == nil {
			return append(rows, "error: "+err.Error())
		}
		rows = append(rows, string(r.AppendJSON(nil)))
	}
	return rows
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func zstandard(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func TestS3Conformance(t *testing.T) {
	t.Parallel()
	long := make([]string, 12)
	for i := range long {
		long[i] = fmt.Sprintf(`{"i":%d,"text":%q}`, i, strings.Repeat("x", 5000))
	}
	jsonl := strings.Join(long, "\n") + "\n"
	for name, c := range map[string]struct {
		objects    map[string]string
		config     func(*s3.Config)
		want       []string
		unreadable int
	}{
		"jsonl": {map[string]string{"in/a.jsonl": "{\"a\":1}\n{\"a\":\n{\"a\": 2}\n", "in/b.jsonl": "", "in/c.jsonl": `{"a":3}`}, prefix("in/"), []string{`{"a":1}`, `{"a": 2}`, `{"a":3}`}, 1},
		"long":  {map[string]string{"a.jsonl": jsonl}, keys("a.jsonl"), long, 0},
		"gzip":  {map[string]string{"a.jsonl.gz": gzipped(jsonl)}, keys("*.gz"), long, 0},
		"zstd":  {map[string]string{"a.jsonl.zst": zstandard(t, jsonl)}, keys("a.jsonl.zst"), long, 0},
		"csv":   {map[string]string{"a.csv": "a,b\n1,x\n2,y\n", "b.csv": "b,a\nz,3\n"}, func(c *s3.Config) { c.Key, c.Types = []string{"*.csv"}, map[string]string{"a": "number"} }, []string{`{"a":1,"b":"x"}`, `{"a":2,"b":"y"}`, `{"b":"z","a":3}`}, 0},
		"whole": {map[string]string{"d/a.md": "one\n", "d/e/b.md": "two"}, func(c *s3.Config) { c.Key, c.Format, c.Prefetch = []string{"d/**"}, "whole", 0 }, []string{`{"text":"one\n","path":"s3://rows/d/a.md"}`, `{"text":"two","path":"s3://rows/d/e/b.md"}`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			for key, data := range c.objects {
				server.Put(t, key, data)
			}
			pipelinetest.Source(t, pipelinetest.SourceCase{
				New:        func(t *testing.T) pipeline.Source { return source(t, server, c.config) },
				Want:       c.want,
				Unreadable: c.unreadable,
			})
		})
	}
}

// TestManyKeys: more than a page of a list, with signs that addresses need to hide.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	var want []string
	for i := range 1205 {
		server.Put(t, fmt.Sprintf("in/%04d.txt", i), fmt.Sprint(i))
		want = append(want, fmt.Sprintf(`{"text":"%d"}`, i))
	}
	server.Put(t, "other/a.txt", "no")
	server.Put(t, "in/_manifest.json", "no")
	server.Put(t, "in/.hidden.txt", "no")
	server.Put(t, "in/folder/", "")
	compare(t, read(t.Context(), source(t, server, prefix("in/"))), want)
	if pages := len(server.Requests(http.MethodGet, "list-type=2")); pages != 2 {
		t.Errorf("%d requests for the list, want 2", pages)
	}
}

func TestWhichObjects(t *testing.T) {
	t.Parallel()
	all := []string{"a.txt", "a/b.txt", "a/b/c.txt", "a/[x].txt", "a/x.txt", "ä ü/é+%2F &?.txt", "日本/語.txt", "a/_hidden.txt"}
	server := buckettest.New(t)
	for _, key := range all {
		server.Put(t, key, key)
	}
	for name, c := range map[string]struct{ key, want []string }{
		"one":                   {[]string{"a/b.txt"}, []string{"a/b.txt"}},
		"a folder":              {[]string{"a/*.txt"}, []string{"a/[x].txt", "a/b.txt", "a/x.txt"}},
		"folders":               {[]string{"a/**"}, []string{"a/[x].txt", "a/b.txt", "a/b/c.txt", "a/x.txt"}},
		"a pattern that exists": {[]string{"a/[x].txt"}, []string{"a/[x].txt"}},
		"none twice":            {[]string{"a/x.txt", "a/?.txt"}, []string{"a/x.txt", "a/b.txt"}},
		"signs":                 {[]string{"ä ü/*"}, []string{"ä ü/é+%2F &?.txt"}},
		"signs, as they are":    {[]string{"ä ü/é+%2F &?.txt", "日本/語.txt"}, []string{"ä ü/é+%2F &?.txt", "日本/語.txt"}},
		"hidden, by name":       {[]string{"a/_*"}, []string{"a/_hidden.txt"}},
		"either":                {[]string{"{日本,a/b}/*.txt"}, []string{"a/b/c.txt", "日本/語.txt"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for _, key := range c.want {
				want = append(want, fmt.Sprintf(`{"text":"%s"}`, key))
			}
			compare(t, read(t.Context(), source(t, server, keys(c.key...))), want)
		})
	}
}

// rows makes an object of JSON lines that is larger than a chunk.
func rows(size int) (text string, want []string) {
	var b strings.Builder
	pad := strings.Repeat("x", 1000)
	for i := 0; b.Len() < size; i++ {
		row := fmt.Sprintf(`{"i":%d,"text":"%s"}`, i, pad)
		want = append(want, row)
		b.WriteString(row + "\n")
	}
	return b.String(), want
}

// cut ends an answer after so many bytes of its body.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 && err == nil {
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func isObject(r *http.Request) bool {
	return r.Method == http.MethodGet && !strings.Contains(r.URL.RawQuery, "list-type")
}

// TestBrokenConnections: each answer ends after 24 KiB, and the rows are all there.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	text, want := rows(160 << 10)
	server.Put(t, "a.jsonl", text)
	var cuts atomic.Int64
	server.Set(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !isObject(r) {
			return false
		}
		cuts.Add(1)
		next.ServeHTTP(&cut{w, 24 << 10}, r)
		return true
	})
	got := read(t.Context(), source(t, server, keys("a.jsonl")))
	if !slices.Equal(got, want) {
		t.Errorf("got %d rows, want %d; the last: %.200s", len(got), len(want), got[len(got)-1])
	}
	if cuts.Load() < 7 {
		t.Errorf("%d requests, want at least 7", cuts.Load())
	}
}

// answer answers a request with an error of S3's.
func answer(w http.ResponseWriter, status int, code string) bool {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>No.</Message></Error>`, code)
	return true
}

// TestFaults: what passes is got over, within bounds; what does not is said, with the
// object and what to do.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault func(seen int, w http.ResponseWriter, r *http.Request) bool
		want  []string
		most  int64 // requests
	}{
		"SlowDown, then not": {
			func(seen int, w http.ResponseWriter, _ *http.Request) bool {
				return seen <= 5 && answer(w, http.StatusServiceUnavailable, "SlowDown")
			},
			[]string{`{"text":"one"}`},
			8,
		},
		"SlowDown for ever": {
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				return isObject(r) && answer(w, http.StatusServiceUnavailable, "SlowDown")
			},
			[]string{"error: read s3://rows/a.txt: 503 SlowDown: No (the last of 8 attempts); the server is overloaded; the run can be gone on with later"},
			9,
		},
		"denied": {
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				return isObject(r) && answer(w, http.StatusForbidden, "AccessDenied")
			},
			[]string{"error: read s3://rows/a.txt: 403 AccessDenied: No; whoever asks may not read it: check its permissions, or ask as another with `profile`"},
			2,
		},
		"a wrong key": {
			func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return answer(w, http.StatusForbidden, "SignatureDoesNotMatch")
			},
			[]string{"error: list s3://rows/a: 403 SignatureDoesNotMatch: No; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or name a `profile`"},
			1,
		},
		"another region": {
			func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("X-Amz-Bucket-Region", "eu-west-3")
				return answer(w, http.StatusMovedPermanently, "PermanentRedirect")
			},
			[]string{"error: list s3://rows/a: 301 PermanentRedirect: No; the bucket is in another region: set `region: eu-west-3`"},
			1,
		},
		"vanished": {
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				return isObject(r) && answer(w, http.StatusNotFound, "NoSuchKey")
			},
			[]string{"error: read s3://rows/a.txt: 404 NoSuchKey: No; there is no such object (any more)"},
			2,
		},
		"no bucket": {
			func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return answer(w, http.StatusNotFound, "NoSuchBucket")
			},
			[]string{"error: list s3://rows/a: 404 NoSuchBucket: No; check `bucket`, `region` and `endpoint`"},
			1,
		},
		"changed": {
			func(_ int, w http.ResponseWriter, r *http.Request) bool {
				return isObject(r) && r.Header.Get("If-Match") != "" && answer(w, http.StatusPreconditionFailed, "PreconditionFailed")
			},
			[]string{"error: read s3://rows/a.txt: 412 PreconditionFailed: No; it is not what it was when the run began; --fresh starts over with what is there now"},
			2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			server.Put(t, "a.txt", "one")
			var seen atomic.Int64
			server.Set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				return c.fault(int(seen.Add(1)), w, r)
			})
			compare(t, read(t.Context(), source(t, server, prefix("a"))), c.want)
			if seen.Load() > c.most {
				t.Errorf("%d requests, want %d at most", seen.Load(), c.most)
			}
		})
	}
}

// TestAChangedObject is noticed although the server does not look at If-Match.
func TestAChangedObject(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	text, _ := rows(800 << 10)
	server.Put(t, "a.jsonl", text)
	var once sync.Once
	got := 0
	s := source(t, server, func(c *s3.Config) { c.Key, c.Prefetch = []string{"a.jsonl"}, 0 })
	var last error
	for r, err := range s.Records(t.Context()) {
		once.Do(func() { server.Put(t, "a.jsonl", strings.Repeat("y", len(text))) })
		if r == nil {
			last = err
			break
		}
		got++
	}
	if last == nil || !strings.Contains(last.Error(), "was changed while it was read; --fresh starts over") || got == 0 {
		t.Errorf("after %d rows: %v", got, last)
	}
	if class, code := pipeline.Classify(last); class != pipeline.ClassFatal || code != "s3_changed" {
		t.Errorf("class %v, code %s", class, code)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, s *buckettest.Server)
		want   pipeline.Change
		fail   string
	}{
		"the same":           {func(*testing.T, *buckettest.Server) {}, pipeline.Same, ""},
		"one more":           {func(t *testing.T, s *buckettest.Server) { s.Put(t, "in/d.txt", "4") }, pipeline.Grown, ""},
		"one more, before":   {func(t *testing.T, s *buckettest.Server) { s.Put(t, "in/a2.txt", "4") }, 0, "there were 3 objects up to s3://rows/in/c.txt, now there are 4; a new one may only come behind"},
		"one less":           {func(t *testing.T, s *buckettest.Server) { s.Remove(t, "in/b.txt") }, 0, "now there are 2: some are gone"},
		"the last less":      {func(t *testing.T, s *buckettest.Server) { s.Remove(t, "in/c.txt") }, 0, "s3://rows/in/c.txt is gone"},
		"other bytes":        {func(t *testing.T, s *buckettest.Server) { s.Put(t, "in/b.txt", "9") }, 0, "one of the 3 objects up to s3://rows/in/c.txt is not what it was"},
		"a hidden one more":  {func(t *testing.T, s *buckettest.Server) { s.Put(t, "in/_x", "9") }, pipeline.Same, ""},
		"one more elsewhere": {func(t *testing.T, s *buckettest.Server) { s.Put(t, "on/x.txt", "9") }, pipeline.Same, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			for i, key := range []string{"in/a.txt", "in/b.txt", "in/c.txt"} {
				server.Put(t, key, fmt.Sprint(i))
			}
			was, err := source(t, server, prefix("in/")).Identify(t.Context())
			if err != nil || len(was) > 200 {
				t.Fatalf("identity %q: %v", was, err)
			}
			c.change(t, server)
			got, err := source(t, server, prefix("in/")).Compare(t.Context(), was)
			if got != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got %v, %v; want %v, %q", got, err, c.want, c.fail)
			}
		})
	}
}

// TestSeekReadsNothingBefore: what is in front of a row is not read.
func TestSeekReadsNothingBefore(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	text, _ := rows(800 << 10)
	server.Put(t, "a.jsonl", text)
	server.Put(t, "b.jsonl", text)
	var at pipeline.Origin
	n := 0
	for r, err := range source(t, server, keys("*.jsonl")).Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; r.Origin.Path == "s3://rows/b.jsonl" && r.Origin.Offset > 700<<10 {
			at = r.Origin
			break
		}
	}
	// Another server: what the first was asked ahead may still be under way.
	server = buckettest.New(t)
	server.Put(t, "a.jsonl", text)
	server.Put(t, "b.jsonl", text)
	s := source(t, server, func(c *s3.Config) { c.Key, c.Prefetch = []string{"*.jsonl"}, 0 })
	if err := s.Seek(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if first := read(t.Context(), s)[0]; !strings.HasPrefix(text[at.Offset:], first) {
		t.Errorf("got %.40s", first)
	}
	// The beginning, as it may hold a byte order mark, and what is behind the place: of 26 chunks.
	if got := len(server.Requests(http.MethodGet, "jsonl")); got > 4 {
		t.Errorf("%d requests, want 4 at most", got)
	}
}

// TestAheadIsBounded counts the requests that are open at once, while nobody reads.
func TestAheadIsBounded(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	for i := range 50 {
		server.Put(t, fmt.Sprintf("%02d.txt", i), fmt.Sprint(i))
	}
	var asked atomic.Int64
	server.Set(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if isObject(r) {
			asked.Add(1)
		}
		return false
	})
	s := source(t, server, func(c *s3.Config) { c.Key, c.Prefetch = []string{"*.txt"}, 6 })
	n := int64(0)
	for _, err := range s.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; asked.Load() > n+6 {
			t.Errorf("row %d is read, and %d objects are asked for", n, asked.Load())
		}
	}
	if n != 50 {
		t.Errorf("%d rows", n)
	}
}

// TestNoSecretIsSaid looks for the key in all that is said of failures.
func TestNoSecretIsSaid(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	env := buckettest.Env()
	server := buckettest.New(t)
	server.Set(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		return answer(w, http.StatusForbidden, "SignatureDoesNotMatch")
	})
	for _, endpoint := range []string{server.URL, "http://127.0.0.1:1", "http://user:testtest123@127.0.0.1:1"} {
		c := s3.Default()
		c.Bucket, c.Endpoint, c.Key = buckettest.Name, endpoint, []string{"a.txt"}
		s, err := s3.New(c, env)
		if err == nil {
			err = s.Impatient().Probe(t.Context())
			_ = s.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", endpoint)
		}
		fmt.Fprintln(&said, err)
		for ; err != nil; err = errors.Unwrap(err) {
			fmt.Fprintf(&said, "%v %+v\n", err, err)
		}
	}
	if strings.Contains(said.String(), "testtest123") {
		t.Errorf("the secret is said:\n%s", said.String())
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*s3.Config)
		want   string
	}{
		"no bucket":            {func(c *s3.Config) { c.Bucket = "" }, "bucket: name the bucket"},
		"neither":              {func(c *s3.Config) { c.Key = nil }, "key: name an object, or say what the keys begin with"},
		"both":                 {func(c *s3.Config) { c.Prefix = "x" }, "prefix: `key` says which"},
		"an address":           {func(c *s3.Config) { c.Key = []string{"s3://b/a.csv"} }, "without s3://"},
		"an open bracket":      {func(c *s3.Config) { c.Key = []string{"[a.csv"} }, "a bracket is not closed"},
		"no format":            {func(c *s3.Config) { c.Key = []string{"a.jsonl", "a"} }, "key[1]: a: the name does not tell the format"},
		"an endpoint, no host": {func(c *s3.Config) { c.Endpoint = "127.0.0.1:9000" }, "endpoint: must be the address of a server"},
		"a password":           {func(c *s3.Config) { c.Endpoint = "http://u:p@h" }, "endpoint: must not hold a user or a password"},
		"anonymous, as one":    {func(c *s3.Config) { c.Anonymous, c.Profile = true, "x" }, "anonymous: asks without keys"},
		"types of lines":       {func(c *s3.Config) { c.Format, c.Types = "lines", map[string]string{"a": "number"} }, "types: types are for the columns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := s3.Default()
			config.Bucket, config.Key = "b", []string{"a.csv"}
			c.change(&config)
			if _, err := s3.New(config, pipeline.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestAClientOfTheProgram: a program's own client is asked, with its own keys.
func TestAClientOfTheProgram(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	server.Put(t, "a.txt", "one")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := awss3.New(awss3.Options{
		BaseEndpoint: &server.URL, UsePathStyle: true, Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, HTTPClient: &http.Client{Transport: transport},
	})
	s, err := s3.NewWithClient(client, s3.Config{Bucket: buckettest.Name, Key: []string{"a.txt"}}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, read(t.Context(), s), []string{`{"text":"one"}`})
	if _, err := s3.NewWithClient(client, s3.Config{Bucket: "b", Key: []string{"a.txt"}, Region: "x"}, pipeline.Env{}); err == nil {
		t.Error("a region beside a client is taken")
	}
}
