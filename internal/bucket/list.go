package bucket

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rowmill/rowmill/pipeline"
)

// Object is an object as it was found.
type Object struct {
	Key  string
	Size int64
	// ETag changes with the bytes; without quotes, "" where the server has none.
	ETag string
}

// List returns the objects whose keys begin with a prefix and are wanted, by the bytes of
// their keys, whatever the server's order.
func (b *Bucket) List(ctx context.Context, prefix string, wanted func(key string) bool) ([]Object, error) {
	var all []Object
	var token *string
	for {
		var page *s3.ListObjectsV2Output
		err := b.do(ctx, "list", prefix, func(ctx context.Context, client *s3.Client, _ func()) (err error) {
			page, err = client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix, ContinuationToken: token}, ours)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); wanted(key) {
				all = append(all, Object{Key: strings.Clone(key), Size: aws.ToInt64(o.Size), ETag: unquote(aws.ToString(o.ETag))})
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			break
		}
		if next := aws.ToString(page.NextContinuationToken); next == "" || next == aws.ToString(token) {
			return nil, pipeline.Fatal("s3_list", errors.New("list "+b.URL(prefix)+": the server says that there is more, and not where"))
		}
		token = page.NextContinuationToken
	}
	slices.SortFunc(all, func(a, b Object) int { return cmp.Compare(a.Key, b.Key) })
	return slices.CompactFunc(all, func(a, b Object) bool { return a.Key == b.Key }), nil
}

// Head describes one object. The error has [CodeNotFound] if there is none.
func (b *Bucket) Head(ctx context.Context, key string) (Object, error) {
	o := Object{Key: key}
	err := b.do(ctx, "read", key, func(ctx context.Context, client *s3.Client, _ func()) error {
		head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: &key}, ours)
		if err == nil {
			o.Size, o.ETag = aws.ToInt64(head.ContentLength), unquote(aws.ToString(head.ETag))
		}
		return err
	})
	return o, err
}

// Delete removes objects; that one is not there is no error.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		err := b.do(ctx, "delete", key, func(ctx context.Context, client *s3.Client, _ func()) error {
			_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &key}, ours)
			return err
		})
		if err != nil && !IsCode(err, CodeNotFound) {
			return err
		}
	}
	return nil
}

func unquote(etag string) string { return strings.Trim(etag, `"`) }
