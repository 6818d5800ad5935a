package stages_test

import (
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages"
)

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
