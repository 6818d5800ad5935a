// Package redact is a component of somebody's own: a stage that masks mail addresses
// before a model sees them.
//
// A component is a configuration, one small blocking interface, and a Spec. It starts no
// goroutine, repeats nothing and keeps no order: the engine does. Its own test is a call of
// the suite for stages.
package redact

import (
	"context"
	_ "embed"
	"regexp"

	"github.com/rowmill/rowmill/pipeline"
)

// The comments on the fields of the configuration are its reference.
//
//go:embed redact.go
var code string

// Config is the configuration of the stage "redact".
type Config struct {
	// Field is the field in which mail addresses are masked.
	Field string `yaml:"field" rowmill:"required"`
	// With is what stands in the place of an address. Defaults to [redacted].
	With string `yaml:"with"`
}

// Stage is the stage "redact".
type Stage struct {
	config  Config
	address *regexp.Regexp
}

var _ pipeline.Stage = (*Stage)(nil)

// New makes a Stage. A field that no row can have is a mistake in the YAML.
func New(c Config, env pipeline.Env) (*Stage, error) {
	if !env.Shape.MayHave(c.Field) {
		var problems pipeline.Problems
		problems.Addf("field", "there is no field %q", c.Field)
		return nil, problems.Err()
	}
	return &Stage{config: c, address: regexp.MustCompile(`[\w.+-]+@[\w-]+(\.[\w-]+)+`)}, nil
}

// Process masks the addresses in a row. A row without the field is left as it is.
func (s *Stage) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if text, ok := r.Lookup(s.config.Field); ok {
		r.Set(s.config.Field, pipeline.Text(s.address.ReplaceAllLiteralString(text.Text(), s.config.With)))
	}
	return []*pipeline.Record{r}, nil
}

// Shape says that the rows have the same fields as before.
func (s *Stage) Shape(in pipeline.Shape) pipeline.Shape { return in }

// Spec describes the stage "redact".
func Spec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:    "redact",
		Summary: "masks mail addresses",
		Code:    code,
		Example: "redact: {field: body}",
	},
		func() Config { return Config{With: "[redacted]"} },
		func(c Config, env pipeline.Env) (pipeline.Stage, error) {
			s, err := New(c, env)
			if err != nil { // a nil *Stage would not be a nil Stage
				return nil, err
			}
			return s, nil
		})
}
