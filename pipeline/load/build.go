package load

import (
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
)

// pipeline makes the pipeline that root says, going down it so that every
// component knows what its records look like.
func (l *loader) pipeline(root *node) pipeline.Pipeline {
	if root.bad {
		return pipeline.Pipeline{}
	}
	root.entries = slices.DeleteFunc(root.entries, func(e entry) bool {
		return e.key.text == "stages" && e.value.isNull() // all of them commented out
	})
	var keys pipelineKeys
	l.decodeStruct(reflect.ValueOf(&keys).Elem(), root, "", l.elsewhereThanTop)
	p := pipeline.Pipeline{
		Name:         l.name(root, keys.Name),
		StopWhen:     pipeline.StopWhen{Off: keys.StopWhen.off, DeadLetters: keys.StopWhen.DeadLetters, After: keys.StopWhen.After},
		DrainTimeout: time.Duration(keys.DrainTimeout),
		State:        keys.State,
	}
	var files files
	l.checkOneOf(root, "source", "sources", "merge")
	l.checkOneOf(root, "sink", "sinks", "route")
	shape := l.sources(&p, keys, &files)
	shape = l.stages(&p, keys.Stages, root.get("stages"), shape)
	l.sinks(&p, keys, root, shape, &files)
	l.deadLetter(&p, keys.DeadLetter, &files)
	l.checkFiles(files)
	p.Fingerprint = l.shape
	return p
}

// goodName is what the names of pipelines and stages may hold: a name can be that
// of a folder, and a step of the path of an override.
var goodName = regexp.MustCompile(`^[\pL\pN_](?:[\pL\pN_ .-]{0,98}[\pL\pN_])?$`)

const nameRule = `a name holds letters, digits, spaces and "-_.", at most 100, and begins and ends with a letter or digit`

// name returns the pipeline's name: as given, else that of the file.
func (l *loader) name(root *node, given string) string {
	if n := root.get("name"); n != nil {
		if n.kind == yaml.ScalarNode && n.tag == "!!str" && !n.bad && !goodName.MatchString(given) {
			l.at(n.place, "name", "%q cannot be a name: %s", shorten(given), nameRule)
		}
		return given
	}
	base := filepath.Base(filepath.ToSlash(l.file))
	name := strings.TrimSuffix(base, filepath.Ext(base))
	if !goodName.MatchString(name) {
		l.at(root.place, "name", "the name of the file, %q, cannot be the pipeline's: %s; give it a `name:`", shorten(name), nameRule)
	}
	return name
}

// source builds the source and returns what its records look like.
func (l *loader) source(p *pipeline.Pipeline, c captured, files *files) pipeline.Shape {
	var keys sourceKeys
	part := l.part(pipeline.KindSource, c, &keys)
	files.addInputs(part)
	built, ok := l.component(part, pipeline.Env{Name: part.spec.Name}).(pipeline.Source)
	if !ok {
		return pipeline.Shape{}
	}
	p.Source, p.SourceName, p.Key = built, part.name(), keys.Key
	shape := shapeBehind(built, pipeline.Shape{})
	if keys.Key != "" && !shape.MayHave(keys.Key) {
		n := c.n.get("key")
		names := shape.Names()
		l.atNear(nearest(keys.Key, names), n.place, join(c.path, "key"),
			"there is no field %q; the rows have %s", keys.Key, strings.Join(names, ", "))
	}
	return shape
}

// sink builds the sink.
func (l *loader) sink(p *pipeline.Pipeline, c captured, shape pipeline.Shape, files *files) {
	var keys sinkKeys
	part := l.part(pipeline.KindSink, c, &keys)
	files.addOutput(part)
	p.Sink, _ = l.component(part, pipeline.Env{Name: part.spec.Name, Shape: shape}).(pipeline.Sink)
	p.SinkName = part.name()
	p.Flush = pipeline.Flush{Records: keys.Flush.Records, Every: time.Duration(keys.Flush.Every)}
	if n := c.get("when"); n != nil {
		l.at(n.place, join(c.path, "when"), "is for one of several `sinks`; this one gets every record, so put a filter in front of it")
	}
}

// deadLetterShape is what dead letters look like.
func deadLetterShape() pipeline.Shape {
	return pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{
		{Name: "record"}, {Name: "raw", Type: pipeline.StringType}, {Name: "error"}, {Name: "source"},
	}}
}

// deadLetter builds the sink of the dead letters.
func (l *loader) deadLetter(p *pipeline.Pipeline, c captured, files *files) {
	var part part
	if c.n == nil {
		part = l.defaultDeadLetter(p.Name, files)
	} else {
		part = l.part(pipeline.KindSink, c, &deadLetterKeys{})
	}
	files.addOutput(part)
	env := pipeline.Env{Name: part.spec.Name, Shape: deadLetterShape()}
	if built, ok := l.component(part, env).(pipeline.Sink); ok {
		p.DeadLetter, p.DeadLetterName = built, part.spec.Name
		if path := part.path(); path != "" {
			p.DeadLetterName = path
		}
	}
}

// shapeBehind returns what the records look like behind a component.
func shapeBehind(component any, in pipeline.Shape) pipeline.Shape {
	if s, ok := component.(pipeline.Shaper); ok {
		return s.Shape(in)
	}
	in.Closed = false // it may add any field
	return in
}
