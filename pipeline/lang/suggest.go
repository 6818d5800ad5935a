package lang

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// errNoField says that a row cannot have the field, and which one may be meant.
func errNoField(name string, shape pipeline.Shape, written func(string) string) error {
	names := shape.Names()
	if near, ok := nearest(name, names); ok {
		return fmt.Errorf("there is no field %q; did you mean %s?", name, written(near))
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no field %q: the rows have no fields here", name)
	}
	if len(names) > 20 {
		names = append(names[:20:20], "…")
	}
	return fmt.Errorf("there is no field %q; the rows have %s", name, strings.Join(names, ", "))
}

// errNoFunction says that there is no such function, and which one may be meant.
func errNoFunction(name string, known []string) error {
	if near, ok := nearest(name, known); ok {
		return fmt.Errorf("there is no function %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("there is no function %q", name)
}

// nearest returns the name that is likely meant: one that differs in case,
// spaces or punctuation only, contains the other as its first word, or is few
// edits away.
func nearest(name string, names []string) (string, bool) {
	best, least := "", 1+min(3, utf8.RuneCountInString(name)/3+1)
	for _, n := range names {
		d := distance(plain(name), plain(n))
		if firstWord(n) == strings.ToLower(name) {
			d = min(d, 1)
		}
		if d < least {
			best, least = n, d
		}
	}
	return best, best != ""
}

// plain returns the letters and digits of a name in lower case.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// firstWord returns what stands before the first space or punctuation.
func firstWord(name string) string {
	word, _, cut := strings.Cut(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' {
			return unicode.ToLower(r)
		}
		return ' '
	}, name), " ")
	if !cut {
		return ""
	}
	return word
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := [3][]int{make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)}
	before, last, row := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

// asSyntax returns err as a SyntaxError at that offset unless it is one already.
func asSyntax(err error, offset int) error {
	var known *SyntaxError
	if errors.As(err, &known) {
		return err
	}
	return &SyntaxError{Offset: offset, Err: err}
}

// CheckField returns an error if no record of that shape can have the field. It
// says which field may be meant.
func CheckField(name string, shape pipeline.Shape) error {
	if shape.MayHave(name) {
		return nil
	}
	return errNoField(name, shape, func(near string) string { return strconv.Quote(near) })
}

// Kind says what a value is, for messages: "null", "a text", "a number", "a
// boolean", "a list" or "an object".
func Kind(v pipeline.Value) string { return kindName(v) }
