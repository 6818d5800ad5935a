package pipeline

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
)

// Kind is the kind of a component.
type Kind string

// The three kinds of component.
const (
	KindSource Kind = "source"
	KindStage  Kind = "stage"
	KindSink   Kind = "sink"
)

// Workload says what a stage does most of the time, and so how many records it
// is given at once unless told otherwise.
type Workload uint8

const (
	// Computes: it uses the processor; GOMAXPROCS records at once.
	Computes Workload = iota
	// Waits: it waits for others; 16 records at once.
	Waits
)

// Env is what the program gives to a component, as opposed to what the user
// wrote, which is its configuration. The zero Env is usable.
type Env struct {
	// Name is the component's name in the pipeline, for messages.
	Name string
	// Logger gets what is worth saying while running; nil discards.
	Logger *slog.Logger
	// Getenv looks up the environment, e.g. for OPENAI_API_KEY; nil finds nothing.
	Getenv func(name string) string
	// Stdin and Stdout are what the path "-" means; nil refuses it.
	Stdin  io.Reader
	Stdout io.Writer
	// Shared is what the components have in common; nil shares nothing. Two stages that
	// keep their answers in the same file need the same one.
	Shared *Shared
	// Shape is what is known of the records that reach the component.
	Shape Shape
}

// Log returns the logger, never nil.
func (e Env) Log() *slog.Logger {
	if e.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Logger
}

// Lookup returns the value of an environment variable, "" if it is not set.
func (e Env) Lookup(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

// Spec describes a component: what YAML, the reference and the engine know of it.
// Make one with [SourceSpec], [StageSpec] or [SinkSpec].
type Spec struct {
	Kind Kind
	// Name is the component's key in YAML.
	Name string
	// Summary is one line: what it does.
	Summary string
	// Code is the text of the component's own Go file (go:embed). The comments on
	// the fields of its config struct are the reference.
	Code string
	// MoreCode are the texts of further Go files, where types of the config are
	// declared elsewhere.
	MoreCode []string
	// Example is YAML that shows it: the value of one entry of a pipeline.
	Example string
	// Workload is for stages.
	Workload Workload
	// Costs says that what the stage returns cost money or time worth keeping.
	Costs bool
	// Config is the zero value of the config struct, for its type.
	Config any
	// Defaults returns a pointer to a config with every default in its place.
	Defaults func() any
	// New makes the component of a config, which is what Defaults returned, filled
	// in. It does no I/O. The error is [Problems] where a key is to blame.
	New func(config any, env Env) (any, error)
}

// SourceSpec completes the Spec of a source with config C.
func SourceSpec[C any](s Spec, defaults func() C, build func(C, Env) (Source, error)) Spec {
	s.Kind = KindSource
	return typed(s, defaults, func(c C, env Env) (any, error) { return build(c, env) })
}

// StageSpec completes the Spec of a stage with config C.
func StageSpec[C any](s Spec, defaults func() C, build func(C, Env) (Stage, error)) Spec {
	s.Kind = KindStage
	return typed(s, defaults, func(c C, env Env) (any, error) { return build(c, env) })
}

// SinkSpec completes the Spec of a sink with config C.
func SinkSpec[C any](s Spec, defaults func() C, build func(C, Env) (Sink, error)) Spec {
	s.Kind = KindSink
	return typed(s, defaults, func(c C, env Env) (any, error) { return build(c, env) })
}

func typed[C any](s Spec, defaults func() C, build func(C, Env) (any, error)) Spec {
	var zero C
	s.Config = zero
	s.Defaults = func() any { c := defaults(); return &c }
	s.New = func(config any, env Env) (any, error) {
		c, ok := config.(*C)
		if !ok {
			return nil, fmt.Errorf("%s %s: config is %T, want %T", s.Kind, s.Name, config, c)
		}
		return build(*c, env)
	}
	return s
}

// Registry is a set of Specs, by kind and name. The zero Registry is empty and
// ready to use; it is not safe for concurrent changes.
type Registry struct {
	specs map[Kind]map[string]Spec
}

// Register adds components. A name that is taken is an error.
func (r *Registry) Register(specs ...Spec) error {
	if r.specs == nil {
		r.specs = map[Kind]map[string]Spec{}
	}
	for _, s := range specs {
		if _, taken := r.specs[s.Kind][s.Name]; taken {
			return fmt.Errorf("%s %q is registered twice", s.Kind, s.Name)
		}
		if r.specs[s.Kind] == nil {
			r.specs[s.Kind] = map[string]Spec{}
		}
		r.specs[s.Kind][s.Name] = s
	}
	return nil
}

// Lookup returns the component of that kind and name.
func (r *Registry) Lookup(kind Kind, name string) (Spec, bool) {
	s, ok := r.specs[kind][name]
	return s, ok
}

// Names returns the names of a kind, sorted.
func (r *Registry) Names(kind Kind) []string {
	return slices.Sorted(maps.Keys(r.specs[kind]))
}
