// Package sql is the sink `sql`: rows into a table of SQLite or PostgreSQL, in place of
// those of the same key. It needs nothing but database/sql; a program that makes it of a
// DSN imports the driver (modernc.org/sqlite, github.com/jackc/pgx/v5/stdlib), as
// pipeline/builtin does. See package pipeline for the words.
package sql

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"slices"

	"github.com/rowmill/rowmill/internal/database"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed sql.go
var code string

// Spec describes the sink `sql`.
func Spec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "sql",
		Summary: "writes rows into a table of SQLite or PostgreSQL, in place of those of the same key",
		Code:    code,
		Example: "sql: {dsn: '${DATABASE_URL}', table: labels, key: [id]}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Sink, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// The choices of Config.OnConflict.
const (
	update = "update"
	ignore = "ignore"
	refuse = "error"
)

// Config is the configuration of the sink "sql". A zero field means its default.
type Config struct {
	// The database: `postgres://user:password@host:5432/name` for PostgreSQL, the path of the
	// file for SQLite. Take a dsn that holds a password from the
	// environment: ${DATABASE_URL}.
	DSN pipeline.Secret `yaml:"dsn" rowmill:"required"`
	// Which database it is: `sqlite` or `postgres`; `auto` goes by the dsn. Defaults to auto.
	Driver string `yaml:"driver" rowmill:"oneof=auto|sqlite|postgres"`
	// The table: `labels`, or with its schema `public.labels`. Upper and
	// lower case count; a name that holds a dot is written in double quotes.
	Table string `yaml:"table" rowmill:"required"`
	// The statement that makes the table, run when a run starts and the table is not there, such
	// as `CREATE TABLE labels (id INTEGER PRIMARY KEY, label TEXT)`; a file of SQLite is made
	// as well. Defaults to none: the table must be there.
	Create string `yaml:"create"`
	// The columns that tell a row from all others; the table has a primary key or a unique
	// index of just these. A row that is written again, after a kill or in another run,
	// takes the place of the first, so that each is there exactly once. Defaults to
	// none: every row is added, and after a kill some are there twice.
	Key []string `yaml:"key"`
	// What becomes of a record whose key the table has already: `update` gives that row the
	// values of the record, and leaves its other columns as they are; `ignore` leaves the row as
	// it is; `error` makes the record a dead letter, unless the row is just what would be
	// written. Defaults to update.
	OnConflict string `yaml:"on_conflict" rowmill:"oneof=update|ignore|error"`
	// Which column takes which field: `{id: id, label: answer}`; other fields are left out.
	// Defaults to each field in the column of its name; a record with a field that is no
	// column is a dead letter then. A field that a record lacks leaves its column to the
	// table's default. Lists and mappings are written as JSON, and as an array where the
	// column is one; binary columns take base64.
	Columns pipeline.Pairs `yaml:"columns"`
}

// Default returns a config with every default in its place.
func Default() Config { return Config{Driver: database.Auto, OnConflict: update} }

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	if _, err := database.QuoteTable(c.Table); err != nil {
		problems.Addf("table", "%w", err)
	}
	for i, name := range c.Key {
		if name == "" || slices.Contains(c.Key[:i], name) {
			problems.Addf(fmt.Sprintf("key[%d]", i), "name each column once")
		}
		if len(c.Columns) > 0 && !slices.ContainsFunc(c.Columns, func(p pipeline.Pair) bool { return p.Key == name }) {
			problems.Addf("columns", "must have %q, which is of the key", name)
		}
	}
	if c.OnConflict == ignore && len(c.Key) == 0 {
		problems.Addf("on_conflict", "needs a key, which says what is the same row")
	}
	for i, p := range c.Columns {
		if p.Key == "" || p.Value == "" || slices.ContainsFunc(c.Columns[:i], func(o pipeline.Pair) bool { return o.Key == p.Key }) {
			problems.Addf("columns", "each column takes one field, like {label: answer}; not %q: %q", p.Key, p.Value)
		}
	}
	return problems.Err()
}

// Sink is the sink `sql`.
type Sink struct {
	config     Config
	connection *database.Connection
	dialect    database.Dialect
	table      string // quoted
	shape      pipeline.Shape
	columns    []database.Column // of the table; nil until they are known
}

var (
	_ pipeline.Sink      = (*Sink)(nil)
	_ pipeline.Starter   = (*Sink)(nil)
	_ pipeline.Prober    = (*Sink)(nil)
	_ pipeline.Deliverer = (*Sink)(nil)
)

// New makes a Sink. It opens nothing yet. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Sink, error) {
	connection, err := database.Opening(c.Driver, c.DSN, database.Writing)
	if err != nil {
		return nil, pipeline.Problems{{Key: "driver", Err: err}}
	}
	return build(c, env, connection)
}

// Into makes a Sink that writes into a database that the program has opened, and closes
// when it likes, after the run. Its DSN is not looked at; its Driver must be named.
func Into(db *sql.DB, c Config, env pipeline.Env) (*Sink, error) {
	connection, err := database.Given(c.Driver, db)
	if err != nil {
		return nil, pipeline.Problems{{Key: "driver", Err: err}}
	}
	return build(c, env, connection)
}

func build(c Config, env pipeline.Env, connection *database.Connection) (*Sink, error) {
	var problems pipeline.Problems
	if err := c.Validate(); err != nil {
		return nil, err
	}
	for _, p := range c.Columns {
		if !env.Shape.MayHave(p.Value) {
			problems.Addf("columns."+p.Key, "there is no field %q; the records have %v", p.Value, env.Shape.Names())
		}
	}
	if len(c.Columns) == 0 {
		for _, name := range c.Key {
			if !env.Shape.MayHave(name) {
				problems.Addf("key", "there is no field %q; the records have %v", name, env.Shape.Names())
			}
		}
	}
	if c.OnConflict == "" {
		c.OnConflict = update
	}
	table, err := database.QuoteTable(c.Table)
	if err != nil {
		problems.Addf("table", "%w", err)
	}
	return &Sink{config: c, connection: connection, dialect: connection.Dialect(), table: table, shape: env.Shape}, problems.Err()
}

// Delivery is [pipeline.ExactlyOnceByKey] with a key, and else [pipeline.AtLeastOnce].
func (s *Sink) Delivery() pipeline.Delivery {
	if len(s.config.Key) > 0 {
		return pipeline.ExactlyOnceByKey
	}
	return pipeline.AtLeastOnce
}

// Probe connects, and looks whether the table has the columns and, with a key, an index
// of it. Nothing is written; of a table that is to be made nothing is known.
func (s *Sink) Probe(ctx context.Context) error {
	err := s.describe(ctx)
	if s.config.Create != "" && isMissing(err) {
		return nil
	}
	return err
}

// Start makes the table if need be, and does what Probe does. The rows of the table stay in
// it, with fresh as well: they are not the run's to remove.
func (s *Sink) Start(ctx context.Context, _ bool) error {
	err := s.describe(ctx)
	if s.config.Create == "" || !isMissing(err) {
		return err
	}
	if err := s.connection.Create(ctx, s.config.Create); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	return s.describe(ctx)
}

// isMissing reports an error that says that there is no such file or table.
func isMissing(err error) bool {
	_, code := pipeline.Classify(err)
	return err != nil && (code == database.NoDatabase || code == database.NoTable)
}

// describe finds out the columns of the table, once.
func (s *Sink) describe(ctx context.Context) error {
	if s.columns != nil {
		return nil
	}
	columns, err := s.connection.Describe(ctx, "SELECT * FROM "+s.table+" WHERE 1 = 0")
	if err != nil {
		return fmt.Errorf("table %s: %w", s.config.Table, err)
	}
	for _, name := range s.named() {
		if _, ok := database.Find(columns, name); !ok {
			return pipeline.Fatal("columns", fmt.Errorf("table %s has no column %q; it has %s", s.config.Table, name, database.Names(columns)))
		}
	}
	if err := s.explain(ctx, columns); err != nil {
		return fmt.Errorf("table %s: %w", s.config.Table, err)
	}
	s.columns = columns
	return nil
}

// named are the columns that the table must have: those of the configuration, and of the
// fields that every record is known to have.
func (s *Sink) named() []string {
	names := slices.Clone(s.config.Key)
	for _, p := range s.config.Columns {
		names = append(names, p.Key)
	}
	if len(s.config.Columns) == 0 {
		names = append(names, s.shape.Names()...)
	}
	return names
}

// explain has the database plan an insertion without making it: there may be no index of
// the key, or no right to write.
func (s *Sink) explain(ctx context.Context, columns []database.Column) error {
	names := s.config.Key
	if len(names) == 0 {
		names = []string{columns[0].Name}
	}
	b := &database.Builder{Dialect: s.dialect}
	b.WriteString("EXPLAIN INSERT INTO " + s.table + " ")
	b.List(len(names), func(i int) { b.WriteString(database.Quote(names[i])) })
	b.WriteString(" VALUES ")
	b.List(len(names), func(int) { b.WriteString("NULL") })
	if len(s.config.Key) > 0 {
		s.conflict(b)
		b.WriteString(" DO NOTHING")
	}
	db, err := s.connection.DB()
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, b.String(), b.Args...)
	if err == nil {
		err = rows.Close()
	}
	return database.Classify(s.dialect, err)
}

// Commit does nothing: what Write took is in the database. The position is empty.
func (s *Sink) Commit(context.Context) (pipeline.Position, error) { return "", nil }

// Close closes the database, unless the program gave it.
func (s *Sink) Close(context.Context) error { return s.connection.Close() }
