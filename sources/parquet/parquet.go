// Package parquet holds the source "parquet", in a package of its own because of the
// library that it brings. See package pipeline for the words.
package parquet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/rowmill/rowmill/internal/infiles"
	"github.com/rowmill/rowmill/internal/meter"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed parquet.go
var code string

// Spec describes the source "parquet".
func Spec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "parquet",
		Summary: "reads rows from Parquet files, some or all of their columns",
		Code:    code,
		Example: "parquet: {path: 'data/*.parquet', columns: [id, title, author.name]}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Source, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err // and not a nil *Source
		}
		return s, nil
	})
}

// Config is the configuration of the source "parquet". A zero field means its default.
type Config struct {
	// Path is the file to read, or a list of them. `*` and `?` stand for any signs in a name,
	// `[a-z]` for one of several, `{a,b}` for either, `**` for any folders (links to folders
	// aside); hidden files are not meant. A name that exists is taken as it is. The files of
	// one pattern are read in the order of their names, none twice, and must have the same
	// columns; a path that no file has is a mistake. All that Parquet can hold is read without
	// loss: decimals are numbers with all their digits, dates and times are texts as in RFC
	// 3339, with the digits of their unit and a Z if they are UTC, maps are objects, NaN and
	// the infinities are the texts NaN, Infinity and -Infinity. A text that is no UTF-8 makes
	// its row a dead letter; a damaged file ends the run with the file and the row group.
	Path []string `yaml:"path" rowmill:"required"`
	// Columns are those to be read, in this order; no others are looked at. `author.name` is
	// a part of a nested column. Defaults to all.
	Columns []string `yaml:"columns"`
	// Binary is what becomes of bytes that the file does not say to be text: base64, or text,
	// which old writers forgot to say. Defaults to base64.
	Binary string `yaml:"binary" rowmill:"oneof=base64|text"`
	// MaxRecord is the longest row, in bytes as JSON. A longer one cannot be read and
	// becomes a dead letter. Defaults to 64MiB.
	MaxRecord pipeline.Size `yaml:"max_record" rowmill:"min=1"`
}

// Default returns a config with every default in its place.
func Default() Config {
	return Config{Binary: "base64", MaxRecord: parquetfile.DefaultMaxRecord}
}

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	if len(c.Path) == 0 {
		problems.Addf("path", "name a file to read")
	}
	for i, path := range c.Path {
		err := infiles.CheckPath(path)
		if path == "-" {
			err = errors.New("a Parquet file is read from its end: standard input cannot be one; name a file")
		}
		if err != nil {
			key := "path"
			if len(c.Path) > 1 {
				key = fmt.Sprintf("path[%d]", i)
			}
			problems = append(problems, pipeline.Problem{Key: key, Err: err})
		}
	}
	parquetfile.CheckColumns(c.Columns, &problems)
	if c.Binary != "" && c.Binary != "base64" && c.Binary != "text" {
		problems.Addf("binary", "%q is neither base64 nor text", c.Binary)
	}
	if c.MaxRecord < 0 {
		problems.Addf("max_record", "a row cannot be shorter than nothing")
	}
	return problems.Err()
}

// Source is the source "parquet": it reads rows from Parquet files, one row group at a
// time and of that only the pages that it is at.
type Source struct {
	config Config
	start  *pipeline.Origin // of the row to begin with; nil for the first
	found  []infiles.File   // what Identify found; nil if it was not called

	meter meter.Meter // in bytes of the files
}

var (
	_ pipeline.Source     = (*Source)(nil)
	_ pipeline.Shaper     = (*Source)(nil)
	_ pipeline.Prober     = (*Source)(nil)
	_ pipeline.Meter      = (*Source)(nil)
	_ pipeline.Identifier = (*Source)(nil)
	_ pipeline.Seeker     = (*Source)(nil)
)

// New returns the source. It opens nothing yet. The error is [pipeline.Problems].
func New(c Config, _ pipeline.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Source{config: c}, nil
}

// files returns the files to read, in order, none twice.
func (s *Source) files() ([]infiles.File, error) {
	var out []infiles.File
	seen := map[string]bool{}
	for _, path := range s.config.Path {
		found, err := infiles.Expand(path, "*.parquet")
		if err != nil {
			return nil, pipeline.Fatal("source", err)
		}
		for _, in := range found {
			if !in.Regular {
				return nil, pipeline.Fatal("source", fmt.Errorf("%s is no plain file, and a Parquet file is read from its end", in.Path))
			}
			if key := filepath.Clean(in.Path); !seen[key] {
				seen[key] = true
				out = append(out, in)
			}
		}
	}
	return out, nil
}

// opened is a file that is being read.
type opened struct {
	*parquetfile.File
	file *os.File
}

func (o opened) close() {
	o.Close()
	_ = o.file.Close() // nothing was written
}

func (s *Source) open(in infiles.File) (o opened, err error) {
	if o.file, err = os.Open(in.Path); err != nil {
		return o, pipeline.Fatal("source", err)
	}
	o.File, err = parquetfile.Open(o.file, in.Size, parquetfile.Options{
		Path: in.Path, Columns: s.config.Columns, BinaryText: s.config.Binary == "text", MaxRecord: int(s.config.MaxRecord),
	})
	if err != nil {
		return o, errors.Join(err, o.file.Close())
	}
	return o, nil
}

// Records reads the files one after the other.
func (s *Source) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		files, skipped, err := s.toRead()
		if err != nil {
			yield(nil, err)
			return
		}
		var like parquetfile.Columns
		if skipped > 0 { // the first says what the columns are
			if err := s.look(files[0], &like); err != nil {
				yield(nil, err)
				return
			}
		}
		for _, in := range files[skipped:] {
			if more, err := s.read(ctx, in, &like, yield); err != nil {
				yield(nil, err)
				return
			} else if !more {
				return
			}
		}
	}
}

// toRead are the files as they were identified, else as they are, and how many of them
// stand in front of where the rows begin.
func (s *Source) toRead() (files []infiles.File, skipped int, err error) {
	if files = s.found; files == nil {
		if files, err = s.files(); err != nil {
			return nil, 0, err
		}
	}
	if s.start != nil {
		skipped = slices.IndexFunc(files, func(in infiles.File) bool { return in.Path == s.start.Path })
		if skipped < 0 {
			return nil, 0, pipeline.Fatal("source", fmt.Errorf("%s is gone", s.start.Path))
		}
	}
	var done, total int64
	for i, in := range files {
		total += in.Size
		if i < skipped {
			done += in.Size
		}
	}
	s.meter.Start(done, total)
	return files, skipped, nil
}

// look only compares the columns of a file.
func (s *Source) look(in infiles.File, like *parquetfile.Columns) error {
	o, err := s.open(in)
	if err != nil {
		return err
	}
	defer o.close()
	return like.Check(in.Path, o.Shape())
}

// read reads one file, and reports whether the next is wanted.
func (s *Source) read(ctx context.Context, in infiles.File, like *parquetfile.Columns, yield func(*pipeline.Record, error) bool) (more bool, err error) {
	o, err := s.open(in)
	if err != nil {
		return false, err
	}
	defer o.close()
	if err := like.Check(in.Path, o.Shape()); err != nil {
		return false, err
	}
	var from int64
	if s.start != nil && s.start.Path == in.Path {
		from = s.start.Line - 1
	}
	rows, err := o.ReadFrom(from)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	s.meter.Enter(o.File, in.Size)
	defer func() { s.meter.Leave(more) }()
	for ctx.Err() == nil {
		r, err := rows.Read()
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case r == nil:
			return false, err
		case !yield(r, err):
			return false, nil
		}
	}
	return false, nil
}

// Progress returns how many bytes of the files are read, and how many there are. Those of
// columns that are left out count when their file is at its end.
func (s *Source) Progress() (done, total int64) { return s.meter.Progress() }

// Shape tells the fields by the first file, if that is there.
func (s *Source) Shape(pipeline.Shape) pipeline.Shape {
	files, err := s.files()
	if err != nil {
		return pipeline.Shape{}
	}
	o, err := s.open(files[0])
	if err != nil {
		return pipeline.Shape{}
	}
	defer o.close()
	return o.Shape()
}

// Probe looks whether every file is there, has a footer that is whole, and the columns
// that are to be read.
func (s *Source) Probe(ctx context.Context) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	var like parquetfile.Columns
	return infiles.Probe(ctx, files, func(in infiles.File) error { return s.look(in, &like) })
}
