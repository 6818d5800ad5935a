package stages

import (
	"context"
	_ "embed"
	"slices"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed ungroup.go
var ungroupCode string

// UngroupConfig is the configuration of the stage "ungroup".
type UngroupConfig struct {
	// Field is the field that holds a list of objects; each becomes a record. An empty
	// list becomes none. A record without such a list is a dead letter. Defaults to
	// items, as the stage group makes it.
	Field string `yaml:"field"`
	// Zip deals lists out, such as the answers of a model to all of a group: the field
	// with the list, and the field that each record gets its element as. The list must
	// have as many elements as there are objects, else the record is a dead letter. What
	// is dealt out takes the place of a field of that name. Defaults to nothing.
	Zip pipeline.Pairs `yaml:"zip"`
}

// Validate checks the names.
func (c UngroupConfig) Validate() error {
	var problems pipeline.Problems
	if c.Field == "" {
		problems.Addf("field", "needs the name of the field that holds the list")
	}
	for i, p := range c.Zip {
		switch {
		case p.Key == "" || p.Value == "":
			problems.Addf(below("zip", p.Key), "is no name of a field")
		case p.Key == c.Field:
			problems.Addf(below("zip", p.Key), "%q is the list of the records itself", p.Key)
		case slices.ContainsFunc(c.Zip[:i], func(q pipeline.Pair) bool { return q.Value == p.Value }):
			problems.Addf(below("zip", p.Key), "two lists would be dealt out as %q", p.Value)
		}
	}
	return problems.Err()
}

// Ungroup is the stage "ungroup": it makes a record of each object in a list. Each
// has the fields of the object, then the other fields of the group, of which the
// object's own win, then what is dealt out.
type Ungroup struct{ config UngroupConfig }

var (
	_ pipeline.Stage  = (*Ungroup)(nil)
	_ pipeline.Shaper = (*Ungroup)(nil)
)

// NewUngroup makes an Ungroup. The error is [pipeline.Problems].
func NewUngroup(c UngroupConfig, env pipeline.Env) (*Ungroup, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var problems pipeline.Problems
	exists("field", c.Field, env.Shape, &problems)
	for _, p := range c.Zip {
		exists(below("zip", p.Key), p.Key, env.Shape, &problems)
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &Ungroup{config: c}, nil
}

// DefaultUngroup returns a config with every default in its place.
func DefaultUngroup() UngroupConfig { return UngroupConfig{Field: "items"} }

// UngroupSpec describes the stage "ungroup".
func UngroupSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "ungroup",
		Summary:  "makes a record of each object in a list",
		Code:     ungroupCode,
		Workload: pipeline.Computes,
		Example:  `ungroup: {field: items, zip: {answers: answer}}`,
	}, DefaultUngroup,
		func(c UngroupConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewUngroup(c, env)) })
}

// Process returns a child for each object of the list.
func (u *Ungroup) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	elements, err := list(r, u.config.Field, "ungroup")
	if err != nil {
		return nil, err
	}
	dealt := make([][]pipeline.Value, len(u.config.Zip))
	for i, p := range u.config.Zip {
		if dealt[i], err = list(r, p.Key, "ungroup"); err != nil {
			return nil, err
		}
		if len(dealt[i]) != len(elements) {
			return nil, refuse("ungroup", "ungroup: field %q has %d elements, but field %q has %d", p.Key, len(dealt[i]), u.config.Field, len(elements))
		}
	}
	others := u.others(r)
	children := make([]*pipeline.Record, len(elements))
	for i, element := range elements {
		own, ok := element.Members()
		if !ok {
			return nil, refuse("ungroup", "ungroup: element %d of field %q is %s, not an object", i, u.config.Field, describe(element, true))
		}
		child := r.Child()
		child.SetFields(merge(own, others))
		for j, p := range u.config.Zip {
			child.Set(p.Value, dealt[j][i])
		}
		children[i] = child
	}
	return children, nil
}

// list returns the elements of a field that must hold a list.
func list(r *pipeline.Record, field, code string) ([]pipeline.Value, error) {
	v, present := r.Lookup(field)
	elements, ok := v.Elements()
	if !ok {
		return nil, refuse(code, "%s: field %q is %s, not a list", code, field, describe(v, present))
	}
	return elements, nil
}

// others returns the group's fields that go to every child.
func (u *Ungroup) others(r *pipeline.Record) []pipeline.Field {
	var others []pipeline.Field
	for _, f := range r.Fields() {
		dealt := func(p pipeline.Pair) bool { return p.Key == f.Name }
		if f.Name != u.config.Field && !slices.ContainsFunc(u.config.Zip, dealt) {
			others = append(others, f)
		}
	}
	return others
}

// merge returns own, and those of others whose names it lacks.
func merge(own, others []pipeline.Field) []pipeline.Field {
	fields := slices.Clip(own)
	for _, f := range others {
		if !slices.ContainsFunc(own, func(o pipeline.Field) bool { return o.Name == f.Name }) {
			fields = append(fields, f)
		}
	}
	return fields
}

// Shape returns what is known: the fields that the group has beside the list, and
// those that are dealt out. The objects may have any.
func (u *Ungroup) Shape(in pipeline.Shape) pipeline.Shape {
	out := pipeline.Shape{}
	for _, p := range u.config.Zip {
		out = out.With(p.Value, pipeline.AnyType)
	}
	return out
}
