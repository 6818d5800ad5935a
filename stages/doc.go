// Package stages holds the stages that need nothing but the record: filter, map,
// split, group, ungroup, limit, sample and dedupe. See package pipeline for the
// words, and package lang for the expressions.
//
// Each is one file: its configuration, whose field comments are the reference, a
// constructor for Go programs, and its Spec for YAML.
package stages

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

// asStage keeps a nil pointer from becoming a stage.
func asStage[S pipeline.Stage](s S, err error) (pipeline.Stage, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// compile compiles the expression at a key, and notes what is wrong with it.
func compile(key, src string, shape pipeline.Shape, problems *pipeline.Problems) *lang.Expression {
	e, err := lang.CompileExpression(src, shape)
	if err != nil {
		p := pipeline.Problem{Key: key, Err: err}
		if syntax := new(lang.SyntaxError); errors.As(err, &syntax) {
			p.Offset = syntax.Offset
		}
		*problems = append(*problems, p)
	}
	return e
}

// exists notes a field that no record can have.
func exists(key, field string, shape pipeline.Shape, problems *pipeline.Problems) {
	if err := lang.CheckField(field, shape); err != nil {
		problems.Addf(key, "%w", err)
	}
}

// below returns the path of a key in a mapping that the user fills: set.score,
// set["Best Answer"].
func below(mapping, key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !isWord(r) }) || key == "" {
		return mapping + "[" + strconv.Quote(key) + "]"
	}
	return mapping + "." + key
}

func isWord(r rune) bool {
	return r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r > 127
}

// at adds the key to a record's error.
func at(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}

// refuse is a record's error about one of its fields.
func refuse(code, format string, args ...any) error {
	return pipeline.Permanent(code, fmt.Errorf(format, args...))
}

// describe says what a field holds, for messages: "missing", "null", "a number".
func describe(v pipeline.Value, present bool) string {
	if !present {
		return "missing"
	}
	return lang.Kind(v)
}
