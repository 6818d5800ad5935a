//go:build unix

package sql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/internal/doomed"
)

const doomedRows = 300

const doomedPipeline = `
name: doomed
source: {sql: {dsn: 'IN', query: 'SELECT id, body FROM doomed_in', order_by: [id], page: 7}}
stages:
  - llm: {provider: simulator, simulator: {latency: 27ms, latency_spread: 0.3}, prompt: '{{.body}}', output: answer}
    parallelism: 8
sink: {sql: {dsn: 'OUT', table: doomed_out, key: [id], on_conflict: CHOICE}, flush: {records: 10, every: 5ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

func doom(t *testing.T, in, out, choice string) (kills int) {
	t.Helper()
	return doomed.KillRepeatedly(t, doomed.Folder(t, doomedPipeline, "IN", in, "OUT", out, "CHOICE", choice), doomedRows, nil)
}

// doomedTables are the tables, with the rows to read, in words of both databases.
func doomedTables() []string {
	var values []string
	for i := range doomedRows {
		values = append(values, fmt.Sprintf("(%d, 'row %d')", i*3, i))
	}
	return []string{
		"CREATE TABLE doomed_in (id INTEGER PRIMARY KEY, body TEXT)",
		"CREATE TABLE doomed_out (id INTEGER PRIMARY KEY, body TEXT NOT NULL, answer TEXT NOT NULL)",
		"INSERT INTO doomed_in VALUES " + strings.Join(values, ", "),
	}
}

// doomedCheck counts the rows that came out as they went in, and all.
const doomedCheck = `SELECT count(i.id) || ' of ' || count(*) FROM doomed_out o LEFT JOIN doomed_in i ON i.id = o.id AND i.body = o.body`

// TestKilledAgainAndAgain reads a database and writes into the same, while the process is
// killed: every row is there exactly once, and none is a dead letter, which would fail the
// process.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, choice := range []string{"update", "error"} {
		t.Run(choice, func(t *testing.T) {
			t.Parallel()
			f := databasetest.SQLite(t, doomedTables()...)
			kills := doom(t, f.DSN, f.DSN, choice)
			equal(t, fmt.Sprintf("rows after %d kills", kills), f.Rows(t, doomedCheck), fmt.Sprintf("%d of %d", doomedRows, doomedRows))
		})
	}
}
