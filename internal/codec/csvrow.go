package codec

import "bytes"

// rowParser takes a row of CSV apart.
type rowParser struct {
	delimiter []byte

	cells []byte // what the cells say, one behind the other
	ends  []int  // where each ends
}

// cell returns what the i-th cell says.
func (p *rowParser) cell(i int) []byte {
	start := 0
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.cells[start:p.ends[i]]
}

// rowError says what is wrong with a row.
type rowError struct {
	at     int  // the byte where it shows
	opened int  // the byte of the quote that opened the cell; -1 if none did
	open   bool // the quote is never closed
	long   bool // the row is longer than the longest row
}

// parse takes apart the row at the beginning of b, and returns its length, line
// break included. It reports more if the row may go on behind b, which is not so
// when b is final.
func (p *rowParser) parse(b []byte, final bool) (n int, more bool, bad *rowError) {
	p.cells, p.ends = p.cells[:0], p.ends[:0]
	line := lineAt(b, 0)
	for i := 0; ; {
		if i < len(b) && b[i] == '"' {
			next, more, bad := p.quoted(b, i, final)
			if more || bad != nil {
				return 0, more, bad
			}
			p.ends = append(p.ends, len(p.cells))
			if next.ends {
				return next.at, false, nil
			}
			if i = next.at; i > line.end {
				line = lineAt(b, i)
			}
			continue
		}
		if !line.closed && !final {
			return 0, true, nil
		}
		cell := b[i:line.end]
		k := p.delimit(cell)
		if k >= 0 {
			cell = cell[:k]
		}
		if i+len(cell) > line.quote {
			if line = line.quoteFrom(b, i); i+len(cell) > line.quote {
				return 0, false, &rowError{at: line.quote, opened: -1}
			}
		}
		p.cells = append(p.cells, cell...)
		p.ends = append(p.ends, len(p.cells))
		if k < 0 {
			return line.next, false, nil
		}
		i += k + len(p.delimiter)
	}
}

// delimit returns the index of the next delimiter, or -1.
func (p *rowParser) delimit(b []byte) int {
	if len(p.delimiter) == 1 {
		return bytes.IndexByte(b, p.delimiter[0])
	}
	return bytes.Index(b, p.delimiter)
}

// lineSpan is a line of the row's text.
type lineSpan struct {
	end    int  // where its text ends
	next   int  // where the next line begins
	quote  int  // the next quote in it; end if there is none
	closed bool // its line break is there
}

func lineAt(b []byte, i int) lineSpan {
	s := lineSpan{end: len(b), next: len(b)}
	if n := bytes.IndexByte(b[i:], '\n'); n >= 0 {
		s.end, s.next, s.closed = i+n, i+n+1, true
	}
	s.end = i + len(trimCR(b[i:s.end]))
	return s.quoteFrom(b, i)
}

// quoteFrom looks for the next quote at i or behind it.
func (s lineSpan) quoteFrom(b []byte, i int) lineSpan {
	s.quote = s.end
	if n := bytes.IndexByte(b[i:s.end], '"'); n >= 0 {
		s.quote = i + n
	}
	return s
}

// behind is what follows a quoted cell.
type behind struct {
	at   int  // where the next cell or row begins
	ends bool // the row ends with the cell
}

// quoted takes the cell whose opening quote is b[i].
func (p *rowParser) quoted(b []byte, i int, final bool) (behind, bool, *rowError) {
	opened := i
	for i++; ; {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			if !final {
				return behind{}, true, nil
			}
			return behind{}, false, &rowError{at: len(b), opened: opened, open: true}
		}
		p.cells = append(p.cells, b[i:i+n]...)
		i += n + 1
		rest := b[i:]
		switch {
		case bytes.HasPrefix(rest, p.delimiter):
			return behind{at: i + len(p.delimiter)}, false, nil
		case len(rest) > 0 && rest[0] == '"':
			p.cells = append(p.cells, '"')
			i++
		case len(rest) > 0 && rest[0] == '\n':
			return behind{at: i + 1, ends: true}, false, nil
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return behind{at: i + 2, ends: true}, false, nil
		case final && (len(rest) == 0 || len(rest) == 1 && rest[0] == '\r'):
			return behind{at: len(b), ends: true}, false, nil
		case !final && (len(rest) == 0 || len(rest) == 1 && rest[0] == '\r' || bytes.HasPrefix(p.delimiter, rest)):
			return behind{}, true, nil
		default:
			return behind{}, false, &rowError{at: i - 1, opened: opened}
		}
	}
}
