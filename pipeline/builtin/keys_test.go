package builtin_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// keyCase shows that a key does something: a pipeline in which it is given one
// value after the other, and nothing else changes.
type keyCase struct {
	// key is "stage llm: simulator.seed" for a component's own, "stage: retry.attempts"
	// for one beside any component, "pipeline: name" for one at the top.
	key string
	// at is the key's path in the pipeline, as for --set. Derived from key if empty.
	at string
	// yaml is the pipeline. In it and in the values, DIR is a folder of the run,
	// URL the provider, and LOCALHOST the same without http:// and with a name.
	yaml string
	// values are what the key is given, as YAML; "" leaves it as it is in yaml. What
	// is seen must differ for any two of them.
	values []string
	// see is what is looked at; nil for everything that is the same every time.
	see []aspect
	// shows must stand in what is seen with the last value.
	shows string

	files map[string]string // what is in DIR
	// objects are in a bucket; S3 stands for the server's address, and LOCALS3 for the same
	// with a name. nil for no server.
	objects map[string]string
	answer  answer // of the provider; nil echoes the question
	pages   http.HandlerFunc
	meet    int           // so many questions are there before any is answered; 0 for no matter
	script  script        // what the stage "scripted" does; not nil: the clock is a fake
	stop    time.Duration // when the run is asked to stop; 0 for never
	options engine.Options
}

// path is where the key stands.
func (c keyCase) path() string {
	kind, key, _ := strings.Cut(c.key, ": ")
	kind, name, own := strings.Cut(kind, " ")
	switch {
	case c.at != "":
		return c.at
	case kind == "pipeline":
		return key
	case kind == string(pipeline.KindStage) && own:
		return "stages." + name + "." + name + "." + key
	case kind == string(pipeline.KindStage):
		return "stages[0]." + key
	case own:
		return kind + "." + name + "." + key
	default:
		return kind + "." + key
	}
}

// verdict is what is wrong with a case: nothing, if each of its values is seen, and
// is seen the same way again.
func (c keyCase) verdict(t *testing.T) error {
	t.Helper()
	seen := make([]string, 2*len(c.values)) // each value twice
	errs := make([]error, len(seen))
	look := func(t *testing.T, i int) {
		var o observation
		if o, errs[i] = c.run(t, c.values[i/2]); errs[i] == nil {
			seen[i] = o.seen(c.see)
		}
	}
	if c.script != nil {
		for i := range seen {
			synctest.Test(t, func(t *testing.T) { look(t, i) })
		}
	} else {
		var all sync.WaitGroup
		for i := range seen {
			all.Go(func() { look(t, i) })
		}
		all.Wait()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.compare(seen)
}

func (c keyCase) compare(seen []string) error {
	for i := 0; i < len(seen); i += 2 {
		if seen[i] != seen[i+1] {
			return fmt.Errorf("with %q it is not the same every time:\n%s\n--- and again:\n%s", c.values[i/2], seen[i], seen[i+1])
		}
		for j := 0; j < i; j += 2 {
			if seen[i] == seen[j] {
				return fmt.Errorf("%q and %q make no difference:\n%s", c.values[j/2], c.values[i/2], seen[i])
			}
		}
	}
	if last := seen[len(seen)-1]; !strings.Contains(last, c.shows) {
		return fmt.Errorf("with %q it does not show %q:\n%s", c.values[len(c.values)-1], c.shows, last)
	}
	return nil
}

// TestEveryKeyDoesSomething gives every key of YAML, those of the components and
// those of the engine, different values, and fails for a key with which that
// changes neither the wire nor the output, and for one that no case is about.
func TestEveryKeyDoesSomething(t *testing.T) {
	t.Parallel()
	keys := allKeys(t)
	cases := slices.Concat(sourceKeyCases(), bucketKeyCases(), sinkKeyCases(), sqlKeyCases(t), httpKeyCases(), stageKeyCases(), llmKeyCases(), simulatorKeyCases(), engineKeyCases())
	for key := range keys {
		if !slices.ContainsFunc(cases, func(c keyCase) bool { return c.key == key }) {
			t.Errorf("%s: no case shows that it does anything; give it one in keys…_test.go, with two values that change the wire or the output", key)
		}
	}
	for _, c := range cases {
		if !keys[c.key] {
			t.Errorf("%s: there is a case, but no such key", c.key)
		}
		t.Run(c.key, func(t *testing.T) {
			t.Parallel()
			if err := c.verdict(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// allKeys are the keys that take a value: mappings do not, unless they may be `off`.
func allKeys(t *testing.T) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	var add func(prefix string, docs []load.KeyDoc)
	add = func(prefix string, docs []load.KeyDoc) {
		for _, k := range docs {
			if len(k.Keys) == 0 || strings.Contains(k.Type, "off") {
				keys[prefix+k.Name] = true
			}
			add(prefix+k.Name+".", k.Keys)
		}
	}
	must := func(docs []load.KeyDoc, err error) []load.KeyDoc {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return docs
	}
	add("pipeline: ", must(load.PipelineKeys()))
	for _, kind := range []pipeline.Kind{pipeline.KindSource, pipeline.KindStage, pipeline.KindSink} {
		add(string(kind)+": ", must(load.EngineKeys(kind)))
	}
	reg := registry(t)
	for _, s := range builtin.Specs() {
		d, err := load.Reference(reg, s.Kind, s.Name)
		add(fmt.Sprintf("%s %s: ", s.Kind, s.Name), must(d.Keys, err))
	}
	return keys
}

// TestAKeyThatDoesNothingIsNoticed keeps the test above from passing for nothing.
func TestAKeyThatDoesNothingIsNoticed(t *testing.T) {
	t.Parallel()
	var counter atomic.Int64
	for want, c := range map[string]keyCase{
		"make no difference": {
			key: "stage filter: where", yaml: counting + `stages: [{filter: {where: 'true'}}]`, values: []string{"i > 0", "i < 9"},
		},
		"not the same every time": {
			key: "stage: name", yaml: counting + `stages: [{scripted: {}}]`, values: []string{"a", "b"},
			script: func(*call) error { return fmt.Errorf("failure %d", counter.Add(1)) },
		},
		"does not show": {
			key: "stage filter: where", yaml: counting + `stages: [{filter: {where: 'true'}}]`, values: []string{"i > 1", "i > 2"}, shows: `{"i":2}`,
		},
		"unknown key": {
			key: "stage filter: were", yaml: counting + `stages: [{filter: {where: 'true'}}]`, values: []string{"a", "b"},
		},
	} {
		if err := c.verdict(t); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that says %q", err, want)
		}
	}
}

// counting is the top of a pipeline that counts to four into a file.
const counting = `
name: keys
source: {range: {to: 4}}
sink: {file: {path: DIR/out.jsonl}}
`

// observation is what can be seen of a run.
type observation struct {
	wire    []string // the requests, in any order
	files   map[string]string
	log     []string // of the scripted components
	summary engine.Summary
	elapsed time.Duration
	atOnce  int // requests to the bucket
	err     error
	clean   *strings.Replacer
}

// aspect is a part of what can be seen.
type aspect struct {
	name string
	show func(observation) string
}

// seen returns what the aspects show.
func (o observation) seen(see []aspect) string {
	if see == nil {
		see = []aspect{wire, output, dead, counts, failure}
	}
	var b strings.Builder
	for _, a := range see {
		fmt.Fprintf(&b, "%s: %s\n", a.name, local.ReplaceAllString(o.clean.Replace(a.show(o)), "HOST"))
	}
	return b.String()
}

var (
	wire   = aspect{"wire", func(o observation) string { return strings.Join(slices.Sorted(slices.Values(o.wire)), "\n") }}
	output = aspect{"output", func(o observation) string { return o.show(func(name string) bool { return !isDead(name) }) }}
	dead   = aspect{"dead letters", func(o observation) string { return o.show(isDead) }}
	counts = aspect{"counts", func(o observation) string { return fmt.Sprintf("%+v", o.summary.Counts) }}
	// failure is the error of the run.
	failure = aspect{"failure", func(o observation) string { return fmt.Sprint(o.err) }}
	// code is that of the error, where its words change from run to run.
	code = aspect{"code", func(o observation) string {
		if o.err == nil {
			return "none"
		}
		class, code := pipeline.Classify(o.err)
		return fmt.Sprintf("%v %s", class, code)
	}}
	// codes are those of the dead letters and of the error.
	codes = aspect{"codes", func(o observation) string {
		out := []string{code.show(o)}
		for _, r := range o.summary.Reasons {
			out = append(out, fmt.Sprint(r.Count, " ", r.Code))
		}
		return strings.Join(out, ", ")
	}}
	// reached is how often each endpoint was asked.
	reached = aspect{"endpoints", func(o observation) string {
		var out []string
		for _, s := range o.summary.Stages {
			for _, e := range s.Endpoints {
				out = append(out, fmt.Sprint(e.Attempts, " ", e.Name))
			}
		}
		return strings.Join(out, ", ")
	}}
	// pulled is how many requests there were to a bucket at once.
	pulled = aspect{"at once", func(o observation) string { return fmt.Sprint(o.atOnce) }}
	// parted is whether the rows stand in several parts.
	parted = aspect{"several parts", func(o observation) string {
		return fmt.Sprint(strings.Contains(output.show(o), "part-00002"))
	}}
	kept  = aspect{"state", func(o observation) string { return o.summary.State }}
	named = aspect{"name", func(o observation) string { return o.summary.Name }}
	// asked is what the scripted components saw, in any order: what happens in the same
	// moment has none.
	asked  = aspect{"calls", func(o observation) string { return strings.Join(slices.Sorted(slices.Values(o.log)), "\n") }}
	clocks = aspect{"elapsed", func(o observation) string { return o.elapsed.Round(time.Second).String() }}
)

// takes tells runs shorter than d from those that are not.
func takes(d time.Duration) aspect {
	return aspect{"longer than " + d.String(), func(o observation) string { return fmt.Sprint(o.elapsed >= d) }}
}

func isDead(name string) bool { return strings.Contains(name, "dead.jsonl") }

// show shows files. The order of dead letters means nothing.
func (o observation) show(these func(name string) bool) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(o.files)) {
		if !these(name) {
			continue
		}
		text := o.files[name]
		if isDead(name) {
			lines := strings.Split(strings.TrimSpace(text), "\n")
			slices.SortFunc(lines, cmp.Compare[string])
			text = strings.Join(lines, "\n")
		}
		out = append(out, fmt.Sprintf("%s: %q", name, text))
	}
	return strings.Join(out, "\n")
}

// script is what the stage "scripted" does with a record, call by call.
type script func(c *call) error

// call is a call of the stage "scripted".
type call struct {
	deadlines pipeline.Deadlines
	ctx       context.Context
	// n is the record's field i, attempt counts the calls for it, total all of them,
	// each from 1.
	n, attempt, total int
	// since is how long the run goes on.
	since time.Duration
}
