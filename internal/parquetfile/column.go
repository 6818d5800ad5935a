package parquetfile

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

const valueBatch = 256 // how many values are decoded at once

// column reads the values of one leaf in one row group, one page at a time.
type column struct {
	name   string
	guard  *guard
	pages  *parquet.FilePages
	page   parquet.Page
	values parquet.ValueReader
	buffer []parquet.Value
	at     int // of the buffer, which is read up to its length
	rows   int64
	err    error // io.EOF at the end
}

func newColumn(name string, chunk *parquet.FileColumnChunk, g *guard) *column {
	return &column{name: name, guard: g, pages: chunk.PagesFrom(g), buffer: make([]parquet.Value, 0, valueBatch)}
}

// peek returns the next value, nil at the end or after an error.
func (c *column) peek() *parquet.Value {
	if c.at == len(c.buffer) && !c.fill() {
		return nil
	}
	return &c.buffer[c.at]
}

// next returns the next value and passes it.
func (c *column) next() *parquet.Value {
	if c.at == len(c.buffer) && !c.fill() {
		return nil
	}
	v := &c.buffer[c.at]
	c.at++
	if v.RepetitionLevel() == 0 {
		c.rows++
	}
	return v
}

// fill decodes more values.
func (c *column) fill() bool {
	for c.err == nil {
		if c.values == nil {
			c.err = c.nextPage()
			continue
		}
		n, err := c.read()
		if err != nil {
			c.values = nil // the page stays: the values may be in it
			if !errors.Is(err, io.EOF) {
				c.err = err
			}
		}
		if n > 0 {
			return true
		}
	}
	return false
}

func (c *column) read() (n int, err error) {
	defer recovered(&err)
	n, err = c.values.ReadValues(c.buffer[:cap(c.buffer)])
	if n == 0 && err == nil {
		err = errors.New("a page is damaged: it has fewer values than its header says")
	}
	c.at, c.buffer = 0, c.buffer[:n]
	return n, err
}

func (c *column) nextPage() (err error) {
	defer recovered(&err)
	parquet.Release(c.page)
	c.page, err = nil, nil
	if c.page, err = c.pages.ReadPage(); err != nil {
		if why := c.guard.err; why != nil && !errors.Is(why, io.EOF) {
			return why
		}
		return err
	}
	if err := checkIndexes(c.page); err != nil {
		return err
	}
	c.values = c.page.Values()
	return nil
}

// checkIndexes says whether all values of a page are in its dictionary.
func checkIndexes(p parquet.Page) error {
	d := p.Dictionary()
	if d == nil {
		return nil
	}
	size := int32(d.Len())
	data := p.Data()
	for _, i := range data.Int32() {
		if i < 0 || i >= size {
			return fmt.Errorf("a page is damaged: a value is number %d of a dictionary of %d", i, size)
		}
	}
	return nil
}

// skip passes rows. Pages that hold nothing else are not decoded.
func (c *column) skip(rows int64) error {
	if rows == 0 {
		return nil
	}
	c.guard.skip = rows
	if c.peek() == nil {
		return c.failed()
	}
	for c.rows += c.guard.passed; c.rows < rows; {
		if c.next() == nil {
			return c.failed()
		}
	}
	for v := c.peek(); v != nil && v.RepetitionLevel() > 0; v = c.peek() {
		c.next() // the rest of the last row
	}
	return nil
}

// failed says why there is no value where there should be one.
func (c *column) failed() error {
	err := c.err
	if errors.Is(err, io.EOF) {
		err = errors.New("it has fewer values than rows")
	}
	return fmt.Errorf("column %q: %w", c.name, err)
}

func (c *column) close() {
	parquet.Release(c.page)
	_ = c.pages.Close() // it only gives buffers back
}
