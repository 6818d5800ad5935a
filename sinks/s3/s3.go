// Package s3 holds the sink s3: rows as parts in a bucket, on S3 or any server that speaks
// like it. See package pipeline for the words.
package s3

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rowmill/rowmill/internal/bucket"
	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed s3.go
var code string

// Spec describes the sink `s3`.
func Spec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "s3",
		Summary: "writes rows as parts into an S3 bucket, or that of a server that speaks like it, each row exactly once",
		Code:    code,
		Example: "s3: {bucket: results, prefix: triage/2026-11, part: {rows: 100000}, region: eu-central-1}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Sink, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// Config is the configuration of the sink "s3". A zero field means its default.
type Config struct {
	// The bucket's name. Keys and passwords are never written here: they come from
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from a profile, or from the role of the
	// machine, as for every program that uses Amazon's libraries.
	Bucket string `yaml:"bucket" rowmill:"required"`
	// The folder, so to speak, that the parts are put into: PREFIX/part-00001.jsonl.gz and so
	// on, and PREFIX/_manifest.json, which lists them with rows, bytes and checksums, when
	// all are there. No other object may be called like that: parts of another run are
	// refused, and removed by a run with --fresh. Defaults to none: the parts stand in the bucket
	// itself.
	Prefix string `yaml:"prefix"`
	// How rows stand in the parts: jsonl, csv and tsv (with a header in each part), lines (one
	// field as plain text, a line each), parquet (each part is a Parquet file, all with the
	// same columns). Defaults to jsonl.
	Format codec.Format `yaml:"format" rowmill:"oneof=jsonl|csv|tsv|lines|parquet"`
	// How the parts are compressed: none, gzip, zstd; the pages of parquet also with snappy,
	// brotli or lz4. Defaults to gzip, and to zstd for parquet.
	Compression codec.Compression `yaml:"compression" rowmill:"oneof=none|gzip|zstd|snappy|brotli|lz4"`
	// When a part is full. Until then it grows in the folder of the run's state, where a kill
	// does not harm it; full, it goes up whole, so that nobody reads half of one.
	Part PartConfig `yaml:"part" rowmill:"tuning"`
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
	// The columns of parquet and their types, as in the sink parquet: `{id: int64, tags: [string]}`.
	// A row with a value that its column does not hold exactly, or with a field that is no
	// column, becomes a dead letter. Defaults to what fits the first rows.
	Schema pipeline.Value `yaml:"schema"`
	// How many rows decide on the columns of parquet where no schema is given; those of the
	// first part, if that has fewer. Each of them fits. Defaults to 1000.
	InferRows int `yaml:"infer_rows" rowmill:"min=1"`
	// When a row group of parquet ends: what readers read at once, and what is held in memory
	// while a part is made.
	RowGroup RowGroup `yaml:"row_group"`
	// The address of a server other than Amazon's, like http://127.0.0.1:9000. Defaults to
	// AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else to Amazon's.
	Endpoint string `yaml:"endpoint" rowmill:"tuning"`
	// Where the bucket is. Defaults to AWS_REGION or that of the profile, else to us-east-1.
	Region string `yaml:"region" rowmill:"tuning"`
	// The part of ~/.aws/config and ~/.aws/credentials that says who asks. Defaults to
	// AWS_PROFILE.
	Profile string `yaml:"profile" rowmill:"tuning"`
	// Puts the name of the bucket into the path of the address, where most servers other than
	// Amazon's want it, and not in front of the host. Defaults to true with an endpoint.
	PathStyle *bool `yaml:"path_style" rowmill:"tuning"`
	// Asks without keys, for buckets into which everybody may write. Defaults to false.
	Anonymous bool `yaml:"anonymous" rowmill:"tuning"`
}

// PartConfig says when a part is full: at whichever comes first.
type PartConfig struct {
	// So many rows. 0 sets no limit. Defaults to 0.
	Rows int64 `yaml:"rows" rowmill:"tuning,min=0"`
	// So many bytes as they are stored, and a little more; of parquet as they wait in the folder
	// of the run's state, as JSON lines with zstd. 0 sets no limit. Defaults to 256MiB.
	Bytes pipeline.Size `yaml:"bytes" rowmill:"tuning,min=0"`
	// So long after its first row, or after a run has gone on in it and another came, whether
	// more come or not. 0 sets no limit. Defaults to 0.
	Every pipeline.Duration `yaml:"every" rowmill:"tuning,min=0s"`
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
		Format: codec.JSONL, Part: PartConfig{Bytes: 256 << 20}, InferRows: 1000,
		RowGroup: RowGroup{Rows: parquetfile.DefaultGroupRows, Bytes: parquetfile.DefaultGroupBytes},
	}
}

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	c.validate(pipeline.Shape{}, &problems)
	return problems.Err()
}

// validate returns the columns of parquet that are given; nil for none.
func (c Config) validate(shape pipeline.Shape, problems *pipeline.Problems) *parquetfile.Type {
	c.place().Validate(problems)
	c.writing().Validate(problems)
	if strings.HasPrefix(c.Prefix, "s3://") {
		problems.Addf("prefix", "is only what follows the name of the bucket, without s3://")
	}
	if c.Part.Rows < 0 || c.Part.Bytes < 0 || c.Part.Every < 0 {
		problems.Addf("part", "must not be below 0")
	}
	return c.validateParquet(shape, problems)
}

func (c Config) place() bucket.Config {
	return bucket.Config{
		Bucket: c.Bucket, Endpoint: c.Endpoint, Region: c.Region, Profile: c.Profile, PathStyle: c.PathStyle, Anonymous: c.Anonymous,
	}
}

func (c Config) writing() rowfile.Writing {
	return rowfile.Writing{Format: c.format(), Columns: c.Columns, Delimiter: c.Delimiter, Field: c.Field}
}

func (c Config) format() codec.Format {
	if c.Format == "" {
		return codec.JSONL
	}
	return c.Format
}

func (c Config) compression() codec.Compression {
	if c.Compression == "" {
		return codec.Gzip
	}
	return c.Compression
}

// Sink is the sink `s3`. Rows are committed to a part in a folder, the spool, and seen
// in the bucket when the part is full or the run has come to its end.
type Sink struct {
	config Config
	bucket *bucket.Bucket
	env    pipeline.Env
	write  codec.WriteOptions
	names  names
	table  *table // of parquet; nil for other formats

	spool   spool
	open    *openPart // nil between two parts
	columns []string  // of csv and tsv, once they are known
	ended   bool      // the run is complete
	closed  bool
	failed  error // an upload has failed

	mu        sync.Mutex     // for what follows, which Publish changes while rows are written
	waiting   []Part         // sealed, not in the bucket yet
	committed int            // how many parts the last commit knew
	backlog   bucket.Backlog // the waiting ones among them
	listed    bool           // the manifest is in the bucket
}

var (
	_ pipeline.Sink      = (*Sink)(nil)
	_ pipeline.Starter   = (*Sink)(nil)
	_ pipeline.Preparer  = (*Sink)(nil)
	_ pipeline.Prober    = (*Sink)(nil)
	_ pipeline.Rewinder  = (*Sink)(nil)
	_ pipeline.Deliverer = (*Sink)(nil)
	_ pipeline.Publisher = (*Sink)(nil)
	_ pipeline.Timely    = (*Sink)(nil)
	_ pipeline.Spooler   = (*Sink)(nil)
	_ pipeline.Finisher  = (*Sink)(nil)
)

// New returns the sink. It asks nobody yet. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Sink, error) {
	var problems pipeline.Problems
	given := c.validate(env.Shape, &problems)
	c.writing().CheckShape(env.Shape, &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	s := &Sink{config: c, bucket: bucket.Open(c.place(), env), env: env, names: namesOf(c)}
	s.write = codec.WriteOptions{
		Format: c.format(), Path: s.names.part(1), Columns: c.Columns, Shape: env.Shape, Delimiter: c.Delimiter, Field: c.Field,
	}
	if c.parquet() {
		s.write = codec.WriteOptions{Format: codec.JSONL}
		s.table = &table{given: given, inferRows: int64(cmp.Or(c.InferRows, Default().InferRows)), shape: env.Shape}
		s.table.begin()
	}
	if _, err := codec.NewEncoder(s.write); err != nil {
		problems.Addf("format", "%w", err)
	}
	return s, problems.Err()
}

// NewWithClient returns a sink that writes through a program's own client, which stays the
// program's to close. Its retryer is set aside: requests that fail are made again here,
// within bounds and said in the log. Of the config, what says where the bucket is and who
// asks must be empty.
func NewWithClient(client *s3.Client, c Config, env pipeline.Env) (*Sink, error) {
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

// Delivery is [pipeline.ExactlyOnce]: what a run that was killed had put into the bucket is
// covered by its checkpoint, and the part it was writing is cut back.
func (s *Sink) Delivery() pipeline.Delivery { return pipeline.ExactlyOnce }

// Spool names the folder in which parts grow.
func (s *Sink) Spool(dir string) { s.spool.dir = dir }

// Probe says whether the bucket can be listed, and changes nothing.
func (s *Sink) Probe(ctx context.Context) error {
	_, err := s.parts(ctx)
	return err
}

// Prepare refuses parts of an earlier run, or with fresh removes them.
func (s *Sink) Prepare(ctx context.Context, fresh bool) error {
	if fresh {
		return s.clear(ctx)
	}
	return s.refuse(ctx)
}

// Start begins with the first part.
func (s *Sink) Start(ctx context.Context, fresh bool) error {
	if !fresh {
		if err := s.refuse(ctx); err != nil {
			return err
		}
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	return s.spool.begin()
}

// mostWaiting is how many committed parts may wait for their upload before nothing more is
// written: what they take of the disk is bounded.
const mostWaiting = 4

// Write takes a batch.
func (s *Sink) Write(ctx context.Context, batch []*pipeline.Record) error {
	if err := s.backlog.Wait(ctx, mostWaiting); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // from here on all of it is taken
	refused := map[int]error{}
	for i := range batch {
		if err := s.add(ctx, batch[i:i+1], i, refused); err != nil {
			return err
		}
	}
	if len(refused) > 0 {
		return &pipeline.BatchError{Refused: refused}
	}
	return nil
}

// count says how many committed parts are waiting. The caller holds the lock.
func (s *Sink) count() {
	n := 0
	for _, p := range s.waiting {
		if p.Number <= s.committed {
			n++
		}
	}
	s.backlog.Set(n)
}

// add writes one record, the i-th of its batch, as the size of the part is looked at behind
// each. One that is refused is noted.
func (s *Sink) add(ctx context.Context, one []*pipeline.Record, i int, refused map[int]error) error {
	if s.open == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	err := s.open.out.Add(ctx, one, s.open.encoder.Append)
	var not *pipeline.BatchError
	switch {
	case errors.As(err, &not):
		refused[i] = not.Refused[0]
		return nil
	case err != nil:
		return err
	}
	s.open.rows++
	s.noteColumns()
	if s.full() {
		return s.seal()
	}
	return nil
}

// full reports whether nothing more goes into the part.
func (s *Sink) full() bool {
	c := s.config.Part
	return c.Rows > 0 && s.open.rows >= c.Rows || c.Bytes > 0 && s.open.out.Size() >= int64(c.Bytes)
}

// Commit makes durable what was written, in the spool; the position says where that stands. A
// run that keeps no state has no checkpoint to wait for: full parts go up at once.
func (s *Sink) Commit(ctx context.Context) (pipeline.Position, error) {
	if due := s.Due(); !due.IsZero() && !time.Now().Before(due) {
		if err := s.seal(); err != nil {
			return "", err
		}
	}
	at, err := s.position()
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.committed = len(s.spool.parts)
	s.count()
	s.mu.Unlock()
	if s.spool.temporary() {
		err = s.upload(ctx, len(s.spool.parts))
	}
	return at, err
}

// Due is when the part that is open is full by time.
func (s *Sink) Due() time.Time {
	every := time.Duration(s.config.Part.Every)
	if s.open == nil || every <= 0 || s.open.rows == 0 {
		return time.Time{}
	}
	return s.open.begun.Add(every)
}

// Finish seals the last part. The manifest is written when it is published.
func (s *Sink) Finish(ctx context.Context) (pipeline.Position, error) {
	if err := s.sealLast(); err != nil {
		return "", err
	}
	s.ended = true
	at, err := s.position()
	if err == nil && s.spool.temporary() {
		err = s.Publish(ctx, at)
	}
	return at, err
}

// sealLast seals the part that is not full.
func (s *Sink) sealLast() error {
	if s.open == nil || s.open.rows == 0 {
		return nil
	}
	return s.seal()
}

// Publish uploads the parts that a checkpoint covers, and where the run is complete, the
// manifest.
func (s *Sink) Publish(ctx context.Context, to pipeline.Position) error {
	m, err := parseMark(to)
	if err != nil {
		return err
	}
	if s.closed {
		defer s.bucket.Close()
	}
	if err := s.upload(ctx, m.Parts); err != nil || !m.Ended || s.listed {
		return err
	}
	if err := s.putManifest(ctx); err != nil {
		return err
	}
	s.listed = true
	return nil
}

// Close ends the writing. Without state nobody goes on with it: all that was committed goes
// up. With state a part that is not full stays in the spool for the run that goes on.
func (s *Sink) Close(ctx context.Context) error {
	s.closed = true
	defer s.bucket.Close()
	if s.spool.temporary() {
		return s.closeTemporary(ctx)
	}
	err := s.spool.close()
	if s.open == nil {
		return err
	}
	if rows := s.open.rows; rows > 0 {
		s.env.Log().Warn("s3: the last part is not full; its rows are in the folder of the run's state, and go up when the run goes on",
			"rows", rows, "file", s.open.out.Path)
	}
	err = errors.Join(err, s.open.out.Close())
	s.open = nil
	return err
}

func (s *Sink) closeTemporary(ctx context.Context) error {
	err := s.sealLast()
	if err == nil && s.failed == nil {
		err = s.upload(ctx, len(s.spool.parts))
	}
	if err == nil && s.failed == nil && len(s.waiting) == 0 {
		return s.spool.remove()
	}
	return errors.Join(err, s.spool.close(), s.left())
}
