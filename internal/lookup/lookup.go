// Package lookup is what the stages that look a record up have in common, wherever they
// look: which columns of the row that was found come into the record, and what becomes of
// one for which there is none.
package lookup

import (
	"fmt"
	"slices"
	"unicode"

	"github.com/rowmill/rowmill/pipeline"
)

// The choices of Join.Missing.
const (
	DeadLetter = "dead_letter"
	Null       = "null"
	Drop       = "drop"
)

// Join is how a row that was found comes into a record: the keys take, as and missing.
type Join struct {
	// Take names the columns; without it they are all taken, and a record that has a field of
	// the same name is refused.
	Take []string
	// As is the field that gets the columns as one object; empty for a field of each.
	As string
	// Missing is what becomes of a record for which there is no row.
	Missing string
}

// Validate notes what is wrong with the choices, by their keys.
func (j Join) Validate(problems *pipeline.Problems) {
	if !slices.Contains([]string{DeadLetter, Null, Drop}, j.Missing) {
		problems.Addf("missing", "must be dead_letter, null or drop, not %q", j.Missing)
	}
	for i, name := range j.Take {
		if slices.Contains(j.Take[:i], name) {
			problems.Addf(fmt.Sprintf("take[%d]", i), "%q is taken already", name)
		}
	}
}

// Key returns the column that holds the key: the one that is named, else what on says, if
// that is a field and nothing more; of is what the columns are of, for messages.
func Key(named, on, of string, problems *pipeline.Problems) string {
	if named == "" && !isName(on) {
		problems.Addf("key", "is needed: name the column of %s that holds what on says", of)
	}
	if named == "" {
		return on
	}
	return named
}

// isName reports whether an expression is a field and nothing more.
func isName(src string) bool {
	for i, r := range src {
		digit := '0' <= r && r <= '9'
		if r != '_' && r <= unicode.MaxASCII && !unicode.IsLetter(r) && (!digit || i == 0) {
			return false
		}
	}
	return src != ""
}

// Shape returns in with the columns that are added, as far as they are known.
func (j Join) Shape(in pipeline.Shape) pipeline.Shape {
	switch {
	case j.As != "":
		return in.With(j.As, pipeline.AnyType)
	case len(j.Take) == 0:
		in.Closed = false
	}
	for _, name := range j.Take {
		in = in.With(name, pipeline.AnyType)
	}
	return in
}

// Add adds a row to r: a value for each of the columns. The error is r's own.
func (j Join) Add(r *pipeline.Record, columns []string, values []pipeline.Value) ([]*pipeline.Record, error) {
	if j.As != "" {
		r.Set(j.As, object(columns, values))
		return []*pipeline.Record{r}, nil
	}
	for i, name := range columns {
		if _, taken := r.Lookup(name); taken && len(j.Take) == 0 {
			return nil, pipeline.Permanent("lookup", fmt.Errorf("the row has a field %q already; name it in take to have it replaced", name))
		}
		v := pipeline.Null()
		if values != nil {
			v = values[i]
		}
		r.Set(name, v)
	}
	return []*pipeline.Record{r}, nil
}

// None is what becomes of a record for which there is no row; why says it in a dead letter.
func (j Join) None(r *pipeline.Record, columns []string, why error) ([]*pipeline.Record, error) {
	switch j.Missing {
	case Drop:
		return nil, nil
	case Null:
		return j.Add(r, columns, nil)
	default:
		return nil, pipeline.Permanent("lookup_missing", why)
	}
}

// object is a row as one value; null for none.
func object(columns []string, values []pipeline.Value) pipeline.Value {
	if values == nil {
		return pipeline.Null()
	}
	fields := make([]pipeline.Field, len(columns))
	for i, name := range columns {
		fields[i] = pipeline.Field{Name: name, Value: values[i]}
	}
	return pipeline.RawJSON(string(pipeline.NewRecord(fields...).AppendJSON(nil)))
}
