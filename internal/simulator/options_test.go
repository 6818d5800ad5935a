package simulator

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		o    Options
		keys []string
	}{
		{"zero", Options{}, nil},
		{"defaults", Defaults(), nil},
		{"every transient fault", Options{Faults: Transient(0.03)}, nil},
		{"all of ten tenths", Options{Faults: Faults{
			RateLimit: .1, Error500: .1, Overloaded: .1, Reset: .1, CutBody: .1, HTML: .1, Hang: .1, Trickle: .1, Quota: .1, Length: .1,
		}}, nil},
		{
			"negative numbers",
			Options{Latency: -1, RequestsPerMinute: -1, TokensPerMinute: -1, LimitWindow: -1, MaxContext: -1, QuotaAfter: -1, RetryAfter: -1, Remember: -1},
			[]string{"latency", "requests_per_minute", "tokens_per_minute", "limit_window", "max_context", "quota_after", "retry_after", "remember"},
		},
		{"spread", Options{LatencySpread: math.NaN()}, []string{"latency_spread"}},
		{"dialect", Options{Dialect: "gemini"}, []string{"dialect"}},
		{"shares", Options{Faults: Faults{Reset: -0.5, HTML: 0.25, Hang: 1.25}}, []string{"faults.reset", "faults.hang"}},
		{"not a number", Options{Faults: Faults{Reset: pipeline.Share(math.NaN())}}, []string{"faults.reset", "faults"}},
		{"sum", Options{Faults: Transient(0.09)}, []string{"faults"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var problems pipeline.Problems
			err := tc.o.Validate()
			if err != nil && !errors.As(err, &problems) {
				t.Fatalf("got a %T, want pipeline.Problems", err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.Key)
			}
			if !reflect.DeepEqual(got, tc.keys) {
				t.Errorf("got mistakes at %v, want at %v\n%v", got, tc.keys, err)
			}
		})
	}
}

// A fault that is missing from the list would be taken and never happen.
func TestEveryFaultIsDrawn(t *testing.T) {
	t.Parallel()
	typ := reflect.TypeFor[Faults]()
	listed := map[string]bool{}
	for _, f := range (Faults{}).fates() {
		listed[f.name] = true
	}
	for i := range typ.NumField() {
		var f Faults
		reflect.ValueOf(&f).Elem().Field(i).SetFloat(1)
		name := typ.Field(i).Tag.Get("yaml")
		if !listed[name] {
			t.Errorf("fault %q is not in the list", name)
		}
		if got := draw(f.fates(), newDice(1, 2, forFate, 3)); got != name {
			t.Errorf("with %s at 100%% got %q", name, got)
		}
	}
}

func TestTransient(t *testing.T) {
	t.Parallel()
	lasting := map[string]bool{faultSlow: true, faultQuota: true, faultUnauthorized: true, faultLength: true, faultContentFilter: true, faultRefusal: true}
	for _, f := range Transient(0.03).fates() {
		if want := !lasting[f.name]; (f.share == 0.03) != want {
			t.Errorf("%s: got a share of %v, want it to be set: %v", f.name, f.share, want)
		}
	}
}

// The comments on the fields are the reference.
func TestEveryFieldIsDocumented(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", Code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		if !ok || f.Tag == nil {
			return true
		}
		fields++
		if !strings.Contains(f.Tag.Value, `yaml:"`) {
			t.Errorf("%s has no name in YAML", f.Names[0])
		}
		if doc := strings.Join(strings.Fields(f.Doc.Text()), " "); !strings.Contains(doc, "Defaults to ") {
			t.Errorf("%s: the comment does not say what it defaults to: %s", f.Names[0], doc)
		}
		return true
	})
	if want := reflect.TypeFor[Options]().NumField() + reflect.TypeFor[Faults]().NumField(); fields != want {
		t.Errorf("got %d fields with a tag, want %d", fields, want)
	}
}
