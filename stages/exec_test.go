package stages_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/stages"
)

// TestMain is the program of the stage "exec" too, if the environment says so.
func TestMain(m *testing.M) {
	switch os.Getenv("EXEC_PROGRAM") {
	case "":
		doomed.Main(doomed.Options{Env: pipeline.Env{Getenv: os.Getenv}})
		goleak.VerifyTestMain(m)
	case "stubborn":
		stubborn()
	case "say":
		say()
	case "clean":
		clean()
	}
}

// eachLine calls f for each line of standard input.
func eachLine(f func(line string)) {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<26)
	for in.Scan() {
		f(in.Text())
	}
}

// say prints what the field "say" of each record tells it to.
func say() {
	eachLine(func(line string) {
		var row struct {
			Say string `json:"say"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			panic(err)
		}
		fmt.Println(strings.NewReplacer("LINE", line, "ENV", strings.Join(os.Environ(), " ")).Replace(row.Say))
	})
}

// clean makes of {"n": …} something that its number decides, and notes the rows that it
// sees in a file.
func clean() {
	seen, err := os.OpenFile(os.Getenv("SEEN"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		seen = os.Stderr
	}
	eachLine(func(line string) {
		var row struct {
			N int `json:"n"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintln(seen, row.N)
		fmt.Println(cleaned(row.N))
	})
}

// cleaned is the answer to the row of a number.
func cleaned(n int) string {
	switch {
	case n < 0:
		return fmt.Sprintf(`{"error":"%d is negative"}`, n)
	case n%5 == 3:
		return "null"
	case n%5 == 4:
		return fmt.Sprintf(`[{"n":%d,"part":1}, {"n":%[1]d,"part":2}]`, n)
	default:
		return fmt.Sprintf(`{"n":%d,"clean":true}`, n)
	}
}

// cleanRows are so many rows, and what becomes of them.
func cleanRows(rows int) (input, want []string) {
	for n := range rows {
		input = append(input, fmt.Sprintf(`{"n":%d}`, n))
		switch n % 5 {
		case 3:
		case 4:
			want = append(want, fmt.Sprintf(`{"n":%d,"part":1}`, n), fmt.Sprintf(`{"n":%d,"part":2}`, n))
		default:
			want = append(want, fmt.Sprintf(`{"n":%d,"clean":true}`, n))
		}
	}
	return input, want
}

// program is the configuration for one of the programs above.
func program(t *testing.T, name string, change func(*stages.ExecConfig)) stages.ExecConfig {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := stages.ExecConfig{Command: []string{path}, Env: map[string]pipeline.Secret{"EXEC_PROGRAM": pipeline.Secret(name), "GORACE": "atexit_sleep_ms=0"}, MaxAnswer: 1 << 20}
	if change != nil {
		change(&c)
	}
	return c
}

func newExec(t *testing.T, c stages.ExecConfig, env pipeline.Env) *stages.Exec {
	t.Helper()
	e, err := stages.NewExec(c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

func TestExecConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New:      making(stages.NewExec, program(t, "clean", func(c *stages.ExecConfig) { c.Keeps = []string{"n"} })),
		Workload: pipeline.Waits,
		Rows:     []string{`{"n": 1}`, `{"n":3,"x":null}`, `{"n":4}`, `{"n":5}`},
		Want:     []string{`{"n":1,"clean":true}`, `{"n":4,"part":1}`, `{"n":4,"part":2}`, `{"n":5,"clean":true}`},
		Failing:  []string{`{"n":-1}`, `{"n":-2,"x":1}`},
	})
}

func TestExecAnswers(t *testing.T) {
	t.Parallel()
	e := newExec(t, program(t, "say", func(c *stages.ExecConfig) { c.Keeps = []string{"id"} }), pipeline.Env{})
	const notAnswer = `which is no answer: `
	for name, c := range map[string]struct {
		row, want string
		class     pipeline.Class
	}{
		"the record itself":  {`{"say":"LINE","id":1, "x":[1.50,1e400]}`, `{"say":"LINE","id":1, "x":[1.50,1e400]}`, 0},
		"another":            {`{"say":"{\"id\":7,\"a\":\"b\"}","id":7}`, `{"id":7,"a":"b"}`, 0},
		"a number as it is":  {`{"say":"{\"id\":1.5}","id":1.50}`, `{"id":1.5}`, 0},
		"null":               {`{"say":" null ","id":1}`, ``, 0},
		"an empty list":      {`{"say":"[]","id":1}`, ``, 0},
		"a list of one":      {`{"say":"[{\"id\":1}]","id":1}`, `{"id":1}`, 0},
		"line breaks in it":  {"{\"say\":\"LINE\",\r\n\"id\": 1\n}", `{"say":"LINE",  "id": 1 }`, 0},
		"an error":           {`{"say":"{\"error\":\"no city\"}","id":1}`, `error: the command refused it: no city`, pipeline.ClassRecord},
		"an error for now":   {`{"say":"{\"error\":\"busy\",\"retry\":true}","id":1}`, `error: the command refused it for now: busy`, pipeline.ClassTransient},
		"an error for good":  {`{"say":"{\"error\":{\"a\":1},\"retry\":false}","id":1}`, `error: the command refused it: {"a":1}`, pipeline.ClassRecord},
		"a field error":      {`{"say":"{\"error\":\"e\",\"id\":1}","id":1}`, `{"error":"e","id":1}`, 0},
		"a null for a field": {`{"say":"{\"error\":null,\"id\":1}","id":1}`, `{"error":null,"id":1}`, 0},
		"no line":            {`{"say":"","id":1}`, `an empty line; to drop a record, print null`, pipeline.ClassRecord},
		"a text":             {`{"say":"Loading…","id":1}`, `"Loading…", ` + notAnswer, pipeline.ClassRecord},
		"a number":           {`{"say":"17","id":1}`, notAnswer + `it is neither`, pipeline.ClassRecord},
		"half an object":     {`{"say":"{\"id\":1","id":1}`, notAnswer + `invalid JSON`, pipeline.ClassRecord},
		"half a list":        {`{"say":"[{\"id\":1}","id":1}`, notAnswer + `invalid JSON`, pipeline.ClassRecord},
		"a list of others":   {`{"say":"[{\"id\":1},2]","id":1}`, notAnswer + `entry 2 of the list`, pipeline.ClassRecord},
		"another's answer":   {`{"say":"{\"id\":2}","id":1}`, `whose id is "1" has id "2"`, pipeline.ClassRecord},
		"another kind":       {`{"say":"{\"id\":\"1\"}","id":1}`, `whose id is "1" has id "\"1\""`, pipeline.ClassRecord},
		"nobody's":           {`{"say":"[{\"id\":1},{}]","id":1}`, `has id missing`, pipeline.ClassRecord},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := row(t, c.row, 3)
			r.SetKey("key")
			made, err := e.Process(t.Context(), r)
			if c.class != 0 || strings.HasPrefix(c.want, "error:") || err != nil {
				if class, _ := pipeline.Classify(err); err == nil || class != c.class || !strings.Contains("error: "+err.Error(), c.want) {
					t.Errorf("got %v, want an error of class %v: %s", err, c.class, c.want)
				}
				return
			}
			var got []string
			for _, m := range made {
				got = append(got, string(m.AppendJSON(nil)))
				if m == r && (m.Key() != "key" || m.Ref.Seq != 3) {
					t.Errorf("the record has another identity: key %q, %v", m.Key(), m.Ref)
				}
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestExecEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PATH": "/bin", "HOME": "/home/me", "OPENAI_API_KEY": "sk-secret", "REGION": "eu", "EMPTY": ""}
	e := newExec(t, program(t, "say", func(c *stages.ExecConfig) {
		c.PassEnv = []string{"REGION", "EMPTY", "UNSET"}
		c.Env["TOKEN"] = "a b"
	}), pipeline.Env{Getenv: func(name string) string { return env[name] }})
	got := made(t, e, `{"say":"{\"env\":\"ENV\"}"}`)[0]
	var answer struct {
		Env string `json:"env"`
	}
	if err := json.Unmarshal([]byte(got), &answer); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	words := slices.Sorted(slices.Values(strings.Fields(answer.Env)))
	want := []string{"EXEC_PROGRAM=say", "GORACE=atexit_sleep_ms=0", "HOME=/home/me", "PATH=/bin", "PYTHONIOENCODING=utf-8", "PYTHONUNBUFFERED=1", "REGION=eu", "TOKEN=a", "b"}
	if !slices.Equal(words, want) {
		t.Errorf("got %q, want %q", words, want)
	}
}

func TestExecProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config stages.ExecConfig
		want   []string
	}{
		"nothing":   {stages.ExecConfig{MaxAnswer: 1 << 20}, []string{"command@0: needs a program, such as [python3, clean.py]"}},
		"one word":  {stages.ExecConfig{MaxAnswer: 1 << 20, Command: []string{"python3  clean.py"}}, []string{"command@0: is one word with spaces in it; write each part as one entry: [python3, clean.py]"}},
		"variables": {stages.ExecConfig{MaxAnswer: 1 << 20, Command: []string{"a"}, Env: map[string]pipeline.Secret{"A=B": "x"}}, []string{`env["A=B"]@0: is no name of a variable`}},
		"a size":    {stages.ExecConfig{MaxAnswer: 1, Command: []string{"a"}}, []string{"max_answer@0: must be from 1KiB to 1GiB, not 1B"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := stages.NewExec(c.config, pipeline.Env{})
			if got := problems(t, err); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestExecProbe(t *testing.T) {
	t.Parallel()
	_, err := engine.Run(t.Context(), pipeline.Pipeline{
		Source: pipelinetest.Rows(t, []string{`{"n":1}`}), Sink: &pipelinetest.Memory{},
		Steps: []pipeline.Step{{Stage: newExec(t, stages.ExecConfig{Command: []string{"no-such-program"}, MaxAnswer: 1 << 10}, pipeline.Env{})}},
	}, engine.Options{Preflight: true})
	var preflight *engine.PreflightError
	if !errors.As(err, &preflight) || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v, want that it is said before the first row", err)
	}
}

func TestExecFingerprint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("clean.py", "1")
	write("data.txt", "1")
	digests := func(command ...string) string {
		e := newExec(t, stages.ExecConfig{Command: command, Dir: dir, MaxAnswer: 1 << 10}, pipeline.Env{})
		d, err := e.Fingerprint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(d)
	}
	commands := [][]string{{"python3", "-u", "clean.py", "data.txt"}, {"./clean.py", "data.txt"}, {filepath.Join(dir, "clean.py")}}
	var before []string
	for _, c := range commands {
		before = append(before, digests(c...))
	}
	write("data.txt", "2") // what a program reads is its own business
	for i, c := range commands {
		if got := digests(c...); got != before[i] || !strings.Contains(got, "clean.py:") {
			t.Errorf("%q: %s, was %s", c, got, before[i])
		}
	}
	write("clean.py", "2")
	for i, c := range commands {
		if got := digests(c...); got == before[i] {
			t.Errorf("%q: %s with another script", c, got)
		}
	}
	if got := digests("jq", "-c", "."); got != "map[]" {
		t.Errorf("without a script: %s", got)
	}
}

// TestExecGoesOn aborts runs again and again: in the end every record is in the output
// as often as it must be, and the program has seen no record twice but those that it was
// at work on.
func TestExecGoesOn(t *testing.T) {
	t.Parallel()
	const rows, parallelism = 400, 4
	dir := t.TempDir()
	out, seen := filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "seen")
	input, want := cleanRows(rows)
	runs := 0
	for finished := false; !finished; runs++ {
		if runs > 50 {
			t.Fatal("it does not come to an end")
		}
		e, err := stages.NewExec(program(t, "clean", func(c *stages.ExecConfig) { c.Env["SEEN"] = pipeline.Secret(seen) }), pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		finished = aborted(t, e, input, out, filepath.Join(dir, "state"), parallelism, 60)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSpace(string(text)), "\n"); !slices.Equal(got, want) {
		t.Errorf("%d rows, want %d:\n%.500q", len(got), len(want), got)
	}
	text, err = os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n < rows || n > rows+(runs-1)*parallelism {
		t.Errorf("the program has seen %d records, in %d runs over %d", n, runs, rows)
	}
	if runs < 2 {
		t.Errorf("%d runs: nothing was interrupted", runs)
	}
}

// aborted runs a stage into a file, and aborts the run when so many records have been
// through. It reports whether the run came to its end.
func aborted(t *testing.T, stage pipeline.Stage, rows []string, out, state string, parallelism int, after int64) bool {
	t.Helper()
	var count atomic.Int64
	enough := make(chan struct{})
	counting := pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		if count.Add(1) == after {
			close(enough)
		}
		return []*pipeline.Record{r}, nil
	})
	step := pipeline.Step{Stage: stage, Workload: pipeline.Waits, Costs: true, StepOptions: pipeline.StepOptions{Name: "exec", Parallelism: parallelism}}
	sink, err := sinks.NewFile(sinks.FileConfig{Path: out, Format: "auto", Compression: "auto"}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(t.Context(), pipeline.Pipeline{
		Source: pipelinetest.Rows(t, rows), Sink: sink, Flush: pipeline.Flush{Records: 10, Every: 10 * time.Millisecond},
		Steps: []pipeline.Step{step, {Stage: counting, StepOptions: pipeline.StepOptions{Name: "count"}}},
	}, engine.Options{State: state})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		select {
		case <-enough:
			e.Abort()
		case <-e.Done():
		}
	}()
	s, err := e.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return !s.Stopped
}

// TestExecOfTheDocumentation runs the five lines of Python that the documentation shows.
func TestExecOfTheDocumentation(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("there is no python3")
	}
	if err != nil {
		t.Fatal(err) // it would not be noticed
	}
	var script strings.Builder
	script.WriteString("import json, sys\n")
	for line := range strings.Lines(stages.ExecSpec().Code) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			script.WriteString(code)
		}
	}
	path := filepath.Join(t.TempDir(), "clean.py")
	if err := os.WriteFile(path, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newExec(t, stages.ExecConfig{Command: []string{python, path}, MaxAnswer: 1 << 20}, pipeline.Env{Getenv: os.Getenv})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := row(t, `{"name":"  ada LOVELACE ","born":1815}`, 0)
	if _, err := e.Process(ctx, r); err != nil {
		t.Fatal(err)
	}
	if got, want := string(r.AppendJSON(nil)), `{"name": "Ada Lovelace", "born": 1815}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
