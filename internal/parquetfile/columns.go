package parquetfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Columns are those of the first file; every other one must have the same, in whatever
// order.
type Columns struct {
	path  string
	shape pipeline.Shape
}

// Check refuses a file whose columns are others.
func (c *Columns) Check(path string, shape pipeline.Shape) error {
	if c.path == "" {
		c.path, c.shape = path, shape
		return nil
	}
	var differences []string
	if lacks := lacking(c.shape, shape); len(lacks) > 0 {
		differences = append(differences, "it lacks "+strings.Join(lacks, ", "))
	}
	if besides := lacking(shape, c.shape); len(besides) > 0 {
		differences = append(differences, "it has "+strings.Join(besides, ", ")+" besides")
	}
	for _, f := range shape.Fields {
		was, ok := c.shape.Lookup(f.Name)
		if ok && was.Type != f.Type && was.Type != pipeline.AnyType && f.Type != pipeline.AnyType {
			differences = append(differences, fmt.Sprintf("%q is of another type", f.Name))
		}
	}
	if len(differences) == 0 {
		return nil
	}
	return pipeline.Fatal("source", fmt.Errorf("%s: its columns are not those of %s: %s; name those that all have with `columns`",
		path, c.path, strings.Join(differences, " and ")))
}

// lacking returns the fields of one shape that another has not.
func lacking(of, in pipeline.Shape) []string {
	var out []string
	for _, f := range of.Fields {
		if _, ok := in.Lookup(f.Name); !ok {
			out = append(out, fmt.Sprintf("%q", f.Name))
		}
	}
	return out
}

// CheckColumns notes what is wrong with the names of columns to be read, in `columns`.
func CheckColumns(names []string, problems *pipeline.Problems) {
	for i, name := range names {
		switch {
		case name == "":
			problems.Addf(fmt.Sprintf("columns[%d]", i), "a column must have a name")
		case slices.Contains(names[:i], name):
			problems.Addf(fmt.Sprintf("columns[%d]", i), "%q is named twice", name)
		}
	}
}
