// Package codec reads and writes the formats of files: rows as JSON lines, CSV,
// TSV, plain lines or whole files, plain or compressed.
//
// Reading never holds more than one row and a buffer, whatever the input. A row
// that cannot be read is handed on as such, with its bytes and its place, and
// reading goes on at the next one.
package codec

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Format is how rows stand in a file.
type Format string

// The formats.
const (
	// Auto goes by the name of the file; see [FormatOf].
	Auto Format = "auto"
	// JSONL is one JSON object a line.
	JSONL Format = "jsonl"
	// JSON is one list of JSON objects, or JSON lines: what files named .json hold.
	// It can only be read.
	JSON Format = "json"
	// CSV is comma-separated values with a header row.
	CSV Format = "csv"
	// TSV is CSV with tabs.
	TSV Format = "tsv"
	// Lines is plain text, one row a line.
	Lines Format = "lines"
	// Whole is plain text, one row a file. It can only be read.
	Whole Format = "whole"
)

// DefaultMaxRecord is the longest row in bytes, unless told otherwise.
const DefaultMaxRecord = 64 << 20

// keptBytes is how much is kept of a row that is longer than the longest row.
const keptBytes = 4 << 10

// errNoFormat is the reason when a name does not tell the format.
var errNoFormat = errors.New("the name does not tell the format; set `format:` to jsonl, csv, tsv, lines or whole")

// FormatOf returns the format that a file's name tells, looking past .gz and .zst.
func FormatOf(path string) (Format, error) {
	switch extension(path) {
	case ".jsonl", ".ndjson":
		return JSONL, nil
	case ".json":
		return JSON, nil
	case ".csv":
		return CSV, nil
	case ".tsv":
		return TSV, nil
	case ".txt", ".log", ".md":
		return Lines, nil
	default:
		return "", fmt.Errorf("%s: %w", path, errNoFormat)
	}
}

// extension returns the last extension in lower case, that of a compression left out.
func extension(path string) string {
	path = strings.ToLower(path)
	if CompressionOf(path) != None {
		path = strings.TrimSuffix(path, filepath.Ext(path))
	}
	return filepath.Ext(path)
}

// resolve returns the format that is meant for a path.
func (f Format) resolve(path string) (Format, error) {
	if f == "" || f == Auto {
		return FormatOf(path)
	}
	if !slices.Contains([]Format{JSONL, JSON, CSV, TSV, Lines, Whole}, f) {
		return "", fmt.Errorf("there is no format %q", f)
	}
	return f, nil
}

// Input is where rows are read from.
type Input struct {
	// Path is the name, for places and messages, and for the format where that is Auto.
	Path string
	// Stream gives the bytes, decompressed; see [Decompress].
	Stream io.Reader
	// At and Size give the bytes of the file by place, as they are stored, for formats
	// that are read so. At is nil for what is no plain file.
	At   io.ReaderAt
	Size int64
}

// ReadOptions say how an input is read. The zero value means the defaults.
type ReadOptions struct {
	Format Format
	// MaxRecord is the longest row in bytes; 0 means DefaultMaxRecord.
	MaxRecord int64
	// Delimiter is what stands between the cells of CSV and TSV; "" means a comma
	// and a tab.
	Delimiter string
	// Types are the types of CSV and TSV columns, by name; the others are strings.
	Types map[string]ColumnType
	// Field is the field of Lines and Whole that holds the text; "" means "text".
	Field string
}

// Reader reads rows.
type Reader interface {
	// Read returns the next row:
	//
	//   - (r, nil) for a row;
	//   - (r, err) for one that cannot be read: r is unreadable and holds its bytes
	//     and its place; reading goes on at the next;
	//   - (nil, io.EOF) behind the last one;
	//   - (nil, err) when the input fails. Nothing can be read after it.
	Read() (*pipeline.Record, error)
}

// Skipper is a [Reader] that can begin in the middle; all of this package can.
type Skipper interface {
	// SkipTo has the next Read return the row that stood at the place, which is the
	// Origin of a row of the same input, and is called before the first Read. Where the
	// bytes are stored as they are and can be moved to, what is before is not read.
	SkipTo(at pipeline.Origin) error
}

// Header is a [Reader] whose rows all have the same fields.
type Header interface {
	// Columns reads as far as it must to say which fields the rows have, in order.
	Columns() ([]string, error)
}

// NewReader returns a reader of an input. It reads nothing yet.
func NewReader(in Input, o ReadOptions) (Reader, error) {
	f, err := o.Format.resolve(in.Path)
	if err != nil {
		return nil, err
	}
	if o.MaxRecord <= 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.Field == "" {
		o.Field = "text"
	}
	if len(o.Types) > 0 && f != CSV && f != TSV {
		return nil, fmt.Errorf("%s: `types:` are for columns of csv and tsv, this is read as %s", in.Path, f)
	}
	w := newWindow(in.Stream, in.Path, o.MaxRecord)
	switch f {
	case JSONL:
		return &jsonlReader{window: w}, nil
	case JSON:
		return &jsonReader{window: w}, nil
	case Lines:
		return &linesReader{window: w, field: o.Field}, nil
	case Whole:
		return &wholeReader{window: w, field: o.Field}, nil
	default:
		return newCSVReader(w, f, o)
	}
}

// WriteOptions say how rows are written.
type WriteOptions struct {
	// Format is JSONL, CSV, TSV or Lines; Auto goes by Path.
	Format Format
	Path   string
	// Columns is the header of CSV and TSV. Without it Shape tells.
	Columns []string
	// Shape is what is known of the records.
	Shape pipeline.Shape
	// Delimiter is what stands between the cells of CSV and TSV; "" means a comma
	// and a tab.
	Delimiter string
	// Field is the field that Lines writes; "" means "text".
	Field string
}

// Encoder turns records into bytes.
type Encoder interface {
	// Begin appends what stands before the first row, as far as that is known
	// without one.
	Begin(dst []byte) []byte
	// Append appends one record. An error refuses it; nothing is appended then.
	Append(dst []byte, r *pipeline.Record) ([]byte, error)
}

// Continuer is an [Encoder] that can go on behind rows that are there already.
type Continuer interface {
	Encoder
	// Continue is called in place of Begin, with the columns that a [Header] finds. An
	// error says that what is to come does not fit to them.
	Continue(columns []string) error
}

// NewEncoder returns the encoder of a format.
func NewEncoder(o WriteOptions) (Encoder, error) {
	f, err := o.Format.resolve(o.Path)
	if err != nil {
		return nil, err
	}
	if len(o.Columns) > 0 && f != CSV && f != TSV {
		return nil, fmt.Errorf("%s: `columns:` are for csv and tsv, this is written as %s", o.Path, f)
	}
	switch f {
	case JSONL, JSON:
		return jsonlEncoder{}, nil
	case Lines:
		if o.Field == "" {
			o.Field = "text"
		}
		return linesEncoder{field: o.Field}, nil
	case Whole:
		return nil, fmt.Errorf("%s: rows are not written as whole files", o.Path)
	default:
		return newCSVEncoder(f, o)
	}
}

// unreadable is a row that cannot be read, and why.
func unreadable(raw []byte, at pipeline.Origin, code string, err error) (*pipeline.Record, error) {
	r := pipeline.Unreadable(raw)
	r.Origin = at
	return r, pipeline.Permanent(code, err)
}
