package sql_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources/sql"
)

func newSource(t *testing.T, c sql.Config) *sql.Source {
	t.Helper()
	s, err := sql.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// read returns the rows of a source, and its error.
func read(ctx context.Context, s pipeline.Source) (rows []string, places []pipeline.Origin, err error) {
	for r, err := range s.Records(ctx) {
		if r == nil {
			return rows, places, err
		}
		row := string(r.AppendJSON(nil))
		if err != nil {
			row += ": " + err.Error()
		}
		rows, places = append(rows, row), append(places, r.Origin)
	}
	return rows, places, nil
}

const people = `CREATE TABLE people (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL DEFAULT 'a', name TEXT)`

func TestSQLConformance(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, people, `INSERT INTO people (id, name) VALUES (30, 'z'), (1, 'é "x"'), (2, NULL), (7, CAST(x'ff' AS TEXT)), (9, ''), (-3, 'y')`)
	want := []string{
		`{"id":-3,"name":"y"}`, `{"id":1,"name":"é \"x\""}`, `{"id":2,"name":null}`, `{"id":9,"name":""}`, `{"id":30,"name":"z"}`,
	}
	for name, c := range map[string]sql.Config{
		"in one go":              {Query: "SELECT id, name FROM people ORDER BY id;\n"},
		"page by page":           {Query: "SELECT id, name FROM people -- of all tenants", OrderBy: []string{"id"}},
		"a row a page":           {Query: "SELECT id, name FROM people", OrderBy: []string{"id"}, Page: 1},
		"two rows a page":        {Query: "SELECT id, name FROM people", OrderBy: []string{"id"}, Page: 2},
		"rows that fit the page": {Query: "SELECT id, name FROM people", OrderBy: []string{"id"}, Page: 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.DSN = pipeline.Secret(file.DSN)
			pipelinetest.Source(t, pipelinetest.SourceCase{
				New: func(t *testing.T) pipeline.Source { return newSource(t, c) }, Want: want, Unreadable: 1,
			})
		})
	}
}

func TestSQLConformanceOfSeveralKeys(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE a ("the ""key""" TEXT COLLATE NOCASE, score REAL, on_ BOOLEAN)`,
		`INSERT INTO a VALUES ('b', 1, 1), ('B', 0.1, 0), ('a', 9e999, 2), ('x,y="', -0.5, NULL)`)
	pipelinetest.Source(t, pipelinetest.SourceCase{
		New: func(t *testing.T) pipeline.Source {
			return newSource(t, sql.Config{
				DSN: pipeline.Secret("sqlite:" + file.DSN), Driver: "sqlite", Query: `SELECT * FROM a`, OrderBy: []string{`the "key"`, "score"}, Page: 1,
			})
		},
		Want: []string{
			`{"the \"key\"":"a","score":"Infinity","on_":2}`, `{"the \"key\"":"B","score":0.1,"on_":false}`,
			`{"the \"key\"":"b","score":1.0,"on_":true}`, `{"the \"key\"":"x,y=\"","score":-0.5,"on_":null}`,
		},
	})
}

func TestTypesOfSQLite(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, `CREATE TABLE a (i INTEGER, r REAL, s TEXT, b BLOB, d DATETIME, ts TIMESTAMP, j JSON, n NUMERIC, f BOOLEAN)`,
		`INSERT INTO a VALUES (9223372036854775807, 1e300, 'x', x'00ff', '2024-01-02 03:04:05', 1700000000, '{"a": 1}', 12.50, 1)`,
		`INSERT INTO a VALUES (-9223372036854775808, -9e999, '', x'', 'not a time', NULL, '[]', 'NaN', 'yes')`)
	got, _, err := read(t.Context(), newSource(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT *, i + 1 AS more FROM a"}))
	want := []string{
		`{"i":9223372036854775807,"r":1e+300,"s":"x","b":"AP8=","d":"2024-01-02 03:04:05","ts":1700000000,"j":"{\"a\": 1}","n":12.5,"f":true,"more":9.223372036854776e+18}`,
		`{"i":-9223372036854775808,"r":"-Infinity","s":"","b":"","d":"not a time","ts":null,"j":"[]","n":"NaN","f":"yes","more":-9223372036854775807}`,
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %v:\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, people, `INSERT INTO people VALUES (1, 'a', 'x'), (2, 'a', NULL), (3, 'a', 'x'), (4, 'b', 'y'), (5, 'b', 'y')`,
		`CREATE TABLE blobs (id BLOB)`)
	for name, c := range map[string]struct {
		config sql.Config
		want   string
		later  bool // not before a row is read
	}{
		"no such table":     {sql.Config{Query: "SELECT * FROM nobody"}, "no such table", false},
		"syntax":            {sql.Config{Query: "SELEKT 1"}, "syntax error", false},
		"a key that is not": {sql.Config{Query: "SELECT name FROM people", OrderBy: []string{"id"}}, `no column "id"; the query has name`, false},
		"a binary key":      {sql.Config{Query: "SELECT id FROM blobs", OrderBy: []string{"id"}}, "it is binary", false},
		"a key with null":   {sql.Config{Query: "SELECT * FROM people", OrderBy: []string{"name"}}, "name is null", true},
		"twice in a page":   {sql.Config{Query: "SELECT * FROM people", OrderBy: []string{"tenant"}}, "more than one row at tenant=\"a\"", true},
		"twice in two":      {sql.Config{Query: "SELECT * FROM people WHERE id <> 2", OrderBy: []string{"tenant"}, Page: 1}, "unique together", true},
		"one in each page":  {sql.Config{Query: "SELECT * FROM people WHERE id IN (1, 4, 5)", OrderBy: []string{"tenant"}, Page: 1}, "unique together", true},
		"a write in a read": {sql.Config{Query: "SELECT 1) AS q WHERE 1 = 0; DELETE FROM people; SELECT 1 FROM (SELECT 1"}, "readonly", false},
		"a write":           {sql.Config{Query: "DELETE FROM people RETURNING id"}, "syntax error", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.DSN = pipeline.Secret(file.DSN)
			s := newSource(t, c.config)
			if err := s.Probe(t.Context()); (err == nil) != c.later || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("probe: got %v, want %q", err, c.want)
			}
			if _, _, err := read(t.Context(), s); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read: got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAFileThatIsNotThereIsNotMade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.db")
	s := newSource(t, sql.Config{DSN: pipeline.Secret(path), Query: "SELECT 1"})
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no file") {
		t.Errorf("got %v, want that there is no such file", err)
	}
	if found, _ := filepath.Glob(path + "*"); found != nil {
		t.Errorf("it made %v", found)
	}
}

// run runs a pipeline from a source into memory, with state in dir.
func run(t *testing.T, dir string, c sql.Config, limit int) ([]string, engine.Summary, error) {
	t.Helper()
	sink := &pipelinetest.Memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: newSource(t, c), Sink: sink}, engine.Options{State: dir, Limit: int64(limit)})
	return sink.Rows(), s, err
}

// TestRowsThatCameLater: a run that is finished goes on with what has come behind its last
// row, and reads nothing else.
func TestRowsThatCameLater(t *testing.T) {
	t.Parallel()
	file, dir := databasetest.SQLite(t, people, `INSERT INTO people VALUES (1, 'a', 'x'), (2, 'a', 'y')`), t.TempDir()
	c := sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id FROM people", OrderBy: []string{"id"}, Page: 2}
	for i, step := range []struct {
		change string
		want   string
	}{
		{"", `{"id":1} {"id":2}`},
		{"", ""},
		{"INSERT INTO people (id) VALUES (5), (3)", `{"id":3} {"id":5}`},
	} {
		if step.change != "" {
			file.Exec(t, step.change)
		}
		rows, s, err := run(t, dir, c, 0)
		if got := strings.Join(rows, " "); err != nil || got != step.want {
			t.Errorf("run %d: got %s, %v, want %s (%+v)", i, got, err, step.want, s.Counts)
		}
	}
}

// TestRowsThatHaveChanged: where rows have come or gone in between, nothing is gone on
// with: what ended is known by its place among the rows.
func TestRowsThatHaveChanged(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"one has gone":            "DELETE FROM people WHERE id = 2",
		"one has come":            "INSERT INTO people (id) VALUES (0)",
		"the last one has gone":   "DELETE FROM people WHERE id = 4",
		"all have gone":           "DELETE FROM people",
		"one has another's place": "UPDATE people SET id = 9 WHERE id = 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, dir := databasetest.SQLite(t, people, `INSERT INTO people (id) VALUES (1), (2), (3), (4)`), t.TempDir()
			c := sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id FROM people", OrderBy: []string{"id"}}
			if rows, _, err := run(t, dir, c, 2); err != nil || len(rows) != 2 {
				t.Fatalf("got %v, %v, want two rows", rows, err)
			}
			file.Exec(t, statement)
			if rows, _, err := run(t, dir, c, 0); err == nil || len(rows) > 0 || !strings.Contains(err.Error(), "--fresh") {
				t.Errorf("got %v, %v, want that the source is not what it was", rows, err)
			}
		})
	}
}

// TestARowToGoOnWithHasGone is about rows of which one came for one that went.
func TestARowToGoOnWithHasGone(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, people, `INSERT INTO people (id) VALUES (1), (2), (3)`)
	s := newSource(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id FROM people", OrderBy: []string{"id"}})
	file.Exec(t, "UPDATE people SET id = 0 WHERE id = 2")
	if err := s.Seek(t.Context(), pipeline.Origin{Path: "id=2"}); err == nil || !strings.Contains(err.Error(), "0 rows at id=2") {
		t.Errorf("got %v, want that there is no such row", err)
	}
	for _, place := range []string{"", "id", "id=", "id=1,x=2", "name=1", "id=1 2"} {
		if err := s.Seek(t.Context(), pipeline.Origin{Path: place}); err == nil {
			t.Errorf("it goes on at %q", place)
		}
	}
}

func TestRowsThatComeWhileItRunsAreLeft(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, people, `INSERT INTO people (id) VALUES (1), (2), (3)`)
	s := newSource(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id FROM people", OrderBy: []string{"id"}, Page: 1})
	var got []string
	for r, err := range s.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(r.AppendJSON(nil)))
		file.Exec(t, fmt.Sprintf("INSERT INTO people (id) VALUES (%d)", 10+len(got))) // nobody holds a lock
	}
	if want := `{"id":1} {"id":2} {"id":3}`; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestShape(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, people)
	s := newSource(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id, upper(name) AS loud FROM people"})
	if shape := s.Shape(pipeline.Shape{}); !shape.Closed || strings.Join(shape.Names(), " ") != "id loud" {
		t.Errorf("got %+v, want id and loud alone", shape)
	}
	away := newSource(t, sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT"})
	if shape := away.Shape(pipeline.Shape{}); shape.Closed {
		t.Errorf("got %+v of a query that does not work", shape)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	err := sql.Config{Query: " ; ", OrderBy: []string{"a", "a", ""}, Page: -1}.Validate()
	for _, key := range []string{"query: ", "order_by[1]: ", "order_by[2]: ", "page: "} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want a mistake at %s", err, key)
		}
	}
	if _, err := sql.New(sql.Config{Driver: "oracle", Query: "SELECT 1"}, pipeline.Env{}); err == nil {
		t.Error("there is a driver oracle")
	}
}

// TestWithoutOrderByItIsSaid: what a run that goes on needs of the query is in what
// `validate` shows, and in the summary.
func TestWithoutOrderByItIsSaid(t *testing.T) {
	t.Parallel()
	file := databasetest.SQLite(t, people, `INSERT INTO people (id) VALUES (1), (2)`)
	for name, c := range map[string]struct {
		by   []string
		want string
	}{
		"without": {nil, "source is a query without order_by: after a kill it is read from its start again"},
		"with":    {[]string{"id"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := sql.Config{DSN: pipeline.Secret(file.DSN), Query: "SELECT id FROM people ORDER BY id", OrderBy: c.by}
			_, s, err := run(t, t.TempDir(), config, 0)
			if got := strings.Join(s.Guarantees, "\n"); err != nil || (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
			if got := engine.GuaranteeOf(newSource(t, config)); (got == "") != (c.want == "") {
				t.Errorf("validate says %q", got)
			}
		})
	}
}

// TestOver reads from a database that the program opened, which stays open.
func TestOver(t *testing.T) {
	t.Parallel()
	db, err := stdsql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := sql.Over(db, sql.Config{Query: "SELECT 1"}, pipeline.Env{}); err == nil {
		t.Error("it does not ask which database it is")
	}
	s, err := sql.Over(db, sql.Config{Driver: "sqlite", Query: "SELECT 1 AS one"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if rows, _, err := read(t.Context(), s); err != nil || strings.Join(rows, "") != `{"one":1}` {
		t.Errorf("got %v, %v", rows, err)
	}
	if err := s.Close(); err != nil || db.PingContext(t.Context()) != nil {
		t.Errorf("the program's database is closed: %v", err)
	}
}
