package stages_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages"
)

func TestDedupe(t *testing.T) {
	t.Parallel()
	defaults := func() stages.DedupeConfig { return *stages.DedupeSpec().Defaults().(*stages.DedupeConfig) }
	for name, c := range map[string]struct {
		by   []string
		rows []string
		want string // which rows go on: "x" or "."; "!" fails
	}{
		"whole record":  {nil, []string{`{"a":1,"b":"é"}`, `{"b":"\u00e9", "a":1}`, `{"a":1.0,"b":"é"}`, `{"a":1}`, `{"a":9007199254740993}`, `{"a":9007199254740992}`}, "x.xxxx"},
		"nested":        {nil, []string{`{"a":{"x":1,"y":[1, 2]}}`, `{"a":{"y":[1,2],"x":1}}`, `{"a":{"y":[2,1],"x":1}}`}, "x.x"},
		"a field":       {[]string{"id"}, []string{`{"id":1,"x":1}`, `{"id":1,"x":2}`, `{"id":"1"}`, `{"id":"\u0031"}`, `{"id":null}`, `{"x":1}`, `{"id":false}`}, "x.x.!!x"},
		"an expression": {[]string{"lower(id)"}, []string{`{"id":"A"}`, `{"id":"a"}`, `{"id":1}`}, "x.!"},
		"two fields":    {[]string{"a", "b"}, []string{`{"a":"x","b":"y"}`, `{"a":"x","b":"z"}`, `{"a":"x","b":"y","c":1}`, `{"a":"x"}`, `{"a":"x","b":null}`, `{"a":"xy","b":""}`, `{"a":"x","b":"y"}`}, "xx.x.x."},
		"a list":        {[]string{"[a, b]"}, []string{`{"a":1,"b":2}`, `{"a":1, "b":2, "c":3}`, `{"a":2,"b":1}`}, "x.x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := defaults()
			config.By = c.by
			var got strings.Builder
			for i, out := range made(t, stage[*stages.Dedupe](t)(stages.NewDedupe(config, pipeline.Env{})), c.rows...) {
				switch {
				case out == c.rows[i]:
					got.WriteByte('x')
				case out == "":
					got.WriteByte('.')
				case strings.HasPrefix(out, "error: by: "):
					got.WriteByte('!')
				default:
					t.Errorf("row %d became %s", i, out)
				}
			}
			if got.String() != c.want {
				t.Errorf("got %s, want %s", got.String(), c.want)
			}
		})
	}
	_, err := stages.NewDedupe(stages.DedupeConfig{Memory: 1, WhenFull: "guess"}, pipeline.Env{})
	expectProblems(t, err, "memory@0: must be at least 1KiB, not 1B", `when_full@0: must be stop or forget, not "guess"`)
	config := defaults()
	config.By = []string{"a", "bb + 1"}
	_, err = stages.NewDedupe(config, csv("a", "b"))
	expectProblems(t, err, `by[1]@0: there is no field "bb"; did you mean b?`)
}

func TestDedupeWhenFull(t *testing.T) {
	t.Parallel()
	const keys = 1024 / 56
	object := func(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }
	stop := stage[*stages.Dedupe](t)(stages.NewDedupe(stages.DedupeConfig{Memory: 1 << 10, WhenFull: "stop"}, pipeline.Env{}))
	for i := range keys {
		if out := outcome(t, stop, row(t, object(i), i)); out != object(i) {
			t.Fatalf("key %d of %d: %s", i, keys, out)
		}
	}
	if out := outcome(t, stop, row(t, object(0), keys)); out != "" {
		t.Errorf("a repeated key, when full, became %q", out)
	}
	_, err := stop.Process(t.Context(), row(t, object(keys), keys+1))
	if class, code := pipeline.Classify(err); class != pipeline.ClassFatal || code != "dedupe_full" || !strings.Contains(err.Error(), "raise memory") {
		t.Errorf("one key too many: %v (%v, %s); want it to stop the run", err, class, code)
	}
}

// TestDedupeForgets: a row is dropped if it is the same as one with at most half as
// many different keys in between as the memory holds.
func TestDedupeForgets(t *testing.T) {
	t.Parallel()
	const half = 1024 / 56 / 2
	object := func(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }
	for before := range 3 * half {
		forget := stage[*stages.Dedupe](t)(stages.NewDedupe(stages.DedupeConfig{Memory: 1 << 10, WhenFull: "forget"}, pipeline.Env{}))
		seq := 0
		show := func(n int, want string) {
			t.Helper()
			seq++
			if out := outcome(t, forget, row(t, object(n), seq)); out != want {
				t.Fatalf("with %d keys before: key %d became %q, want %q", before, n, out, want)
			}
		}
		for i := range before {
			show(i, object(i))
		}
		show(1000, object(1000))
		for range 3 { // each time it is seen it is as new
			for i := range half {
				n := 10_000 + 100*seq + i
				show(n, object(n))
			}
			show(1000, "")
		}
		for i := range 4 * half {
			show(1_000_000+i, object(1_000_000+i))
		}
		show(1000, object(1000))
	}
}

func TestDedupeShownAgain(t *testing.T) {
	t.Parallel()
	d := stage[*stages.Dedupe](t)(stages.NewDedupe(stages.DedupeConfig{Memory: 1 << 20, WhenFull: "stop"}, pipeline.Env{}))
	first, second := row(t, `{"n":1}`, 1), row(t, `{"n":1}`, 2)
	second.Ref = first.Ref.Child(0)
	for range 2 {
		if a, b := outcome(t, d, first), outcome(t, d, second); a != `{"n":1}` || b != "" {
			t.Errorf("the first became %q, the second %q", a, b)
		}
	}
}
