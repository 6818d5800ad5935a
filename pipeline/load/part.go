package load

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
)

// part is a component of a pipeline as it was written.
type part struct {
	spec   pipeline.Spec
	config *node // nil if there is no such component
	key    place // of the component's key
	at     string
	kind   pipeline.Kind
}

// entryKind returns the kind of the entries at a top-level key, and how many
// steps of a path lead to one; "" if there are none.
func entryKind(key string) (kind pipeline.Kind, steps int) {
	switch key {
	case "source":
		return pipeline.KindSource, 1
	case "sources":
		return pipeline.KindSource, 2
	case "sinks":
		return pipeline.KindSink, 2
	case "sink", "dead_letter":
		return pipeline.KindSink, 1
	case "stages":
		return pipeline.KindStage, 2
	default:
		return "", 0
	}
}

// entryKeys returns the keys beside a component at a top-level key.
func entryKeys(key string) []string {
	switch key {
	case "source", "sources":
		return namesOf(keysOf(&sourceKeys{}))
	case "sink", "sinks":
		return namesOf(keysOf(&sinkKeys{}))
	case "stages":
		return namesOf(keysOf(&stageKeys{}))
	default:
		return nil
	}
}

// part reads an entry: one component, and beside it keys of the engine.
func (l *loader) part(kind pipeline.Kind, c captured, keys any) part {
	p := part{kind: kind}
	if c.n == nil || c.n.bad {
		return p
	}
	if c.n.kind != yaml.MappingNode {
		l.at(c.n.place, c.path, "must be a mapping with one %s: %s", kind, l.like(kind, c.n))
		return p
	}
	own := *c.n
	own.entries = nil
	known := namesOf(keysOf(keys))
	for _, e := range c.n.entries {
		spec, ok := l.o.Registry.Lookup(kind, e.key.text)
		switch {
		case !ok || slices.Contains(known, e.key.text):
			own.entries = append(own.entries, e)
		case p.config == nil:
			p.spec, p.config, p.key, p.at = spec, e.value, e.key.place, join(c.path, e.key.text)
		default:
			l.at(e.key.place, join(c.path, e.key.text), "one entry has one %s, and this one has %q already; give each an entry of its own", kind, p.spec.Name)
		}
	}
	if p.config == nil {
		own.entries = l.noComponent(kind, c, own.entries, known)
	}
	l.inside = p.spec.Name
	defer func() { l.inside = "" }()
	l.decodeStruct(reflect.ValueOf(keys).Elem(), &own, c.path, func(key string) string {
		return l.elsewhere(kind, p, key)
	})
	l.fingerprint(reflect.ValueOf(keys), c.path)
	return p
}

// like shows how a component is written.
func (l *loader) like(kind pipeline.Kind, n *node) string {
	name := n.text
	if _, ok := l.o.Registry.Lookup(kind, name); !ok {
		name = nearest(name, l.o.Registry.Names(kind))
	}
	if name == "" {
		return "one of " + strings.Join(l.o.Registry.Names(kind), ", ")
	}
	return "{" + name + ": {…}}"
}

// noComponent notes that an entry has no component, or one that nobody knows, and
// returns what else is in it.
func (l *loader) noComponent(kind pipeline.Kind, c captured, entries []entry, known []string) []entry {
	names := l.o.Registry.Names(kind)
	unknown := func(e entry) bool { return !slices.Contains(known, e.key.text) }
	i := slices.IndexFunc(entries, func(e entry) bool { return unknown(e) && nearest(e.key.text, names) != "" })
	if i < 0 {
		i = slices.IndexFunc(entries, func(e entry) bool { return unknown(e) && nearest(e.key.text, known) == "" })
	}
	if i < 0 {
		l.at(c.n.place, c.path, "has no %s; give it one of %s", kind, strings.Join(names, ", "))
		return entries
	}
	key := entries[i].key
	at, near := join(c.path, key.text), nearest(key.text, names)
	switch other := l.otherKinds(kind, key.text); {
	case other != "":
		l.at(key.place, at, "is a %s, not a %s", other, kind)
	case near != "":
		l.atNear(near, key.place, at, "unknown %s", kind)
	default:
		l.at(key.place, at, "unknown %s; there are %s", kind, strings.Join(names, ", "))
	}
	return slices.Delete(slices.Clone(entries), i, i+1)
}

// otherKinds says of which other kinds there is a component of that name.
func (l *loader) otherKinds(kind pipeline.Kind, name string) string {
	var kinds []string
	for _, other := range []pipeline.Kind{pipeline.KindSource, pipeline.KindStage, pipeline.KindSink} {
		if _, ok := l.o.Registry.Lookup(other, name); ok && other != kind {
			kinds = append(kinds, string(other))
		}
	}
	return strings.Join(kinds, " and a ")
}

// elsewhere says where a key belongs that stands beside a component.
func (l *loader) elsewhere(kind pipeline.Kind, p part, key string) string {
	if p.config != nil {
		if _, ok := findField(configFields(p.spec), key); ok {
			return fmt.Sprintf("is a key of %s: it stands inside it, %s: {%s: …}", p.spec.Name, p.spec.Name, key)
		}
	}
	return l.keyOf(kind, key)
}

// keyOf says beside which other kind of component a key stands.
func (l *loader) keyOf(not pipeline.Kind, key string) string {
	for _, place := range []struct {
		kind pipeline.Kind
		keys any
	}{
		{pipeline.KindSource, &sourceKeys{}}, {pipeline.KindStage, &stageKeys{}}, {pipeline.KindSink, &sinkKeys{}},
	} {
		if _, ok := findField(keysOf(place.keys), key); ok && place.kind != not {
			return fmt.Sprintf("is a key of a %s: it stands beside the %[1]s's component", place.kind)
		}
	}
	return ""
}

// elsewhereThanTop says where a key belongs that stands at the top.
func (l *loader) elsewhereThanTop(key string) string {
	if kinds := l.otherKinds("", key); kinds != "" {
		var where []string
		for _, kind := range kindsOf(l.o.Registry, key) {
			where = append(where, map[pipeline.Kind]string{
				pipeline.KindSource: "`source`", pipeline.KindStage: "`stages`", pipeline.KindSink: "`sink`",
			}[kind])
		}
		return fmt.Sprintf("is a %s: it stands within %s, not at the top", kinds, strings.Join(where, " or "))
	}
	return l.keyOf("", key)
}

// component builds the component of a part; nil if it cannot be built.
func (l *loader) component(p part, env pipeline.Env) any {
	if p.config == nil || p.config.bad {
		return nil
	}
	l.inside = p.spec.Name
	defer func() { l.inside = "" }()
	missing := l.missing
	config := newConfig(p.spec)
	l.configure(config, p)
	l.fingerprint(reflect.ValueOf(config), p.at)
	var err error
	if v, ok := config.(interface{ Validate() error }); ok {
		err = v.Validate()
	}
	var built any
	if sound := err == nil && l.missing == missing; sound {
		env.Logger, env.Getenv, env.Stdin, env.Stdout = l.o.Env.Logger, l.o.Env.Getenv, l.o.Env.Stdin, l.o.Env.Stdout
		env.Shared = l.o.Env.Shared
		built, err = p.spec.New(config, env)
	} else {
		defer l.compile(reflect.TypeOf(config), p.config, p.at, flags{})
	}
	if err != nil {
		l.problems(err, p)
	}
	if len(l.noted(p.at)) > 0 {
		return nil
	}
	return built
}

// noted returns the mistakes noted so far at a path or below it.
func (l *loader) noted(path string) []Mistake {
	var found []Mistake
	for _, m := range l.mistakes {
		if within(m.Key, path) {
			found = append(found, m)
		}
	}
	return found
}

// configure fills in a component's configuration.
func (l *loader) configure(config any, p part) {
	v := reflect.ValueOf(config).Elem()
	n := *p.config
	_, text := config.(encoding.TextUnmarshaler)
	switch {
	case n.isNull(): // a component without keys
		n = node{kind: yaml.MappingNode, tag: "!!map", place: p.key}
	case n.kind == yaml.MappingNode:
		n.place = p.key // where a required key is missing
	}
	if v.Kind() != reflect.Struct || text && n.kind == yaml.ScalarNode {
		l.decode(v, &n, p.at, flags{})
		return
	}
	l.decodeStruct(v, &n, p.at, func(key string) string {
		switch keys := (map[pipeline.Kind]any{
			pipeline.KindSource: &sourceKeys{}, pipeline.KindStage: &stageKeys{}, pipeline.KindSink: &sinkKeys{},
		})[p.kind]; {
		case slices.Contains(namesOf(keysOf(keys)), key):
			return fmt.Sprintf("is a key of the engine: it stands beside %q, not inside it", p.spec.Name)
		default:
			return ""
		}
	})
}

// problems notes what a component has to say about its configuration. What may
// only follow from mistakes that were noted already is left out.
func (l *loader) problems(err error, p part) {
	var list pipeline.Problems
	var one pipeline.Problem
	switch {
	case errors.As(err, &list):
	case errors.As(err, &one):
		list = pipeline.Problems{one}
	default:
		list = pipeline.Problems{{Err: err}}
	}
	before := l.noted(p.at)
	for _, problem := range list {
		path := p.at
		switch {
		case strings.HasPrefix(problem.Key, "["):
			path += problem.Key
		case problem.Key != "":
			path += "." + problem.Key
		}
		if follows(path, problem.Key == "", before) {
			continue
		}
		n, whole := l.find(p, problem.Key)
		l.problem(problem, n, path, whole)
	}
}

// follows reports whether a complaint about path may come of an earlier mistake: one
// about the same key, one below or above it, or a slip of its name.
func follows(path string, whole bool, earlier []Mistake) bool {
	for _, m := range earlier {
		if whole || within(path, m.Key) || within(m.Key, path) {
			return true
		}
		if m.Suggestion != "" {
			if cut := strings.LastIndexAny(m.Key, ".["); cut >= 0 && within(path, m.Key[:cut]+"."+m.Suggestion) {
				return true
			}
		}
	}
	return false
}

// within reports whether path is outer or below it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// find returns the node at a key of a part's configuration, nil and the place of
// what is nearest above it if there is none.
func (l *loader) find(p part, key string) (*node, place) {
	n, at := p.config, p.key
	if key == "" {
		return nil, at
	}
	for rest := strings.TrimPrefix(key, "."); rest != ""; rest = strings.TrimPrefix(rest, ".") {
		next, after := n.step(rest)
		if next == nil {
			return nil, at
		}
		n, at, rest = next, next.place, after
	}
	return n, n.place
}

// step returns the node at the first step of a path and what remains of the path.
// Keys may hold dots: the longest one counts.
func (n *node) step(path string) (next *node, rest string) {
	if n.kind == yaml.SequenceNode {
		for i, item := range n.items {
			if rest, ok := strings.CutPrefix(path, fmt.Sprintf("[%d]", i)); ok {
				return item, rest
			}
		}
	}
	if n.kind == yaml.ScalarNode && strings.HasPrefix(path, "[0]") { // a list of one
		return n, path[len("[0]"):]
	}
	best := -1
	for _, e := range n.entries {
		for _, written := range []string{e.key.text, fmt.Sprintf("[%q]", e.key.text)} {
			if len(written) > best && within(path, written) {
				next, rest, best = e.value, path[len(written):], len(written)
			}
		}
	}
	return next, rest
}
