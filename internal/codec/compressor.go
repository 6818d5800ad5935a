package codec

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Compressor writes compressed bytes.
type Compressor interface {
	io.Writer
	// Flush writes out what is held, so that a reader sees all of it.
	Flush() error
	// State is what [ContinueCompressor] needs to go on behind the last Flush; empty
	// where that is nothing.
	State() string
	// Close ends the compressed data. It does not close what it is written to.
	Close() error
}

// NewCompressor returns the compressor of w. With [AutoCompression] the name decides.
func NewCompressor(w io.Writer, path string, c Compression) (Compressor, error) {
	if c == "" || c == AutoCompression {
		c = CompressionOf(path)
	}
	switch c {
	case None:
		return plain{w}, nil
	case Gzip:
		return newGzip(w)
	case Zstd:
		// One at a time: no goroutines of its own. An output without rows is a valid
		// file too.
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return &zstdCompressor{w: w, z: z}, nil
	default:
		return nil, fmt.Errorf("there is no compression %q", c)
	}
}

// ContinueCompressor returns a compressor that goes on where another was after a
// Flush that wrote something, given the [Compressor.State] it had then. What that one
// wrote afterwards, its end as well, must have been cut off.
func ContinueCompressor(w io.Writer, path string, c Compression, state string) (Compressor, error) {
	compressor, err := NewCompressor(w, path, c)
	if err != nil {
		return nil, err
	}
	switch c := compressor.(type) {
	case *gzipCompressor:
		err = c.restore(state)
	case *zstdCompressor:
		c.written = true
	}
	return compressor, err
}

// plain compresses nothing.
type plain struct{ io.Writer }

func (plain) Flush() error  { return nil }
func (plain) State() string { return "" }
func (plain) Close() error  { return nil }

// gzipHeader begins a member: deflate, no name, no time, an unknown system.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// gzipCompressor writes one member, whatever the number of flushes: a member a flush
// would be 44 % larger at five rows of 350 bytes, and 5 % at a hundred, and not all
// programs read more than the first. It writes the frame of the member itself, because
// gzip.Writer cannot go on in the middle of one; behind a flush any other deflate stream
// may follow.
type gzipCompressor struct {
	w     io.Writer
	z     *flate.Writer
	crc   uint32
	size  uint32 // of what was compressed, modulo 2^32
	begun bool   // the header is written
	dirty bool   // a flush has something to do; without it would only make the file longer
}

func newGzip(w io.Writer) (*gzipCompressor, error) {
	z, err := flate.NewWriter(w, flate.DefaultCompression)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return &gzipCompressor{w: w, z: z}, nil
}

// Write compresses p.
func (c *gzipCompressor) Write(p []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	c.dirty = true
	c.crc = crc32.Update(c.crc, crc32.IEEETable, p)
	c.size += uint32(len(p))
	return c.z.Write(p)
}

func (c *gzipCompressor) begin() error {
	if c.begun {
		return nil
	}
	c.begun = true
	_, err := io.WriteString(c.w, gzipHeader)
	return err
}

// Flush writes out what is held.
func (c *gzipCompressor) Flush() error {
	if !c.dirty {
		return nil
	}
	c.dirty = false
	return c.z.Flush()
}

// State is the checksum and the size so far, which end the member.
func (c *gzipCompressor) State() string { return hex.EncodeToString(c.sums()) }

func (c *gzipCompressor) sums() []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, c.crc), c.size)
}

func (c *gzipCompressor) restore(state string) error {
	sums, err := hex.DecodeString(state)
	if err != nil || len(sums) != 8 {
		return fmt.Errorf("%q is no state of a gzip stream", state)
	}
	c.crc, c.size, c.begun = binary.LittleEndian.Uint32(sums), binary.LittleEndian.Uint32(sums[4:]), true
	return nil
}

// Close ends the member.
func (c *gzipCompressor) Close() error {
	if err := c.begin(); err != nil {
		return err
	}
	if err := c.z.Close(); err != nil {
		return err
	}
	_, err := c.w.Write(c.sums())
	return err
}

// zstdCompressor ends a frame at every flush, so that the file is whole then.
type zstdCompressor struct {
	w       io.Writer
	z       *zstd.Encoder
	dirty   bool // the frame is begun
	written bool // there is a frame
}

// Write compresses p.
func (c *zstdCompressor) Write(p []byte) (int, error) {
	c.dirty, c.written = true, true
	return c.z.Write(p)
}

// Flush ends the frame.
func (c *zstdCompressor) Flush() error {
	if !c.dirty {
		return nil
	}
	if err := c.z.Close(); err != nil {
		return err
	}
	c.dirty = false
	c.z.Reset(c.w)
	return nil
}

// State is empty: a frame knows nothing of those before it.
func (c *zstdCompressor) State() string { return "" }

// Close ends the last frame.
func (c *zstdCompressor) Close() error {
	if c.dirty || !c.written {
		return c.z.Close()
	}
	return nil
}
