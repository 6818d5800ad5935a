package house_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestWrongTypesDoNotCompile: whoever sends a value of another type into a pipeline than
// it was made for learns it from the compiler.
func TestWrongTypesDoNotCompile(t *testing.T) {
	t.Parallel()
	const file = "testdata/wrongtypes/wrong.go"
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for i, line := range strings.Split(string(code), "\n") {
		if strings.HasSuffix(line, "// wrong") {
			want = append(want, i+1)
		}
	}
	said, err := exec.Command("go", "build", "-gcflags=-e", "./testdata/wrongtypes").CombinedOutput()
	if err == nil {
		t.Fatal("it compiles")
	}
	var got []int
	for _, place := range regexp.MustCompile(`(?m)^\S*wrong\.go:(\d+):\d+: `).FindAllSubmatch(said, -1) {
		line, err := strconv.Atoi(string(place[1]))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	slices.Sort(got)
	if got = slices.Compact(got); len(want) < 10 || !slices.Equal(got, want) {
		t.Errorf("lines %v do not compile, want %v:\n%s", got, want, said)
	}
}
