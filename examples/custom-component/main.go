// Custom-component loads a pipeline from YAML in which, beside the built-in
// components, one of the program's own may stand: redact, a stage that masks mail
// addresses before a model sees them.
//
// A component is a configuration, one small blocking interface, and a Spec. It
// starts no goroutine, repeats nothing and keeps no order: the engine does.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"regexp"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

var (
	//go:embed pipeline.yaml
	pipelineYAML []byte
	// The comments on the fields of the configuration are its reference.
	//go:embed main.go
	code string
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "custom-component:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	if err := registry.Register(RedactSpec()); err != nil {
		return err
	}
	// What a mistake in the YAML is, the loader knows for this component as well.
	p, err := load.Bytes("pipeline.yaml", pipelineYAML, load.Options{
		Registry: registry,
		Env:      pipeline.Env{Getenv: os.Getenv, Stdout: os.Stdout}, // what a path of "-" is
	})
	if err != nil {
		return err
	}
	summary, err := engine.Run(ctx, p, engine.Options{Preflight: true})
	if err != nil {
		return err
	}
	if dead := summary.Counts.DeadLettered; dead > 0 {
		return fmt.Errorf("%d rows failed; they are in %s", dead, summary.DeadLetters)
	}
	return nil
}

// RedactConfig is the configuration of the stage "redact".
type RedactConfig struct {
	// Field is the field in which mail addresses are masked.
	Field string `yaml:"field" rowmill:"required"`
	// With is what stands in the place of an address. Defaults to [redacted].
	With string `yaml:"with"`
}

// Redact is the stage "redact".
type Redact struct {
	config  RedactConfig
	address *regexp.Regexp
}

var _ pipeline.Stage = (*Redact)(nil)

// NewRedact makes a Redact. A field that no row can have is a mistake in the YAML.
func NewRedact(c RedactConfig, env pipeline.Env) (*Redact, error) {
	if !env.Shape.MayHave(c.Field) {
		var problems pipeline.Problems
		problems.Addf("field", "there is no field %q", c.Field)
		return nil, problems.Err()
	}
	return &Redact{config: c, address: regexp.MustCompile(`[\w.+-]+@[\w-]+(\.[\w-]+)+`)}, nil
}

// Process masks the addresses in a row. A row without the field is left as it is.
func (s *Redact) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if text, ok := r.Lookup(s.config.Field); ok {
		r.Set(s.config.Field, pipeline.Text(s.address.ReplaceAllLiteralString(text.Text(), s.config.With)))
	}
	return []*pipeline.Record{r}, nil
}

// Shape says that the rows have the same fields as before.
func (s *Redact) Shape(in pipeline.Shape) pipeline.Shape { return in }

// RedactSpec describes the stage "redact".
func RedactSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:    "redact",
		Summary: "masks mail addresses",
		Code:    code,
		Example: "redact: {field: body}",
	},
		func() RedactConfig { return RedactConfig{With: "[redacted]"} },
		func(c RedactConfig, env pipeline.Env) (pipeline.Stage, error) {
			s, err := NewRedact(c, env)
			if err != nil { // a nil *Redact would not be a nil Stage
				return nil, err
			}
			return s, nil
		})
}
