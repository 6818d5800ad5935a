package sinks

import (
	"context"
	_ "embed"
	"errors"
	"io"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed file.go
var fileCode string

// FileConfig is the configuration of the sink "file".
type FileConfig struct {
	// The file to write, or - for standard output. Its folder is made if need be. A file
	// that has rows is overwritten only by a run with --fresh. A run that was killed goes on
	// in the file with every row exactly once: it is cut back to the last checkpoint. Of
	// what went to standard output, a pipe or a device nothing can be cut back.
	Path string `yaml:"path" rowmill:"required"`
	// How rows stand in the file: jsonl, csv, tsv, lines (one field as plain text, a line
	// each); auto goes by the name of the file: .jsonl, .ndjson, .json, .csv, .tsv, .txt.
	// Defaults to auto.
	Format codec.Format `yaml:"format" rowmill:"oneof=auto|jsonl|csv|tsv|lines"`
	// How the file is compressed: none, gzip, zstd; auto goes by the ending .gz or .zst.
	// Defaults to auto.
	Compression codec.Compression `yaml:"compression" rowmill:"oneof=auto|none|gzip|zstd"`
	// The header of csv and tsv. A record with a field that is no column becomes a dead
	// letter; a field that a record lacks is an empty cell. Defaults to the columns of the
	// source, if it has any, and the fields that the stages add; else to the fields of
	// the first record.
	Columns []string `yaml:"columns"`
	// What stands between the cells of csv and tsv. Defaults to a comma, and to a tab for
	// tsv.
	Delimiter string `yaml:"delimiter"`
	// The field that lines writes. Defaults to text.
	Field string `yaml:"field"`
}

// DefaultFile returns a config with every default in its place.
func DefaultFile() FileConfig {
	return FileConfig{Format: codec.Auto, Compression: codec.AutoCompression}
}

// Validate reports all that is wrong with the configuration by itself.
func (c FileConfig) Validate() error {
	var problems pipeline.Problems
	c.validate(&problems)
	return problems.Err()
}

func (c FileConfig) validate(problems *pipeline.Problems) {
	if c.Path != "" && c.format() == "" {
		_, err := codec.FormatOf(c.Path)
		*problems = append(*problems, pipeline.Problem{Key: "path", Err: err})
	}
	c.writing().Validate(problems)
}

func (c FileConfig) writing() rowfile.Writing {
	return rowfile.Writing{Format: c.format(), Columns: c.Columns, Delimiter: c.Delimiter, Field: c.Field}
}

// format is how rows stand in the file; empty if nothing tells.
func (c FileConfig) format() codec.Format {
	switch {
	case c.Format != "" && c.Format != codec.Auto:
		return c.Format
	case rowfile.IsStdout(c.Path):
		return codec.JSONL
	}
	f, err := codec.FormatOf(c.Path)
	switch {
	case err != nil:
		return ""
	case f == codec.JSON: // as lines, which is what `json` reads too
		return codec.JSONL
	default:
		return f
	}
}

// File is the sink "file": rows in a file, each readable as soon as it is
// committed. The file is synced at every commit.
type File struct {
	out     rowfile.Output
	write   codec.WriteOptions
	encoder codec.Encoder
}

var (
	_ pipeline.Sink      = (*File)(nil)
	_ pipeline.Starter   = (*File)(nil)
	_ pipeline.Prober    = (*File)(nil)
	_ pipeline.Preparer  = (*File)(nil)
	_ pipeline.Rewinder  = (*File)(nil)
	_ pipeline.Deliverer = (*File)(nil)
)

// NewFile makes a File. The error is [pipeline.Problems].
func NewFile(c FileConfig, env pipeline.Env) (*File, error) {
	var problems pipeline.Problems
	f := &File{out: rowfile.Output{Path: c.Path, Compression: c.Compression, Stdout: env.Stdout}}
	f.out.Check(&problems)
	c.validate(&problems)
	c.writing().CheckShape(env.Shape, &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	f.write = codec.WriteOptions{
		Format: c.format(), Path: c.Path, Columns: c.Columns, Shape: env.Shape, Delimiter: c.Delimiter, Field: c.Field,
	}
	var err error
	if f.encoder, err = codec.NewEncoder(f.write); err != nil {
		problems.Addf("format", "%w", err)
	}
	return f, problems.Err()
}

// FileSpec describes the sink "file".
func FileSpec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "file",
		Summary: "writes rows to a file or to standard output",
		Code:    fileCode,
		Example: "file: {path: out/triage.csv, columns: [id, body, label]}",
	}, DefaultFile,
		func(c FileConfig, env pipeline.Env) (pipeline.Sink, error) { return asSink(NewFile(c, env)) })
}

// Probe says whether the file can be written, and leaves everything as it is.
func (f *File) Probe(context.Context) error { return f.out.Probe() }

// Prepare refuses rows of an earlier run, or with fresh removes them.
func (f *File) Prepare(_ context.Context, fresh bool) error { return f.out.Prepare(fresh) }

// Start opens the file.
func (f *File) Start(_ context.Context, fresh bool) error {
	return f.out.Start(fresh, f.encoder.Begin(nil))
}

// Rewind opens the file where a commit left it, and cuts off what is behind. It refuses
// a file that has become shorter, or whose last bytes in front of the position are
// others: of the class fatal, with the code output_changed.
func (f *File) Rewind(_ context.Context, to pipeline.Position) error {
	if m, err := rowfile.ParseMark(to); err == nil && m.Size == 0 {
		return f.out.Rewind(to, f.encoder.Begin(nil), nil)
	}
	return f.out.Rewind(to, nil, func(rows io.Reader) error { return f.headed(rows, f.encoder) })
}

// Check says whether the file still is what Rewind needs.
func (f *File) Check(_ context.Context, to pipeline.Position) error {
	encoder, err := codec.NewEncoder(f.write) // Rewind wants its own as it is
	if err != nil {
		return err
	}
	return f.out.Unchanged(to, func(rows io.Reader) error { return f.headed(rows, encoder) })
}

// headed has an encoder go on under the header that is there.
func (f *File) headed(rows io.Reader, encoder codec.Encoder) error {
	under, ok := encoder.(codec.Continuer)
	if !ok {
		return nil
	}
	stream := codec.Decompress(rows, f.out.Path, f.out.Compression)
	columns, err := f.columns(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return err
	}
	return under.Continue(columns)
}

// columns reads the header of the file.
func (f *File) columns(stream io.Reader) ([]string, error) {
	reader, err := codec.NewReader(codec.Input{Path: f.out.Path, Stream: stream},
		codec.ReadOptions{Format: f.write.Format, Delimiter: f.write.Delimiter})
	if err != nil {
		return nil, err
	}
	header, ok := reader.(codec.Header)
	if !ok {
		return nil, nil
	}
	return header.Columns()
}

// Delivery is [pipeline.ExactlyOnce] for a file, and [pipeline.NotKept] for standard
// output, pipes and devices.
func (f *File) Delivery() pipeline.Delivery { return f.out.Delivery() }

// Write takes a batch.
func (f *File) Write(ctx context.Context, batch []*pipeline.Record) error {
	return f.out.Add(ctx, batch, f.encoder.Append)
}

// Commit makes durable what was written; the position says how long the file is
// then, and how it ends.
func (f *File) Commit(context.Context) (pipeline.Position, error) { return f.out.Commit() }

// Close ends the file. One without rows has its header all the same.
func (f *File) Close(context.Context) error { return f.out.Close() }
