package lang

import (
	"slices"
	"strings"
	"text/template/parse"

	"github.com/rowmill/rowmill/pipeline"
)

// Template is a compiled template over a record's fields. It is safe for
// concurrent use. The parser is that of text/template; it is executed here, on
// records, because reflection knows neither the spelling of a number nor the
// order of an object, and costs several times as much.
type Template struct {
	src       string
	root      *parse.ListNode
	defined   map[string]*parse.Tree
	functions map[string]templateFunction
	fields    []string
	whole     bool
	constant  *string
}

// CompileTemplate compiles src for records of that shape. The error is a
// *[SyntaxError]: a template that cannot be read, a function there is not, or a
// field that no row can have.
func CompileTemplate(src string, shape pipeline.Shape) (*Template, error) {
	tree := parse.New("")
	tree.Mode = parse.SkipFuncCheck
	t := &Template{src: src, defined: map[string]*parse.Tree{}, functions: templateFunctions()}
	parsed, err := tree.Parse(src, "", "", t.defined)
	if err != nil {
		return nil, explainTemplate(src, err)
	}
	t.root = parsed.Root
	c := &templateChecker{shape: shape, defined: t.defined, seen: map[seenTemplate]bool{}, functions: t.functions}
	c.list(t.root, true)
	if c.err != nil {
		return nil, c.err
	}
	t.fields, t.whole = c.fields, c.whole
	return t, t.fold()
}

// fold renders a template that reads nothing, once.
func (t *Template) fold() error {
	if len(t.fields) > 0 || t.whole {
		return nil
	}
	out, err := t.Render(pipeline.NewRecord())
	if err != nil {
		return asSyntax(err, 0)
	}
	t.constant = &out
	return nil
}

// Fields returns the names of the top-level fields that the template reads, in
// the order in which they first occur. See also [Template.Whole].
func (t *Template) Fields() []string { return slices.Clone(t.fields) }

// Whole reports whether the template uses the record as a whole: {{.}}, {{json $}},
// {{range $name, $value := .}}.
func (t *Template) Whole() bool { return t.whole }

// Constant returns the text of a template that reads nothing of the record, and
// whether it is one.
func (t *Template) Constant() (string, bool) {
	if t.constant == nil {
		return "", false
	}
	return *t.constant, true
}

// String returns the template as it was written.
func (t *Template) String() string { return t.src }

// Render renders the template for a record. A field that the record lacks, or a
// value with which a function cannot work, is an error.
func (t *Template) Render(r *pipeline.Record) (string, error) {
	if t.constant != nil {
		return *t.constant, nil
	}
	out, err := t.Append(make([]byte, 0, 2*len(t.src)), r)
	if err != nil {
		return "", err
	}
	return string(out), nil
}

// Append appends the template, rendered for a record, to dst. After an error dst
// is as it was.
func (t *Template) Append(dst []byte, r *pipeline.Record) ([]byte, error) {
	if t.constant != nil {
		return append(dst, *t.constant...), nil
	}
	x := execution{t: t, record: r, dst: dst, limit: len(dst) + maxText}
	if _, err := x.list(t.root, operand{record: r}); err != nil {
		return dst, pipeline.Permanent("template", err)
	}
	return x.dst, nil
}

// inTemplate returns how a field is written in a template.
func inTemplate(name string) string {
	if isIdentifier(name) {
		return "{{." + name + "}}"
	}
	if strings.ContainsAny(name, "\"\\\n") && !strings.Contains(name, "`") {
		return "{{field `" + name + "`}}"
	}
	return `{{field "` + name + `"}}`
}
