// Package database is what the SQL source, stage and sink have in common: opening a
// database by its DSN, quoting names, what differs between SQLite and PostgreSQL, and
// what an error of theirs means for a run. It imports no driver: whoever opens a
// database by a DSN has imported one (pipeline/builtin does).
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// The databases that are known, as they stand in a configuration.
const (
	Auto       = "auto"
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// Column is a column of a query or a table: its name, and its type as the database
// calls it, in capitals; empty where it has none.
type Column struct{ Name, Type string }

// Dialect is what differs from one database to the next.
type Dialect interface {
	// Name is SQLite or PostgreSQL.
	Name() string
	// Parameter stands for the n-th parameter of a statement, from 1.
	Parameter(n int) string
	// MaxParameters is how many a statement may have.
	MaxParameters() int
	// Read is the expression that reads a column without loss; ref names the column.
	Read(ref string, c Column) string
	// Value makes a value of what Read gave. The error is that of one row.
	Value(read any, c Column) (pipeline.Value, error)
	// Bind makes of a value what goes into a column. The error is that of one row.
	Bind(v pipeline.Value, c Column) (any, error)
	// BindKey makes of a value what Read gave for a column, for comparisons.
	BindKey(v pipeline.Value, c Column) any
	// KeyProblem says why rows cannot be put in order by a column; "" if they can.
	KeyProblem(c Column) string
	// LookupKey makes of a value what a column is compared with, in ByKeys. The error says
	// why no row can hold it.
	LookupKey(v pipeline.Value, c Column) (any, error)
	// ByKeys writes `FROM … AS q WHERE …`, for the rows of which ref is one of the keys that
	// LookupKey returned, or nil for a key that no row has. It returns the expression of a
	// key's number, from 0. The type is that of the column, as KeyType returned it.
	ByKeys(b *Builder, from, ref string, keys []any, keyType string) (number string)
	// KeyType asks for the name of the type of a column of `from AS q`, as ByKeys needs it.
	KeyType(ctx context.Context, db *sql.DB, from, ref string) (string, error)
	// Fits reports whether a key can be one of that type: it is asked about a key that the
	// database has refused, in itself or for what is in its row.
	Fits(ctx context.Context, db *sql.DB, key any, keyType string) (bool, error)
	// Same is the condition that a column holds what a parameter does, or both nothing.
	Same(ref, parameter string, c Column) string
	// FieldType is what is known of the values of a column.
	FieldType(c Column) pipeline.FieldType
	// Classify gives an error of the database its class, nil if it is none of its own.
	Classify(err error) error
}

// For returns the dialect of a database: as it is named, else as its DSN looks.
func For(driver, dsn string) (Dialect, error) {
	switch driver {
	case SQLite:
		return sqlite{}, nil
	case PostgreSQL:
		return postgres{}, nil
	case "", Auto:
		if isPostgres(dsn) {
			return postgres{}, nil
		}
		return sqlite{}, nil
	default:
		return nil, fmt.Errorf("there is no driver %q; the databases are sqlite and postgres", driver)
	}
}

func isPostgres(dsn string) bool {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		return true
	}
	return slices.ContainsFunc(strings.Fields(dsn), func(f string) bool {
		return strings.HasPrefix(f, "host=") || strings.HasPrefix(f, "dbname=") || strings.HasPrefix(f, "user=")
	})
}

// Access is what may be done with a database; it is for the files of SQLite.
type Access string

// The kinds of Access.
const (
	Reading  Access = "ro"
	Writing  Access = "rw"
	Creating Access = "rwc" // the file is made, with its folder, if it is not there
)

// Open opens a database. It connects to nothing yet, but a file of SQLite must be there,
// unless it may be made.
func Open(d Dialect, dsn string, access Access) (*sql.DB, error) {
	driver := map[string]string{SQLite: "sqlite", PostgreSQL: "pgx"}[d.Name()]
	if !slices.Contains(sql.Drivers(), driver) {
		return nil, pipeline.Fatal("no_driver", fmt.Errorf("this program has no driver for %s: import %s", d.Name(),
			map[string]string{SQLite: "modernc.org/sqlite", PostgreSQL: "github.com/jackc/pgx/v5/stdlib"}[d.Name()]))
	}
	if d.Name() == SQLite {
		var err error
		if dsn, err = sqliteDSN(dsn, access); err != nil {
			return nil, err
		}
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, pipeline.Fatal("dsn", errors.New("the dsn cannot be understood; that of PostgreSQL is like postgres://user:password@host:5432/database, that of SQLite a path"))
	}
	return db, nil
}

// sqliteDSN makes a DSN of the driver's of a path or a `file:` URI.
func sqliteDSN(dsn string, access Access) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(dsn, "sqlite://"), "sqlite:")
	if !strings.HasPrefix(path, "file:") {
		if err := present(path, access); err != nil {
			return "", pipeline.Fatal(NoDatabase, fmt.Errorf("open the database: %w", err))
		}
		path = "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	}
	add := func(option string) {
		if strings.Contains(path, "?") {
			path += "&" + option
		} else {
			path += "?" + option
		}
	}
	mode := access
	if access == Reading {
		// Not mode=ro: with that nobody could roll back what a process that was killed left half
		// written, and the file could not be read.
		mode = Writing
		add("_pragma=query_only(1)")
	}
	if !strings.Contains(path, "mode=") {
		add("mode=" + string(mode))
	}
	if !strings.Contains(path, "busy_timeout") {
		add("_pragma=busy_timeout(5000)") // who else writes is waited for, so many milliseconds
	}
	return path, nil
}

// NoDatabase is the code of the error that a file is not there.
const NoDatabase = "no_database"

// present says whether there is a file, or a folder in which it can be made.
func present(path string, access Access) error {
	if access == Creating {
		return os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	hint := ""
	if access == Writing {
		hint = ", or say in `create` how the table is made, and the file is made too"
	}
	return fmt.Errorf("there is no file %s; check `dsn`%s: %w", path, hint, fs.ErrNotExist)
}

// Quote returns a name as SQL takes it for one, whatever stands in it.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// QuoteTable quotes the name of a table, in front of which may stand that of a schema and
// a dot. A part that holds a dot itself is written in double quotes.
func QuoteTable(name string) (string, error) {
	var parts []string
	rest, ok := name, true
	for ok {
		var part string
		if part, rest, ok = tablePart(rest); part == "" {
			return "", fmt.Errorf(`%q is not the name of a table; write it like orders or public.orders`, name)
		}
		parts = append(parts, Quote(part))
	}
	return strings.Join(parts, "."), nil
}

// tablePart takes the first part of a name apart from those behind a dot.
func tablePart(name string) (part, rest string, more bool) {
	quoted, ok := strings.CutPrefix(name, `"`)
	if !ok {
		return strings.Cut(name, ".")
	}
	part, rest, ok = strings.Cut(quoted, `"`)
	if !ok || rest != "" && rest[0] != '.' {
		return "", "", false
	}
	return part, strings.TrimPrefix(rest, "."), rest != ""
}

// Subquery returns one SELECT as what another one asks; what ends it is left out.
func Subquery(query string) string { return "(\n" + strings.TrimRight(query, "; \t\r\n") + "\n)" }

// Columns returns the columns of a statement that has no rows, in their order.
func Columns(rows *sql.Rows) ([]Column, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	columns := make([]Column, len(types))
	for i, t := range types {
		columns[i] = Column{t.Name(), strings.ToUpper(t.DatabaseTypeName())}
	}
	return columns, rows.Err()
}

// Find returns the column of a name.
func Find(columns []Column, name string) (Column, bool) {
	i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return Column{}, false
	}
	return columns[i], true
}

// Names are the names of columns, for messages.
func Names(columns []Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// Builder writes a statement and gathers its parameters.
type Builder struct {
	strings.Builder
	Dialect Dialect
	Args    []any
}

// Parameter writes one parameter.
func (b *Builder) Parameter(v any) {
	b.Args = append(b.Args, v)
	b.WriteString(b.Dialect.Parameter(len(b.Args)))
}

// List writes `(a, b, c)`.
func (b *Builder) List(n int, item func(i int)) {
	b.WriteByte('(')
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		item(i)
	}
	b.WriteByte(')')
}
