package load

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Mistake is one thing that is wrong in a pipeline's YAML, and where.
type Mistake struct {
	// File is the name of the file, or "--set path" for an override.
	File string
	// Line and Column count from 1, the column in characters; both are 0 for an
	// override.
	Line, Column int
	// Component is the component in whose configuration it is: "llm"; "" outside.
	Component string
	// Key is the path of the key: "stages[1].llm.model". Empty for the whole file.
	Key string
	// Message is what is wrong and what to do about it.
	Message string
	// Suggestion is the word that was probably meant; "" if none is near.
	Suggestion string
}

// Error returns `file:line:col: path.of.key: what is wrong; did you mean "x"?`.
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		b.WriteString(":" + strconv.Itoa(m.Line) + ":" + strconv.Itoa(m.Column))
	}
	b.WriteString(": ")
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.Message)
	if m.Suggestion != "" {
		b.WriteString("; did you mean " + strconv.Quote(m.Suggestion) + "?")
	}
	return b.String()
}

// Mistakes are all mistakes of a file, in the order of their places.
type Mistakes []Mistake

// Error lists the mistakes, one a line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, one := range m {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sort() {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(
			cmp.Compare(min(a.Line, 1), min(b.Line, 1)), // overrides have no line
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
		)
	})
}

// nearest returns the candidate that word is a slip of, or "". Case, "-" and "_"
// do not count: maxTokens is as near to max_tokens as can be.
func nearest(word string, candidates []string) string {
	plain := plainWord(word)
	best, least := "", 1+max(1, min(3, len([]rune(plain))/3))
	for _, c := range candidates {
		if d := distance([]rune(plain), []rune(plainWord(c))); d < least {
			best, least = c, d
		}
	}
	return best
}

func plainWord(s string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
}

// distance is the number of characters to insert, remove, replace or swap with
// their neighbour to make b of a (optimal string alignment).
func distance(a, b []rune) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	older, old := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old = old, row
	}
	return old[len(b)]
}
