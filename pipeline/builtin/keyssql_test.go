package builtin_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sqliteFile is the content of a database of SQLite.
func sqliteFile(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// dump returns what is in a database of SQLite.
func dump(path string) (text string, err error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var out strings.Builder
	for _, table := range []string{"t", "u"} {
		rows, err := db.Query("SELECT id, coalesce(a, 'nothing'), coalesce(b, 'nothing') FROM " + table + " ORDER BY rowid")
		if err != nil {
			continue // there is no such table
		}
		for rows.Next() {
			var id, a, b string
			if err := rows.Scan(&id, &a, &b); err != nil {
				return "", errors.Join(err, rows.Close())
			}
			fmt.Fprintf(&out, "%s: %s %s %s\n", table, id, a, b)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

func sqlKeyCases(t *testing.T) []keyCase {
	t.Helper()
	files := map[string]string{
		"in.db": sqliteFile(t, "CREATE TABLE t (id INTEGER, a TEXT, b TEXT)", "INSERT INTO t VALUES (3, 'x', 'p'), (1, 'y', 'q'), (2, 'z', 'q')"),
		"of.db": sqliteFile(t, "CREATE TABLE t (id INTEGER, a TEXT, b TEXT)", "INSERT INTO t VALUES (4, 'w', 'r')"),
	}
	source := func(key, more string, values ...string) keyCase {
		return keyCase{
			key: "source sql: " + key, values: values, files: files,
			yaml: "source: {sql: {dsn: DIR/in.db, query: SELECT * FROM t" + more + "}}\nsink: {file: {path: DIR/out.jsonl}}",
		}
	}
	tables := map[string]string{
		"out.db": sqliteFile(t,
			"CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT DEFAULT 'none', b TEXT UNIQUE)", "CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, b TEXT)",
			"INSERT INTO t VALUES (1, 'old', NULL), (7, 'old', 'r')"),
	}
	tables["other.db"] = tables["out.db"]
	sink := func(key, more string, values ...string) keyCase {
		return keyCase{
			key: "sink sql: " + key, values: values, files: tables,
			yaml: "source: {values: {rows: [{id: 1, a: x, b: q}, {id: 2, a: y, b: r}]}}\nsink: {sql: {dsn: DIR/out.db, table: t" + more + "}}\ndead_letter: {file: {path: DIR/dead.jsonl}}",
		}
	}
	missing := sink("create", "", "''", "'CREATE TABLE t (id, a, b)'", "'CREATE TABLE t (id TEXT CHECK (id <> 2), a, b)'")
	missing.files = nil
	prices := map[string]string{
		"p.db":     sqliteFile(t, "CREATE TABLE p (k INTEGER, b, c, d TEXT)", "INSERT INTO p VALUES (1, 2, 'x', '1'), (3, 1, 'y', '3'), (4, 9, 'z', '7')", "CREATE TABLE of (k, b)", "INSERT INTO of VALUES (7, 'of')"),
		"other.db": sqliteFile(t, "CREATE TABLE p (k, b)", "INSERT INTO p VALUES (1, 'other')"),
	}
	lookup := func(key, more string, values ...string) keyCase {
		return keyCase{
			key: "stage sql_lookup: " + key, values: values, files: prices, see: []aspect{output, dead, failure},
			yaml: "source: {values: {rows: [{k: 1, other: 2}, {k: 7, other: 1}]}}\nstages: [{sql_lookup: {dsn: DIR/p.db" + more + "}}]\nsink: {file: {path: DIR/out.jsonl}}",
		}
	}
	questions := lookup("batch", ", table: p, on: k, missing: 'null'", "100", "1")
	questions.yaml = strings.Replace(questions.yaml, "stages: [", "stages: [{group: {size: 2}}, {ungroup: {}}, ", 1) // the rows come at once
	questions.see = []aspect{{"questions", func(o observation) string { return fmt.Sprint(o.summary.Stages[2].Calls) }}}
	return []keyCase{
		lookup("dsn", ", table: p, on: k", "DIR/p.db", "DIR/other.db"),
		lookup("driver", ", table: p, on: k", "auto", "postgres"),
		lookup("table", ", on: k", "p", "of"),
		lookup("query", ", on: k", "SELECT k, b FROM p", "SELECT k, 2 * b AS b FROM p"),
		lookup("on", ", table: p, key: k", "k", "other"),
		lookup("key", ", table: p, on: k", "k", "d"),
		lookup("take", ", table: p, on: k", "[b]", "[c]", "[c, b]"),
		lookup("as", ", table: p, on: k", "", "x", "y"),
		lookup("missing", ", table: p, on: k", "dead_letter", "'null'", "drop"),
		questions,
		source("dsn", "", "DIR/in.db", "DIR/of.db"),
		source("driver", "", "auto", "postgres"),
		source("query", "", "SELECT id FROM t", "SELECT a FROM t"),
		source("order_by", "", "[id]", "[a]"),
		source("page", ", order_by: [b]", "1000", "1"), // two rows have the same b, of which a small page has one only
		sink("dsn", ", key: [id]", "DIR/out.db", "DIR/other.db"),
		sink("driver", ", key: [id]", "auto", "postgres"),
		sink("table", ", key: [id]", "t", "u"),
		sink("key", "", "[id]", "[b]"),
		sink("on_conflict", ", key: [id]", "update", "ignore", "error"),
		sink("columns", ", key: [id]", "{id: id, a: a}", "{id: id, b: a}"),
		missing,
	}
}
