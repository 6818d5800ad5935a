package parquet_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

func TestMain(m *testing.M) {
	doomed.Main(runDoomed)
	goleak.VerifyTestMain(m)
}

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
	if err == nil && s.Counts.DeadLettered != doomedMisfits {
		err = fmt.Errorf("%d dead letters", s.Counts.DeadLettered)
	}
	return err
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
  - llm: {provider: simulator, simulator: {latency: 4ms, latency_spread: 1}, prompt: '{{.id}}', output: answer}
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
			dir := t.TempDir()
			doomedInput(t, dir)
			yaml := strings.NewReplacer("DIR", dir, "SCHEMA", schema).Replace(doomedPipeline)
			put(t, filepath.Join(dir, "p.yaml"), []byte(yaml))
			random := rand.New(rand.NewPCG(1, uint64(len(name))))
			kills := 0
			for kills < 6 && doomed.Run(t, dir, time.Duration(60+random.IntN(150))*time.Millisecond) {
				kills++
			}
			if kills == 0 || kills == 6 && doomed.Run(t, dir, 0) {
				t.Fatalf("killed %d times, or by somebody else: this tests nothing", kills)
			}
			checkDoomed(t, dir)
			t.Logf("%d kills", kills)
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
