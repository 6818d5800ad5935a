package sinks

import (
	"context"
	_ "embed"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed file.go
var fileCode string

// FileConfig is the configuration of the sink "file".
type FileConfig struct {
	// The file to write, or - for standard output. Its folder is made if need be. A file
	// that has rows is overwritten only by a run with --fresh.
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

// File is the sink "file": rows in a file, each readable as soon as it is
// committed. The file is synced at every commit.
type File struct {
	out     output
	encoder codec.Encoder
	buf     []byte
	begun   bool
}

var (
	_ pipeline.Sink    = (*File)(nil)
	_ pipeline.Starter = (*File)(nil)
	_ pipeline.Prober  = (*File)(nil)
)

// NewFile makes a File. The error is [pipeline.Problems].
func NewFile(c FileConfig, env pipeline.Env) (*File, error) {
	var problems pipeline.Problems
	f := &File{out: output{path: c.Path, compression: c.Compression, stdout: env.Stdout}}
	f.out.check(&problems)
	if c.Path == "-" && (c.Format == "" || c.Format == codec.Auto) {
		c.Format = codec.JSONL
	}
	var err error
	f.encoder, err = codec.NewEncoder(codec.WriteOptions{
		Format: c.Format, Path: c.Path, Columns: c.Columns, Shape: env.Shape, Delimiter: c.Delimiter, Field: c.Field,
	})
	if err != nil && c.Path != "" {
		problems.Addf("", "%w", err)
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
func (f *File) Probe(context.Context) error { return f.out.probe() }

// Start opens the file.
func (f *File) Start(_ context.Context, fresh bool) error { return f.out.start(fresh) }

// Write takes a batch.
func (f *File) Write(ctx context.Context, batch []*pipeline.Record) error {
	if err := f.begin(); err != nil {
		return err
	}
	var err error
	f.buf, err = f.out.encode(ctx, batch, f.buf, f.encoder.Append)
	return err
}

// begin writes what stands before the first row.
func (f *File) begin() error {
	if f.begun {
		return nil
	}
	f.begun = true
	return f.out.write(f.encoder.Begin(nil))
}

// Commit makes durable what was written; the position is the length of the file.
func (f *File) Commit(context.Context) (pipeline.Position, error) { return f.out.commit() }

// Close ends the file. One without rows has its header all the same.
func (f *File) Close(context.Context) error {
	if f.out.packed == nil {
		return nil
	}
	if err := f.begin(); err != nil {
		return err
	}
	return f.out.close()
}
