package load

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// node is a YAML node with its aliases and merge keys resolved.
type node struct {
	kind    yaml.Kind // ScalarNode, SequenceNode or MappingNode
	tag     string    // of a scalar: "!!str", "!!int", …
	text    string    // of a scalar
	style   yaml.Style
	items   []*node
	entries []entry
	place
	// bad says that a mistake was noted for it already.
	bad bool
	// written is the text before the substitution, pieces where its parts went; whole
	// says that it was a single ${…} and nothing else.
	written string
	pieces  []piece
	whole   bool
}

// place is where something stands: in the file, or in an override.
type place struct {
	line, column int
	override     string // "--set path"
}

// entry is one key of a mapping and its value.
type entry struct {
	key   *node
	value *node
}

// get returns the value of a key, nil if it is not there.
func (n *node) get(key string) *node {
	if i := n.index(key); i >= 0 {
		return n.entries[i].value
	}
	return nil
}

func (n *node) index(key string) int {
	return slices.IndexFunc(n.entries, func(e entry) bool { return e.key.text == key })
}

func (n *node) isNull() bool { return n.kind == yaml.ScalarNode && n.tag == "!!null" }

// plain reports whether a scalar was written without quotes.
func (n *node) plain() bool { return n.style&^yaml.TaggedStyle == 0 }

const (
	// mostDepth bounds how deep a file nests.
	mostDepth = 100
	// mostAliased bounds how many nodes aliases may stand for in all: a few lines of
	// YAML can stand for billions.
	mostAliased = 100_000
)

// resolver makes nodes of what the parser returned.
type resolver struct {
	l       *loader
	place   place // of everything, where it is an override
	open    []*yaml.Node
	aliased int // nodes reached through an alias so far
}

func (l *loader) resolve(y *yaml.Node, at place, path string) *node {
	r := resolver{l: l, place: at}
	return r.node(y, path)
}

func (r *resolver) node(y *yaml.Node, path string) *node {
	if y.Kind == yaml.AliasNode {
		return r.alias(y, r.where(y), path)
	}
	n := &node{kind: y.Kind, tag: y.ShortTag(), style: y.Style, place: r.where(y)}
	if r.aliased += min(1, r.aliases()); r.aliased > mostAliased {
		if r.aliased == mostAliased+1 {
			r.l.at(n.place, path, "the aliases stand for more than %d values", mostAliased)
		}
		n.bad = true
		return n
	}
	if len(r.open) > mostDepth {
		return r.bad(n, shorten(path), "nested deeper than %d levels", mostDepth)
	}
	if slices.Contains(r.open, y) {
		return r.bad(n, path, "the alias holds itself")
	}
	r.open = append(r.open, y)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	switch y.Kind {
	case yaml.ScalarNode:
		n.text = y.Value
		return r.scalar(n, path)
	case yaml.SequenceNode:
		for i, item := range y.Content {
			n.items = append(n.items, r.node(item, path+"["+strconv.Itoa(i)+"]"))
		}
		return r.collection(n, "!!seq", path)
	default:
		n = r.collection(n, "!!map", path)
		if !n.bad {
			r.mapping(n, y, path)
		}
		return n
	}
}

func (r *resolver) where(y *yaml.Node) place {
	if r.place.override != "" {
		return r.place
	}
	return place{line: y.Line, column: y.Column}
}

func (r *resolver) bad(n *node, path, format string, args ...any) *node {
	r.l.at(n.place, path, format, args...)
	n.bad = true
	return n
}

// aliases counts the aliases that are being resolved.
func (r *resolver) aliases() int {
	count := 0
	for _, y := range r.open {
		if y.Kind == yaml.AliasNode {
			count++
		}
	}
	return count
}

func (r *resolver) alias(y *yaml.Node, at place, path string) *node {
	if len(r.open) > mostDepth || slices.Contains(r.open, y.Alias) {
		return r.bad(&node{kind: yaml.ScalarNode, place: at}, path, "the alias *%s holds itself", y.Value)
	}
	r.open = append(r.open, y)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	return r.node(y.Alias, path)
}

func (r *resolver) scalar(n *node, path string) *node {
	switch n.tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null":
		return n
	case "!!timestamp", "!!merge": // a date is text like any other; << means something as a key only
		n.tag = "!!str"
		return n
	default:
		return r.bad(n, path, "the tag %s is not known here", n.tag)
	}
}

func (r *resolver) collection(n *node, tag, path string) *node {
	if n.tag != tag {
		return r.bad(n, path, "the tag %s is not known here", n.tag)
	}
	return n
}

// mapping fills in the entries of n. Its own keys win over those that << brings
// in, and of those the first.
func (r *resolver) mapping(n *node, y *yaml.Node, path string) {
	var merged []entry
	seen := map[string]*node{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			merged = append(merged, r.merge(value, path)...)
			continue
		}
		k := r.key(key, n, path)
		if k == nil {
			continue
		}
		v := r.node(value, join(path, k.text))
		if first := seen[k.text]; first != nil {
			r.l.at(k.place, join(path, k.text), "the key stands here twice; first on line %d", first.line)
			continue
		}
		seen[k.text] = k
		n.entries = append(n.entries, entry{k, v})
	}
	for _, e := range merged {
		if seen[e.key.text] == nil {
			seen[e.key.text] = e.key
			n.entries = append(n.entries, e)
		}
	}
}

// key returns the key of an entry of n, or nil after noting why it is none.
func (r *resolver) key(y *yaml.Node, n *node, path string) *node {
	for y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	k := &node{kind: yaml.ScalarNode, tag: y.ShortTag(), text: y.Value, style: y.Style, place: r.where(y)}
	switch {
	case y.Kind == yaml.MappingNode && y.Style&yaml.FlowStyle != 0 && n.style&yaml.FlowStyle != 0:
		r.bad(n, path, `a value that begins with {{ must be quoted: "{{.text}}"`)
	case y.Kind != yaml.ScalarNode:
		r.l.at(k.place, path, "a key must be a text")
	case k.tag == "!!null":
		r.l.at(k.place, path, "a key must be a text, not nothing")
	default:
		return k
	}
	return nil
}

// merge returns the entries that a merge key brings in.
func (r *resolver) merge(y *yaml.Node, path string) []entry {
	n := r.node(y, path)
	from := []*node{n}
	if n.kind == yaml.SequenceNode {
		from = n.items
	}
	var entries []entry
	for _, one := range from {
		switch {
		case one.bad:
		case one.kind != yaml.MappingNode:
			r.l.at(one.place, join(path, "<<"), "must be a mapping, or a list of mappings")
		default:
			entries = append(entries, one.entries...)
		}
	}
	return entries
}

var plainKey = regexp.MustCompile(`^[\pL\pN_<-]+$`)

// join returns the path of a key within path.
func join(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

// what says what stands there, for messages.
func (n *node) what() string {
	switch {
	case n.kind == yaml.SequenceNode:
		return "a list"
	case n.kind == yaml.MappingNode:
		return "a mapping"
	case n.written != "":
		return "the value of " + n.written
	case n.tag == "!!null":
		return "nothing"
	case n.tag == "!!int" || n.tag == "!!float":
		return "the number " + shorten(n.text)
	case n.tag == "!!bool":
		return n.text
	default:
		return fmt.Sprintf("the text %q", shorten(n.text))
	}
}

// bare is what without its kind.
func (n *node) bare() string {
	if n.written != "" {
		return n.what()
	}
	return shorten(n.text)
}

// shorten cuts a text that is too long for a message.
func shorten(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return strings.TrimSpace(string(runes[:most])) + "…"
	}
	return s
}
