package simulator

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Answer returns what the simulator answers to messages without response_format,
// max_tokens and stop. See the package comment.
func Answer(seed int64, model string, messages ...Message) string {
	d := newDice(seed, KeyOf(model, messages...), forAnswer, 0)
	return answer(&d, messages)
}

// AnswerJSON returns what the simulator answers to messages with that JSON schema;
// an error if there is no instance of the schema, or none that it can find.
func AnswerJSON(seed int64, schema []byte, model string, messages ...Message) (string, error) {
	d := newDice(seed, KeyOf(model, messages...), forAnswer, 0)
	return instance(&d, schema)
}

// content returns one choice for a request.
func (q *request) content(d *dice) (string, error) {
	switch q.format.kind {
	case formatSchema:
		return instance(d, q.format.schema)
	case formatObject:
		out := appendText([]byte(`{"answer":`), answer(d, q.messages), false)
		return string(append(out, '}')), nil
	default:
		return answer(d, q.messages), nil
	}
}

func answer(d *dice, messages []Message) string {
	for _, m := range messages {
		if labels := offered(m.Content); labels != nil {
			return labels[d.below(len(labels))]
		}
	}
	return sentence(d, words(lastUser(messages)))
}

func sentence(d *dice, about string) string {
	var b strings.Builder
	switch d.below(3) {
	case 0:
		b.WriteString("Here is a simulated answer to '" + about + "'.")
	case 1:
		b.WriteString("To '" + about + "', a model would say something of this length.")
	default:
		b.WriteString("The simulator was asked '" + about + "', and this is what it says.")
	}
	b.WriteString(" [" + Key(d.next()).String() + "]")
	return b.String()
}

func lastUser(messages []Message) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			return messages[i].Content
		}
	}
	return messages[len(messages)-1].Content
}

// The most words that are echoed, and how many of a longer text's end are: a
// prompt often begins with instructions that are the same for all rows.
const (
	echoed     = 8
	echoedTail = 5
	longWord   = 24
)

// words returns a few words of a text, on one line.
func words(text string) string {
	const enough = 1 << 10 // bytes at each end in which to look for words: texts may be huge
	head, tail := text, text
	if len(text) > 2*enough {
		head, tail = text[:enough], text[len(text)-enough:]
	}
	first, last := strings.Fields(head), strings.Fields(tail)
	picked := first
	if len(first) > echoed || len(head) < len(text) {
		picked = append([]string{}, first[:min(len(first), echoed-echoedTail)]...)
		picked = append(picked, "…")
		picked = append(picked, last[max(0, len(last)-echoedTail):]...)
	}
	out := make([]string, len(picked))
	for i, w := range picked {
		if w = strings.ToValidUTF8(w, ""); len(w) > longWord {
			w = cut(w, longWord) + "…"
		}
		out[i] = w
	}
	return strings.Join(out, " ")
}

// cut returns the beginning of a text, at most n bytes, without half a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xc0 == 0x80 {
		n--
	}
	return text[:n]
}

// offered returns the labels that a prompt offers, nil if it offers none.
func offered(text string) []string {
	for from := 0; ; {
		colon := strings.IndexByte(text[from:], ':')
		if colon < 0 {
			return nil
		}
		from += colon + 1
		if announces(text[:from-1]) {
			if labels := list(text[from:]); labels != nil {
				return labels
			}
		}
	}
}

// announces reports whether what stands before a colon says that labels follow.
func announces(before string) bool {
	const longest = len("one of the following categories")
	before = strings.ToLower(before[max(0, len(before)-longest):])
	for _, cue := range [...]string{
		"one of", "one of these", "one of the following", "choose from", "pick from",
		"one word", "labels", "categories", "one of these words", "one of the words",
	} {
		if strings.HasSuffix(before, cue) {
			return true
		}
	}
	return false
}

// list parses the labels behind a colon: on the same line with commas, bars or
// "or" between them, or with a dash each on the lines below.
func list(text string) []string {
	line, below, _ := strings.Cut(text, "\n")
	if strings.TrimSpace(line) == "" {
		return labels(bullets(below))
	}
	line, _, _ = strings.Cut(line, ". ")
	for _, separator := range [...]string{"|", ",", " or "} {
		if strings.Contains(line, separator) {
			return labels(strings.Split(line, separator))
		}
	}
	return nil
}

func bullets(text string) (items []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "- ") && !strings.HasPrefix(line, "* ") {
			break
		}
		items = append(items, line[2:])
	}
	return items
}

// labels cleans a list of labels; nil if it does not look like one.
func labels(items []string) []string {
	const longest = 64
	last := len(items) - 1
	for i, item := range items {
		item = strings.TrimSpace(item)
		if i == last {
			item = strings.TrimPrefix(strings.TrimPrefix(item, "or "), "and ")
			item = strings.TrimRight(item, ".")
		}
		item = strings.Trim(item, " \t\r\"'`")
		if item == "" || len(item) > longest || strings.ContainsAny(item, ":?") {
			return nil
		}
		items[i] = item
	}
	if len(items) < 2 {
		return nil
	}
	return items
}

// countTokens is how many tokens so many bytes of text are taken for.
func countTokens(bytes int) int { return (bytes + 3) / 4 }

// finish applies stop and max_tokens to a choice.
func (q *request) finish(c choice) choice {
	for _, stop := range q.stop {
		if at := strings.Index(c.content, stop); stop != "" && at >= 0 {
			c.content = c.content[:at]
		}
	}
	if q.maxTokens > 0 && countTokens(len(c.content)) > q.maxTokens {
		c.content, c.reason = cut(c.content, 4*q.maxTokens), "length"
	}
	return c
}

// choice is one answer to a request.
type choice struct{ content, refusal, reason string }

// reply is a whole answer.
type reply struct {
	id, model          string
	created            int64
	choices            []choice
	prompt, completion int // tokens
}

// appendJSON appends the answer as it goes over the wire. By hand, because it is
// most of what a request costs here.
func (r *reply) appendJSON(b []byte) []byte {
	b = r.appendHead(b)
	for i, c := range r.choices {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"message":{"role":"assistant","content":`...)
		b = appendText(b, c.content, c.refusal != "")
		b = append(b, `,"refusal":`...)
		b = appendText(b, c.refusal, c.refusal == "")
		b = append(b, `,"annotations":[]},"logprobs":null,"finish_reason":"`...)
		b = append(append(b, c.reason...), `"}`...)
	}
	b = append(b, `],"usage":{"prompt_tokens":`...)
	b = strconv.AppendInt(b, int64(r.prompt), 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, int64(r.completion), 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, int64(r.prompt+r.completion), 10)
	return append(b, `,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},`+
		`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,`+
		`"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},`+
		`"service_tier":"default","system_fingerprint":"fp_simulator"}`...)
}

// appendHead appends the beginning of the answer, up to its choices.
func (r *reply) appendHead(b []byte) []byte {
	b = append(append(b, `{"id":"`...), r.id...)
	b = append(b, `","object":"chat.completion","created":`...)
	b = strconv.AppendInt(b, r.created, 10)
	b = appendText(append(b, `,"model":`...), r.model, false)
	return append(b, `,"choices":[`...)
}

func appendText(b []byte, text string, null bool) []byte {
	if null {
		return append(b, "null"...)
	}
	b, _ = jsontext.AppendQuote(b, text) // the error only says that bad UTF-8 was replaced
	return b
}
