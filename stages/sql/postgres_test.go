//go:build unix

package sql_test

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages/sql"
)

// postgres is the server of the package's tests.
var postgres databasetest.Postgres

func TestMain(m *testing.M) { postgres.Main(m) }

func TestSQLLookupConformanceWithPostgres(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE prices (sku int8 PRIMARY KEY, price numeric, tags text[], "more ""it""" jsonb)`,
		`INSERT INTO prices VALUES (1, 1.50, '{a,NULL}', '{"b": 1.0}'), (9223372036854775807, 'NaN', '{}', NULL)`)
	for name, c := range map[string]pipelinetest.StageCase{
		"a table": {
			New:     making(sql.Config{DSN: pipeline.Secret(d.DSN), Table: "prices", On: "sku"}),
			Rows:    []string{`{"sku":"1","n": 1}`, `{"sku":1.0}`, `{"sku":9223372036854775807}`},
			Failing: []string{`{"sku":2}`, `{"sku":null}`, `{"n":1}`, `{"sku":"a"}`, `{"sku":1.5}`, `{"sku":1,"price":1}`, `{"sku":"\u0000"}`},
			Want: []string{
				`{"sku":"1","n":1,"price":1.50,"tags":["a",null],"more \"it\"":{"b": 1.0}}`, `{"sku":1.0,"price":1.50,"tags":["a",null],"more \"it\"":{"b": 1.0}}`,
				`{"sku":9223372036854775807,"price":"NaN","tags":[],"more \"it\"":null}`,
			},
		},
		"a query, one at a time": {
			New: making(sql.Config{
				DSN: pipeline.Secret(d.DSN), Driver: "postgres", Query: "SELECT sku::text AS id, price * 2 AS twice FROM prices -- all;\n;", On: "lower(sku)", Key: "id",
				Take: []string{"twice"}, As: "found", Missing: "null", Batch: 1,
			}),
			Rows: []string{`{"sku":"1","found":0}`, `{"sku":"01"}`, `{"sku":"\u0000"}`},
			Want: []string{`{"sku":"1","found":{"twice":3.00}}`, `{"sku":"01","found":null}`, `{"sku":"\u0000","found":null}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Workload = sql.Spec().Workload
			pipelinetest.Stage(t, c)
		})
	}
}

// TestKeysOfPostgres: the database compares, by the type of the column. A key is never cut to
// a length, and one that is none of its type is one that no row has, whatever stands beside it.
func TestKeysOfPostgres(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TYPE mood AS ENUM ('glad', 'sad')`, `CREATE DOMAIN code AS varchar(3)`, `CREATE DOMAIN codes AS code CHECK (VALUE <> 'bad')`,
		`CREATE TABLE keys (v text PRIMARY KEY, i int4, l int8, n numeric(9, 2), f float8, s text, c char(3), vc varchar(3), bits bit(3), dom codes, b bytea, o bool,
			u uuid, d date, ts timestamptz, m mood, j jsonb)`,
		`INSERT INTO keys (v, i) VALUES ('seven', 7), ('least', -2147483648)`, `INSERT INTO keys (v, l) VALUES ('large', 9007199254740993)`,
		`INSERT INTO keys (v, n) VALUES ('1.5', 1.5), ('no number', 'NaN')`, `INSERT INTO keys (v, f) VALUES ('tenth', 0.1), ('endless', 'Infinity')`,
		`INSERT INTO keys (v, s) VALUES ('text 7', '7'), ('empty', ''), ('list', '[1, 2]'), ('quote', '"''{},\); --'), ('NULL', 'NULL'), ('star', '★')`,
		`INSERT INTO keys (v, c) VALUES ('x', 'x'), ('abc', 'abc')`, `INSERT INTO keys (v, vc) VALUES ('abc of vc', 'abc')`, `INSERT INTO keys (v, bits) VALUES ('101', '101')`,
		`INSERT INTO keys (v, dom) VALUES ('abc of dom', 'abc')`, `INSERT INTO keys (v, b) VALUES ('bytes', '\x00ff')`, `INSERT INTO keys (v, o) VALUES ('yes', true)`,
		`INSERT INTO keys (v, u) VALUES ('an id', 'a1111111-2222-3333-4444-555555555555')`, `INSERT INTO keys (v, d) VALUES ('a day', '2024-02-29')`,
		`INSERT INTO keys (v, ts) VALUES ('a time', '2024-01-01T00:00:00Z')`, `INSERT INTO keys (v, m) VALUES ('sad', 'sad')`,
		`INSERT INTO keys (v, j) VALUES ('an object', '{"a": 1, "b": 2}')`)
	for column, rows := range map[string]string{
		"i":    `7 seven|7.0 seven|"7" seven|7e0 seven|" 07 " seven|-2147483648 least|2147483648 |"n/a" |true |[7] |"" |1.5 |"\u0000" `,
		"l":    `9007199254740993 large|9007199254740992 |9223372036854775808 `,
		"n":    `1.5 1.5|1.50 1.5|"1.5" 1.5|"NaN" no number|1e400 |"x" |true `,
		"f":    `0.1 tenth|1e-1 tenth|"Infinity" endless|1e400 |"x" `,
		"s":    `"7" text 7|7 text 7|7.0 |"" empty|[1, 2] list|"\"'{},\\); --" quote|"NULL" NULL|"★" star|"\u0000" `,
		"c":    `"x" x|"x  " x|"abc" abc|"abcd" `,
		"vc":   `"abc" abc of vc|"abcd" `,
		"bits": `"101" 101|"1010" |"1" |"x" `,
		"dom":  `"abc" abc of dom|"abcd" |"bad" `,
		"b":    `"AP8=" bytes|"AP8" |"\\x00ff" `,
		"o":    `true yes|1 yes|"yes" yes|false |"perhaps" `,
		"u":    `"A1111111-2222-3333-4444-555555555555" an id|"a1111111" |7 `,
		"d":    `"2024-02-29" a day|"2024-2-29" a day|"2023-02-29" |"" `,
		"ts":   `"2024-01-01T01:00:00+01:00" a time|"2024-01-01" a time|"soon" `,
		"m":    `"sad" sad|"glad" |"mad" `,
		"j":    `{"b":2, "a":1} an object|{"a":1} |"x" `,
	} {
		l := newLookup(t, sql.Config{DSN: pipeline.Secret(d.DSN + "&timezone=UTC"), Table: "keys", On: "k", Key: column, Take: []string{"v"}, Missing: "null"})
		keys(t, l, column, rows)
	}
}

// TestARowThatPostgresCannotCompute is one record's error; the others are looked up.
func TestARowThatPostgresCannotCompute(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE p (id int4 PRIMARY KEY, n int4)`, `INSERT INTO p SELECT i, i FROM generate_series(-3, 3) AS i`)
	l := newLookup(t, sql.Config{DSN: pipeline.Secret(d.DSN), Query: "SELECT id, 6 / n AS share FROM p", On: "id"})
	got := become(t, l, `{"id":1}`, `{"id":0}`, `{"id":3}`, `{"id":4}`)
	equal(t, "rows", got, `{"id":1,"share":6}`, `sqlstate_22012: the query: ERROR: division by zero (SQLSTATE 22012)`, `{"id":3,"share":2}`,
		`lookup_missing: no row of the query has the id "4"`)
}

// TestWhatPostgresRefuses is said before the first row, without a password.
func TestWhatPostgresRefuses(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE p (id int4, doc json, list int8[])`, `CREATE TABLE closed (id int4)`, `DO $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stranger') THEN CREATE ROLE stranger LOGIN; END IF;
		EXECUTE format('GRANT USAGE ON SCHEMA %I TO stranger', current_schema()); END $$`)
	for name, c := range map[string]struct {
		config sql.Config
		class  pipeline.Class
		says   string
	}{
		"no table":             {sql.Config{Table: "Prices", On: "id"}, pipeline.ClassFatal, `table Prices is not there: ERROR: relation "Prices" does not exist`},
		"no column":            {sql.Config{Table: "p", On: "sku"}, pipeline.ClassFatal, `table p has no column "sku"; it has id, doc, list`},
		"a column twice":       {sql.Config{Query: "SELECT id, id FROM p", On: "id"}, pipeline.ClassFatal, `two columns are called "id"`},
		"no comparing":         {sql.Config{Table: "p", On: "doc"}, pipeline.ClassFatal, `table p cannot be looked up by the column "doc": ERROR: operator does not exist: json = json`},
		"a list":               {sql.Config{Table: "p", On: "list"}, pipeline.ClassFatal, `table p cannot be looked up by the column "list": ERROR: operator does not exist: bigint[] = bigint`},
		"no right":             {sql.Config{DSN: pipeline.Secret(strings.Replace(d.DSN, "postgres@", "stranger:hunter2@", 1)), Table: "closed", On: "id"}, pipeline.ClassFatal, "permission denied for table closed"},
		"one that writes":      {sql.Config{Query: "DELETE FROM p RETURNING id", On: "id"}, pipeline.ClassFatal, "syntax error"},
		"nobody there":         {sql.Config{DSN: "postgres://u:hunter2@127.0.0.1:1/x", Table: "p", On: "id"}, pipeline.ClassTransient, "127.0.0.1:1"},
		"no such database":     {sql.Config{DSN: pipeline.Secret(strings.Replace(d.DSN, "postgres@127.0.0.1", "postgres:hunter2@127.0.0.1", 1) + "&dbname=nobody"), Table: "p", On: "id"}, pipeline.ClassFatal, `"nobody" does not exist`},
		"a dsn of no use":      {sql.Config{DSN: "postgres://u:hunter2@[/x", Table: "p", On: "id"}, pipeline.ClassFatal, "cannot parse"},
		"none, but a table is": {sql.Config{Table: "p", On: "id"}, pipeline.ClassRecord, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.config.DSN == "" {
				c.config.DSN = pipeline.Secret(d.DSN)
			}
			err := newLookup(t, c.config).Probe(t.Context())
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			class, _ := pipeline.Classify(err)
			if err == nil || class != c.class || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v (%v), want %v, %q and no password", err, class, c.class, c.says)
			}
		})
	}
}

// TestLostConnections ends the connections while records are looked up: the questions are
// asked again, and every record gets its row. There are no more connections than parallelism
// says.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE p AS SELECT i AS id, 'row ' || i AS v FROM generate_series(0, 599) AS i`)
	rows, want := make([]string, 600), make([]string, 600)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"id":%d}`, i)
		want[i] = fmt.Sprintf(`{"id":%d,"v":"row %[1]d"}`, i)
	}
	n := 0
	cut := pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if n++; n%200 == 100 {
			d.Exec(t, `DO $$ BEGIN
				IF (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lookup_victim') > 4 THEN RAISE 'too many connections'; END IF;
				PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lookup_victim';
			END $$`)
		}
		return []*pipeline.Record{r}, nil
	})
	sink := &pipelinetest.Memory{}
	summary, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: pipelinetest.Rows(t, rows), Sink: sink,
		Steps: []pipeline.Step{
			{Stage: cut, StepOptions: pipeline.StepOptions{Parallelism: 1}},
			{
				Stage:    newLookup(t, sql.Config{DSN: pipeline.Secret(d.DSN + "&application_name=lookup_victim"), Table: "p", On: "id", Batch: 3}),
				Workload: sql.Spec().Workload, StepOptions: pipeline.StepOptions{Parallelism: 4},
			},
		},
	}, engine.Options{Preflight: true})
	if err != nil || summary.Counts.Delivered != 600 {
		t.Errorf("got %v, %+v, want all delivered", err, summary.Counts)
	}
	equal(t, "rows", sink.Rows(), want...)
}

// TestTheIndexOfPostgres: of a large table only the rows of the keys are read, of a grouped
// query as well.
func TestTheIndexOfPostgres(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE large (id int8 PRIMARY KEY, sku varchar(20) UNIQUE, n numeric)`,
		`INSERT INTO large SELECT i, 'sku ' || i, i FROM generate_series(1, 100000) AS i`, `ANALYZE large`)
	for name, c := range map[string]sql.Config{
		"by a number":     {Table: "large", On: "k", Key: "id"},
		"by a text":       {Table: "large", On: "'sku ' + string(k)", Key: "sku"},
		"a grouped query": {Query: "SELECT sku, sum(n) AS n FROM large GROUP BY sku", On: "'sku ' + string(k)", Key: "sku"},
		"a distinct one":  {Query: "SELECT DISTINCT ON (id) * FROM large ORDER BY id, sku", On: "k", Key: "id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := &listening{path: d.DSN, via: pgx(t)}
			db := stdsql.OpenDB(heard)
			t.Cleanup(func() { _ = db.Close() })
			c.Driver = "postgres"
			l, err := sql.Over(db, c, pipeline.Env{})
			if err != nil {
				t.Fatal(err)
			}
			rows := make([]string, 100)
			for i := range rows {
				rows[i] = fmt.Sprintf(`{"k":%d}`, 1+i*100)
			}
			for i, got := range become(t, l, rows...) {
				if !strings.Contains(got, fmt.Sprintf(`"n":%d`, 1+i*100)) {
					t.Errorf("got %s for %s", got, rows[i])
				}
			}
			last := len(heard.asked) - 1
			plan := strings.Join(planOf(t, db, heard.asked[last], heard.args[last]), "\n")
			if strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, "Index") {
				t.Errorf("the table is read as a whole:\n%s", plan)
			}
		})
	}
}

// pgx is the driver.
func pgx(t *testing.T) driver.Driver {
	t.Helper()
	db, err := stdsql.Open("pgx", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return db.Driver()
}

// planOf is how PostgreSQL answers a question.
func planOf(t *testing.T, db *stdsql.DB, query string, args []any) (plan []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
