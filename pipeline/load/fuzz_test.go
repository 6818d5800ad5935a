package load_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline/load"
)

// FuzzLoad: whatever the file says, loading returns, and every mistake has a place
// in the file or names its override.
func FuzzLoad(f *testing.F) {
	for _, c := range badCases(f) {
		f.Add(c.src, "stages[0].llm.model=x")
	}
	f.Add("source: {values: {rows: [1]}}\nsink: {discard: {}}\n", "name=x")
	f.Add("a: &a\n  <<: *a\n", "a.a=1")
	f.Add("? ? a\n", `a["b"].c[1]={`)
	f.Add("source: {values: {rows: |\n ${A}\n}}", "stages.a=${B}")
	f.Add("- - - -\r\u0085\u2028x: \"\\u2028 ${\"", "=")
	o := options(f, map[string]string{"A": "a value", "N": "5"})
	f.Fuzz(func(t *testing.T, src, set string) {
		o := o
		o.Set = []string{set}
		o.Warn = func(m load.Mistake) { checkPlace(t, src, m) }
		_, err := load.Bytes("fuzz.yaml", []byte(src), o)
		if err == nil {
			return
		}
		var mistakes load.Mistakes
		if !errors.As(err, &mistakes) || len(mistakes) == 0 {
			t.Fatalf("the error is %T: %v", err, err)
		}
		for _, m := range mistakes {
			checkPlace(t, src, m)
		}
	})
}

func checkPlace(t *testing.T, src string, m load.Mistake) {
	t.Helper()
	lines := 1 + strings.Count(src, "\n")
	for _, other := range []string{"\r", "\u0085", "\u2028", "\u2029"} {
		lines += strings.Count(src, other)
	}
	switch {
	case m.Message == "" || strings.ContainsAny(m.Message, "\n\r"):
		t.Errorf("the message is %q", m.Message)
	case strings.HasPrefix(m.File, "--set "):
		if m.Line != 0 || m.Column != 0 {
			t.Errorf("an override has the place %d:%d", m.Line, m.Column)
		}
	case m.File != "fuzz.yaml" || m.Line < 1 || m.Column < 1 || m.Line > lines || m.Column > len(src)+2:
		t.Errorf("%v has no place in %q", m, src)
	}
}
