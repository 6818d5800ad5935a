package parquetfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	magic          = "PAR1"
	magicEncrypted = "PARE"
	// tailBytes are the length of the footer and the magic number at the end.
	tailBytes = 8
	// chunkSlack is how much longer a column chunk may be than the footer says: some
	// writers forget the header of the dictionary.
	chunkSlack = 100
)

var (
	errNoParquet = errors.New("it is no Parquet file: it does not begin and end with PAR1")
	errEncrypted = errors.New("it is encrypted, which is not supported")
)

// readFooter reads and checks what stands at the end of a file of that size.
func readFooter(r io.ReaderAt, size int64) (*format.FileMetaData, error) {
	var head, tail [tailBytes]byte
	if size < int64(len(magic)+tailBytes) {
		return nil, errNoParquet
	}
	if err := readFull(r, head[:4], 0); err != nil {
		return nil, err
	}
	if err := readFull(r, tail[:], size-tailBytes); err != nil {
		return nil, err
	}
	switch {
	case string(tail[4:]) == magicEncrypted:
		return nil, errEncrypted
	case string(head[:4]) == magic && string(tail[4:]) != magic:
		return nil, fmt.Errorf("%w; its end is missing, it was not written to the end or was cut off", errNoParquet)
	case string(head[:4]) != magic || string(tail[4:]) != magic:
		return nil, errNoParquet
	}
	length := int64(binary.LittleEndian.Uint32(tail[:4]))
	if length > size-int64(len(magic))-tailBytes {
		return nil, fmt.Errorf("the footer is damaged: it has %d bytes, and the file %d", length, size)
	}
	raw := make([]byte, length)
	if err := readFull(r, raw, size-tailBytes-length); err != nil {
		return nil, err
	}
	meta, err := decodeFooter(raw)
	if err != nil {
		return nil, fmt.Errorf("the footer is damaged: %w", err)
	}
	return meta, checkGroups(meta, size-tailBytes-length)
}

func decodeFooter(raw []byte) (meta *format.FileMetaData, err error) {
	defer recovered(&err)
	n, err := scanStruct(raw, nil)
	if err != nil {
		return nil, err
	}
	meta = new(format.FileMetaData)
	protocol := new(thrift.CompactProtocol)
	return meta, thrift.Unmarshal(protocol, raw[:n], meta)
}

// readFull reads all of b. A file that ends before is damaged.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("it became shorter while it was read: %d bytes at byte %d are gone", len(b)-n, at+int64(n))
	}
	return err
}

// checkGroups says what the footer says of row groups that cannot be; end is where the
// rows end.
func checkGroups(meta *format.FileMetaData, end int64) error {
	leaves := 0
	for i := range meta.Schema {
		if meta.Schema[i].Type.Valid {
			leaves++
		}
	}
	var rows int64
	for i := range meta.RowGroups {
		group := &meta.RowGroups[i]
		if group.NumRows < 0 || rows+group.NumRows < rows {
			return fmt.Errorf("the footer is damaged: row group %d has %d rows", i+1, group.NumRows)
		}
		rows += group.NumRows
		if len(group.Columns) != leaves {
			return fmt.Errorf("the footer is damaged: row group %d has %d columns, and the schema %d", i+1, len(group.Columns), leaves)
		}
		for j := range group.Columns {
			if err := checkChunk(&group.Columns[j], end); err != nil {
				return fmt.Errorf("row group %d, column %d: %w", i+1, j+1, err)
			}
		}
	}
	meta.NumRows = rows // some writers forget to say it
	return nil
}

func checkChunk(c *format.ColumnChunk, end int64) error {
	switch {
	case c.FilePath != "":
		return fmt.Errorf("its values are in another file, %q, which is not supported", c.FilePath)
	case c.CryptoMetadata.Value != nil, len(c.EncryptedColumnMetadata) > 0:
		return errEncrypted
	}
	from, to := extent(&c.MetaData)
	if c.MetaData.TotalCompressedSize < 0 || from < int64(len(magic)) || to < from || to > end || c.MetaData.NumValues < 0 {
		return fmt.Errorf("the footer is damaged: %d values in the bytes from %d to %d of %d", c.MetaData.NumValues, from, to, end)
	}
	return nil
}

// extent is where the pages of a column chunk are.
func extent(m *format.ColumnMetaData) (from, to int64) {
	from = m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < from {
		from = d
	}
	return from, from + m.TotalCompressedSize
}

// hollow returns a file of that schema, without a word on what the physical types stand
// for, and without a page: what its column chunks read is what they are given.
func hollow(schema []format.SchemaElement) (*parquet.File, error) {
	meta := format.FileMetaData{Version: 1, RowGroups: make([]format.RowGroup, 1)}
	for _, e := range schema {
		e.LogicalType.Value = nil
		e.ConvertedType = thrift.Null[deprecated.ConvertedType]{}
		meta.Schema = append(meta.Schema, e)
		if e.Type.Valid {
			meta.RowGroups[0].Columns = append(meta.RowGroups[0].Columns, format.ColumnChunk{MetaData: format.ColumnMetaData{
				Type: e.Type.V, DataPageOffset: int64(len(magic)), TotalCompressedSize: endless, NumValues: endless,
			}})
		}
	}
	raw, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	if err != nil {
		return nil, err
	}
	file := append([]byte(magic), raw...)
	file = binary.LittleEndian.AppendUint32(file, uint32(len(raw)))
	file = append(file, magic...)
	return parquet.OpenFile(bytes.NewReader(file), int64(len(file)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}

// leafNames are the paths of the leaves, with dots.
func leafNames(schema []format.SchemaElement) []string {
	var names []string
	var path []string
	var left []int32 // how many fields are to come, on each level
	for _, e := range schema[1:] {
		path = append(path, e.Name)
		if e.Type.Valid {
			names = append(names, strings.Join(path, "."))
		}
		left = append(left, e.NumChildren.V)
		for len(left) > 0 && left[len(left)-1] == 0 {
			path, left = path[:len(path)-1], left[:len(left)-1]
			if len(left) > 0 {
				left[len(left)-1]--
			}
		}
	}
	return names
}

// recovered makes an error of a panic: parquet-go has some on files that are damaged.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("it is damaged: %v", p)
	}
}
