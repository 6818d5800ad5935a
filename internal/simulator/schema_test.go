package simulator

import (
	"strings"
	"testing"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// check fails unless the instance fits the schema.
func check(t *testing.T, schema, instance string) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(instance))
	if err != nil {
		t.Fatalf("%v: %s", err, instance)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%v\n%s", err, instance)
	}
}

func TestInstancesFitTheirSchema(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"anything":        `{}`,
		"true":            `true`,
		"text":            `{"type":"string"}`,
		"long text":       `{"type":"string","minLength":200}`,
		"short text":      `{"type":"string","maxLength":3}`,
		"no text":         `{"type":"string","maxLength":0}`,
		"pattern":         `{"type":"string","pattern":"^[A-Z]{2}-\\d{4}(x|y)?\\.[^a-z]+$"}`,
		"date":            `{"type":"string","format":"date"}`,
		"date-time":       `{"type":"string","format":"date-time"}`,
		"time":            `{"type":"string","format":"time"}`,
		"duration":        `{"type":"string","format":"duration"}`,
		"email":           `{"type":"string","format":"email"}`,
		"hostname":        `{"type":"string","format":"hostname"}`,
		"uri":             `{"type":"string","format":"uri"}`,
		"ipv4":            `{"type":"string","format":"ipv4"}`,
		"ipv6":            `{"type":"string","format":"ipv6"}`,
		"uuid":            `{"type":"string","format":"uuid"}`,
		"another format":  `{"type":"string","format":"color"}`,
		"boolean":         `{"type":"boolean"}`,
		"null":            `{"type":"null"}`,
		"several types":   `{"type":["integer","string","null"]}`,
		"const":           `{"const":{"a":[1,null]}}`,
		"null const":      `{"const":null}`,
		"enum":            `{"type":"string","enum":["a","b"]}`,
		"enum and type":   `{"type":["integer","null"],"enum":["a",1,2.5,null]}`,
		"integer":         `{"type":"integer"}`,
		"bounds":          `{"type":"integer","minimum":3,"maximum":5}`,
		"one integer":     `{"type":"integer","minimum":3,"maximum":3}`,
		"between":         `{"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":5}`,
		"broken bounds":   `{"type":"integer","minimum":0.5,"maximum":1.5}`,
		"negative":        `{"type":"integer","maximum":-7}`,
		"far away":        `{"type":"integer","minimum":1e12}`,
		"multiple":        `{"type":"integer","minimum":1,"multipleOf":7}`,
		"number":          `{"type":"number"}`,
		"share":           `{"type":"number","minimum":0,"maximum":1}`,
		"narrow":          `{"type":"number","exclusiveMinimum":0.001,"exclusiveMaximum":0.002}`,
		"quarters":        `{"type":"number","multipleOf":0.25,"minimum":0.1,"maximum":1}`,
		"implied number":  `{"minimum":200}`,
		"implied list":    `{"items":{"type":"integer"},"minItems":2}`,
		"implied object":  `{"properties":{"a":{"type":"integer"}},"required":["a"]}`,
		"list":            `{"type":"array","items":{"type":"string"}}`,
		"long list":       `{"type":"array","items":{"type":"integer"},"minItems":50}`,
		"no items":        `{"type":"array","maxItems":0}`,
		"items false":     `{"type":"array","items":false}`,
		"tuple":           `{"type":"array","prefixItems":[{"type":"integer"},{"type":"boolean"}],"items":false,"minItems":2}`,
		"tuple and more":  `{"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":5}`,
		"unique":          `{"type":"array","items":{"enum":["a","b","c"]},"minItems":3,"uniqueItems":true}`,
		"object":          `{"type":"object","properties":{"a":{"type":"integer"},"b é\"":{"type":"string"}},"required":["a","b é\""],"additionalProperties":false}`,
		"undeclared":      `{"type":"object","required":["a"],"additionalProperties":{"type":"integer"}}`,
		"optional, never": `{"type":"object","properties":{"a":false,"b":{"type":"null"}},"additionalProperties":false}`,
		"anyOf":           `{"anyOf":[{"type":"integer"},{"type":"null"}]}`,
		"anyOf, one bad":  `{"anyOf":[false,{"type":"null"},{"type":"integer","minimum":2,"maximum":1}]}`,
		"oneOf":           `{"oneOf":[{"type":"integer","minimum":0},{"type":"string"}]}`,
		"allOf":           `{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"a":{"minimum":7,"maximum":9},"b":{"type":"null"}},"required":["b"]}]}`,
		"allOf of enums":  `{"allOf":[{"enum":["a","b"]},{"enum":["b","c"]}]}`,
		"two choices":     `{"type":"object","anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},{"properties":{"b":{"const":2}},"required":["b"]}],"oneOf":[{"required":["c"]}]}`,
		"beside a $ref":   `{"$ref":"#/$defs/n","minimum":5,"$defs":{"n":{"type":"integer","maximum":6}}}`,
		"odd names":       `{"$ref":"#/$defs/a~1b~0c","$defs":{"a/b~c":{"const":3}}}`,
		"definitions":     `{"type":"array","items":{"$ref":"#/definitions/x"},"minItems":1,"definitions":{"x":{"type":"boolean"}}}`,
		"tree": `{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},
			"children":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["value","children"],"additionalProperties":false}}}`,
		"linked list": `{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]},"value":{"type":"string"}},"required":["next","value"],"additionalProperties":false}`,
		"extraction": `{"type":"object","properties":{"label":{"type":"string","enum":["bug","feature"]},"confidence":{"type":"number","minimum":0,"maximum":1},
			"entities":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"kind":{"type":["string","null"]}},"required":["name","kind"],"additionalProperties":false}}},
			"required":["label","confidence","entities"],"additionalProperties":false}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range int64(20) {
				got, err := AnswerJSON(seed, []byte(schema), "m", Message{"user", "a"})
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				check(t, schema, got)
				if again, _ := AnswerJSON(seed, []byte(schema), "m", Message{"user", "a"}); again != got {
					t.Errorf("got %s and then %s", got, again)
				}
			}
		})
	}
}

func TestSchemasWithoutInstance(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ schema, holds string }{
		"false":             {`false`, "allows nothing"},
		"a text":            {`"string"`, "no schema"},
		"unknown type":      {`{"type":"text"}`, `"text" is no type`},
		"type of a number":  {`{"type":7}`, "type"},
		"no types":          {`{"type":[]}`, "no type fits"},
		"bounds":            {`{"type":"number","minimum":2,"maximum":1}`, "no number fits"},
		"nothing between":   {`{"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":2}`, "no number fits"},
		"too few different": {`{"type":"array","items":{"enum":[1,2]},"minItems":3,"uniqueItems":true}`, "too few different"},
		"items":             {`{"type":"array","minItems":2,"maxItems":1}`, "maxItems is below minItems"},
		"lengths":           {`{"type":"string","minLength":20,"maxLength":10}`, "maxLength is below minLength"},
		"forever":           {`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`, "nested too deeply"},
		"circle":            {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`, "nested too deeply"},
		"branches forever":  {`{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}`, "nested too deeply"},
		"too many items":    {`{"type":"array","minItems":1000000000}`, "nested too deeply"},
		"endless text":      {`{"type":"string","minLength":1000000000}`, "too large"},
		"dangling":          {`{"$ref":"#/$defs/a"}`, "leads nowhere"},
		"elsewhere":         {`{"$ref":"https://example.com/a"}`, "not within the schema"},
		"pattern":           {`{"type":"string","pattern":"(?=a)b"}`, "pattern"},
		"hard pattern":      {`{"type":"string","pattern":"a\\Bb\\b\\Bc"}`, "too hard"},
		"empty enum":        {`{"enum":[]}`, "enum"},
		"types that clash":  {`{"allOf":[{"type":"string"},{"type":"integer"}]}`, "no type fits"},
		"undeclared":        {`{"type":"object","required":["a"],"additionalProperties":false}`, "a: false allows nothing"},
		"empty anyOf":       {`{"anyOf":[]}`, "anyOf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := AnswerJSON(1, []byte(tc.schema), "m", Message{"user", "a"})
			if err == nil || !strings.Contains(err.Error(), tc.holds) {
				t.Errorf("got %s, %v, want an error with %q", got, err, tc.holds)
			}
		})
	}
}

func TestSchemaOverTheWire(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"integer"}},"required":["z","a"],"additionalProperties":false}`
	s := New(Options{Seed: 1})
	format := `,"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":` + schema + `}}`
	got := content(t, post(s, ask("a", format)))
	check(t, schema, got)
	want, err := AnswerJSON(1, []byte(schema), "m", Message{"user", "a"})
	if err != nil || got != want {
		t.Errorf("got %s, want %s, %v", got, want, err)
	}
	if !strings.HasPrefix(got, `{"z":"z `) {
		t.Errorf("got %s, want the properties in the order of the schema", got)
	}
	if other := content(t, post(s, ask("b", format))); other == got {
		t.Errorf("two prompts got %s", got)
	}
}

// Whatever the schema, there is an end, and what comes out is JSON.
func FuzzSchema(f *testing.F) {
	for _, seed := range []string{
		`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`,
		`{"anyOf":[{"$ref":"#"},{"type":"array","items":{"$ref":"#"},"minItems":3}]}`,
		`{"type":"number","minimum":-1e308,"maximum":1e308,"multipleOf":1e-300}`,
		`{"type":"integer","exclusiveMinimum":1e300}`,
		`{"type":"number","minimum":1e308}`,
		`{"type":"number","exclusiveMinimum":1e308,"maximum":1.7e308}`,
		`{"type":"number","maximum":-1.79e308,"multipleOf":1e308}`,
		`{"type":"string","pattern":"[^\\x00-\\x{10FFFF}]"}`,
		`{"type":"string","pattern":"((a{100}){100}){10}"}`,
		`{"type":"array","uniqueItems":true,"minItems":2,"maxItems":-1,"items":{"enum":[1]}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		if !jsontext.Value(schema).IsValid() {
			t.Skip()
		}
		got, err := AnswerJSON(1, []byte(schema), "m", Message{"user", "a"})
		if err != nil {
			return
		}
		var v any
		if err := json.Unmarshal([]byte(got), &v, jsontext.AllowDuplicateNames(true)); err != nil {
			t.Errorf("%v: %s", err, got)
		}
	})
}
