package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/parquetbuild"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

const parquetFormat codec.Format = "parquet"

func (c Config) parquet() bool { return c.Format == parquetFormat }

// validateParquet notes what is wrong with the keys that are for Parquet, or are not, and
// returns the columns that are given; nil for none.
func (c Config) validateParquet(shape pipeline.Shape, problems *pipeline.Problems) *parquetfile.Type {
	if c.InferRows < 0 {
		problems.Addf("infer_rows", "the columns are found out from one row at least")
	}
	if c.RowGroup.Rows < 0 || c.RowGroup.Bytes < 0 {
		problems.Addf("row_group", "a row group cannot be smaller than nothing")
	}
	if c.Compression != "" && !slices.Contains(parquetfile.Compressions(), string(c.Compression)) {
		problems.Addf("compression", "%q is none of %s", c.Compression, strings.Join(parquetfile.Compressions(), ", "))
	} else if !c.parquet() && !slices.Contains([]codec.Compression{"", codec.None, codec.Gzip, codec.Zstd}, c.Compression) {
		problems.Addf("compression", "%s is for parquet; the rows are written as %s, plain or with gzip or zstd", c.Compression, c.format())
	}
	switch {
	case c.Schema.IsNull():
		return nil
	case !c.parquet():
		problems.Addf("schema", "is for parquet; the rows are written as %s", c.format())
		return nil
	}
	return parquetbuild.ParseSchema(c.Schema, shape, problems)
}

// table is what is known of the columns of parts in Parquet. All parts have the same.
type table struct {
	given     *parquetfile.Type // by the configuration; nil if they are found out
	inferRows int64
	shape     pipeline.Shape

	schema *parquetfile.Schema // nil before the first row
	taken  int64               // rows that have decided on it
	sealed json.RawMessage     // as it was found out; nil until it is, and where it is given
}

// begin forgets all rows.
func (t *table) begin() {
	t.schema, t.taken, t.sealed = nil, 0, nil
	if t.given != nil {
		t.schema = parquetfile.Given(t.given)
	} else {
		t.schema = parquetfile.Inferred(t.shape, nil)
	}
}

// seal ends finding out.
func (t *table) seal() {
	if t.given == nil && t.sealed == nil && t.schema.Columns() > 0 {
		t.schema.Seal()
		t.sealed = t.schema.Root().AppendJSON(nil)
	}
}

// fit says why a row cannot be written, and counts it if it can be.
func (t *table) fit(r *pipeline.Record) error {
	if t.taken >= t.inferRows {
		t.seal()
	}
	if err := t.schema.Fit(r); err != nil {
		return err
	}
	t.taken++
	return nil
}

// restore takes on what was known at a mark: it says so, or the rows of the first part do.
func (t *table) restore(m mark, rows parquetbuild.Rows) error {
	t.begin()
	if t.given != nil {
		return nil
	}
	if m.Schema == nil {
		return spoolError(rows.Each(t.fit))
	}
	root, err := parquetfile.ParseSchema(pipeline.RawJSON(string(m.Schema)))
	if err != nil {
		return pipeline.Fatal("output", fmt.Errorf("s3: what is known of the columns is damaged: %w", err))
	}
	t.schema, t.sealed = parquetfile.Given(root), m.Schema
	return nil
}

// fitting refuses rows that do not fit the columns.
type fitting struct {
	codec.Encoder
	table *table
}

// Append appends one record.
func (f fitting) Append(dst []byte, r *pipeline.Record) ([]byte, error) {
	out, err := f.Encoder.Append(dst, r)
	if err == nil {
		err = f.table.fit(r)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// rowsOf is where the rows of a part in Parquet wait until it is made of them.
func (s *spool) rowsOf(key string) string { return s.path(key) + ".rows" }

// rowsAt are the rows of the open part of a mark.
func (s *Sink) rowsAt(m mark) (parquetbuild.Rows, error) {
	at, err := rowfile.ParseMark(m.File)
	return parquetbuild.Rows{Path: s.spool.rowsOf(s.names.part(m.Parts + 1)), Size: at.Size, N: m.Rows}, err
}

// build makes the part of its rows, which stay until a checkpoint covers it: a run that was
// killed before goes on in them.
func (s *Sink) build(p *openPart) error {
	s.table.seal()
	if s.table.schema.Columns() == 0 {
		return pipeline.Fatal("output", errors.New("s3: no row has a field, and Parquet has no file without columns; give them with `schema`"))
	}
	rows := parquetbuild.Rows{Path: p.out.Path, Size: p.out.Size(), N: p.rows}
	err := rows.Build(s.spool.path(s.names.part(p.number)), s.table.schema, parquetfile.WriteOptions{
		Compression: string(s.config.Compression), GroupRows: s.config.RowGroup.Rows, GroupBytes: int64(s.config.RowGroup.Bytes),
	})
	if err == nil {
		err = fsys.OS{}.SyncDir(s.spool.dir)
	}
	return spoolError(err)
}

// removePart removes the file of a part that is in the bucket, and that of its rows.
func (s *spool) removePart(key string) error {
	if err := os.Remove(s.rowsOf(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return spoolError(err)
	}
	return spoolError(os.Remove(s.path(key)))
}
