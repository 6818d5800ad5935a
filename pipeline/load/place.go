package load

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// placeIn returns the place of the byte at offset of a scalar's text; 0 is the
// scalar as a whole.
func (l *loader) placeIn(n *node, offset int) place {
	if offset <= 0 || n.kind != yaml.ScalarNode {
		return n.place
	}
	if n.written != "" {
		return l.placeWritten(n, n.written, n.writtenAt(offset))
	}
	return l.placeWritten(n, n.text, offset)
}

// placeWritten returns the place of the byte at offset of text, which is what
// the YAML of the scalar n says. Folding, escapes and indentation lie between it
// and the file, but none of them makes or eats a visible character: the place is
// that of the visible character with the same number.
func (l *loader) placeWritten(n *node, text string, offset int) place {
	if n.override != "" || offset <= 0 {
		return n.place
	}
	offset = min(max(offset, 0), len(text))
	visible, spaces := 0, 0
	for _, r := range text[:offset] {
		if unicode.IsSpace(r) {
			spaces++
		} else {
			visible, spaces = visible+1, 0
		}
	}
	atSpace := offset == len(text)
	if !atSpace {
		r, _ := utf8.DecodeRuneInString(text[offset:])
		atSpace = unicode.IsSpace(r)
	}
	s := l.scan(n)
	for range visible {
		s.next()
	}
	if atSpace { // behind the last visible character
		return place{line: s.line, column: s.column + spaces}
	}
	s.skipSpace()
	return place{line: s.line, column: s.column}
}

// writtenAt returns where the byte at offset of the text was written, in the text
// before the substitution.
func (n *node) writtenAt(offset int) int {
	for i := len(n.pieces) - 1; i >= 0; i-- {
		if p := n.pieces[i]; p.at <= offset {
			if p.copied {
				return p.written + offset - p.at
			}
			return p.written
		}
	}
	return 0
}

// scan returns a scanner at the beginning of a scalar's text.
func (l *loader) scan(n *node) *scanner {
	s := &scanner{lines: l.lines, line: n.line, column: n.column, style: n.style &^ yaml.TaggedStyle}
	s.skipProperties()
	switch s.style {
	case yaml.LiteralStyle, yaml.FoldedStyle: // the text begins below "|" or ">"
		s.line, s.column = s.line+1, 1
		s.skipSpace()
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		s.column++
	}
	return s
}

// scanner goes through the visible characters of a scalar in the file.
type scanner struct {
	lines        []string
	line, column int
	style        yaml.Style
}

func (s *scanner) rest() string {
	if s.line < 1 || s.line > len(s.lines) {
		return ""
	}
	text := strings.TrimRight(s.lines[s.line-1], lineBreaks)
	for i := 1; i < s.column && text != ""; i++ {
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return text
}

// skipProperties goes past the tag and the anchor in front of a scalar.
func (s *scanner) skipProperties() {
	for {
		rest := s.rest()
		if !strings.HasPrefix(rest, "!") && !strings.HasPrefix(rest, "&") {
			return
		}
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		s.column += utf8.RuneCountInString(rest[:end])
		s.skipSpace()
	}
}

// skipSpace goes to the next visible character, over the ends of lines too.
func (s *scanner) skipSpace() {
	for s.line <= len(s.lines) {
		rest := s.rest()
		if size := s.space(rest); size > 0 {
			s.column += utf8.RuneCountInString(rest[:size])
			continue
		}
		if rest != "" && !(s.style == yaml.DoubleQuotedStyle && rest == `\`) {
			return
		}
		if s.line == len(s.lines) {
			return
		}
		s.line, s.column = s.line+1, 1
	}
}

// space returns the length of the white space that rest begins with; in double
// quotes "\n" is some.
func (s *scanner) space(rest string) int {
	if rest == "" {
		return 0
	}
	if s.style == yaml.DoubleQuotedStyle && rest[0] == '\\' && len(rest) > 1 && strings.IndexByte("ntrvf N_LP\t", rest[1]) >= 0 {
		return 2
	}
	if r, size := utf8.DecodeRuneInString(rest); unicode.IsSpace(r) {
		return size
	}
	return 0
}

// next goes past the next visible character.
func (s *scanner) next() {
	s.skipSpace()
	rest := s.rest()
	switch {
	case rest == "":
	case s.style == yaml.SingleQuotedStyle && strings.HasPrefix(rest, "''"):
		s.column += 2
	case s.style == yaml.DoubleQuotedStyle && rest[0] == '\\' && len(rest) > 1:
		s.column += min(2+map[byte]int{'x': 2, 'u': 4, 'U': 8}[rest[1]], utf8.RuneCountInString(rest))
	default:
		s.column++
	}
}
