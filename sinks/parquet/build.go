package parquet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/parquetbuild"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

// mark is a position: how many rows, and where the file of rows stands.
type mark struct {
	Rows int64  `json:"rows"`
	File string `json:"file,omitempty"`
}

func (m mark) position() pipeline.Position {
	text, _ := json.Marshal(m) // a number and a text are always JSON
	return pipeline.Position(text)
}

func parseMark(p pipeline.Position) (m mark, err error) {
	if p == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(p), &m); err != nil || m.Rows < 0 {
		return m, fmt.Errorf("%q is no position of a Parquet file", p)
	}
	return m, nil
}

// origin is what a file says of how it was made, so that a run can go on with it: there
// is no file of rows any more then.
type origin struct {
	// Schema are the columns, as in the configuration.
	Schema json.RawMessage `json:"schema"`
	// Commits are the last positions, of which a checkpoint names one.
	Commits []mark `json:"commits"`
}

const (
	originKey   = "rowmill"
	mostCommits = 256
)

// Close makes the file of the rows that were committed, and removes the file of rows.
func (s *Sink) Close(context.Context) error {
	if s.schema == nil {
		return nil
	}
	s.schema = nil
	if err := s.rows.Close(); err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return s.failed(err)
	}
	return nil
}

// finish builds the file where nobody looks, and has it appear whole.
func (s *Sink) finish() error {
	schema, err := s.schemaOf(s.committed())
	if err != nil {
		return err
	}
	schema.Seal()
	if schema.Columns() == 0 { // nobody knows of a column, and Parquet has no file without
		return errors.Join(remove(s.rows.Path), s.sync())
	}
	part := s.beside(".part")
	if err := s.build(part, schema); err != nil {
		return errors.Join(err, remove(part))
	}
	if err := os.Rename(part, s.config.Path); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	return errors.Join(remove(s.rows.Path), s.sync())
}

func (s *Sink) committed() mark {
	if len(s.commits) == 0 {
		return mark{}
	}
	return s.commits[len(s.commits)-1]
}

func (s *Sink) sync() error { return fsys.OS{}.SyncDir(filepath.Dir(s.config.Path)) }

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// failed says which file it was. No row can be written to it: the run ends.
func (s *Sink) failed(err error) error {
	var known *pipeline.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return pipeline.Fatal("output", fmt.Errorf("write %s: %w", s.config.Path, err))
}

// build writes the committed rows into a file.
func (s *Sink) build(path string, schema *parquetfile.Schema) error {
	about, err := json.Marshal(origin{Schema: schema.Root().AppendJSON(nil), Commits: s.commits})
	if err != nil {
		return err
	}
	rows, err := s.waiting(s.committed())
	if err != nil {
		return err
	}
	return rows.Build(path, schema, parquetfile.WriteOptions{
		Compression: s.config.Compression, GroupRows: s.config.RowGroup.Rows, GroupBytes: int64(s.config.RowGroup.Bytes),
		Metadata: map[string]string{originKey: string(about)},
	})
}

// waiting are the rows that are there at a mark.
func (s *Sink) waiting(at mark) (parquetbuild.Rows, error) {
	m, err := rowfile.ParseMark(pipeline.Position(at.File))
	return parquetbuild.Rows{Path: s.rows.Path, Size: m.Size, N: at.Rows}, err
}

// schemaOf returns the columns as they are known after the rows at a mark.
func (s *Sink) schemaOf(at mark) (*parquetfile.Schema, error) {
	if s.given != nil {
		return parquetfile.Given(s.given), nil
	}
	var begin *parquetfile.Type
	if about, err := s.origin(); err == nil {
		if begin, err = parquetfile.ParseSchema(pipeline.RawJSON(string(about.Schema))); err != nil {
			return nil, fmt.Errorf("what the file says of its columns is damaged: %w", err)
		}
	}
	schema := parquetfile.Inferred(s.shape, begin)
	rows, err := s.waiting(at)
	if err != nil {
		return nil, err
	}
	n := 0
	err = rows.Each(func(r *pipeline.Record) error {
		if n++; n > s.config.InferRows {
			return parquetbuild.ErrEnough
		}
		return schema.Fit(r)
	})
	if err == nil && at.Rows >= int64(s.config.InferRows) {
		schema.Seal()
	}
	return schema, err
}
