package parquetfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/rowmill/rowmill/pipeline"
)

// DefaultMaxRecord is the longest row that is read, as JSON.
const DefaultMaxRecord = 64 << 20

// Options say what is read of a file, and how.
type Options struct {
	// Path is where the file is, for messages and the Origin of records.
	Path string
	// Columns are those to be read, in this order: names, or paths with dots. Nil is all.
	Columns []string
	// BinaryText takes bytes that have no type for text. Else they become base64.
	BinaryText bool
	// MaxRecord bounds a row, in bytes as JSON. Defaults to [DefaultMaxRecord].
	MaxRecord int
}

// File is a Parquet file that is read.
type File struct {
	options Options
	r       io.ReaderAt
	size    int64
	end     int64 // of the rows
	meta    *format.FileMetaData
	root    *node
	chunks  []*parquet.FileColumnChunk
	names   []string // of the leaves, with dots
	unpack  decompressor
	done    atomic.Int64
}

// Open reads the footer of a file of that size.
func Open(r io.ReaderAt, size int64, o Options) (*File, error) {
	if o.MaxRecord <= 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	f := &File{options: o, r: r, size: size, end: size - tailBytes}
	if err := f.open(); err != nil {
		return nil, f.failed(err)
	}
	return f, nil
}

func (f *File) open() (err error) {
	if f.meta, err = readFooter(f.r, f.size); err != nil {
		return err
	}
	if f.root, err = buildTree(f.meta.Schema, f.options); err != nil {
		return err
	}
	if f.options.Columns != nil {
		if f.root, err = f.root.project(f.options.Columns); err != nil {
			return err
		}
	}
	if err := f.root.checkNames(); err != nil {
		return err
	}
	f.names = leafNames(f.meta.Schema)
	f.chunks, err = leafChunks(f.meta.Schema)
	return err
}

// failed says which file it was. No row of it can be read. Whoever gives the bytes may have a
// code of its own.
func (f *File) failed(err error) error {
	code := "source"
	var known *pipeline.Error
	if errors.As(err, &known) {
		code = known.Code
	}
	return pipeline.Fatal(code, fmt.Errorf("%s: %w", f.options.Path, err))
}

// Rows is how many rows there are.
func (f *File) Rows() int64 { return f.meta.NumRows }

// Groups is how many row groups there are.
func (f *File) Groups() int { return len(f.meta.RowGroups) }

// Extents are the places of each column that is read, of nested ones each part, by row
// group: from which byte up to which.
func (f *File) Extents() [][][2]int64 {
	columns := make([][][2]int64, len(f.root.leaves))
	for n, leaf := range f.root.leaves {
		for i := range f.meta.RowGroups {
			from, to := extent(&f.meta.RowGroups[i].Columns[leaf].MetaData)
			columns[n] = append(columns[n], [2]int64{from, min(to+chunkSlack, f.end)})
		}
	}
	return columns
}

// BytesRead is how many bytes of rows were read so far. It may be called while others
// read.
func (f *File) BytesRead() int64 { return f.done.Load() }

// Shape says what the records look like.
func (f *File) Shape() pipeline.Shape {
	s := pipeline.Shape{Closed: true}
	for _, c := range f.root.children {
		s = s.With(c.name, c.fieldType())
	}
	return s
}

// Metadata returns what a file says of itself under a key.
func (f *File) Metadata(key string) (string, bool) {
	for _, kv := range f.meta.KeyValueMetadata {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return "", false
}

// Close gives back what was held to read.
func (f *File) Close() { f.unpack.close() }

// Rows reads the rows of a file, one row group after the other.
type Rows struct {
	file    *File
	group   int // whose columns are open
	left    int64
	row     int64 // the number of the last row of the file, from 1
	columns []*column
	used    []*column // those that are read
	lead    []*column // those whose rows have several values
	text    []byte
	invalid error // why the row cannot be read
}

// ReadFrom begins with a row, from 0.
func (f *File) ReadFrom(row int64) (*Rows, error) {
	rows := &Rows{file: f, group: -1, row: row}
	for rows.group+1 < len(f.meta.RowGroups) {
		n := f.meta.RowGroups[rows.group+1].NumRows
		if row < n {
			return rows, rows.open(row)
		}
		row -= n
		rows.group++
	}
	if row > 0 {
		return nil, f.failed(fmt.Errorf("it has only %d rows", f.Rows()))
	}
	return rows, nil
}

// open begins with the next row group, and skips rows of it.
func (r *Rows) open(skip int64) error {
	r.Close()
	r.group++
	f := r.file
	group := &f.meta.RowGroups[r.group]
	r.left = group.NumRows - skip
	r.columns = make([]*column, len(f.chunks))
	for _, i := range f.root.leaves {
		if r.columns[i] != nil {
			continue
		}
		meta := &group.Columns[i].MetaData
		repeated := f.chunks[i].Node().(*parquet.Column).MaxRepetitionLevel() > 0
		c := newColumn(f.names[i], f.chunks[i], newGuard(f.r, meta, f.end, repeated, f))
		r.columns[i] = c
		r.used = append(r.used, c)
		if repeated {
			r.lead = append(r.lead, c)
		} else if meta.NumValues != group.NumRows {
			return r.failed(fmt.Errorf("column %q has %d values for %d rows", c.name, meta.NumValues, group.NumRows))
		}
	}
	for _, c := range r.used {
		if err := c.skip(skip); err != nil {
			return r.failed(err)
		}
		c.rows = 0
	}
	return nil
}

// failed says where reading ended.
func (r *Rows) failed(err error) error {
	return r.file.failed(fmt.Errorf("row group %d of %d: %w", r.group+1, r.file.Groups(), err))
}

// Close ends reading. It may be called again.
func (r *Rows) Close() {
	for _, c := range r.used {
		c.close()
	}
	r.columns, r.used, r.lead = nil, nil, nil
}

// Read returns the next row; io.EOF behind the last. A row that JSON cannot hold is
// returned with an error and can be passed; after an error without one nothing more is
// read.
func (r *Rows) Read() (*pipeline.Record, error) {
	for r.left == 0 {
		if err := r.ended(); err != nil {
			return nil, err
		}
		if r.group+1 >= r.file.Groups() {
			return nil, io.EOF
		}
		if err := r.open(0); err != nil {
			return nil, err
		}
	}
	text, err := r.append(r.text[:0])
	r.text = text[:0]
	if cap(text) > 1<<20 {
		r.text = nil // it was a very long row
	}
	if err != nil {
		return nil, r.failed(fmt.Errorf("row %d: %w", r.row+1, err))
	}
	r.row, r.left = r.row+1, r.left-1
	origin := pipeline.Origin{Path: r.file.options.Path, Line: r.row, Offset: -1}
	if r.invalid != nil {
		bad := pipeline.Unreadable(text)
		bad.Origin = origin
		return bad, fmt.Errorf("%s: row %d: %w", r.file.options.Path, r.row, r.invalid)
	}
	record := pipeline.RawRecord(string(text))
	record.Origin = origin
	return record, nil
}

// ended says whether something is left of the columns of a row group.
func (r *Rows) ended() error {
	for _, c := range r.used {
		if c.peek() != nil {
			return r.failed(fmt.Errorf("column %q: it has more values than rows", c.name))
		}
		if !errors.Is(c.err, io.EOF) {
			return r.failed(c.failed())
		}
	}
	return nil
}

// append appends the next row as a JSON object.
func (r *Rows) append(dst []byte) (_ []byte, err error) {
	defer recovered(&err)
	r.invalid = nil
	dst, err = r.object(dst, r.file.root)
	if err != nil {
		return dst, err
	}
	if len(dst) > r.file.options.MaxRecord {
		r.refuse("", errTooLong)
		dst = dst[:min(len(dst), 1<<20)]
	}
	for _, c := range r.lead {
		rows := c.rows
		c.rows = 0
		if v := c.peek(); rows != 1 || v != nil && v.RepetitionLevel() != 0 {
			return dst, fmt.Errorf("column %q: its values belong to other rows than those of other columns", c.name)
		}
	}
	return dst, nil
}

var errTooLong = errors.New("the row is longer than max_record")

// refuse notes why the row cannot be read.
func (r *Rows) refuse(column string, err error) {
	if r.invalid == nil && column != "" {
		err = fmt.Errorf("column %q: %w", column, err)
	}
	if r.invalid == nil {
		r.invalid = err
	}
}

func (r *Rows) object(dst []byte, n *node) ([]byte, error) {
	dst = append(dst, '{')
	for i, c := range n.children {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, c.quoted...)
		var err error
		if dst, err = r.value(dst, c); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (r *Rows) value(dst []byte, n *node) ([]byte, error) {
	if n.shape == leafShape {
		return r.leaf(dst, n)
	}
	if len(n.leaves) == 0 {
		return append(dst, "{}"...), nil
	}
	if n.optional || n.shape != objectShape {
		first := r.columns[n.leaves[0]]
		v := first.peek()
		switch {
		case v == nil:
			return dst, first.failed()
		case n.optional && v.DefinitionLevel() < int(n.def):
			return append(dst, "null"...), r.pass(n)
		case n.shape == objectShape:
		case v.DefinitionLevel() < int(n.itemDef) && n.shape == listShape:
			return append(dst, "[]"...), r.pass(n)
		case v.DefinitionLevel() < int(n.itemDef):
			return append(dst, "{}"...), r.pass(n)
		case n.shape == listShape:
			return r.list(dst, n, first)
		default:
			return r.pairs(dst, n, first)
		}
	}
	return r.object(dst, n)
}

// pass passes one value of all that is below a node that is not there.
func (r *Rows) pass(n *node) error {
	for _, i := range n.leaves {
		if r.columns[i].next() == nil {
			return r.columns[i].failed()
		}
	}
	return nil
}

// leaf appends a value. Behind one that is too long nothing is appended any more, but
// all of the row is passed.
func (r *Rows) leaf(dst []byte, n *node) ([]byte, error) {
	c := r.columns[n.leaf]
	v := c.next()
	switch {
	case v == nil:
		return dst, c.failed()
	case n.optional && v.DefinitionLevel() < int(n.def), len(dst) > r.file.options.MaxRecord:
		return append(dst, "null"...), nil
	case v.IsNull():
		return dst, fmt.Errorf("column %q: a value is missing that must be there", c.name)
	}
	out, err := n.text(dst, v)
	if err != nil {
		r.refuse(c.name, err)
		if len(out) == len(dst) {
			out = append(out, "null"...)
		}
	}
	return out, nil
}

// more reports whether another item belongs to the list that was begun.
func more(first *column, n *node) bool {
	v := first.peek()
	return v != nil && v.RepetitionLevel() == int(n.itemRep)
}

func (r *Rows) list(dst []byte, n *node, first *column) ([]byte, error) {
	dst = append(dst, '[')
	for {
		var err error
		if dst, err = r.value(dst, n.children[0]); err != nil {
			return dst, err
		}
		if !more(first, n) {
			return append(dst, ']'), nil
		}
		dst = append(dst, ',')
	}
}

func (r *Rows) pairs(dst []byte, n *node, first *column) ([]byte, error) {
	key, value := n.children[0], n.children[1]
	dst = append(dst, '{')
	for {
		began := len(dst)
		var err error
		if dst, err = r.leaf(dst, key); err != nil {
			return dst, err
		}
		if dst[began] != '"' { // names are strings
			name := string(dst[began:])
			dst = pipeline.Text(name).AppendJSON(dst[:began])
		}
		if dst, err = r.value(append(dst, ':'), value); err != nil {
			return dst, err
		}
		if !more(first, n) {
			return append(dst, '}'), nil
		}
		dst = append(dst, ',')
	}
}

// leafChunks returns what decodes the pages of each leaf of a schema: a file with one row
// group that has everything and nothing. It is made of the physical types alone: what
// these stand for is read from the schema itself.
func leafChunks(schema []format.SchemaElement) (chunks []*parquet.FileColumnChunk, err error) {
	defer recovered(&err)
	file, err := hollow(schema)
	if err != nil || len(file.RowGroups()) == 0 {
		return nil, err
	}
	for _, c := range file.RowGroups()[0].ColumnChunks() {
		chunks = append(chunks, c.(*parquet.FileColumnChunk))
	}
	return chunks, nil
}

const endless = math.MaxInt64 / 2
