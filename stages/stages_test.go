package stages_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

// outcome is what a stage makes of a row: the rows, or the error's text.
func outcome(t *testing.T, s pipeline.Stage, r *pipeline.Record) string {
	t.Helper()
	records, err := s.Process(t.Context(), r)
	parts := make([]string, len(records))
	for i, r := range records {
		parts[i] = string(r.AppendJSON(nil))
	}
	if err != nil {
		parts = append(parts, "error: "+err.Error())
	}
	return strings.Join(parts, "\n")
}

func row(t *testing.T, object string, seq int) *pipeline.Record {
	t.Helper()
	r := pipelinetest.Record(t, object)
	r.Ref.Seq = uint64(seq)
	return r
}

// made is what a stage makes of rows, one after the other.
func made(t *testing.T, s pipeline.Stage, rows ...string) []string {
	t.Helper()
	var out []string
	for i, object := range rows {
		out = append(out, outcome(t, s, row(t, object, i)))
	}
	return out
}

// problems returns the mistakes in an error, each as "key@offset: text".
func problems(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var list pipeline.Problems
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want Problems", err)
	}
	var out []string
	for _, p := range list {
		out = append(out, fmt.Sprintf("%s@%d: %v", p.Key, p.Offset, p.Err))
	}
	return out
}

// expectProblems checks the mistakes of a configuration, in order, by a part of
// each.
func expectProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	got := problems(t, err)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stage returns the stage of a constructor that must not fail.
func stage[S pipeline.Stage](t *testing.T) func(S, error) S {
	return func(s S, err error) S {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func csv(fields ...string) pipeline.Env {
	var s pipeline.Shape
	for _, f := range fields {
		s = s.With(f, pipeline.StringType)
	}
	s.Closed = true
	return pipeline.Env{Shape: s}
}

func shapeOf(s pipeline.Shape) string {
	var out []string
	for _, f := range s.Fields {
		out = append(out, fmt.Sprintf("%s:%d", f.Name, f.Type))
	}
	if !s.Closed {
		out = append(out, "…")
	}
	return strings.Join(out, " ")
}

func TestSpecs(t *testing.T) {
	t.Parallel()
	for _, s := range []pipeline.Spec{
		stages.FilterSpec(), stages.MapSpec(), stages.SplitSpec(), stages.GroupSpec(),
		stages.UngroupSpec(), stages.LimitSpec(), stages.SampleSpec(), stages.DedupeSpec(),
	} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			if s.Kind != pipeline.KindStage || s.Workload != pipeline.Computes || s.Costs {
				t.Errorf("got %v, %v, costs %v; want a stage that computes and costs nothing", s.Kind, s.Workload, s.Costs)
			}
			if s.Summary == "" || !strings.HasPrefix(s.Example, s.Name+":") || !strings.Contains(s.Code, "Config struct") {
				t.Errorf("summary %q, example %q or code (%d bytes) is missing", s.Summary, s.Example, len(s.Code))
			}
			built, err := s.New(s.Defaults(), pipeline.Env{})
			if s, ok := built.(pipeline.Stage); err == nil && (!ok || s == nil) {
				t.Errorf("New returned %T and no error", built)
			}
			if err != nil && built != nil {
				t.Errorf("New returned %T beside %v", built, err)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	rows := []string{`{"n":1, "ok":true}`, `{"n":5,"ok":false}`, `{"n":1e400,"ok":true}`, `{"ok":null}`}
	for where, want := range map[string][]string{
		`n > 3`:               {"", rows[1], "error: where: invalid operation", "error: where: invalid operation: nil > number; the row has no field"},
		`ok`:                  {rows[0], "", rows[2], `error: where: the result is nil, neither true nor false; field "ok" is null`},
		`has("n") && n == 1`:  {rows[0], "", "", ""},
		`not (ok ?? true)`:    {"", rows[1], "", ""},
		`(n ?? 0) in [0,1,5]`: {rows[0], rows[1], "", rows[3]},
	} {
		got := made(t, stage[*stages.Filter](t)(stages.NewFilter(stages.FilterConfig{Where: where}, pipeline.Env{})), rows...)
		for i := range got {
			if !strings.HasPrefix(got[i], want[i]) || want[i] == "" && got[i] != "" {
				t.Errorf("%s: row %d became %q, want %q", where, i, got[i], want[i])
			}
		}
	}
	_, err := stages.NewFilter(stages.FilterConfig{}, pipeline.Env{})
	expectProblems(t, err, "where@0: needs an expression")
	_, err = stages.NewFilter(stages.FilterConfig{Where: `text == "" && scor > 3`}, csv("score", "text"))
	expectProblems(t, err, "where@14: there is no field \"scor\"; did you mean score?")
	_, err = stages.NewFilter(stages.FilterConfig{Where: `score > 3`}, csv("score"))
	expectProblems(t, err, "where@6: score is a string here")
	in := csv("a").Shape
	if got := stage[*stages.Filter](t)(stages.NewFilter(stages.FilterConfig{Where: "true"}, pipeline.Env{})).Shape(in); shapeOf(got) != shapeOf(in) {
		t.Errorf("the shape is %v, want %v", shapeOf(got), shapeOf(in))
	}
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Filter](t)(stages.NewFilter(stages.FilterConfig{Where: "n > 1"}, pipeline.Env{}))
		},
		Rows:    []string{`{"n":1}`, `{"n": 2.0}`, `{"n":0}`, `{"n":3,"x":null}`},
		Want:    []string{`{"n": 2.0}`, `{"n":3,"x":null}`},
		Failing: []string{`{"m":2}`, `{"n":"2"}`},
	})
}

func TestMap(t *testing.T) {
	t.Parallel()
	const in = `{"a": 1.10, "b": {"z": 1e400, "c": "x"}, "d": "t", "n": 9007199254740993}`
	for name, c := range map[string]struct {
		config stages.MapConfig
		want   string
	}{
		"set in place":        {stages.MapConfig{Set: pipeline.Pairs{{Key: "d", Value: `upper(d)`}}}, `{"a":1.10,"b":{"z": 1e400, "c": "x"},"d":"T","n":9007199254740993}`},
		"set at the end":      {stages.MapConfig{Set: pipeline.Pairs{{Key: "e", Value: `n + 1`}}}, `{"a":1.10,"b":{"z": 1e400, "c": "x"},"d":"t","n":9007199254740993,"e":9007199254740994}`},
		"set sees set":        {stages.MapConfig{Set: pipeline.Pairs{{Key: "e", Value: `1`}, {Key: "f", Value: `e + 1`}}, Keep: []string{"f"}}, `{"f":2}`},
		"set passes bytes on": {stages.MapConfig{Set: pipeline.Pairs{{Key: "e", Value: `b.z`}, {Key: "f", Value: "a"}}, Keep: []string{"e", "f"}}, `{"e":1e400,"f":1.10}`},
		"set of the missing":  {stages.MapConfig{Set: pipeline.Pairs{{Key: "e", Value: `x`}}, Keep: []string{"e"}}, `{"e":null}`},
		"set fails":           {stages.MapConfig{Set: pipeline.Pairs{{Key: "Best Answer", Value: `x + 1`}}}, `error: set["Best Answer"]: invalid operation: nil + number; the row has no field "x"`},
		"rename":              {stages.MapConfig{Rename: pipeline.Pairs{{Key: "b", Value: "meta"}, {Key: "x", Value: "y"}}}, `{"a":1.10,"meta":{"z": 1e400, "c": "x"},"d":"t","n":9007199254740993}`},
		"rename in order":     {stages.MapConfig{Rename: pipeline.Pairs{{Key: "d", Value: "e"}, {Key: "n", Value: "d"}}, Keep: []string{"d", "e"}}, `{"e":"t","d":9007199254740993}`},
		"rename clashes":      {stages.MapConfig{Rename: pipeline.Pairs{{Key: "a", Value: "d"}}}, `error: rename: the row has both "a" and "d"`},
		"drop":                {stages.MapConfig{Drop: []string{"b", "x", "n"}}, `{"a":1.10,"d":"t"}`},
		"keep":                {stages.MapConfig{Keep: []string{"n", "a", "x"}}, `{"a":1.10,"n":9007199254740993}`},
		"keep all":            {stages.MapConfig{Keep: []string{"n", "a", "b", "d"}}, in},
		"set, rename, drop, keep": {stages.MapConfig{
			Set: pipeline.Pairs{{Key: "s", Value: "d"}}, Rename: pipeline.Pairs{{Key: "s", Value: "r"}},
			Drop: []string{"a"}, Keep: []string{"r", "n"},
		}, `{"n":9007199254740993,"r":"t"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := outcome(t, stage[*stages.Map](t)(stages.NewMap(c.config, pipeline.Env{})), row(t, in, 0))
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Map](t)(stages.NewMap(stages.MapConfig{Set: pipeline.Pairs{{Key: "m", Value: "n * 2"}}, Drop: []string{"x"}}, pipeline.Env{}))
		},
		Rows:    []string{`{"n":1}`, `{"n":2.5,"x":1}`},
		Want:    []string{`{"n":1,"m":2}`, `{"n":2.5,"m":5}`},
		Failing: []string{`{"m":2}`, `{"n":"2"}`},
	})
}

func TestMapMistakes(t *testing.T) {
	t.Parallel()
	pairs := func(kv ...string) (p pipeline.Pairs) {
		for i := 0; i < len(kv); i += 2 {
			p = append(p, pipeline.Pair{Key: kv[i], Value: kv[i+1]})
		}
		return p
	}
	for name, c := range map[string]struct {
		config stages.MapConfig
		want   []string
	}{
		"nothing":       {stages.MapConfig{}, []string{"@0: has nothing to do"}},
		"contradiction": {stages.MapConfig{Keep: []string{"b", "a"}, Drop: []string{"a"}}, []string{`keep[1]@0: "a" is to be dropped as well as kept`}},
		"names":         {stages.MapConfig{Set: pairs("", "1"), Rename: pairs("a", "", "b", "b")}, []string{`set[""]@0: is no name`, `rename.a@0: is no name`, `rename.b@0: renames "b" to what it is called already`}},
		"two of a name": {stages.MapConfig{Rename: pairs("a", "x", "b", "x")}, []string{`rename.b@0: two fields would be called "x"`}},
		"expressions": {stages.MapConfig{Set: pairs("x", "a +", "Best Answer", "aa + 1", "y", "x + z")}, []string{
			`set.x@3: the expression ends too early`, `set["Best Answer"]@0: there is no field "aa"`, `set.y@4: there is no field "z"`,
		}},
		"what no row has": {stages.MapConfig{Rename: pairs("aa", "x"), Drop: []string{"bb"}, Keep: []string{"a", "cc"}}, []string{
			`rename.aa@0: there is no field "aa"; did you mean "a"?`, `drop[0]@0: there is no field "bb"`, `keep[1]@0: there is no field "cc"`,
		}},
		"a name that is taken": {stages.MapConfig{Rename: pairs("a", "b")}, []string{`rename.a@0: there is a field "b" already`}},
		"what was renamed":     {stages.MapConfig{Rename: pairs("a", "x"), Drop: []string{"a"}}, []string{`drop[0]@0: there is no field "a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := stages.NewMap(c.config, csv("a", "b"))
			expectProblems(t, err, c.want...)
		})
	}
}

func TestMapShape(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config stages.MapConfig
		in     pipeline.Shape
		want   string
	}{
		"set":    {stages.MapConfig{Set: pipeline.Pairs{{Key: "n", Value: "float(a)"}, {Key: "a", Value: "[a]"}}}, csv("a", "b").Shape, "a:0 b:1 n:2"},
		"rename": {stages.MapConfig{Rename: pipeline.Pairs{{Key: "a", Value: "x"}}}, csv("a", "b").Shape, "x:1 b:1"},
		"drop":   {stages.MapConfig{Drop: []string{"a"}}, csv("a", "b").Shape, "b:1"},
		"keep":   {stages.MapConfig{Keep: []string{"b"}}, csv("a", "b").Shape, "b:1"},
		"open":   {stages.MapConfig{Drop: []string{"a"}}, pipeline.Shape{}, "…"},
		"closes": {stages.MapConfig{Keep: []string{"b", "c"}}, pipeline.Shape{}.With("c", pipeline.BoolType), "c:3 b:0"},
	} {
		got := stage[*stages.Map](t)(stages.NewMap(c.config, pipeline.Env{Shape: c.in})).Shape(c.in)
		if shapeOf(got) != c.want {
			t.Errorf("%s: got %s, want %s", name, shapeOf(got), c.want)
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	for count, want := range map[int][]string{
		1: {"{\"n\":1}\nerror: enough", "error: enough", "error: enough"},
		2: {`{"n":1}`, "{\"n\":2}\nerror: enough", "error: enough"},
		4: {`{"n":1}`, `{"n":2}`, `{"n":3}`},
	} {
		l := stage[*stages.Limit](t)(stages.NewLimit(stages.LimitConfig{Count: count}, pipeline.Env{}))
		if got := made(t, l, `{"n":1}`, `{"n":2}`, `{"n":3}`); !slices.Equal(got, want) {
			t.Errorf("count %d: got %q, want %q", count, got, want)
		}
	}
	l := stage[*stages.Limit](t)(stages.NewLimit(stages.LimitConfig{Count: 1}, pipeline.Env{}))
	first, again, other := outcome(t, l, row(t, `{"n":1}`, 3)), outcome(t, l, row(t, `{"n":1}`, 3)), outcome(t, l, row(t, `{"n":1}`, 4))
	if first != again || other != "error: enough" {
		t.Errorf("shown again it becomes %q, was %q; the next one %q", again, first, other)
	}
	_, err := stages.NewLimit(stages.LimitConfig{}, pipeline.Env{})
	expectProblems(t, err, "count@0: must be at least 1, not 0")
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Limit](t)(stages.NewLimit(stages.LimitConfig{Count: 3}, pipeline.Env{}))
		},
		Rows: []string{`{"n":1}`, `{"n":2}`, `{"n":3}`},
		Want: []string{`{"n":1}`, `{"n":2}`, `{"n":3}`},
	})
}

func TestSample(t *testing.T) {
	t.Parallel()
	taken := func(rate pipeline.Share, seed int64) (refs []int) {
		s := stage[*stages.Sample](t)(stages.NewSample(stages.SampleConfig{Rate: rate, Seed: seed}, pipeline.Env{}))
		for i := range 10_000 {
			if outcome(t, s, row(t, `{"n":1}`, i)) != "" {
				refs = append(refs, i)
			}
		}
		return refs
	}
	tenth, third, half := taken(.1, 1), taken(1./3, 1), taken(.5, 2)
	for want, got := range map[int]int{1000: len(tenth), 3333: len(third), 5000: len(half), 10_000: len(taken(1, 7))} {
		if got < want-want/10 || got > want+want/10 {
			t.Errorf("%d of 10,000 taken, want about %d", got, want)
		}
	}
	if !slices.Equal(tenth, taken(.1, 1)) {
		t.Error("the same seed takes other rows")
	}
	if slices.Equal(tenth, taken(.1, 2)) {
		t.Error("another seed takes the same rows")
	}
	if want := []int{31, 36, 47}; !slices.Equal(tenth[:3], want) { // what a run takes must not change from one version to the next
		t.Errorf("the first rows taken are %v, want %v", tenth[:3], want)
	}
	s := stage[*stages.Sample](t)(stages.NewSample(stages.SampleConfig{Rate: .5}, pipeline.Env{}))
	children := 0
	for i := range 1000 {
		r := row(t, `{}`, 5)
		r.Ref = r.Ref.Child(i)
		children += len(outcome(t, s, r)) / 2
	}
	if children < 400 || children > 600 {
		t.Errorf("%d of 1,000 children taken, want about half", children)
	}
	for _, rate := range []pipeline.Share{0, -1, 1.01} {
		_, err := stages.NewSample(stages.SampleConfig{Rate: rate}, pipeline.Env{})
		expectProblems(t, err, "rate@0: must be above 0% and at most 100%")
	}
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Sample](t)(stages.NewSample(stages.SampleConfig{Rate: 1}, pipeline.Env{}))
		},
		Rows: []string{`{"n":1}`, `{"n":2}`},
		Want: []string{`{"n":1}`, `{"n":2}`},
	})
}

func TestGroup(t *testing.T) {
	t.Parallel()
	g := stage[*stages.Group](t)(stages.NewGroup(stages.GroupConfig{Size: 3, Wait: 5, As: "rows"}, pipeline.Env{}))
	if size, wait := g.Batch(); size != 3 || wait != 5 {
		t.Errorf("a batch is %d, %v; want 3, 5ns", size, wait)
	}
	batch := []*pipeline.Record{row(t, `{ "a": 1.0 }`, 7), row(t, `{"a":1e400}`, 8)}
	batch[0].SetKey("first")
	outcomes := g.ProcessBatch(t.Context(), batch)
	if outcomes[0].Merged || !outcomes[1].Merged || len(outcomes[0].Records) != 1 || len(outcomes[1].Records) != 0 {
		t.Fatalf("got %+v, want the second merged into the first", outcomes)
	}
	made := outcomes[0].Records[0]
	if got, want := string(made.AppendJSON(nil)), `{"rows":[{ "a": 1.0 },{"a":1e400}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if made.Ref.Seq != 7 || made.ID() != "first" {
		t.Errorf("the group is %v, %q; want those of its first record", made.Ref, made.ID())
	}
	if got := outcome(t, g, row(t, `{"a":2}`, 0)); got != `{"rows":[{"a":2}]}` {
		t.Errorf("a group of one is %s", got)
	}
	if got := g.Shape(csv("a").Shape); shapeOf(got) != "rows:0" {
		t.Errorf("the shape is %s", shapeOf(got))
	}
	_, err := stages.NewGroup(stages.GroupConfig{Wait: -1}, pipeline.Env{})
	expectProblems(t, err, "size@0: must be at least 1", "wait@0: must not be negative", "as@0: needs the name")
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Group](t)(stages.NewGroup(stages.GroupConfig{Size: 2, As: "items"}, pipeline.Env{}))
		},
		Rows: []string{`{"n":1}`, `{"n":2}`, `{"n":3}`},
		Want: []string{`{"items":[{"n":1},{"n":2}]}`, `{"items":[{"n":3}]}`},
	})
}

func TestUngroup(t *testing.T) {
	t.Parallel()
	plain := stages.UngroupConfig{Field: "items"}
	zip := stages.UngroupConfig{Field: "items", Zip: pipeline.Pairs{{Key: "answers", Value: "answer"}}}
	for name, c := range map[string]struct {
		config   stages.UngroupConfig
		in, want string
	}{
		"items":                  {plain, `{"items":[ {"a": 1.0} , {"a":1e400,"b":[ 1 ]}]}`, "{\"a\":1.0}\n{\"a\":1e400,\"b\":[ 1 ]}"},
		"another field":          {stages.UngroupConfig{Field: "rows"}, `{"rows":[{"a":1}]}`, `{"a":1}`},
		"other fields":           {plain, `{"x": 1.50,"items":[{"a":1},{"x":2}],"a":"group"}`, "{\"a\":1,\"x\":1.50}\n{\"x\":2,\"a\":\"group\"}"},
		"none":                   {plain, `{"items":[]}`, ""},
		"zip":                    {zip, `{"items":[{"a":1},{"a":2}],"answers":["x",{"y": 1}]}`, "{\"a\":1,\"answer\":\"x\"}\n{\"a\":2,\"answer\":{\"y\": 1}}"},
		"zip wins":               {zip, `{"items":[{"answer":1}],"answers":["x"],"answer":2}`, `{"answer":"x"}`},
		"not zipped":             {plain, `{"items":[{"a":1}],"answers":["x"]}`, `{"a":1,"answers":["x"]}`},
		"missing":                {plain, `{"x":1}`, `error: ungroup: field "items" is missing, not a list`},
		"no list":                {plain, `{"items":{"a":1}}`, `error: ungroup: field "items" is an object, not a list`},
		"no objects":             {plain, `{"items":[{"a":1},2]}`, `error: ungroup: element 1 of field "items" is a number, not an object`},
		"too few to zip":         {zip, `{"items":[{"a":1},{"a":2}],"answers":["x"]}`, `error: ungroup: field "answers" has 1 elements, but field "items" has 2`},
		"nothing to zip":         {zip, `{"items":[{"a":1}]}`, `error: ungroup: field "answers" is missing, not a list`},
		"zip of what is no list": {zip, `{"items":[{"a":1}],"answers":null}`, `error: ungroup: field "answers" is null, not a list`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := outcome(t, stage[*stages.Ungroup](t)(stages.NewUngroup(c.config, pipeline.Env{})), row(t, c.in, 0)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	pairs := pipeline.Pairs{{Key: "", Value: "x"}, {Key: "rows", Value: "y"}, {Key: "a", Value: "z"}, {Key: "b", Value: "z"}}
	_, err := stages.NewUngroup(stages.UngroupConfig{Field: "rows", Zip: pairs}, pipeline.Env{})
	expectProblems(t, err, `zip[""]@0: is no name`, `zip.rows@0: "rows" is the list of the records itself`, `zip.b@0: two lists would be dealt out as "z"`)
	_, err = stages.NewUngroup(stages.UngroupConfig{}, pipeline.Env{})
	expectProblems(t, err, "field@0: needs the name")
	_, err = stages.NewUngroup(zip, csv("item", "answer"))
	expectProblems(t, err, `field@0: there is no field "items"; did you mean "item"?`, `zip.answers@0: there is no field "answers"; did you mean "answer"?`)
	if got := stage[*stages.Ungroup](t)(stages.NewUngroup(zip, pipeline.Env{})).Shape(csv("items").Shape); shapeOf(got) != "answer:0 …" {
		t.Errorf("the shape is %s", shapeOf(got))
	}
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Ungroup](t)(stages.NewUngroup(plain, pipeline.Env{}))
		},
		Rows:    []string{`{"items":[{"n":1},{"n":2}]}`, `{"items":[]}`, `{"items":[{"n":3}],"x":1}`},
		Want:    []string{`{"n":1}`, `{"n":2}`, `{"n":3,"x":1}`},
		Failing: []string{`{"items":1}`, `{"items":[1]}`},
	})
}

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
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			config := defaults()
			config.By = []string{"n"}
			return stage[*stages.Dedupe](t)(stages.NewDedupe(config, pipeline.Env{}))
		},
		Rows:    []string{`{"n":1}`, `{"n":2}`, `{"n":1}`, `{"n":3}`},
		Want:    []string{`{"n":1}`, `{"n":2}`, `{"n":3}`},
		Failing: []string{`{"m":1}`},
	})
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

func TestSplitList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config   stages.SplitConfig
		in, want string
	}{
		"in place":             {stages.SplitConfig{Field: "items"}, `{"a": 1.0,"items":[1.50, {"x": 1}],"b":null}`, "{\"a\":1.0,\"items\":1.50,\"b\":null}\n{\"a\":1.0,\"items\":{\"x\": 1},\"b\":null}"},
		"as":                   {stages.SplitConfig{Field: "items", As: "item"}, `{"items":["p"],"b":2}`, `{"b":2,"item":"p"}`},
		"index":                {stages.SplitConfig{Field: "items", Index: "i"}, `{"items":["p","q"]}`, "{\"items\":\"p\",\"i\":0}\n{\"items\":\"q\",\"i\":1}"},
		"as, index the list's": {stages.SplitConfig{Field: "items", As: "item", Index: "items"}, `{"items":["p"]}`, `{"item":"p","items":0}`},
		"empty":                {stages.SplitConfig{Field: "items"}, `{"items":[]}`, ""},
		"other":                {stages.SplitConfig{Field: "b"}, `{"items":[],"b":[2]}`, `{"items":[],"b":2}`},
		"missing":              {stages.SplitConfig{Field: "items"}, `{"b":1}`, `error: split: field "items" is missing, not a list`},
		"null":                 {stages.SplitConfig{Field: "items"}, `{"items":null}`, `error: split: field "items" is null, not a list`},
		"a text":               {stages.SplitConfig{Field: "items"}, `{"items":"[1]"}`, `error: split: field "items" is a text, not a list`},
		"as taken":             {stages.SplitConfig{Field: "items", As: "b"}, `{"items":[1],"b":2}`, `error: split: the row has a field "b" already`},
		"index taken":          {stages.SplitConfig{Field: "items", Index: "b"}, `{"items":[1],"b":2}`, `error: split: the row has a field "b" already`},
		"no text":              {stages.SplitConfig{Field: "t", Chunk: &stages.ChunkConfig{Size: 10}}, `{"t":5}`, `error: split: field "t" is a number, not a text`},
		"text":                 {stages.SplitConfig{Field: "t", As: "part", Index: "i", Chunk: &stages.ChunkConfig{Size: 10}}, `{"t":"One two. Three \u00e9.","x":1}`, "{\"x\":1,\"part\":\"One two. \",\"i\":0}\n{\"x\":1,\"part\":\"Three é.\",\"i\":1}"},
		"empty text":           {stages.SplitConfig{Field: "t", Chunk: &stages.ChunkConfig{Size: 10}}, `{"t":""}`, `{"t":""}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := outcome(t, stage[*stages.Split](t)(stages.NewSplit(c.config, pipeline.Env{})), row(t, c.in, 0)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	pipelinetest.Stage(t, pipelinetest.StageCase{
		New: func(t *testing.T) pipeline.Stage {
			return stage[*stages.Split](t)(stages.NewSplit(stages.SplitConfig{Field: "l"}, pipeline.Env{}))
		},
		Rows:    []string{`{"l":[1,2],"x":1}`, `{"l":[]}`, `{"l":[3]}`},
		Want:    []string{`{"l":1,"x":1}`, `{"l":2,"x":1}`, `{"l":3}`},
		Failing: []string{`{"l":1}`, `{"x":1}`},
	})
}

func TestSplitMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config stages.SplitConfig
		want   []string
	}{
		"nothing":     {stages.SplitConfig{}, []string{"field@0: needs the name"}},
		"index":       {stages.SplitConfig{Field: "any", Index: "any"}, []string{`index@0: "any" holds the pieces already`}},
		"index as":    {stages.SplitConfig{Field: "any", As: "x", Index: "x"}, []string{`index@0: "x" holds the pieces already`}},
		"size":        {stages.SplitConfig{Field: "any", Chunk: &stages.ChunkConfig{Size: 7}}, []string{"chunk.size@0: must be at least 8, not 7"}},
		"overlap":     {stages.SplitConfig{Field: "any", Chunk: &stages.ChunkConfig{Size: 20, Overlap: 11}}, []string{"chunk.overlap@0: must be from 0 to half of size, 10, not 11"}},
		"unit":        {stages.SplitConfig{Field: "any", Chunk: &stages.ChunkConfig{Size: 20, Unit: "tokens"}}, []string{`chunk.unit@0: must be chars or bytes, not "tokens"`}},
		"no field":    {stages.SplitConfig{Field: "ani"}, []string{`field@0: there is no field "ani"; did you mean "any"?`}},
		"taken":       {stages.SplitConfig{Field: "any", As: "text", Index: "n"}, []string{`as@0: there is a field "text" already`, `index@0: there is a field "n" already`}},
		"a text":      {stages.SplitConfig{Field: "text"}, []string{`field@0: "text" is a text, as an untyped CSV column is`}},
		"a number":    {stages.SplitConfig{Field: "n"}, []string{`field@0: "n" holds numbers`}},
		"no mistake":  {stages.SplitConfig{Field: "text", Chunk: &stages.ChunkConfig{Size: 20}}, nil},
		"none either": {stages.SplitConfig{Field: "any", Index: "i"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := stages.NewSplit(c.config, pipeline.Env{Shape: pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{
				{Name: "text", Type: pipeline.StringType}, {Name: "n", Type: pipeline.NumberType}, {Name: "any"},
			}}})
			expectProblems(t, err, c.want...)
		})
	}
	in := csv("a", "l", "b").Shape.With("l", pipeline.AnyType)
	for want, config := range map[string]stages.SplitConfig{
		"a:1 l:0 b:1":     {Field: "l"},
		"a:1 b:1 x:0 i:2": {Field: "l", As: "x", Index: "i"},
		"a:1 l:1 b:1":     {Field: "l", Chunk: &stages.ChunkConfig{Size: 10}},
	} {
		if got := stage[*stages.Split](t)(stages.NewSplit(config, pipeline.Env{Shape: in})).Shape(in); shapeOf(got) != want {
			t.Errorf("the shape is %s, want %s", shapeOf(got), want)
		}
	}
}
