package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/rowmill/rowmill/pipeline"
)

// A frame is the length of its body and a CRC-32C of that, four bytes each, least
// significant first, and the body: guard, stage, Ref, payload.
const (
	headSize = 8
	leastLen = 8 + 4          // guard and four empty fields
	mostLen  = 1<<30 + 64<<10 // an outcome of 1 GiB and its name
	fileHead = "rowmill journal 1\n"
)

func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // it is made once and kept

func appendFrame(dst []byte, e Entry) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, headSize)...)
	dst = binary.LittleEndian.AppendUint64(dst, e.Guard)
	dst = appendString(dst, e.Stage)
	dst = binary.AppendUvarint(dst, uint64(e.Ref.Source))
	dst = binary.AppendUvarint(dst, e.Ref.Seq)
	dst = appendString(dst, e.Ref.Path)
	dst = append(dst, e.Payload...)
	body := dst[start+headSize:]
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(body, table()))
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errFrame = errors.New("no frame")

// readFrame reads the frame at the beginning of b and returns its size.
func readFrame(b []byte) (e Entry, size int, err error) {
	if len(b) < headSize {
		return e, 0, errFrame
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < leastLen || n > mostLen || n > len(b)-headSize {
		return e, 0, errFrame
	}
	body := b[headSize : headSize+n]
	if crc32.Checksum(body, table()) != binary.LittleEndian.Uint32(b[4:]) {
		return e, 0, errFrame
	}
	e, err = readBody(body)
	return e, headSize + n, err
}

func readBody(b []byte) (Entry, error) {
	e := Entry{Guard: binary.LittleEndian.Uint64(b)}
	r := reader{rest: b[8:]}
	e.Stage = r.string()
	e.Ref = pipeline.Ref{Source: int(r.uvarint()), Seq: r.uvarint(), Path: r.string()}
	e.Payload = r.rest
	if r.bad {
		return Entry{}, errFrame
	}
	return e, nil
}

type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
