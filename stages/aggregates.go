package stages

import (
	_ "embed"
	"fmt"

	"github.com/rowmill/rowmill/internal/aggregate"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed aggregates.go
var aggregatesCode string

// Aggregates are the fields that say something of several records. Each is given as the
// name of the field and an expression over one record: sum: {cost: price * pieces}.
type Aggregates struct {
	// By are the fields whose values the records of a group have in common: texts, numbers
	// (1 and 1.0 are the same), booleans and null. A record that lacks one is a dead letter. The
	// groups come in the order of these values: null, booleans, numbers, texts. Defaults to
	// none: all records are one group.
	By []string `yaml:"by"`
	// Count is the field that says how many records there are. Defaults to none.
	Count string `yaml:"count"`
	// Sum is exact, whatever the order: of fields with 0.1 and 0.2 it is 0.3, and integers may
	// have any size. (What an expression multiplies is a float64 before it is added.)
	// Records whose value is null or missing are left out, here and for mean, min and max; of
	// no value at all the result is null. Any other value that is no number makes the record
	// a dead letter. Defaults to none.
	Sum pipeline.Pairs `yaml:"sum" rowmill:"expr"`
	// Mean is the sum by the number of values. Defaults to none.
	Mean pipeline.Pairs `yaml:"mean" rowmill:"expr"`
	// Min is the smallest value, a number or a text; a number is less than any text, and
	// texts are compared by their bytes. Defaults to none.
	Min pipeline.Pairs `yaml:"min" rowmill:"expr"`
	// Max is the largest value. Defaults to none.
	Max pipeline.Pairs `yaml:"max" rowmill:"expr"`
	// First is the value of the first record in the order of the source. Defaults to none.
	First pipeline.Pairs `yaml:"first" rowmill:"expr"`
	// Last is the value of the last record. Defaults to none.
	Last pipeline.Pairs `yaml:"last" rowmill:"expr"`
	// List has the values of the first records, in the order of the source. Defaults to none.
	List pipeline.Pairs `yaml:"list" rowmill:"expr"`
	// AtMost is how many values a list gets; count tells whether there were more. Defaults
	// to 1000.
	AtMost int `yaml:"at_most" rowmill:"min=1"`
}

func aggregatesDefaults() Aggregates { return Aggregates{AtMost: 1000} }

// kinds are the mappings by their keys, in the order of the fields that they make.
func (a Aggregates) kinds() []struct {
	key  string
	kind aggregate.Kind
	of   pipeline.Pairs
} {
	return []struct {
		key  string
		kind aggregate.Kind
		of   pipeline.Pairs
	}{
		{"sum", aggregate.Sum, a.Sum},
		{"mean", aggregate.Mean, a.Mean},
		{"min", aggregate.Min, a.Min},
		{"max", aggregate.Max, a.Max},
		{"first", aggregate.First, a.First},
		{"last", aggregate.Last, a.Last},
		{"list", aggregate.List, a.List},
	}
}

// validate checks that there is something to say, and no field twice.
func (a Aggregates) validate(problems *pipeline.Problems) {
	taken := map[string]string{}
	take := func(key, name string) {
		switch before, twice := taken[name]; {
		case name == "":
			problems.Addf(key, "is no name of a field")
		case twice:
			problems.Addf(key, "there is a field %q already, of %s", name, before)
		default:
			taken[name] = key
		}
	}
	for i, name := range a.By {
		take(fmt.Sprintf("by[%d]", i), name)
	}
	if a.Count != "" {
		take("count", a.Count)
	}
	for _, k := range a.kinds() {
		for _, p := range k.of {
			take(below(k.key, p.Key), p.Key)
		}
	}
	if len(taken) == len(a.By) && len(*problems) == 0 {
		problems.Addf("", "says nothing of the records: give it count, sum, mean, min, max, first, last or list")
	}
	if a.AtMost < 1 {
		problems.Addf("at_most", "must be at least 1, not %d", a.AtMost)
	}
}

// aggregates are compiled Aggregates.
type aggregates struct {
	plan *aggregate.Plan
	of   []*lang.Expression // of the columns
	keys []string           // where they stand, for messages
}

func compileAggregates(a Aggregates, shape pipeline.Shape, problems *pipeline.Problems) aggregates {
	c := aggregates{plan: &aggregate.Plan{By: a.By, Count: a.Count, AtMost: a.AtMost}}
	for i, name := range a.By {
		exists(fmt.Sprintf("by[%d]", i), name, shape, problems)
	}
	for _, k := range a.kinds() {
		for _, p := range k.of {
			key := below(k.key, p.Key)
			c.plan.Columns = append(c.plan.Columns, aggregate.Column{Name: p.Key, Kind: k.kind})
			c.of, c.keys = append(c.of, compile(key, p.Value, shape, problems)), append(c.keys, key)
		}
	}
	return c
}

// row is what of a record goes into its group.
func (c aggregates) row(r *pipeline.Record) (by, values []pipeline.Value, err error) {
	for _, name := range c.plan.By {
		v, ok := r.Lookup(name)
		if !ok {
			return nil, nil, refuse("group_key", "by: the row has no field %q", name)
		}
		by = append(by, v)
	}
	if _, err := c.plan.Key(nil, by); err != nil {
		return nil, nil, refuse("group_key", "by: %w", err)
	}
	for i, e := range c.of {
		v, err := e.Value(r)
		if err != nil {
			return nil, nil, at(c.keys[i], err)
		}
		if err := c.plan.Columns[i].Check(v); err != nil {
			return nil, nil, refuse("group_value", "%s: %s %w", c.keys[i], e, err)
		}
		values = append(values, v)
	}
	return by, values, nil
}

// shape is what a row of a group looks like.
func (c aggregates) shape(in pipeline.Shape) pipeline.Shape {
	out := pipeline.Shape{Closed: true}
	for _, name := range c.plan.By {
		f, _ := in.Lookup(name)
		out.Fields = append(out.Fields, pipeline.ShapeField{Name: name, Type: f.Type})
	}
	if c.plan.Count != "" {
		out.Fields = append(out.Fields, pipeline.ShapeField{Name: c.plan.Count, Type: pipeline.NumberType})
	}
	for _, column := range c.plan.Columns {
		f := pipeline.ShapeField{Name: column.Name}
		if column.Kind == aggregate.Sum || column.Kind == aggregate.Mean {
			f.Type = pipeline.NumberType
		}
		out.Fields = append(out.Fields, f)
	}
	return out
}
