package load_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/load"
)

func TestReference(t *testing.T) {
	t.Parallel()
	d, err := load.Reference(fakes(t), pipeline.KindSource, "file")
	if err != nil {
		t.Fatal(err)
	}
	want := load.Doc{
		Kind: pipeline.KindSource, Name: "file", Summary: "reads files", Example: "{path: in.jsonl}",
		Keys: []load.KeyDoc{
			{Name: "path", Type: "list of texts", Required: true, Meaning: "One or several files."},
			{Name: "format", Type: "text", Default: "auto", OneOf: []string{"auto", "csv", "jsonl"}, Meaning: "How the rows are written. Defaults to auto."},
			{Name: "max_record", Type: "size", Default: "64MiB", Min: "1KiB", Max: "1GiB", Meaning: "Bounds a row. Defaults to 64MiB."},
			{Name: "columns", Type: "list of texts", Meaning: "The only fields of the rows. Defaults to any."},
			{Name: "types", Type: "mapping of names to texts (number, bool)", OneOf: []string{"number", "bool"}, Meaning: "Gives columns a type. Defaults to none."},
		},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("the reference differs (-want +got):\n%s", diff)
	}
	d, err = load.Reference(fakes(t), pipeline.KindStage, "llm")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range d.Keys {
		got = append(got, k.Name+": "+k.Type)
		for _, inner := range k.Keys {
			got = append(got, k.Name+"."+inner.Name+": "+inner.Traits()+": "+inner.Meaning)
		}
	}
	if diff := cmp.Diff([]string{
		"model: text", "api_key: secret", "prompt: template",
		"messages: list of mappings", "messages.role: text, one of system, user: Who speaks. Defaults to user.", "messages.content: template, required: What is said.",
		"temperature: number", "seed: whole number", "max_tokens: whole number", "stop: list of texts", "headers: mapping of names to texts",
		"extra: mapping of names to values", "stream: true or false", "price: mapping",
		"price.input: number, at least 0: The price of a million. Defaults to 0.", "api_version: text",
	}, got); diff != "" {
		t.Errorf("the keys differ (-want +got):\n%s", diff)
	}
}

func TestReferenceText(t *testing.T) {
	t.Parallel()
	reg := fakes(t)
	for name, want := range map[string][]string{
		"":         {"sources\n  file       reads files\n", "stages\n", "sinks\n"},
		"file":     {"source file: reads files\n", "sink file: writes a file\n", "\n  Example:\n\n    {path: in.jsonl}\n"},
		"llm":      {"stage llm: asks a model\n  waits for others: 16 records at once\n", "\n  model  (text, required)\n      Who is asked.\n"},
		"stage":    {"  on_error  (text, one of dead_letter, stop, drop)\n", "      attempts  (whole number, at least 1, at most 1000)\n"},
		"pipeline": {"  drain_timeout  (duration, at least 1ms)\n", "  stop_when  (mapping, or off)\n"},
		"discard":  {"  it has no keys\n"},
	} {
		text, err := load.ReferenceText(reg, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("the reference of %q lacks %q:\n%s", name, part, text)
			}
		}
		for line := range strings.Lines(text) {
			if len(line) > 100 {
				t.Errorf("the reference of %q has the line %q", name, line)
			}
		}
	}
	if _, err := load.ReferenceText(reg, "lm"); err == nil || err.Error() != `there is no component "lm"; did you mean "llm"?` {
		t.Errorf("got %v", err)
	}
	if _, err := load.Reference(reg, pipeline.KindSink, "zebra"); err == nil || err.Error() != `there is no sink "zebra"; there are discard, file` {
		t.Errorf("got %v", err)
	}
}

// TestEngineKeysAreDocumented holds the keys of the engine to the rules for those
// of components.
func TestEngineKeysAreDocumented(t *testing.T) {
	t.Parallel()
	all, err := load.PipelineKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []pipeline.Kind{pipeline.KindSource, pipeline.KindStage, pipeline.KindSink} {
		keys, err := load.EngineKeys(kind)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, keys...)
	}
	if len(all) < 18 {
		t.Errorf("there are %d keys", len(all))
	}
	var check func(keys []load.KeyDoc)
	check = func(keys []load.KeyDoc) {
		for _, k := range keys {
			if !k.Required && len(k.Keys) == 0 && !strings.Contains(k.Meaning, "Defaults to ") || k.Meaning == "" {
				t.Errorf("%s is not documented: %q", k.Name, k.Meaning)
			}
			check(k.Keys)
		}
	}
	check(all)
}

func TestReferenceMarkdown(t *testing.T) {
	t.Parallel()
	page, err := load.ReferenceMarkdown(fakes(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"## The pipeline\n", "## Sources\n", "### `llm` (stage)\n\nasks a model\n\n- **`model`** (text, required): Who is asked.\n",
		"  - **`role`** (text, one of system, user): Who speaks.", "```yaml\n{path: in.jsonl}\n```\n", "- **`flush`** (mapping): ",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
}

// schemaChecker returns a function that checks YAML against the schema.
func schemaChecker(t *testing.T) func(src string) error {
	t.Helper()
	text, err := load.Schema(fakes(t))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("pipeline.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("pipeline.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(src string) error {
		var v any
		if err := yaml.Unmarshal([]byte(src), &v); err != nil {
			return err
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			return err
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			return err
		}
		return schema.Validate(instance)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	check := schemaChecker(t)
	good := []string{
		"{source: {values: {rows: [1]}}, sink: {discard: }}",
		"{source: {file: {path: x, max_record: 1KiB, types: {a: number}}, key: id}, stages: , sink: {discard: {}, flush: {records: 5}}}",
		`{source: {file: {path: [x, "${Y}"]}}, stages: [{llm: {model: x, prompt: y, max_tokens: "${N}", temperature: 0, seed: , stop: END}, timeout: 5s, breaker: off, when: true}], sink: {discard: {}}}`,
		"{source: {values: {rows: [1]}}, stages: [{map: {set: {a: 1, b: x}}, parallelism: 5, retry: {attempts: 2, run_budget: 0.5}}], sink: {discard: {}}, stop_when: {dead_letters: 5%}, dead_letter: {discard: }}",
	}
	for _, src := range good {
		if err := check(src); err != nil {
			t.Errorf("%s: %v", src, err)
		}
		if _, err := load.Bytes("x.yaml", []byte(src), options(t, map[string]string{"Y": "y", "N": "5"})); err != nil {
			t.Errorf("%s is not even a pipeline: %v", src, err)
		}
	}
	for _, src := range []string{
		"{sink: {discard: }}",
		"{source: {values: {rows: [1]}}, sink: {discard: , file: {path: x}}}",
		"{source: {values: {rows: [1]}}, sink: {}}",
		"{source: {values: {rows: [1]}}, sink: {discard: {x: 1}}}",
		"{source: {file: {}}, sink: {discard: }}",
		"{source: {file: {path: x, format: xml}}, sink: {discard: }}",
		"{source: {values: {rows: [1]}}, stages: [{limit: {records: 0}}], sink: {discard: }}",
		"{source: {values: {rows: [1]}}, stages: [{limit: {records: many}}], sink: {discard: }}",
		"{source: {values: {rows: [1]}}, stages: [{limit: {records: 1}, retry: 5}], sink: {discard: }}",
		"{source: {values: {rows: [1]}}, sink: {discard: }, state: [off]}",
	} {
		if err := check(src); err == nil {
			t.Errorf("%s fits the schema", src)
		}
	}
}
