package stages_test

import (
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages"
)

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
