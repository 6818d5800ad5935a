package s3_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks/s3"
)

func TestMain(m *testing.M) {
	doomed.Main(doomed.Options{Env: buckettest.Env(), Preflight: true, DeadLetters: doomedMisfits})
	goleak.VerifyTestMain(m)
}

// sink makes a sink of a server, with parts below out/; attempts follow each other quickly.
func sink(t testing.TB, server *buckettest.Server, change func(c *s3.Config)) *s3.Sink {
	t.Helper()
	c := s3.Default()
	c.Bucket, c.Endpoint, c.Prefix = buckettest.Name, server.URL, "out"
	change(&c)
	s, err := s3.New(c, buckettest.Env())
	if err != nil {
		t.Fatal(err)
	}
	return s.Impatient()
}

func rowsEach(n int64) func(*s3.Config) { return func(c *s3.Config) { c.Part.Rows = n } }

// place is where a sink writes: a bucket, and a spool if it is given one.
type place struct {
	server *buckettest.Server
	spool  string // "" for none
	header bool
}

// read returns the rows of all parts in order: of those in the bucket, else of those in the
// spool, which the state of a run keeps.
func (p *place) read(t *testing.T) (rows []string) {
	t.Helper()
	parts := map[string][]byte{}
	names, _ := os.ReadDir(p.spool)
	for _, e := range names {
		if strings.HasPrefix(e.Name(), "part-") {
			data, err := os.ReadFile(filepath.Join(p.spool, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			parts[e.Name()] = data
		}
	}
	for _, key := range p.server.Keys(t, "out/part-") {
		parts[strings.TrimPrefix(key, "out/")], _ = p.server.Read(t, key)
	}
	var order []string
	for name := range parts {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		lines := unpack(t, name, parts[name])
		if p.header && len(lines) > 0 {
			lines = lines[1:]
		}
		rows = append(rows, lines...)
	}
	return rows
}

// unpack returns the lines of a part. One in the spool may lack its end.
func unpack(t *testing.T, name string, data []byte) []string {
	t.Helper()
	if len(data) == 0 {
		return nil
	}
	stream := codec.Decompress(bytes.NewReader(data), name, codec.AutoCompression)
	text, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%s: %v", name, err)
	}
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestS3Conformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"a":1e400,"b":"x, \"y\""}`, `{"a": null,"b":" z"}`, `{"b":"","a":[1, 2]}`}
	csv := []string{`1e400,"x, ""y"""`, `," z"`, `"[1, 2]",`}
	other := []string{`{"a":1,"b":2,"c":3}`, `{"c":null}`}
	for name, c := range map[string]struct {
		change        func(*s3.Config)
		want, refused []string
		header        bool
		bare          bool // without a spool
	}{
		"jsonl.gz":             {change: func(*s3.Config) {}},
		"jsonl":                {change: func(c *s3.Config) { c.Compression = codec.None }},
		"jsonl.zst":            {change: func(c *s3.Config) { c.Compression = codec.Zstd }},
		"two rows a part":      {change: rowsEach(2)},
		"csv, three parts":     {func(c *s3.Config) { c.Format, c.Columns, c.Part.Rows = codec.CSV, []string{"a", "b"}, 1 }, csv, other, true, false},
		"csv, no columns":      {change: func(c *s3.Config) { c.Format, c.Part.Rows = codec.CSV, 2 }, want: csv, header: true},
		"without state, a row": {change: rowsEach(1), bare: true},
		"lines": {
			change: func(c *s3.Config) { c.Format, c.Field, c.Part.Rows = codec.Lines, "b", 2 }, want: []string{`x, "y"`, " z", ""},
			refused: []string{`{"a":1}`, `{"b":"two\nlines"}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &place{header: c.header}
			again := func(t *testing.T) pipeline.Sink {
				s := sink(t, p.server, c.change)
				if p.spool != "" {
					s.Spool(p.spool)
				}
				return s
			}
			k := pipelinetest.SinkCase{
				New: func(t *testing.T) pipeline.Sink {
					p.server = buckettest.New(t)
					if !c.bare {
						p.spool = filepath.Join(t.TempDir(), "spool", "sink")
					}
					return again(t)
				},
				Rows: rows, Want: c.want, Refused: c.refused, Read: p.read,
			}
			if !c.bare {
				k.Again = again
			}
			pipelinetest.Sink(t, k)
		})
	}
}

// counting is a source of rows {"i":0}, {"i":1}, …
func counting(t testing.TB, n int) pipeline.Source {
	t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"i":%d}`, i)
	}
	return pipelinetest.Rows(t, rows)
}

func counted(n int) []string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"i":%d}`, i)
	}
	return rows
}

// run runs rows into a sink.
func run(t testing.TB, s *s3.Sink, n int, state string) (engine.Summary, error) {
	t.Helper()
	return engine.Run(t.Context(), pipeline.Pipeline{Name: "s3", Source: counting(t, n), Sink: s, Flush: pipeline.Flush{Records: 100}},
		engine.Options{State: state})
}

// TestParts: their names, what is in them, and the manifest, with state and without.
func TestParts(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{"with state": t.TempDir(), "without state": "off"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			if _, err := run(t, sink(t, server, rowsEach(400)), 1000, state); err != nil {
				t.Fatal(err)
			}
			want := []string{"out/_manifest.json", "out/part-00001.jsonl.gz", "out/part-00002.jsonl.gz", "out/part-00003.jsonl.gz"}
			if got := server.Keys(t, ""); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			p := &place{server: server}
			if got := p.read(t); !slices.Equal(got, counted(1000)) {
				t.Errorf("%d rows: %q…", len(got), got[:min(3, len(got))])
			}
			checkManifest(t, server, 1000, 400, 400, 200)
		})
	}
}

// checkManifest compares the manifest with the objects.
func checkManifest(t *testing.T, server *buckettest.Server, rows int64, each ...int64) {
	t.Helper()
	text, _ := server.Read(t, "out/_manifest.json")
	var m s3.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("the manifest %q: %v", text, err)
	}
	if m.Rows != rows || len(m.Parts) != len(each) {
		t.Fatalf("the manifest has %d rows in %d parts, want %d in %d", m.Rows, len(m.Parts), rows, len(each))
	}
	for i, p := range m.Parts {
		data, ok := server.Read(t, p.Key)
		if sum := sha(data); !ok || p.Rows != each[i] || p.Bytes != int64(len(data)) || p.SHA256 != sum {
			t.Errorf("the manifest says %+v; there are %d bytes with %s", p, len(data), sum)
		}
	}
}

// TestNothingIsSeenBeforeItIsWhole looks into the bucket while a run writes.
func TestNothingIsSeenBeforeItIsWhole(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	s := sink(t, server, rowsEach(2))
	s.Spool(t.TempDir())
	must(t, s.Start(t.Context(), false))
	must(t, s.Write(t.Context(), records(t, 0, 5)))
	at, err := s.Commit(t.Context())
	must(t, err)
	if got := server.Keys(t, ""); len(got) != 0 {
		t.Errorf("no checkpoint covers it, and there is %q", got)
	}
	must(t, s.Write(t.Context(), records(t, 5, 9))) // seals two more, behind the position
	for range 2 {                                   // the second changes nothing
		must(t, s.Publish(t.Context(), at))
		if got, want := server.Keys(t, ""), []string{"out/part-00001.jsonl.gz", "out/part-00002.jsonl.gz"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if n := len(server.Requests(http.MethodPut, "part-")); n != 2 {
		t.Errorf("%d uploads, want 2", n)
	}
	must(t, s.Close(t.Context()))
	if got := server.Keys(t, ""); len(got) != 2 { // nor was anything committed since
		t.Errorf("the run has not come to its end, and there is %q", got)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func records(t testing.TB, from, to int) (out []*pipeline.Record) {
	t.Helper()
	for i := from; i < to; i++ {
		out = append(out, pipelinetest.Record(t, fmt.Sprintf(`{"i":%d}`, i)))
	}
	return out
}

// TestAnotherRunsParts are refused, and removed with fresh, whatever their format; other
// objects stay.
func TestAnotherRunsParts(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	for _, key := range []string{"out/part-00007.csv", "out/_manifest.json", "out/part-x.csv", "out/parts/part-00001.csv", "outer/part-00001.csv", "out/part-00001"} {
		server.Put(t, key, "x")
	}
	_, err := run(t, sink(t, server, rowsEach(0)), 3, "off")
	if _, code := pipeline.Classify(err); code != "output_exists" || !strings.Contains(err.Error(), "s3://rows/out/ already has parts, like out/part-00007.csv; --fresh removes them") {
		t.Errorf("got %v", err)
	}
	s := sink(t, server, rowsEach(0))
	_, err = engine.Run(t.Context(), pipeline.Pipeline{Source: counting(t, 3), Sink: s}, engine.Options{Fresh: true})
	must(t, err)
	want := []string{"out/_manifest.json", "out/part-00001", "out/part-00001.jsonl.gz", "out/part-x.csv", "out/parts/part-00001.csv", "outer/part-00001.csv"}
	if got := server.Keys(t, ""); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// large makes rows that do not compress, so that a part goes up in pieces.
func large(t *testing.T, n int) []*pipeline.Record {
	t.Helper()
	out := make([]*pipeline.Record, n)
	for i := range out {
		out[i] = pipelinetest.Record(t, fmt.Sprintf(`{"i":%d,"text":"%s"}`, i, strings.Repeat("x", 8<<10)))
	}
	return out
}

func plain(c *s3.Config) { c.Compression = codec.None }

// TestPieces: a large part goes up in pieces, of which some fail; nothing is left of an upload
// that fails for good, nor of one that a killed run has begun.
func TestPieces(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	var failures atomic.Int64
	var seen sync.Map
	server.Set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if _, again := seen.LoadOrStore(r.URL.Query().Get("partNumber"), true); again || r.Method != http.MethodPut {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		failures.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	s := sink(t, server, plain)
	must(t, s.Start(t.Context(), false))
	rows := large(t, 20)
	must(t, s.Write(t.Context(), rows))
	_, err := s.Commit(t.Context())
	must(t, err)
	must(t, s.Close(t.Context()))
	data, _ := server.Read(t, "out/part-00001.jsonl")
	if lines := unpack(t, "part.jsonl", data); len(lines) != 20 || lines[19] != string(rows[19].AppendJSON(nil)) {
		t.Errorf("%d rows", len(lines))
	}
	if failures.Load() < 3 {
		t.Errorf("%d pieces failed, want each of 3 once", failures.Load())
	}
}

func TestAnUploadThatFails(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	server.Set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.RawQuery, "partNumber=2") {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	s := sink(t, server, plain)
	must(t, s.Start(t.Context(), false))
	must(t, s.Write(t.Context(), large(t, 20)))
	_, err := s.Commit(t.Context())
	must(t, err)
	err = s.Close(t.Context())
	if err == nil || !strings.Contains(err.Error(), "write s3://rows/out/part-00001.jsonl: 403") || !strings.Contains(err.Error(), "1 of the parts did not reach the bucket; what they hold is kept in ") {
		t.Errorf("got %v", err)
	} else {
		_, dir, _ := strings.Cut(err.Error(), "is kept in ")
		if data, err := os.ReadFile(filepath.Join(dir, "part-00001.jsonl")); err != nil || len(data) < 160<<10 {
			t.Errorf("what is kept has %d bytes: %v", len(data), err)
		}
		must(t, os.RemoveAll(dir))
	}
	if n := len(server.Requests(http.MethodDelete, "uploadId")); n != 1 {
		t.Errorf("the upload was taken back %d times, want once", n)
	}
	if keys := server.Keys(t, ""); len(keys) != 0 {
		t.Errorf("there is %q", keys)
	}
}

// TestOrphans: uploads that a killed run has begun are taken back, those of others stay.
func TestOrphans(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	client := newClient(t, server)
	for _, key := range []string{"out/part-00003.jsonl.gz", "out/other.bin"} {
		_, err := client.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: aws.String(buckettest.Name), Key: &key})
		must(t, err)
	}
	s := sink(t, server, plain)
	must(t, s.Start(t.Context(), false))
	must(t, s.Close(t.Context()))
	list, err := client.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: aws.String(buckettest.Name)})
	must(t, err)
	if len(list.Uploads) != 1 || *list.Uploads[0].Key != "out/other.bin" {
		t.Errorf("%d uploads are left", len(list.Uploads))
	}
}

func newClient(t *testing.T, server *buckettest.Server) *awss3.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return awss3.New(awss3.Options{
		BaseEndpoint: &server.URL, UsePathStyle: true, Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, HTTPClient: &http.Client{Transport: transport},
	})
}

func TestAClientOfTheProgram(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	client := newClient(t, server)
	s, err := s3.NewWithClient(client, s3.Config{Bucket: buckettest.Name, Prefix: "out/"}, pipeline.Env{})
	must(t, err)
	if _, err := run(t, s, 3, "off"); err != nil {
		t.Error(err)
	}
	if _, ok := server.Read(t, "out/part-00001.jsonl.gz"); !ok {
		t.Errorf("there is %q", server.Keys(t, ""))
	}
	if _, err := s3.NewWithClient(client, s3.Config{Bucket: "b", Endpoint: "http://h"}, pipeline.Env{}); err == nil {
		t.Error("an endpoint beside a client is taken")
	}
}

// TestRewindRefuses what somebody else had a hand in.
func TestRewindRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(t *testing.T, server *buckettest.Server, spool string)
		want string
	}{
		"a part that is gone":    {func(t *testing.T, s *buckettest.Server, _ string) { s.Remove(t, "out/part-00001.jsonl.gz") }, "s3://rows/out/part-00001.jsonl.gz is gone"},
		"a part that is another": {func(t *testing.T, s *buckettest.Server, _ string) { swap(t, s, "out/part-00001.jsonl.gz") }, "s3://rows/out/part-00001.jsonl.gz was changed"},
		"no spool":               {func(t *testing.T, _ *buckettest.Server, dir string) { must(t, os.RemoveAll(dir)) }, "the list of parts in"},
		"an open part that is gone": {func(t *testing.T, _ *buckettest.Server, dir string) {
			must(t, os.Remove(filepath.Join(dir, "part-00002.jsonl.gz")))
		}, "part-00002.jsonl.gz is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, dir := buckettest.New(t), filepath.Join(t.TempDir(), "spool")
			s := sink(t, server, rowsEach(2))
			s.Spool(dir)
			must(t, s.Start(t.Context(), false))
			must(t, s.Write(t.Context(), records(t, 0, 3)))
			at, err := s.Commit(t.Context())
			must(t, err)
			must(t, s.Publish(t.Context(), at))
			must(t, s.Close(t.Context()))
			c.harm(t, server, dir)
			again := sink(t, server, rowsEach(2))
			again.Spool(dir)
			for what, refuse := range map[string]func(context.Context, pipeline.Position) error{"Check": again.Check, "Rewind": again.Rewind} {
				err := refuse(t.Context(), at)
				if _, code := pipeline.Classify(err); code != "output_changed" || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--fresh") {
					t.Errorf("%s: got %v, want %q", what, err, c.want)
				}
			}
			must(t, again.Close(t.Context()))
		})
	}
}

// TestRewindDropsLaterParts: those that a checkpoint covers wait for their upload, all others
// go, from the spool and the bucket.
func TestRewindDropsLaterParts(t *testing.T) {
	t.Parallel()
	server, dir := buckettest.New(t), filepath.Join(t.TempDir(), "spool")
	s := sink(t, server, rowsEach(2))
	s.Spool(dir)
	must(t, s.Start(t.Context(), false))
	must(t, s.Write(t.Context(), records(t, 0, 4)))
	at, err := s.Commit(t.Context())
	must(t, err)
	must(t, s.Write(t.Context(), records(t, 4, 9)))
	must(t, s.Close(t.Context()))
	server.Put(t, "out/part-00003.jsonl.gz", "x")

	again := sink(t, server, rowsEach(2))
	again.Spool(dir)
	must(t, again.Rewind(t.Context(), at))
	if left, err := filepath.Glob(filepath.Join(dir, "part-*")); err != nil || len(left) != 2 {
		t.Errorf("the spool has %q, %v; want two parts", left, err)
	}
	at, err = again.Finish(t.Context())
	must(t, err)
	must(t, again.Publish(t.Context(), at))
	must(t, again.Close(t.Context()))
	checkManifest(t, server, 4, 2, 2)
	if got, want := server.Keys(t, ""), []string{"out/_manifest.json", "out/part-00001.jsonl.gz", "out/part-00002.jsonl.gz"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// swap changes a byte.
func swap(t *testing.T, s *buckettest.Server, key string) {
	t.Helper()
	data, _ := s.Read(t, key)
	data[len(data)/2]++
	s.Put(t, key, string(data))
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*s3.Config)
		want   string
	}{
		"no bucket":        {func(c *s3.Config) { c.Bucket = "" }, "bucket: name the bucket"},
		"an address":       {func(c *s3.Config) { c.Prefix = "s3://b/x" }, "prefix: is only what follows"},
		"columns of jsonl": {func(c *s3.Config) { c.Columns = []string{"a"} }, "columns: is for csv and tsv"},
		"a password":       {func(c *s3.Config) { c.Endpoint = "http://u:secret@h" }, "endpoint: must not hold a user or a password"},
		"minus":            {func(c *s3.Config) { c.Part.Rows = -1 }, "part: must not be below 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := s3.Default()
			config.Bucket = "b"
			c.change(&config)
			if _, err := s3.New(config, pipeline.Env{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestUploadsThatLag: rows wait when too many parts do.
func TestUploadsThatLag(t *testing.T) {
	t.Parallel()
	server := buckettest.New(t)
	s := sink(t, server, rowsEach(1))
	s.Spool(t.TempDir())
	must(t, s.Start(t.Context(), false))
	must(t, s.Write(t.Context(), records(t, 0, 5)))
	at, err := s.Commit(t.Context())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Write(ctx, records(t, 5, 6)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with five parts waiting, got %v", err)
	}
	must(t, s.Publish(t.Context(), at))
	must(t, s.Write(t.Context(), records(t, 5, 6)))
	must(t, s.Close(t.Context()))
}
