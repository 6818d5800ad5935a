package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rowmill/rowmill/pipeline"
)

// fetch reads len(buf) bytes of an object from a place on. A connection that breaks is
// gone on with behind what has come; an object that is another by now is an error with
// [CodeChanged].
func (b *Bucket) fetch(ctx context.Context, o Object, from int64, buf []byte) error {
	got := 0
	return b.do(ctx, "read", o.Key, func(ctx context.Context, client *s3.Client, alive func()) error {
		was := got
		err := b.fetchSome(ctx, client, alive, o, from, buf, &got)
		if err != nil && got > was {
			return progress{err}
		}
		return err
	})
}

// fetchSome makes one request for what is missing.
func (b *Bucket) fetchSome(ctx context.Context, client *s3.Client, alive func(), o Object, from int64, buf []byte, got *int) error {
	in := &s3.GetObjectInput{
		Bucket: &b.name, Key: &o.Key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", from+int64(*got), from+int64(len(buf))-1)),
	}
	if o.ETag != "" {
		in.IfMatch = aws.String(`"` + o.ETag + `"`)
	}
	out, err := client.GetObject(ctx, in, ours)
	if err != nil {
		return err
	}
	defer func() { _ = out.Body.Close() }()
	if err := b.same(o, out); err != nil {
		return err
	}
	if aws.ToString(out.ContentRange) == "" { // the server gave all of it
		if _, err := io.CopyN(io.Discard, out.Body, from+int64(*got)); err != nil {
			return err
		}
	}
	for *got < len(buf) {
		n, err := out.Body.Read(buf[*got:])
		*got += n
		if n > 0 {
			alive()
		}
		switch {
		case *got == len(buf):
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// same refuses an object that was changed, also where the server does not look at
// If-Match.
func (b *Bucket) same(o Object, out *s3.GetObjectOutput) error {
	etag := unquote(aws.ToString(out.ETag))
	var total int64
	_, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", new(int64), new(int64), &total)
	if o.ETag != "" && etag != "" && etag != o.ETag || err == nil && total != o.Size {
		return pipeline.Fatal(CodeChanged, fmt.Errorf(
			"read %s: it was changed while it was read; --fresh starts over with what is there now", b.URL(o.Key)))
	}
	return nil
}

// At gives the bytes of an object by place. Each ReadAt is a request of its own.
func (b *Bucket) At(ctx context.Context, o Object) io.ReaderAt { return &readerAt{ctx, b, o} }

type readerAt struct {
	ctx    context.Context
	bucket *Bucket
	object Object
}

// ReadAt reads.
func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), r.object.Size-off)
	if n <= 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if err := r.bucket.fetch(r.ctx, r.object, off, p[:n]); err != nil {
		return 0, err
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}
