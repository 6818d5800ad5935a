// Package house_test holds the code base to its own rules: which package may
// import which, who alone imports a library, and what no file may contain. A rule
// that fails says why it is there.
package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rowmill/rowmill"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Imports    []string
}

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

func packages(t *testing.T) []listed {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(goList(t, "-json=ImportPath,Imports", "./...")))
	var all []listed
	for {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// house returns the house that a package of the module belongs to ("components"
// for every source, stage and sink) and its floor: imports go down only.
func house(path string) (name string, floor int) {
	path = strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	top, _, _ := strings.Cut(path, "/")
	if path == "internal/fsys" || path == "internal/retryafter" { // they know nobody
		return path, 0
	}
	switch path {
	case "internal/doomed": // it runs pipelines, for tests alone
		return path, 7
	case "internal/rowfile", "internal/grouped", "internal/parquetbuild": // they join others with files, for the components
		return path, 2
	}
	switch top {
	case "examples", "cmd":
		return top, 9
	case "internal":
		return "internal", 1
	case "sources", "stages", "sinks":
		return "components", 3
	}
	floors := map[string]int{
		"pipeline": 0, "pipeline/policy": 2, "pipeline/lang": 2, "pipeline/engine": 4,
		"pipeline/load": 5, "pipeline/pipelinetest": 5, "pipeline/builtin": 6,
	}
	floor, known := floors[path]
	if !known {
		return path, -1
	}
	return path, floor
}

// reason says why an arrow between two houses is wrong.
func reason(from, to string) string {
	switch {
	case from == "pipeline":
		return "pipeline is the words of everybody: the standard library and jsontext only"
	case from == "internal":
		return "internal packages serve the ones above and know only the words in pipeline"
	case from == "components" && to == "components":
		return "components never import each other: each can be used, and thrown away, alone"
	case from == "components":
		return "a component sees pipeline, lang, policy and internal packages, never who runs or loads it: it has no goroutine, channel or clock, and no YAML"
	case from == "pipeline/engine":
		return "the engine runs any component and knows none"
	case from == "pipeline/load":
		return "the loader gets its components from a registry; pipeline/builtin has the list"
	default:
		return "imports point down: cmd → builtin → load → engine → components → policy, lang → pipeline"
	}
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		from, floor := house(p.ImportPath)
		if floor < 0 {
			t.Errorf("%s belongs to no house; give it a floor here, or put it where it belongs", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			if i != module && !strings.HasPrefix(i, module+"/") {
				continue
			}
			if to, below := house(i); below >= floor {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, reason(from, to))
			}
		}
	}
}

func TestArrowsAreJudged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		down     bool
	}{
		{"pipeline/load", "pipeline/engine", true},
		{"pipeline/engine", "pipeline/load", false},
		{"pipeline/engine", "stages", true}, // by floor; nothing does it
		{"stages/llm", "stages", false},
		{"stages/llm", "internal/simulator", true},
		{"sinks", "pipeline/engine", false},
		{"internal/codec", "pipeline/lang", false},
		{"internal/codec", "internal/simulator", false},
		{"pipeline", "internal/codec", false},
		{"cmd/rowmill", "pipeline/builtin", true},
	} {
		_, from := house(module + "/" + c.from)
		_, to := house(module + "/" + c.to)
		if got := to < from; got != c.down {
			t.Errorf("%s → %s: down is %v, want %v", c.from, c.to, got, c.down)
		}
	}
}

// TestEngineKnowsNoComponent: floors alone would allow it.
func TestEngineKnowsNoComponent(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if from, _ := house(p.ImportPath); from != "pipeline/engine" && from != "pipeline/load" && from != "pipeline/pipelinetest" {
			continue
		}
		for _, i := range p.Imports {
			if to, _ := house(i); to == "components" && strings.HasPrefix(i, module+"/") {
				t.Errorf("%s imports %s: only pipeline/builtin, programs and examples name components", p.ImportPath, i)
			}
		}
	}
}

func TestOnlyImporters(t *testing.T) {
	t.Parallel()
	rules := []struct{ library, importer, why string }{
		{"gopkg.in/yaml.v3", "pipeline/load", "YAML is one way to write a pipeline, and stays behind one package"},
		{"github.com/reugn/go-streams", "pipeline/engine", "the wiring is the engine's; components know no channels"},
		{"github.com/sashabaranov/go-openai", "stages/llm", "only who asks a model pays for the client"},
		{"github.com/failsafe-go/failsafe-go", "pipeline/policy", "retries, breaker and time-outs stand in one place, once for everybody"},
		{"github.com/expr-lang/expr", "pipeline/lang", "expressions are compiled in one place, and mean the same everywhere"},
		{"go.etcd.io/bbolt", "internal/cache", "its file format, and its panics where that is damaged, stay behind one package"},
		{"github.com/johannesboyne/gofakes3", "internal/bucket/buckettest", "a server for tests; no program carries it"},
		{"modernc.org/sqlite", "pipeline/builtin", "the SQL components need database/sql alone: a program pays for the driver that it imports itself"},
		{"github.com/jackc/pgx", "pipeline/builtin", "the SQL components need database/sql alone: a program pays for the driver that it imports itself"},
		{"github.com/parquet-go/parquet-go", "internal/parquetfile", "what it believes of a damaged file is looked at there, once for sources and sinks"},
		{"github.com/spf13/cobra", "cmd/rowmill", "flags are the command's; a Go program has none"},
		{"github.com/joho/godotenv", "cmd/rowmill", "the library reads no .env: the command does"},
	}
	for _, p := range packages(t) {
		if from, _ := house(p.ImportPath); from == "examples" {
			continue // they show how a program uses the libraries beside Rowmill
		}
		for _, r := range rules {
			if p.ImportPath == module+"/"+r.importer {
				continue
			}
			for _, i := range p.Imports {
				if i == r.library || strings.HasPrefix(i, r.library+"/") {
					t.Errorf("%s imports %s, which only %s may: %s", p.ImportPath, i, r.importer, r.why)
				}
			}
		}
	}
}

func TestPipelineImportsNearlyNothing(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.ImportPath != module+"/pipeline" {
			continue
		}
		for _, i := range p.Imports {
			if strings.Contains(i, ".") && !strings.HasPrefix(i, "github.com/go-json-experiment/json") {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, reason("pipeline", ""))
			}
		}
	}
}

// TestEmbeddingIsCheap: a program that embeds the LLM stage pays for that alone. The
// file of its cache is part of it, with 0.3 MB.
func TestEmbeddingIsCheap(t *testing.T) {
	t.Parallel()
	deps := strings.Fields(string(goList(t, "-deps", "./stages/llm")))
	if !slices.Contains(deps, module+"/pipeline") {
		t.Fatalf("go list -deps says nothing of use: %v", deps)
	}
	for _, heavy := range []string{
		"aws", "parquet", "cobra", "pflag", "database/sql", "pgx", "sqlite", "lib/pq", "mysql", "nats",
		"bubbletea", "lipgloss", "prometheus", "opentelemetry", "go-streams", "yaml.v3", "testing",
	} {
		for _, d := range deps {
			if d == heavy || strings.Contains(d, ".") && strings.Contains(d, heavy) {
				t.Errorf("stages/llm depends on %s, and so does every program that embeds it", d)
			}
		}
	}
}
