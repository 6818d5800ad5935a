package stages

import (
	"context"
	_ "embed"
	"fmt"
	"slices"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed map.go
var mapCode string

// MapConfig is the configuration of the stage "map". What is given is done in this
// order: set, rename, drop, keep.
type MapConfig struct {
	// Set gives fields the values of expressions, in the order written; each sees the
	// fields that those before it have set. A field that is there changes in its place,
	// a new one comes last. What an expression only passes on (`total`, `meta.price`,
	// `a ?? b`) keeps its exact bytes. Defaults to nothing.
	Set pipeline.Pairs `yaml:"set" rowmill:"expr"`
	// Rename gives fields other names, in the order written: old name, new name. They
	// stay in their places. A record that lacks a field stays as it is; one that has a
	// field of the new name already is a dead letter. Defaults to nothing.
	Rename pipeline.Pairs `yaml:"rename"`
	// Drop removes fields; those that a record lacks are passed over. Defaults to none.
	Drop []string `yaml:"drop"`
	// Keep removes all fields but these, which stay in the order that they have in the
	// record. Defaults to all.
	Keep []string `yaml:"keep"`
}

// Validate checks that there is something to do, and that it does not contradict
// itself.
func (c MapConfig) Validate() error {
	var problems pipeline.Problems
	if len(c.Set)+len(c.Rename)+len(c.Drop)+len(c.Keep) == 0 {
		problems.Addf("", "has nothing to do: give it set, rename, drop or keep")
	}
	for _, p := range c.Set {
		if p.Key == "" {
			problems.Addf(below("set", p.Key), "is no name of a field")
		}
	}
	for i, p := range c.Rename {
		switch {
		case p.Key == "" || p.Value == "":
			problems.Addf(below("rename", p.Key), "is no name of a field")
		case p.Key == p.Value:
			problems.Addf(below("rename", p.Key), "renames %q to what it is called already", p.Key)
		case slices.ContainsFunc(c.Rename[:i], func(q pipeline.Pair) bool { return q.Value == p.Value }):
			problems.Addf(below("rename", p.Key), "two fields would be called %q", p.Value)
		}
	}
	for i, name := range c.Keep {
		if slices.Contains(c.Drop, name) {
			problems.Addf(fmt.Sprintf("keep[%d]", i), "%q is to be dropped as well as kept", name)
		}
	}
	return problems.Err()
}

// Map is the stage "map": it sets, renames and removes fields.
type Map struct {
	config MapConfig
	set    []*lang.Expression
	keep   map[string]bool // nil for all
}

var (
	_ pipeline.Stage  = (*Map)(nil)
	_ pipeline.Shaper = (*Map)(nil)
)

// NewMap makes a Map. The error is [pipeline.Problems].
func NewMap(c MapConfig, env pipeline.Env) (*Map, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	m := &Map{config: c}
	if len(c.Keep) > 0 {
		m.keep = map[string]bool{}
		for _, name := range c.Keep {
			m.keep[name] = true
		}
	}
	if err := m.compile(env.Shape); err != nil {
		return nil, err
	}
	return m, nil
}

// compile checks every step against the shape that the steps before it leave.
func (m *Map) compile(shape pipeline.Shape) error {
	var problems pipeline.Problems
	for _, p := range m.config.Set {
		e := compile(below("set", p.Key), p.Value, shape, &problems)
		m.set = append(m.set, e)
		shape = shape.With(p.Key, typeOf(e))
	}
	for _, p := range m.config.Rename {
		exists(below("rename", p.Key), p.Key, shape, &problems)
		if _, taken := shape.Lookup(p.Value); taken {
			problems.Addf(below("rename", p.Key), "there is a field %q already; to put another in its place, use set and drop", p.Value)
		}
		shape = renamed(shape, p.Key, p.Value)
	}
	for i, name := range m.config.Drop {
		exists(fmt.Sprintf("drop[%d]", i), name, shape, &problems)
	}
	for i, name := range m.config.Keep {
		exists(fmt.Sprintf("keep[%d]", i), name, shape, &problems)
	}
	return problems.Err()
}

// typeOf returns the type of an expression's result; nil has none.
func typeOf(e *lang.Expression) pipeline.FieldType {
	if e == nil {
		return pipeline.AnyType
	}
	return e.Type()
}

func renamed(s pipeline.Shape, from, to string) pipeline.Shape {
	s.Fields = slices.Clone(s.Fields)
	for i := range s.Fields {
		if s.Fields[i].Name == from {
			s.Fields[i].Name = to
			return s
		}
	}
	return s
}

// MapSpec describes the stage "map".
func MapSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "map",
		Summary:  "sets, renames and removes fields",
		Code:     mapCode,
		Workload: pipeline.Computes,
		Example: `map:
  set:
    total: price * count
    Best Answer: trim(field("Best Answer"))
  rename: {q: question}
  drop: [internal_id]`,
	}, func() MapConfig { return MapConfig{} },
		func(c MapConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewMap(c, env)) })
}

// Process changes r.
func (m *Map) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	for i, p := range m.config.Set {
		v, err := m.set[i].Value(r)
		if err != nil {
			return nil, at(below("set", p.Key), err)
		}
		r.Set(p.Key, v)
	}
	for _, p := range m.config.Rename {
		_, here := r.Lookup(p.Key)
		if _, taken := r.Lookup(p.Value); here && taken {
			return nil, refuse("rename", "rename: the row has both %q and %q", p.Key, p.Value)
		}
		r.Rename(p.Key, p.Value)
	}
	for _, name := range m.config.Drop {
		r.Delete(name)
	}
	if m.keep != nil {
		keepOnly(r, m.keep)
	}
	return []*pipeline.Record{r}, nil
}

// keepOnly removes the fields that are not in keep; a record that has no others is
// not touched.
func keepOnly(r *pipeline.Record, keep map[string]bool) {
	all := r.Fields()
	fields := make([]pipeline.Field, 0, len(all))
	for _, f := range all {
		if keep[f.Name] {
			fields = append(fields, f)
		}
	}
	if len(fields) < len(all) {
		r.SetFields(fields)
	}
}

// Shape returns in as set, rename, drop and keep change it.
func (m *Map) Shape(in pipeline.Shape) pipeline.Shape {
	for i, p := range m.config.Set {
		in = in.With(p.Key, typeOf(m.set[i]))
	}
	for _, p := range m.config.Rename {
		in = renamed(in, p.Key, p.Value)
	}
	for _, name := range m.config.Drop {
		in = in.Without(name)
	}
	if m.keep == nil {
		return in
	}
	out := pipeline.Shape{Closed: true}
	for _, f := range in.Fields {
		if m.keep[f.Name] {
			out.Fields = append(out.Fields, f)
		}
	}
	for _, name := range m.config.Keep {
		if _, known := out.Lookup(name); !known {
			out.Fields = append(out.Fields, pipeline.ShapeField{Name: name})
		}
	}
	return out
}
