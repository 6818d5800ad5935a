// Package s3 holds the source s3: rows from the objects of a bucket, on S3 or any server
// that speaks like it. See package pipeline for the words.
package s3

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/bmatcuk/doublestar/v4"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/meter"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed s3.go
var code string

// Spec describes the source `s3`.
func Spec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "s3",
		Summary: "reads rows from the objects of an S3 bucket, or of a server that speaks like it; formats and compression as of the source file",
		Code:    code,
		Example: "s3: {bucket: logs, key: 'support/2026-*/**/*.jsonl.gz', region: eu-central-1}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Source, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// Config is the configuration of the source "s3". A zero field means its default.
type Config struct {
	// Bucket is the bucket's name. Keys and passwords are never written here: they come
	// from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from a profile, or from the role of
	// the machine, as for every program that uses Amazon's libraries.
	Bucket string `yaml:"bucket" rowmill:"required"`
	// Key is the key of the object to read, or a list of them. `*` and `?` stand for any signs
	// but a slash, `[a-z]` for one of several, `{a,b}` for either, `**` for any folders; an
	// object whose key is just like that is taken as it is. The objects of one pattern are
	// read in the order of the bytes of their keys, none twice. Those whose name behind the
	// last slash begins with `_` or `.`, a manifest for one, are meant only where the pattern
	// begins its name so. What is added after the run has begun is left for another run.
	// Either this or `prefix` is required.
	Key []string `yaml:"key"`
	// Prefix is what the keys of the objects begin with, in place of `key`: all of them are
	// read but those whose name begins with `_` or `.`. Defaults to none.
	Prefix string `yaml:"prefix"`
	// Format is how rows stand in the objects. `jsonl` is one JSON object a line; `json` is one
	// list of objects, or JSON lines; `csv` and `tsv` have a first line that names the
	// columns; `lines` makes a row of each line of plain text; `whole` makes one row of each
	// object, with its `path` beside the text; `parquet` is as of the source parquet, of which
	// only what is needed of the columns that are needed is fetched. `auto` goes by the key,
	// past .gz and .zst, as for files. Defaults to auto.
	Format string `yaml:"format" rowmill:"oneof=auto|jsonl|json|csv|tsv|lines|whole|parquet"`
	// Compression is how the objects are compressed. `auto` goes by the key (.gz, .zst) and by
	// the first bytes. Parquet says so itself. Defaults to auto.
	Compression string `yaml:"compression" rowmill:"oneof=auto|none|gzip|zstd"`
	// Delimiter is the character between the cells of csv and tsv. Defaults to a comma for
	// csv and a tab for tsv.
	Delimiter string `yaml:"delimiter"`
	// Types gives columns of csv and tsv a type: `number`, `bool` (true or false, yes or no, 1
	// or 0) or `json`; an empty cell is null then, and a row with a cell that does not fit
	// cannot be read. `string` is what every other column is. Defaults to strings.
	Types map[string]string `yaml:"types" rowmill:"oneof=string|number|bool|json"`
	// Field is the name of the field that holds the text of `lines` and `whole`. Defaults to text.
	Field string `yaml:"field"`
	// Columns are those of parquet that are read, in this order; no others are fetched.
	// `author.name` is a part of a nested column. Defaults to all.
	Columns []string `yaml:"columns"`
	// Binary is what becomes of bytes in parquet that the object does not say to be text:
	// base64, or text, which old writers forgot to say. Defaults to base64.
	Binary string `yaml:"binary" rowmill:"oneof=base64|text"`
	// MaxRecord is the longest row, in bytes as it stands in the object, or as JSON where that
	// is parquet. A longer one cannot be read and becomes a dead letter. Defaults to 64MiB.
	MaxRecord pipeline.Size `yaml:"max_record" rowmill:"min=1"`
	// Endpoint is the address of a server other than Amazon's, like http://127.0.0.1:9000.
	// Defaults to AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else to Amazon's.
	Endpoint string `yaml:"endpoint" rowmill:"tuning"`
	// Region is where the bucket is. Defaults to AWS_REGION or that of the profile, else to
	// us-east-1.
	Region string `yaml:"region" rowmill:"tuning"`
	// Profile names the part of ~/.aws/config and ~/.aws/credentials that says who asks.
	// Defaults to AWS_PROFILE.
	Profile string `yaml:"profile" rowmill:"tuning"`
	// PathStyle puts the name of the bucket into the path of the address, where most servers
	// other than Amazon's want it, and not in front of the host. Defaults to true with an
	// endpoint.
	PathStyle *bool `yaml:"path_style" rowmill:"tuning"`
	// Anonymous asks without keys, for buckets that everybody may read. Defaults to false.
	Anonymous bool `yaml:"anonymous" rowmill:"tuning"`
	// Prefetch is how many chunks of 4 MiB are fetched ahead of the one that is being read, of
	// the objects that follow as well, each over a connection of its own. So much memory is
	// used at most; of parquet it is what all columns share, each of which has a chunk ahead where
	// there are not very many. 0 fetches each when it is needed. Defaults to 4.
	Prefetch int `yaml:"prefetch" rowmill:"tuning,min=0,max=64"`
}

// Default returns a config with every default in its place.
func Default() Config {
	return Config{
		Format:      string(codec.Auto),
		Compression: string(codec.AutoCompression),
		Field:       "text",
		Binary:      "base64",
		MaxRecord:   codec.DefaultMaxRecord,
		Prefetch:    4,
	}
}

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	c.place().Validate(&problems)
	switch {
	case len(c.Key) == 0 && c.Prefix == "":
		problems.Addf("key", "name an object, or say what the keys begin with (`prefix`); '**' is the whole bucket")
	case len(c.Key) > 0 && c.Prefix != "":
		problems.Addf("prefix", "`key` says which objects are read; leave out one of them")
	}
	for i, key := range c.Key {
		at := "key"
		if len(c.Key) > 1 {
			at = fmt.Sprintf("key[%d]", i)
		}
		if err := checkKey(key, c.Format); err != nil {
			problems = append(problems, pipeline.Problem{Key: at, Err: err})
		}
	}
	c.reading().Validate(&problems)
	c.validateParquet(&problems)
	if c.Prefetch < 0 {
		problems.Addf("prefetch", "must not be below 0")
	}
	return problems.Err()
}

// checkKey says what can be said of a key before anything is asked.
func checkKey(key, format string) error {
	auto := format == "" || format == string(codec.Auto)
	switch {
	case key == "":
		return errors.New("the key is empty; '**' is the whole bucket")
	case strings.HasPrefix(key, "s3://"):
		return errors.New("is only what follows the name of the bucket, without s3://")
	case isPattern(key) && !doublestar.ValidatePattern(key):
		return fmt.Errorf("%q is no pattern for keys: a bracket is not closed", key)
	case auto && isParquet(key):
		return nil
	case auto && !isPattern(nameOf(key)):
		_, err := codec.FormatOf(key)
		return err
	default:
		return nil
	}
}

func (c Config) place() bucket.Config {
	return bucket.Config{
		Bucket: c.Bucket, Endpoint: c.Endpoint, Region: c.Region, Profile: c.Profile, PathStyle: c.PathStyle, Anonymous: c.Anonymous,
	}
}

func (c Config) reading() rowfile.Reading {
	return rowfile.Reading{
		Format: c.Format, Compression: c.Compression, Delimiter: c.Delimiter, Types: c.Types, Field: c.Field, MaxRecord: c.MaxRecord,
	}
}

// Source is the source `s3`.
type Source struct {
	config Config
	bucket *bucket.Bucket

	start *pipeline.Origin // of the row to begin with; nil for the first
	found []bucket.Object  // by Identify; nil if it was not called

	meter meter.Meter // in bytes, as they are stored
}

var (
	_ pipeline.Source     = (*Source)(nil)
	_ pipeline.Shaper     = (*Source)(nil)
	_ pipeline.Prober     = (*Source)(nil)
	_ pipeline.Meter      = (*Source)(nil)
	_ pipeline.Closer     = (*Source)(nil)
	_ pipeline.Identifier = (*Source)(nil)
	_ pipeline.Seeker     = (*Source)(nil)
)

// New returns the source. It asks nobody yet. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Source{config: c, bucket: bucket.Open(c.place(), env)}, nil
}

// NewWithClient returns a source that asks through a program's own client, which stays the
// program's to close. Its retryer is set aside: requests that fail are made again here,
// within bounds and said in the log. Of the config, what says where the bucket is and who
// asks must be empty.
func NewWithClient(client *s3.Client, c Config, env pipeline.Env) (*Source, error) {
	if place := c.place(); place != (bucket.Config{Bucket: c.Bucket}) {
		return nil, pipeline.Problems{{Err: errors.New("the client says already where the bucket is and who asks")}}
	}
	s, err := New(c, env)
	if err != nil {
		return nil, err
	}
	s.bucket = bucket.Of(client, c.Bucket, env)
	return s, nil
}

// Close lets go of connections.
func (s *Source) Close() error {
	s.bucket.Close()
	return nil
}

// Records reads the objects one after the other.
func (s *Source) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		if err := s.readAll(ctx, yield); err != nil && ctx.Err() == nil {
			yield(nil, err)
		}
	}
}

// readAll reads until the consumer wants no more. The error is the source's.
func (s *Source) readAll(ctx context.Context, yield func(*pipeline.Record, error) bool) error {
	objects, err := s.toRead(ctx)
	if err != nil {
		return err
	}
	var columns columns
	first := 0
	if s.start != nil {
		if first, err = s.skipTo(ctx, objects, &columns); err != nil {
			return err
		}
	}
	s.measure(objects, first)
	ahead := s.bucket.Ahead(ctx, objects, s.config.Prefetch)
	defer ahead.Close()
	for i := first; i < len(objects); i++ {
		rows, err := s.open(ctx, objects[i], &rowfile.Counter{R: ahead.Open(i), Done: &s.meter})
		if err != nil {
			return err
		}
		more, err := s.counted(ctx, objects[i], rows, &columns, yield)
		rows.Close()
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// counted reads the rows of an object. Of one in Parquet Progress counts what is fetched; of
// others it counts what is read of the stream.
func (s *Source) counted(ctx context.Context, o bucket.Object, rows *rowfile.Rows, columns *columns, yield func(*pipeline.Record, error) bool) (more bool, err error) {
	if p, ok := rows.Reader.(*parquetRows); ok {
		s.meter.Enter(p.blocks, o.Size)
		defer func() { s.meter.Leave(more) }()
	}
	return s.read(ctx, o, rows, columns, yield)
}

// open reads the rows of an object from its bytes, as they come. Formats that are read by
// place have them by requests of their own.
func (s *Source) open(ctx context.Context, o bucket.Object, stream io.Reader) (*rowfile.Rows, error) {
	url := s.bucket.URL(o.Key)
	if s.config.isParquet(o.Key) {
		return s.openParquet(ctx, o)
	}
	in := codec.Input{Path: url, Stream: stream, At: s.bucket.At(ctx, o), Size: o.Size}
	return s.config.reading().Open(in, s.config.reading().FormatOf(url))
}

// read yields the rows of an object, and reports whether the next is wanted.
func (s *Source) read(ctx context.Context, o bucket.Object, rows *rowfile.Rows, columns *columns, yield func(*pipeline.Record, error) bool) (bool, error) {
	url := s.bucket.URL(o.Key)
	if err := columns.check(url, rows); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if s.start != nil && s.start.Path == url {
		if err := rows.SkipTo(*s.start); err != nil {
			return false, err
		}
	}
	return rows.Each(ctx, yield), nil
}

// measure notes how much there is to read, and how much of it is skipped.
func (s *Source) measure(objects []bucket.Object, skipped int) {
	var total, done int64
	for i, o := range objects {
		if i < skipped {
			done += o.Size
		}
		total += o.Size
	}
	s.meter.Start(done, total)
}

// Progress returns how many bytes of the objects are read, as they are stored, and how
// many there are.
func (s *Source) Progress() (done, total int64) { return s.meter.Progress() }

// Shape tells the fields where the format alone does: nothing is asked for it.
func (s *Source) Shape(pipeline.Shape) pipeline.Shape {
	if s.config.Format == parquetFormat {
		return s.config.parquetShape()
	}
	shape, _ := s.config.reading().Shape()
	return shape
}

// Probe looks whether there are objects, and whether the first can be read.
func (s *Source) Probe(ctx context.Context) error {
	objects, err := s.toRead(ctx)
	if err != nil {
		return err
	}
	first := objects[0]
	rows, err := s.open(ctx, first, io.NewSectionReader(s.bucket.At(ctx, first), 0, first.Size))
	if err != nil {
		return err
	}
	defer rows.Close()
	return rows.Probe(new(rowfile.Columns))
}
