// Package databasetest has tests change and read databases of their own. A package of tests
// imports the drivers.
package databasetest

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// Database is one of a test's own.
type Database struct {
	// DSN is what a component is told, Address the same in the words of the driver.
	DSN, Address string

	driver, settings string
}

// Over is the database that a driver finds at dsn.
func Over(driver, dsn string) Database { return Database{DSN: dsn, Address: dsn, driver: driver} }

// File is the database in a file of SQLite, which need not be there.
func File(path string) Database {
	address := "file:" + strings.NewReplacer("%", "%25", "#", "%23").Replace(path)
	return Database{path, address, "sqlite", "?_pragma=busy_timeout(5000)"}
}

// SQLite makes a file by statements, with a name that has to be quoted.
func SQLite(t *testing.T, statements ...string) Database {
	t.Helper()
	d := File(filepath.Join(t.TempDir(), "a b#%.db"))
	d.Exec(t, statements...)
	return d
}

// Open connects to it, until the end of the test.
func (d Database) Open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, d.Address+d.settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Exec runs statements one after the other.
func (d Database) Exec(t *testing.T, statements ...string) {
	t.Helper()
	db := d.Open(t)
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// Rows returns what a query of one column gives.
func (d Database) Rows(t *testing.T, query string) (all []string) {
	t.Helper()
	db := d.Open(t)
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(context.WithoutCancel(t.Context()), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
