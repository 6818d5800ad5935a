// Nightly runs pipelines/nightly.yaml, from S3 past a model to Parquet in S3, against a server
// in its own process, for two days; then one of them again, which has nothing to do. How to
// schedule such a job is in README.md.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
	"github.com/rowmill/rowmill/sources/s3"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "nightly:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	server, stop, err := buckettest.Start() // in your program: S3, MinIO, Ceph, …
	if err != nil {
		return err
	}
	defer stop()
	client := awss3.New(awss3.Options{
		BaseEndpoint: &server.URL, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	state, err := os.MkdirTemp("", "nightly-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(state) }()
	for _, day := range []string{"2026-11-21", "2026-11-22"} {
		if err := arrive(ctx, client, day); err != nil {
			return err
		}
	}
	for _, day := range []string{"2026-11-21", "2026-11-22", "2026-11-22"} {
		if err := night(ctx, day, server.URL, filepath.Join(state, day)); err != nil {
			return err
		}
	}
	return show(ctx, client)
}

// arrive puts the tickets of a day into the bucket.
func arrive(ctx context.Context, client *awss3.Client, day string) error {
	var text bytes.Buffer
	for i := range 6 {
		channel := "email"
		if i%3 == 2 {
			channel = "phone"
		}
		fmt.Fprintf(&text, `{"id":"%s-%d","channel":"%s","body":"My parcel %d has not arrived yet."}`+"\n", day, i+1, channel, i)
	}
	name, key := buckettest.Name, "tickets/"+day+"/a.jsonl"
	_, err := client.PutObject(ctx, &awss3.PutObjectInput{Bucket: &name, Key: &key, Body: bytes.NewReader(text.Bytes())})
	return err
}

// night runs the pipeline for a day. Its state is in a folder of that day.
func night(ctx context.Context, day, endpoint, state string) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	environment := map[string]string{"DAY": day, "S3_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
	p, err := load.File(filepath.Join("pipelines", "nightly.yaml"), load.Options{
		Registry: registry,
		Env:      pipeline.Env{Getenv: func(name string) string { return environment[name] }},
	})
	if err != nil {
		return err
	}
	summary, err := engine.Run(ctx, p, engine.Options{Preflight: true, State: state})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d read, %d delivered, %d of them before\n", day, summary.Counts.Read, summary.Counts.Delivered, summary.DoneBefore)
	return nil
}

// show reads two columns of the parts of all days.
func show(ctx context.Context, client *awss3.Client) error {
	parts, err := s3.NewWithClient(client, s3.Config{
		Bucket: buckettest.Name, Key: []string{"triage/*/part-*.parquet"}, Columns: []string{"id", "channel"},
	}, pipeline.Env{})
	if err != nil {
		return err
	}
	for r, err := range parts.Records(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", r.Origin.Path, r.AppendJSON(nil))
	}
	return nil
}
