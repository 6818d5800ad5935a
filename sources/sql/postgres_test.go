//go:build unix

package sql_test

import (
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources/sql"
)

// postgres is the server of the package's tests.
var postgres databasetest.Postgres

func TestMain(m *testing.M) { postgres.Main(m) }

func TestSQLConformanceWithPostgres(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE people (id int8 PRIMARY KEY, born timestamptz, score numeric, name text)`,
		`INSERT INTO people VALUES (30, 'infinity', 'NaN', 'z'), (1, '2024-01-02 03:04:05.678901+02', 1.50, 'é "x"'), (2, '-infinity', '-Infinity', NULL), (9, 'epoch', 1e40, '')`)
	want := []string{
		`{"id":1,"born":"2024-01-02T01:04:05.678901+00:00","score":1.50,"name":"é \"x\""}`,
		`{"id":2,"born":"-infinity","score":"-Infinity","name":null}`,
		`{"id":9,"born":"1970-01-01T00:00:00+00:00","score":10000000000000000000000000000000000000000,"name":""}`,
		`{"id":30,"born":"infinity","score":"NaN","name":"z"}`,
	}
	byTime := []string{want[1], want[2], want[0], want[3]}
	for name, c := range map[string]struct {
		config sql.Config
		want   []string
	}{
		"in one go":        {sql.Config{Query: "SELECT * FROM people ORDER BY id"}, want},
		"page by page":     {sql.Config{Query: "SELECT * FROM people", OrderBy: []string{"id"}, Page: 2}, want},
		"by a time and id": {sql.Config{Query: "SELECT * FROM people", OrderBy: []string{"born", "id"}, Page: 1}, byTime},
		"by a number":      {sql.Config{Query: "SELECT * FROM people", OrderBy: []string{"score"}, Page: 1}, []string{want[1], want[0], want[2], want[3]}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.DSN = pipeline.Secret(d.DSN)
			pipelinetest.Source(t, pipelinetest.SourceCase{
				New: func(t *testing.T) pipeline.Source { return newSource(t, c.config) }, Want: c.want,
			})
		})
	}
}

func TestTypesOfPostgres(t *testing.T) {
	t.Parallel()
	db := postgres.Schema(t, `CREATE TYPE mood AS ENUM ('glad', 'sad')`).Open(t)
	for expression, want := range map[string]string{
		`9223372036854775807::int8`:                          `9223372036854775807`,
		`(-32768)::int2`:                                     `-32768`,
		`12345678901234567890.123456789012345678900`:         `12345678901234567890.123456789012345678900`,
		`'Infinity'::float8`:                                 `"Infinity"`,
		`'NaN'::float4`:                                      `"NaN"`,
		`0.1::float8`:                                        `0.1`,
		`1e300::float8`:                                      `1e+300`,
		`true`:                                               `true`,
		`'a "quoted" \ ü'::text`:                             `"a \"quoted\" \\ ü"`,
		`E'a\nb\t\u0001'::text`:                              `"a\nb\t\u0001"`,
		`'x'::char(3)`:                                       `"x  "`,
		`'\x00ff'::bytea`:                                    `"AP8="`,
		`decode(repeat('ab', 60), 'hex')`:                    `"` + strings.Repeat("q6ur", 20) + `"`,
		`'2024-02-30'::text::date - 1`:                       ``,
		`'2024-02-29'::date`:                                 `"2024-02-29"`,
		`'infinity'::date`:                                   `"infinity"`,
		`'0044-03-15 BC'::date`:                              `"0044-03-15 BC"`,
		`'2024-01-02 03:04:05.000001'::timestamp`:            `"2024-01-02T03:04:05.000001"`,
		`'2024-01-02 03:04:05+05:30'::timestamptz`:           `"2024-01-01T21:34:05+00:00"`,
		`'03:04:05.5'::time`:                                 `"03:04:05.5"`,
		`'1 year 2 days 3 seconds'::interval`:                `"1 year 2 days 00:00:03"`,
		`'11111111-2222-3333-4444-555555555555'::uuid`:       `"11111111-2222-3333-4444-555555555555"`,
		`'{"b": 1.0, "a": [null, 1e5]}'::json`:               `{"b": 1.0, "a": [null, 1e5]}`,
		"'{\n\"b\": \"x\\ny\"\n}'::json":                     `{"b":"x\ny"}`,
		`'{"b": 1.0, "a": 2}'::jsonb`:                        `{"a": 2, "b": 1.0}`,
		`'null'::jsonb`:                                      `null`,
		`ARRAY[1, NULL, 9223372036854775807]::int8[]`:        `[1,null,9223372036854775807]`,
		`ARRAY[['a', '"'], ['{', NULL]]`:                     `[["a","\""],["{",null]]`,
		`ARRAY['infinity'::timestamptz, 'epoch']`:            `["infinity","1970-01-01T00:00:00+00:00"]`,
		`'{}'::text[]`:                                       `[]`,
		`'sad'::mood`:                                        `"sad"`,
		`'192.168.0.1/24'::inet`:                             `"192.168.0.1/24"`,
		`'[1,5)'::int4range`:                                 `"[1,5)"`,
		`ROW(1, 'x')`:                                        `{"f1":1,"f2":"x"}`,
		`NULL::int4`:                                         `null`,
		`NULL::bytea`:                                        `null`,
		`'12.34'::money`:                                     `"$12.34"`,
		`B'101'`:                                             `"101"`,
		`(SELECT count(*) FROM generate_series(1, 3))`:       `3`,
		`'1970-01-01 00:00:00+00'::timestamptz::timetz`:      `"00:00:00+00"`,
		`'(1,2)'::point`:                                     `"(1,2)"`,
		`to_tsvector('simple', 'a b')`:                       `"'a':1 'b':2"`,
		`xmlparse(content '<a/>')`:                           `"<a/>"`,
		`ARRAY['{"a": 1}'::jsonb]`:                           `[{"a": 1}]`,
		`current_setting('server_version_num')::int > 90000`: `true`,
	} {
		s, err := sql.Over(db, sql.Config{Driver: "postgres", Query: "SELECT " + expression + " AS v"}, pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := read(t.Context(), s)
		if want == "" { // the database refuses it
			if err == nil {
				t.Errorf("%s: got %v, want an error", expression, got)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0] != `{"v":`+want+`}` {
			t.Errorf("%s: got %v, %v, want %s", expression, got, err, want)
		}
	}
}

// TestLostConnections ends the source's connections again and again; it asks for the page
// again.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE numbers AS SELECT generate_series(1, 100) AS id`)
	s := newSource(t, sql.Config{DSN: pipeline.Secret(d.DSN + "&application_name=victim"), Query: "SELECT id FROM numbers", OrderBy: []string{"id"}, Page: 9})
	n := 0
	for r, err := range s.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; string(r.AppendJSON(nil)) != fmt.Sprintf(`{"id":%d}`, n) {
			t.Errorf("row %d is %s", n, r.AppendJSON(nil))
		}
		if n == 20 || n == 40 {
			d.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'`)
		}
	}
	if n != 100 {
		t.Errorf("got %d rows, want 100", n)
	}
}

func TestWhatPostgresRefuses(t *testing.T) {
	t.Parallel()
	d := postgres.Schema(t, `CREATE TABLE people (id int8, doc jsonb)`, `INSERT INTO people VALUES (1, '{}'), (1, '{}')`)
	for name, c := range map[string]struct {
		config sql.Config
		want   string
	}{
		"no such table":   {sql.Config{Query: "SELECT * FROM nobody"}, "nobody"},
		"a binary key":    {sql.Config{Query: "SELECT doc FROM people", OrderBy: []string{"doc"}}, "more than one value"},
		"not unique":      {sql.Config{Query: "SELECT id FROM people", OrderBy: []string{"id"}, Page: 1}, "more than one row at id=1"},
		"a column twice":  {sql.Config{Query: "SELECT id, id FROM people"}, `two columns are called "id"`},
		"a wrong address": {sql.Config{DSN: "postgres://u:hunter2@127.0.0.1:1/x", Query: "SELECT 1"}, "database=x`: 127.0.0.1:1"},
		"a dsn of no use": {sql.Config{DSN: "postgres://u:hunter2@[/x", Query: "SELECT 1"}, "cannot parse"},
		"a wrong name":    {sql.Config{DSN: pipeline.Secret(strings.Replace(d.DSN, "/postgres?", "/hunter2?", 1)), Query: "SELECT 1"}, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.config.DSN == "" {
				c.config.DSN = pipeline.Secret(d.DSN)
			}
			s := newSource(t, c.config)
			err := s.Probe(t.Context())
			if err == nil {
				_, _, err = read(t.Context(), s)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:hunter2") {
				t.Errorf("got %v, want %q and no password", err, c.want)
			}
		})
	}
}
