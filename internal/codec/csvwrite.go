package codec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// csvEncoder writes CSV: cells in quotes where that is needed, "\n" behind each row.
type csvEncoder struct {
	delimiter string
	special   [256]bool         // the bytes that make quotes necessary
	known     pipeline.Shape    // for the header, as long as there is none
	columns   []string          // the header; nil if it waits for the first record
	places    map[string]int    // of the columns
	cells     []*pipeline.Value // of a row; nil for an absent one
	begun     bool
}

func newCSVEncoder(f Format, o WriteOptions) (*csvEncoder, error) {
	delimiter, err := ParseDelimiter(f, o.Delimiter)
	if err != nil {
		return nil, err
	}
	e := &csvEncoder{delimiter: delimiter, known: o.Shape}
	for _, c := range []byte{delimiter[0], '"', '\r', '\n'} {
		e.special[c] = true
	}
	if len(o.Columns) > 0 {
		return e, e.setColumns(o.Columns)
	}
	if o.Shape.Closed && len(o.Shape.Fields) > 0 {
		return e, e.setColumns(o.Shape.Names())
	}
	return e, nil
}

// setColumns decides the header.
func (e *csvEncoder) setColumns(columns []string) error {
	if len(columns) == 0 {
		return errors.New("a record without fields cannot tell the columns; name them with `columns:`")
	}
	e.places = make(map[string]int, len(columns))
	for i, name := range columns {
		if name == "" {
			return fmt.Errorf("column %d has no name", i+1)
		}
		if _, twice := e.places[name]; twice {
			return fmt.Errorf("column %q stands in the header twice", name)
		}
		e.places[name] = i
	}
	e.columns, e.cells = columns, make([]*pipeline.Value, len(columns))
	return nil
}

// Begin appends the header, if it is known without a record.
func (e *csvEncoder) Begin(dst []byte) []byte {
	if e.columns == nil || e.begun {
		return dst
	}
	e.begun = true
	for i, name := range e.columns {
		dst = e.appendCell(dst, i, name)
	}
	return append(dst, '\n')
}

// Columns returns the header; nil as long as it is not known.
func (e *csvEncoder) Columns() []string { return e.columns }

// Continue takes the header from the rows that are there already, instead of Begin.
func (e *csvEncoder) Continue(columns []string) error {
	if e.columns != nil && !slices.Equal(e.columns, columns) {
		return fmt.Errorf("its columns are %s, and %s are to be written", list(columns), list(e.columns))
	}
	e.begun = true
	return e.setColumns(columns)
}

// Append appends the record as a row. Where neither the configuration nor the
// shape tells the header, it is the fields of the first record, then the known
// ones that it lacks. A record with a field that the header lacks is refused.
func (e *csvEncoder) Append(dst []byte, r *pipeline.Record) ([]byte, error) {
	if e.columns == nil {
		if err := e.setColumns(e.headerOf(r)); err != nil {
			e.columns = nil
			return dst, err
		}
	}
	if err := e.place(r); err != nil {
		return dst, err
	}
	dst = e.Begin(dst)
	for i, v := range e.cells {
		text := ""
		if v != nil {
			text = v.Text()
		}
		dst = e.appendCell(dst, i, text)
	}
	return append(dst, '\n'), nil
}

// headerOf returns the header that the first record makes.
func (e *csvEncoder) headerOf(first *pipeline.Record) []string {
	var columns []string
	for _, f := range first.Fields() {
		if !slices.Contains(columns, f.Name) {
			columns = append(columns, f.Name)
		}
	}
	for _, f := range e.known.Fields {
		if !slices.Contains(columns, f.Name) {
			columns = append(columns, f.Name)
		}
	}
	return columns
}

// place puts the values of a record under their columns.
func (e *csvEncoder) place(r *pipeline.Record) error {
	clear(e.cells)
	fields := r.Fields()
	for i := range fields {
		f := &fields[i]
		at := i // most records have their fields in the order of the header
		if i >= len(e.columns) || e.columns[i] != f.Name {
			var ok bool
			if at, ok = e.places[f.Name]; !ok {
				return fmt.Errorf("field %q is no column of the output (%s); name all of them with `columns:`, or drop the field",
					f.Name, list(e.columns))
			}
		}
		e.cells[at] = &f.Value
	}
	return nil
}

// list shows names, but not without end.
func list(names []string) string {
	if len(names) > 12 {
		return strings.Join(names[:12], ", ") + fmt.Sprintf(" and %d more", len(names)-12)
	}
	return strings.Join(names, ", ")
}

// appendCell appends the cell of column i. The only cell of a row is quoted if it
// is empty: an empty line is no row.
func (e *csvEncoder) appendCell(dst []byte, i int, text string) []byte {
	if i > 0 {
		dst = append(dst, e.delimiter...)
	}
	if text == "" && len(e.columns) > 1 || text != "" && !e.needsQuotes(text) {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for {
		n := strings.IndexByte(text, '"')
		if n < 0 {
			break
		}
		dst = append(append(dst, text[:n+1]...), '"')
		text = text[n+1:]
	}
	return append(append(dst, text...), '"')
}

// needsQuotes reports whether a reader could take the bare text for something else:
// white space at its ends, which some trim; a byte order mark.
func (e *csvEncoder) needsQuotes(text string) bool {
	for i := range len(text) {
		if e.special[text[i]] {
			return true
		}
	}
	if text == `\.` { // the end of the data to PostgreSQL
		return true
	}
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	return unicode.IsSpace(first) || unicode.IsSpace(last) || first == '\ufeff'
}
