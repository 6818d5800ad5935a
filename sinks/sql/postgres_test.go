//go:build unix

package sql_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks/sql"
	sqlsource "github.com/rowmill/rowmill/sources/sql"
)

// postgres is the server of the package's tests.
var postgres databasetest.Postgres

func TestMain(m *testing.M) {
	doomed.Main(doomed.Options{Preflight: true})
	postgres.Main(m)
}

func TestSQLConformanceWithPostgres(t *testing.T) {
	t.Parallel()
	for choice, refused := range map[string][]string{
		"update": {`{"id":3,"label":"bad"}`, `{"id":4,"colour":"red"}`, `{"id":"five"}`, `{"id":6,"label":"a\u0000b"}`, `{"id":9223372036854775808}`, `{"id":7,"owner":8}`, `{"id":1.5}`},
	} {
		t.Run(choice, func(t *testing.T) {
			t.Parallel()
			var s databasetest.Database
			build := func(t *testing.T) pipeline.Sink {
				return newSink(t, sql.Config{DSN: pipeline.Secret(s.DSN), Table: s.Rows(t, "SELECT current_schema()")[0] + ".labels", Key: []string{"id"}, OnConflict: choice})
			}
			pipelinetest.Sink(t, pipelinetest.SinkCase{
				New: func(t *testing.T) pipeline.Sink {
					s = postgres.Schema(t, `CREATE TABLE labels (id int8 PRIMARY KEY, label text CHECK (label <> 'bad'), more jsonb, doc json,
						owner int8 REFERENCES labels DEFERRABLE INITIALLY DEFERRED)`)
					return build(t)
				},
				Again: build,
				Rows: []string{
					`{"id":1,"label":"é \"x\"","more":{"a": [1.0]},"doc":{"z":1, "a":null},"owner":null}`, `{"id":2,"label":null,"more":"text","doc":[],"owner":1}`,
					`{"id":9007199254740993,"label":"y","more":7,"doc":"d","owner":null}`,
				},
				Refused: refused,
				Read: func(t *testing.T) []string {
					return s.Rows(t, `SELECT '{"id":'||id||',"label":'||coalesce(to_json(label)::text, 'null')||',"more":'||more||',"doc":'||doc||',"owner":'||coalesce(owner::text, 'null')||'}' FROM labels ORDER BY id`)
				},
			})
		})
	}
}

// TestEveryTypeGoesRound reads a table of all types, writes what was read into another of
// the same columns, and has the database compare them.
func TestEveryTypeGoesRound(t *testing.T) {
	t.Parallel()
	columns := `id int4 PRIMARY KEY, i2 int2, i8 int8, n numeric, f4 float4, f8 float8, b bool, s text, c char(3), v varchar(9), bin bytea, d date,
		ts timestamp, tz timestamptz, tm time, iv interval, u uuid, j json, jb jsonb, ai int8[], at text[], am text[][], ajb jsonb[], atz timestamptz[], m mood, ip inet, r int4range`
	s := postgres.Schema(t, `CREATE TYPE mood AS ENUM ('glad', 'sad')`, `CREATE TABLE a (`+columns+`)`, `CREATE TABLE b (`+columns+`)`, `INSERT INTO a VALUES
		(1, -32768, 9223372036854775807, 12345678901234567890.1234567890, 0.1, 0.1, true, E'a\n"\\''', 'x', '', '\x00ff', '0044-03-15 BC',
			'2024-01-02 03:04:05.000001', '2024-01-02 03:04:05.678901+05:30', '23:59:59.999999', '1 year -2 days 3.5 seconds', '11111111-2222-3333-4444-555555555555',
			'{"b": 1.0,   "a": [null]}', '{"b": 1.0, "a": "\u00e9"}', '{1,NULL,-9223372036854775808}', '{"a,b","\"{}\\",NULL,"NULL",""}', '{{a,b},{c,d}}',
			ARRAY['{"a": "\"x\""}'::jsonb, '[1]', '"s"'], '{infinity,2024-01-02}', 'sad', '192.168.0.1/24', '[1,5)'),
		(2, 0, 0, 'NaN', 'NaN', 'Infinity', false, '', '', 'x', '', 'infinity', '-infinity', 'infinity', '00:00', '0', NULL, '""', 'null', '{}', '{}', '{}', '{}', '{}', 'glad', '::1', 'empty')`,
		`INSERT INTO a (id) VALUES (3)`)
	source, err := sqlsource.New(sqlsource.Config{DSN: pipeline.Secret(s.DSN), Query: "SELECT * FROM a", OrderBy: []string{"id"}}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	summary, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: source, Sink: newSink(t, sql.Config{DSN: pipeline.Secret(s.DSN), Table: "b", Key: []string{"id"}}),
	}, engine.Options{Preflight: true})
	if err != nil || summary.Counts.Delivered != 3 {
		t.Fatalf("got %v, %+v, %v, want all rows delivered", err, summary.Counts, summary.Reasons)
	}
	for _, column := range strings.Fields("id i2 i8 n f4 f8 b s c v bin d ts tz tm iv u j jb ai at am ajb atz m ip r") {
		// The JSON null of row 2 is no value in a record, and so none in the table.
		equal(t, column, s.Rows(t, fmt.Sprintf(`SELECT a.id || ': ' || coalesce(b.%[1]s::text, 'nothing') || ', was ' || coalesce(a.%[1]s::text, 'nothing') FROM a JOIN b USING (id)
			WHERE a.%[1]s::text IS DISTINCT FROM b.%[1]s::text AND NOT (a.id = 2 AND '%[1]s' = 'jb') ORDER BY id`, column)))
	}
}

// TestWhatGoesIntoAColumn is about values of other kinds than the column's.
func TestWhatGoesIntoAColumn(t *testing.T) {
	t.Parallel()
	s := postgres.Schema(t, `CREATE TABLE a (id serial, i int4, n numeric, t text, b bytea, j jsonb, l int4[], d date, o bool)`)
	sink := newSink(t, sql.Config{DSN: pipeline.Secret(s.DSN), Table: "a"})
	for _, c := range []struct{ row, want string }{
		{`{"i":3.0}`, "3"},
		{`{"i":-2e2}`, "-200"},
		{`{"i":"7"}`, "7"},
		{`{"i":1.5}`, ""},
		{`{"i":true}`, ""},
		{`{"i":[1]}`, ""},
		{`{"i":1e30}`, ""},
		{`{"n":1e400}`, "1" + strings.Repeat("0", 400)},
		{`{"t":1.50}`, "1.50"},
		{`{"t":true}`, "true"},
		{`{"t":{"a": 1.0}}`, `{"a": 1.0}`},
		{`{"b":"AP8="}`, `\x00ff`},
		{`{"b":"%"}`, ""},
		{`{"j":"x"}`, `"x"`},
		{`{"j":"\u0000"}`, ""},
		{`{"l":[1,[2]]}`, ""},
		{`{"l":[1,"x"]}`, ""},
		{`{"l":[[1,2],[3,null]]}`, "{{1,2},{3,NULL}}"},
		{`{"d":"2023-02-29"}`, ""},
		{`{"o":"yes"}`, "true"},
		{`{"o":1}`, "true"},
	} {
		refused := write(t, sink, c.row)
		if (refused != nil) != (c.want == "") {
			t.Errorf("%s: refused is %v, want %v", c.row, refused, c.want == "")
		}
		if c.want != "" {
			equal(t, c.row, s.Rows(t, `SELECT coalesce(i::text, n::text, t, b::text, j::text, l::text, d::text, o::text) FROM a ORDER BY id DESC LIMIT 1`), c.want)
		}
	}
}

// TestLostConnections ends the sink's connections while it writes: it goes on, and every
// row is there once.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	s := postgres.Schema(t, `CREATE TABLE a (id int4 PRIMARY KEY, s text)`)
	sink := newSink(t, sql.Config{DSN: pipeline.Secret(s.DSN + "&application_name=sink_victim"), Table: "a", Key: []string{"id"}})
	n := 0
	rows := make([]string, 60)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"id":%d}`, i)
	}
	cut := pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if n++; n == 20 || n == 40 {
			s.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sink_victim'`)
		}
		return []*pipeline.Record{r}, nil
	})
	summary, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: pipelinetest.Rows(t, rows), Sink: sink, Flush: pipeline.Flush{Records: 3},
		Steps: []pipeline.Step{{Stage: cut, StepOptions: pipeline.StepOptions{Parallelism: 1}}},
	}, engine.Options{})
	if err != nil || summary.Counts.Delivered != 60 {
		t.Errorf("got %v, %+v, want all delivered", err, summary.Counts)
	}
	equal(t, "rows", s.Rows(t, "SELECT count(*)::text FROM a"), "60")
	// PostgreSQL refuses a statement that writes a row twice.
	if refused := write(t, sink, `{"id":70,"s":"x"}`, `{"id":71,"s":"x"}`, `{"id":70,"s":"y"}`); refused != nil {
		t.Error(refused)
	}
	err = newSink(t, sql.Config{DSN: "postgres://u:hunter2@127.0.0.1:1/x", Table: "a"}).Write(t.Context(), []*pipeline.Record{pipelinetest.Record(t, `{"id":1}`)})
	if class, code := pipeline.Classify(err); class != pipeline.ClassTransient || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("nobody there: got %v, %s (%v), want transient, without the password", class, code, err)
	}
}

// TestKilledWithPostgres is TestKilledAgainAndAgain with the other database.
func TestKilledWithPostgres(t *testing.T) {
	t.Parallel()
	s := postgres.Schema(t, doomedTables()...)
	kills := doom(t, s.DSN, s.DSN, "update")
	equal(t, fmt.Sprintf("rows after %d kills", kills), s.Rows(t, doomedCheck), fmt.Sprintf("%d of %d", doomedRows, doomedRows))
}
