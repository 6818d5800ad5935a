package s3

import (
	"context"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

const parquetFormat = "parquet"

// isParquet reports whether a key says so.
func isParquet(key string) bool { return strings.HasSuffix(strings.ToLower(key), ".parquet") }

// isParquet reports whether an object is read as Parquet.
func (c Config) isParquet(key string) bool {
	return c.Format == parquetFormat || c.auto() && isParquet(key)
}

func (c Config) auto() bool { return c.Format == "" || c.Format == string(codec.Auto) }

// validateParquet notes what is wrong with the keys that are for Parquet, or are not.
func (c Config) validateParquet(problems *pipeline.Problems) {
	parquetfile.CheckColumns(c.Columns, problems)
	if c.Binary != "" && c.Binary != "base64" && c.Binary != "text" {
		problems.Addf("binary", "%q is neither base64 nor text", c.Binary)
	}
	if len(c.Columns) > 0 && !c.auto() && c.Format != parquetFormat {
		problems.Addf("columns", "are those of parquet; the format is %s, and the stage map leaves fields out", c.Format)
	}
	packed := c.Compression == string(codec.Gzip) || c.Compression == string(codec.Zstd)
	if c.Format == parquetFormat && packed {
		problems.Addf("compression", "is for other formats: a Parquet object says itself how its pages are compressed, and is not compressed as a whole")
	}
}

// parquetShape are the fields where the columns are named: nothing is asked for it.
func (c Config) parquetShape() (s pipeline.Shape) {
	var names []string
	for _, column := range c.Columns {
		name, _, _ := strings.Cut(column, ".")
		if !slices.Contains(names, name) {
			names, s = append(names, name), s.With(name, pipeline.AnyType)
		}
	}
	s.Closed = len(names) > 0
	return s
}

// parquetRows are the rows of an object in Parquet.
type parquetRows struct {
	*parquetfile.File
	blocks *bucket.Blocks
	rows   *parquetfile.Rows // nil until the first is read
	from   int64             // the row to begin with, from 0
}

var _ interface {
	codec.Reader
	codec.Skipper
} = (*parquetRows)(nil)

// openParquet reads the footer of an object in Parquet. Of its rows only those blocks are
// fetched in which there is something that is wanted, some of them ahead.
func (s *Source) openParquet(ctx context.Context, o bucket.Object) (*rowfile.Rows, error) {
	blocks := s.bucket.Blocks(ctx, o)
	url := s.bucket.URL(o.Key)
	file, err := parquetfile.Open(blocks, o.Size, parquetfile.Options{
		Path: url, Columns: s.config.Columns, BinaryText: s.config.Binary == "text", MaxRecord: int(s.config.MaxRecord),
	})
	if err != nil {
		blocks.Close()
		return nil, err
	}
	columns := make([][]bucket.Extent, 0)
	for _, groups := range file.Extents() {
		var column []bucket.Extent
		for _, e := range groups {
			column = append(column, bucket.Extent{From: e[0], To: e[1]})
		}
		columns = append(columns, column)
	}
	blocks.Plan(columns, s.config.Prefetch)
	return rowfile.RowsOf(url, &parquetRows{File: file, blocks: blocks}), nil
}

// Read returns the next row.
func (p *parquetRows) Read() (_ *pipeline.Record, err error) {
	if p.rows == nil {
		if p.rows, err = p.ReadFrom(p.from); err != nil {
			return nil, err
		}
	}
	return p.rows.Read()
}

// SkipTo has the rows begin with another. Row groups and, where the columns are flat, pages in
// front of it are not decoded.
func (p *parquetRows) SkipTo(at pipeline.Origin) error {
	p.from = at.Line - 1
	return nil
}

// Close gives back what was held to read.
func (p *parquetRows) Close() error {
	if p.rows != nil {
		p.rows.Close()
	}
	p.File.Close()
	p.blocks.Close()
	return nil
}

// columns are those of the first object; every other one must have the same.
type columns struct {
	rowfile.Columns
	parquet parquetfile.Columns
}

// check refuses an object whose columns are others. The error is io.EOF if there is nothing to
// read in it.
func (c *columns) check(url string, rows *rowfile.Rows) error {
	if p, ok := rows.Reader.(*parquetRows); ok {
		return c.parquet.Check(url, p.Shape())
	}
	return c.Check(url, rows)
}
