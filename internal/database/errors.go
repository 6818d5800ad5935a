package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Classify gives an error its class: [pipeline.ClassTransient] where a connection was
// lost or somebody else is in the way, [pipeline.ClassRecord] where a row is refused,
// [pipeline.ClassFatal] for all else.
func Classify(d Dialect, err error) error {
	var known *pipeline.Error
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	if strings.Contains(err.Error(), "\n") {
		err = oneLine{err}
	}
	if own := d.Classify(err); own != nil {
		return own
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "conn closed") {
		return pipeline.Transient("connection_lost", fmt.Errorf("the connection to the database is lost: %w", err))
	}
	if class, code := pipeline.Classify(err); class != pipeline.ClassRecord {
		return &pipeline.Error{Class: class, Code: code, Err: err}
	}
	return pipeline.Fatal("database", err)
}

// oneLine is an error of several lines in one, each of them once: pgx has a line for each
// way in which it tried to connect.
type oneLine struct{ error }

func (e oneLine) Error() string {
	var lines []string
	for line := range strings.Lines(e.error.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

// Unwrap returns the error as it was.
func (e oneLine) Unwrap() error { return e.error }

// IsRefusal reports whether an error is about the rows of a statement, of which perhaps
// one alone is to blame.
func IsRefusal(err error) bool {
	var known *pipeline.Error
	return errors.As(err, &known) && known.Class == pipeline.ClassRecord
}

// NoTable is the code of the error that a table is not there.
const NoTable = "no_table"

// Taken is the code of a refusal because the database has such a row already.
const Taken = "already_there"

// IsTaken reports whether a row was refused because there is one of its key.
func IsTaken(err error) bool {
	var known *pipeline.Error
	return errors.As(err, &known) && known.Code == Taken
}
