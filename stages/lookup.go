package stages

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/lookup"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed lookup.go
var lookupCode string

// The choices of LookupConfig.Duplicates.
const (
	lookupError = "error"
	lookupFirst = "first"
)

// LookupConfig is the configuration of the stage "lookup": to each record it adds columns
// of the row of a file that has the record's key.
type LookupConfig struct {
	// File is the file that is looked up in. It is read once, before the first row, and its
	// content is a part of the pipeline: a run that was ended is not gone on with by another.
	// A row of it that cannot be read, or that has no key, ends the run.
	File string `yaml:"file" rowmill:"required"`
	// Format is how rows stand in the file, as for the source file: jsonl, json, csv or tsv;
	// auto goes by the name. Defaults to auto.
	Format string `yaml:"format" rowmill:"oneof=auto|jsonl|json|csv|tsv"`
	// Compression is how the file is compressed: auto goes by the name (.gz, .zst) and by
	// the first bytes. Defaults to auto.
	Compression string `yaml:"compression" rowmill:"oneof=auto|none|gzip|zstd"`
	// Delimiter is the character between the cells of csv and tsv. Defaults to a comma for
	// csv and a tab for tsv.
	Delimiter string `yaml:"delimiter"`
	// Types gives columns of csv and tsv a type: number, bool or json; an empty cell is null
	// then. Defaults to strings.
	Types map[string]string `yaml:"types" rowmill:"oneof=string|number|bool|json"`
	// On is the expression that gives a record's key: a field, such as sku, or lower(email).
	On string `yaml:"on" rowmill:"required,expr"`
	// Key is the column of the file that holds the key. Keys are compared as they read: 7 is
	// "7", but not 7.0 or "07". Defaults to what on says, if that is the name of a field.
	Key string `yaml:"key"`
	// Take names the columns that are added, in this order. A field that a record has
	// already is replaced; where take is left out and all columns are added, such a record
	// is a dead letter. A row of jsonl or json that lacks one has null. Defaults to all columns
	// but the key for csv and tsv; jsonl and json require it.
	Take []string `yaml:"take"`
	// As is the field that gets the columns, as one object. A field of that name that is
	// there already is replaced. Defaults to none: each column is a field of its own.
	As string `yaml:"as"`
	// Missing is what becomes of a record whose key no row has, or is null: dead_letter;
	// null, which adds nulls; or drop. Defaults to dead_letter.
	Missing string `yaml:"missing" rowmill:"oneof=dead_letter|null|drop"`
	// Duplicates is what happens if two rows of the file have the same key: error ends the
	// run, first takes the first. Defaults to error.
	Duplicates string `yaml:"duplicates" rowmill:"oneof=error|first"`
	// Memory bounds what is held of the file: about its size, decompressed, and 200 bytes
	// a row and 60 a cell. A larger one ends the run. Defaults to 256MiB.
	Memory pipeline.Size `yaml:"memory" rowmill:"tuning,min=1KiB"`
}

// Validate checks the choices.
func (c LookupConfig) Validate() error {
	var problems pipeline.Problems
	if c.File == "" {
		problems.Addf("file", "needs the name of a file")
	}
	if c.On == "" {
		problems.Addf("on", "needs an expression, such as the name of a field")
	}
	c.join().Validate(&problems)
	if c.Duplicates != lookupError && c.Duplicates != lookupFirst {
		problems.Addf("duplicates", "must be error or first, not %q", c.Duplicates)
	}
	if c.Memory < 1<<10 {
		problems.Addf("memory", "must be at least 1KiB, not %v", c.Memory)
	}
	c.reading().Validate(&problems)
	return problems.Err()
}

func (c LookupConfig) reading() rowfile.Reading {
	return rowfile.Reading{Format: c.Format, Compression: c.Compression, Delimiter: c.Delimiter, Types: c.Types}
}

func (c LookupConfig) join() lookup.Join {
	return lookup.Join{Take: c.Take, As: c.As, Missing: c.Missing}
}

// Lookup is the stage "lookup": it joins the records with the rows of a file.
type Lookup struct {
	config LookupConfig
	on     *lang.Expression

	mu     sync.Mutex
	loaded *table // nil until it is needed
}

// table is what is held of the file; it is not changed once it is made.
type table struct {
	columns []string // those that are added
	rows    map[string]tableRow
	digest  string
}

// tableRow is a row of the file: a value for each of the columns.
type tableRow struct {
	values []pipeline.Value
	line   int64
}

var (
	_ pipeline.Shaper        = (*Lookup)(nil)
	_ pipeline.Prober        = (*Lookup)(nil)
	_ pipeline.Fingerprinter = (*Lookup)(nil)
)

// NewLookup makes a Lookup. It reads nothing yet. The error is [pipeline.Problems].
func NewLookup(c LookupConfig, env pipeline.Env) (*Lookup, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	l := &Lookup{config: c, on: compile("on", c.On, env.Shape, &problems)}
	l.config.Key = lookup.Key(c.Key, c.On, c.File, &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return l, nil
}

// LookupSpec describes the stage "lookup".
func LookupSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "lookup",
		Summary:  "adds what a file says of each record, by a key",
		Code:     lookupCode,
		Workload: pipeline.Computes,
		Example:  `lookup: {file: data/prices.csv, types: {price: number}, on: sku, take: [price, currency]}`,
	}, DefaultLookup,
		func(c LookupConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewLookup(c, env)) })
}

// DefaultLookup returns a config with every default in its place.
func DefaultLookup() LookupConfig {
	return LookupConfig{
		Format: string(codec.Auto), Compression: string(codec.AutoCompression),
		Missing: lookup.DeadLetter, Duplicates: lookupError, Memory: 256 << 20,
	}
}

// Probe reads the file.
func (l *Lookup) Probe(ctx context.Context) error {
	_, err := l.table(ctx)
	return err
}

// Fingerprint returns a digest of the file.
func (l *Lookup) Fingerprint(ctx context.Context) (map[string]string, error) {
	t, err := l.table(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"file " + l.config.File: t.digest}, nil
}

// Shape returns in with the columns that are added, as far as they are known.
func (l *Lookup) Shape(in pipeline.Shape) pipeline.Shape { return l.config.join().Shape(in) }

// Process adds the columns of the row that has r's key.
func (l *Lookup) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	t, err := l.table(ctx)
	if err != nil {
		return nil, err
	}
	key, err := l.on.Value(r)
	if err != nil {
		return nil, at("on", err)
	}
	if key.IsNull() {
		return l.config.join().None(r, t.columns, fmt.Errorf("%s is null or missing; missing: null or missing: drop are for that", l.on))
	}
	row, found := t.rows[key.Text()]
	if !found {
		return l.config.join().None(r, t.columns, fmt.Errorf("no row of %s has the %s %.200q", l.config.File, l.config.Key, key.Text()))
	}
	return l.config.join().Add(r, t.columns, row.values)
}

// table returns what the file holds, which is read once. An error is the run's, and is
// found again by whoever asks next.
func (l *Lookup) table(ctx context.Context) (*table, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded == nil {
		t, err := l.load(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, pipeline.Fatal("lookup", err)
		}
		l.loaded = t
	}
	return l.loaded, nil
}

// load reads the file.
func (l *Lookup) load(ctx context.Context) (*table, error) {
	file, err := os.Open(l.config.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	sum := sha256.New()
	stored := io.TeeReader(file, sum)
	rows, err := l.config.reading().Open(codec.Input{Path: l.config.File, Stream: stored}, l.config.reading().FormatOf(l.config.File))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	t := &table{rows: map[string]tableRow{}}
	if err := l.read(ctx, rows, t); err != nil {
		return nil, err
	}
	return t, t.sum(sum, stored)
}

// sum notes the digest of all that is stored.
func (t *table) sum(sum hash.Hash, rest io.Reader) error {
	_, err := io.Copy(io.Discard, rest)
	t.digest = fmt.Sprintf("%x", sum.Sum(nil))
	return err
}

// read reads all rows into t.
func (l *Lookup) read(ctx context.Context, rows *rowfile.Rows, t *table) error {
	if err := l.header(rows, t); err != nil {
		return err
	}
	left := int64(l.config.Memory)
	var failure error
	rows.Each(ctx, func(r *pipeline.Record, err error) bool {
		if err == nil {
			err = l.keep(r, t, &left)
		}
		if failure = err; err != nil && r != nil { // else it names the file
			failure = fmt.Errorf("%v: %w", r.Origin, err)
		}
		return failure == nil
	})
	return failure
}

// header takes the columns from the first line of the file, if it names them. Elsewhere
// they must be named, as rows need not have all of them.
func (l *Lookup) header(rows *rowfile.Rows, t *table) error {
	names, ok, err := rows.Header()
	if err != nil {
		return err // it names the file
	}
	t.columns = l.config.Take
	if !ok {
		if len(t.columns) == 0 {
			return fmt.Errorf("%s: take is needed, as not all rows need to have the same fields", l.config.File)
		}
		return nil
	}
	for _, name := range append([]string{l.config.Key}, l.config.Take...) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s has no column %q; it has %q", l.config.File, name, names)
		}
	}
	if len(t.columns) == 0 {
		t.columns = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == l.config.Key })
	}
	return nil
}

// What a row and a cell take beside their text, about.
const (
	bytesPerRow  = 200
	bytesPerCell = 60
)

// keep adds a row to t.
func (l *Lookup) keep(r *pipeline.Record, t *table, left *int64) error {
	key, ok := r.Lookup(l.config.Key)
	if !ok || key.IsNull() {
		return fmt.Errorf("the key %q is %s", l.config.Key, describe(key, ok))
	}
	if before, again := t.rows[key.Text()]; again {
		if l.config.Duplicates == lookupFirst {
			return nil
		}
		return fmt.Errorf("the %s %.200q is there already, in line %d; duplicates: first takes the first", l.config.Key, key.Text(), before.line)
	}
	row := tableRow{values: make([]pipeline.Value, len(t.columns)), line: r.Origin.Line}
	for i, name := range t.columns {
		row.values[i], _ = r.Lookup(name)
	}
	t.rows[key.Text()] = row
	*left -= int64(r.Size()) + bytesPerRow + bytesPerCell*int64(len(row.values))
	if *left < 0 {
		return fmt.Errorf("with this row, number %d, what is held of the file is more than memory (%v) allows: raise it, or take fewer columns", len(t.rows), l.config.Memory)
	}
	return nil
}
