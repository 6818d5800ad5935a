package sources

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed file.go
var fileCode string

// FileConfig is the configuration of the source "file".
type FileConfig struct {
	// The files to read: names, or patterns with *, ?, [a-z], {a,b} and ** for any number
	// of folders; - is standard input. The files of a pattern are read in the order of
	// their names, each file once. A name or pattern that matches nothing is an error.
	Path []string `yaml:"path" rowmill:"required"`
	// How rows stand in the files: jsonl; json (a list of objects); csv and tsv, with a
	// header row; lines (one row a line); whole (one row a file, with the field path
	// beside the text); auto goes by the name of each file: .jsonl, .ndjson, .json, .csv,
	// .tsv, .txt, .log, .md. Defaults to auto, and to jsonl for standard input.
	Format codec.Format `yaml:"format" rowmill:"oneof=auto|jsonl|json|csv|tsv|lines|whole"`
	// How the files are compressed: none, gzip, zstd; auto goes by their first bytes.
	// Defaults to auto.
	Compression codec.Compression `yaml:"compression" rowmill:"oneof=auto|none|gzip|zstd"`
	// The longest row. A longer one becomes a dead letter that holds its beginning.
	// Defaults to 64MiB.
	MaxRecord pipeline.Size `yaml:"max_record"`
	// What stands between the cells of csv and tsv. Defaults to a comma, and to a tab for
	// tsv.
	Delimiter string `yaml:"delimiter"`
	// The types of csv and tsv columns, by name: string, number, bool or json. An empty
	// cell of another type than string is null; a cell that does not fit makes the row a
	// dead letter. Defaults to string for all.
	Types map[string]string `yaml:"types"`
	// The field that holds the text of lines and whole. Defaults to text.
	Field string `yaml:"field"`
}

// DefaultFile returns a config with every default in its place.
func DefaultFile() FileConfig {
	return FileConfig{Format: codec.Auto, Compression: codec.AutoCompression, MaxRecord: codec.DefaultMaxRecord, Field: "text"}
}

// Validate checks what can be checked without looking at the files.
func (c FileConfig) Validate() error {
	var problems pipeline.Problems
	if len(c.Path) == 0 {
		problems.Addf("path", "is required: a file, a pattern such as data/*.csv, or - for standard input")
	}
	for i, p := range c.Path {
		if p == "" {
			problems.Addf(fmt.Sprintf("path[%d]", i), "must not be empty")
		}
	}
	if c.MaxRecord < 0 {
		problems.Addf("max_record", "must be above 0")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		if _, err := codec.ParseColumnType(c.Types[name]); err != nil {
			problems.Addf("types."+name, "%w", err)
		}
	}
	return problems.Err()
}

// File is the source "file".
type File struct {
	config  FileConfig
	options codec.ReadOptions
	stdin   io.Reader

	done, total atomic.Int64 // bytes, as they are in the files
}

var (
	_ pipeline.Source = (*File)(nil)
	_ pipeline.Prober = (*File)(nil)
	_ pipeline.Meter  = (*File)(nil)
	_ pipeline.Shaper = (*File)(nil)
)

// NewFile makes a File. The error is [pipeline.Problems].
func NewFile(c FileConfig, env pipeline.Env) (*File, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	f := &File{config: c, stdin: env.Stdin, options: codec.ReadOptions{
		Format: c.Format, MaxRecord: int64(c.MaxRecord), Delimiter: c.Delimiter, Field: c.Field,
		Types: make(map[string]codec.ColumnType, len(c.Types)),
	}}
	for name, t := range c.Types {
		f.options.Types[name] = codec.ColumnType(t)
	}
	if env.Stdin == nil && slices.Contains(c.Path, "-") {
		problems.Addf("path", "- is standard input, which this program does not give; name a file")
	}
	for i, p := range c.Path {
		if _, err := codec.NewReader(codec.Input{Path: nameOf(p)}, f.optionsFor(p)); err != nil && !isPattern(p) {
			problems.Addf(fmt.Sprintf("path[%d]", i), "%w", err)
		}
	}
	return f, problems.Err()
}

// FileSpec describes the source "file".
func FileSpec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "file",
		Summary: "reads rows from files or from standard input",
		Code:    fileCode,
		Example: "file: {path: 'data/**/*.csv', types: {score: number}}",
	}, DefaultFile,
		func(c FileConfig, env pipeline.Env) (pipeline.Source, error) { return asSource(NewFile(c, env)) })
}

// nameOf is what a path is called in messages and dead letters.
func nameOf(path string) string {
	if path == "-" {
		return "stdin"
	}
	return path
}

// optionsFor are the options for one path: standard input has no name to tell its format.
func (f *File) optionsFor(path string) codec.ReadOptions {
	o := f.options
	if path == "-" && (o.Format == "" || o.Format == codec.Auto) {
		o.Format = codec.JSONL
	}
	return o
}

// Probe opens every file, so that one that is missing or forbidden shows before the
// first row.
func (f *File) Probe(context.Context) error {
	paths, err := expand(f.config.Path)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if p == "-" {
			continue
		}
		file, err := open(p)
		if err != nil {
			return err
		}
		_ = file.Close()
	}
	return nil
}

// open opens a file, and refuses a folder.
func open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder; write %s/* for the files in it", path, strings.TrimRight(path, "/"))
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Records yields the rows of all files, one file after the other.
func (f *File) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		paths, err := expand(f.config.Path)
		if err != nil {
			yield(nil, err)
			return
		}
		f.measure(paths)
		columns := &header{}
		for _, p := range paths {
			more, err := f.file(ctx, p, columns, yield)
			if err != nil {
				yield(nil, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// file yields the rows of one file, and reports whether more are wanted.
func (f *File) file(ctx context.Context, path string, columns *header, yield func(*pipeline.Record, error) bool) (more bool, err error) {
	raw, err := f.input(path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	stream := codec.Decompress(&counter{Reader: raw, n: &f.done}, path, f.config.Compression)
	defer func() { err = errors.Join(err, stream.Close()) }()
	reader, err := codec.NewReader(codec.Input{Path: nameOf(path), Stream: stream}, f.optionsFor(path))
	if err != nil {
		return false, err
	}
	if err := columns.check(reader, nameOf(path)); err != nil {
		return false, err
	}
	for ctx.Err() == nil {
		r, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if r == nil {
			return false, named(path, err)
		}
		if !yield(r, err) {
			return false, nil
		}
	}
	return false, nil
}

// named says which file it was, once.
func named(path string, err error) error {
	if strings.Contains(err.Error(), nameOf(path)) {
		return err
	}
	return fmt.Errorf("read %s: %w", nameOf(path), err)
}

// input opens a path. Standard input is not ours to close.
func (f *File) input(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(f.stdin), nil
	}
	return open(path)
}

// header is the columns that all files of a run have.
type header struct {
	path    string
	columns []string // sorted; nil as long as there was no file with columns
}

// check refuses a file whose columns differ from those of the first: a record
// would lack fields that the others have.
func (h *header) check(reader codec.Reader, path string) error {
	c, ok := reader.(codec.Header)
	if !ok {
		return nil
	}
	columns, err := c.Columns()
	if errors.Is(err, io.EOF) {
		return nil // an empty file has no columns, and no rows
	}
	if err != nil {
		return named(path, err)
	}
	columns = slices.Sorted(slices.Values(columns))
	if h.columns == nil {
		h.path, h.columns = path, columns
		return nil
	}
	if missing := without(h.columns, columns); len(missing) > 0 {
		return fmt.Errorf("%s has no column %s, which %s has", path, strings.Join(missing, ", "), h.path)
	}
	if added := without(columns, h.columns); len(added) > 0 {
		return fmt.Errorf("%s has the column %s, which %s lacks", path, strings.Join(added, ", "), h.path)
	}
	return nil
}

// without returns the quoted names of a that are not in b.
func without(a, b []string) []string {
	var names []string
	for _, name := range a {
		if !slices.Contains(b, name) {
			names = append(names, fmt.Sprintf("%q", name))
		}
	}
	return names
}

// measure adds up the sizes of the files; it is not known how long a pipe is.
func (f *File) measure(paths []string) {
	f.done.Store(0)
	var total int64
	for _, p := range paths {
		info, err := os.Stat(p)
		if p == "-" || err != nil || !info.Mode().IsRegular() {
			f.total.Store(0)
			return
		}
		total += info.Size()
	}
	f.total.Store(total)
}

// Progress returns how many bytes of the files were read, and how many there are; 0
// for what is not known.
func (f *File) Progress() (done, total int64) { return f.done.Load(), f.total.Load() }

// counter counts what is read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
