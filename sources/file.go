package sources

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/infiles"
	"github.com/rowmill/rowmill/internal/meter"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed file.go
var fileCode string

// FileSpec describes the source `file`.
func FileSpec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "file",
		Summary: "reads rows from files: JSON lines, CSV, TSV, plain lines, whole files; gzip and zstd",
		Code:    fileCode,
		Example: "file: {path: 'data/**/*.csv', types: {score: number}}",
	}, DefaultFile, func(c FileConfig, env pipeline.Env) (pipeline.Source, error) { return asSource(NewFile(c, env)) })
}

// FileConfig is the configuration of the source "file". A zero field means its default.
type FileConfig struct {
	// Path is the file to read, or a list of them. "-" is standard input. `*` and `?` stand
	// for any signs in a name, `[a-z]` for one of several, `{a,b}` for either, `**` for
	// any folders (links to folders aside); hidden files are not meant. A name that exists
	// is taken as it is. The files of one pattern are read in the order of their names,
	// none twice; a path that no file has is a mistake. What is added to a file after the
	// run has begun is left for another run.
	Path []string `yaml:"path" rowmill:"required"`
	// Format is how rows stand in the files. `jsonl` is one JSON object a line; `json` is one
	// list of objects, or JSON lines; `csv` and `tsv` have a first line that names the
	// columns; `lines` makes a row of each line of plain text; `whole` makes one row of each
	// file, with its `path` beside the text. `auto` goes by the name, past .gz and .zst: .jsonl,
	// .ndjson, .json, .csv, .tsv; .txt, .log and .md are lines; standard input is jsonl.
	// Defaults to auto.
	Format string `yaml:"format" rowmill:"oneof=auto|jsonl|json|csv|tsv|lines|whole"`
	// Compression is how the files are compressed. `auto` goes by the name (.gz, .zst) and by
	// the first bytes. Defaults to auto.
	Compression string `yaml:"compression" rowmill:"oneof=auto|none|gzip|zstd"`
	// Delimiter is the character between the cells of csv and tsv files. Defaults to a comma for
	// csv and a tab for tsv.
	Delimiter string `yaml:"delimiter"`
	// Types gives columns of csv and tsv files a type: `number`, `bool` (true or false, yes or
	// no, 1 or 0) or `json`; an empty cell is null then, and a row with a cell that does not
	// fit cannot be read. `string` is what every other column is. Defaults to strings.
	Types map[string]string `yaml:"types" rowmill:"oneof=string|number|bool|json"`
	// Field is the name of the field that holds the text of `lines` and `whole`. Defaults to text.
	Field string `yaml:"field"`
	// MaxRecord is the longest row, in bytes as it stands in the file. A longer one cannot be
	// read and becomes a dead letter. Defaults to 64MiB.
	MaxRecord pipeline.Size `yaml:"max_record" rowmill:"min=1"`
}

// DefaultFile returns a config with every default in its place.
func DefaultFile() FileConfig {
	return FileConfig{
		Format:      string(codec.Auto),
		Compression: string(codec.AutoCompression),
		Field:       "text",
		MaxRecord:   codec.DefaultMaxRecord,
	}
}

// Validate reports all that is wrong with the configuration by itself.
func (c FileConfig) Validate() error {
	var problems pipeline.Problems
	if len(c.Path) == 0 {
		problems.Addf("path", "name a file to read")
	}
	for i, path := range c.Path {
		key := "path"
		if len(c.Path) > 1 {
			key = fmt.Sprintf("path[%d]", i)
		}
		if err := checkPath(path, codec.Format(c.Format)); err != nil {
			problems = append(problems, pipeline.Problem{Key: key, Err: err})
		}
	}
	c.reading().Validate(&problems)
	return problems.Err()
}

func (c FileConfig) reading() rowfile.Reading {
	return rowfile.Reading{
		Format: c.Format, Compression: c.Compression, Delimiter: c.Delimiter, Types: c.Types, Field: c.Field, MaxRecord: c.MaxRecord,
	}
}

// File is the source `file`: it reads rows from files.
type File struct {
	config FileConfig
	stdin  io.Reader

	start      *pipeline.Origin // of the row to begin with; nil for the first
	identified []input          // what Identify found; nil if it was not called

	meter meter.Meter // in bytes, as they are stored
}

var (
	_ pipeline.Source = (*File)(nil)
	_ pipeline.Shaper = (*File)(nil)
	_ pipeline.Prober = (*File)(nil)
	_ pipeline.Meter  = (*File)(nil)

	_ pipeline.Identifier = (*File)(nil)
	_ pipeline.Seeker     = (*File)(nil)
)

// NewFile returns the source. It opens nothing yet.
func NewFile(c FileConfig, env pipeline.Env) (*File, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if env.Stdin == nil && slices.ContainsFunc(c.Path, isStdin) {
		return nil, pipeline.Problems{{Key: "path", Err: errNoStdin}}
	}
	return &File{config: c, stdin: env.Stdin}, nil
}

func (f *File) reading() rowfile.Reading { return f.config.reading() }

// Records reads the files one after the other.
func (f *File) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		files, err := f.toRead()
		if err != nil {
			yield(nil, err)
			return
		}
		var columns rowfile.Columns
		skipped := 0
		if f.start != nil {
			if skipped, err = f.skipTo(files, &columns); err != nil {
				yield(nil, err)
				return
			}
		}
		f.measure(files, skipped)
		for _, in := range files[skipped:] {
			if !f.read(ctx, in, &columns, yield) {
				return
			}
		}
	}
}

// toRead are the files as they were identified, else as they are.
func (f *File) toRead() ([]input, error) {
	if f.identified != nil {
		return f.identified, nil
	}
	return f.files()
}

// read reads one file, and reports whether the next is wanted.
func (f *File) read(ctx context.Context, in input, columns *rowfile.Columns, yield func(*pipeline.Record, error) bool) bool {
	o, err := f.open(in)
	if err != nil {
		yield(nil, err)
		return false
	}
	defer o.close()
	defer context.AfterFunc(ctx, o.wake)()
	if err := columns.Check(in.Path, o.Rows); err != nil {
		if !errors.Is(err, io.EOF) && ctx.Err() == nil {
			yield(nil, err)
		}
		return false
	}
	if f.start != nil && f.start.Path == in.Path {
		if err := o.SkipTo(*f.start); err != nil && ctx.Err() == nil {
			yield(nil, err)
			return false
		}
	}
	return o.Each(ctx, yield)
}

// measure notes how much there is to read, and how much of it is skipped: nothing is
// known where something is no plain file.
func (f *File) measure(files []input, skipped int) {
	var total, done int64
	for i, in := range files {
		if i < skipped {
			done += in.Size
		}
		if !in.Regular {
			total = 0
			break
		}
		total += in.Size
	}
	f.meter.Start(done, total)
}

// Progress returns how many bytes of the files are read, as they are stored, and
// how many there are; 0 if that is not known.
func (f *File) Progress() (done, total int64) { return f.meter.Progress() }

// Shape tells the fields by the format, and for csv and tsv by the header of the
// first file, if that is there. Nothing is known where formats differ.
func (f *File) Shape(pipeline.Shape) pipeline.Shape {
	if shape, known := f.reading().Shape(); known {
		return shape
	}
	files, err := f.files()
	if err != nil {
		return pipeline.Shape{}
	}
	shape := f.shapeOf(files[0])
	for _, in := range files[1:] {
		if f.format(in) != f.format(files[0]) {
			return pipeline.Shape{}
		}
	}
	return shape
}

// format is how rows stand in a file; empty if nothing tells.
func (f *File) format(in input) codec.Format {
	if auto := f.config.Format == "" || f.config.Format == string(codec.Auto); auto && in.Path == stdinName {
		return codec.JSONL
	}
	return f.reading().FormatOf(in.Path)
}

// shapeOf returns what the rows of one file look like. Only a plain file is opened:
// what is read from a pipe is gone.
func (f *File) shapeOf(in input) pipeline.Shape {
	if f.format(in) == codec.Lines {
		return f.reading().LinesShape()
	}
	if !in.Regular {
		return pipeline.Shape{}
	}
	o, err := f.open(in)
	if err != nil {
		return pipeline.Shape{}
	}
	defer o.close()
	names, ok, err := o.Header()
	if !ok || err != nil {
		return pipeline.Shape{}
	}
	s := pipeline.Shape{Closed: true}
	for _, name := range names {
		s.Fields = append(s.Fields, pipeline.ShapeField{Name: name, Type: f.reading().TypeOf(name).FieldType()})
	}
	return s
}

// Probe looks whether every file is there and can be opened, whether its
// compression is what it seems, and whether the headers agree.
func (f *File) Probe(ctx context.Context) error {
	files, err := f.files()
	if err != nil {
		return err
	}
	var columns rowfile.Columns
	return infiles.Probe(ctx, files, func(in infiles.File) error { return f.probe(in, &columns) })
}

func (f *File) probe(in input, columns *rowfile.Columns) error {
	if !in.Regular {
		rows, err := f.reading().Open(codec.Input{Path: in.Path, Stream: strings.NewReader("")}, f.format(in))
		if err == nil {
			rows.Close()
		}
		return err
	}
	o, err := f.open(in)
	if err != nil {
		return err
	}
	defer o.close()
	return o.Probe(columns)
}
