package codec

import (
	"bytes"
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
)

// giveUp hands on the row that cannot be read, and finds where the next one begins.
//
// A quote that is never closed makes one cell of everything up to the next quote,
// which may be the rest of the file. So the lines that such a row has swallowed
// are looked at by themselves: if they are rows like the header, the quote was the
// mistake, and only its line is given up. If they are not, they are the text of
// a cell, and reading goes on behind the line where the mistake shows. In a file of
// one column every line is like a row, so that tells nothing.
func (c *csvReader) giveUp(bad *rowError) (*pipeline.Record, error) {
	at, b := c.here(), c.bytes()
	first := bytes.IndexByte(b, '\n') + 1
	if first == 0 || first > bad.at {
		return c.giveUpAll(bad)
	}
	// With no line to look at, a long row is a long row; otherwise the line with the
	// mistake may be a row itself.
	if rows, lines := c.rowsAmong(b[first:bad.at]); len(c.columns) < 2 || 2*rows < lines || bad.long && lines == 0 {
		return c.giveUpAll(bad)
	}
	raw := b[:first-lineBreak(b[:first])]
	reason := fmt.Errorf("%w: a quote in the line is not closed", errCSV)
	if !bad.long && 0 <= bad.opened && bad.opened < first {
		reason = fmt.Errorf("%w: the quote at byte %d is not closed", errCSV, bad.opened+1)
	}
	r, err := unreadable(raw, at, "invalid_csv", reason)
	c.skip(first)
	return r, err
}

// giveUpAll gives up the row up to the line break behind the mistake.
func (c *csvReader) giveUpAll(bad *rowError) (*pipeline.Record, error) {
	at, reason := c.here(), c.explain(bad)
	if bad.long {
		head := c.kept(c.bytes()[:bad.at])
		if err := c.skipRow(); err != nil {
			return nil, err
		}
		return unreadable(head, at, "too_long", skipped(c.tooLong(c.offset-at.Offset), at.Line, c.line-1))
	}
	raw := bytes.Clone(c.bytes()[:bad.at])
	c.skip(bad.at)
	rest, err := c.restOfLine(c.max - len(raw))
	if err != nil {
		return nil, err
	}
	raw = append(raw, rest...)
	raw = raw[:len(raw)-lineBreak(raw)]
	last := at.Line + int64(bytes.Count(raw, newline))
	return unreadable(raw, at, "invalid_csv", skipped(reason, at.Line, last))
}

// skipped adds the lines that were given up, where they are several.
func skipped(err error, first, last int64) error {
	if last <= first {
		return err
	}
	return fmt.Errorf("%w; nothing of lines %d to %d was read", err, first, last)
}

// rowsAmong counts the whole lines in b, empty ones aside, and those of them that
// are rows like the header. The first thousand tell enough.
func (c *csvReader) rowsAmong(b []byte) (rows, lines int) {
	row := rowParser{delimiter: c.row.delimiter}
	for lines < 1000 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		line := b[:i+1]
		b = b[i+1:]
		if blankLine(line, true) > 0 {
			continue
		}
		lines++
		if _, _, bad := row.parse(line, true); bad == nil && len(row.ends) == len(c.columns) {
			rows++
		}
	}
	return rows, lines
}

// restOfLine takes what is left of the line, and returns the first bytes of it.
func (c *csvReader) restOfLine(keep int) (head []byte, err error) {
	for {
		b := c.bytes()
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part = trimCR(b[:i])
		}
		head = append(head, part[:min(len(part), max(0, keep-len(head)))]...)
		if i >= 0 {
			c.take(i+1, 1)
			return head, nil
		}
		c.take(len(b), 0)
		if !c.more() {
			return head, c.failure()
		}
	}
}

// failure returns why the input ended; nil if that is just its end.
func (c *csvReader) failure() error {
	if c.atEnd() {
		return nil
	}
	return c.end()
}

// skipRow takes a row that is too long to be held: up to the first line break
// outside quotes.
func (c *csvReader) skipRow() error {
	quoted := false
	for {
		b := c.bytes()
		i := bytes.IndexAny(b, "\"\n")
		switch {
		case i < 0:
			c.take(len(b), 0)
			if !c.more() {
				return c.failure()
			}
		case b[i] == '"':
			quoted = !quoted // a doubled quote closes and opens
			c.take(i+1, 0)
		default:
			c.take(i+1, 1)
			if !quoted {
				return nil
			}
		}
	}
}

// explain puts a mistake into words.
func (c *csvReader) explain(bad *rowError) error {
	b := c.bytes()
	place := func(at int) string {
		begin := bytes.LastIndexByte(b[:at], '\n') + 1
		column := fmt.Sprintf("byte %d", at-begin+1)
		if breaks := bytes.Count(b[:at], newline); breaks > 0 {
			return fmt.Sprintf("%s of line %d", column, c.line+int64(breaks))
		}
		return column
	}
	switch {
	case bad.long:
		return fmt.Errorf("%w: the row is %w (%s)", errCSV, errTooLong, pipeline.Size(c.max))
	case bad.open:
		return fmt.Errorf("%w: the quote at %s is never closed", errCSV, place(bad.opened))
	case bad.opened < 0:
		return fmt.Errorf("%w: a quote at %s inside a cell without quotes; put the cell in quotes and double the ones inside", errCSV, place(bad.at))
	default:
		return fmt.Errorf("%w: the cell opened at %s goes on behind its closing quote at %s; double the quotes inside it",
			errCSV, place(bad.opened), place(bad.at))
	}
}
