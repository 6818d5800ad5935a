package stages_test

import (
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages"
)

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
}
