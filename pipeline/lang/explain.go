package lang

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/expr-lang/expr/file"

	"github.com/rowmill/rowmill/pipeline"
)

// syntaxError turns an error of expr, which counts in runes, into ours.
func syntaxError(src string, err error) error {
	var known *file.Error
	if !errors.As(err, &known) {
		return asSyntax(err, 0)
	}
	reason := known.Prev
	if reason == nil {
		reason = errors.New(plainTypes(known.Message))
	}
	return &SyntaxError{Offset: byteOffset(src, known.From), Err: reason}
}

func byteOffset(src string, runes int) int {
	for i := range src {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(src)
}

// explainParse adds what to do about a common mistake.
func explainParse(src string, err error) error {
	var known *file.Error
	if !errors.As(err, &known) {
		return err
	}
	message, hint := known.Message, ""
	token := regexp.MustCompile(`unexpected token (\w+)(?:\((".*")\))?`).FindStringSubmatch(message)
	switch {
	case token == nil:
	case token[1] == "EOF":
		return &SyntaxError{Offset: len(src), Err: errors.New("the expression ends too early")}
	default:
		value, _ := strconv.Unquote(token[2])
		message = fmt.Sprintf("unexpected %q", value)
		hint = hintFor(src, known.From, token[1], value)
	}
	return &file.Error{Location: known.Location, Prev: errors.New(message + hint)}
}

func hintFor(src string, from int, kind, value string) string {
	before := strings.TrimRightFunc(src[:byteOffset(src, from)], unicode.IsSpace)
	switch {
	case value == "=":
		return "; to compare, write =="
	case kind == "Identifier" && endsInWord(before):
		name := lastWord(before) + " " + value
		return fmt.Sprintf("; a field whose name has a space is written field(%q)", name)
	case slices.Contains(words(), value):
		return fmt.Sprintf("; if it is the name of a field, write field(%q)", value)
	default:
		return ""
	}
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func endsInWord(s string) bool { return lastWord(s) != "" }

func lastWord(s string) string {
	return s[len(strings.TrimRightFunc(s, isWord)):]
}

func isIdentifier(name string) bool {
	for i, r := range name {
		if !isWord(r) || i == 0 && unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}

// yamlKey returns a name as a key in YAML.
func yamlKey(name string) string {
	if isIdentifier(name) {
		return name
	}
	return strconv.Quote(name)
}

// plainTypes replaces the names of Go types in a message of expr.
func plainTypes(message string) string {
	if m := regexp.MustCompile(`interface conversion: .* is (.+), not (.+)`).FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("%s is no %s", m[1], m[2])
	}
	message = strings.NewReplacer("lang.exactNumber", "number", "map[string]interface {}", "object", "[]interface {}", "list",
		"interface {}", "any", "<nil>", "nil", "pipeline.Value", "value").Replace(message)
	return regexp.MustCompile(`\b(int|float64)\b`).ReplaceAllString(message, "number")
}

// typeName says what a result is, for messages.
func typeName(x any) string {
	switch x := x.(type) {
	case nil:
		return "nil"
	case bool:
		return "a boolean"
	case string:
		return "a text"
	case int, float64, exactNumber:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case pipeline.Value:
		return kindName(x)
	case time.Time:
		return "a date"
	default:
		return fmt.Sprintf("a %T", x)
	}
}

// shorten cuts a long text for a message.
func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
