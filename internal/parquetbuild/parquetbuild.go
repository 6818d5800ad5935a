// Package parquetbuild makes Parquet files of rows that wait for it as JSON lines: the sinks
// write rows durably first, and a Parquet file, which cannot be cut back, when all of them are
// there.
package parquetbuild

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

// Rows are rows in a file: JSON lines, compressed with zstd.
type Rows struct {
	Path string
	Size int64 // how much of the file they are
	N    int64 // how many there are
}

// ErrEnough ends [Rows.Each] without an error.
var ErrEnough = errors.New("enough")

// Each calls use for each of the rows.
func (r Rows) Each(use func(*pipeline.Record) error) error {
	if r.N == 0 {
		return nil
	}
	file, err := os.Open(r.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	stream := codec.Decompress(io.NewSectionReader(file, 0, r.Size), r.Path, codec.Zstd)
	defer func() { _ = stream.Close() }()
	rows, err := codec.NewReader(codec.Input{Path: r.Path, Stream: stream}, codec.ReadOptions{Format: codec.JSONL, MaxRecord: 1 << 40})
	if err != nil {
		return err
	}
	for n := range r.N {
		row, err := rows.Read()
		if err != nil {
			return fmt.Errorf("%s: row %d of %d: %w", r.Path, n+1, r.N, err)
		}
		if err := use(row); errors.Is(err, ErrEnough) {
			return nil
		} else if err != nil {
			return fmt.Errorf("row %d: %w", n+1, err)
		}
	}
	return nil
}

// Build writes the rows into a Parquet file, which is durable then, but for its name.
func (r Rows) Build(path string, schema *parquetfile.Schema, o parquetfile.WriteOptions) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffer := bufio.NewWriterSize(file, 1<<20)
	w, err := parquetfile.NewWriter(buffer, schema, o)
	if err != nil {
		return err
	}
	if err := r.Each(w.Write); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := buffer.Flush(); err != nil {
		return err
	}
	return file.Sync()
}

// ParseSchema returns the columns of a configuration, and notes what is wrong with them in
// `schema`: a field that all records are known to have and that is no column would make each a
// dead letter.
func ParseSchema(schema pipeline.Value, shape pipeline.Shape, problems *pipeline.Problems) *parquetfile.Type {
	given, err := parquetfile.ParseSchema(schema)
	var wrong pipeline.Problems
	if errors.As(err, &wrong) {
		for _, p := range wrong {
			p.Key = strings.TrimSuffix("schema."+p.Key, ".")
			*problems = append(*problems, p)
		}
		return nil
	}
	for _, name := range shape.Names() {
		if !slices.ContainsFunc(given.Fields, func(f parquetfile.Field) bool { return f.Name == name }) {
			problems.Addf("schema", "lacks %q, a field of the records; add it, or leave the field out with the stage map: {drop: [%s]}", name, name)
		}
	}
	return given
}
