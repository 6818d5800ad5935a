package rowfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// outputBuffer is how many bytes of rows are held before they are written.
const outputBuffer = 256 << 10

// Output is a file, a pipe or standard output that rows are written to.
type Output struct {
	// Path is the file; "-" is standard output, which is Stdout.
	Path string
	// Compression is how it is compressed; "" goes by the name.
	Compression codec.Compression
	Stdout      io.Writer
	// FS is the file system; nil is that of the operating system.
	FS fsys.FS

	file    fsys.File // nil for standard output
	regular bool      // a plain file: it has a length and can be synced
	raw     counter   // what reached the file
	packed  codec.Compressor
	plain   bool   // packed changes nothing
	head    []byte // what stands before the first row, until that comes
	rows    []byte // whole rows, not yet written
	whole   int64  // the length of the file up to which it holds whole rows
	broken  bool   // a write has failed: nothing more is written
}

// counter counts the bytes that reached the file, and keeps the last of them.
type counter struct {
	io.Writer
	n    int64
	tail []byte
}

// Write writes p. Fewer bytes without an error are an error.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	c.n += int64(n)
	c.keep(p[:n])
	return n, err
}

func (c *counter) keep(p []byte) {
	if over := len(c.tail) + len(p) - tailBytes; over > 0 {
		c.tail = append(c.tail[:0], c.tail[min(over, len(c.tail)):]...)
	}
	c.tail = append(c.tail, p[max(0, len(p)-tailBytes):]...)
}

// IsStdout reports whether a path is standard output. To open it by its name could
// overwrite the file that it was redirected to.
func IsStdout(path string) bool {
	switch path {
	case "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return true
	default:
		return false
	}
}

// Check reports what cannot be an output, without touching it.
func (o *Output) Check(problems *pipeline.Problems) {
	switch {
	case o.Path == "":
		problems.Addf("path", "is required: the file to write, or - for standard output")
	case IsStdout(o.Path) && o.Stdout == nil:
		problems.Addf("path", "- is standard output, which this program does not give; name a file")
	}
	if _, err := codec.NewCompressor(io.Discard, o.Path, o.Compression); err != nil {
		problems.Addf("compression", "%w", err)
	}
}

// Probe says whether the output can be written, and leaves everything as it is.
func (o *Output) Probe() error {
	if IsStdout(o.Path) {
		return nil
	}
	info, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return creatable(filepath.Dir(o.Path))
	case err != nil:
		return o.named(err)
	case info.IsDir():
		return o.named(errFolder)
	case !info.Mode().IsRegular():
		return nil // to open a pipe would begin it
	}
	file, err := os.OpenFile(o.Path, os.O_WRONLY, 0)
	if err != nil {
		return o.named(err)
	}
	return o.named(file.Close())
}

var errFolder = errors.New("it is a folder; name a file")

// creatable says whether a file can be made in a folder, which may have to be made
// too, by making one: permissions alone do not tell.
func creatable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return creatable(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", dir)
	}
	file, err := os.CreateTemp(dir, ".rowmill-probe-*")
	if err != nil {
		return fmt.Errorf("no file can be made in %s: %w", dir, bare(err))
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// Start opens the output, which begins with head. Rows that are there are kept,
// unless fresh.
func (o *Output) Start(fresh bool, head []byte) error {
	if err := o.keep(fresh); err != nil {
		return err
	}
	return o.begin(head)
}

// begin opens the output empty.
func (o *Output) begin(head []byte) error {
	o.raw, o.head = counter{Writer: o.Stdout}, head
	if !IsStdout(o.Path) {
		if err := o.open(); err != nil {
			return err
		}
		o.raw.Writer = o.file
	}
	o.resolve()
	var err error
	o.packed, err = codec.NewCompressor(&o.raw, o.Path, o.Compression)
	return err
}

// resolve decides how the output is compressed.
func (o *Output) resolve() {
	if o.Compression == "" || o.Compression == codec.AutoCompression {
		o.Compression = codec.CompressionOf(o.Path)
	}
	o.plain = o.Compression == codec.None
}

func (o *Output) files() fsys.FS {
	if o.FS == nil {
		return fsys.OS{}
	}
	return o.FS
}

// keep refuses to overwrite an output that has rows, unless fresh.
func (o *Output) keep(fresh bool) error {
	info, err := o.files().Stat(o.Path)
	if fresh || IsStdout(o.Path) || err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return nil
	}
	return pipeline.Fatal("output_exists", fmt.Errorf("%s already has rows; --fresh overwrites it", o.Path))
}

// Prepare is for an output that may never be opened: rows that are there are
// refused, or with fresh removed, so that they are not taken for new ones.
func (o *Output) Prepare(fresh bool) error {
	if err := o.keep(fresh); err != nil {
		return err
	}
	info, err := o.files().Stat(o.Path)
	if !fresh || IsStdout(o.Path) || err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return o.failed(errors.Join(o.files().Remove(o.Path), o.files().SyncDir(filepath.Dir(o.Path))))
}

func (o *Output) open() error {
	folder := filepath.Dir(o.Path)
	if err := o.files().MkdirAll(folder, 0o777); err != nil {
		return o.failed(err)
	}
	file, err := o.files().OpenFile(o.Path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return o.failed(err)
	}
	info, err := file.Stat()
	if err == nil {
		o.regular = info.Mode().IsRegular()
	}
	if err == nil && o.regular {
		err = errors.Join(file.Truncate(0), o.durable(folder))
	}
	if err != nil {
		return o.failed(errors.Join(err, file.Close()))
	}
	o.file = file
	return nil
}

// durable syncs a folder and those it is in. A process that was killed may have made
// any of them.
func (o *Output) durable(folder string) error {
	for {
		if err := o.files().SyncDir(folder); err != nil {
			return err
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return nil
		}
		folder = parent
	}
}

// Add takes the records of a batch as encode turns them into bytes. Those that it
// refuses are named in a [pipeline.BatchError].
func (o *Output) Add(ctx context.Context, batch []*pipeline.Record, encode func([]byte, *pipeline.Record) ([]byte, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var refused map[int]error
	for i, r := range batch {
		o.rows, o.head = append(o.rows, o.head...), nil
		rows, err := encode(o.rows, r)
		if err != nil {
			if refused == nil {
				refused = map[int]error{}
			}
			refused[i] = err
			continue
		}
		if o.rows = rows; len(rows) >= outputBuffer {
			if err := o.write(); err != nil {
				return err
			}
		}
	}
	if refused != nil {
		return &pipeline.BatchError{Refused: refused}
	}
	return nil
}

// write writes the rows that are held.
func (o *Output) write() error {
	switch {
	case o.packed == nil:
		return o.failed(errNotStarted)
	case o.broken:
		return o.failed(errBroken)
	case len(o.rows) == 0:
		return nil
	}
	if _, err := o.packed.Write(o.rows); err != nil {
		return o.breaks(err)
	}
	if o.rows = o.rows[:0]; cap(o.rows) > 16*outputBuffer {
		o.rows = nil // there was a very long row
	}
	if o.plain {
		o.whole = o.raw.n
	}
	return nil
}

var (
	errBroken     = errors.New("an earlier write has failed")
	errNotStarted = errors.New("it was not opened with Start")
)

// breaks ends the output after a failed write: the file is cut back to the rows
// that are whole.
func (o *Output) breaks(err error) error {
	o.broken = true
	if o.regular && o.raw.n > o.whole {
		err = errors.Join(err, o.file.Truncate(o.whole))
	}
	return o.failed(err)
}

// Commit makes durable what was written, and returns where the file stands.
func (o *Output) Commit() (pipeline.Position, error) {
	if err := o.write(); err != nil {
		return "", err
	}
	if err := o.packed.Flush(); err != nil {
		return "", o.breaks(err)
	}
	if !o.regular {
		return "", nil
	}
	if err := o.file.Sync(); err != nil {
		return "", o.breaks(err)
	}
	o.whole = o.raw.n
	return o.position(), nil
}

// Size is how long the output is, with what is held and not written yet as it is.
func (o *Output) Size() int64 { return o.raw.n + int64(len(o.rows)) }

// End makes durable all that was taken, and closes the output: nothing more comes into it.
func (o *Output) End() error {
	return errors.Join(o.write(), o.Close())
}

// Close ends the output: what is compressed gets its end, and one without rows has
// its head all the same. Rows that are still held were not committed, and are left out.
func (o *Output) Close() error {
	if o.packed == nil {
		return nil
	}
	var err error
	if !o.broken {
		if len(o.head) > 0 {
			_, err = o.packed.Write(o.head)
		}
		err = errors.Join(err, o.packed.Close())
		if o.regular {
			err = errors.Join(err, o.file.Sync())
		}
	}
	if o.file != nil {
		err = errors.Join(err, o.file.Close())
	}
	o.packed, o.rows = nil, nil
	return o.failed(err)
}

// failed says which output it was. No row can be written to it: the run ends.
func (o *Output) failed(err error) error {
	if err == nil {
		return nil
	}
	code := "output"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		code = "disk_full"
	}
	return pipeline.Fatal(code, fmt.Errorf("write %w", o.named(err)))
}

func (o *Output) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", o.name(), bare(err))
}

func (o *Output) name() string {
	if IsStdout(o.Path) {
		return "standard output"
	}
	return o.Path
}

// bare leaves out the path that an error of package os names: it is named once.
func bare(err error) error {
	var named *fs.PathError
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}
