package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parseYAML returns the documents of a YAML text, at most two: more than one is a
// mistake anyway. A panic of the parser is an error like any other.
func parseYAML(src []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(src))
	for len(docs) < 2 {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return docs, err
		}
		docs = append(docs, &n)
	}
	return docs, nil
}

// document returns the one document of the source, or nil after noting why there
// is none.
func (l *loader) document(src []byte) *yaml.Node {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	l.lines = splitLines(string(src))
	if line, column, ok := badText(l.lines); ok {
		l.at(place{line: line, column: column}, "", "not a character that YAML can hold; the file must be UTF-8 text")
		return nil
	}
	docs, err := parseYAML(src)
	switch {
	case err != nil:
		line, column := whereSyntax(l.lines, err)
		l.at(place{line: line, column: column}, "", "%s", syntaxReason(err, l.line(line), column))
		return nil
	case len(docs) == 0 || len(docs[0].Content) == 0:
		l.at(place{line: 1, column: 1}, "", "the file is empty; a pipeline needs at least a source and a sink")
		return nil
	case len(docs) > 1:
		l.at(place{line: docs[1].Line, column: docs[1].Column}, "", "a second document begins here; a file holds one pipeline")
	}
	return docs[0].Content[0]
}

// splitLines cuts a text behind every line break that YAML knows.
func splitLines(text string) []string {
	var lines []string
	for text != "" {
		end := strings.IndexAny(text, lineBreaks)
		if end < 0 {
			return append(lines, text)
		}
		_, size := utf8.DecodeRuneInString(text[end:])
		if strings.HasPrefix(text[end:], "\r\n") {
			size = 2
		}
		lines, text = append(lines, text[:end+size]), text[end+size:]
	}
	return append(lines, "")
}

const lineBreaks = "\n\r\u0085\u2028\u2029"

// badText finds the first character that YAML refuses: control characters and
// bytes that are not UTF-8.
func badText(lines []string) (line, column int, found bool) {
	for i, text := range lines {
		column := 0
		for rest := text; rest != ""; {
			r, size := utf8.DecodeRuneInString(rest)
			rest = rest[size:]
			column++
			control := r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85
			if control || r == 0xfffe || r == 0xffff || r == utf8.RuneError && size == 1 {
				return i + 1, column, true
			}
		}
	}
	return 0, 0, false
}

// mostReparsed bounds the bytes that are parsed again to find a mistake's place.
const mostReparsed = 32 << 20

// whereSyntax finds the place of a syntax error. The line in yaml.v3's own
// message is that of the surrounding construct, one too low or missing. The text
// is sound up to somewhere and broken from there on, so: the place is behind the
// longest sound beginning, first by line, then by character.
func whereSyntax(lines []string, err error) (line, column int) {
	text, reparsed := strings.Join(lines, ""), 0
	sound := func(end int) bool {
		reparsed += end
		_, err := parseYAML([]byte(text[:end]))
		return err == nil
	}
	end := len(text)
	for line = len(lines); line > 1; line-- {
		if end -= len(lines[line-1]); sound(end) {
			break
		}
		if reparsed > mostReparsed {
			return hintedLine(err), 1
		}
	}
	if line <= 1 {
		line, end = 1, 0
	}
	broken := []rune(strings.TrimRight(lines[line-1], lineBreaks))
	for column = len(broken); column > 1; column-- {
		if sound(end + len(string(broken[:column-1]))) {
			return line, column
		}
		if reparsed > mostReparsed {
			break
		}
	}
	return line, 1
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// hintedLine is the line in yaml.v3's message, 1 if there is none.
func hintedLine(err error) int {
	line := 1
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		_, _ = fmt.Sscan(m[1], &line)
	}
	return max(line, 1)
}

// syntaxReason puts yaml.v3's words beside what usually is behind them.
func syntaxReason(err error, line string, column int) string {
	reason := yamlLine.ReplaceAllString(err.Error(), "")
	reason = "invalid YAML: " + strings.TrimPrefix(reason, "yaml: ")
	before := line
	if runes := []rune(line); column-1 <= len(runes) {
		before = string(runes[:column-1])
	}
	switch indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; {
	case strings.Contains(indent, "\t"):
		return reason + "; YAML is indented with spaces, never with tabs"
	case unquotedTemplate.MatchString(line):
		return reason + `; a value that begins with {{ must be quoted: "{{.text}}"`
	case strings.Contains(reason, "mapping values are not allowed") && strings.Contains(before, ": "):
		return reason + `; a text that holds ": " must be quoted`
	case strings.Contains(reason, "cannot start any token"):
		return reason + "; quote the text"
	default:
		return reason
	}
}

var unquotedTemplate = regexp.MustCompile(`[:\-,\[]\s*\{\{`)

// line returns a line of the source without its end, from 1.
func (l *loader) line(number int) string {
	if number < 1 || number > len(l.lines) {
		return ""
	}
	return strings.TrimRight(l.lines[number-1], lineBreaks)
}
