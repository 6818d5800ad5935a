package benchmark

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	sinks3 "github.com/rowmill/rowmill/sinks/s3"
	sources3 "github.com/rowmill/rowmill/sources/s3"
	"github.com/rowmill/rowmill/stages"
)

const bucketVariable = "ROWMILL_BENCHMARK_BUCKET" // set in the server's process

// serveBucket is an S3 server in a process of its own: it ends when its input does.
func serveBucket() {
	debug.SetGCPercent(400)
	s, stop, err := buckettest.Start()
	if err != nil {
		panic(err)
	}
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
}

const (
	bucketObjects = 24
	bucketRows    = 60_000 // of each object, of about 110 bytes
	bucketPart    = 16 << 20
)

// BenchmarkBucket is a job without a model, from S3 to S3, against two loops over the same
// SDK: a quarter of the rows are left out. Both loops validate every row, as we do. The lean
// one looks at one field and copies the line; the plain one does what is written first: it
// decodes each row into a map and encodes that. All take turns, and the figures are medians.
func BenchmarkBucket(b *testing.B) {
	const rounds = 5
	url := child(b, bucketVariable+"=1")
	client := bucketClient(b, url)
	for i := range bucketObjects {
		put(b, client, fmt.Sprintf("in/%d.jsonl", i), bucketObject(i))
	}
	jobs := map[string]func(){
		"lean":  func() { bucketLoop(b, client, leanRow) },
		"plain": func() { bucketLoop(b, client, plainRow) },
		"mill":  func() { bucketMill(b, url, "off") },
		"kept":  func() { bucketMill(b, url, b.TempDir()) },
	}
	for range b.N {
		costs := map[string][]cost{}
		for range rounds {
			for name, job := range jobs { // in another order each time
				pprof.Do(context.Background(), pprof.Labels("job", name), func(context.Context) {
					costs[name] = append(costs[name], measure(job))
				})
			}
		}
		reportBucket(b, costs)
	}
}

// reportBucket reports the medians, a row, and what they are of those of the loops.
func reportBucket(b *testing.B, costs map[string][]cost) {
	median := func(name string, of func(cost) float64) float64 {
		var all []float64
		for _, c := range costs[name] {
			all = append(all, of(c))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	const n = bucketObjects * bucketRows
	cpu := func(c cost) float64 { return float64(c.cpu.Nanoseconds()) / 1000 / n }
	wall := func(c cost) float64 { return float64(c.wall.Nanoseconds()) / 1000 / n }
	for name := range costs {
		b.ReportMetric(median(name, cpu), name+"-cpu-µs/row")
		b.ReportMetric(median(name, wall), name+"-µs/row")
	}
	for _, name := range []string{"mill", "kept"} {
		for _, loop := range []string{"lean", "plain"} {
			b.ReportMetric(median(name, cpu)/median(loop, cpu), name+"-cpu-x-"+loop)
			b.ReportMetric(median(name, wall)/median(loop, wall), name+"-x-"+loop)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func bucketObject(i int) []byte {
	var text bytes.Buffer
	for j := range bucketRows {
		channel := "email"
		if j%4 == 0 {
			channel = "phone"
		}
		fmt.Fprintf(&text, `{"id":%d,"channel":"%s","body":"My order %d has not arrived yet, and the tracking page says nothing."}`+"\n", i*bucketRows+j, channel, j)
	}
	return text.Bytes()
}

func bucketClient(tb testing.TB, url string) *s3.Client {
	tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	tb.Cleanup(transport.CloseIdleConnections)
	return s3.New(s3.Options{
		BaseEndpoint: &url, UsePathStyle: true, Region: "us-east-1", HTTPClient: &http.Client{Transport: transport},
		Credentials:                credentials.NewStaticCredentialsProvider("test", "testtest123", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
}

func put(tb testing.TB, client *s3.Client, key string, data []byte) {
	tb.Helper()
	if _, err := client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String(buckettest.Name), Key: &key, Body: bytes.NewReader(data)}); err != nil {
		tb.Fatal(err)
	}
}

// bucketLoop is what a good engineer writes by hand: one object after the other, line by
// line, parts in memory, no retries, no state.
func bucketLoop(tb testing.TB, client *s3.Client, add func(part, line []byte) ([]byte, error)) {
	tb.Helper()
	list, err := client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: aws.String(buckettest.Name), Prefix: aws.String("in/")})
	if err != nil {
		tb.Fatal(err)
	}
	var part []byte
	parts := 0
	flush := func() {
		parts++
		put(tb, client, fmt.Sprintf("loop/part-%05d.jsonl", parts), part)
		part = part[:0]
	}
	for _, o := range list.Contents {
		out, err := client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: aws.String(buckettest.Name), Key: o.Key})
		if err != nil {
			tb.Fatal(err)
		}
		lines := bufio.NewScanner(out.Body)
		for lines.Scan() {
			if part, err = add(part, lines.Bytes()); err != nil {
				tb.Fatal(err)
			}
			if len(part) >= bucketPart {
				flush()
			}
		}
		if err := lines.Err(); err != nil {
			tb.Fatal(err)
		}
		_ = out.Body.Close()
	}
	flush()
}

// leanRow decodes the one field that is looked at, and copies the line.
func leanRow(part, line []byte) ([]byte, error) {
	var row struct {
		Channel string `json:"channel"`
	}
	if err := json.Unmarshal(line, &row); err != nil || row.Channel != "email" {
		return part, err
	}
	return append(append(part, line...), '\n'), nil
}

// plainRow decodes all of the row, and encodes it.
func plainRow(part, line []byte) ([]byte, error) {
	var row map[string]any
	if err := json.Unmarshal(line, &row); err != nil || row["channel"] != "email" {
		return part, err
	}
	text, err := json.Marshal(row)
	return append(append(part, text...), '\n'), err
}

func bucketMill(tb testing.TB, url, state string) {
	tb.Helper()
	from := sources3.Default()
	from.Bucket, from.Endpoint, from.Prefix = buckettest.Name, url, "in/"
	source, err := sources3.New(from, buckettest.Env())
	if err != nil {
		tb.Fatal(err)
	}
	keep, err := stages.NewFilter(stages.FilterConfig{Where: `channel == "email"`}, pipeline.Env{})
	if err != nil {
		tb.Fatal(err)
	}
	to := sinks3.Default()
	to.Bucket, to.Endpoint, to.Prefix, to.Compression, to.Part.Bytes = buckettest.Name, url, "mill-"+strings.Trim(state, "/"), "none", bucketPart
	sink, err := sinks3.New(to, buckettest.Env())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: source, Sink: sink, Steps: []pipeline.Step{{Stage: keep}},
	}, engine.Options{Fresh: true, State: state})
	if want := int64(bucketObjects * bucketRows * 3 / 4); err != nil || s.Counts.Delivered != want {
		tb.Fatalf("%d rows delivered, want %d: %v", s.Counts.Delivered, want, err)
	}
}
