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
	return []keyCase{
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
