package load

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Doc is the reference of one component.
type Doc struct {
	Kind    pipeline.Kind
	Name    string
	Summary string
	// Workload and Costs are as its Spec says; they mean something for stages.
	Workload pipeline.Workload
	Costs    bool
	// Example is YAML.
	Example string
	// Keys are the keys of its configuration.
	Keys []KeyDoc
}

// KeyDoc is the reference of one key.
type KeyDoc struct {
	Name string
	// Type is what the value is: "text", "size", "list of texts", "mapping".
	Type string
	// Required keys must be there.
	Required bool
	// Tuning says that the key does not shape rows or answers.
	Tuning bool
	// Default is the value where the key is not there, as YAML; "" for none, and
	// where Meaning alone can say it.
	Default string
	// OneOf are the only values; nil for any.
	OneOf []string
	// Min and Max are the bounds, as YAML; "" for none.
	Min, Max string
	// Meaning is what the key does.
	Meaning string
	// Keys are those within it, where it is a mapping or a list of them.
	Keys []KeyDoc
}

// Reference returns the reference of a component.
func Reference(reg *pipeline.Registry, kind pipeline.Kind, name string) (Doc, error) {
	spec, ok := reg.Lookup(kind, name)
	if !ok {
		return Doc{}, errUnknown(string(kind), name, reg.Names(kind))
	}
	c, err := parseComments(append([]string{spec.Code}, spec.MoreCode...)...)
	if err != nil {
		return Doc{}, fmt.Errorf("reference of %s %s: %w", kind, name, err)
	}
	config := reflect.ValueOf(newConfig(spec)).Elem()
	return Doc{
		Kind: kind, Name: name, Summary: spec.Summary, Workload: spec.Workload, Costs: spec.Costs,
		Example: strings.TrimRight(spec.Example, "\n"), Keys: c.keys(config.Type(), config),
	}, nil
}

// errUnknown says that there is no such component, and which one may be meant.
func errUnknown(kind, name string, names []string) error {
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("there is no %s %q; did you mean %q?", kind, name, near)
	}
	return fmt.Errorf("there is no %s %q; there are %s", kind, name, strings.Join(names, ", "))
}

// PipelineKeys returns the keys at the top of a pipeline's YAML.
func PipelineKeys() ([]KeyDoc, error) { return engineKeys(pipelineKeys{}) }

// EngineKeys returns the keys that stand beside a component of that kind.
func EngineKeys(kind pipeline.Kind) ([]KeyDoc, error) {
	switch kind {
	case pipeline.KindSource:
		return engineKeys(sourceKeys{})
	case pipeline.KindStage:
		return engineKeys(stageKeys{Ordered: true})
	default:
		return engineKeys(sinkKeys{})
	}
}

func engineKeys(defaults any) ([]KeyDoc, error) {
	c, err := parseComments(keysCode)
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	v := reflect.ValueOf(defaults)
	return c.keys(v.Type(), v), nil
}

// comments are the comments on the fields of structs, by type and field.
type comments map[[2]string]string

// parseComments reads the comments in Go files.
func parseComments(files ...string) (comments, error) {
	c := comments{}
	for _, code := range files {
		if code == "" {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), "", code, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("its source: %w", err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				c.add(spec)
			}
			return true
		})
	}
	return c, nil
}

func (c comments) add(spec *ast.TypeSpec) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, name := range f.Names {
			c[[2]string{spec.Name.Name, name.Name}] = meaning(text, name.Name)
		}
	}
}

// meaning is a field's comment for those who write YAML: in one line, and without
// the Go name that it begins with.
func meaning(comment, goName string) string {
	text := strings.Join(strings.Fields(comment), " ")
	for _, verb := range []string{" is ", " are ", " says ", " "} {
		rest, ok := strings.CutPrefix(text, goName+verb)
		if !ok {
			continue
		}
		if verb == " says " {
			rest = "says " + rest
		}
		return strings.ToUpper(rest[:1]) + rest[1:]
	}
	return text
}

// keys documents the fields of a struct type, with the defaults in v if it is
// valid.
func (c comments) keys(t reflect.Type, v reflect.Value) []KeyDoc {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var docs []KeyDoc
	for _, f := range fieldsOf(t) {
		d := KeyDoc{
			Name: f.name, Type: typeName(f.typ, f.flags), Required: f.required, Tuning: f.tuning,
			OneOf: f.oneOf, Min: f.min, Max: f.max, Meaning: c[[2]string{f.typeName, f.goName}],
		}
		var value reflect.Value
		if v.IsValid() {
			value = v.FieldByIndex(f.index)
			d.Default = defaultText(value)
		}
		if inner := structIn(f.typ); inner != nil {
			if value.IsValid() && value.Type() != inner {
				value = reflect.Value{}
			}
			d.Keys = c.keys(inner, value)
		}
		docs = append(docs, d)
	}
	return docs
}

// structIn returns the struct type that a key's value is, or is a list or a
// mapping of; nil if there is none.
func structIn(t reflect.Type) reflect.Type {
	switch {
	case is[pipeline.Pairs](t), is[pipeline.Value](t), is[captured](t):
		return nil
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice, t.Kind() == reflect.Map:
		return structIn(t.Elem())
	case t.Kind() == reflect.Struct && len(fieldsOf(t)) > 0:
		return t
	default:
		return nil
	}
}

// typeName is what a value of type t is, for the reference.
func typeName(t reflect.Type, f flags) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem(), f)
	case is[captured](t):
		return "entry"
	case is[pipeline.Value](t), t.Kind() == reflect.Interface:
		return "any value"
	case is[timeoutKeys](t):
		return "duration, mapping, or off"
	case structIn(t) == t && isText(t):
		return "mapping, or off"
	case t.Kind() == reflect.Struct && !isText(t):
		return "mapping"
	case len(f.oneOf) > 0 && t.Kind() == reflect.String:
		return "text"
	default:
		return strings.TrimPrefix(strings.TrimPrefix(wanted(t, f), "a "), "an ")
	}
}

// defaultText is a default as YAML, "" for the zero value.
func defaultText(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		return defaultText(v.Elem())
	}
	if v.IsZero() || v.Kind() == reflect.Pointer {
		return ""
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	switch v.Kind() {
	case reflect.String:
		return plainOrQuoted(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = defaultText(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Struct, reflect.Map, reflect.Interface:
		return ""
	default:
		return fmt.Sprint(v.Interface())
	}
}

func plainOrQuoted(s string) string {
	if plainKey.MatchString(s) || !strings.ContainsAny(s, "\n\t\\\"':#{}[],&*!|>%@` ") {
		return s
	}
	return strconv.Quote(s)
}

// kinds are the kinds of component in the order of a pipeline.
func kinds() []pipeline.Kind {
	return []pipeline.Kind{pipeline.KindSource, pipeline.KindStage, pipeline.KindSink}
}

// parallelismOf says how many records a stage gets at once unless told otherwise.
func parallelismOf(w pipeline.Workload) string {
	if w == pipeline.Waits {
		return "waits for others: 16 records at once"
	}
	return "computes: as many records at once as there are processors, here " + strconv.Itoa(runtime.GOMAXPROCS(0))
}

// kindsOf returns the kinds of which there is a component of that name.
func kindsOf(reg *pipeline.Registry, name string) []pipeline.Kind {
	return slices.DeleteFunc(kinds(), func(k pipeline.Kind) bool {
		_, ok := reg.Lookup(k, name)
		return !ok
	})
}
