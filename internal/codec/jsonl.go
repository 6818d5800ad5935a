package codec

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// jsonlReader reads one JSON object a line. Lines of white space are left out.
type jsonlReader struct{ *window }

// Read returns the next row.
func (j *jsonlReader) Read() (*pipeline.Record, error) {
	for {
		line, at, err := j.nextLine()
		if errors.Is(err, errTooLong) {
			return unreadable(line, at, "too_long", err)
		}
		if err != nil {
			return nil, err
		}
		if line = trimSpace(line); len(line) > 0 {
			return parseRow(line, at)
		}
	}
}

// parseRow makes a record of a JSON text, of which it keeps a copy.
func parseRow(text []byte, at pipeline.Origin) (*pipeline.Record, error) {
	r, err := pipeline.ParseRecord(bytes.Clone(text))
	if err != nil {
		return unreadable(text, at, "invalid_json", err)
	}
	r.Origin = at
	return r, nil
}

// trimSpace removes what JSON takes for white space.
func trimSpace(b []byte) []byte {
	b = b[leadingSpace(b):]
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func leadingSpace(b []byte) (n int) {
	for n < len(b) && isSpace(b[n]) {
		n++
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// jsonlEncoder writes one JSON object a line, as it came where no stage touched it.
type jsonlEncoder struct{}

// Begin appends nothing.
func (jsonlEncoder) Begin(dst []byte) []byte { return dst }

// Append appends the record and a line break. Line breaks between the parts of a
// JSON text, which only a source other than JSON lines can bring, are left out.
func (jsonlEncoder) Append(dst []byte, r *pipeline.Record) ([]byte, error) {
	n := len(dst)
	dst = r.AppendJSON(dst)
	if bytes.IndexByte(dst[n:], '\n') >= 0 {
		row := jsontext.Value(dst[n:])
		if err := row.Compact(); err != nil {
			return dst[:n], fmt.Errorf("the record is no valid JSON: %w", err)
		}
		dst = append(dst[:n], row...)
	}
	return append(dst, '\n'), nil
}
