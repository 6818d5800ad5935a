package load_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
	"github.com/rowmill/rowmill/pipeline/load"
)

//go:embed fakes_test.go
var fakesCode string

// fakeFileConfig is the configuration of the source "file".
type fakeFileConfig struct {
	// Path is one or several files.
	Path []string `yaml:"path" rowmill:"required"`
	// Format is how the rows are written. Defaults to auto.
	Format string `yaml:"format" rowmill:"oneof=auto|csv|jsonl"`
	// MaxRecord bounds a row. Defaults to 64MiB.
	MaxRecord pipeline.Size `yaml:"max_record" rowmill:"min=1KiB,max=1GiB"`
	// Columns are the only fields of the rows. Defaults to any.
	Columns []string `yaml:"columns"`
	// Types gives columns a type. Defaults to none.
	Types map[string]string `yaml:"types" rowmill:"oneof=number|bool"`
}

type fakeSource struct {
	config any
	env    pipeline.Env
}

func (s fakeSource) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(func(*pipeline.Record, error) bool) {}
}

func (s fakeSource) Shape(pipeline.Shape) pipeline.Shape {
	c, ok := s.config.(fakeFileConfig)
	if !ok || len(c.Columns) == 0 {
		return pipeline.Shape{}
	}
	out := pipeline.Shape{Closed: true}
	for _, name := range c.Columns {
		out = out.With(name, pipeline.AnyType)
	}
	return out
}

// fakeValuesConfig is the configuration of the source "values".
type fakeValuesConfig struct {
	// Rows are the rows.
	Rows []pipeline.Value `yaml:"rows" rowmill:"required"`
	// Any is anything. Defaults to nothing.
	Any any `yaml:"any"`
}

// fakeFilterConfig is the configuration of the stage "filter".
type fakeFilterConfig struct {
	// Where is true for what stays.
	Where string `yaml:"where" rowmill:"required,expr"`
}

type fakeStage struct {
	config any
	env    pipeline.Env
}

func (s fakeStage) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return []*pipeline.Record{r}, nil
}

type shapedStage struct {
	fakeStage
	shape func(pipeline.Shape) pipeline.Shape
}

func (s shapedStage) Shape(in pipeline.Shape) pipeline.Shape { return s.shape(in) }

func same(in pipeline.Shape) pipeline.Shape { return in }

// fakeMapConfig is the configuration of the stage "map".
type fakeMapConfig struct {
	// Set gives fields values.
	Set pipeline.Pairs `yaml:"set" rowmill:"expr"`
	// Drop removes fields.
	Drop []string `yaml:"drop"`
}

func newFakeMap(c fakeMapConfig, env pipeline.Env) (pipeline.Stage, error) {
	var problems pipeline.Problems
	for _, p := range c.Set {
		if _, err := lang.CompileExpression(p.Value, env.Shape); err != nil {
			problems = append(problems, pipeline.Problem{Key: "set." + p.Key, Err: err})
		}
	}
	return shapedStage{fakeStage{c, env}, func(s pipeline.Shape) pipeline.Shape {
		for _, p := range c.Set {
			s = s.With(p.Key, pipeline.AnyType)
		}
		for _, d := range c.Drop {
			s = s.Without(d)
		}
		return s
	}}, problems.Err()
}

// fakeSampling is part of the stage "llm".
type fakeSampling struct {
	// Temperature is how free the answer is. Defaults to the provider's.
	Temperature *float64 `yaml:"temperature" rowmill:"min=0,max=2"`
	// Seed makes it repeatable. Defaults to none.
	Seed *int `yaml:"seed"`
}

// fakeMessage is one message of the stage "llm".
type fakeMessage struct {
	// Role is who speaks. Defaults to user.
	Role string `yaml:"role" rowmill:"oneof=system|user"`
	// Content is what is said.
	Content string `yaml:"content" rowmill:"required,template"`
}

// fakeLLMConfig is the configuration of the stage "llm".
type fakeLLMConfig struct {
	// Model is who is asked.
	Model string `yaml:"model" rowmill:"required"`
	// APIKey opens the door. Defaults to none.
	APIKey pipeline.Secret `yaml:"api_key" rowmill:"tuning"`
	// Prompt is a template.
	Prompt string `yaml:"prompt" rowmill:"template"`
	// Messages are templates.
	Messages []fakeMessage `yaml:"messages"`
	fakeSampling
	// MaxTokens bounds the answer. Defaults to 100.
	MaxTokens int `yaml:"max_tokens" rowmill:"min=1"`
	// Stop ends the answer. Defaults to none.
	Stop []string `yaml:"stop"`
	// Headers are sent along. Defaults to none.
	Headers map[string]string `yaml:"headers"`
	// Extra are more fields of the body. Defaults to none.
	Extra map[string]pipeline.Value `yaml:"extra"`
	// Stream is on or off. Defaults to false.
	Stream bool `yaml:"stream"`
	// Price is what it costs.
	Price *fakePrice `yaml:"price"`
	// APIVersion is a date. Defaults to none.
	APIVersion string `yaml:"api_version"`
}

// fakePrice is what tokens cost.
type fakePrice struct {
	// Input is the price of a million. Defaults to 0.
	Input float64 `yaml:"input" rowmill:"min=0"`
}

func (c fakeLLMConfig) Validate() error {
	var p pipeline.Problems
	if c.Model == "" {
		p.Addf("model", "needs a model")
	}
	if c.Prompt != "" && len(c.Messages) > 0 {
		p.Addf("messages", "prompt and messages exclude each other")
	}
	if c.Prompt == "" && len(c.Messages) == 0 {
		p.Addf("", "needs a prompt or messages")
	}
	return p.Err()
}

func newFakeLLM(c fakeLLMConfig, env pipeline.Env) (pipeline.Stage, error) {
	var p pipeline.Problems
	if i := indexOf(c.Prompt, "{{.nofield}}"); i >= 0 {
		p = append(p, pipeline.Problem{Key: "prompt", Offset: i, Err: errors.New("there is no field nofield")})
	}
	for n, m := range c.Messages {
		if i := indexOf(m.Content, "{{.nofield}}"); i >= 0 {
			p = append(p, pipeline.Problem{Key: fmt.Sprintf("messages[%d].content", n), Offset: i, Err: errors.New("there is no field nofield")})
		}
	}
	return shapedStage{fakeStage{c, env}, func(s pipeline.Shape) pipeline.Shape { return s.With("answer", pipeline.StringType) }}, p.Err()
}

func indexOf(s, sub string) int {
	for i := range len(s) - len(sub) + 1 {
		if s[i:i+len(sub)] == sub {
			return i
		}
	}
	return -1
}

// fakeLimitConfig is the configuration of the stage "limit".
type fakeLimitConfig struct {
	// Records is how many pass.
	Records int64 `yaml:"records" rowmill:"required,min=1"`
}

type limitStage struct{ shapedStage }

func (limitStage) Sequential() {}

// fakeSinkConfig is the configuration of the sink "file".
type fakeSinkConfig struct {
	// Path is the file.
	Path string `yaml:"path" rowmill:"required"`
	// Format is how rows are written. Defaults to auto.
	Format string `yaml:"format" rowmill:"oneof=auto|csv|jsonl"`
}

type fakeSink struct {
	config any
	env    pipeline.Env
}

func (fakeSink) Write(context.Context, []*pipeline.Record) error      { return nil }
func (fakeSink) Commit(context.Context) (pipeline.Position, error)    { return "", nil }
func (fakeSink) Close(context.Context) error                          { return nil }
func newFakeSink[C any](c C, env pipeline.Env) (pipeline.Sink, error) { return fakeSink{c, env}, nil }

type noKeys struct{}

func fakes(t testing.TB) *pipeline.Registry {
	t.Helper()
	r := new(pipeline.Registry)
	err := r.Register(
		pipeline.SourceSpec(pipeline.Spec{Name: "file", Summary: "reads files", Code: fakesCode, Example: "{path: in.jsonl}"},
			func() fakeFileConfig { return fakeFileConfig{Format: "auto", MaxRecord: 64 << 20} },
			func(c fakeFileConfig, env pipeline.Env) (pipeline.Source, error) { return fakeSource{c, env}, nil }),
		pipeline.SourceSpec(pipeline.Spec{Name: "values", Code: fakesCode},
			func() fakeValuesConfig { return fakeValuesConfig{} },
			func(c fakeValuesConfig, env pipeline.Env) (pipeline.Source, error) { return fakeSource{c, env}, nil }),
		pipeline.StageSpec(pipeline.Spec{Name: "filter", Code: fakesCode},
			func() fakeFilterConfig { return fakeFilterConfig{} },
			func(c fakeFilterConfig, env pipeline.Env) (pipeline.Stage, error) {
				if _, err := lang.CompileExpression(c.Where, env.Shape); err != nil {
					return nil, pipeline.Problems{{Key: "where", Err: err}}
				}
				return shapedStage{fakeStage{c, env}, same}, nil
			}),
		pipeline.StageSpec(pipeline.Spec{Name: "map", Code: fakesCode}, func() fakeMapConfig { return fakeMapConfig{} }, newFakeMap),
		pipeline.StageSpec(pipeline.Spec{Name: "llm", Summary: "asks a model", Code: fakesCode, Workload: pipeline.Waits, Costs: true},
			func() fakeLLMConfig { return fakeLLMConfig{MaxTokens: 100} }, newFakeLLM),
		pipeline.StageSpec(pipeline.Spec{Name: "limit", Code: fakesCode},
			func() fakeLimitConfig { return fakeLimitConfig{} },
			func(c fakeLimitConfig, env pipeline.Env) (pipeline.Stage, error) {
				return limitStage{shapedStage{fakeStage{c, env}, same}}, nil
			}),
		pipeline.StageSpec(pipeline.Spec{Name: "custom", Code: fakesCode},
			func() noKeys { return noKeys{} },
			func(c noKeys, env pipeline.Env) (pipeline.Stage, error) { return fakeStage{c, env}, nil }),
		pipeline.SinkSpec(pipeline.Spec{Name: "file", Summary: "writes a file", Code: fakesCode},
			func() fakeSinkConfig { return fakeSinkConfig{Format: "auto"} }, newFakeSink[fakeSinkConfig]),
		pipeline.SinkSpec(pipeline.Spec{Name: "discard", Code: fakesCode}, func() noKeys { return noKeys{} }, newFakeSink[noKeys]),
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func options(t testing.TB, env map[string]string, set ...string) load.Options {
	t.Helper()
	return load.Options{
		Registry: fakes(t),
		Env:      pipeline.Env{Getenv: func(name string) string { return env[name] }},
		Set:      set,
	}
}
