//go:build unix

package sql_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/database/databasetest"
	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

func runDoomed(dir string) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	p, err := load.File(filepath.Join(dir, "p.yaml"), load.Options{Registry: registry})
	if err != nil {
		return err
	}
	s, err := engine.Run(context.Background(), p, engine.Options{State: filepath.Join(dir, "state"), Preflight: true})
	if err == nil && s.Counts.DeadLettered > 0 {
		err = fmt.Errorf("%d dead letters", s.Counts.DeadLettered)
	}
	return err
}

const (
	doomedRows = 300
	mostKills  = 5
)

const doomedPipeline = `
name: doomed
source: {sql: {dsn: 'IN', query: 'SELECT id, body FROM doomed_in', order_by: [id], page: 7}}
stages:
  - llm: {provider: simulator, simulator: {latency: 4ms, latency_spread: 1}, prompt: '{{.body}}', output: answer}
    parallelism: 8
sink: {sql: {dsn: 'OUT', table: doomed_out, key: [id], on_conflict: CHOICE}, flush: {records: 10, every: 5ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

// doom kills the pipeline again and again, at least once; how often hangs on the machine.
func doom(t *testing.T, in, out, choice string) (kills int) {
	t.Helper()
	dir := t.TempDir()
	yaml := strings.NewReplacer("IN", in, "OUT", out, "CHOICE", choice, "DIR", dir).Replace(doomedPipeline)
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, uint64(len(choice))))
	for kills < mostKills && doomed.Run(t, dir, time.Duration(60+random.IntN(150))*time.Millisecond) {
		kills++
	}
	if kills == 0 || kills == mostKills && doomed.Run(t, dir, 0) {
		t.Fatalf("killed %d times, or by somebody else: this tests nothing", kills)
	}
	return kills
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
			t.Logf("%d kills", kills)
		})
	}
}
