package builtin_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/load"
)

func registry(t *testing.T) *pipeline.Registry {
	t.Helper()
	r, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eachSpec runs a subtest for every built-in component.
func eachSpec(t *testing.T, check func(t *testing.T, s pipeline.Spec)) {
	t.Helper()
	for _, s := range builtin.Specs() {
		t.Run(string(s.Kind)+" "+s.Name, func(t *testing.T) {
			t.Parallel()
			check(t, s)
		})
	}
}

func TestSpecsAreComplete(t *testing.T) {
	t.Parallel()
	eachSpec(t, func(t *testing.T, s pipeline.Spec) {
		if s.Name == "" || s.Summary == "" || s.Code == "" || s.Example == "" || s.Defaults == nil || s.New == nil {
			t.Errorf("the Spec lacks something: name %q, summary %q, %d bytes of code, example %q", s.Name, s.Summary, len(s.Code), s.Example)
		}
		if strings.HasSuffix(s.Summary, ".") || strings.Contains(s.Summary, "\n") {
			t.Errorf("the summary is not one line without a full stop: %q", s.Summary)
		}
		if !strings.Contains(s.Code, "Spec() pipeline.Spec {") {
			t.Error("the code is not that of the component's own file")
		}
	})
}

// TestEverySpecIsListed fails for a component that was written and forgotten here.
func TestEverySpecIsListed(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("builtin.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // of the packages in the list, by their folder
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+ )?"github\.com/rowmill/rowmill/(\S+)"$`).FindAllStringSubmatch(string(list), -1) {
		names[m[2]] = cmp.Or(strings.TrimSpace(m[1]), path.Base(m[2]))
	}
	declared := regexp.MustCompile(`(?m)^func (\w*Spec)\(\) pipeline\.Spec \{`)
	found := 0
	for _, house := range []string{"sources", "stages", "sinks"} {
		err := filepath.WalkDir(filepath.Join("../..", house), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
				return err
			}
			code, err := os.ReadFile(file)
			for _, m := range declared.FindAllSubmatch(code, -1) {
				found++
				folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), "../../")
				if call := "\t" + names[folder] + "." + string(m[1]) + "(),"; !bytes.Contains(list, []byte(call)) {
					t.Errorf("%s of %s is not in the list of built-in components", m[1], folder)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found != len(builtin.Specs()) {
		t.Errorf("%d Specs are declared, %d are listed", found, len(builtin.Specs()))
	}
}

// TestEveryKeyIsDocumented fails for a key of a built-in component that has no
// comment: the comment is the reference.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	reg := registry(t)
	eachSpec(t, func(t *testing.T, s pipeline.Spec) {
		d, err := load.Reference(reg, s.Kind, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		var check func(path string, keys []load.KeyDoc)
		check = func(path string, keys []load.KeyDoc) {
			for _, k := range keys {
				at := path + k.Name
				if k.Meaning == "" || !strings.HasSuffix(k.Meaning, ".") {
					t.Errorf("%s: the comment is %q; it must say what the key means, in sentences", at, k.Meaning)
				}
				if k.Required || len(k.Keys) > 0 {
					check(at+".", k.Keys)
					continue
				}
				if !strings.Contains(k.Meaning, "Defaults to ") && !strings.Contains(k.Meaning, "equired") {
					t.Errorf("%s: the comment does not say what it defaults to: %q", at, k.Meaning)
				}
				if k.Default != "" && !strings.Contains(k.Meaning, "Defaults to "+k.Default) {
					t.Errorf("%s: the default is %s, but the comment says: %q", at, k.Default, k.Meaning)
				}
			}
		}
		check("", d.Keys)
	})
}

// TestEveryFieldHasATag fails for a field of a config that YAML could not reach,
// and for one whose type or tag the loader would not understand.
func TestEveryFieldHasATag(t *testing.T) {
	t.Parallel()
	eachSpec(t, func(t *testing.T, s pipeline.Spec) {
		config := reflect.TypeOf(s.Config)
		if config.Kind() != reflect.Struct {
			t.Fatalf("the config is %v, want a struct", config)
		}
		checkStruct(t, config)
	})
}

func checkStruct(t *testing.T, s reflect.Type) {
	t.Helper()
	seen := map[string]bool{}
	for i := range s.NumField() {
		f := s.Field(i)
		if f.Anonymous {
			checkStruct(t, f.Type)
			continue
		}
		name := f.Tag.Get("yaml")
		switch {
		case name == "-" || !f.IsExported() && name == "":
			continue
		case name == "" || name != strings.ToLower(name) || strings.ContainsAny(name, " -,"):
			t.Errorf("%v.%s has the YAML name %q, want one in snake_case", s, f.Name, name)
		case !f.IsExported():
			t.Errorf("%v.%s has a YAML name, but is not exported", s, f.Name)
		case seen[name]:
			t.Errorf("%v has the key %q twice", s, name)
		}
		seen[name] = true
		checkTag(t, s, f)
		checkType(t, fmt.Sprintf("%v.%s", s, f.Name), f.Type)
	}
}

func checkTag(t *testing.T, s reflect.Type, f reflect.StructField) {
	t.Helper()
	tag, ok := f.Tag.Lookup("rowmill")
	if !ok {
		return
	}
	for _, part := range strings.Split(tag, ",") {
		name, value, hasValue := strings.Cut(part, "=")
		plain := slices.Contains([]string{"required", "tuning", "expr", "template"}, name) && !hasValue
		valued := slices.Contains([]string{"oneof", "min", "max"}, name) && value != ""
		if !plain && !valued {
			t.Errorf("%v.%s has the tag %q, of which %q means nothing", s, f.Name, tag, part)
		}
	}
}

// checkType fails for a type that the loader cannot fill in.
func checkType(t *testing.T, name string, v reflect.Type) {
	t.Helper()
	text := reflect.TypeFor[encoding.TextUnmarshaler]()
	switch {
	case v == reflect.TypeFor[pipeline.Value](), v == reflect.TypeFor[pipeline.Pairs](), v == reflect.TypeFor[any](),
		reflect.PointerTo(v).Implements(text):
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice:
		checkType(t, name, v.Elem())
	case reflect.Map:
		if v.Key().Kind() != reflect.String {
			t.Errorf("%s has keys of type %v", name, v.Key())
		}
		checkType(t, name, v.Elem())
	case reflect.Struct:
		checkStruct(t, v)
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	default:
		t.Errorf("%s has the type %v, which YAML cannot fill in", name, v)
	}
}

// anything is a source of which nothing is known, and a sink that takes it.
type anything struct{}

func (anything) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(func(*pipeline.Record, error) bool) {}
}
func (anything) Write(context.Context, []*pipeline.Record) error   { return nil }
func (anything) Commit(context.Context) (pipeline.Position, error) { return "", nil }
func (anything) Close(context.Context) error                       { return nil }

// TestExamplesLoad loads the example of every component as an entry of a pipeline.
func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	reg := registry(t)
	none := func() struct{} { return struct{}{} }
	if err := reg.Register(
		pipeline.SourceSpec(pipeline.Spec{Name: "anything"}, none, func(struct{}, pipeline.Env) (pipeline.Source, error) { return anything{}, nil }),
		pipeline.SinkSpec(pipeline.Spec{Name: "anything"}, none, func(struct{}, pipeline.Env) (pipeline.Sink, error) { return anything{}, nil }),
	); err != nil {
		t.Fatal(err)
	}
	eachSpec(t, func(t *testing.T, s pipeline.Spec) {
		source, stages, sink := "{anything: {}}", "[]", "{anything: {}}"
		indented := "\n" + indent(s.Example)
		switch s.Kind {
		case pipeline.KindSource:
			source = indented
		case pipeline.KindStage:
			stages = "\n  - " + strings.TrimPrefix(indented, "\n    ")
		default:
			sink = indented
		}
		src := fmt.Sprintf("source: %s\nstages: %s\nsink: %s\n", source, stages, sink)
		_, err := load.Bytes("example.yaml", []byte(src), load.Options{
			Registry: reg,
			Env: pipeline.Env{
				Getenv: func(name string) string { return "value-of-" + name },
				Stdin:  strings.NewReader(""), Stdout: new(bytes.Buffer),
			},
			Warn: func(m load.Mistake) { t.Errorf("the example has a warning: %v", m) },
		})
		if err != nil {
			t.Errorf("%v\nin\n%s", err, src)
		}
	})
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return strings.TrimRight(b.String(), "\n ")
}
