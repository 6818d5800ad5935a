// Package load makes a [pipeline.Pipeline] of YAML. It is strict: what it does
// not understand it refuses, with all mistakes of a file in one go. It also
// writes the reference of the components and the JSON Schema of the YAML.
//
// The words are those of package pipeline.
package load

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// Options are what the program decides about loading.
type Options struct {
	// Registry holds the components; see package builtin.
	Registry *pipeline.Registry
	// Env is passed on to the components, each with its own Name and Shape. Its
	// Getenv also answers for ${NAME}; a variable that is set to nothing counts as
	// not set. A nil Shared is one for this pipeline alone.
	Env pipeline.Env
	// Set are overrides of the form "path=value", such as
	// "stages[1].llm.model=gpt-4.1" or "stages.label.parallelism=4": a stage is named
	// by its number from 0, by its name or by its component. The value is YAML.
	Set []string
	// Warn is told what is legal but surely not meant; nil ignores it. It is called
	// only for a pipeline without mistakes.
	Warn func(Mistake)
}

// File loads a pipeline from a file. The error is [Mistakes] unless the file
// cannot be read. Relative paths in it are relative to the working directory.
func File(path string, o Options) (pipeline.Pipeline, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return pipeline.Pipeline{}, fmt.Errorf("load pipeline: %w", err)
	}
	return Bytes(path, src, o)
}

// Bytes loads a pipeline from the text of a file of that name. The error is
// [Mistakes].
func Bytes(name string, src []byte, o Options) (pipeline.Pipeline, error) {
	if o.Registry == nil {
		o.Registry = &pipeline.Registry{}
	}
	if o.Env.Shared == nil {
		o.Env.Shared = new(pipeline.Shared)
	}
	l := &loader{file: name, o: o}
	var p pipeline.Pipeline
	if doc := l.document(src); doc != nil {
		root := l.resolve(doc, place{}, "")
		l.override(root)
		l.substitute(root, "")
		p = l.pipeline(root)
	}
	if len(l.mistakes) > 0 {
		l.mistakes.sort()
		return pipeline.Pipeline{}, l.mistakes
	}
	if o.Warn != nil {
		l.warnings.sort()
		for _, w := range l.warnings {
			o.Warn(w)
		}
	}
	return p, nil
}

// loader loads one file.
type loader struct {
	file     string
	lines    []string
	o        Options
	secrets  []secret
	mistakes Mistakes
	warnings Mistakes
	// inside is the component whose configuration is being read.
	inside string
	// shape is the fingerprint so far.
	shape map[string]string
	// missing counts the required keys that are not there.
	missing int
}

// at notes a mistake at a place.
func (l *loader) at(p place, path, format string, args ...any) {
	l.mistakes = append(l.mistakes, l.mistake(p, path, fmt.Sprintf(format, args...)))
}

// atNear notes a mistake at a place, and the word that was probably meant.
func (l *loader) atNear(near string, p place, path, format string, args ...any) {
	l.at(p, path, format, args...)
	l.mistakes[len(l.mistakes)-1].Suggestion = near
}

// warn notes a warning at a place.
func (l *loader) warn(p place, path, format string, args ...any) {
	l.warnings = append(l.warnings, l.mistake(p, path, fmt.Sprintf(format, args...)))
}

func (l *loader) mistake(p place, path, message string) Mistake {
	message = strings.Join(strings.FieldsFunc(l.redact(message), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	m := Mistake{File: l.file, Line: p.line, Column: p.column, Component: l.inside, Key: path, Message: message}
	if last := len(l.lines); m.Line > last { // the parser puts what is missing behind the end
		m.Line, m.Column = last, utf8.RuneCountInString(l.line(last))+1
	}
	if p.override != "" {
		m.File, m.Line, m.Column = p.override, 0, 0
	}
	return m
}
