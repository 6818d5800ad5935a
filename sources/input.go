package sources

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/infiles"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

// input is one of the files that a source reads; stdinName is the path of standard input.
type input = infiles.File

// stdinName is what standard input is called in places and messages.
const stdinName = "stdin"

var errNoStdin = errors.New("standard input is not to be had in this program; name a file")

func isStdin(path string) bool { return path == "-" || path == "/dev/stdin" }

// checkPath says what can be said of a path before anything is there.
func checkPath(path string, f codec.Format) error {
	auto := f == codec.Auto || f == ""
	switch {
	case path == "":
		return errors.New("the path is empty; \"-\" is standard input")
	case auto && !isStdin(path) && !infiles.IsPattern(filepath.Base(path)):
		_, err := codec.FormatOf(path)
		return err
	}
	return infiles.CheckPath(path)
}

// files returns the files to read, in order, none twice.
func (f *File) files() ([]input, error) {
	var out []input
	seen := map[string]bool{}
	for _, path := range f.config.Path {
		found, err := expand(path)
		if err != nil {
			return nil, pipeline.Fatal("source", err)
		}
		for _, in := range found {
			if key := filepath.Clean(in.Path); !seen[key] {
				seen[key] = true
				out = append(out, in)
			}
		}
	}
	return out, nil
}

// expand returns the files that a path means.
func expand(path string) ([]input, error) {
	if isStdin(path) {
		return []input{{Path: stdinName}}, nil
	}
	return infiles.Expand(path, "*.jsonl")
}

// opened is an input that is being read.
type opened struct {
	*rowfile.Rows
	raw  io.Reader
	file *os.File // nil for standard input
}

// open opens an input. What it reads counts as progress.
func (f *File) open(in input) (*opened, error) {
	o := &opened{}
	source := codec.Input{Path: in.Path}
	if in.Path == stdinName {
		o.raw = infiles.Wakeable(f.stdin)
	} else {
		file, err := os.Open(in.Path)
		if err != nil {
			return nil, pipeline.Fatal("source", err)
		}
		o.raw, o.file = file, file
		if in.Regular {
			source.At, source.Size = file, in.Size
		}
	}
	source.Stream = &rowfile.Counter{R: o.bounded(in), Done: &f.meter}
	var err error
	if o.Rows, err = f.reading().Open(source, f.format(in)); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// bounded are the bytes that were there when the input was looked at: what is added
// while it is read may be half a row. Some systems have files that say that they are
// empty, and are not.
func (o *opened) bounded(in input) io.Reader {
	if !in.Regular || in.Size == 0 {
		return o.raw
	}
	return io.NewSectionReader(o.file, 0, in.Size)
}

// close releases the file. Nothing was written, so its error says nothing.
func (o *opened) close() {
	if o.Rows != nil {
		o.Close()
	}
	if o.file != nil {
		_ = o.file.Close()
	}
}

// wake ends a read that waits for a pipe, where the system can.
func (o *opened) wake() {
	if d, ok := o.raw.(interface{ SetReadDeadline(t time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Unix(1, 0)) // plain files refuse; they do not wait either
	}
}
