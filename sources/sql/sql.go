// Package sql is the source `sql`: the rows of a query to SQLite or PostgreSQL. It needs
// nothing but database/sql; a program that makes it of a DSN imports the driver
// (modernc.org/sqlite, github.com/jackc/pgx/v5/stdlib), as pipeline/builtin does. See
// package pipeline for the words.
package sql

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rowmill/rowmill/internal/database"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

//go:embed sql.go
var code string

// Spec describes the source `sql`.
func Spec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "sql",
		Summary: "reads the rows of a query to SQLite or PostgreSQL",
		Code:    code,
		Example: "sql: {dsn: '${DATABASE_URL}', query: 'SELECT id, body FROM tickets', order_by: [id]}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Source, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// Config is the configuration of the source "sql". A zero field means its default.
type Config struct {
	// DSN is the database: `postgres://user:password@host:5432/name` for PostgreSQL; for
	// SQLite the path of the file, which is opened for reading alone. Take one that holds a
	// password from the environment: ${DATABASE_URL}.
	DSN pipeline.Secret `yaml:"dsn" rowmill:"required"`
	// Driver is which database it is: `sqlite` or `postgres`; `auto` goes by the dsn. Defaults
	// to auto.
	Driver string `yaml:"driver" rowmill:"oneof=auto|sqlite|postgres"`
	// Query is one SELECT. Each column becomes a field: numbers with all their digits, JSON as
	// it is, arrays as lists, times as ISO 8601, what is binary as base64; NaN and infinity,
	// for which JSON has no number, as texts.
	Query string `yaml:"query" rowmill:"required"`
	// OrderBy are columns of the query that are never null and together unique, such as the
	// primary key. The rows are then read in their order, a page at a time, and none
	// has to be read again: a run that was killed goes on behind the last row, a lost
	// connection costs a page, and a finished run that is started again reads only rows
	// that have come behind the last one. Rows that come while it runs are left for
	// another run. Without them the query is read from its start in one go, and
	// a run that goes on passes by what had ended, which needs an ORDER BY in the query; with
	// SQLite nobody can write meanwhile, unless the database is in WAL mode. Defaults to none.
	OrderBy []string `yaml:"order_by"`
	// Page is how many rows are asked for at once, with order_by; fewer where they are
	// larger than 16 MiB together. Defaults to 1000.
	Page int `yaml:"page" rowmill:"tuning,min=1"`
}

// Default returns a config with every default in its place.
func Default() Config { return Config{Driver: database.Auto, Page: 1000} }

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	if strings.Trim(c.Query, "; \t\r\n") == "" {
		problems.Addf("query", "write a SELECT")
	}
	for i, name := range c.OrderBy {
		if name == "" || slices.Contains(c.OrderBy[:i], name) {
			problems.Addf(fmt.Sprintf("order_by[%d]", i), "name each column once")
		}
	}
	if c.Page < 0 {
		problems.Addf("page", "a page holds at least one row")
	}
	return problems.Err()
}

// Source is the source `sql`.
type Source struct {
	config     Config
	connection *database.Connection
	dialect    database.Dialect
	policy     *policy.Stage

	columns []database.Column
	skip    int64 // rows in front of the one to begin with, without order_by
	start   key   // of the row to begin with; nil for the first
	last    key   // of the last row, as it was when the run began; nil if it is not known
	empty   bool  // there was no row when the run began

	done, total atomic.Int64 // rows
}

var (
	_ pipeline.Source     = (*Source)(nil)
	_ pipeline.Identifier = (*Source)(nil)
	_ pipeline.Seeker     = (*Source)(nil)
	_ pipeline.Prober     = (*Source)(nil)
	_ pipeline.Shaper     = (*Source)(nil)
	_ pipeline.Meter      = (*Source)(nil)
	_ pipeline.Closer     = (*Source)(nil)
)

// New returns the source. It opens nothing yet. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Source, error) {
	connection, err := database.Opening(c.Driver, c.DSN, database.Reading)
	if err != nil {
		return nil, pipeline.Problems{{Key: "driver", Err: err}}
	}
	return build(c, env, connection)
}

// Over returns the source over a database that the program has opened, and closes when it
// likes, after the run. Its DSN is not looked at; its Driver must be named.
func Over(db *sql.DB, c Config, env pipeline.Env) (*Source, error) {
	connection, err := database.Given(c.Driver, db)
	if err != nil {
		return nil, pipeline.Problems{{Key: "driver", Err: err}}
	}
	return build(c, env, connection)
}

func build(c Config, env pipeline.Env, connection *database.Connection) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Page == 0 {
		c.Page = Default().Page
	}
	options := policy.Defaults(pipeline.StepOptions{Name: "source", Parallelism: 1}, pipeline.Waits)
	options.Timeout = 0 // how long a query takes is the user's business
	return &Source{
		config: c, connection: connection, dialect: connection.Dialect(),
		policy: policy.New(policy.Settings{StepOptions: options, Logger: env.Logger}),
	}, nil
}

// Close closes the database, unless the program gave it.
func (s *Source) Close() error { return s.connection.Close() }

// subquery is the query as one that another asks.
func (s *Source) subquery() string { return database.Subquery(s.config.Query) + " AS q" }

// describe finds out the columns, and whether they are what the configuration takes them
// for.
func (s *Source) describe(ctx context.Context) error {
	if s.columns != nil {
		return nil
	}
	columns, err := s.connection.Describe(ctx, "SELECT * FROM "+s.subquery()+" WHERE 1 = 0")
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for i, c := range columns {
		if other := slices.IndexFunc(columns[:i], func(o database.Column) bool { return o.Name == c.Name }); other >= 0 {
			return pipeline.Fatal("columns", fmt.Errorf("query: two columns are called %q; give one another name with AS", c.Name))
		}
	}
	for _, name := range s.config.OrderBy {
		c, ok := database.Find(columns, name)
		if !ok {
			return pipeline.Fatal("columns", fmt.Errorf("order_by: there is no column %q; the query has %s", name, database.Names(columns)))
		}
		if problem := s.dialect.KeyProblem(c); problem != "" {
			return pipeline.Fatal("columns", fmt.Errorf("order_by: rows cannot be paged through by %q: %s", name, problem))
		}
	}
	s.columns = columns
	return nil
}

// Probe connects and looks whether the query has the columns that it needs; no row
// is asked for.
func (s *Source) Probe(ctx context.Context) error { return s.describe(ctx) }

// shapePatience is how long Shape waits for the database.
const shapePatience = 3 * time.Second

// Shape tells the columns of the query. If the database does not answer, nothing is known.
func (s *Source) Shape(pipeline.Shape) pipeline.Shape {
	ctx, cancel := context.WithTimeout(context.Background(), shapePatience)
	defer cancel()
	err := s.describe(ctx)
	if closed := s.connection.Close(); err != nil || closed != nil {
		return pipeline.Shape{}
	}
	shape := pipeline.Shape{Closed: true}
	for _, c := range s.columns {
		shape = shape.With(c.Name, s.dialect.FieldType(c))
	}
	return shape
}

// Progress returns how many rows are read, and how many there are; 0 if that is not known.
func (s *Source) Progress() (done, total int64) { return s.done.Load(), s.total.Load() }

// Guarantee says what a run that goes on owes to the query: without order_by its place
// among the rows is only how many are in front of it.
func (s *Source) Guarantee() string {
	if len(s.config.OrderBy) > 0 {
		return ""
	}
	return "a query without order_by: after a kill it is read from its start again, and must give the same rows in the same order"
}

// Records reads the rows: page by page with order_by, else in one go.
func (s *Source) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		err := s.begin(ctx)
		if err == nil && !s.empty {
			if len(s.config.OrderBy) > 0 {
				err = s.pages(ctx, yield)
			} else {
				err = s.stream(ctx, yield)
			}
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// errEnough says that no more rows are wanted.
var errEnough = errors.New("enough")

// begin readies what reading needs.
func (s *Source) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.start == nil {
		s.done.Store(0)
	}
	_, err := s.ask(ctx, func(ctx context.Context) error {
		if err := s.describe(ctx); err != nil {
			return err
		}
		return s.bound(ctx)
	})
	return err
}

// ask puts one question to the database under the policies: while the connection is lost
// it is put again.
func (s *Source) ask(ctx context.Context, question func(context.Context) error) (struct{}, error) {
	ctx, _ = s.policy.Begin(ctx)
	return policy.Turn(ctx, policy.Ask{}, func(ctx context.Context, _ *policy.Attempt) (struct{}, error) {
		return struct{}{}, database.Classify(s.dialect, question(ctx))
	})
}

// stream reads the query from its start.
func (s *Source) stream(ctx context.Context, yield func(*pipeline.Record, error) bool) error {
	var rows *sql.Rows
	statement := "SELECT " + s.reads() + " FROM " + s.subquery()
	if _, err := s.ask(ctx, func(context.Context) error {
		db, err := s.connection.DB()
		if err == nil {
			rows, err = db.QueryContext(ctx, statement) // and not the attempt's context, which ends with it
		}
		return err
	}); err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	held := s.row()
	for line := int64(1); rows.Next(); line++ {
		if err := rows.Scan(held.into...); err != nil {
			return fmt.Errorf("row %d: %w", line, err)
		}
		s.done.Add(1)
		if line <= s.skip && ctx.Err() == nil {
			continue
		}
		r, bad := s.record(held.values)
		r.Origin = pipeline.Origin{Path: "sql", Line: line, Offset: -1}
		if ctx.Err() != nil || !yield(r, bad) {
			return errEnough
		}
	}
	return database.Classify(s.dialect, rows.Err())
}

// reads are the expressions that read the columns.
func (s *Source) reads() string {
	list := make([]string, len(s.columns))
	for i, c := range s.columns {
		list[i] = s.dialect.Read("q."+database.Quote(c.Name), c) + " AS " + database.Quote(c.Name)
	}
	return strings.Join(list, ", ")
}

// rowBuffer is what a row is read into.
type rowBuffer struct {
	values []any
	into   []any
}

// row returns a buffer for the columns, and as many values more.
func (s *Source) row(more ...any) rowBuffer {
	b := rowBuffer{values: make([]any, len(s.columns))}
	for i := range b.values {
		b.into = append(b.into, &b.values[i])
	}
	b.into = append(b.into, more...)
	return b
}

// record makes a row of what was read. One with a value that JSON cannot hold cannot be
// read: what can be is kept, for the dead letter.
func (s *Source) record(values []any) (*pipeline.Record, error) {
	fields := make([]pipeline.Field, len(s.columns))
	var bad error
	for i, c := range s.columns {
		v, err := s.dialect.Value(values[i], c)
		if err != nil && bad == nil {
			bad = pipeline.Permanent("unreadable", err)
		}
		fields[i] = pipeline.Field{Name: c.Name, Value: v}
	}
	r := pipeline.NewRecord(fields...)
	if bad != nil {
		return pipeline.Unreadable(r.AppendJSON(nil)), bad
	}
	return r, nil
}
