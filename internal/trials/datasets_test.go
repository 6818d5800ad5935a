//go:build peers

package trials

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	json "github.com/go-json-experiment/json"
)

// These trials take real datasets through the command. They need
//
//	ROWMILL_TRIAL_DATA   a folder with TruthfulQA.csv, banking77_test.csv and gsm8k_test.jsonl
//	ROWMILL_OLLAMA       an OpenAI-compatible server; defaults to http://127.0.0.1:11434/v1
//	ROWMILL_OLLAMA_MODEL its model; defaults to stories
//
//	go test -tags peers ./internal/trials -run Datasets -v

type dataset struct {
	file   string
	rows   int
	prompt string
	output string
}

func datasets() []dataset {
	return []dataset{
		{"TruthfulQA.csv", 817, `{{.Question}} The best answer: {{field "Best Answer"}}`, "verdict"},
		{"banking77_test.csv", 3080, `Which category is this? {{.text}}`, "label"},
		{"gsm8k_test.jsonl", 1319, `{{.question}}`, "solution"},
	}
}

func data(t *testing.T, file string) string {
	t.Helper()
	folder := os.Getenv("ROWMILL_TRIAL_DATA")
	if folder == "" {
		t.Fatal("ROWMILL_TRIAL_DATA is not set: name the folder of the datasets")
	}
	return filepath.Join(folder, file)
}

// input reads a dataset without any of Rowmill's code.
func input(t *testing.T, path string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if strings.HasSuffix(path, ".jsonl") {
		lines := bufio.NewScanner(bytes.NewReader(raw))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var row map[string]any
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		return rows
	}
	all, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\ufeff")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, cells := range all[1:] {
		row := map[string]any{}
		for i, cell := range cells {
			row[all[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

// command builds the command once for a test.
func command(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rowmill")
	out, err := exec.Command("go", "build", "-o", path, "github.com/rowmill/rowmill/cmd/rowmill").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// trial runs one dataset and joins what went in with what came out.
func trial(t *testing.T, rowmill string, d dataset, limit int, stage string) {
	t.Helper()
	path, dir := data(t, d.file), t.TempDir()
	yaml := filepath.Join(dir, "trial.yaml")
	text := fmt.Sprintf("source: {file: {path: %q}}\nstages:\n  - llm: {prompt: %q, output: %s, %s\nsink: {file: {path: %q}}\n",
		path, d.prompt, d.output, stage, filepath.Join(dir, "out.jsonl"))
	if err := os.WriteFile(yaml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(rowmill, "run", yaml, "--limit", fmt.Sprint(limit))
	run.Dir = dir // where it keeps its state
	out, err := run.CombinedOutput()
	t.Logf("%s", out)
	var exit *exec.ExitError
	if err != nil && (!asExit(err, &exit) || exit.ExitCode() != 3) {
		t.Fatalf("%v", err)
	}
	join(t, d, limit, input(t, path), dir)
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // exec returns it bare
	*exit = e
	return ok
}

// join checks that every row of the input is in the output, in its place and with
// an answer, or in the dead letters, and nothing else is.
func join(t *testing.T, d dataset, limit int, in []map[string]any, dir string) {
	t.Helper()
	if len(in) != d.rows {
		t.Fatalf("the dataset has %d rows, want %d", len(in), d.rows)
	}
	if limit > 0 {
		in = in[:min(limit, len(in))]
	}
	dead := map[int64]bool{}
	if _, err := os.Stat(filepath.Join(dir, "out.dead.jsonl")); err == nil {
		for _, row := range objects(t, filepath.Join(dir, "out.dead.jsonl")) {
			record := row["record"].(map[string]any)
			for i := range in {
				if same(in[i], record, "") {
					dead[int64(i)] = true
				}
			}
		}
	}
	out := objects(t, filepath.Join(dir, "out.jsonl"))
	next := 0
	for i, want := range in {
		switch {
		case next < len(out) && same(want, out[next], d.output):
			if answer, ok := out[next][d.output].(string); !ok || answer == "" {
				t.Errorf("row %d has no answer: %v", i+1, out[next])
			}
			next++
		case dead[int64(i)]:
		default:
			t.Fatalf("row %d is neither in the output, in its place, nor a dead letter", i+1)
		}
	}
	if next != len(out) {
		t.Errorf("%d rows of the output belong to no row of the input", len(out)-next)
	}
	t.Logf("%d rows in, %d out, %d dead letters", len(in), len(out), len(dead))
}

// same reports whether got has all fields of want, and none beside but the answer.
func same(want, got map[string]any, output string) bool {
	for name, v := range want {
		if name != output && fmt.Sprint(got[name]) != fmt.Sprint(v) {
			return false
		}
	}
	for name := range got {
		if _, known := want[name]; !known && name != output {
			return false
		}
	}
	return true
}

func TestDatasetsThroughTheSimulator(t *testing.T) {
	rowmill := command(t)
	for _, d := range datasets() {
		t.Run(d.file, func(t *testing.T) {
			trial(t, rowmill, d, 0, "provider: simulator, simulator: {latency: 5ms, latency_spread: 0.5}}\n    parallelism: 64")
		})
	}
}

func TestDatasetsThroughARealModel(t *testing.T) {
	url, model := os.Getenv("ROWMILL_OLLAMA"), os.Getenv("ROWMILL_OLLAMA_MODEL")
	if url == "" {
		url = "http://127.0.0.1:11434/v1"
	}
	if model == "" {
		model = "stories"
	}
	rowmill := command(t)
	for _, d := range datasets() {
		t.Run(d.file, func(t *testing.T) {
			trial(t, rowmill, d, 300, fmt.Sprintf("base_url: %q, model: %s, max_tokens: 24, accept_finish: [stop, length], temperature: 0, seed: 1}\n    parallelism: 4", url, model))
		})
	}
}
