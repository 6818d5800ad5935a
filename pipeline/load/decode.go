package load

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
)

// captured is a value that is looked at later: an entry with a component in it.
type captured struct {
	n    *node
	path string
}

// decode fills v in from n, noting every mistake. What a mistake hits stays as it
// is.
func (l *loader) decode(v reflect.Value, n *node, path string, f flags) {
	t := v.Type()
	switch {
	case n.bad:
	case is[captured](t):
		v.Set(reflect.ValueOf(captured{n, path}))
	case t.Kind() == reflect.Pointer:
		l.decodePointer(v, n, path, f)
	case is[pipeline.Value](t):
		if value, ok := l.value(n, path); ok {
			v.Set(reflect.ValueOf(value))
		}
	case t.Kind() == reflect.Interface && t.NumMethod() == 0:
		l.decodeAny(v, n, path)
	case n.isNull() && (n.text == "" || t.Kind() != reflect.String || isText(t)):
		l.at(n.place, path, "has no value; give it %s, or leave the key out", wanted(t, f))
	case is[pipeline.Pairs](t):
		l.decodePairs(v, n, path, f)
	case isText(t) && (n.kind == yaml.ScalarNode || t.Kind() != reflect.Struct):
		l.decodeText(v, n, path, f)
	default:
		l.decodeKind(v, n, path, f)
	}
}

func (l *loader) decodeKind(v reflect.Value, n *node, path string, f flags) {
	switch t := v.Type(); t.Kind() {
	case reflect.Struct:
		l.decodeStruct(v, n, path, nil)
	case reflect.Slice:
		l.decodeList(v, n, path, f)
	case reflect.Map:
		l.decodeMap(v, n, path, f)
	default:
		l.decodeScalar(v, n, path, f)
	}
}

func (l *loader) decodePointer(v reflect.Value, n *node, path string, f flags) {
	if n.isNull() {
		v.SetZero()
		return
	}
	p := reflect.New(v.Type().Elem())
	if !v.IsNil() {
		p.Elem().Set(v.Elem())
	}
	l.decode(p.Elem(), n, path, f)
	v.Set(p)
}

// decodeStruct fills in a struct from a mapping. elsewhere may say where a key
// belongs that the struct lacks.
func (l *loader) decodeStruct(v reflect.Value, n *node, path string, elsewhere func(key string) string) {
	fields := fieldsOf(v.Type())
	if n.kind != yaml.MappingNode {
		l.at(n.place, path, "must be %s, not %s", wanted(v.Type(), flags{}), n.what())
		return
	}
	given := map[string]bool{}
	for _, e := range n.entries {
		at := join(path, e.key.text)
		f, ok := findField(fields, e.key.text)
		if !ok {
			given[l.unknownKey(e.key, at, namesOf(fields), elsewhere)] = true
			continue
		}
		given[f.name] = true
		l.decode(v.FieldByIndex(f.index), e.value, at, f.flags)
	}
	for _, f := range fields {
		if !f.required || n.get(f.name) != nil {
			continue
		}
		l.missing++
		if !given[f.name] { // nor a slip of it
			l.at(n.place, join(path, f.name), "is required, but missing")
		}
	}
}

// unknownKey notes a key that nobody knows and returns the one that was probably
// meant, "" if none is near.
func (l *loader) unknownKey(key *node, path string, known []string, elsewhere func(string) string) string {
	if elsewhere != nil {
		if where := elsewhere(key.text); where != "" {
			l.at(key.place, path, "%s", where)
			return ""
		}
	}
	near := nearest(key.text, known)
	switch {
	case near != "":
		l.atNear(near, key.place, path, "unknown key")
	case len(known) == 0:
		l.at(key.place, path, "unknown key; there are none here")
	default:
		l.at(key.place, path, "unknown key; known here: %s", strings.Join(known, ", "))
	}
	return near
}

// decodeList fills in a slice; a scalar is taken as a list of one.
func (l *loader) decodeList(v reflect.Value, n *node, path string, f flags) {
	t := v.Type()
	if n.kind != yaml.SequenceNode {
		if n.kind == yaml.MappingNode {
			l.at(n.place, path, "must be %s, not a mapping", wanted(t, f))
			return
		}
		one := reflect.MakeSlice(t, 1, 1)
		l.decode(one.Index(0), n, path, f)
		v.Set(one)
		return
	}
	list := reflect.MakeSlice(t, len(n.items), len(n.items))
	for i, item := range n.items {
		l.decode(list.Index(i), item, path+"["+strconv.Itoa(i)+"]", f)
	}
	v.Set(list)
}

func (l *loader) decodeMap(v reflect.Value, n *node, path string, f flags) {
	t := v.Type()
	if n.kind != yaml.MappingNode {
		l.at(n.place, path, "must be %s, not %s", wanted(t, f), n.what())
		return
	}
	m := reflect.MakeMapWithSize(t, len(n.entries))
	for _, e := range n.entries {
		value := reflect.New(t.Elem()).Elem()
		l.decode(value, e.value, join(path, e.key.text), f)
		m.SetMapIndex(reflect.ValueOf(e.key.text).Convert(t.Key()), value)
	}
	v.Set(m)
}

func (l *loader) decodePairs(v reflect.Value, n *node, path string, f flags) {
	if n.kind != yaml.MappingNode {
		l.at(n.place, path, "must be %s, not %s", wanted(v.Type(), f), n.what())
		return
	}
	pairs := make(pipeline.Pairs, 0, len(n.entries))
	for _, e := range n.entries {
		var text string
		l.decode(reflect.ValueOf(&text).Elem(), e.value, join(path, e.key.text), f)
		pairs = append(pairs, pipeline.Pair{Key: e.key.text, Value: text})
	}
	v.Set(reflect.ValueOf(pairs))
}

func (l *loader) decodeAny(v reflect.Value, n *node, path string) {
	value, ok := l.value(n, path)
	if !ok {
		return
	}
	decoded, err := value.Any()
	if err != nil {
		l.at(n.place, path, "%v", err)
		return
	}
	if decoded == nil {
		v.SetZero()
		return
	}
	v.Set(reflect.ValueOf(decoded))
}

// wanted says what a value of type t is, for messages.
func wanted(t reflect.Type, f flags) string {
	switch {
	case is[pipeline.Pairs](t):
		return "a mapping of names to " + plural(reflect.TypeFor[string](), f)
	case isText(t):
		return "a " + textName(t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem(), f)
	case reflect.Struct:
		return "a mapping (keys: " + strings.Join(namesOf(fieldsOf(t)), ", ") + ")"
	case reflect.Slice:
		return "a list of " + plural(t.Elem(), f)
	case reflect.Map:
		return "a mapping of names to " + plural(t.Elem(), f)
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		switch {
		case len(f.oneOf) > 0:
			return "one of " + strings.Join(f.oneOf, ", ")
		case f.expr:
			return "an expression"
		case f.template:
			return "a template"
		}
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// plural is wanted for several.
func plural(t reflect.Type, f flags) string {
	switch {
	case is[captured](t):
		return "entries"
	case is[pipeline.Value](t), t.Kind() == reflect.Interface:
		return "values"
	case is[pipeline.Pairs](t), t.Kind() == reflect.Struct && !isText(t), t.Kind() == reflect.Map:
		return "mappings"
	case isText(t):
		return textName(t) + "s"
	}
	switch t.Kind() {
	case reflect.String:
		switch {
		case len(f.oneOf) > 0:
			return "texts (" + strings.Join(f.oneOf, ", ") + ")"
		case f.expr:
			return "expressions"
		case f.template:
			return "templates"
		}
		return "texts"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "lists"
	case reflect.Pointer:
		return plural(t.Elem(), f)
	default:
		return "numbers"
	}
}

// formed is a type that says in which forms it is written: "number, auto, or off".
type formed interface{ Forms() string }

// textName is what a type that is made of text is called: "size", "duration".
func textName(t reflect.Type) string {
	if f, ok := reflect.Zero(t).Interface().(formed); ok {
		return f.Forms()
	}
	switch name := strings.ToLower(t.Name()); {
	case is[timeoutKeys](t):
		return "duration"
	case slices.Contains([]string{"size", "duration", "share", "secret"}, name):
		return name
	default:
		return "text"
	}
}
