package lang

import (
	"bytes"
	"fmt"
	"text/template"

	"github.com/rowmill/rowmill/pipeline"
)

// Template is a compiled template over a record's fields. It is safe for
// concurrent use.
type Template struct {
	tree *template.Template
	src  string
}

// CompileTemplate compiles src for records of that shape. The error is a
// *[SyntaxError].
func CompileTemplate(src string, _ pipeline.Shape) (*Template, error) {
	t, err := template.New("template").Option("missingkey=error").
		Funcs(template.FuncMap{"field": func(string, ...string) string { return "" }}).Parse(src)
	if err != nil {
		return nil, &SyntaxError{Err: err}
	}
	return &Template{tree: t, src: src}, nil
}

// Fields returns the names of the top-level fields that the template reads.
func (t *Template) Fields() []string { return nil }

// Constant returns the template's text if it reads nothing.
func (t *Template) Constant() (string, bool) {
	if bytes.Contains([]byte(t.src), []byte("{{")) {
		return "", false
	}
	return t.src, true
}

// Render renders the template for a record.
func (t *Template) Render(r *pipeline.Record) (string, error) {
	out, err := t.Append(nil, r)
	return string(out), err
}

// Append appends the template, rendered for a record, to dst.
func (t *Template) Append(dst []byte, r *pipeline.Record) ([]byte, error) {
	data := map[string]any{}
	for _, f := range r.Fields() {
		data[f.Name] = f.Value.Text()
	}
	var out bytes.Buffer
	lookup := func(name string, fallback ...string) (string, error) {
		if v, ok := r.Lookup(name); ok {
			return v.Text(), nil
		}
		if len(fallback) > 0 {
			return fallback[0], nil
		}
		return "", fmt.Errorf("the row has no field %q", name)
	}
	c, err := t.tree.Clone()
	if err != nil {
		return dst, err
	}
	if err := c.Funcs(template.FuncMap{"field": lookup}).Execute(&out, data); err != nil {
		return dst, err
	}
	return append(dst, out.Bytes()...), nil
}
