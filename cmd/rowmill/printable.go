package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable returns s on one line and without what a terminal would obey: rows and
// the answers of servers end up in messages.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', '\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069':
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimRight(s, "\r\n"))
}

// columns is how many columns of a terminal s takes, at most.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// runeColumns takes everything from the Hangul on, but punctuation, for two columns
// wide: too much is a line that is a little shorter than it could be, too little
// one that cannot be cleared.
func runeColumns(r rune) int {
	switch {
	case r < 0x1100, 0x2000 <= r && r < 0x2300:
		return 1
	default:
		return 2
	}
}

// abridged returns the beginning and the end of s, which fit into so many columns: what went
// wrong may stand in either.
func abridged(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	begin := truncated(s, width/2)
	room, end := width-columns(begin), len(s)
	for end > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:end])
		if room -= runeColumns(r); room < 0 {
			break
		}
		end -= size
	}
	return begin + s[end:]
}

// truncated returns as much of s as fits into so many columns.
func truncated(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	n := 1 // the ellipsis
	for i, r := range s {
		if n += runeColumns(r); n > width {
			return s[:i] + "…"
		}
	}
	return s
}
