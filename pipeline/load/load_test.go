package load_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/load"
)

func mustLoad(t *testing.T, src string, o load.Options) pipeline.Pipeline {
	t.Helper()
	p, err := load.Bytes("dir/good.yaml", []byte(src), o)
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	return p
}

// llmOf returns the configuration of a stage "llm".
func llmOf(t *testing.T, p pipeline.Pipeline, i int) fakeLLMConfig {
	t.Helper()
	c, ok := p.Steps[i].Stage.(shapedStage).config.(fakeLLMConfig)
	if !ok {
		t.Fatalf("stage %d is %T", i, p.Steps[i].Stage)
	}
	return c
}

func TestEveryKeyArrives(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, `
name: Ticket triage 1.0
source: {file: {path: in.csv, max_record: 1MiB, columns: [id, body]}, key: id}
stages:
  - map:
      set: {z: 1, a: true, m: 'body + "x"'}
      drop: [id]
  - llm:
      model: gpt
      api_key: 12345
      messages:
        - {role: system, content: hello}
        - content: |
            {{.body}}
      temperature: 0
      seed: 7
      stop: END
      headers: {X-A: "1", "X.B": "2"}
      extra: {z: 1e400, a: {y: [1, 2.50], b: null}, t: 2024-01-01}
      price: {input: 1}
      stream: true
    name: label
    parallelism: 64
    ordered: false
    reorder_window: 2048
    retry: {attempts: 3, backoff: 1s, max_backoff: 1m, run_budget: 50%}
    breaker: {failure_rate: 0.5, open_for: 2s, max_pause: 1h}
    timeout: 90s
    on_error: drop
    when: len(body) > 0
sink: {file: {path: out/x.jsonl}, flush: {records: 10, every: 500ms}}
dead_letter: {file: {path: dead.jsonl}}
stop_when: {dead_letters: 10%, after: 50}
drain_timeout: 1m
`, options(t, nil))

	if p.Name != "Ticket triage 1.0" || p.Key != "id" || p.SourceName != "file in.csv" || p.SinkName != "file out/x.jsonl" {
		t.Errorf("names are %q, %q, %q, %q", p.Name, p.Key, p.SourceName, p.SinkName)
	}
	if want := (pipeline.Flush{Records: 10, Every: 500 * time.Millisecond}); p.Flush != want {
		t.Errorf("flush is %v, want %v", p.Flush, want)
	}
	if want := (pipeline.StopWhen{DeadLetters: 0.1, After: 50}); p.StopWhen != want {
		t.Errorf("stop_when is %v, want %v", p.StopWhen, want)
	}
	if p.DrainTimeout != time.Minute || p.DeadLetterName != "dead.jsonl" {
		t.Errorf("drain_timeout is %v, dead letters go to %q", p.DrainTimeout, p.DeadLetterName)
	}

	step := p.Steps[1]
	condition := step.When
	step.When, step.Stage = nil, nil
	want := pipeline.Step{Component: "llm", Workload: pipeline.Waits, Costs: true, StepOptions: pipeline.StepOptions{
		Name: "label", Parallelism: 64, Unordered: true, ReorderWindow: 2048,
		Retry:   pipeline.Retry{Attempts: 3, Backoff: time.Second, MaxBackoff: time.Minute, RunBudget: 0.5},
		Breaker: pipeline.Breaker{FailureRate: 0.5, OpenFor: 2 * time.Second, MaxPause: time.Hour},
		Timeout: 90 * time.Second, OnError: pipeline.DropRecord,
	}}
	if diff := cmp.Diff(want, step); diff != "" {
		t.Errorf("the step differs (-want +got):\n%s", diff)
	}
	r := pipeline.NewRecord(pipeline.Field{Name: "body", Value: pipeline.Text("")})
	if ok, err := condition.Bool(r); ok || err != nil {
		t.Errorf("when is %v, %v, want false", ok, err)
	}

	c := llmOf(t, p, 1)
	zero, seven := 0.0, 7
	if c.Model != "gpt" || c.APIKey.Reveal() != "12345" || !c.Stream || c.MaxTokens != 100 || c.Price.Input != 1 {
		t.Errorf("the config is %+v", c)
	}
	if diff := cmp.Diff([]any{[]string{"END"}, &zero, &seven, map[string]string{"X-A": "1", "X.B": "2"}, []fakeMessage{{"system", "hello"}, {"", "{{.body}}\n"}}},
		[]any{c.Stop, c.Temperature, c.Seed, c.Headers, c.Messages}); diff != "" {
		t.Errorf("the config differs (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{"z": "1e400", "a": `{"y":[1,2.50],"b":null}`, "t": `"2024-01-01"`} {
		if got := c.Extra[key].JSON(); got != want {
			t.Errorf("extra.%s is %s, want %s", key, got, want)
		}
	}
	set := p.Steps[0].Stage.(shapedStage).config.(fakeMapConfig).Set
	if diff := cmp.Diff(pipeline.Pairs{{Key: "z", Value: "1"}, {Key: "a", Value: "true"}, {Key: "m", Value: `body + "x"`}}, set); diff != "" {
		t.Errorf("set differs (-want +got):\n%s", diff)
	}
}

func TestNothingGivenIsDefault(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, `
source: {values: {rows: [{a: 1}]}}
stages: # none yet
sink: {discard: }
`, options(t, nil))
	if p.Name != "good" || len(p.Steps) != 0 || p.Flush != (pipeline.Flush{}) || p.StopWhen != (pipeline.StopWhen{}) {
		t.Errorf("the pipeline is %+v", p)
	}
	p = mustLoad(t, `
source: {values: {rows: [{a: 1}]}}
stages: [{custom: }]
sink: {discard: {}}
`, options(t, nil))
	if got := p.Steps[0].StepOptions; got != (pipeline.StepOptions{Name: "custom"}) {
		t.Errorf("the options are %+v", got)
	}
}

func TestOff(t *testing.T) {
	t.Parallel()
	for _, off := range []string{"off", "false", `"off"`, "${OFF}"} {
		p := mustLoad(t, `
source: {values: {rows: [1]}}
stages:
  - custom: {}
    breaker: `+off+`
    timeout: `+off+`
  - custom: {}
    timeout: 0
sink: {discard: {}}
stop_when: `+off+`
`, options(t, map[string]string{"OFF": "off"}))
		if !p.StopWhen.Off || !p.Steps[0].Breaker.Off || p.Steps[0].Timeout >= 0 || p.Steps[1].Timeout >= 0 {
			t.Errorf("%s is not off: %+v, %+v", off, p.StopWhen, p.Steps[0])
		}
	}
}

func TestStageNames(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, `
source: {values: {rows: [1]}}
stages:
  - custom: {}
  - {custom: {}, name: custom-2}
  - custom: {}
  - {limit: {records: 1}, name: custom}
sink: {discard: {}}
`, options(t, nil))
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"custom-3", "custom-2", "custom-4", "custom"}, names); diff != "" {
		t.Errorf("the names differ (-want +got):\n%s", diff)
	}
	if env := p.Steps[3].Stage.(limitStage).env; env.Name != "custom" {
		t.Errorf("the component is told the name %q", env.Name)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, `
source: {values: {rows: [1]}}
stages:
  - llm: &base {model: a, prompt: p, headers: &h {x: "1"}}
    retry: &retry {attempts: 3, backoff: 1s}
  - llm: {<<: *base, model: b, max_tokens: 5}
    retry: {<<: [{attempts: 9}, *retry], backoff: 2s}
  - llm: {model: c, prompt: q, headers: *h}
sink: {discard: {}}
`, options(t, nil))
	b, c := llmOf(t, p, 1), llmOf(t, p, 2)
	if b.Model != "b" || b.Prompt != "p" || b.MaxTokens != 5 || b.Headers["x"] != "1" || c.Headers["x"] != "1" {
		t.Errorf("the configs are %+v, %+v", b, c)
	}
	if r := p.Steps[1].Retry; r.Attempts != 9 || r.Backoff != 2*time.Second {
		t.Errorf("retry is %+v", r)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"MODEL": "gpt: {a}", "N": "12", "T": "0.5", "YES": "true", "SIZE": "2MiB", "EMPTY": "", "DOLLAR": "${N}", "LINES": "a\nb: c",
	}
	p := mustLoad(t, `
source: {file: {path: "${DIR:-data}/x", max_record: "${SIZE}"}}
stages:
  - llm:
      model: ${MODEL}
      prompt: $${N} costs $5, ${DOLLAR}${LINES} ${EMPTY:-}|${EMPTY:-d:e}
      max_tokens: ${N}
      temperature: "${T}"
      stream: ${YES}
      seed: ${SEED:-3}
      extra:
        n: "${N}"
        plain: ${N}
        ${N}: 1
      headers: {n: "${N}"}
sink: {discard: {}}
`, options(t, env))
	c := llmOf(t, p, 0)
	if want := "${N} costs $5, ${N}a\nb: c |d:e"; c.Prompt != want || c.Model != "gpt: {a}" {
		t.Errorf("prompt is %q, model %q, want %q", c.Prompt, c.Model, want)
	}
	if c.MaxTokens != 12 || *c.Temperature != 0.5 || !c.Stream || *c.Seed != 3 || c.Headers["n"] != "12" {
		t.Errorf("the config is %+v", c)
	}
	for _, key := range []string{"n", "plain"} {
		if got := c.Extra[key].JSON(); got != `"12"` {
			t.Errorf("a substituted value is %s, want a text", got)
		}
	}
	if _, ok := c.Extra["${N}"]; !ok {
		t.Error("a key was substituted")
	}
	if f := p.Source.(fakeSource).config.(fakeFileConfig); f.MaxRecord != 2<<20 || f.Path[0] != "data/x" {
		t.Errorf("the source is %+v", f)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const secret = "sk-\"very\" secret"
	_, err := load.Bytes("x.yaml", []byte(`
source: {file: {path: x, format: "${KEY}", max_record: "${KEY}", types: {a: "${KEY}"}}, key: "${KEY}"}
stages:
  - llm: {model: m, prompt: p, max_tokens: "${KEY}"}
    timeout: ${KEY}
    name: ${KEY}
    on_error: x ${KEY}
    when: ${KEY} ===
sink: {discard: {}}
drain_timeout: "${KEY}"
`), options(t, map[string]string{"KEY": secret}))
	if n := len(strings.Split(err.Error(), "\n")); n != 9 {
		t.Errorf("%d mistakes, want 9:\n%v", n, err)
	}
	if strings.Contains(err.Error(), "very") {
		t.Errorf("a secret is in the message:\n%v", err)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	const src = `
source: {file: {path: a.csv}}
stages:
  - llm: {model: "${ABSENT}", prompt: p, headers: &h {x: "1"}}
    name: label
  - llm: {model: b, prompt: q, headers: *h, messages: }
    breaker: off
  - limit: {records: 5}
sink: {discard: }
`
	o := options(
		t, map[string]string{"M": "from the environment"},
		"name=other", "stages[0].llm.model=gpt-4.1", "stages.label.parallelism=4", "stages.limit.records=9",
		"stages.label.llm.headers.x='2'", "stages.llm.model=${M}", `stages.llm.extra["a.b"].c={d: [1, 2]}`,
		"source.path=[b.csv, c.csv]", "source.key=id", "sink.flush.records=7", "stages.llm.breaker={failure_rate: 10%}",
		"stages[1].llm.prompt=", "stages[1].llm.messages=[{content: x}]", "dead_letter.discard={}", "stop_when=off",
	)
	p := mustLoad(t, src, o)
	label, second := llmOf(t, p, 0), llmOf(t, p, 1)
	if p.Name != "other" || p.Key != "id" || p.Flush.Records != 7 || !p.StopWhen.Off || p.DeadLetterName != "discard" {
		t.Errorf("the pipeline is %+v", p)
	}
	if label.Model != "gpt-4.1" || label.Headers["x"] != "2" || p.Steps[0].Parallelism != 4 {
		t.Errorf("the first stage is %+v", label)
	}
	if second.Model != "from the environment" || second.Headers["x"] != "1" || second.Prompt != "" ||
		second.Extra["a.b"].JSON() != `{"c":{"d":[1,2]}}` || p.Steps[1].Breaker.Off || p.Steps[1].Breaker.FailureRate != 0.1 {
		t.Errorf("the second stage is %+v, %+v", second, p.Steps[1])
	}
	if got := p.Source.(fakeSource).config.(fakeFileConfig).Path; len(got) != 2 {
		t.Errorf("the paths are %v", got)
	}
	if got := p.Steps[2].Stage.(limitStage).config.(fakeLimitConfig).Records; got != 9 {
		t.Errorf("the limit is %d", got)
	}
}

// TestOverrideWithADash: "-" is a list of nothing in YAML, and nobody means that.
func TestOverrideWithADash(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, "source: {file: {path: a.csv}}\nsink: {discard: {}}\n", options(t, nil, "source.path=-"))
	if got := p.Source.(fakeSource).config.(fakeFileConfig).Path; len(got) != 1 || got[0] != "-" {
		t.Errorf("the paths are %q, want -", got)
	}
}

func TestMistakesInOverrides(t *testing.T) {
	t.Parallel()
	const src = `
source: {file: {path: a.csv}}
stages:
  - llm: {model: a, prompt: p}
    name: label
  - llm: {model: a, prompt: p}
  - custom: {}
  - custom: {}
    name: third
sink: {discard: {}}
`
	for _, c := range []struct{ set, want string }{
		{"name", `--set name: an override has the form path=value, like stages[0].llm.model=gpt-4.1`},
		{"=x", `--set : an override has the form path=value, like stages[0].llm.model=gpt-4.1`},
		{"a..b=x", `--set a..b: an override has the form path=value, like stages[0].llm.model=gpt-4.1`},
		{"a.=x", `--set a.: an override has the form path=value, like stages[0].llm.model=gpt-4.1`},
		{"a[=x", `--set a[: an override has the form path=value, like stages[0].llm.model=gpt-4.1`},
		{"stages.label.model=[a", `--set stages.label.model: the value is invalid YAML: did not find expected ',' or ']'; quote it`},
		{"stages.lable.model=x", `--set stages.lable.model: there is no stage of that name ("lable"); there are label, llm, custom, third; did you mean "label"?`},
		{"stages[4].name=x", `--set stages[4].name: there is no item 4; the list has 4, counted from 0`},
		{"stages.label.modle=x", `--set stages.label.modle: stages[0].llm.modle: unknown key; did you mean "model"?`},
		{"stages.label.parallelism=x", `--set stages.label.parallelism: stages[0].parallelism: must be a whole number, not the text "x"`},
		{"stages.label.model.x=x", `--set stages.label.model.x: there is nothing to set within the text "a"`},
		{"naem=x", `--set naem: naem: unknown key; did you mean "name"?`},
		{"sink.file.path=x", `--set sink.file.path: sink.file: one entry has one sink, and this one has "discard" already; give each an entry of its own`},
		{"stages.label.prompt=x {{.nofield}}", `--set stages.label.prompt: stages[0].llm.prompt: there is no field nofield`},
		{"name=${NOPE}", `--set name: name: the environment variable NOPE is not set; set it, or write ${NOPE:-default}`},
	} {
		_, err := load.Bytes("x.yaml", []byte(src), options(t, nil, c.set))
		if err == nil || err.Error() != c.want {
			t.Errorf("--set %s: got\n%v\nwant\n%s", c.set, err, c.want)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sink, want string }{
		{"file: {path: out/triage.jsonl}", "out/triage.dead.jsonl"},
		{"file: {path: out/triage.CSV.gz}", "out/triage.dead.jsonl"},
		{"file: {path: out/v1.2}", "out/v1.2.dead.jsonl"},
		{"file: {path: out/.jsonl}", "out/.jsonl.dead.jsonl"},
		{"file: {path: '-'}", ".rowmill/good/dead.jsonl"},
		{"file: {path: s3://bucket/x.jsonl}", ".rowmill/good/dead.jsonl"},
		{"discard: {}", ".rowmill/good/dead.jsonl"},
	} {
		p := mustLoad(t, "source: {values: {rows: [1]}}\nsink: {"+c.sink+"}", options(t, nil))
		if got := filepath.ToSlash(p.DeadLetterName); got != c.want {
			t.Errorf("%s: dead letters go to %q, want %q", c.sink, got, c.want)
		}
		s := p.DeadLetter.(fakeSink)
		if got := s.config.(fakeSinkConfig).Path; filepath.ToSlash(got) != c.want || !s.env.Shape.Closed {
			t.Errorf("%s: the sink has the path %q and the shape %v", c.sink, got, s.env.Shape)
		}
	}
	without := options(t, nil)
	source, _ := without.Registry.Lookup(pipeline.KindSource, "values")
	sink, _ := without.Registry.Lookup(pipeline.KindSink, "discard")
	without.Registry = new(pipeline.Registry)
	if err := without.Registry.Register(source, sink); err != nil {
		t.Fatal(err)
	}
	if p := mustLoad(t, "source: {values: {rows: [1]}}\nsink: {discard: {}}", without); p.DeadLetter != nil || p.DeadLetterName != "" {
		t.Errorf("without a file sink dead letters go to %q", p.DeadLetterName)
	}
}

func TestSameFileByAnotherName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, link := filepath.Join(dir, "in.csv"), filepath.Join(dir, "link.csv")
	if err := os.WriteFile(in, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(in, link); err != nil {
		t.Skip(err)
	}
	_, err := load.Bytes("x.yaml", []byte("source: {file: {path: "+in+"}}\nsink: {file: {path: "+link+"}}"), options(t, nil))
	if err == nil || !strings.Contains(err.Error(), "is read by the source too") {
		t.Errorf("got %v, want a mistake", err)
	}
}

func TestShapesGoDownThePipeline(t *testing.T) {
	t.Parallel()
	p := mustLoad(t, `
source: {file: {path: x, columns: [id, body]}}
stages:
  - map: {set: {n: len(body)}, drop: [id]}
  - {map: {set: {m: 1}, drop: [body]}, when: n > 1}
  - llm: {model: m, prompt: p}
  - {llm: {model: m, prompt: p}, when: n > 1}
  - {map: {set: {answer: 1}}, when: n > 1}
  - custom: {}
sink: {discard: {}}
`, options(t, nil))
	names := func(s pipeline.Shape) string {
		var fields []string
		for _, f := range s.Fields {
			if f.Type == pipeline.StringType {
				f.Name += ":text"
			}
			fields = append(fields, f.Name)
		}
		text := strings.Join(fields, " ")
		if !s.Closed {
			text += " …"
		}
		return text
	}
	var got []string
	for _, s := range p.Steps {
		switch s := s.Stage.(type) {
		case shapedStage:
			got = append(got, names(s.env.Shape))
		case fakeStage:
			got = append(got, names(s.env.Shape))
		}
	}
	got = append(got, names(p.Sink.(fakeSink).env.Shape))
	if diff := cmp.Diff([]string{"id body", "body n", "body n m", "body n m answer:text", "body n m answer:text", "body n m answer", "body n m answer …"}, got); diff != "" {
		t.Errorf("the shapes differ (-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	var got []string
	o.Warn = func(m load.Mistake) { got = append(got, m.Error()) }
	mustLoad(t, `
source: {values: {rows: [1]}}
stages:
  - custom: {}
    parallelism: 4000
    retry: {attempts: 3}
    breaker: {open_for: 1s}
    timeout: 5s
  - {llm: {model: m, prompt: p}, ordered: false, reorder_window: 2000, parallelism: 4000}
  - {limit: {records: 1}, parallelism: 2}
  - {llm: {model: m, prompt: p}, ordered: false, reorder_window: 2000}
  - {llm: {model: m, prompt: p}, parallelism: 64, reorder_window: 10}
sink: {discard: {}}
`, o)
	for i, want := range []string{
		"good.yaml:5:18: stages[0].parallelism: 4000 is more than the ",
		"good.yaml:6:12: stages[0].retry: makes little sense here",
		"good.yaml:7:14: stages[0].breaker: makes little sense here",
		"good.yaml:8:14: stages[0].timeout: makes little sense here",
		"good.yaml:9:43: stages[1].ordered: false has no effect: stages[2] depends on the order",
		"good.yaml:10:40: stages[2].parallelism: has no effect: the stage works on one record at a time",
		"good.yaml:11:66: stages[3].reorder_window: has no effect with ordered: false",
		"good.yaml:12:67: stages[4].reorder_window: 10 is less than the parallelism",
		"",
	} {
		switch {
		case i >= len(got) && want != "", i < len(got) && want == "":
			t.Fatalf("got %d warnings:\n%s", len(got), strings.Join(got, "\n"))
		case i < len(got) && !strings.HasPrefix(got[i], "dir/"+want):
			t.Errorf("got  %s\nwant %s", got[i], want)
		}
	}
}

func TestNotText(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"name: x\nsource: \"ü\x00\"": `x.yaml:2:11: not a character that YAML can hold; the file must be UTF-8 text`,
		"name: \xff":                 `x.yaml:1:7: not a character that YAML can hold; the file must be UTF-8 text`,
		"\ufeffname: [\r\n":          `x.yaml:1:7: invalid YAML: did not find expected node content; the [ here is not closed, or a comma is missing in it`,
	} {
		_, err := load.Bytes("x.yaml", []byte(src), options(t, nil))
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", src, err, want)
		}
	}
}

func TestCRLF(t *testing.T) {
	t.Parallel()
	src := "\ufeffsource: {values: {rows: [1]}}\r\nstages:\r\n  - llm:\r\n      model: m\r\n      prompt: |\r\n        a\r\n        {{.nofield}}\r\nsink: {discard: {}}\r\n"
	_, err := load.Bytes("x.yaml", []byte(src), options(t, nil))
	if want := "x.yaml:7:9: stages[0].llm.prompt: there is no field nofield"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	_, err := load.File(filepath.Join(t.TempDir(), "none.yaml"), options(t, nil))
	var mistakes load.Mistakes
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &mistakes) {
		t.Errorf("a file that is not there: %v", err)
	}
	path := filepath.Join(t.TempDir(), "b-1.yaml")
	if err := os.WriteFile(path, []byte("source: {values: {rows: [1]}}\nsink: {discard: {}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := load.File(path, options(t, nil)); err != nil || p.Name != "b-1" {
		t.Errorf("got %q, %v", p.Name, err)
	}
	_, err = load.Bytes("a/-.yaml", []byte("source: {values: {rows: [1]}}\nsink: {discard: {}}"), options(t, nil))
	if err == nil || !strings.Contains(err.Error(), "a/-.yaml:1:1: name: ") {
		t.Errorf("a file with a bad name: %v", err)
	}
}

// TestMistakeIsFound says what an embedding program can rely on.
func TestMistakeIsFound(t *testing.T) {
	t.Parallel()
	_, err := load.Bytes("x.yaml", []byte("source: {file: {pth: x}}\nsink: {discard: {}}"), options(t, nil))
	var mistakes load.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("the error is %T", err)
	}
	want := load.Mistakes{{File: "x.yaml", Line: 1, Column: 17, Component: "file", Key: "source.file.pth", Message: "unknown key", Suggestion: "path"}}
	if diff := cmp.Diff(want, mistakes); diff != "" {
		t.Errorf("the mistakes differ (-want +got):\n%s", diff)
	}
}
