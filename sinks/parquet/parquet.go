// Package parquet holds the sink "parquet", in a package of its own because of the
// library that it brings. See package pipeline for the words.
package parquet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/parquetbuild"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed parquet.go
var code string

// Spec describes the sink "parquet".
func Spec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "parquet",
		Summary: "writes rows to a Parquet file, whose columns are given or found out from the first rows",
		Code:    code,
		Example: "parquet: {path: out/triage.parquet, schema: {id: int64, label: string, scores: [double]}}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Sink, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err // and not a nil *Sink
		}
		return s, nil
	})
}

// Config is the configuration of the sink "parquet". A zero field means its default.
type Config struct {
	// The file to write. Its folder is made if need be. It appears at the end of the run, when
	// it is whole; until then the rows are in a file beside it, whose name begins with a dot
	// and ends in .rows. A run that is stopped leaves a whole file of the rows it delivered,
	// and one that goes on makes a new one of them and the others, every row exactly once.
	// A file that is there is overwritten only by a run with --fresh.
	Path string `yaml:"path" rowmill:"required"`
	// The columns and their types: `{id: int64, tags: [string], author: {name: string}}`.
	// There are bool, int8 to int64, uint8 to uint64, float, double, decimal(precision, scale),
	// string, json (any value), binary (base64 in the rows), uuid, date, time, timestamp
	// (with a time zone, kept as UTC) and local_timestamp, the last three of ms, us or ns like
	// timestamp(ms), else us. A list of one type is a list, a mapping an object, a mapping
	// with the one name "*" a map from any name. `not null` behind a type says that there
	// always is a value; else a field that a row lacks is null. A row with a value that its
	// column does not hold exactly, or with a field that is no column, becomes a dead letter.
	// Defaults to what fits the first rows: int64, double, bool, string, objects and lists;
	// json for numbers that neither int64 nor double holds, for values of several kinds, and
	// for nothing but null.
	Schema pipeline.Value `yaml:"schema"`
	// How many rows decide on the columns where no schema is given. Each of them fits; a
	// later row that does not is a dead letter. Defaults to 1000.
	InferRows int `yaml:"infer_rows" rowmill:"min=1"`
	// How the pages are compressed: zstd, snappy, gzip, brotli, lz4 (for readers that know
	// LZ4_RAW) or none. Defaults to zstd.
	Compression string `yaml:"compression" rowmill:"tuning,oneof=zstd|snappy|gzip|brotli|lz4|none"`
	// When a row group ends: what readers read at once, and what is held in memory.
	RowGroup RowGroup `yaml:"row_group"`
}

// RowGroup says when a row group ends.
type RowGroup struct {
	// After that many rows. Defaults to 1000000.
	Rows int64 `yaml:"rows" rowmill:"tuning,min=1"`
	// After that many bytes of values, before they are compressed. Defaults to 64MiB.
	Bytes pipeline.Size `yaml:"bytes" rowmill:"tuning,min=1"`
}

// Default returns a config with every default in its place.
func Default() Config {
	return Config{
		InferRows: 1000, Compression: "zstd",
		RowGroup: RowGroup{Rows: parquetfile.DefaultGroupRows, Bytes: parquetfile.DefaultGroupBytes},
	}
}

// Sink is the sink "parquet".
type Sink struct {
	config Config
	shape  pipeline.Shape
	given  *parquetfile.Type // nil if the columns are found out

	rows    rowfile.Output // those that were written, as JSON lines
	lines   codec.Encoder
	schema  *parquetfile.Schema
	taken   int64  // rows so far
	commits []mark // the last of them
}

var (
	_ pipeline.Sink      = (*Sink)(nil)
	_ pipeline.Starter   = (*Sink)(nil)
	_ pipeline.Prober    = (*Sink)(nil)
	_ pipeline.Preparer  = (*Sink)(nil)
	_ pipeline.Rewinder  = (*Sink)(nil)
	_ pipeline.Deliverer = (*Sink)(nil)
)

// New makes a Sink. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Sink, error) {
	s := &Sink{config: c, shape: env.Shape}
	if s.config.InferRows == 0 {
		s.config.InferRows = Default().InferRows
	}
	var problems pipeline.Problems
	s.validate(&problems)
	if problems.Err() != nil {
		return nil, problems
	}
	var err error
	s.rows = rowfile.Output{Path: s.beside(".rows"), Compression: codec.Zstd}
	s.lines, err = codec.NewEncoder(codec.WriteOptions{Format: codec.JSONL, Path: s.rows.Path})
	return s, err
}

func (s *Sink) validate(problems *pipeline.Problems) {
	c := s.config
	switch {
	case c.Path == "":
		problems.Addf("path", "is required: the file to write")
	case rowfile.IsStdout(c.Path):
		problems.Addf("path", "a Parquet file cannot be written to a pipe, because it is made when all rows are there; name a file")
	}
	if c.InferRows < 0 {
		problems.Addf("infer_rows", "the columns are found out from one row at least")
	}
	if c.Compression != "" && !slices.Contains(parquetfile.Compressions(), c.Compression) {
		problems.Addf("compression", "%q is none of %s", c.Compression, strings.Join(parquetfile.Compressions(), ", "))
	}
	if c.RowGroup.Rows < 0 || c.RowGroup.Bytes < 0 {
		problems.Addf("row_group", "a row group cannot be smaller than nothing")
	}
	if !c.Schema.IsNull() {
		s.given = parquetbuild.ParseSchema(c.Schema, s.shape, problems)
	}
}

// beside is the path of a file that belongs to the one that is written.
func (s *Sink) beside(ending string) string {
	return filepath.Join(filepath.Dir(s.config.Path), "."+filepath.Base(s.config.Path)+ending)
}

// Write takes a batch. A record that does not fit is refused.
func (s *Sink) Write(ctx context.Context, batch []*pipeline.Record) error {
	if s.schema == nil {
		return pipeline.Fatal("output", fmt.Errorf("write %s: %w", s.config.Path, errNotStarted))
	}
	return s.rows.Add(ctx, batch, func(dst []byte, r *pipeline.Record) ([]byte, error) {
		out, err := s.lines.Append(dst, r)
		if err == nil {
			err = s.fit(r)
		}
		if err != nil {
			return dst, err
		}
		return out, nil
	})
}

var errNotStarted = errors.New("it was not opened with Start")

// fit says why a row cannot be written, and counts it if it can be.
func (s *Sink) fit(r *pipeline.Record) error {
	if s.given == nil && s.taken == int64(s.config.InferRows) {
		s.schema.Seal()
	}
	if err := s.schema.Fit(r); err != nil {
		return err
	}
	s.taken++
	return nil
}

// Commit makes durable what was written. The position says how many rows that is.
func (s *Sink) Commit(context.Context) (pipeline.Position, error) {
	at, err := s.rows.Commit()
	if err != nil {
		return "", err
	}
	m := mark{Rows: s.taken, File: string(at)}
	if len(s.commits) == 0 || s.commits[len(s.commits)-1] != m {
		s.commits = append(s.commits, m)
	}
	if len(s.commits) > mostCommits {
		s.commits = slices.Delete(s.commits, 0, len(s.commits)-mostCommits)
	}
	return m.position(), nil
}

// Delivery is [pipeline.ExactlyOnce].
func (s *Sink) Delivery() pipeline.Delivery { return pipeline.ExactlyOnce }
