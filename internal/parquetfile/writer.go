package parquetfile

import (
	"fmt"
	"io"
	"reflect"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"github.com/rowmill/rowmill/pipeline"
)

// Defaults of [WriteOptions].
const (
	DefaultGroupRows  = 1_000_000
	DefaultGroupBytes = 64 << 20
)

// WriteOptions say how a file is written. Zero fields mean the defaults.
type WriteOptions struct {
	// Compression is zstd, snappy, gzip, brotli, lz4 or none. Defaults to zstd.
	Compression string
	// GroupRows and GroupBytes are when a row group ends; the bytes are those of the values,
	// before they are encoded.
	GroupRows, GroupBytes int64
	// Metadata is what the file says of itself, by key.
	Metadata map[string]string
}

// Compressions are the names that [WriteOptions] takes.
func Compressions() []string { return []string{"zstd", "snappy", "gzip", "brotli", "lz4", "none"} }

func codecOf(name string) compress.Codec {
	switch name {
	case "snappy":
		return &parquet.Snappy
	case "gzip":
		return &parquet.Gzip
	case "brotli":
		return &parquet.Brotli
	case "lz4":
		return &parquet.Lz4Raw
	case "none":
		return &parquet.Uncompressed
	default:
		return &parquet.Zstd
	}
}

// Writer writes records to a file.
type Writer struct {
	options WriteOptions
	encoder *encoder
	out     *parquet.GenericWriter[any]
	row     parquet.Row
	batch   [1]parquet.Row
	rows    int64 // of the row group
	bytes   int64
}

// NewWriter begins a file with the columns of a schema, which is sealed.
func NewWriter(w io.Writer, s *Schema, o WriteOptions) (_ *Writer, err error) {
	defer recovered(&err)
	if o.GroupRows <= 0 {
		o.GroupRows = DefaultGroupRows
	}
	if o.GroupBytes <= 0 {
		o.GroupBytes = DefaultGroupBytes
	}
	s.Seal()
	options := []parquet.WriterOption{
		parquet.NewSchema("rows", nodeOf(s.root, true)), parquet.Compression(codecOf(o.Compression)),
		parquet.DictionaryMaxBytes(dictionaryBytes), parquet.CreatedBy("rowmill", "", ""),
	}
	for key, value := range o.Metadata {
		options = append(options, parquet.KeyValueMetadata(key, value))
	}
	return &Writer{options: o, encoder: newEncoder(s.root), out: parquet.NewGenericWriter[any](w, options...)}, nil
}

// dictionaryBytes is how large the dictionary of a column becomes before its texts are
// written as they are.
const dictionaryBytes = 1 << 20

// Write writes a row. The error says which field does not fit; nothing was written then.
func (w *Writer) Write(r *pipeline.Record) (err error) {
	defer recovered(&err)
	if err := w.encoder.encode(r); err != nil {
		return err
	}
	w.row = w.row[:0]
	for _, column := range w.encoder.columns {
		w.row = append(w.row, column...)
	}
	w.batch[0] = w.row
	if _, err := w.out.WriteRows(w.batch[:]); err != nil {
		return pipeline.Fatal("output", err)
	}
	w.rows++
	w.bytes += int64(w.encoder.size)
	if w.rows < w.options.GroupRows && w.bytes < w.options.GroupBytes {
		return nil
	}
	w.rows, w.bytes = 0, 0
	if err := w.out.Flush(); err != nil {
		return pipeline.Fatal("output", fmt.Errorf("end a row group: %w", err))
	}
	return nil
}

// Close ends the file. It does not close what it was written to.
func (w *Writer) Close() (err error) {
	defer recovered(&err)
	return w.out.Close()
}

// nodeOf returns what parquet-go knows a type as.
func nodeOf(t *Type, root bool) parquet.Node {
	t = t.written()
	var n parquet.Node
	switch t.Kind {
	case Object:
		g := group{Group: parquet.Group{}}
		for _, f := range t.Fields {
			g.fields = append(g.fields, field{nodeOf(f.Type, false), f.Name})
		}
		n = g
	case List:
		n = parquet.List(nodeOf(t.Item, false))
	case Map:
		n = parquet.Map(parquet.String(), nodeOf(t.Item, false))
	default:
		n = leafNode(t)
	}
	if root || t.Required {
		return n
	}
	return parquet.Optional(n)
}

func leafNode(t *Type) parquet.Node {
	switch t.Kind {
	case Bool:
		return parquet.Leaf(parquet.BooleanType)
	case Int:
		return parquet.Int(t.Bits)
	case Uint:
		return parquet.Uint(t.Bits)
	case Float:
		return parquet.Leaf(parquet.FloatType)
	case Double:
		return parquet.Leaf(parquet.DoubleType)
	case Decimal:
		return parquet.Decimal(t.Scale, t.Precision, decimalType(t.Precision))
	case String:
		return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	case Binary:
		return parquet.Leaf(parquet.ByteArrayType)
	case UUID:
		return parquet.UUID()
	case Date:
		return parquet.Date()
	case Time:
		return parquet.TimeAdjusted(unitNamed(t.Unit), false)
	case Timestamp:
		return parquet.TimestampAdjusted(unitNamed(t.Unit), true)
	case Local:
		return parquet.TimestampAdjusted(unitNamed(t.Unit), false)
	default:
		return parquet.JSON()
	}
}

func decimalType(precision int) parquet.Type {
	switch decimalBytes(precision) {
	case 4:
		return parquet.Int32Type
	case 8:
		return parquet.Int64Type
	default:
		return parquet.FixedLenByteArrayType(16)
	}
}

func unitNamed(name string) parquet.TimeUnit {
	switch name {
	case "ms":
		return parquet.Millisecond
	case "ns":
		return parquet.Nanosecond
	default:
		return parquet.Microsecond
	}
}

// group is a group that keeps the order of its fields.
type group struct {
	parquet.Group
	fields []parquet.Field
}

// Fields returns them in order.
func (g group) Fields() []parquet.Field { return g.fields }

// field is one of a group.
type field struct {
	parquet.Node
	name string
}

// Name is what it is called.
func (f field) Name() string { return f.name }

// Value is for Go values, which are not written here.
func (field) Value(reflect.Value) reflect.Value { return reflect.Value{} }
