package codec

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// linesReader reads plain text, one row a line; an empty line is a row too.
type linesReader struct {
	*window
	field string
}

// Read returns the next row.
func (l *linesReader) Read() (*pipeline.Record, error) {
	line, at, err := l.nextLine()
	if errors.Is(err, errTooLong) {
		return unreadable(line, at, "too_long", err)
	}
	if err != nil {
		return nil, err
	}
	if err := checkUTF8(line); err != nil {
		return unreadable(line, at, "not_utf8", err)
	}
	r := pipeline.NewRecord(pipeline.Field{Name: l.field, Value: pipeline.Text(string(line))})
	r.Origin = at
	return r, nil
}

// checkUTF8 says where text is not UTF-8. What is not could be written nowhere
// but as it is, and would turn into replacement characters in every answer.
func checkUTF8(b []byte) error {
	if utf8.Valid(b) {
		return nil
	}
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return fmt.Errorf("not UTF-8 at byte %d (%#x); convert the file, e.g. with iconv -f WINDOWS-1252 -t UTF-8", n+1, b[n])
}

// wholeReader reads a whole file as one row, with its path beside the text.
type wholeReader struct {
	*window
	field string
	done  bool
}

// Read returns the row.
func (w *wholeReader) Read() (*pipeline.Record, error) {
	if w.done {
		return nil, io.EOF
	}
	w.done = true
	if err := w.begin(); err != nil {
		return nil, err
	}
	at := w.here()
	at.Line = 0
	text := w.bytes()
	for len(text) <= w.max && w.more() {
		text = w.bytes()
	}
	if len(text) > w.max {
		return unreadable(w.kept(text), at, "too_long", fmt.Errorf("the file is %w (%s)", errTooLong, pipeline.Size(w.max)))
	}
	if err := w.end(); !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := checkUTF8(text); err != nil {
		return unreadable(text, at, "not_utf8", err)
	}
	r := pipeline.NewRecord(
		pipeline.Field{Name: w.field, Value: pipeline.Text(string(text))},
		pipeline.Field{Name: "path", Value: pipeline.Text(w.path)})
	r.Origin = at
	w.buf, w.from, w.to = nil, 0, 0
	w.offset += int64(len(text))
	return r, nil
}

// linesEncoder writes one field of each record as a line.
type linesEncoder struct{ field string }

// Begin appends nothing.
func (linesEncoder) Begin(dst []byte) []byte { return dst }

// Append appends the field's text and a line break. A record without the field is
// refused, and so is a text that would be read as several lines.
func (l linesEncoder) Append(dst []byte, r *pipeline.Record) ([]byte, error) {
	v, ok := r.Lookup(l.field)
	if !ok {
		return dst, fmt.Errorf("the record has no field %q, which is what is written; set `field:`", l.field)
	}
	text := v.Text()
	if strings.ContainsAny(text, "\r\n") {
		return dst, fmt.Errorf("field %q holds a line break and cannot be written as one line", l.field)
	}
	return append(append(dst, text...), '\n'), nil
}
