package parquetfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// maxPage bounds the bytes of a page, decompressed. Writers aim at one MiB.
const maxPage = 1 << 30

// What a byte can become at most when it is decompressed: who claims more is damaged.
const (
	snappyRatio = 64
	lz4Ratio    = 256
	zstdRatio   = 1 << 16
)

var errPageSize = errors.New("the page is damaged: it is not as long as its header says")

// decompressor decompresses pages. The zero decompressor is ready to use.
type decompressor struct {
	zstd *zstd.Decoder
	gzip *gzip.Reader
	out  []byte // used again
}

// decompress returns the size bytes that src holds, until it is called again. No more is
// allocated than src can hold.
func (d *decompressor) decompress(src []byte, size int, codec format.CompressionCodec) ([]byte, error) {
	if size > maxPage {
		return nil, fmt.Errorf("%w: %d bytes are more than a page may have", errPageSize, size)
	}
	if size == 0 && len(src) == 0 { // a page of nulls
		return nil, nil
	}
	dst := d.out
	var err error
	switch codec {
	case format.Uncompressed:
		if len(src) != size {
			return nil, fmt.Errorf("%w: %d bytes instead of %d", errPageSize, len(src), size)
		}
		return src, nil
	case format.Snappy:
		dst, err = unsnappy(dst, src, size)
	case format.Zstd:
		dst, err = d.unzstd(dst, src, size)
	case format.Gzip:
		dst, err = d.gunzip(dst, src, size)
	case format.Brotli:
		dst, err = readAtMost(dst, brotli.NewReader(bytes.NewReader(src)), size)
	case format.Lz4Raw:
		dst, err = unlz4(dst, src, size)
	case format.Lz4:
		dst, err = unlz4Hadoop(dst, src, size)
	default:
		return nil, fmt.Errorf("it is compressed with %s, which is not supported", codec)
	}
	if err == nil && len(dst) != size {
		err = fmt.Errorf("%w: %d bytes instead of %d", errPageSize, len(dst), size)
	}
	if err == nil {
		d.out = dst
	}
	return dst, err
}

func sized(b []byte, size int) []byte {
	if cap(b) < size {
		return make([]byte, size)
	}
	return b[:size]
}

func unsnappy(dst, src []byte, size int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n != size || size > snappyRatio*len(src) {
		return nil, errPageSize
	}
	return s2.Decode(sized(dst, size), src)
}

func (d *decompressor) unzstd(dst, src []byte, size int) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(src); err == nil && head.HasFCS && head.FrameContentSize > uint64(size) || size > zstdRatio*len(src) {
		return nil, errPageSize
	}
	if d.zstd == nil {
		var err error
		if d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPage)); err != nil {
			return nil, err
		}
	}
	return d.zstd.DecodeAll(src, dst[:0])
}

func (d *decompressor) gunzip(dst, src []byte, size int) ([]byte, error) {
	var err error
	if d.gzip == nil {
		d.gzip, err = gzip.NewReader(bytes.NewReader(src))
	} else {
		err = d.gzip.Reset(bytes.NewReader(src))
	}
	if err != nil {
		return nil, err
	}
	return readAtMost(dst, d.gzip, size)
}

// readAtMost reads a byte more than it should be, if there is one.
func readAtMost(dst []byte, r io.Reader, size int) ([]byte, error) {
	out := bytes.NewBuffer(dst[:0])
	_, err := io.Copy(out, io.LimitReader(r, int64(size)+1))
	return out.Bytes(), err
}

func unlz4(dst, src []byte, size int) ([]byte, error) {
	if size > lz4Ratio*len(src) {
		return nil, errPageSize
	}
	dst = sized(dst, size)
	n, err := lz4.UncompressBlock(src, dst)
	if err != nil {
		return nil, err
	}
	return dst[:n], nil
}

// unlz4Hadoop reads what is called LZ4 and was written in two ways: blocks with two
// lengths in front of each, as Hadoop does, or one bare block.
func unlz4Hadoop(dst, src []byte, size int) ([]byte, error) {
	if size > lz4Ratio*len(src) {
		return nil, errPageSize
	}
	dst = sized(dst, size)
	out, rest := 0, src
	for len(rest) >= 8 {
		plain, packed := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		if uint64(plain) > uint64(size-out) || uint64(packed) > uint64(len(rest)-8) {
			break
		}
		n, err := lz4.UncompressBlock(rest[8:8+packed], dst[out:out+int(plain)])
		if err != nil || n != int(plain) {
			break
		}
		out, rest = out+n, rest[8+packed:]
	}
	if out == size && len(rest) == 0 {
		return dst, nil
	}
	return unlz4(dst, src, size)
}

func (d *decompressor) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}
