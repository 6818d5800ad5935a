package sql_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages/sql"
)

func newLookup(t *testing.T, c sql.Config) *sql.Lookup {
	t.Helper()
	l, err := sql.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// making returns what makes the stage again and again.
func making(c sql.Config) func(*testing.T) pipeline.Stage {
	return func(t *testing.T) pipeline.Stage { return newLookup(t, c) }
}

// become returns what becomes of rows in one batch.
func become(t *testing.T, l *sql.Lookup, rows ...string) []string {
	t.Helper()
	batch := make([]*pipeline.Record, len(rows))
	for i, row := range rows {
		batch[i] = pipelinetest.Record(t, row)
	}
	out := make([]string, len(rows))
	for i, o := range l.ProcessBatch(t.Context(), batch) {
		for _, r := range o.Records {
			out[i] += string(r.AppendJSON(nil))
		}
		if o.Err != nil {
			_, code := pipeline.Classify(o.Err)
			out[i] = code + ": " + o.Err.Error()
		}
	}
	return out
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSQLLookupConformance(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE "the prices" ("the ""sku""" TEXT PRIMARY KEY, price REAL, more BLOB, sold BOOLEAN)`,
		`INSERT INTO "the prices" VALUES ('a', 1.5, x'00ff', 1), ('7', 2, NULL, 0), ('bad', 0, CAST(x'ff' AS TEXT), NULL)`)
	for name, c := range map[string]pipelinetest.StageCase{
		"a table": {
			New:  making(sql.Config{DSN: pipeline.Secret(file.DSN), Table: "the prices", On: "sku", Key: `the "sku"`}),
			Rows: []string{`{"sku":"a","n": 1}`, `{"sku":7}`, `{"sku":"\u0061"}`, `{"sku":"7"}`}, Failing: []string{
				`{"sku":"b"}`, `{"sku":null}`, `{"n":1}`, `{"sku":7.0}`, `{"sku":"a","price":1}`, `{"sku":"bad"}`,
			},
			Want: []string{
				`{"sku":"a","n":1,"price":1.5,"more":"AP8=","sold":true}`, `{"sku":7,"price":2.0,"more":null,"sold":false}`,
				`{"sku":"\u0061","price":1.5,"more":"AP8=","sold":true}`, `{"sku":"7","price":2.0,"more":null,"sold":false}`,
			},
		},
		"a query, into one field, two at once": {
			New: making(sql.Config{
				DSN: pipeline.Secret(file.DSN), Query: "SELECT CAST(upper(\"the \"\"sku\"\"\") AS TEXT) AS id, price, sold FROM \"the prices\" -- all\n;",
				On: "upper(sku)", Key: "id", Take: []string{"sold", "price"}, As: "found", Batch: 2,
			}),
			Rows: []string{`{"sku":"a","found":0}`, `{"sku":"A"}`, `{"sku":"7"}`}, Failing: []string{`{"sku":"b"}`},
			Want: []string{`{"sku":"a","found":{"sold":true,"price":1.5}}`, `{"sku":"A","found":{"sold":true,"price":1.5}}`, `{"sku":"7","found":{"sold":false,"price":2.0}}`},
		},
		"nulls": {
			New:  making(sql.Config{DSN: pipeline.Secret(file.DSN), Table: "the prices", On: "sku", Key: `the "sku"`, Take: []string{"price"}, Missing: "null"}),
			Rows: []string{`{"sku":"b","price":0}`, `{"sku":null}`, `{}`, `{"sku":"a","price":0}`},
			Want: []string{`{"sku":"b","price":null}`, `{"sku":null,"price":null}`, `{"price":null}`, `{"sku":"a","price":1.5}`},
		},
		"a null for a row": {
			New:  making(sql.Config{DSN: pipeline.Secret(file.DSN), Table: "the prices", On: "sku", Key: `the "sku"`, As: "found", Take: []string{"price"}, Missing: "null"}),
			Rows: []string{`{"sku":"b"}`}, Want: []string{`{"sku":"b","found":null}`},
		},
		"drops": {
			New:  making(sql.Config{DSN: pipeline.Secret(file.DSN), Table: "the prices", On: "sku", Key: `the "sku"`, Take: []string{"price"}, Missing: "drop", Batch: 1}),
			Rows: []string{`{"sku":"b"}`, `{"sku":null}`, `{"sku":"a"}`}, Want: []string{`{"sku":"a","price":1.5}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Workload = sql.Spec().Workload
			pipelinetest.Stage(t, c)
		})
	}
}

// TestKeysOfSQLite: the database compares, by the type of the column.
func TestKeysOfSQLite(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE keys (v TEXT PRIMARY KEY, i INTEGER, r REAL, s TEXT, n NUMERIC, b BLOB, c TEXT COLLATE NOCASE, o BOOLEAN, u, d DATE)`,
		`INSERT INTO keys (v, i) VALUES ('seven', 7), ('large', 9007199254740993), ('least', -9223372036854775808)`,
		`INSERT INTO keys (v, r) VALUES ('tenth', 0.1), ('endless', 9e999)`,
		`INSERT INTO keys (v, s) VALUES ('text 7', '7'), ('text 7.0', '7.0'), ('text 07', '07'), ('empty', ''), ('list', '[1, 2]'), ('true', 'true'), ('quote', '"''); --'), ('star', CAST(x'e29885' AS TEXT))`,
		`INSERT INTO keys (v, n) VALUES ('1.5', 1.50)`, `INSERT INTO keys (v, b) VALUES ('bytes', x'00ff')`, `INSERT INTO keys (v, c) VALUES ('case', 'Ab')`,
		`INSERT INTO keys (v, o) VALUES ('yes', 1)`, `INSERT INTO keys (v, u) VALUES ('untyped 7', 7), ('untyped text 8', '8')`, `INSERT INTO keys (v, d) VALUES ('a day', '2024-02-29')`)
	for column, rows := range map[string]string{
		"i": `7 seven|7.0 seven|"7" seven|7e0 seven|"07" seven|9007199254740993 large|9007199254740992 |-9223372036854775808 least|9223372036854775808 |"n/a" |true |[7] |"" `,
		"r": `0.1 tenth|"0.1" tenth|1e-1 tenth|"Infinity" endless|0.2 `,
		"s": `"7" text 7|7 text 7|7.0 text 7.0|"07" text 07|"" empty|[1, 2] list|true true|"\"'); --" quote|"★" star|"7 " `,
		"n": `1.5 1.5|1.50 1.5|"1.5" 1.5|2 `,
		"b": `"AP8=" bytes|"AP8" |"%" `,
		"c": `"aB" case|"ab" case|"abc" `,
		"o": `true yes|1 yes|false `,
		"u": `7 untyped 7|7.0 untyped 7|"7" |"8" untyped text 8|8 `,
		"d": `"2024-02-29" a day|"2024-2-29" `,
	} {
		l := newLookup(t, sql.Config{DSN: pipeline.Secret(file.DSN), Table: "main.keys", On: "k", Key: column, Take: []string{"v"}, Missing: "null"})
		keys(t, l, column, rows)
	}
}

// keys looks keys up, each in JSON and followed by a blank and what must be found for it, if
// anything; together, and one by one.
func keys(t *testing.T, l *sql.Lookup, column, pairs string) {
	t.Helper()
	var rows, want []string
	for pair := range strings.SplitSeq(pairs, "|") {
		v, rest := keyOf(pair)
		rows = append(rows, `{"k":`+v+`}`)
		found := "null"
		if rest != "" {
			found = `"` + rest + `"`
		}
		want = append(want, fmt.Sprintf(`{"k":%s,"v":%s}`, v, found))
	}
	equal(t, "by "+column+", in one batch", become(t, l, rows...), want...)
	for i, row := range rows {
		equal(t, "by "+column+", alone", become(t, l, row), want[i])
	}
}

// keyOf takes the JSON at the start of a text apart from what follows it and a blank.
func keyOf(pair string) (value, rest string) {
	for i, r := range pair {
		if _, err := pipeline.ParseValue([]byte(pair[:i])); r == ' ' && err == nil {
			return pair[:i], pair[i+1:]
		}
	}
	return pair, ""
}

// TestTwoRowsOfOneKey are no row to choose from.
func TestTwoRowsOfOneKey(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE p (sku TEXT, price INTEGER)`, `INSERT INTO p VALUES ('a', 1), ('a', 2), ('b', 3), (NULL, 4), (NULL, 5)`)
	l := newLookup(t, sql.Config{DSN: pipeline.Secret(file.DSN), Table: "p", On: "sku"})
	equal(t, "rows", become(t, l, `{"sku":"a"}`, `{"sku":"b"}`, `{"sku":"a"}`, `{"sku":null}`),
		`lookup_duplicate: table p has 2 rows with the sku "a"; make it unique, in a query with GROUP BY or DISTINCT ON`, `{"sku":"b","price":3}`,
		`lookup_duplicate: table p has 2 rows with the sku "a"; make it unique, in a query with GROUP BY or DISTINCT ON`,
		`lookup_missing: sku is null or missing; missing: null or missing: drop are for that`)
	l = newLookup(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT sku, min(price) AS price FROM p GROUP BY sku", On: "sku"})
	equal(t, "rows", become(t, l, `{"sku":"a"}`, `{"sku":"c"}`), `{"sku":"a","price":1}`, `lookup_missing: no row of the query has the sku "c"`)
}

// TestARowThatCannotBeComputed is one record's error; the others are looked up.
func TestARowThatCannotBeComputed(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE p (id INTEGER PRIMARY KEY, doc TEXT)`, `INSERT INTO p VALUES (1, '{"a":1}'), (2, 'no JSON'), (3, '{"a":3}')`)
	l := newLookup(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id, doc ->> 'a' AS a FROM p", On: "id"})
	got := become(t, l, `{"id":1}`, `{"id":2}`, `{"id":3}`, `{"id":4}`)
	if !strings.HasPrefix(got[1], "refused: the query: ") || !strings.Contains(got[1], "JSON") {
		t.Errorf("got %s, want what the database says", got[1])
	}
	got[1] = ""
	equal(t, "rows", got, `{"id":1,"a":1}`, "", `{"id":3,"a":3}`, `lookup_missing: no row of the query has the id "4"`)
}

// TestWhatIsWrongWithTheTable is said before the first row, and as often as it is asked for.
func TestWhatIsWrongWithTheTable(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE p (sku TEXT, price INTEGER)`)
	for name, c := range map[string]struct {
		config sql.Config
		says   string
	}{
		"no file":          {sql.Config{DSN: pipeline.Secret(file.DSN + "x"), Table: "p", On: "sku"}, "there is no file " + file.DSN + "x; check `dsn`"},
		"no table":         {sql.Config{Table: "q", On: "sku"}, "table q is not there: SQL logic error: no such table: q (1); check its name"},
		"no key":           {sql.Config{Table: "p", On: "id"}, `table p has no column "id"; it has sku, price`},
		"no column":        {sql.Config{Table: "p", On: "sku", Take: []string{"cost"}}, `table p has no column "cost"; it has sku, price`},
		"no SQL":           {sql.Config{Query: "SELEKT 1", On: "sku"}, "the query: "},
		"one that writes":  {sql.Config{Query: "DELETE FROM p RETURNING *", On: "sku"}, "the query: "},
		"a table like SQL": {sql.Config{Table: `p WHERE 1=1; --`, On: "sku"}, "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.config.DSN == "" {
				c.config.DSN = pipeline.Secret(file.DSN)
			}
			l := newLookup(t, c.config)
			_, processErr := l.Process(t.Context(), pipelinetest.Record(t, `{"sku":"a","id":1}`))
			for _, err := range []error{l.Probe(t.Context()), processErr} {
				if class, _ := pipeline.Classify(err); err == nil || class != pipeline.ClassFatal || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want a fatal error that says %q", err, c.says)
				}
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	keysOf := func(err error) (keys []string) {
		var list pipeline.Problems
		if err != nil && !errors.As(err, &list) {
			t.Fatalf("got %v, want Problems", err)
		}
		for _, p := range list {
			keys = append(keys, p.Key)
		}
		return keys
	}
	shape := pipeline.Shape{Closed: true}.With("id", pipeline.AnyType)
	for name, c := range map[string]struct {
		config sql.Config
		want   []string
	}{
		"nothing":               {sql.Config{}, []string{"table", "on"}},
		"both":                  {sql.Config{Table: "t", Query: "SELECT 1", On: "id"}, []string{"query"}},
		"an empty query":        {sql.Config{Query: " ; ", On: "id"}, []string{"table"}},
		"no table's name":       {sql.Config{Table: "a..b", On: "id"}, []string{"table"}},
		"choices":               {sql.Config{Table: "t", On: "id", Missing: "x", Take: []string{"a", "a"}, Batch: -1}, []string{"missing", "take[1]", "batch"}},
		"no such driver":        {sql.Config{Driver: "oracle", Table: "t", On: "id"}, []string{"driver"}},
		"an expression":         {sql.Config{Table: "t", On: "lower(id)"}, []string{"key"}},
		"a field that is not":   {sql.Config{Table: "t", On: "sku"}, []string{"on"}},
		"nothing that is wrong": {sql.Config{Table: "t", On: "lower(id)", Key: "id"}, nil},
	} {
		_, err := sql.New(c.config, pipeline.Env{Shape: shape})
		equal(t, name, keysOf(err), c.want...)
	}
	_, err := sql.Over(nil, sql.Config{Table: "t", On: "id"}, pipeline.Env{})
	equal(t, "over a database without a name", keysOf(err), "driver")
}

// TestOverADatabaseOfTheProgram: it stays open, with the connections that it had.
func TestOverADatabaseOfTheProgram(t *testing.T) {
	t.Parallel()
	db := databasetest.SQLite(t, `CREATE TABLE p (id INTEGER, v TEXT)`, `INSERT INTO p VALUES (1, 'x')`).Open(t)

	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(3)
	l, err := sql.Over(db, sql.Config{Driver: "sqlite", Table: "p", On: "id"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	l.Scale(16)
	equal(t, "rows", become(t, l, `{"id":1}`), `{"id":1,"v":"x"}`)
	if err := errors.Join(l.Close(), db.PingContext(t.Context())); err != nil || db.Stats().MaxOpenConnections != 3 {
		t.Errorf("got %v, %d connections, want an open database with 3", err, db.Stats().MaxOpenConnections)
	}
}

// TestALookupThatIsGivenUp ends with its context, also while it waits for the database.
func TestALookupThatIsGivenUp(t *testing.T) {
	t.Parallel()
	l := newLookup(t, sql.Config{DSN: pipeline.Secret(databasetest.SQLite(t, `CREATE TABLE p (id INTEGER, v TEXT)`).DSN), Table: "p", On: "id"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 { // before and behind the first question
		if _, err := l.Process(ctx, pipelinetest.Record(t, `{"id":1}`)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if err := l.Probe(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestALockedDatabase is waited for: the error is one after which another attempt is made.
func TestALockedDatabase(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE p (id INTEGER, v TEXT)`, `INSERT INTO p VALUES (1, 'x')`)
	db := file.Open(t)
	one, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		t.Helper()
		if _, err := one.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	l := newLookup(t, sql.Config{DSN: pipeline.Secret(file.Address + "?_pragma=busy_timeout(1)"), Table: "p", On: "id"})
	if err := l.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec("BEGIN EXCLUSIVE")
	_, err = l.Process(t.Context(), pipelinetest.Record(t, `{"id":1}`))
	if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || code != "busy" {
		t.Errorf("got %v, %s (%v), want transient, busy", class, code, err)
	}
	exec("COMMIT")
	equal(t, "rows", become(t, l, `{"id":1}`), `{"id":1,"v":"x"}`)
}

// TestWhatWasFoundIsNotAskedAgain: what a record became is in the journal. Here the run fails
// in the sink, and goes on when the table has changed.
func TestWhatWasFoundIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE p (id INTEGER, v TEXT)`, `INSERT INTO p VALUES (1, 'before')`)
	state := t.TempDir()
	sink := &refusing{Memory: &pipelinetest.Memory{}}
	run := func() error {
		_, err := engine.Run(t.Context(), pipeline.Pipeline{
			Source: pipelinetest.Rows(t, []string{`{"id":1}`}), Sink: sink,
			Steps: []pipeline.Step{{
				Stage:    newLookup(t, sql.Config{DSN: pipeline.Secret(file.DSN), Table: "p", On: "id"}),
				Workload: sql.Spec().Workload, Costs: sql.Spec().Costs, StepOptions: pipeline.StepOptions{Name: "prices"},
			}},
		}, engine.Options{State: state})
		return err
	}
	sink.err = pipeline.Fatal("full", errors.New("the disk is full"))
	if err := run(); err == nil {
		t.Fatal("the sink fails, and the run does not")
	}
	file.Exec(t, `UPDATE p SET v = 'after'`)
	sink.err = nil
	if err := run(); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", sink.Rows(), `{"id":1,"v":"before"}`)
}

// refusing is a sink that can fail.
type refusing struct {
	*pipelinetest.Memory
	err error
}

func (s *refusing) Write(ctx context.Context, batch []*pipeline.Record) error {
	if s.err != nil {
		return s.err
	}
	return s.Memory.Write(ctx, batch)
}
