package rowfile

import (
	"fmt"
	"slices"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

// Writing says how rows are written: the keys that every sink of files has.
type Writing struct {
	// Format is that of the rows; "" if nothing tells.
	Format    codec.Format
	Columns   []string
	Delimiter string
	Field     string
}

// Validate notes what is wrong, by key.
func (w Writing) Validate(problems *pipeline.Problems) {
	tabular := w.Format == codec.CSV || w.Format == codec.TSV
	if _, err := codec.ParseDelimiter(codec.CSV, w.Delimiter); err != nil {
		*problems = append(*problems, pipeline.Problem{Key: "delimiter", Err: err})
	}
	for _, k := range []struct {
		key     string
		set, ok bool
		what    string
	}{
		{"columns", len(w.Columns) > 0, tabular, "csv and tsv"},
		{"delimiter", w.Delimiter != "", tabular, "csv and tsv"},
		{"field", w.Field != "", w.Format == codec.Lines, "lines"},
	} {
		if k.set && !k.ok && w.Format != "" {
			problems.Addf(k.key, "is for %s; the rows are written as %s", k.what, w.Format)
		}
	}
	for i, name := range w.Columns {
		switch {
		case name == "":
			problems.Addf(fmt.Sprintf("columns[%d]", i), "a column must have a name")
		case slices.Contains(w.Columns[:i], name):
			problems.Addf(fmt.Sprintf("columns[%d]", i), "there is a column %q already", name)
		}
	}
}

// CheckShape refuses a header that lacks a field which the records are known to have:
// each of them would be paid for, and then be a dead letter.
func (w Writing) CheckShape(shape pipeline.Shape, problems *pipeline.Problems) {
	if len(w.Columns) == 0 {
		return
	}
	for _, name := range shape.Names() {
		if !slices.Contains(w.Columns, name) {
			problems.Addf("columns", "lacks %q, a field of the records; add it, or leave the field out with the stage map: {drop: [%s]}", name, name)
		}
	}
}
