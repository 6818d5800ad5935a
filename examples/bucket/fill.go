package main

import (
	"bytes"
	"context"
	"fmt"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
)

// fill puts two objects of tickets into the bucket, and one that is not meant.
func fill(ctx context.Context, client *awss3.Client) error {
	name := buckettest.Name
	for i, key := range []string{"tickets/2026-10/berlin/a.jsonl", "tickets/2026-11/a b+c.jsonl", "tickets/2025-12/old.jsonl"} {
		var text bytes.Buffer
		for j := range 6 {
			channel := "email"
			if j%3 == 2 {
				channel = "phone"
			}
			fmt.Fprintf(&text, `{"id":"%d-%d","channel":"%s","body":"My parcel %d has not arrived yet."}`+"\n", i+1, j+1, channel, j)
		}
		if _, err := client.PutObject(ctx, &awss3.PutObjectInput{Bucket: &name, Key: &key, Body: bytes.NewReader(text.Bytes())}); err != nil {
			return err
		}
	}
	return nil
}
