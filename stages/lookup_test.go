package stages_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

// lookupIn is the configuration of a lookup in a file of that text.
func lookupIn(t *testing.T, name, text string, change func(*stages.LookupConfig)) stages.LookupConfig {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := stages.LookupSpec().Defaults().(*stages.LookupConfig)
	c.File, c.On = path, "sku"
	if change != nil {
		change(c)
	}
	return *c
}

const prices = "sku,price,note\na,1.50,\"x, y\"\n7,2,\n"

func TestLookupConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]pipelinetest.StageCase{
		"csv": {
			New:     making(stages.NewLookup, lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.Types = map[string]string{"price": "number"} })),
			Rows:    []string{`{"sku":"a","n": 1}`, `{"sku":7}`, `{"sku":"\u0061"}`},
			Want:    []string{`{"sku":"a","n":1,"price":1.50,"note":"x, y"}`, `{"sku":7,"price":2,"note":""}`, `{"sku":"\u0061","price":1.50,"note":"x, y"}`},
			Failing: []string{`{"sku":"b"}`, `{"sku":null}`, `{"n":1}`, `{"sku":7.0}`, `{"sku":"a","note":1}`},
		},
		"json lines into one field": {
			New: making(stages.NewLookup, lookupIn(t, "p.jsonl", `{"id":"a","p":1e400,"q":[1, 2]}`+"\n"+`{"id":7}`, func(c *stages.LookupConfig) {
				c.Key, c.Take, c.As, c.On = "id", []string{"q", "p"}, "found", "lower(sku)"
			})),
			Rows:    []string{`{"sku":"A","found":0}`},
			Want:    []string{`{"sku":"A","found":{"q":[1, 2],"p":1e400}}`},
			Failing: []string{`{"sku":"b"}`},
		},
		"nulls": {
			New: making(stages.NewLookup, lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) {
				c.Missing, c.Take = "null", []string{"price"}
			})),
			Rows: []string{`{"sku":"b","price":0}`, `{"sku":null}`, `{"sku":"a","price":0}`},
			Want: []string{`{"sku":"b","price":null}`, `{"sku":null,"price":null}`, `{"sku":"a","price":"1.50"}`},
		},
		"a null is not an empty key": {
			New:  making(stages.NewLookup, lookupIn(t, "p.csv", "sku,n\n,1\n", func(c *stages.LookupConfig) { c.Missing = "null" })),
			Rows: []string{`{"sku":null}`, `{"sku":""}`}, Want: []string{`{"sku":null,"n":null}`, `{"sku":"","n":"1"}`},
		},
		"a null for a row": {
			New:  making(stages.NewLookup, lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.Missing, c.As = "null", "found" })),
			Rows: []string{`{"sku":"b"}`}, Want: []string{`{"sku":"b","found":null}`},
		},
		"drops": {
			New:  making(stages.NewLookup, lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.Missing, c.Take = "drop", []string{"note"} })),
			Rows: []string{`{"sku":"b"}`, `{"sku":null}`, `{"sku":"a"}`}, Want: []string{`{"sku":"a","note":"x, y"}`},
		},
		"the first of two": {
			New:  making(stages.NewLookup, lookupIn(t, "p.csv", "sku,n\na,1\na,2\n", func(c *stages.LookupConfig) { c.Duplicates = "first" })),
			Rows: []string{`{"sku":"a"}`}, Want: []string{`{"sku":"a","n":"1"}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelinetest.Stage(t, c)
		})
	}
}

// TestLookupFiles: what is wrong with the file is said before the first row.
func TestLookupFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config stages.LookupConfig
		says   string
	}{
		"not there":        {lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.File += "x" }), "p.csvx"},
		"empty":            {lookupIn(t, "p.csv", "", nil), "must name the columns"},
		"no such key":      {lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.Key = "id" }), `has no column "id"; it has ["sku" "price" "note"]`},
		"no such column":   {lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.Take = []string{"cost"} }), `has no column "cost"`},
		"a torn row":       {lookupIn(t, "p.csv", prices+"b,1\n", nil), "p.csv:4: "},
		"twice":            {lookupIn(t, "p.csv", prices+"a,1,\n", nil), `p.csv:4: the sku "a" is there already, in line 2; duplicates: first`},
		"no key in a row":  {lookupIn(t, "p.jsonl", `{"sku":1,"a":1}`+"\n"+`{"a":2}`, func(c *stages.LookupConfig) { c.Take = []string{"a"} }), `p.jsonl:2: the key "sku" is missing`},
		"a null for a key": {lookupIn(t, "p.jsonl", `{"sku":null,"a":1}`, func(c *stages.LookupConfig) { c.Take = []string{"a"} }), `the key "sku" is null`},
		"no take":          {lookupIn(t, "p.jsonl", `{"sku":1}`, nil), "take is needed"},
		"too large":        {lookupIn(t, "p.csv", "sku\n"+strings.Repeat("a", 1000)+"\nb\n", func(c *stages.LookupConfig) { c.Memory = 1 << 10 }), "p.csv:2: with this row, number 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := stages.NewLookup(c.config, pipeline.Env{})
			if err != nil {
				t.Fatal(err)
			}
			_, printErr := l.Fingerprint(t.Context())
			_, processErr := l.Process(t.Context(), row(t, `{"sku":"a"}`, 0))
			for _, err := range []error{l.Probe(t.Context()), printErr, processErr} {
				if class, _ := pipeline.Classify(err); err == nil || class != pipeline.ClassFatal || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want a fatal error that says %q", err, c.says)
				}
			}
		})
	}
}

func TestLookupReadsAgainAfterItWasCancelled(t *testing.T) {
	t.Parallel()
	l, err := stages.NewLookup(lookupIn(t, "p.csv", prices, nil), pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got, want := made(t, l, `{"sku":7}`)[0], `{"sku":7,"price":"2","note":""}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLookupProblems(t *testing.T) {
	t.Parallel()
	_, err := stages.NewLookup(stages.LookupConfig{Missing: "x", Duplicates: "x", Memory: 1, Take: []string{"a", "a"}, Delimiter: "ab"}, pipeline.Env{})
	var keys []string
	for _, p := range problems(t, err) {
		key, _, _ := strings.Cut(p, "@")
		keys = append(keys, key)
	}
	if want := []string{"file", "on", "missing", "take[1]", "duplicates", "memory", "delimiter"}; !slices.Equal(keys, want) {
		t.Errorf("got %q, want %q", keys, want)
	}
	_, err = stages.NewLookup(lookupIn(t, "p.csv", prices, func(c *stages.LookupConfig) { c.On = "lower(sku)" }), pipeline.Env{})
	if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "key@0: is needed") {
		t.Errorf("got %q, want that the column must be named", got)
	}
	shape := pipeline.Shape{Closed: true}.With("id", pipeline.AnyType)
	_, err = stages.NewLookup(lookupIn(t, "p.csv", prices, nil), pipeline.Env{Shape: shape})
	if got := problems(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "on@") {
		t.Errorf("got %q, want that there is no such field", got)
	}
}

// TestLookupInAnotherFileIsRefused: a run that was ended is not gone on with.
func TestLookupInAnotherFileIsRefused(t *testing.T) {
	t.Parallel()
	c := lookupIn(t, "p.csv", prices, nil)
	state := t.TempDir()
	run := func() error {
		l, err := stages.NewLookup(c, pipeline.Env{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = engine.Run(t.Context(), pipeline.Pipeline{
			Source: pipelinetest.Rows(t, []string{`{"sku":"a"}`}), Sink: &pipelinetest.Memory{},
			Steps: []pipeline.Step{{Stage: l, StepOptions: pipeline.StepOptions{Name: "prices"}}},
		}, engine.Options{State: state})
		return err
	}
	for range 2 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(c.File, []byte(prices+"z,1,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "p.csv of stage prices") {
		t.Errorf("got %v, want that the file has changed", err)
	}
}
