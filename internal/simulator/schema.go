package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What bounds an instance of a schema that describes itself (a tree of nodes) or
// a list of a million items.
const (
	shallow   = 3     // objects and lists below are kept as small as allowed
	deepest   = 32    // below that there is no instance
	mostSteps = 10000 // values tried
)

var errTooDeep = errors.New("nested too deeply, or too large, for the simulator")

// schema is one JSON schema: the keywords that the simulator knows. Others (not,
// if, dependentRequired, patternProperties, minProperties, contains) do not
// shape the instance, which may then not fit.
type schema struct {
	Ref        string           `json:"$ref"`
	AllOf      []jsontext.Value `json:"allOf"`
	AnyOf      []jsontext.Value `json:"anyOf"`
	OneOf      []jsontext.Value `json:"oneOf"`
	Type       typeNames        `json:"type"`
	Const      jsontext.Value   `json:"const"`
	Enum       []jsontext.Value `json:"enum"`
	Properties properties       `json:"properties"`
	Required   []string         `json:"required"`
	// Additional is what a required property is that has no schema of its own.
	Additional       jsontext.Value   `json:"additionalProperties"`
	Items            jsontext.Value   `json:"items"`
	PrefixItems      []jsontext.Value `json:"prefixItems"`
	MinItems         int              `json:"minItems"`
	MaxItems         *int             `json:"maxItems"`
	UniqueItems      bool             `json:"uniqueItems"`
	Minimum          *float64         `json:"minimum"`
	Maximum          *float64         `json:"maximum"`
	ExclusiveMinimum *float64         `json:"exclusiveMinimum"`
	ExclusiveMaximum *float64         `json:"exclusiveMaximum"`
	MultipleOf       float64          `json:"multipleOf"`
	MinLength        int              `json:"minLength"`
	MaxLength        *int             `json:"maxLength"`
	Pattern          string           `json:"pattern"`
	Format           string           `json:"format"`

	choices [][]jsontext.Value // the anyOf and oneOf of which one has yet to be picked
}

// typeNames is one name or a list.
type typeNames []string

// UnmarshalJSONFrom reads "string" and ["string", "null"].
func (t *typeNames) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		*t = make(typeNames, 1)
		return json.UnmarshalDecode(d, &(*t)[0])
	}
	return json.UnmarshalDecode(d, (*[]string)(t))
}

// properties keep the order in which they are written.
type properties []member

// UnmarshalJSONFrom reads an object.
func (p *properties) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	if raw.Kind() != '{' {
		return errors.New("properties is no object")
	}
	*p = members(raw.Clone())
	return nil
}

// builder makes an instance of a schema.
type builder struct {
	root  jsontext.Value
	dice  *dice
	steps int
}

// instance returns an instance of a schema.
func instance(d *dice, raw jsontext.Value) (string, error) {
	b := &builder{root: raw, dice: d}
	out, err := b.value(raw, "value", 0)
	return string(out), err
}

// value returns an instance of the schema raw, which stands under a name.
func (b *builder) value(raw jsontext.Value, name string, depth int) ([]byte, error) {
	s, err := b.read(raw, depth)
	if err != nil {
		return nil, err
	}
	return b.pick(s, name, depth)
}

// read returns a schema with what it refers to merged in.
func (b *builder) read(raw jsontext.Value, depth int) (schema, error) {
	var s schema
	if b.steps++; depth > deepest || b.steps > mostSteps {
		return s, errTooDeep
	}
	switch raw.Kind() {
	case 't':
		return s, nil
	case '{':
	default:
		return s, fmt.Errorf("%s allows nothing, or is no schema", raw)
	}
	if err := json.Unmarshal(raw, &s, jsontext.AllowDuplicateNames(true)); err != nil {
		return s, err
	}
	for _, choice := range [][]jsontext.Value{s.AnyOf, s.OneOf} {
		if choice != nil {
			s.choices = append(s.choices, choice)
		}
	}
	return b.mergeAll(s, depth)
}

func (b *builder) mergeAll(s schema, depth int) (schema, error) {
	others := s.AllOf
	if s.Ref != "" {
		target, err := b.find(s.Ref)
		if err != nil {
			return s, err
		}
		others = append(slices.Clone(others), target)
	}
	for _, raw := range others {
		other, err := b.read(raw, depth+1)
		if err != nil {
			return s, err
		}
		s.merge(other)
	}
	return s, nil
}

// find follows a reference within the schema: "#", "#/$defs/node".
func (b *builder) find(ref string) (jsontext.Value, error) {
	path, local := strings.CutPrefix(ref, "#")
	if !local {
		return nil, fmt.Errorf("$ref %q is not within the schema", ref)
	}
	at := b.root
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path == "" {
			break
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		i := slices.IndexFunc(membersOf(at), func(m member) bool { return m.name == step })
		if i < 0 {
			return nil, fmt.Errorf("$ref %q leads nowhere", ref)
		}
		at = membersOf(at)[i].value
	}
	return at, nil
}

func membersOf(raw jsontext.Value) []member {
	if raw.Kind() != '{' {
		return nil
	}
	return members(raw)
}

// merge makes s ask for what other asks for too, as far as one value can.
func (s *schema) merge(other schema) {
	s.choices = append(s.choices, other.choices...)
	s.Required = append(s.Required, other.Required...)
	for _, p := range other.Properties {
		s.addProperty(p)
	}
	if s.Type == nil {
		s.Type = other.Type
	} else if other.Type != nil {
		s.Type = slices.DeleteFunc(slices.Clone(s.Type), func(t string) bool { return !slices.Contains(other.Type, t) })
	}
	if s.Const == nil {
		s.Const = other.Const
	}
	if s.Enum == nil {
		s.Enum = other.Enum
	} else if other.Enum != nil {
		s.Enum = slices.DeleteFunc(slices.Clone(s.Enum), func(v jsontext.Value) bool { return !hasValue(other.Enum, v) })
	}
	if s.Items == nil {
		s.Items = other.Items
	}
	if s.PrefixItems == nil {
		s.PrefixItems = other.PrefixItems
	}
	if s.Additional == nil {
		s.Additional = other.Additional
	}
	s.MinItems = max(s.MinItems, other.MinItems)
	s.MinLength = max(s.MinLength, other.MinLength)
	s.MaxItems = least(s.MaxItems, other.MaxItems)
	s.MaxLength = least(s.MaxLength, other.MaxLength)
	s.Minimum = most(s.Minimum, other.Minimum)
	s.Maximum = least(s.Maximum, other.Maximum)
	s.ExclusiveMinimum = most(s.ExclusiveMinimum, other.ExclusiveMinimum)
	s.ExclusiveMaximum = least(s.ExclusiveMaximum, other.ExclusiveMaximum)
	s.UniqueItems = s.UniqueItems || other.UniqueItems
	s.MultipleOf = max(s.MultipleOf, other.MultipleOf)
	if s.Pattern == "" {
		s.Pattern = other.Pattern
	}
	if s.Format == "" {
		s.Format = other.Format
	}
}

func hasValue(list []jsontext.Value, v jsontext.Value) bool {
	return slices.ContainsFunc(list, func(o jsontext.Value) bool { return bytes.Equal(o, v) })
}

func (s *schema) addProperty(p member) {
	s.Properties = slices.Clone(s.Properties)
	i := slices.IndexFunc(s.Properties, func(m member) bool { return m.name == p.name })
	if i < 0 {
		s.Properties = append(s.Properties, p)
		return
	}
	both := slices.Concat([]byte(`{"allOf":[`), s.Properties[i].value, []byte(","), p.value, []byte("]}"))
	s.Properties[i].value = both
}

func least[T int | float64](a, b *T) *T {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

func most(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// pick decides what anyOf and oneOf leave open, then makes the value. Candidates
// of which there is no instance are passed over; deep down the simple ones come
// first, so that a schema that describes itself comes to an end.
func (b *builder) pick(s schema, name string, depth int) ([]byte, error) {
	if len(s.choices) == 0 {
		return b.build(s, name, depth)
	}
	candidates := s.choices[0]
	s.choices = s.choices[1:]
	if len(candidates) == 0 {
		return nil, errors.New("an empty anyOf or oneOf allows nothing")
	}
	first := b.dice.below(len(candidates))
	order := slices.Concat(candidates[first:], candidates[:first])
	if depth > shallow {
		slices.SortStableFunc(order, func(x, y jsontext.Value) int { return nesting(x) - nesting(y) })
	}
	var failed error
	for _, raw := range order {
		other, err := b.read(raw, depth+1)
		if err == nil {
			merged := s
			merged.choices, merged.Required = slices.Clone(s.choices), slices.Clone(s.Required)
			merged.merge(other)
			var out []byte
			if out, err = b.pick(merged, name, depth+1); err == nil {
				return out, nil
			}
		}
		failed = err
		if b.steps > mostSteps {
			break
		}
	}
	return nil, failed
}

// nesting is 0 for a schema of simple values, 1 for one that may go on.
func nesting(raw jsontext.Value) int {
	for _, m := range membersOf(raw) {
		switch m.name {
		case "$ref", "properties", "items", "prefixItems", "anyOf", "oneOf", "allOf":
			return 1
		}
	}
	return 0
}
