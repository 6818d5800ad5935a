package sources

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

// input is one of the files that a source reads.
type input struct {
	path    string // stdinName for standard input
	size    int64
	regular bool // a plain file: it can be opened twice and has a size
}

// stdinName is what standard input is called in places and messages.
const stdinName = "stdin"

var errNoStdin = errors.New("standard input is not to be had in this program; name a file")

func isStdin(path string) bool { return path == "-" || path == "/dev/stdin" }

// isPattern reports whether a path has a sign that stands for others.
func isPattern(path string) bool { return strings.ContainsAny(path, `*?[{`) }

// checkPath says what can be said of a path before anything is there.
func checkPath(path string, f codec.Format) error {
	auto := f == codec.Auto || f == ""
	switch {
	case path == "":
		return errors.New("the path is empty; \"-\" is standard input")
	case isPattern(path) && !doublestar.ValidatePathPattern(filepath.ToSlash(path)):
		return fmt.Errorf("%q is no pattern for paths: a bracket is not closed", path)
	case auto && !isStdin(path) && !isPattern(filepath.Base(path)):
		_, err := codec.FormatOf(path)
		return err
	}
	return nil
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
			if key := filepath.Clean(in.path); !seen[key] {
				seen[key] = true
				out = append(out, in)
			}
		}
	}
	return out, nil
}

// expand returns the files that a path means. One that exists is meant itself,
// whatever signs are in it.
func expand(path string) ([]input, error) {
	if isStdin(path) {
		return []input{{path: stdinName}}, nil
	}
	in, err := stat(path)
	if err == nil {
		return []input{in}, nil
	}
	if !isPattern(path) || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Folders that cannot be read are errors: their files would be left out silently.
	options := []doublestar.GlobOption{doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors(), doublestar.WithNoHidden()}
	if strings.Contains(path, "**") {
		options = append(options, doublestar.WithNoFollow()) // links may lead in a circle
	}
	found, err := doublestar.FilepathGlob(path, options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.Sort(found)
	var out []input
	for _, name := range found {
		in, err := stat(name)
		switch {
		case errors.Is(err, errFolder): // a link to one, which is not followed
		case err != nil:
			return nil, err
		default:
			out = append(out, in)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no file has such a name", path)
	}
	return out, nil
}

var errFolder = errors.New("is a folder")

func stat(path string) (input, error) {
	info, err := os.Stat(path)
	if err != nil {
		var named *fs.PathError
		if errors.As(err, &named) {
			err = named.Err
		}
		return input{}, fmt.Errorf("%s: %w", path, err)
	}
	if info.IsDir() {
		return input{}, fmt.Errorf("%s %w; name the files in it, like %s", path, errFolder, filepath.Join(path, "*.jsonl"))
	}
	return input{path: path, size: info.Size(), regular: info.Mode().IsRegular()}, nil
}

// opened is an input that is being read.
type opened struct {
	*rowfile.Rows
	raw  io.Reader
	file *os.File // nil for standard input
}

// open opens an input. What it reads counts as progress.
func (f *File) open(in input) (*opened, error) {
	o := &opened{raw: f.stdin}
	source := codec.Input{Path: in.path}
	if in.path != stdinName {
		file, err := os.Open(in.path)
		if err != nil {
			return nil, pipeline.Fatal("source", err)
		}
		o.raw, o.file = file, file
		if in.regular {
			source.At, source.Size = file, in.size
		}
	}
	source.Stream = &rowfile.Counter{R: o.bounded(in), Done: &f.done}
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
	if !in.regular || in.size == 0 {
		return o.raw
	}
	return io.NewSectionReader(o.file, 0, in.size)
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
