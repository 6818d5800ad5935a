package codec

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/rowmill/rowmill/pipeline"
)

// Compression is how the bytes of a file are compressed.
type Compression string

// The compressions.
const (
	// AutoCompression goes by the name of the file and, on reading, by its first bytes.
	AutoCompression Compression = "auto"
	None            Compression = "none"
	Gzip            Compression = "gzip"
	Zstd            Compression = "zstd"
)

// maxWindow bounds the memory for decompressing: what `zstd -d` allows too.
const maxWindow = 128 << 20

// CompressionOf returns the compression that a file's name tells.
func CompressionOf(path string) Compression {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		return Gzip
	case ".zst":
		return Zstd
	default:
		return None
	}
}

// Decompress returns the decompressed bytes of src: several gzip members or zstd
// frames are read one after the other. It reads nothing before the first Read. Data
// that ends too early is an error that says so. Close releases the decompressor; it
// does not close src.
func Decompress(src io.Reader, path string, c Compression) io.ReadCloser {
	return &decompressor{src: src, raw: bufio.NewReaderSize(src, readAhead), path: path, want: c}
}

// Detect tells how the bytes of src are compressed. It reads the first of them.
func Detect(src io.Reader, path string, c Compression) (Compression, error) {
	d := decompressor{raw: bufio.NewReaderSize(src, 16), path: path, want: c}
	return d.detect()
}

// readAhead is how much a decompressor reads at once.
const readAhead = 64 << 10

type decompressor struct {
	src  io.Reader
	raw  *bufio.Reader
	path string
	want Compression

	r    io.Reader // nil before the first Read
	kind Compression
	free func()
}

// Read reads decompressed bytes.
func (d *decompressor) Read(p []byte) (int, error) {
	if d.r == nil {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	n, err := d.r.Read(p)
	switch {
	case err == nil, errors.Is(err, io.EOF), d.kind == None, isSource(err):
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("the %s data is cut short: %w", d.kind, io.ErrUnexpectedEOF)
	default:
		return n, fmt.Errorf("the %s data is damaged: %w", d.kind, err)
	}
}

// seek moves to a byte of the decompressed data, if that is possible without reading
// all before it.
func (d *decompressor) seek(offset int64) (bool, error) {
	to, ok := d.src.(io.Seeker)
	if !ok || d.r == nil || d.kind != None {
		return false, nil
	}
	if _, err := to.Seek(offset, io.SeekStart); err != nil {
		return false, err
	}
	d.raw.Reset(d.src)
	return true, nil
}

// Close releases the decompressor.
func (d *decompressor) Close() error {
	if d.free != nil {
		d.free()
		d.free = nil
	}
	return nil
}

func (d *decompressor) open() (err error) {
	if d.kind, err = d.detect(); err != nil {
		return err
	}
	switch d.kind {
	case Gzip:
		d.r, err = gzip.NewReader(d.raw)
	case Zstd:
		// One at a time: no goroutines of its own.
		var z *zstd.Decoder
		z, err = zstd.NewReader(d.raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			d.r, d.free = z, z.Close
		}
	default:
		d.r = d.raw
	}
	if err != nil && !isSource(err) {
		return fmt.Errorf("the %s data is damaged: %w", d.kind, err)
	}
	return err
}

// isSource reports whether whoever gives the bytes has failed, and not the bytes.
func isSource(err error) bool {
	var known *pipeline.Error
	return errors.As(err, &known) || errors.Is(err, context.Canceled)
}

// detect decides by the setting, the name and the first bytes.
func (d *decompressor) detect() (Compression, error) {
	if d.want == None {
		return None, nil
	}
	found, err := d.sniff()
	if err != nil {
		return "", err
	}
	named, why := d.want, "`compression:` says"
	if d.want != Gzip && d.want != Zstd {
		named, why = CompressionOf(d.path), "the name says"
	}
	if named != None && found == None {
		return "", fmt.Errorf("%s %s, but the data does not begin like it; set `compression: none` if it is not compressed", why, named)
	}
	return found, nil
}

// sniff tells the compression by the first bytes. It takes no more of them than it
// must, as the next one may be long in coming.
func (d *decompressor) sniff() (Compression, error) {
	for _, m := range []struct {
		magic []byte
		kind  Compression
	}{
		{[]byte{0x1f, 0x8b}, Gzip},
		{[]byte{0x28, 0xb5, 0x2f, 0xfd}, Zstd},
	} {
		if ok, err := d.begins(m.magic); ok || err != nil {
			return m.kind, err
		}
	}
	// A frame to be skipped (its first byte is 50 to 5f) may come first in zstd.
	if head, err := d.raw.Peek(1); err == nil && head[0]&0xf0 == 0x50 {
		ok, err := d.begins([]byte{head[0], 0x2a, 0x4d, 0x18})
		if ok || err != nil {
			return Zstd, err
		}
	}
	return None, nil
}

func (d *decompressor) begins(magic []byte) (bool, error) {
	for n := 1; n <= len(magic); n++ {
		head, err := d.raw.Peek(n)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if len(head) < n || !bytes.Equal(head, magic[:n]) {
			return false, nil
		}
	}
	return true, nil
}
