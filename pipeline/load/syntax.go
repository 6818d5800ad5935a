package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parseYAML returns the documents of a YAML text, at most two: more than one is a
// mistake anyway. A panic of the parser is an error like any other.
func parseYAML(src io.Reader) (docs []*yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	d := yaml.NewDecoder(src)
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
	docs, err := parseYAML(bytes.NewReader(src))
	switch {
	case err != nil:
		line, column := l.whereSyntax(err)
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

// whereSyntax finds the place of a syntax error: the line in yaml.v3's own message
// is that of the surrounding construct, one too low, or missing.
func (l *loader) whereSyntax(err error) (line, column int) {
	if line, column = findBroken(l.lines); !strings.Contains(err.Error(), "unknown anchor") {
		return line, column
	}
	for at := line; at <= len(l.lines); at++ {
		for _, m := range aliasName.FindAllStringSubmatchIndex(l.line(at), -1) {
			if text := l.line(at); strings.Contains(err.Error(), "'"+text[m[2]:m[3]]+"'") {
				return at, utf8.RuneCountInString(text[:m[0]]) + 1
			}
		}
	}
	return line, column
}

var aliasName = regexp.MustCompile(`\*([^\s,\[\]{}]+)`)

// mostReparsed bounds the bytes that are parsed again, one step at a time, to find
// the place of a mistake.
const mostReparsed = 4 << 20

// findBroken returns the place behind which a text is not YAML any more. It is sound
// up to there and broken from there on; so the place is behind the longest sound
// beginning, first by line, then by character. Beginnings are tried from the end,
// because an open bracket or quote further up makes some of them broken too.
func findBroken(lines []string) (line, column int) {
	text := strings.Join(lines, "")
	cuts := []int{0}
	for _, line := range lines {
		cuts = append(cuts, cuts[len(cuts)-1]+len(line))
	}
	if read := readUntilError(text); read < len(text) { // it is broken before that
		cuts = cuts[:1+slices.IndexFunc(cuts, func(cut int) bool { return cut >= read })]
	}
	line = lastSound(text, cuts) + 1
	if line > len(lines) {
		return len(lines), 1
	}
	begin := cuts[line-1]
	cuts = nil
	for i := range strings.TrimRight(lines[line-1], lineBreaks) {
		cuts = append(cuts, begin+i)
	}
	return line, max(lastSound(text, cuts), 0) + 1
}

// lastSound returns the index of the longest beginning of text that is sound, 0 if
// none is.
func lastSound(text string, cuts []int) int {
	sound := func(i int) bool {
		_, err := parseYAML(strings.NewReader(text[:cuts[i]]))
		return err == nil
	}
	i := len(cuts) - 1
	for reparsed := 0; i > 0 && reparsed < mostReparsed; i-- {
		if sound(i) {
			return i
		}
		reparsed += cuts[i]
	}
	return max(0, sort.Search(i, func(n int) bool { return !sound(n + 1) })) // near enough
}

// readUntilError returns how many bytes the parser reads until it fails.
func readUntilError(text string) int {
	r := &byteReader{text: text}
	_, _ = parseYAML(r)
	return r.read
}

// byteReader hands out a byte at a time, so that nothing is read ahead.
type byteReader struct {
	text string
	read int
}

func (r *byteReader) Read(p []byte) (int, error) {
	if r.read == len(r.text) || len(p) == 0 {
		return 0, io.EOF
	}
	p[0] = r.text[r.read]
	r.read++
	return 1, nil
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntaxReason puts yaml.v3's words beside what usually is behind them.
func syntaxReason(err error, line string, column int) string {
	reason := yamlLine.ReplaceAllString(err.Error(), "")
	reason = "invalid YAML: " + strings.TrimPrefix(reason, "yaml: ")
	before, behind := line, ""
	if runes := []rune(line); column-1 <= len(runes) {
		before, behind = string(runes[:column-1]), string(runes[column-1:])
	}
	switch indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; {
	case strings.Contains(indent, "\t"):
		return reason + "; YAML is indented with spaces, never with tabs"
	case unquotedTemplate.MatchString(line):
		return reason + `; a value that begins with {{ must be quoted: "{{.text}}"`
	case strings.Contains(reason, "mapping values are not allowed") && strings.Contains(before, ": "):
		return reason + `; a text that holds ": " must be quoted`
	case before == indent && strings.Contains(reason, "'-' indicator"):
		return reason + `; what belongs to a list entry is indented deeper than its "-"`
	case before == indent && strings.Contains(reason, "expected key"):
		return reason + "; no line above has this indentation: line it up with the keys that it stands beside"
	case strings.HasPrefix(behind, "{"), strings.HasPrefix(behind, "["):
		return reason + "; the " + behind[:1] + " here is not closed, or a comma is missing in it"
	case strings.HasPrefix(behind, `"`), strings.HasPrefix(behind, "'"):
		return reason + "; the quote that begins here is not closed"
	case strings.HasSuffix(strings.TrimSpace(before), `"`), strings.HasSuffix(strings.TrimSpace(before), "'"):
		return reason + "; nothing may stand behind a quoted text: quote all of it"
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
