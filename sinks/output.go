package sinks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

// outputBuffer is how much is written to the file at once.
const outputBuffer = 256 << 10

// output is a file, a pipe or standard output that rows are written to.
type output struct {
	path        string // "-" is stdout
	compression codec.Compression
	stdout      io.Writer

	file    *os.File // nil for stdout
	regular bool     // it can be synced, and starts empty
	counted *counter // what reached the file
	buffer  *bufio.Writer
	packed  codec.Compressor
	written bool
}

// counter counts the bytes that reached the file.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// check refuses what cannot be an output, without touching it.
func (o *output) check(problems *pipeline.Problems) {
	switch {
	case o.path == "":
		problems.Addf("path", "is required: the file to write, or - for standard output")
	case o.path == "-" && o.stdout == nil:
		problems.Addf("path", "- is standard output, which this program does not give; name a file")
	}
	if _, err := codec.NewCompressor(io.Discard, o.path, o.compression); err != nil {
		problems.Addf("compression", "%w", err)
	}
}

// probe says whether the output can be written, and leaves everything as it is.
func (o *output) probe() error {
	if o.path == "-" {
		return nil
	}
	info, err := os.Stat(o.path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a folder; name a file", o.path)
	case err == nil:
		return writable(o.path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return creatable(filepath.Dir(o.path))
}

// writeOK is access(2)'s W_OK.
const writeOK = 2

func writable(path string) error {
	if err := syscall.Access(path, writeOK); err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return nil
}

// creatable says whether something can be made in a folder, which may have to be made too.
func creatable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case err == nil:
		return writable(dir)
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return creatable(filepath.Dir(dir))
	default:
		return err
	}
}

// start opens the output. Rows that are there are kept, unless fresh.
func (o *output) start(fresh bool) error {
	var to io.Writer = o.stdout
	if o.path != "-" {
		if err := o.open(fresh); err != nil {
			return err
		}
		to = o.file
	}
	o.counted = &counter{Writer: to}
	o.buffer = bufio.NewWriterSize(o.counted, outputBuffer)
	packed, err := codec.NewCompressor(o.buffer, o.path, o.compression)
	o.packed = packed
	return err
}

func (o *output) open(fresh bool) error {
	info, err := os.Stat(o.path)
	there := err == nil && info.Mode().IsRegular() && info.Size() > 0
	if there && !fresh {
		return pipeline.Fatal("output_exists", fmt.Errorf("%s has rows already; --fresh overwrites it", o.path))
	}
	if err := os.MkdirAll(filepath.Dir(o.path), 0o777); err != nil {
		return o.failed(err)
	}
	if o.file, err = os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE, 0o666); err != nil {
		return o.failed(err)
	}
	if info, err = o.file.Stat(); err != nil {
		return o.failed(err)
	}
	if o.regular = info.Mode().IsRegular(); o.regular {
		if err := o.file.Truncate(0); err != nil {
			return o.failed(err)
		}
	}
	return nil
}

// write appends bytes, perhaps only to a buffer.
func (o *output) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	o.written = true
	if _, err := o.packed.Write(p); err != nil {
		return o.failed(err)
	}
	return nil
}

// commit makes durable what was written.
func (o *output) commit() (pipeline.Position, error) {
	if o.packed == nil {
		return "", nil
	}
	if err := o.packed.Flush(); err != nil {
		return "", o.failed(err)
	}
	if err := o.buffer.Flush(); err != nil {
		return "", o.failed(err)
	}
	if o.regular {
		if err := o.file.Sync(); err != nil {
			return "", o.failed(err)
		}
	}
	return pipeline.Position(strconv.FormatInt(o.counted.n, 10)), nil
}

// close ends the output: a compressed one gets its end.
func (o *output) close() error {
	if o.packed == nil {
		return nil
	}
	err := o.packed.Close()
	if flushed := o.buffer.Flush(); err == nil {
		err = flushed
	}
	if o.file != nil {
		if o.regular {
			err = errors.Join(err, o.file.Sync())
		}
		err = errors.Join(err, o.file.Close())
	}
	o.packed = nil
	return o.failed(err)
}

// failed says which output it was. Nothing more can be written to it: the run ends.
func (o *output) failed(err error) error {
	if err == nil {
		return nil
	}
	name := o.path
	if name == "-" {
		name = "standard output"
	}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err // the path is named once
	}
	return pipeline.Fatal("output", fmt.Errorf("write %s: %w", name, err))
}

// encode turns the records of a batch into bytes, one after the other, and writes
// them. Records that append refuses are named in a [pipeline.BatchError].
func (o *output) encode(ctx context.Context, batch []*pipeline.Record, buf []byte, add func([]byte, *pipeline.Record) ([]byte, error)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return buf, err
	}
	buf = buf[:0]
	var refused map[int]error
	for i, r := range batch {
		next, err := add(buf, r)
		if err != nil {
			if refused == nil {
				refused = map[int]error{}
			}
			refused[i] = err
			continue
		}
		buf = next
		if len(buf) >= outputBuffer {
			if err := o.write(buf); err != nil {
				return buf, err
			}
			buf = buf[:0]
		}
	}
	if err := o.write(buf); err != nil {
		return buf, err
	}
	if refused != nil {
		return buf, &pipeline.BatchError{Refused: refused}
	}
	return buf, nil
}
