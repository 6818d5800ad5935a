package parquetfile

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	readBuffer = 16 << 10 // of each column; pages are read past it
	longestTop = 64 << 20 // the longest header of a page: statistics can be long
	// maxPageValues bounds the values of one page: levels take a byte each.
	maxPageValues = 1 << 27
)

// guard stands between a column chunk in a file and parquet-go, which believes what it
// reads: it gives on the pages one after the other, each looked at, decompressed, and
// under a header that is true.
type guard struct {
	meta     *format.ColumnMetaData
	repeated bool
	done     *atomic.Int64 // bytes read
	unpack   *decompressor
	stream   *bufio.Reader

	left   int64 // values in pages that are not read yet
	skip   int64 // rows that nobody wants, until the first page that has others too
	passed int64 // how many of them were in pages that have no others
	dict   int   // entries of the dictionary, -1 if there was none
	packed []byte
	plain  []byte
	out    []byte // what is given on, from there
	given  int64
	err    error
}

func newGuard(r io.ReaderAt, meta *format.ColumnMetaData, end int64, repeated bool, f *File) *guard {
	from, to := extent(meta)
	to = min(to+chunkSlack, end)
	return &guard{
		meta: meta, repeated: repeated, done: &f.done, unpack: &f.unpack, left: meta.NumValues, dict: -1,
		stream: bufio.NewReaderSize(io.NewSectionReader(r, from, to-from), readBuffer),
	}
}

// ReadAt gives on what comes next. Nobody may ask for anything else.
func (g *guard) ReadAt(p []byte, at int64) (n int, err error) {
	if at != g.given+int64(len(magic)) {
		return 0, errors.New("a page needs a dictionary that is not there")
	}
	for n < len(p) && g.err == nil {
		if len(g.out) == 0 {
			g.err = g.next()
			continue
		}
		k := copy(p[n:], g.out)
		n, g.out, g.given = n+k, g.out[k:], g.given+int64(k)
	}
	return n, g.err
}

// pageHead is what must be true of the header of a page.
type pageHead struct {
	bytes            int
	kind             format.PageType
	unpacked, packed int64
	values           int64 // of a page of data
	entries          int64 // of a dictionary
	rows             int64 // of a data page v2
}

func (h pageHead) data() bool { return h.kind == format.DataPage || h.kind == format.DataPageV2 }

func scanPageHead(b []byte) (h pageHead, err error) {
	h.kind, h.unpacked, h.packed, h.values, h.entries = -1, -1, -1, -1, -1
	h.bytes, err = scanStruct(b, func(path []int16, v int64) {
		switch {
		case len(path) == 1 && path[0] == 1:
			h.kind = format.PageType(v)
		case len(path) == 1 && path[0] == 2:
			h.unpacked = v
		case len(path) == 1 && path[0] == 3:
			h.packed = v
		case len(path) != 2:
		case path[1] == 1 && (path[0] == 5 || path[0] == 8):
			h.values = v
		case path[1] == 1 && path[0] == 7:
			h.entries = v
		case path[1] == 3 && path[0] == 8:
			h.rows = v
		}
	})
	return h, err
}

// next readies the next page to be given on.
func (g *guard) next() (err error) {
	defer recovered(&err)
	for g.left > 0 {
		h, header, err := g.header()
		if err != nil {
			return err
		}
		switch {
		case g.passes(h), h.kind == format.IndexPage:
			g.discard(int(h.packed))
			g.left -= max(h.values, 0)
			continue
		case h.kind == format.DictionaryPage && g.dict >= 0:
			return errors.New("it has two dictionaries")
		case h.kind == format.DictionaryPage:
			g.dict = int(h.entries)
		}
		if err := g.body(h, header); err != nil {
			return err
		}
		if h.data() {
			g.skip = 0
		}
		return g.give(header)
	}
	return io.EOF
}

// header reads the header of the next page.
func (g *guard) header() (h pageHead, header *format.PageHeader, err error) {
	var raw []byte
	for size := 256; ; size *= 4 {
		if size > g.stream.Size() {
			g.stream = bufio.NewReaderSize(g.stream, size)
		}
		var ended error
		raw, ended = g.stream.Peek(size)
		if h, err = scanPageHead(raw); err == nil {
			break
		}
		switch {
		case ended != nil && !errors.Is(ended, io.EOF):
			return h, nil, ended
		case ended != nil && len(raw) == 0:
			return h, nil, fmt.Errorf("it has %d values less than the footer says", g.left)
		case ended != nil, !errors.Is(err, errThriftShort), size >= longestTop:
			return h, nil, fmt.Errorf("the header of a page is damaged: %w", err)
		}
	}
	header = new(format.PageHeader)
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), raw[:h.bytes], header); err != nil {
		return h, nil, fmt.Errorf("the header of a page is damaged: %w", err)
	}
	g.discard(h.bytes)
	return h, header, g.check(h, header)
}

func (g *guard) discard(n int) {
	n, _ = g.stream.Discard(n) // what is not there shows when the next page is read
	g.done.Add(int64(n))
}

// check says what cannot be in a header.
func (g *guard) check(h pageHead, header *format.PageHeader) error {
	packed := min(g.meta.TotalCompressedSize+chunkSlack, maxPage)
	switch {
	case h.kind == format.DataPage && !header.DataPageHeader.Valid,
		h.kind == format.DataPageV2 && !header.DataPageHeaderV2.Valid,
		h.kind == format.DictionaryPage && !header.DictionaryPageHeader.Valid,
		h.kind < 0 || h.kind > format.DataPageV2,
		h.packed < 0 || h.packed > packed || h.unpacked < 0 || h.unpacked > maxPage,
		h.data() && (h.values < 0 || h.values > g.left || h.values > maxPageValues),
		h.kind == format.DictionaryPage && (h.entries < 0 || h.entries > h.unpacked):
		return fmt.Errorf("the header of a page is damaged: a page of kind %d of %d bytes, %d decompressed, with %d values of %d",
			h.kind, h.packed, h.unpacked, max(h.values, h.entries), g.left)
	}
	return nil
}

// passes reports whether a page holds nothing but rows to be skipped, and counts them.
func (g *guard) passes(h pageHead) bool {
	rows := h.rows
	if !g.repeated {
		rows = h.values
	}
	if !h.data() || rows <= 0 || rows > g.skip {
		return false
	}
	g.skip, g.passed = g.skip-rows, g.passed+rows
	return true
}

// body reads a page and decompresses it.
func (g *guard) body(h pageHead, header *format.PageHeader) error {
	g.packed = sized(g.packed, int(h.packed))
	n, err := io.ReadFull(g.stream, g.packed)
	g.done.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("a page is cut off")
	case err != nil:
		return err
	}
	if want := uint32(header.CRC); want != 0 && crc32.ChecksumIEEE(g.packed) != want {
		return errors.New("a page is damaged: its checksum is another")
	}
	g.left -= max(h.values, 0)
	levels := 0 // of a data page v2 they are in front and never compressed
	codec := g.meta.Codec
	if h.kind == format.DataPageV2 {
		v2 := &header.DataPageHeaderV2.V
		levels = int(v2.RepetitionLevelsByteLength) + int(v2.DefinitionLevelsByteLength)
		if v2.RepetitionLevelsByteLength < 0 || v2.DefinitionLevelsByteLength < 0 || levels > min(len(g.packed), int(h.unpacked)) ||
			v2.NumNulls < 0 || v2.NumNulls > v2.NumValues {
			return errors.New("the header of a page is damaged: its levels are longer than it is")
		}
		if v2.IsCompressed.Valid && !v2.IsCompressed.V {
			codec = format.Uncompressed
		}
	}
	g.plain = append(g.plain[:0], g.packed[:levels]...)
	rest, err := g.unpack.decompress(g.packed[levels:], int(h.unpacked)-levels, codec)
	g.plain = append(g.plain, rest...)
	return err
}

// give gives a page on, under a header without what nobody needs.
func (g *guard) give(header *format.PageHeader) error {
	header.CRC = 0
	header.CompressedPageSize, header.UncompressedPageSize = int32(len(g.plain)), int32(len(g.plain))
	header.DataPageHeader.V.Statistics = format.Statistics{}
	header.DataPageHeaderV2.V.Statistics = format.Statistics{}
	top, err := thrift.Marshal(new(thrift.CompactProtocol), header)
	g.out = append(top, g.plain...)
	return err
}
