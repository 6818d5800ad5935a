package load_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline/load"
)

var update = flag.Bool("update", false, "write the mistakes that are found into testdata/mistakes.txt")

// badCase is a case of testdata/mistakes.txt:
//
//	=== its name
//	YAML
//	~~~
//	the mistakes, one a line
type badCase struct{ name, src, want string }

func badCases(t testing.TB) []badCase {
	t.Helper()
	all, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []badCase
	for _, text := range strings.Split(string(all), "=== ")[1:] {
		name, rest, _ := strings.Cut(text, "\n")
		src, want, found := strings.Cut("\n"+rest, "\n~~~\n")
		if !found {
			t.Fatalf("case %q has no ~~~", name)
		}
		src = strings.TrimPrefix(src, "\n")
		cases = append(cases, badCase{name, strings.ReplaceAll(src, "␉", "\t"), strings.TrimSpace(want)})
	}
	return cases
}

// TestMistakes holds every kind of mistake to its exact place, path and words.
func TestMistakes(t *testing.T) {
	t.Parallel()
	var rewritten strings.Builder
	for _, c := range badCases(t) {
		o := options(t, map[string]string{"MODEL": "gpt-4.1", "EMPTY": "", "NUMBER": "12", "KEY": "sk-secret-value"})
		_, err := load.Bytes("bad.yaml", []byte(c.src), o)
		got := ""
		var mistakes load.Mistakes
		if errors.As(err, &mistakes) {
			got = mistakes.Error()
		}
		rewritten.WriteString("=== " + c.name + "\n" + strings.ReplaceAll(c.src, "\t", "␉") + "\n~~~\n" + got + "\n")
		t.Run(c.name, func(t *testing.T) {
			if got == "" {
				t.Fatal("no mistake was found")
			}
			if got != c.want && !*update {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/mistakes.txt", []byte(rewritten.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTenMistakesAreTen(t *testing.T) {
	t.Parallel()
	for _, c := range badCases(t) {
		if c.name == "ten mistakes" {
			if n := strings.Count(c.want, "\n") + 1; n != 10 {
				t.Errorf("the case has %d mistakes, want 10", n)
			}
			return
		}
	}
	t.Error("there is no case of ten mistakes")
}
