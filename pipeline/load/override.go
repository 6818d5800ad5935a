package load

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// override applies the overrides ("path=value") to the tree, in their order.
func (l *loader) override(root *node) {
	for _, set := range l.o.Set {
		path, value, ok := strings.Cut(set, "=")
		at := place{override: "--set " + path}
		steps, valid := splitPath(path)
		switch {
		case !ok || !valid:
			l.at(at, "", "an override has the form path=value, like stages[0].llm.model=gpt-4.1")
		case root.kind == yaml.MappingNode:
			if v := l.overridden(value, at); v != nil {
				if steps = l.fullPath(root, steps, v); len(steps) > 0 {
					l.put(root, steps, v)
				}
			}
		}
	}
}

// overridden returns the value of an override, or nil after noting why it is none.
func (l *loader) overridden(value string, at place) *node {
	if value == "-" { // standard input or output, surely, and not a list of nothing
		return &node{kind: yaml.ScalarNode, tag: "!!str", text: value, place: at}
	}
	docs, err := parseYAML(strings.NewReader(value))
	switch {
	case err != nil:
		l.at(at, "", "the value is invalid YAML: %s; quote it", strings.TrimPrefix(yamlLine.ReplaceAllString(err.Error(), ""), "yaml: "))
	case len(docs) > 1:
		l.at(at, "", "the value is more than one YAML document")
	case len(docs) == 0:
		return &node{kind: yaml.ScalarNode, tag: "!!str", place: at}
	default:
		return l.resolve(docs[0].Content[0], at, "")
	}
	return nil
}

// splitPath cuts `a.b[2]["c.d"]` into its steps.
func splitPath(path string) (steps []string, ok bool) {
	for rest := path; rest != ""; {
		if strings.HasPrefix(rest, "[") {
			end := strings.Index(rest, "]")
			if end < 2 {
				return nil, false
			}
			steps, rest = append(steps, strings.Trim(rest[1:end], `"'`)), strings.TrimPrefix(rest[end+1:], ".")
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			return append(steps, rest), true
		}
		if end == 0 {
			return nil, false
		}
		steps, rest = append(steps, rest[:end]), rest[end:]
		if rest = strings.TrimPrefix(rest, "."); rest == "" {
			return nil, false
		}
	}
	return steps, len(steps) > 0
}

// put gives the key at steps below n the value v, making mappings on the way.
func (l *loader) put(n *node, steps []string, v *node) {
	for i, step := range steps {
		if n = l.child(n, step, v); n == nil {
			return
		}
		if i < len(steps)-1 && (n.isNull() || n.bad) {
			*n = node{kind: yaml.MappingNode, tag: "!!map", place: v.place}
		}
	}
	*n = *v
}

// fullPath puts the component in where steps leaves it out: in an entry like
// {llm: {…}, name: label}, a key that is not the entry's own is the component's.
// It returns nil after noting that there is no such stage.
func (l *loader) fullPath(root *node, steps []string, v *node) []string {
	kind, depth := entryKind(steps[0])
	if kind == "" || len(steps) <= depth || root.get(steps[0]) == nil {
		return steps
	}
	n := root.get(steps[0])
	if depth == 2 {
		if n = l.item(n, steps[1], v); n == nil {
			return nil
		}
	}
	step := steps[depth]
	if n.get(step) != nil || slices.Contains(entryKeys(steps[0]), step) {
		return steps
	}
	_, component := l.o.Registry.Lookup(kind, step)
	for _, e := range n.entries {
		spec, known := l.o.Registry.Lookup(kind, e.key.text)
		if _, own := findField(configFields(spec), step); known && (own || !component) {
			return slices.Insert(slices.Clone(steps), depth, e.key.text)
		}
	}
	return steps
}

// child returns the value at one step, made if it is not there, or nil after
// noting that there is no such place.
func (l *loader) child(n *node, step string, v *node) *node {
	switch n.kind {
	case yaml.MappingNode:
		if found := n.get(step); found != nil {
			return found
		}
		key := &node{kind: yaml.ScalarNode, tag: "!!str", text: step, place: v.place}
		made := &node{kind: yaml.ScalarNode, tag: "!!null", place: v.place}
		n.entries = append(n.entries, entry{key, made})
		return made
	case yaml.SequenceNode:
		return l.item(n, step, v)
	default:
		l.at(v.place, "", "there is nothing to set within %s", n.what())
		return nil
	}
}

// item returns an item of a list: by its number, or a stage by its name or, where
// there is just one such, by its component.
func (l *loader) item(n *node, step string, v *node) *node {
	if i, err := strconv.Atoi(step); err == nil {
		if i < 0 || i >= len(n.items) {
			l.at(v.place, "", "there is no item %s; the list has %d, counted from 0", step, len(n.items))
			return nil
		}
		return n.items[i]
	}
	names := l.stageNames(n)
	if i := slices.Index(names, step); i >= 0 {
		return n.items[i]
	}
	var found []*node
	for _, item := range n.items {
		if item.get(step) != nil {
			found = append(found, item)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	l.atNear(nearest(step, names), v.place, "", "there is no stage of that name (%q); there are %s", step, strings.Join(names, ", "))
	return nil
}
