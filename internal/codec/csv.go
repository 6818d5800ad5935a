package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// csvReader reads CSV: what encoding/csv reads, the same way, but for line breaks
// inside quotes, which stay as they are. It is our own because a row must be
// bounded, keep its bytes for the dead letter, and because encoding/csv takes all
// that follows a quote that is never closed for one cell.
type csvReader struct {
	*window
	row     rowParser
	types   map[string]ColumnType
	columns []column
}

// column is a column of the header.
type column struct {
	name string
	kind ColumnType
}

// newCSVReader returns a reader of CSV or TSV.
func newCSVReader(w *window, f Format, o ReadOptions) (*csvReader, error) {
	delimiter, err := ParseDelimiter(f, o.Delimiter)
	if err != nil {
		return nil, err
	}
	return &csvReader{window: w, row: rowParser{delimiter: []byte(delimiter)}, types: o.Types}, nil
}

// ParseDelimiter returns what stands between the cells of a format: what is given,
// else its standard. "\t", as it is often written, is a tab.
func ParseDelimiter(f Format, given string) (string, error) {
	switch {
	case given == "" && f == TSV, given == `\t`:
		return "\t", nil
	case given == "":
		return ",", nil
	}
	r, size := utf8.DecodeRuneInString(given)
	if size != len(given) || r == utf8.RuneError || strings.ContainsRune("\"\r\n\x00", r) {
		return "", fmt.Errorf("%q cannot be a delimiter: it must be one character, no quote and no line break", given)
	}
	return given, nil
}

// Columns reads the header and returns its names.
func (c *csvReader) Columns() ([]string, error) {
	if err := c.readHeader(); err != nil {
		return nil, err
	}
	names := make([]string, len(c.columns))
	for i, col := range c.columns {
		names[i] = col.name
	}
	return names, nil
}

// Read returns the next row.
func (c *csvReader) Read() (*pipeline.Record, error) {
	if err := c.readHeader(); err != nil {
		return nil, err
	}
	n, bad, err := c.next()
	switch {
	case err != nil:
		return nil, err
	case bad != nil:
		return c.giveUp(bad)
	}
	at, raw := c.here(), c.bytes()[:n]
	r, err := c.record()
	if err != nil {
		r, err = unreadable(raw, at, codeOf(err), c.spanned(err, raw))
	} else {
		r.Origin = at
	}
	c.skip(n)
	return r, err
}

// SkipTo reads the header, and goes on with the row that stood at a place.
func (c *csvReader) SkipTo(at pipeline.Origin) error {
	if err := c.readHeader(); err != nil {
		return err
	}
	return c.window.SkipTo(at)
}

// next parses the row at the window's beginning, empty lines taken. It returns
// the length of the row, or what is wrong with it.
func (c *csvReader) next() (n int, bad *rowError, err error) {
	if err := c.begin(); err != nil {
		return 0, nil, err
	}
	for {
		b := c.bytes()
		if blank := blankLine(b, c.atEnd()); blank > 0 {
			c.skip(blank)
			continue
		}
		// Whatever the size of the buffer, a row is looked at as far as it may go and no
		// farther: what is read does not depend on how the bytes arrive.
		seen := b[:min(len(b), c.max+2)]
		if len(b) > 0 {
			n, more, bad := c.row.parse(seen, c.atEnd() && len(seen) == len(b))
			switch {
			case !more && bad == nil && n-lineBreak(seen[:n]) > c.max, more && len(seen) == c.max+2:
				return 0, &rowError{at: len(seen), long: true}, nil
			case !more:
				return n, bad, nil
			}
		}
		if c.more() {
			continue
		}
		if err := c.end(); len(b) == 0 || !errors.Is(err, io.EOF) {
			return 0, nil, err
		}
	}
}

// blankLine returns the length of the empty line at the beginning of b; 0 if there is none.
func blankLine(b []byte, final bool) int {
	switch {
	case len(b) > 0 && b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	case len(b) == 1 && b[0] == '\r' && final:
		return 1
	default:
		return 0
	}
}

// lineBreak returns the length of the line break at the end of b.
func lineBreak(b []byte) int {
	n := len(b)
	return n - len(trimCR(bytes.TrimSuffix(b, newline)))
}

// readHeader reads the first row.
func (c *csvReader) readHeader() error {
	if c.columns != nil {
		return nil
	}
	n, bad, err := c.next()
	switch {
	case errors.Is(err, io.EOF):
		return c.fail(errors.New("it is empty; the first line must name the columns"))
	case err != nil:
		return err
	case bad != nil:
		return c.fail(fmt.Errorf("the header cannot be read: line %d: %w", c.line+int64(bytes.Count(c.bytes()[:bad.at], newline)), c.explain(bad)))
	}
	columns, err := c.header(c.bytes()[:n])
	if err != nil {
		return c.fail(err)
	}
	c.skip(n)
	c.columns = columns
	return nil
}

// header returns the columns that the parsed row names.
func (c *csvReader) header(raw []byte) ([]column, error) {
	columns := make([]column, 0, len(c.row.ends))
	if err := checkUTF8(raw); err != nil {
		return nil, fmt.Errorf("the header is %w", err)
	}
	for i := range c.row.ends {
		name := string(c.row.cell(i))
		same := slices.IndexFunc(columns, func(other column) bool { return other.name == name })
		switch {
		case name == "":
			return nil, fmt.Errorf("column %d has no name; the first line must name every column", i+1)
		case same >= 0:
			return nil, fmt.Errorf("columns %d and %d are both named %q; rename one of them in the first line", same+1, i+1, name)
		case strings.Contains(strings.ReplaceAll(name, "\r\n", ""), "\r"):
			return nil, errors.New("its lines end in carriage returns alone; convert them, e.g. with tr '\\r' '\\n'")
		}
		columns = append(columns, column{name, c.types[name]})
	}
	for name := range c.types {
		if !slices.ContainsFunc(columns, func(col column) bool { return col.name == name }) {
			return nil, fmt.Errorf("`types:` names a column %q that the header lacks", name)
		}
	}
	return columns, nil
}

// record makes a record of the parsed row.
func (c *csvReader) record() (*pipeline.Record, error) {
	if got, want := len(c.row.ends), len(c.columns); got != want {
		return nil, fmt.Errorf("%w: the row has %s, the header %d", errCSV, plural(got, "cell"), want)
	}
	if err := checkUTF8(c.row.cells); err != nil {
		return nil, &cellError{code: "not_utf8", err: err}
	}
	text := string(c.row.cells)
	fields := make([]pipeline.Field, len(c.columns))
	start := 0
	for i := range c.columns {
		col := &c.columns[i]
		end := c.row.ends[i]
		v, err := col.kind.value(text[start:end])
		if err != nil {
			return nil, &cellError{code: "wrong_type", err: fmt.Errorf("column %q: %w", col.name, err)}
		}
		fields[i] = pipeline.Field{Name: col.name, Value: v}
		start = end
	}
	r := new(pipeline.Record)
	r.SetFields(fields)
	return r, nil
}

// errCSV is the reason of a row that is not like CSV or not like its header.
var errCSV = errors.New("invalid CSV")

// cellError is an error of a row that is CSV.
type cellError struct {
	code string
	err  error
}

func (e *cellError) Error() string { return e.err.Error() }
func (e *cellError) Unwrap() error { return e.err }

func codeOf(err error) string {
	var cell *cellError
	switch {
	case errors.As(err, &cell):
		return cell.code
	case errors.Is(err, errTooLong):
		return "too_long"
	default:
		return "invalid_csv"
	}
}

// spanned adds the lines to an error of a row that goes over several.
func (c *csvReader) spanned(err error, raw []byte) error {
	breaks := bytes.Count(raw[:len(raw)-lineBreak(raw)], newline)
	if breaks == 0 {
		return err
	}
	return fmt.Errorf("%w; the row is lines %d to %d", err, c.line, c.line+int64(breaks))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
