package sql_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks/sql"
)

func newSink(t *testing.T, c sql.Config) *sql.Sink {
	t.Helper()
	s, err := sql.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

const (
	labels   = `CREATE TABLE labels (id INTEGER PRIMARY KEY, label TEXT CHECK (label <> 'bad'), more JSON, UNIQUE (label))`
	asStored = `SELECT json_object('id', id, 'label', label, 'more', json(more)) FROM labels ORDER BY id`
)

func TestSQLConformance(t *testing.T) {
	t.Parallel()
	rows := []string{`{"id":1,"label":"é \"x\"","more":{"a":[1]}}`, `{"id":2,"label":null,"more":null}`, `{"id":9007199254740993,"label":"y","more":[]}`}
	refused := []string{`{"id":3,"label":"bad"}`, `{"id":4,"colour":"red"}`, `{"id":"five"}`}
	for name, c := range map[string]struct {
		config  sql.Config
		refused []string
	}{
		"update": {sql.Config{Key: []string{"id"}}, append(refused, `{"label":"no key"}`, `{"id":null}`)},
		"ignore": {sql.Config{Key: []string{"id"}, OnConflict: "ignore"}, refused},
		"error":  {sql.Config{Key: []string{"id"}, OnConflict: "error"}, append(refused, `{"id":1,"label":"another"}`)},
		"columns": {sql.Config{Key: []string{"id"}, Columns: pipeline.Pairs{
			{Key: "more", Value: "more"}, {Key: "label", Value: "label"}, {Key: "id", Value: "id"},
		}}, append(refused[:1:1], `{"label":"no key"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f databasetest.Database
			build := func(t *testing.T) pipeline.Sink {
				c.config.DSN, c.config.Table = pipeline.Secret(f.DSN), "labels"
				return newSink(t, c.config)
			}
			pipelinetest.Sink(t, pipelinetest.SinkCase{
				New:   func(t *testing.T) pipeline.Sink { f = databasetest.SQLite(t, labels); return build(t) },
				Again: build,
				Rows:  rows, Refused: c.refused,
				Read: func(t *testing.T) []string { return f.Rows(t, asStored) },
			})
		})
	}
}

// TestSQLConformanceWithoutKey has every row added.
func TestSQLConformanceWithoutKey(t *testing.T) {
	t.Parallel()
	var f databasetest.Database
	pipelinetest.Sink(t, pipelinetest.SinkCase{
		New: func(t *testing.T) pipeline.Sink {
			f = databasetest.SQLite(t, `CREATE TABLE labels (id INTEGER, label TEXT CHECK (label <> 'bad'))`)
			return newSink(t, sql.Config{DSN: pipeline.Secret(f.DSN), Table: "labels"})
		},
		Rows: []string{`{"id":1,"label":"x"}`, `{"id":2,"label":"y"}`, `{"id":3,"label":"z"}`}, Refused: []string{`{"label":"bad"}`, `{}`},
		Read: func(t *testing.T) []string {
			return f.Rows(t, `SELECT json_object('id', id, 'label', label) FROM labels ORDER BY rowid`)
		},
	})
}

// TestWrittenBefore: a row that is refused because it is there, just as it would be
// written, was written before a kill.
func TestWrittenBefore(t *testing.T) {
	t.Parallel()
	for _, c := range []sql.Config{{}, {Key: []string{"id"}, OnConflict: "error"}} {
		f := databasetest.SQLite(t, labels)
		c.DSN, c.Table = pipeline.Secret(f.DSN), "labels"
		s := newSink(t, c)
		write(t, s, `{"id":1,"label":"x"}`, `{"id":2,"label":null,"more":[1]}`)
		refused := write(t, s, `{"id":1,"label":"x"}`, `{"id":3,"label":"new"}`, `{"id":2,"label":null,"more":[1]}`, `{"id":1,"label":null}`)
		if len(refused) != 1 || refused[3] == nil {
			t.Errorf("with key %v: refused are %v, want the last one alone", c.Key, refused)
		}
		equal(t, "rows", f.Rows(t, asStored), `{"id":1,"label":"x","more":null}`, `{"id":2,"label":null,"more":[1]}`, `{"id":3,"label":"new","more":null}`)
	}
}

// write writes rows in one batch and returns what was refused.
func write(t *testing.T, s pipeline.Sink, rows ...string) map[int]error {
	t.Helper()
	batch := make([]*pipeline.Record, len(rows))
	for i, row := range rows {
		batch[i] = pipelinetest.Record(t, row)
	}
	err := s.Write(t.Context(), batch)
	var refused *pipeline.BatchError
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if refused == nil {
		return nil
	}
	return refused.Refused
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestUpserts: a batch is as if its rows were written one after the other.
func TestUpserts(t *testing.T) {
	t.Parallel()
	for choice, want := range map[string][]string{
		"update": {`{"a":1,"b":"x","c":"last","d":"kept"}`, `{"a":1,"b":"y","c":"2","d":"default"}`, `{"a":2,"b":"x","c":"default","d":"default"}`},
		"ignore": {`{"a":1,"b":"x","c":"kept","d":"kept"}`, `{"a":1,"b":"y","c":"1","d":"default"}`, `{"a":2,"b":"x","c":"default","d":"default"}`},
	} {
		t.Run(choice, func(t *testing.T) {
			t.Parallel()
			f := databasetest.SQLite(t, `CREATE TABLE "odd ""name""" (a INT, b TEXT, c TEXT DEFAULT 'default', d TEXT DEFAULT 'default', UNIQUE (b, a))`,
				`INSERT INTO "odd ""name""" VALUES (1, 'x', 'kept', 'kept')`)
			s := newSink(t, sql.Config{DSN: pipeline.Secret(f.DSN), Table: `odd "name"`, Key: []string{"a", "b"}, OnConflict: choice})
			refused := write(t, s, `{"a":1,"b":"x","c":"first"}`, `{"a":1,"b":"y","c":"1"}`, `{"b":"x","a":1,"c":"last"}`, `{"a":2,"b":"x"}`, `{"a":1,"b":"y","c":"2"}`)
			if refused != nil {
				t.Errorf("refused: %v", refused)
			}
			equal(t, choice, f.Rows(t, `SELECT json_object('a', a, 'b', b, 'c', c, 'd', d) FROM "odd ""name""" ORDER BY a, b`), want...)
		})
	}
}

// TestALargeBatch is about the bounds of a statement, and about rows that are refused
// among many.
func TestALargeBatch(t *testing.T) {
	t.Parallel()
	columns := make([]string, 70)
	for i := range columns {
		columns[i] = fmt.Sprintf("c%d TEXT", i)
	}
	f := databasetest.SQLite(t, `CREATE TABLE wide (id INTEGER PRIMARY KEY, `+strings.Join(columns, ", ")+`, CHECK (id % 400 <> 7))`)
	s := newSink(t, sql.Config{DSN: pipeline.Secret(f.DSN), Table: "main.wide", Key: []string{"id"}})
	var rows []string
	for i := range 600 {
		row := map[string]any{"id": i}
		for j := range columns {
			row[fmt.Sprintf("c%d", j)] = "x"
		}
		text, _ := json.Marshal(row)
		rows = append(rows, string(text))
	}
	refused := write(t, s, rows...)
	for i := range rows {
		if got, want := refused[i] != nil, i%400 == 7; got != want {
			t.Errorf("row %d: refused is %v, want %v: %v", i, got, want, refused[i])
		}
	}
	equal(t, "rows", f.Rows(t, `SELECT count(*) FROM wide`), "598")
}

func TestTypesOfSQLite(t *testing.T) {
	t.Parallel()
	f := databasetest.SQLite(t, `CREATE TABLE a (i INTEGER, r REAL, s TEXT, b BLOB, f BOOLEAN, any)`)
	s := newSink(t, sql.Config{DSN: pipeline.Secret(f.DSN), Table: "a"})
	refused := write(t, s,
		`{"i":9223372036854775807,"r":1e300,"s":1.50,"b":"AP8=","f":true,"any":{"a":  1.0}}`,
		`{"i":-9223372036854775808,"r":"-Infinity","s":true,"b":"","f":false,"any":0.1}`,
		`{"i":9223372036854775808}`, `{"b":"no base64!"}`, `{"r":1e999}`,
	)
	for i, want := range []string{2: "without loss", 3: "takes base64", 4: "without loss"} {
		if got := fmt.Sprint(refused[i]); want != "" && !strings.Contains(got, want) || want == "" && refused[i] != nil {
			t.Errorf("row %d: got %s, want %q", i, got, want)
		}
	}
	equal(t, "rows", f.Rows(t, `SELECT i || '|' || typeof(i) || '|' || r || '|' || s || '|' || hex(b) || '|' || f || '|' || any || '|' || typeof(any) FROM a`),
		`9223372036854775807|integer|1.0e+300|1.50|00FF|1|{"a":  1.0}|text`, `-9223372036854775808|integer|-Inf|true||0|0.1|real`)
}

func TestTablesThatAreRefused(t *testing.T) {
	t.Parallel()
	f := databasetest.SQLite(t, labels)
	for name, c := range map[string]struct {
		config sql.Config
		shape  pipeline.Shape
		want   string
	}{
		"no such table":      {config: sql.Config{Table: "nothing"}, want: "no such table"},
		"no index of it":     {config: sql.Config{Table: "labels", Key: []string{"more"}}, want: "UNIQUE"},
		"none for error":     {config: sql.Config{Table: "labels", Key: []string{"more"}, OnConflict: "error"}, want: "UNIQUE"},
		"no such column":     {config: sql.Config{Table: "labels", Columns: pipeline.Pairs{{Key: "lable", Value: "a"}}}, want: `no column "lable"; it has id, label, more`},
		"a field too many":   {config: sql.Config{Table: "labels"}, shape: pipeline.Shape{}.With("colour", pipeline.StringType), want: `no column "colour"`},
		"no such key":        {config: sql.Config{Table: "labels", Key: []string{"name"}}, want: `no column "name"`},
		"a view":             {config: sql.Config{Table: "seen"}, want: "view"},
		"no file, none made": {config: sql.Config{Table: "labels", DSN: "/nowhere/none.db"}, want: "there is no file /nowhere/none.db; check `dsn`, or say in `create`"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config.Table == "seen" {
				f.Exec(t, `CREATE VIEW seen AS SELECT * FROM labels`)
			}
			if c.config.DSN == "" {
				c.config.DSN = pipeline.Secret(f.DSN)
			}
			s, err := sql.New(c.config, pipeline.Env{Shape: c.shape})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close(t.Context()) }()
			if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("probe: got %v, want %q", err, c.want)
			}
			if err := s.Start(t.Context(), false); err == nil {
				t.Error("it starts all the same")
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config sql.Config
		want   string
	}{
		"no table":                {sql.Config{}, "table: "},
		"half a name":             {sql.Config{Table: "a."}, "table: "},
		"an open quote":           {sql.Config{Table: `"a`}, "table: "},
		"a key twice":             {sql.Config{Table: "a", Key: []string{"k", "k"}}, "key[1]: "},
		"a key that is no column": {sql.Config{Table: "a", Key: []string{"k"}, Columns: pipeline.Pairs{{Key: "a", Value: "b"}}}, `columns: must have "k"`},
		"ignore without a key":    {sql.Config{Table: "a", OnConflict: "ignore"}, "on_conflict: "},
		"a column twice":          {sql.Config{Table: "a", Columns: pipeline.Pairs{{Key: "a", Value: "b"}, {Key: "a", Value: "c"}}}, "columns: "},
	} {
		if err := c.config.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	shape := pipeline.Shape{Closed: true}.With("id", pipeline.AnyType)
	for _, c := range []sql.Config{
		{Table: `s."a.b"`, Key: []string{"name"}},
		{Table: "a", Columns: pipeline.Pairs{{Key: "x", Value: "name"}}},
	} {
		if _, err := sql.New(c, pipeline.Env{Shape: shape}); err == nil || !strings.Contains(err.Error(), `no field "name"; the records have [id]`) {
			t.Errorf("got %v, want that there is no such field", err)
		}
	}
}

// TestSomebodyElseWrites: a lock is somebody else's for a while, and costs an attempt.
func TestSomebodyElseWrites(t *testing.T) {
	t.Parallel()
	f := databasetest.SQLite(t, labels)
	db := f.Open(t)
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO labels (id) VALUES (5)"); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, sql.Config{DSN: pipeline.Secret(f.Address + "?_pragma=busy_timeout(1)"), Table: "labels", Key: []string{"id"}})
	err = s.Write(t.Context(), []*pipeline.Record{pipelinetest.Record(t, `{"id":1}`)})
	if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || code != "busy" {
		t.Errorf("got %v, %s (%v), want transient, busy", class, code, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if refused := write(t, s, `{"id":1}`); refused != nil {
		t.Error(refused)
	}
}

// TestCreate makes the file and the table, once, and not when it is only looked at.
func TestCreate(t *testing.T) {
	t.Parallel()
	f := databasetest.File(filepath.Join(t.TempDir(), "new", "out.db"))
	c := sql.Config{DSN: pipeline.Secret(f.DSN), Table: "labels", Key: []string{"id"}, Create: labels}
	for _, row := range []string{`{"id":1}`, `{"id":2}`} {
		s := newSink(t, c)
		if err := s.Probe(t.Context()); err != nil {
			t.Errorf("probe: %v", err)
		}
		if found, _ := filepath.Glob(f.DSN); row == `{"id":1}` && found != nil {
			t.Errorf("probed, it made %v", found)
		}
		if err := s.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		write(t, s, row)
	}
	equal(t, "rows", f.Rows(t, "SELECT count(*) FROM labels"), "2")
	c.Table, c.Create = "others", "CREATE TABLE another (id)"
	for _, create := range []string{"CREATE TABLE another (id)", "CREATE nonsense"} {
		c.Create = create
		if err := newSink(t, c).Start(t.Context(), false); err == nil {
			t.Errorf("%s made the table others", create)
		}
	}
}

// TestInto writes into a database that the program opened, which stays open.
func TestInto(t *testing.T) {
	t.Parallel()
	f := databasetest.SQLite(t, labels)
	db := f.Open(t)
	defer func() { _ = db.Close() }()
	if _, err := sql.Into(db, sql.Config{Table: "labels"}, pipeline.Env{}); err == nil {
		t.Error("it does not ask which database it is")
	}
	s, err := sql.Into(db, sql.Config{Driver: "sqlite", Table: "labels"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, `{"id":1}`)
	if err := s.Close(t.Context()); err != nil || db.PingContext(t.Context()) != nil {
		t.Errorf("the program's database is closed: %v", err)
	}
	if d := s.Delivery(); d != pipeline.AtLeastOnce {
		t.Errorf("without a key it promises %q", d)
	}
}
