package codec

import (
	"errors"
	"fmt"
	"io"

	"github.com/rowmill/rowmill/pipeline"
)

// jsonReader reads a file that may hold one list of objects, or JSON lines.
type jsonReader struct {
	*window
	rows Reader // nil before the first Read
}

// Read returns the next row.
func (j *jsonReader) Read() (*pipeline.Record, error) {
	if j.rows != nil {
		return j.rows.Read()
	}
	list, err := j.open()
	if err != nil {
		return nil, err
	}
	r, err := j.rows.Read()
	if list {
		return r, err
	}
	if r != nil && err != nil && !errors.Is(err, errTooLong) {
		if raw, _ := r.Raw(); raw[0] == '{' && raw[len(raw)-1] != '}' {
			return nil, j.fail(fmt.Errorf("line %d holds no whole object: rows must be the elements of one list, "+
				"or stand one a line (jq -c . makes it so)", r.Origin.Line))
		}
	}
	return r, err
}

// open finds out what the file holds.
func (j *jsonReader) open() (list bool, err error) {
	first, err := j.firstSign()
	if err != nil {
		return false, err
	}
	if first == '[' {
		j.take(1, 0)
		j.rows = &listReader{window: j.window}
		return true, nil
	}
	j.rows = &jsonlReader{window: j.window}
	return false, nil
}

// SkipTo goes on with the row that stood at a place.
func (j *jsonReader) SkipTo(at pipeline.Origin) error {
	if _, err := j.open(); err != nil {
		return err
	}
	if list, ok := j.rows.(*listReader); ok {
		list.count = 1 // there was one: nothing between two commas is an element that is missing
	}
	return j.window.SkipTo(at)
}

// firstSign returns the first byte that is no white space, and takes what is before it.
func (j *jsonReader) firstSign() (byte, error) {
	if err := j.begin(); err != nil {
		return 0, err
	}
	for {
		j.skip(leadingSpace(j.bytes()))
		if b := j.bytes(); len(b) > 0 {
			return b[0], nil
		}
		if !j.more() {
			return 0, j.end()
		}
	}
}

// listReader reads the elements of a JSON list, the opening bracket taken.
type listReader struct {
	*window
	count int
	done  bool
}

// Read returns the next element.
func (l *listReader) Read() (*pipeline.Record, error) {
	if l.done {
		return nil, l.expectEnd()
	}
	if err := l.skipSpace(); err != nil {
		return nil, err
	}
	at := l.here()
	var scan elementScan
	var head []byte // of an element that is too long
	for {
		b := l.bytes()
		end, closed := scan.look(b)
		if end >= 0 {
			element := trimSpace(b[:end])
			size := l.offset + int64(len(element)) - at.Offset
			r, err := l.row(element, head, size, closed, at)
			l.skip(end + 1)
			if l.done = closed; r == nil && err == nil {
				return nil, l.expectEnd()
			}
			l.count++
			return r, err
		}
		// White space behind an element is not the element's.
		if head != nil || len(trimSpace(b)) > l.max || len(b) > 2*l.max+windowBytes {
			if head == nil {
				head = l.kept(b)
			}
			l.skip(len(b))
			scan.looked = 0
		}
		if !l.more() {
			return l.cutShort(at, head)
		}
	}
}

// row makes a record of an element; nil and nil for the nothing in an empty list.
func (l *listReader) row(element, head []byte, size int64, closed bool, at pipeline.Origin) (*pipeline.Record, error) {
	switch {
	case head != nil || size > int64(l.max):
		if head == nil {
			head = l.kept(element)
		}
		return unreadable(head, at, "too_long", l.tooLong(size))
	case len(element) == 0 && closed && l.count == 0:
		return nil, nil
	case len(element) == 0:
		return unreadable(nil, at, "invalid_json", errors.New("invalid JSON: an element of the list is missing"))
	default:
		return parseRow(element, at)
	}
}

// cutShort ends a list that has no end: first with the row that was begun.
func (l *listReader) cutShort(at pipeline.Origin, head []byte) (*pipeline.Record, error) {
	l.done = true
	begun := trimSpace(l.bytes())
	err := l.end()
	l.take(len(l.bytes()), 0)
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	err = fmt.Errorf("it ends inside its list, which begins with \"[\" and has no \"]\": %w", io.ErrUnexpectedEOF)
	if head == nil {
		head = l.kept(begun)
	}
	l.err = err // what follows the row
	if len(head) == 0 {
		return nil, l.fail(err)
	}
	return unreadable(head, at, "invalid_json", errors.New("invalid JSON: it ends too early"))
}

// skipSpace takes white space.
func (l *listReader) skipSpace() error {
	for {
		l.skip(leadingSpace(l.bytes()))
		if len(l.bytes()) > 0 {
			return nil
		}
		if !l.more() {
			if _, err := l.cutShort(l.here(), nil); err != nil {
				return err
			}
		}
	}
}

// expectEnd returns io.EOF if nothing but white space follows the list.
func (l *listReader) expectEnd() error {
	for {
		n := leadingSpace(l.bytes())
		l.skip(n)
		if len(l.bytes()) > 0 {
			return l.fail(fmt.Errorf("something follows the end of its list, in line %d", l.line))
		}
		if !l.more() {
			return l.end()
		}
	}
}

// elementScan looks for the end of a list's element, in pieces.
type elementScan struct {
	depth           int
	quoted, escaped bool
	looked          int // bytes of the piece already looked at
}

// look returns the index of the comma or the bracket that ends the element, and
// whether the list ends too; -1 if neither is there.
func (s *elementScan) look(b []byte) (end int, closed bool) {
	for ; s.looked < len(b); s.looked++ {
		c := b[s.looked]
		switch {
		case s.escaped:
			s.escaped = false
		case s.quoted:
			s.escaped = c == '\\'
			s.quoted = c != '"'
		case c == '"':
			s.quoted = true
		case s.depth == 0 && (c == ',' || c == ']'):
			return s.looked, c == ']'
		case c == '{' || c == '[':
			s.depth++
		case (c == '}' || c == ']') && s.depth > 0:
			s.depth--
		}
	}
	return -1, false
}
