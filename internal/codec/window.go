package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/rowmill/rowmill/pipeline"
)

// windowBytes is how much is read at once: large enough that a system call a
// buffer does not count, small enough for the cache.
const windowBytes = 256 << 10

// window is the part of an input that is being looked at. Its bytes are those
// between the last row taken and the last byte read.
type window struct {
	src  io.Reader
	path string
	max  int // the longest row

	buf      []byte
	from, to int
	err      error // what src ended with
	begun    bool

	offset int64 // of buf[from] in the input
	line   int64 // of buf[from], from 1
}

func newWindow(src io.Reader, path string, maxRecord int64) *window {
	return &window{src: src, path: path, max: int(maxRecord), line: 1}
}

// bytes returns what is in the window, good until more or take.
func (w *window) bytes() []byte { return w.buf[w.from:w.to] }

// here is the place of the window's first byte.
func (w *window) here() pipeline.Origin {
	return pipeline.Origin{Path: w.path, Line: w.line, Offset: w.offset}
}

// Progress returns how many bytes of the input rows were made of, or left out, and how
// many were read.
func (w *window) Progress() (taken, read int64) {
	return w.offset, w.offset + int64(w.to-w.from)
}

// take drops the first n bytes, in which there are so many line breaks.
func (w *window) take(n int, breaks int64) {
	w.from += n
	w.offset += int64(n)
	w.line += breaks
}

// skip drops the first n bytes, whatever they are.
func (w *window) skip(n int) {
	w.take(n, int64(bytes.Count(w.buf[w.from:w.from+n], newline)))
}

var newline = []byte{'\n'} //nolint:gochecknoglobals // bytes are no constant; nobody writes to it

// more reads more bytes into the window, and reports whether there were any.
func (w *window) more() bool {
	if w.err != nil {
		return false
	}
	if w.to == len(w.buf) {
		w.makeRoom()
	}
	for range 100 { // as many empty reads as bufio allows
		n, err := w.src.Read(w.buf[w.to:])
		w.to += n
		if err != nil {
			w.err = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	w.err = io.ErrNoProgress
	return false
}

// makeRoom moves the bytes to the front of a buffer that has room behind them, and
// goes back to a small one after a long row.
func (w *window) makeRoom() {
	held := w.to - w.from
	size := len(w.buf)
	switch {
	case held < windowBytes/2:
		size = windowBytes
	case held > size/2:
		size = min(2*size, max(w.max+windowBytes, size))
		if held > size-windowBytes/2 {
			size = held + windowBytes
		}
	}
	if size == len(w.buf) {
		copy(w.buf, w.bytes())
	} else {
		next := make([]byte, size)
		copy(next, w.bytes())
		w.buf = next
	}
	w.from, w.to = 0, held
}

// atEnd reports whether the input has come to its end behind the window.
func (w *window) atEnd() bool { return errors.Is(w.err, io.EOF) }

// end is why nothing follows: io.EOF, or what went wrong.
func (w *window) end() error {
	if w.atEnd() {
		return io.EOF
	}
	return w.fail(w.err)
}

// fail is an error of the input as a whole.
func (w *window) fail(err error) error {
	var known *pipeline.Error
	if errors.As(err, &known) { // whoever gives the bytes has said all
		return err
	}
	var named *fs.PathError
	if !errors.As(err, &named) {
		err = fmt.Errorf("%s: %w", w.path, err)
	}
	return pipeline.Fatal("source", err)
}

// SkipTo goes on with the row that stood at a place, of this input and behind what was
// read of it.
func (w *window) SkipTo(at pipeline.Origin) error {
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.jump(at.Offset); err != nil {
		return err
	}
	for w.offset < at.Offset {
		if len(w.bytes()) == 0 && !w.more() {
			if err := w.end(); !errors.Is(err, io.EOF) {
				return err
			}
			return w.fail(fmt.Errorf("it ends at byte %d, in front of row %s at byte %d", w.offset, at, at.Offset))
		}
		w.take(int(min(int64(len(w.bytes())), at.Offset-w.offset)), 0)
	}
	if w.offset > at.Offset {
		return w.fail(fmt.Errorf("no row can be at byte %d", at.Offset))
	}
	w.line = at.Line
	return nil
}

// jump moves to a byte without reading what is before it, where the input can. What is
// so near that it may have been read already is not worth it.
func (w *window) jump(offset int64) error {
	src, ok := w.src.(*decompressor)
	if !ok || offset <= w.offset+int64(len(w.bytes()))+readAhead {
		return nil
	}
	moved, err := src.seek(offset)
	if err != nil {
		return w.fail(err)
	}
	if !moved {
		return nil
	}
	w.from, w.to, w.err, w.offset = 0, 0, nil, offset
	if !w.more() && w.atEnd() { // to move behind the end is no error
		return w.fail(fmt.Errorf("it ends in front of byte %d, where a row was", offset))
	}
	return nil
}

// begin leaves out a byte order mark, and refuses UTF-16.
func (w *window) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	switch {
	case w.beginsWith("\xef\xbb\xbf"):
		w.take(3, 0)
	case w.beginsWith("\xff\xfe"), w.beginsWith("\xfe\xff"):
		return w.fail(errors.New("the text is UTF-16; convert it to UTF-8, e.g. with iconv -f UTF-16 -t UTF-8"))
	}
	return nil
}

// beginsWith reads no more than it must to tell whether the window begins so.
func (w *window) beginsWith(s string) bool {
	for n := 1; n <= len(s); n++ {
		for w.to-w.from < n {
			if !w.more() {
				return false
			}
		}
		if w.buf[w.from+n-1] != s[n-1] {
			return false
		}
	}
	return true
}

// nextLine takes the next line and returns it without its line break, with its
// place. A line that is longer than the longest row is errTooLong, with its
// beginning.
func (w *window) nextLine() (line []byte, at pipeline.Origin, err error) {
	if err := w.begin(); err != nil {
		return nil, at, err
	}
	at = w.here()
	for looked := 0; ; {
		b := w.bytes()
		if i := bytes.IndexByte(b[looked:], '\n'); i >= 0 {
			line = trimCR(b[:looked+i])
			w.take(looked+i+1, 1)
			break
		}
		if len(b) > w.max+1 { // one more may be a carriage return
			head := w.kept(b)
			return head, at, w.skipLine()
		}
		looked = len(b)
		if !w.more() {
			if err := w.end(); len(b) == 0 || !errors.Is(err, io.EOF) {
				return nil, at, err
			}
			line = trimCR(b)
			w.take(len(b), 0)
			break
		}
	}
	if len(line) > w.max {
		return w.kept(line), at, w.tooLong(int64(len(line)))
	}
	return line, at, nil
}

// kept returns a copy of what is kept of a row that is too long.
func (w *window) kept(b []byte) []byte { return bytes.Clone(b[:min(len(b), keptBytes, w.max)]) }

// errTooLong is the error of a row that is longer than the longest row.
var errTooLong = errors.New("longer than `max_record`")

func (w *window) tooLong(n int64) error {
	return fmt.Errorf("the row of %d bytes is %w (%s)", n, errTooLong, pipeline.Size(w.max))
}

// skipLine drops the rest of the line, and says how long it was.
func (w *window) skipLine() error {
	start := w.offset
	for {
		b := w.bytes()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			w.take(i+1, 1)
			return w.tooLong(w.offset - start - 1)
		}
		w.take(len(b), 0)
		if !w.more() {
			if err := w.end(); !errors.Is(err, io.EOF) {
				return err
			}
			return w.tooLong(w.offset - start)
		}
	}
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
