//go:build peers

package trials

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	sinks3 "github.com/rowmill/rowmill/sinks/s3"
	sources3 "github.com/rowmill/rowmill/sources/s3"
)

// These trials meet versitygw, an S3 server over a folder, behind toxiproxy where connections
// are to break. They need
//
//	ROWMILL_S3         its address; defaults to http://127.0.0.1:7070, with the keys test and testtest123
//	ROWMILL_S3_TOXIC   an address that toxiproxy may listen on; defaults to 127.0.0.1:17070
//
//	go test -tags peers ./internal/trials -run PeerBucket -v

func gateway() string { return cmp.Or(os.Getenv("ROWMILL_S3"), "http://127.0.0.1:7070") }

// gatewayEnv is what is known of the server; secret is that of the key test.
func gatewayEnv(secret string) pipeline.Env {
	return pipeline.Env{Getenv: func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": secret}[name]
	}}
}

const gatewaySecret = "testtest123"

// brittle has toxiproxy stand in front of the server, and returns the address.
func brittle(t *testing.T, toxics ...string) string {
	t.Helper()
	listen := cmp.Or(os.Getenv("ROWMILL_S3_TOXIC"), "127.0.0.1:17070")
	proxies := toxiproxy() + "/proxies"
	remove := func() {
		request, _ := http.NewRequest(http.MethodDelete, proxies+"/rowmill-s3", http.NoBody)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}
	remove()
	t.Cleanup(remove)
	tell(t, http.MethodPost, proxies, fmt.Sprintf(`{"name":"rowmill-s3","listen":%q,"upstream":%q,"enabled":true}`, listen, strings.TrimPrefix(gateway(), "http://")))
	for _, toxic := range toxics {
		tell(t, http.MethodPost, proxies+"/rowmill-s3/toxics", toxic)
	}
	return "http://" + listen
}

// peerBucket is a bucket of the test's own, which goes with it.
type peerBucket struct {
	t      *testing.T
	name   string
	client *awss3.Client
}

func newPeerBucket(t *testing.T) *peerBucket {
	t.Helper()
	b := &peerBucket{t: t, name: fmt.Sprintf("rowmill-%x", rand.Uint64()), client: awss3.New(awss3.Options{
		BaseEndpoint: aws.String(gateway()), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("test", gatewaySecret, ""),
	})}
	if _, err := b.client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &b.name}); err != nil {
		t.Fatalf("is it there? %v", err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, key := range b.keys(ctx, "") {
			_, _ = b.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b.name, Key: &key})
		}
		if _, err := b.client.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &b.name}); err != nil {
			t.Log(err)
		}
	})
	return b
}

func (b *peerBucket) put(key, data string) {
	b.t.Helper()
	if _, err := b.client.PutObject(b.t.Context(), &awss3.PutObjectInput{Bucket: &b.name, Key: &key, Body: strings.NewReader(data)}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *peerBucket) get(key string) []byte {
	b.t.Helper()
	out, err := b.client.GetObject(b.t.Context(), &awss3.GetObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = out.Body.Close() }()
	data, err := io.ReadAll(out.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

func (b *peerBucket) keys(ctx context.Context, prefix string) (keys []string) {
	pages := awss3.NewListObjectsV2Paginator(b.client, &awss3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (b *peerBucket) source(endpoint, secret string, key ...string) *sources3.Source {
	b.t.Helper()
	return b.sourceOf(endpoint, secret, func(c *sources3.Config) { c.Key = key })
}

func (b *peerBucket) sourceOf(endpoint, secret string, change func(*sources3.Config)) *sources3.Source {
	b.t.Helper()
	c := sources3.Default()
	c.Bucket, c.Endpoint = b.name, endpoint
	change(&c)
	s, err := sources3.New(c, gatewayEnv(secret))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *peerBucket) sink(endpoint string, change func(*sinks3.Config)) *sinks3.Sink {
	b.t.Helper()
	c := sinks3.Default()
	c.Bucket, c.Endpoint, c.Prefix = b.name, endpoint, "out"
	change(&c)
	s, err := sinks3.New(c, gatewayEnv(gatewaySecret))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// rowsOfSource reads a source to its end.
func rowsOfSource(t *testing.T, s *sources3.Source) (rows []string, failure error) {
	t.Helper()
	for r, err := range s.Records(t.Context()) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, string(r.AppendJSON(nil)))
	}
	return rows, nil
}

// TestPeerBucketKeys: more keys than a page of a list has, with signs that addresses hide.
func TestPeerBucketKeys(t *testing.T) {
	b := newPeerBucket(t)
	var want []string
	for i := range 1205 {
		key := fmt.Sprintf("in/%04d ä+%%2F &日.txt", i)
		b.put(key, key)
		want = append(want, fmt.Sprintf(`{"text":"%s"}`, key))
	}
	got, err := rowsOfSource(t, b.source(gateway(), gatewaySecret, "in/*.txt"))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d rows, %v, want %d", len(got), err, len(want))
	}
}

// TestPeerBucketBrokenConnections: every connection ends after 5 MB; what is read and written
// is whole.
func TestPeerBucketBrokenConnections(t *testing.T) {
	b := newPeerBucket(t)
	var text strings.Builder
	var want []string
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; text.Len() < 45<<20; i++ {
		row := fmt.Sprintf(`{"i":%d,"x":"%x"}`, i, [4]uint64{random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64()})
		want = append(want, row)
		text.WriteString(row + "\n")
	}
	b.put("in/a.jsonl", text.String())
	endpoint := brittle(t, `{"type":"limit_data","stream":"downstream","attributes":{"bytes":5000000}}`)
	_, err := engine.Run(t.Context(), pipeline.Pipeline{
		Name: "peers", Source: b.source(endpoint, gatewaySecret, "in/a.jsonl"),
		Sink: b.sink(endpoint, func(c *sinks3.Config) { c.Compression, c.Part.Bytes = "none", 20<<20 }),
	}, engine.Options{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	parts := b.keys(t.Context(), "out/part-")
	for _, key := range parts {
		got = append(got, b.get(key)...)
	}
	if string(got) != text.String() || len(parts) != 3 {
		t.Errorf("%d bytes in %d parts, want %d in 3", len(got), len(parts), text.Len())
	}
	var m sinks3.Manifest
	if err := json.Unmarshal(b.get("out/_manifest.json"), &m); err != nil || m.Rows != int64(len(want)) || m.Bytes != int64(len(got)) {
		t.Errorf("manifest %+v, %v", m, err)
	}
}

// TestPeerBucketParquet: rows are the same behind a Parquet object, whether all of its columns
// are read or one, though no connection holds as long as the object.
func TestPeerBucketParquet(t *testing.T) {
	b := newPeerBucket(t)
	endpoint := brittle(t, `{"type":"limit_data","stream":"downstream","attributes":{"bytes":3000000}}`)
	random := rand.New(rand.NewPCG(1, 2))
	rows, texts := make([]string, 200_000), make([]string, 200_000)
	for i := range rows {
		texts[i] = fmt.Sprintf(`{"x":"%x"}`, [4]uint64{random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64()})
		rows[i] = fmt.Sprintf(`{"i":%d,%s`, i, texts[i][1:])
	}
	_, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: listOf(rows), Sink: b.sink(endpoint, func(c *sinks3.Config) { c.Format = "parquet" }),
	}, engine.Options{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	parts := b.keys(t.Context(), "out/part-")
	if size := len(b.get(parts[0])); len(parts) != 1 || size < 6_000_000 {
		t.Fatalf("%d parts of %d bytes, want one that no connection holds for", len(parts), size)
	}
	for name, want := range map[string][]string{"all": rows, "one": texts} {
		s := b.sourceOf(endpoint, gatewaySecret, func(c *sources3.Config) {
			c.Key = parts
			if name == "one" {
				c.Columns = []string{"x"}
			}
		})
		got, err := rowsOfSource(t, s)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("columns %s: %d rows, %v, want %d", name, len(got), err, len(want))
		}
	}
}

// TestPeerBucketUploadsThatBreak: connections end while pieces go up.
func TestPeerBucketUploadsThatBreak(t *testing.T) {
	b := newPeerBucket(t)
	endpoint := brittle(t, `{"type":"reset_peer","stream":"upstream","toxicity":0.3,"attributes":{"timeout":40}}`)
	rows := make([]string, 45)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"i":%d,"x":"%s"}`, i, strings.Repeat("x", 1<<20))
	}
	_, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: listOf(rows), Sink: b.sink(endpoint, func(c *sinks3.Config) { c.Compression = "none" }),
	}, engine.Options{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSpace(string(b.get("out/part-00001.jsonl"))), "\n"); !slices.Equal(got, rows) {
		t.Errorf("%d rows, want %d", len(got), len(rows))
	}
	list, err := b.client.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &b.name})
	if err != nil || len(list.Uploads) != 0 {
		t.Errorf("%d uploads are left, %v", len(list.Uploads), err)
	}
}

type listOf []string

func (l listOf) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for _, row := range l {
			if r, err := pipeline.ParseRecord([]byte(row)); !yield(r, err) {
				return
			}
		}
	}
}

// TestPeerBucketSays what is wrong, without the secret.
func TestPeerBucketSays(t *testing.T) {
	b := newPeerBucket(t)
	b.put("a.txt", "one")
	other := *b
	other.name += "-not"
	vanishing := b.source(gateway(), gatewaySecret, "*.txt")
	if _, err := vanishing.Identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	changing := b.source(gateway(), gatewaySecret, "c.txt")
	b.put("c.txt", "one")
	if _, err := changing.Identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.put("c.txt", "two")
	if _, err := b.client.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &b.name, Key: aws.String("a.txt")}); err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*sources3.Source{
		"check AWS_ACCESS_KEY_ID":         b.source(gateway(), "wrong-secret-word", "*.txt"),
		"check `bucket`, `region`":        other.source(gateway(), gatewaySecret, "*.txt"),
		"404 NoSuchKey":                   vanishing,
		"it is not what it was":           changing,
		"s3://" + b.name + "/none-*.txt:": b.source(gateway(), gatewaySecret, "none-*.txt"),
		"connection refused":              b.source("http://127.0.0.1:1", gatewaySecret, "a.txt"),
	} {
		_, err := rowsOfSource(t, s)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wrong-secret-word") {
			t.Errorf("got %v, want %q", err, want)
		}
		t.Log(err)
	}
}

// TestPeerBucketGoesOn: a run that was stopped goes on, and takes back what was not ended.
func TestPeerBucketGoesOn(t *testing.T) {
	b := newPeerBucket(t)
	var text bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&text, `{"i":%d}`+"\n", i)
	}
	b.put("in/a.jsonl", text.String())
	state := filepath.Join(t.TempDir(), "state")
	run := func(limit int64) engine.Summary {
		s, err := engine.Run(t.Context(), pipeline.Pipeline{
			Name: "peers", Source: b.source(gateway(), gatewaySecret, "in/a.jsonl"), Flush: pipeline.Flush{Records: 100},
			Sink: b.sink(gateway(), func(c *sinks3.Config) { c.Part.Rows = 700 }),
		}, engine.Options{State: state, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	run(1000)
	if keys := b.keys(t.Context(), "out/"); len(keys) != 1 {
		t.Errorf("after 1,000 rows there is %q", keys)
	}
	orphan := "out/part-00009.jsonl.gz"
	if _, err := b.client.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &b.name, Key: &orphan}); err != nil {
		t.Fatal(err)
	}
	if s := run(0); !s.Resumed {
		t.Errorf("it has not gone on: %+v", s)
	}
	var got []byte
	for _, key := range b.keys(t.Context(), "out/part-") {
		z, err := gzip.NewReader(bytes.NewReader(b.get(key)))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rows...)
	}
	if !bytes.Equal(got, text.Bytes()) {
		t.Errorf("%d rows", bytes.Count(got, []byte("\n")))
	}
	if list, err := b.client.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &b.name}); err != nil || len(list.Uploads) != 0 {
		t.Errorf("%d uploads are left, %v", len(list.Uploads), err)
	}
}
