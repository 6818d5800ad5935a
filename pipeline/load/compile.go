package load

import (
	"reflect"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

// compile notes the expressions and templates of a configuration that cannot be
// parsed, where the component could not be built and so could not say it. Their
// fields are not looked at: the component alone knows what they are about.
func (l *loader) compile(t reflect.Type, n *node, path string, f flags) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.bad, is[pipeline.Value](t):
	case n.kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, item := range n.items {
			l.compile(t.Elem(), item, path+"["+strconv.Itoa(i)+"]", f)
		}
	case n.kind == yaml.MappingNode:
		for _, e := range n.entries {
			inner, flags, ok := entryOf(t, e.key.text, f)
			if ok {
				l.compile(inner, e.value, join(path, e.key.text), flags)
			}
		}
	case n.kind == yaml.ScalarNode && (f.expr || f.template):
		if err := compileText(n.text, f); err != nil && !follows(path, false, l.mistakes) {
			l.problem(pipeline.Problem{Err: err}, n, path, n.place)
		}
	}
}

// entryOf returns the type and flags of one entry of a mapping that is a t.
func entryOf(t reflect.Type, key string, f flags) (reflect.Type, flags, bool) {
	switch {
	case is[pipeline.Pairs](t):
		return reflect.TypeFor[string](), f, true
	case t.Kind() == reflect.Map:
		return t.Elem(), f, true
	case t.Kind() == reflect.Struct:
		inner, ok := findField(fieldsOf(t), key)
		return inner.typ, inner.flags, ok
	default:
		return nil, f, false
	}
}

func compileText(text string, f flags) error {
	if f.expr {
		_, err := lang.CompileExpression(text, pipeline.Shape{})
		return err
	}
	_, err := lang.CompileTemplate(text, pipeline.Shape{})
	return err
}
