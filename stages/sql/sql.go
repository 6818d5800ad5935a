// Package sql is the stage `sql_lookup`: it joins the records with a table, or a query, of
// SQLite or PostgreSQL. It needs nothing but database/sql; a program that makes it of a
// DSN imports the driver (modernc.org/sqlite, github.com/jackc/pgx/v5/stdlib), as
// pipeline/builtin does. See package pipeline for the words.
package sql

import (
	"database/sql"
	_ "embed"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/rowmill/rowmill/internal/database"
	"github.com/rowmill/rowmill/internal/lookup"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed sql.go
var code string

// Spec describes the stage `sql_lookup`. What it found costs: it is journalled, so that a
// run that goes on asks a model about the same row, although the table has changed since.
func Spec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "sql_lookup",
		Summary:  "adds what a table of SQLite or PostgreSQL says of each record, by a key",
		Code:     code,
		Workload: pipeline.Waits,
		Costs:    true,
		Example:  "sql_lookup: {dsn: '${DATABASE_URL}', table: prices, on: sku, take: [price, currency]}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Stage, error) {
		l, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return l, nil
	})
}

// Config is the configuration of the stage "sql_lookup": to each record it adds columns of
// the row of a table that has the record's key. A zero field means its default.
//
// The table is asked for the keys of the records and never read as a whole, so it may be of
// any size, and wants an index on the key. It may change while the run goes on: what counts is
// what it holds when a record is looked up, and after a kill what it held then.
// Parallelism is how many connections there are at the most.
type Config struct {
	// DSN is the database: `postgres://user:password@host:5432/name` for PostgreSQL; for
	// SQLite the path of the file, which is opened for reading alone. Take one that holds a
	// password from the environment: ${DATABASE_URL}. There are at most as many connections
	// as parallelism says.
	DSN pipeline.Secret `yaml:"dsn" rowmill:"required"`
	// Driver is which database it is: `sqlite` or `postgres`; `auto` goes by the dsn. Defaults
	// to auto.
	Driver string `yaml:"driver" rowmill:"oneof=auto|sqlite|postgres"`
	// Table is the table (or view) that is looked up in: `prices`, or with its schema
	// `public.prices`. Upper and lower case count; a name that holds a dot is written in
	// double quotes. Defaults to none: there is a query.
	Table string `yaml:"table"`
	// Query is one SELECT that is looked up in, in place of a table: it may choose rows, join,
	// compute, and group by the key. The database is asked for those of its rows that have the
	// keys, and can use an index for that as long as the key is a column of a table there, and
	// nothing needs all rows first, as LIMIT does. Defaults to none: there is a table.
	Query string `yaml:"query"`
	// On is the expression that gives a record's key: a field, such as sku, or lower(email).
	On string `yaml:"on" rowmill:"required,expr"`
	// Key is the column that holds the key. The database compares, by the type of the column:
	// one of numbers holds 7 for 7, 7.0 and "7"; one of text holds what a key reads as, so that
	// 7 is "7", and not "07". A key that the type cannot hold, such as "n/a" where the
	// column has integers, is one that no row has. In SQLite a column that is computed has no type,
	// and 7 is not "7" there: give it one, CAST(upper(code) AS TEXT). A record for whose key
	// there are two rows is a dead letter: make the key unique in the query, with DISTINCT
	// ON or GROUP BY. Defaults to what on says, if that is the name of a field.
	Key string `yaml:"key"`
	// Take names the columns that are added, in this order. A field that a record has
	// already is replaced; where take is left out and all columns are added, such a record
	// is a dead letter. Values are as the source sql reads them. Defaults to all columns but the
	// key.
	Take []string `yaml:"take"`
	// As is the field that gets the columns, as one object. A field of that name that is
	// there already is replaced. Defaults to none: each column is a field of its own.
	As string `yaml:"as"`
	// Missing is what becomes of a record whose key no row has, or is null: dead_letter;
	// null, which adds nulls; or drop. Defaults to dead_letter.
	Missing string `yaml:"missing" rowmill:"oneof=dead_letter|null|drop"`
	// Batch is how many records one question to the database is about at the most: as many
	// as there are, without waiting for more. Their rows are held at once. Defaults to 100.
	Batch int `yaml:"batch" rowmill:"tuning,min=1,max=10000"`
}

// Default returns a config with every default in its place.
func Default() Config {
	return Config{Driver: database.Auto, Missing: lookup.DeadLetter, Batch: 100}
}

// mostBatch bounds Config.Batch: SQLite takes 32,766 parameters.
const mostBatch = 10000

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	query := strings.Trim(c.Query, "; \t\r\n")
	switch {
	case c.Table == "" && query == "":
		problems.Addf("table", "say which table is looked up in, or write a query")
	case c.Table != "" && query != "":
		problems.Addf("query", "is in place of a table: leave one of them out")
	case c.Table != "":
		if _, err := database.QuoteTable(c.Table); err != nil {
			problems.Addf("table", "%w", err)
		}
	}
	if c.On == "" {
		problems.Addf("on", "needs an expression, such as the name of a field")
	}
	c.join().Validate(&problems)
	if c.Batch < 0 || c.Batch > mostBatch {
		problems.Addf("batch", "must be from 1 to %d, not %d", mostBatch, c.Batch)
	}
	return problems.Err()
}

func (c Config) join() lookup.Join {
	return lookup.Join{Take: c.Take, As: c.As, Missing: c.Missing}
}

// of is what is looked up in, for messages.
func (c Config) of() string {
	if c.Table == "" {
		return "the query"
	}
	return "table " + c.Table
}

// from is what is looked up in, as SQL has it.
func (c Config) from() string {
	if c.Table == "" {
		return database.Subquery(c.Query)
	}
	table, _ := database.QuoteTable(c.Table) // Validate has said what is wrong with it
	return table
}

// Lookup is the stage `sql_lookup`.
type Lookup struct {
	config Config
	on     *lang.Expression

	mu         sync.Mutex // of what is below
	connection *database.Connection
	known      *table // nil until it is asked for
}

var (
	_ pipeline.Stage       = (*Lookup)(nil)
	_ pipeline.Independent = (*Lookup)(nil)
	_ pipeline.Shaper      = (*Lookup)(nil)
	_ pipeline.Prober      = (*Lookup)(nil)
	_ pipeline.Scaler      = (*Lookup)(nil)
	_ pipeline.Closer      = (*Lookup)(nil)
)

// New makes a Lookup. It opens nothing yet. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Lookup, error) {
	connection, err := database.Opening(c.Driver, c.DSN, database.Reading)
	if err != nil {
		return nil, pipeline.Problems{{Key: "driver", Err: err}}
	}
	return build(c, env, connection)
}

// Over makes a Lookup in a database that the program has opened, and closes when it
// likes, after the run. Its DSN is not looked at; its Driver must be named.
func Over(db *sql.DB, c Config, env pipeline.Env) (*Lookup, error) {
	connection, err := database.Given(c.Driver, db)
	if err != nil {
		return nil, pipeline.Problems{{Key: "driver", Err: err}}
	}
	return build(c, env, connection)
}

func build(c Config, env pipeline.Env, connection *database.Connection) (*Lookup, error) {
	if c.Missing == "" {
		c.Missing = lookup.DeadLetter
	}
	if c.Batch == 0 {
		c.Batch = Default().Batch
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	on, err := lang.CompileExpression(c.On, env.Shape)
	if err != nil {
		p := pipeline.Problem{Key: "on", Err: err}
		if syntax := new(lang.SyntaxError); errors.As(err, &syntax) {
			p.Offset = syntax.Offset
		}
		problems = append(problems, p)
	}
	c.Key = lookup.Key(c.Key, c.On, c.of(), &problems)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &Lookup{config: c, on: on, connection: connection}, nil
}

// Shape returns in with the columns that are added, as far as they are known.
func (l *Lookup) Shape(in pipeline.Shape) pipeline.Shape { return l.config.join().Shape(in) }

// batchWait is how long a question waits for more records. Under load it does not: there
// are as many as it takes already.
const batchWait = time.Millisecond

// Batch says how many records a question is about.
func (l *Lookup) Batch() (size int, wait time.Duration) { return l.config.Batch, batchWait }

// Independent says that each record gets its own row, whatever others are asked about with it.
func (l *Lookup) Independent() {}

// Scale bounds the connections by the number of questions there are at once. A database
// that the program gave has bounds of the program's.
func (l *Lookup) Scale(parallelism int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connection.Limit(parallelism)
}

// Close closes the database, unless the program gave it.
func (l *Lookup) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = nil
	return l.connection.Close()
}
