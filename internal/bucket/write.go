package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// pieceBytes is how much one request of an upload in pieces holds. What is hardly larger (by
// half) goes in one. There may be mostPieces of them.
const (
	pieceBytes = 16 << 20
	mostPieces = 10_000
	atOnce     = 4 // pieces on their way
)

// abortTime bounds how long is tried to take an upload back.
const abortTime = 10 * time.Second

// Upload is what an object is to hold.
type Upload struct {
	Key         string
	Body        io.ReaderAt
	Size        int64
	SHA256      []byte // of the bytes
	ContentType string
}

// Put writes an object and returns its ETag. Nothing can be seen of it until it is whole,
// and what was there before stays until then.
func (b *Bucket) Put(ctx context.Context, u Upload) (etag string, err error) {
	if u.Size > b.piece+b.piece/2 {
		return b.putPieces(ctx, u)
	}
	err = b.do(ctx, "write", u.Key, func(ctx context.Context, client *s3.Client, alive func()) error {
		out, err := client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &b.name, Key: &u.Key, ContentLength: &u.Size, ContentType: &u.ContentType,
			ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(u.SHA256)),
			Body:           &sent{io.NewSectionReader(u.Body, 0, u.Size), alive},
		}, ours, hashed(u.SHA256))
		if err == nil {
			etag = unquote(aws.ToString(out.ETag))
		}
		return err
	})
	return etag, err
}

// PutBytes writes a small object.
func (b *Bucket) PutBytes(ctx context.Context, key string, data []byte, contentType string) error {
	sum := sha256.Sum256(data)
	_, err := b.Put(ctx, Upload{Key: key, Body: bytes.NewReader(data), Size: int64(len(data)), SHA256: sum[:], ContentType: contentType})
	return err
}

// Bytes reads a small object whole.
func (b *Bucket) Bytes(ctx context.Context, key string) ([]byte, error) {
	o, err := b.Head(ctx, key)
	if err != nil {
		return nil, err
	}
	data := make([]byte, o.Size)
	if o.Size == 0 {
		return nil, nil
	}
	return data, b.fetch(ctx, o, 0, data)
}

// sent is a body that says when something of it goes out.
type sent struct {
	*io.SectionReader
	alive func()
}

// Read reads.
func (s *sent) Read(p []byte) (int, error) {
	s.alive()
	return s.SectionReader.Read(p)
}

// putPieces uploads in pieces, which become an object all at once. Where that fails, none
// of them stays.
func (b *Bucket) putPieces(ctx context.Context, u Upload) (string, error) {
	id, err := b.begin(ctx, u)
	if err != nil {
		return "", err
	}
	pieces, err := b.sendPieces(ctx, u, id)
	if err != nil {
		return "", errors.Join(err, b.abort(ctx, u.Key, id))
	}
	var etag string
	err = b.do(ctx, "write", u.Key, func(ctx context.Context, client *s3.Client, _ func()) error {
		out, err := client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &b.name, Key: &u.Key, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{Parts: pieces},
		}, ours)
		if err == nil {
			etag = unquote(aws.ToString(out.ETag))
		}
		return err
	})
	if err != nil && codeOf(err) == "NoSuchUpload" { // it was completed, and the answer got lost
		if o, missing := b.Head(ctx, u.Key); missing == nil && o.Size == u.Size {
			return o.ETag, nil
		}
	}
	if err != nil {
		return "", errors.Join(err, b.abort(ctx, u.Key, id))
	}
	return etag, nil
}

func (b *Bucket) begin(ctx context.Context, u Upload) (id string, err error) {
	err = b.do(ctx, "write", u.Key, func(ctx context.Context, client *s3.Client, _ func()) error {
		out, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: &u.Key, ContentType: &u.ContentType}, ours)
		if err == nil {
			id = aws.ToString(out.UploadId)
		}
		return err
	})
	return id, err
}

// sendPieces sends the pieces, some at a time. The first error ends it.
func (b *Bucket) sendPieces(ctx context.Context, u Upload, id string) ([]types.CompletedPart, error) {
	size := max(b.piece, (u.Size+mostPieces-1)/mostPieces)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sending sync.WaitGroup
	slots := make(chan struct{}, atOnce) // as many as may be on their way
	pieces := make([]types.CompletedPart, (u.Size+size-1)/size)
	for i := range pieces {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		sending.Go(func() {
			defer func() { <-slots }()
			from := int64(i) * size
			body := io.NewSectionReader(u.Body, from, min(size, u.Size-from))
			etag, err := b.sendPiece(ctx, u.Key, id, int32(i+1), body)
			if err != nil {
				cancel(err)
				return
			}
			pieces[i] = types.CompletedPart{ETag: &etag, PartNumber: aws.Int32(int32(i + 1))}
		})
	}
	sending.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return pieces, nil
}

func (b *Bucket) sendPiece(ctx context.Context, key, id string, number int32, body *io.SectionReader) (etag string, err error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return "", err
	}
	hash := hashed(sum.Sum(nil))
	err = b.do(ctx, "write", key, func(ctx context.Context, client *s3.Client, alive func()) error {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return err
		}
		out, err := client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &b.name, Key: &key, UploadId: &id, PartNumber: &number, ContentLength: aws.Int64(body.Size()), Body: &sent{body, alive},
		}, ours, hash)
		if err == nil {
			etag = aws.ToString(out.ETag)
		}
		return err
	})
	return etag, err
}

// hashed has a request signed with the SHA-256 of its body, which the library would compute
// once more without TLS, and leave out with it. What the context holds the library forgets
// when the request begins.
func hashed(sum []byte) func(*s3.Options) {
	set := middleware.InitializeMiddlewareFunc("PayloadHash", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum)), in)
	})
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error { return stack.Initialize.Add(set, middleware.After) })
	}
}

// abort forgets an upload that was begun. That there is none is no error.
func (b *Bucket) abort(ctx context.Context, key, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime) // also of a run that is stopped
	defer cancel()
	err := b.do(ctx, "abort an upload of", key, func(ctx context.Context, client *s3.Client, _ func()) error {
		_, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: &key, UploadId: &id}, ours)
		return err
	})
	if statusOf(err) == 404 {
		return nil
	}
	return err
}

// AbortOrphans forgets uploads that were begun and never ended, of keys that are wanted:
// they cost, and nobody sees them. Where the server does not list them, or does not allow
// it, they stay, and the log says so.
func (b *Bucket) AbortOrphans(ctx context.Context, prefix string, wanted func(key string) bool) error {
	orphans, err := b.orphans(ctx, prefix, wanted)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		b.log.Warn("s3: uploads that an earlier run has not ended are not looked for", slog.String("prefix", b.URL(prefix)), slog.Any("error", err))
		return nil
	}
	for _, o := range orphans {
		if err := b.abort(ctx, aws.ToString(o.Key), aws.ToString(o.UploadId)); err != nil {
			return err
		}
		b.log.Info("s3: an upload that an earlier run has not ended was aborted", slog.String("object", b.URL(aws.ToString(o.Key))))
	}
	return nil
}

func (b *Bucket) orphans(ctx context.Context, prefix string, wanted func(key string) bool) (all []types.MultipartUpload, err error) {
	var keyMarker, idMarker *string
	for {
		var page *s3.ListMultipartUploadsOutput
		err := b.do(ctx, "list the uploads of", prefix, func(ctx context.Context, client *s3.Client, _ func()) (err error) {
			page, err = client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{
				Bucket: &b.name, Prefix: &prefix, KeyMarker: keyMarker, UploadIdMarker: idMarker,
			}, ours)
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Uploads...)
		again := cmp.Compare(aws.ToString(page.NextKeyMarker), aws.ToString(keyMarker)) == 0 && aws.ToString(page.NextUploadIdMarker) == aws.ToString(idMarker)
		if !aws.ToBool(page.IsTruncated) || again {
			break
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
	return slices.DeleteFunc(all, func(u types.MultipartUpload) bool { return !wanted(aws.ToString(u.Key)) }), nil
}
