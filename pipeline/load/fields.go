package load

import (
	"encoding"
	"reflect"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// field is one key of a configuration: a struct field with its tags.
type field struct {
	name  string
	index []int
	typ   reflect.Type
	// typeName and goName say where its comment stands.
	typeName, goName string
	flags
}

// flags is what the tag `rowmill:"…"` says.
type flags struct {
	required, tuning, expr, template bool
	oneOf                            []string
	min, max                         string
}

// is reports whether t is the type T.
func is[T any](t reflect.Type) bool { return t == reflect.TypeFor[T]() }

// fieldsOf returns the keys of a struct type in the order in which they are
// declared; those of an embedded struct stand among them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct {
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
			continue
		}
		if !sf.IsExported() || name == "" || name == "-" {
			continue
		}
		fields = append(fields, field{
			name: name, index: []int{i}, typ: sf.Type, typeName: t.Name(), goName: sf.Name,
			flags: parseFlags(sf.Tag.Get("rowmill")),
		})
	}
	return fields
}

func parseFlags(tag string) flags {
	var f flags
	for _, part := range strings.Split(tag, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "required":
			f.required = true
		case "tuning":
			f.tuning = true
		case "expr":
			f.expr = true
		case "template":
			f.template = true
		case "oneof":
			f.oneOf = strings.Split(value, "|")
		case "min":
			f.min = value
		case "max":
			f.max = value
		}
	}
	return f
}

func findField(fields []field, name string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// isText reports whether a value of t is made of one text (encoding.TextUnmarshaler).
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// configFields are the top-level keys of a component's configuration.
func configFields(s pipeline.Spec) []field {
	t := reflect.TypeOf(newConfig(s)).Elem()
	if t.Kind() != reflect.Struct {
		return nil
	}
	return fieldsOf(t)
}

// newConfig returns a pointer to the component's default configuration.
func newConfig(s pipeline.Spec) any {
	switch {
	case s.Defaults != nil:
		return s.Defaults()
	case s.Config != nil:
		return reflect.New(reflect.TypeOf(s.Config)).Interface()
	default:
		return &struct{}{}
	}
}
