package load

import (
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/internal/several"
	"github.com/rowmill/rowmill/pipeline"
)

// checkOneOf wants one of two keys, of which the second is for several, and a third only
// beside that.
func (l *loader) checkOneOf(root *node, one, many, how string) {
	if root.kind != yaml.MappingNode {
		return
	}
	single, list := root.get(one), root.get(many)
	slip := slices.ContainsFunc(l.mistakes, func(m Mistake) bool { return m.Suggestion == one || m.Suggestion == many })
	switch {
	case single != nil && list != nil:
		l.at(list.place, many, "stands in place of `%s`; leave one of them out", one)
	case single == nil && list == nil:
		l.missing++
		if !slip {
			l.at(root.place, one, "is required, but missing")
		}
	case list != nil && list.kind == yaml.SequenceNode && len(list.items) == 0:
		l.at(list.place, many, "has no entry; give it one at least")
	}
	if n := root.get(how); n != nil && list == nil {
		l.at(n.place, how, "is for several `%s`", many)
	}
}

// sources builds the source, of several if there are, and returns what its records look
// like.
func (l *loader) sources(p *pipeline.Pipeline, keys pipelineKeys, files *files) pipeline.Shape {
	if len(keys.Sources) == 0 {
		return l.source(p, keys.Source, files)
	}
	var parts []pipeline.Source
	var names []string
	shape, whole := pipeline.Shape{}, true
	for i, c := range keys.Sources {
		var one pipeline.Pipeline
		looks := l.source(&one, c, files)
		if i == 0 {
			shape, p.Key = looks, one.Key
		} else {
			shape = shape.Or(looks)
		}
		whole = whole && one.Source != nil
		if whole && one.Key != p.Key {
			l.checkKeys(c, p.Key)
		}
		parts, names = append(parts, one.Source), append(names, one.SourceName)
	}
	l.shapes("merge", keys.Merge)
	p.SourceName = strings.Join(names, " + ")
	switch {
	case !whole:
	case keys.Merge == "interleave":
		p.Source = several.Interleave(parts...)
	default:
		p.Source = several.Concat(parts...)
	}
	return shape
}

// checkKeys refuses a source whose key is not that of the first.
func (l *loader) checkKeys(c captured, first string) {
	at, what := c.n.place, "has no key"
	if n := c.get("key"); n != nil {
		at, what = n.place, "is another key"
	}
	if first == "" {
		l.at(at, join(c.path, "key"), "all sources must have the same key, and the first has none; rename fields with the stage map")
		return
	}
	l.at(at, join(c.path, "key"), "%s; all sources must have the same one, as the first has: %s", what, first)
}

// sinks builds the sink, of several if there are.
func (l *loader) sinks(p *pipeline.Pipeline, keys pipelineKeys, root *node, shape pipeline.Shape, files *files) {
	if len(keys.Sinks) == 0 {
		l.sink(p, keys.Sink, shape, files)
		return
	}
	var branches []several.Branch
	var names []string
	whole, rest := true, -1
	for i, c := range keys.Sinks {
		b, flush := l.branch(c, shape, files)
		if whole = whole && b.Sink != nil; c.n != nil && c.get("when") == nil {
			if rest >= 0 && keys.Route == "first" {
				l.at(c.n.place, c.path, "has no `when`, and nor has sinks[%d]; with route: first one sink gets what no other is for", rest)
			}
			rest = i
		}
		p.Flush = sooner(p.Flush, flush)
		branches, names = append(branches, b), append(names, b.Name)
	}
	n := root.get("sinks")
	if rest < 0 && !n.bad {
		l.at(n.place, "sinks", "each has a `when`; one must have none, for the records that no other is for")
		return
	}
	l.shapes("route", keys.Route)
	p.SinkName = strings.Join(names, " + ")
	if !whole || len(l.noted("sinks")) > 0 {
		return
	}
	make := several.All
	if keys.Route == "first" {
		make = several.First
	}
	var err error
	if p.Sink, err = make(branches...); err != nil {
		l.at(n.place, "sinks", "%v", err)
	}
}

// branch builds one of several sinks.
func (l *loader) branch(c captured, shape pipeline.Shape, files *files) (several.Branch, pipeline.Flush) {
	var keys sinkKeys
	part := l.part(pipeline.KindSink, c, &keys)
	files.addOutput(part)
	b := several.Branch{Name: part.name()}
	if n := c.get("when"); n != nil && keys.When != "" {
		l.inside = part.spec.Name
		if when := l.condition(keys.When, n, join(c.path, "when"), shape); when != nil {
			b.When = when
		}
	}
	b.Sink, _ = l.component(part, pipeline.Env{Name: part.spec.Name, Shape: shape}).(pipeline.Sink)
	return b, pipeline.Flush{Records: keys.Flush.Records, Every: time.Duration(keys.Flush.Every)}
}

// get returns the value of a key of an entry, nil if it or the entry is not there.
func (c captured) get(key string) *node {
	if c.n == nil {
		return nil
	}
	return c.n.get(key)
}

// sooner is what makes records durable as soon as either would.
func sooner(a, b pipeline.Flush) pipeline.Flush {
	if a.Records == 0 || b.Records != 0 && b.Records < a.Records {
		a.Records = b.Records
	}
	if a.Every == 0 || b.Every != 0 && b.Every < a.Every {
		a.Every = b.Every
	}
	return a
}
