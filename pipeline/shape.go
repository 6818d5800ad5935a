package pipeline

import "slices"

// Shape is what is known, before the first row is read, of the records at one
// place of a pipeline. The zero Shape knows nothing: any field may be there.
type Shape struct {
	// Closed says that records have no fields but Fields.
	Closed bool
	// Fields are the known fields, in order.
	Fields []ShapeField
}

// ShapeField is one known field.
type ShapeField struct {
	Name string
	Type FieldType
}

// FieldType is the type of a field as far as it is known.
type FieldType uint8

const (
	// AnyType: not known.
	AnyType FieldType = iota
	// StringType: always a string, as every untyped CSV column is.
	StringType
	// NumberType: a number, or null.
	NumberType
	// BoolType: a boolean, or null.
	BoolType
)

// Shaper is a component that knows what its records look like: a source what it
// reads (in is the zero Shape), a stage what it makes of in. A stage that is no
// Shaper leaves fields as they are and may add any.
type Shaper interface{ Shape(in Shape) Shape }

// Lookup returns the field of that name.
func (s Shape) Lookup(name string) (ShapeField, bool) {
	for _, f := range s.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return ShapeField{}, false
}

// MayHave reports whether a record can have a field of that name.
func (s Shape) MayHave(name string) bool {
	_, ok := s.Lookup(name)
	return ok || !s.Closed
}

// Names returns the names of the known fields, in order.
func (s Shape) Names() []string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return names
}

// With returns s with a field added at the end, or given another type in its place.
func (s Shape) With(name string, t FieldType) Shape {
	s.Fields = slices.Clone(s.Fields)
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			s.Fields[i].Type = t
			return s
		}
	}
	s.Fields = append(s.Fields, ShapeField{Name: name, Type: t})
	return s
}

// Without returns s with a field removed.
func (s Shape) Without(name string) Shape {
	s.Fields = slices.DeleteFunc(slices.Clone(s.Fields), func(f ShapeField) bool { return f.Name == name })
	return s
}

// Or returns what records look like of which some are like s, others like other.
func (s Shape) Or(other Shape) Shape {
	out := Shape{Closed: s.Closed && other.Closed}
	for _, f := range s.Fields {
		if theirs, ok := other.Lookup(f.Name); !ok || theirs.Type != f.Type {
			f.Type = AnyType
		}
		out.Fields = append(out.Fields, f)
	}
	for _, f := range other.Fields {
		if _, ok := s.Lookup(f.Name); !ok {
			out.Fields = append(out.Fields, ShapeField{Name: f.Name})
		}
	}
	return out
}
