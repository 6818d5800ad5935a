package database

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
)

// Connection is the database of a component: one that the program gave, or one that is
// opened when it is needed first.
type Connection struct {
	dialect Dialect
	dsn     pipeline.Secret
	access  Access
	most    int // connections at once; 0 for any number
	db      *sql.DB
	given   bool
}

// Opening returns a connection that will be opened by its DSN.
func Opening(driver string, dsn pipeline.Secret, access Access) (*Connection, error) {
	d, err := For(driver, dsn.Reveal())
	return &Connection{dialect: d, dsn: dsn, access: access}, err
}

// Given returns a connection to a database that is open and stays it. Nothing but its
// driver tells what it is, so that it must be named.
func Given(driver string, db *sql.DB) (*Connection, error) {
	if driver == "" || driver == Auto {
		return nil, fmt.Errorf("say whether it is %s or %s: a *sql.DB does not tell", SQLite, PostgreSQL)
	}
	d, err := For(driver, "")
	return &Connection{dialect: d, db: db, given: true}, err
}

// Dialect is that of the database.
func (c *Connection) Dialect() Dialect { return c.dialect }

// DB returns the database.
func (c *Connection) DB() (*sql.DB, error) {
	if c.db != nil {
		return c.db, nil
	}
	var err error
	c.db, err = Open(c.dialect, c.dsn.Reveal(), c.access)
	c.Limit(c.most)
	return c.db, err
}

// Limit bounds the connections to a database that is opened here, now or later; so many
// stay open while nothing is asked.
func (c *Connection) Limit(most int) {
	c.most = most
	if c.db != nil && !c.given && most > 0 {
		c.db.SetMaxOpenConns(most)
		c.db.SetMaxIdleConns(most)
	}
}

// Close closes a database that was opened here.
func (c *Connection) Close() error {
	if c.given || c.db == nil {
		return nil
	}
	db := c.db
	c.db = nil
	return db.Close()
}

// Create runs a statement that makes something, in a database that is made if need be.
func (c *Connection) Create(ctx context.Context, statement string) error {
	if !c.given {
		if err := c.Close(); err != nil {
			return err
		}
		c.access = Creating
	}
	db, err := c.DB()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return Classify(c.dialect, err)
}

// Describe returns the columns of a statement, of which no row is asked for.
func (c *Connection) Describe(ctx context.Context, statement string) ([]Column, error) {
	db, err := c.DB()
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, Classify(c.dialect, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := Columns(rows)
	return columns, Classify(c.dialect, err)
}
