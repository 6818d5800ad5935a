package load

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// piece is a part of a scalar's text and where it was written.
type piece struct {
	at      int // in the text, bytes
	written int // in the text before the substitution
	copied  bool
}

// variable matches what may stand for the environment: the escape $${, a complete
// ${NAME} or ${NAME:-default}, and a ${ that is neither.
var variable = regexp.MustCompile(`\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{`)

// substitute puts the environment into the string leaves below n.
func (l *loader) substitute(n *node, path string) {
	switch n.kind {
	case yaml.MappingNode:
		for _, e := range n.entries {
			l.substitute(e.value, join(path, e.key.text))
		}
	case yaml.SequenceNode:
		for i, item := range n.items {
			l.substitute(item, path+"["+strconv.Itoa(i)+"]")
		}
	default:
		if !n.bad && n.tag == "!!str" && strings.Contains(n.text, "${") && n.written == "" {
			l.substituteText(n, path)
		}
	}
}

func (l *loader) substituteText(n *node, path string) {
	var out strings.Builder
	n.written = n.text
	copied := 0
	keep := func(end int) {
		if end > copied {
			n.pieces = append(n.pieces, piece{at: out.Len(), written: copied, copied: true})
			out.WriteString(n.written[copied:end])
		}
	}
	for _, m := range variable.FindAllStringSubmatchIndex(n.written, -1) {
		keep(m[0])
		copied = m[1]
		n.pieces = append(n.pieces, piece{at: out.Len(), written: m[0]})
		switch {
		case n.written[m[0]:m[1]] == "$${":
			out.WriteString("${")
		case m[2] < 0:
			l.at(l.placeWritten(n, n.written, m[0]), path, "this ${ is not of the form ${NAME} or ${NAME:-default}; write $${ to mean it as it stands")
			n.bad = true
		default:
			out.WriteString(l.variable(n, m, path))
			n.whole = m[0] == 0 && m[1] == len(n.written)
		}
	}
	keep(len(n.written))
	n.text = out.String()
}

// variable returns the value of the variable that m matched in n.
func (l *loader) variable(n *node, m []int, path string) string {
	name := n.written[m[2]:m[3]]
	if value := l.o.Env.Lookup(name); value != "" {
		if !utf8.ValidString(value) {
			l.at(l.placeWritten(n, n.written, m[0]), path, "the environment variable %s does not hold UTF-8 text", name)
			n.bad = true
		}
		l.secrets = append(l.secrets, secret{value: value, shown: "${" + name + "}"})
		return value
	}
	if m[4] >= 0 {
		return n.written[m[6]:m[7]]
	}
	l.at(l.placeWritten(n, n.written, m[0]), path, "the environment variable %s is not set; set it, or write ${%s:-default}", name, name)
	n.bad = true
	return ""
}

// secret is a text from the environment that no message repeats.
type secret struct{ value, shown string }

// leastSecret is the length below which a value from the environment may be
// repeated: hiding a "1" would make a message unreadable and keep no secret.
const leastSecret = 6

// redact puts the names of variables in place of their values.
func (l *loader) redact(message string) string {
	for _, s := range l.secrets {
		if len(s.value) < leastSecret {
			continue
		}
		message = strings.ReplaceAll(message, s.value, s.shown)
		quoted := strconv.Quote(s.value)
		message = strings.ReplaceAll(message, quoted[1:len(quoted)-1], s.shown)
	}
	return message
}
