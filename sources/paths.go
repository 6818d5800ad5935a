package sources

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

// isPattern reports whether a path has characters of a pattern.
func isPattern(path string) bool { return path != "-" && strings.ContainsAny(path, "*?[{") }

// expand returns the files that paths name: each once, those of a pattern sorted. A
// file that is called like a pattern is meant as itself.
func expand(paths []string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	for _, p := range paths {
		found := []string{p}
		if _, err := os.Lstat(p); err != nil && isPattern(p) {
			if found, err = doublestar.FilepathGlob(p, doublestar.WithFilesOnly()); err != nil {
				return nil, fmt.Errorf("%s is no pattern: %w", p, err)
			}
			if len(found) == 0 {
				return nil, fmt.Errorf("no file matches %s", p)
			}
			slices.Sort(found)
		}
		for _, f := range found {
			if !seen[f] {
				seen[f] = true
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// Shape returns the columns of the first file with a header, if it is there, and
// knows the one field of plain text. It reads no further than the header.
func (f *File) Shape(pipeline.Shape) pipeline.Shape {
	paths, err := expand(f.config.Path)
	if err != nil || len(paths) == 0 || slices.Contains(paths, "-") {
		return pipeline.Shape{}
	}
	shape, err := f.shapeOf(paths[0])
	if err != nil {
		return pipeline.Shape{}
	}
	return shape
}

func (f *File) shapeOf(path string) (shape pipeline.Shape, err error) {
	o := f.optionsFor(path)
	if o.Format == "" || o.Format == codec.Auto {
		if o.Format, err = codec.FormatOf(path); err != nil {
			return shape, err
		}
	}
	switch o.Format {
	case codec.Lines:
		return pipeline.Shape{Closed: true}.With(f.fieldName(), pipeline.StringType), nil
	case codec.Whole:
		return pipeline.Shape{Closed: true}.With(f.fieldName(), pipeline.StringType).With("path", pipeline.StringType), nil
	case codec.CSV, codec.TSV:
		return f.headerShape(path, o)
	default:
		return shape, nil
	}
}

func (f *File) fieldName() string {
	if f.config.Field == "" {
		return "text"
	}
	return f.config.Field
}

func (f *File) headerShape(path string, o codec.ReadOptions) (shape pipeline.Shape, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return shape, err
	}
	if !info.Mode().IsRegular() {
		return shape, errors.New("a pipe can be read once only")
	}
	file, err := open(path)
	if err != nil {
		return shape, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	stream := codec.Decompress(file, path, f.config.Compression)
	defer func() { err = errors.Join(err, stream.Close()) }()
	reader, err := codec.NewReader(codec.Input{Path: path, Stream: stream}, o)
	if err != nil {
		return shape, err
	}
	names, err := reader.(codec.Header).Columns()
	if err != nil && !errors.Is(err, io.EOF) {
		return shape, err
	}
	shape.Closed = true
	for _, name := range names {
		shape = shape.With(name, o.Types[name].FieldType())
	}
	return shape, nil
}
