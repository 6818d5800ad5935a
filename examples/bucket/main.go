// Bucket runs pipelines/bucket-to-bucket.yaml, from S3 to S3, against a server in its own
// process, and then reads what came out in Go, through a client of its own.
package main

import (
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
		fmt.Fprintln(os.Stderr, "bucket:", err)
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
	if err := fill(ctx, client); err != nil {
		return err
	}
	if err := triage(ctx, server.URL); err != nil {
		return err
	}
	return show(ctx, client)
}

// triage runs the pipeline. Its state is in a folder: run again, it would go on there.
func triage(ctx context.Context, endpoint string) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	environment := map[string]string{"S3_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
	p, err := load.File(filepath.Join("pipelines", "bucket-to-bucket.yaml"), load.Options{
		Registry: registry,
		Env:      pipeline.Env{Getenv: func(name string) string { return environment[name] }},
	})
	if err != nil {
		return err
	}
	state, err := os.MkdirTemp("", "bucket-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(state) }()
	summary, err := engine.Run(ctx, p, engine.Options{Preflight: true, State: state})
	if err != nil {
		return err
	}
	fmt.Printf("%d read, %d delivered, %s\n", summary.Counts.Read, summary.Counts.Delivered, summary.Delivery)
	return nil
}

// show reads the parts. A source takes a client of the program's own as well.
func show(ctx context.Context, client *awss3.Client) error {
	parts, err := s3.NewWithClient(client, s3.Config{Bucket: buckettest.Name, Prefix: "triage/"}, pipeline.Env{})
	if err != nil {
		return err
	}
	for r, err := range parts.Records(ctx) {
		if err != nil {
			return err
		}
		id, _ := r.Lookup("id")
		fmt.Println(filepath.Base(r.Origin.Path), id.Text())
	}
	return nil
}
