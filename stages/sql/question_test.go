package sql_test

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/sql"
)

// listening is a driver that writes down what a database is asked.
type listening struct {
	path string
	via  driver.Driver

	mu    sync.Mutex
	asked []string
	args  [][]any
}

func (l *listening) Driver() driver.Driver { return l.via }

func (l *listening) Connect(context.Context) (driver.Conn, error) {
	c, err := l.via.Open(l.path)
	return listener{c, l}, err
}

type listener struct {
	driver.Conn
	to *listening
}

func (c listener) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.to.mu.Lock()
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a.Value
	}
	c.to.asked, c.to.args = append(c.to.asked, query), append(c.to.args, values)
	c.to.mu.Unlock()
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// TestABatchIsOneQuestion, which the index answers: the table is never read as a whole.
func TestABatchIsOneQuestion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config sql.Config
		plan   string
	}{
		"a table":       {sql.Config{Table: "p", On: "sku"}, "SEARCH q USING INDEX"},
		"the row's id":  {sql.Config{Table: "p", On: "sku", Key: "id"}, "SEARCH q USING INTEGER PRIMARY KEY"},
		"a query":       {sql.Config{Query: "SELECT sku, price * 2 AS twice FROM p WHERE price > 0", On: "sku"}, "SEARCH p USING INDEX"},
		"a joined one":  {sql.Config{Query: "SELECT p.sku, q.v FROM p JOIN q ON q.id = p.id", On: "sku"}, "SEARCH p USING "},
		"a grouped one": {sql.Config{Query: "SELECT sku, max(price) AS price FROM p GROUP BY sku", On: "sku"}, "SEARCH p USING INDEX"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := databasetest.SQLite(t, `CREATE TABLE p (id INTEGER PRIMARY KEY, sku TEXT UNIQUE, price INTEGER)`, `CREATE TABLE q (id INTEGER PRIMARY KEY, v)`)
			heard := &listening{path: file.Address, via: file.Open(t).Driver()}
			db := stdsql.OpenDB(heard)
			t.Cleanup(func() { _ = db.Close() })
			c.config.Driver, c.config.Missing = "sqlite", "null"
			l, err := sql.Over(db, c.config, pipeline.Env{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := len(heard.asked)
			rows := make([]string, 60)
			for i := range rows {
				rows[i] = fmt.Sprintf(`{"sku":"'; %d"}`, i%40) // some of them twice
			}
			become(t, l, append(rows, `{"sku":null}`)...)
			if got := len(heard.asked) - before; got != 1 || len(heard.args[before]) != 2*40 { // each key once in the table of keys, and once in the list
				t.Fatalf("got %d questions with %d parameters, want one with 80", got, len(heard.args[before]))
			}
			if q := heard.asked[before]; strings.Contains(q, "';") {
				t.Errorf("the keys are in the statement: %s", q)
			}
			plan := explained(t, file.Open(t), heard.asked[before], heard.args[before])
			scans := func(line string) bool { return strings.HasPrefix(line, "SCAN p") }
			if !strings.Contains(strings.Join(plan, "\n"), c.plan) || slices.ContainsFunc(plan, scans) {
				t.Errorf("got the plan\n%s\nwant %s", strings.Join(plan, "\n"), c.plan)
			}
		})
	}
}

// explained is how a database answers a question.
func explained(t *testing.T, db *stdsql.DB, query string, args []any) (plan []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
