package parquet_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

func TestMain(m *testing.M) {
	doomed.Main(doomed.Options{Preflight: true, DeadLetters: doomedMisfits})
	goleak.VerifyTestMain(m)
}

// Of the rows, every hundredth has a value that its column does not take.
const (
	doomedRows    = 400
	doomedMisfits = 4
)

const doomedPipeline = `
name: doomed
source: {parquet: {path: 'DIR/in-*.parquet', columns: [id, score]}}
stages:
  - llm: {provider: simulator, simulator: {latency: 20ms, latency_spread: 0.3}, prompt: '{{.id}}', output: answer}
    parallelism: 8
sink: {parquet: {path: DIR/out.parquet, SCHEMA row_group: {rows: 150}}, flush: {records: 10, every: 5ms}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`

// doomedInput are two files, of several row groups.
func doomedInput(t *testing.T, dir string) {
	t.Helper()
	for part := range 2 {
		root, err := parquetfile.ParseSchema(pipeline.RawJSON(`{"id":"int64","unread":"string","score":"json"}`))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w, err := parquetfile.NewWriter(&out, parquetfile.Given(root), parquetfile.WriteOptions{GroupRows: 70})
		if err != nil {
			t.Fatal(err)
		}
		for i := part * doomedRows / 2; i < (part+1)*doomedRows/2; i++ {
			score := fmt.Sprint(float64(i) / 4)
			if i%100 == 99 {
				score = `"none"`
			}
			if err := w.Write(records(t, fmt.Sprintf(`{"id":%d,"unread":"x","score":%s}`, i, score))[0]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, fmt.Sprintf("in-%d.parquet", part)), out.Bytes())
	}
}

// TestKilledAgainAndAgain reads Parquet files and writes one, while the process is killed:
// every row is there exactly once and in order, or is a dead letter.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"given": "schema: {id: int64, score: double, answer: string},", "inferred": "infer_rows: 50,",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := doomed.Folder(t, doomedPipeline, "SCHEMA", schema)
			doomedInput(t, dir)
			doomed.KillRepeatedly(t, dir, doomedRows, nil)
			checkDoomed(t, dir)
		})
	}
}

func checkDoomed(t *testing.T, dir string) {
	t.Helper()
	var ids, want []string
	for _, r := range records(t, rowsOf(t, filepath.Join(dir, "out.parquet"))...) {
		id, _ := r.Lookup("id")
		if answer, _ := r.Lookup("answer"); answer.Kind() != '"' || answer.Text() == "" {
			t.Errorf("row %s has the answer %s", id.Text(), answer.JSON())
		}
		ids = append(ids, id.Text())
	}
	for i := range doomedRows {
		if i%100 != 99 {
			want = append(want, fmt.Sprint(i))
		}
	}
	equal(t, "rows", ids, want)
	dead, err := os.ReadFile(filepath.Join(dir, "dead.jsonl"))
	if lines := bytes.Count(dead, []byte("\n")); err != nil || lines != doomedMisfits {
		t.Errorf("%d dead letters, want %d (%v)", lines, doomedMisfits, err)
	}
}
