package rowfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/meter"
	"github.com/rowmill/rowmill/pipeline"
)

// Reading says how rows are read: the keys that every source of files has.
type Reading struct {
	// Format and Compression are those of package codec; "" means auto.
	Format, Compression string
	// Delimiter and Types are for csv and tsv.
	Delimiter string
	Types     map[string]string
	// Field is the field of lines and whole; "" means text.
	Field string
	// MaxRecord is the longest row; 0 means codec.DefaultMaxRecord.
	MaxRecord pipeline.Size
}

// Validate notes what is wrong, by key.
func (r Reading) Validate(problems *pipeline.Problems) {
	if _, err := codec.ParseDelimiter(codec.CSV, r.Delimiter); err != nil {
		*problems = append(*problems, pipeline.Problem{Key: "delimiter", Err: err})
	}
	tabular := slices.Contains([]string{"", "auto", "csv", "tsv"}, r.Format)
	if len(r.Types) > 0 && !tabular {
		problems.Addf("types", "types are for the columns of csv and tsv; the format is %s", r.Format)
	}
	if r.Delimiter != "" && !tabular {
		problems.Addf("delimiter", "a delimiter is for csv and tsv; the format is %s", r.Format)
	}
	for name, t := range r.Types {
		if _, err := codec.ParseColumnType(t); err != nil {
			*problems = append(*problems, pipeline.Problem{Key: "types." + name, Err: err})
		}
	}
	if r.MaxRecord < 0 {
		problems.Addf("max_record", "a row cannot be shorter than nothing")
	}
}

// FormatOf is how the rows of a file of that name stand in it; codec.Auto if nothing tells.
func (r Reading) FormatOf(name string) codec.Format {
	if f := codec.Format(r.Format); f != codec.Auto && f != "" {
		return f
	}
	format, err := codec.FormatOf(name)
	if err != nil {
		return codec.Auto // Open says what is wrong
	}
	return format
}

// TypeOf is the type of a column of csv and tsv.
func (r Reading) TypeOf(column string) codec.ColumnType { return codec.ColumnType(r.Types[column]) }

// Shape is what the rows look like where the format alone tells.
func (r Reading) Shape() (s pipeline.Shape, known bool) {
	switch codec.Format(r.Format) {
	case codec.Lines:
		return r.LinesShape(), true
	case codec.Whole:
		return r.LinesShape().With("path", pipeline.StringType), true
	default:
		return s, false
	}
}

// LinesShape is what rows of plain text look like.
func (r Reading) LinesShape() pipeline.Shape {
	return pipeline.Shape{Closed: true}.With(r.field(), pipeline.StringType)
}

func (r Reading) field() string {
	if r.Field == "" {
		return "text"
	}
	return r.Field
}

// Open reads the rows of an input, whose Stream gives its bytes as they are stored. A
// format of codec.Auto goes by its name. It reads nothing yet.
func (r Reading) Open(in codec.Input, format codec.Format) (*Rows, error) {
	types := map[string]codec.ColumnType{}
	for name, t := range r.Types {
		types[name] = codec.ColumnType(t)
	}
	rows := &Rows{path: in.Path, stream: codec.Decompress(in.Stream, in.Path, codec.Compression(r.Compression))}
	rows.count, _ = in.Stream.(*Counter)
	in.Stream, rows.closer = rows.stream, rows.stream
	var err error
	rows.Reader, err = codec.NewReader(in, codec.ReadOptions{
		Format: format, MaxRecord: int64(r.MaxRecord), Delimiter: r.Delimiter, Types: types, Field: r.field(),
	})
	if err != nil {
		return nil, errors.Join(pipeline.Fatal("source", err), rows.stream.Close())
	}
	return rows, nil
}

// Rows are the rows of one input.
type Rows struct {
	codec.Reader
	path   string
	stream io.ReadCloser // decompressed; nil for a format that is not read as a stream
	closer io.Closer
	count  *Counter // of what stream is made of; nil if nobody counts
}

// RowsOf are the rows of an input whose format is none of package codec: the reader is closed
// with them.
func RowsOf(path string, r interface {
	codec.Reader
	io.Closer
},
) *Rows {
	return &Rows{Reader: r, path: path, closer: r}
}

// Close releases the decompressor.
func (r *Rows) Close() { _ = r.closer.Close() } // nothing was written

// SkipTo goes on with the row that stood at a place.
func (r *Rows) SkipTo(at pipeline.Origin) error {
	skipper, ok := r.Reader.(codec.Skipper)
	if !ok {
		return pipeline.Fatal("source", fmt.Errorf("%s: it cannot be read from the middle", r.path))
	}
	return skipper.SkipTo(at)
}

// Each yields the rows to the end, and reports whether the next input is wanted. It stops
// soon after ctx is done, without an error.
func (r *Rows) Each(ctx context.Context, yield func(*pipeline.Record, error) bool) bool {
	for ctx.Err() == nil {
		row, err := r.Read()
		r.tell(row == nil)
		switch {
		case errors.Is(err, io.EOF) && row == nil:
			return true
		case row == nil && ctx.Err() != nil:
			return false
		case !yield(row, err) || row == nil:
			return false
		}
	}
	return false
}

// tell has the meter know of the row that was read, or of the end: of the bytes that are
// there for rows to come nothing is said, as one who has read few rows, and all bytes,
// would seem to be nearly done.
func (r *Rows) tell(end bool) {
	if r.count == nil {
		return
	}
	share := 1.0
	if p, ok := r.Reader.(interface{ Progress() (taken, read int64) }); ok && !end {
		taken, read := p.Progress()
		share = float64(taken) / float64(max(1, read))
	}
	r.count.tell(share)
}

// Probe says whether the rows can be read: the header fits to that of the others, and the
// first bytes are what they must be.
func (r *Rows) Probe(columns *Columns) error {
	if err := columns.Check(r.path, r); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if r.stream == nil {
		return nil
	}
	if _, err := r.stream.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	return nil
}

// Header returns the columns of the rows, where all have the same.
func (r *Rows) Header() (columns []string, ok bool, err error) {
	header, ok := r.Reader.(codec.Header)
	if !ok {
		return nil, false, nil
	}
	columns, err = header.Columns()
	return columns, true, err
}

// Columns are those of the first input that has a header; every other one must have the
// same, in whatever order.
type Columns struct {
	path  string
	names []string
}

// Check refuses rows whose columns are others. The error is io.EOF if there is nothing
// to read.
func (c *Columns) Check(path string, rows *Rows) error {
	names, ok, err := rows.Header()
	if !ok || err != nil {
		return err
	}
	if c.path == "" {
		c.path, c.names = path, names
		return nil
	}
	var differences []string
	if lacks := without(c.names, names); len(lacks) > 0 {
		differences = append(differences, "it lacks "+quoted(lacks))
	}
	if besides := without(names, c.names); len(besides) > 0 {
		differences = append(differences, "it has "+quoted(besides)+" besides")
	}
	if len(differences) == 0 {
		return nil
	}
	return pipeline.Fatal("source", fmt.Errorf("%s: its columns are not those of %s: %s", path, c.path, strings.Join(differences, " and ")))
}

// without returns the names that are not among the others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(out, ", ")
}

// Counter counts the bytes that are read, and those that are passed over. [Rows] has Done
// know of them when it has made rows of them.
type Counter struct {
	R    io.Reader
	Done *meter.Meter

	read, told int64
}

// Read reads.
func (c *Counter) Read(p []byte) (int, error) {
	n, err := c.R.Read(p)
	c.read += int64(n)
	return n, err
}

// tell says that there are rows of a share of what was read.
func (c *Counter) tell(share float64) {
	if more := int64(float64(c.read)*share) - c.told; more > 0 {
		c.Done.Add(more)
		c.told += more
	}
}

// Seek counts what it passes over.
func (c *Counter) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.R.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	was, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	now, err := s.Seek(offset, whence)
	c.read += now - was
	return now, err
}
