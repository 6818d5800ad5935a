package llm

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	openai "github.com/sashabaranov/go-openai"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

// request is the body of every request of a stage: go-openai's typed request,
// marshalled once, with a hole for each message that depends on the row.
type request struct {
	holes    []hole
	tail     []byte
	messages int
	text     int // bytes of the messages that are the same for every row
}

// hole is a message's content, and the bytes in front of it.
type hole struct {
	lead    []byte
	content *lang.Template
}

// message is a message of the prompt, compiled.
type message struct {
	role    string
	content *lang.Template
}

// newRequest marshals everything that is the same for every row.
func newRequest(c Config, messages []message) (*request, error) {
	typed, err := stdjson.Marshal(openai.ChatCompletionRequest{
		Model: c.Model, Seed: c.Seed, Stop: c.Stop, MaxCompletionTokens: c.MaxCompletionTokens,
		MaxTokens: c.MaxTokens, //nolint:staticcheck // it is all that many compatible servers know
	})
	if err != nil {
		return nil, err
	}
	// Within a string of JSON every quote has a backslash, so this is the only place.
	head, rest, found := bytes.Cut(typed, []byte(`,"messages":null`))
	if !found {
		return nil, errors.New("go-openai no longer marshals messages behind the model")
	}
	q := &request{}
	lead := slices.Concat(head, []byte(`,"messages":[`)) // rest shares the memory of head
	for i, m := range messages {
		if i > 0 {
			lead = append(lead, ',')
		}
		if lead, err = q.addMessage(lead, m); err != nil {
			return nil, err
		}
	}
	lead = append(append(lead, ']'), bytes.TrimSuffix(rest, []byte("}"))...)
	q.tail, err = appendOwn(lead, c)
	return q, err
}

// addMessage appends a message to lead, or closes lead with a hole for it.
func (q *request) addMessage(lead []byte, m message) ([]byte, error) {
	q.messages++
	const blank = `"?"}`
	typed, err := stdjson.Marshal(openai.ChatCompletionMessage{Role: m.role, Content: "?"})
	if err != nil {
		return nil, err
	}
	start, found := bytes.CutSuffix(typed, []byte(blank))
	if !found {
		return nil, errors.New("go-openai no longer marshals content behind the role")
	}
	lead = append(lead, start...)
	if constant, ok := m.content.Constant(); ok {
		q.text += len(constant)
		return append(appendQuoted(lead, constant), '}'), nil
	}
	q.holes = append(q.holes, hole{lead: lead, content: m.content})
	return []byte{'}'}, nil
}

// appendOwn appends the fields that go-openai would lose (0 for temperature and
// top_p) or does not know, and closes the request.
func appendOwn(dst []byte, c Config) ([]byte, error) {
	own := map[string]any{}
	maps.Copy(own, c.Extra)
	if c.Temperature != nil {
		own["temperature"] = *c.Temperature
	}
	if c.TopP != nil {
		own["top_p"] = *c.TopP
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		value, err := json.Marshal(own[name], json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		dst = append(appendQuoted(append(dst, ','), name), ':')
		dst = append(dst, value...)
	}
	return append(dst, '}'), nil
}

// appendQuoted appends s as a JSON string, bad UTF-8 as U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error only says that bad UTF-8 was replaced
	return dst
}

// buffers are memory to work in, used again from row to row.
type buffers struct{ text, body, answer []byte }

// mostKept is up to which size a buffer is kept for the next row.
const mostKept = 64 << 10

// trim drops what grew for an unusual row.
func (b *buffers) trim() *buffers {
	for _, buf := range []*[]byte{&b.text, &b.body, &b.answer} {
		if cap(*buf) > mostKept {
			*buf = nil
		}
	}
	return b
}

// render returns the body of a row's request, and how many bytes of text are in its
// messages. The body is made in b and then copied, because the transport may still
// read it when the call is over.
func (q *request) render(r *pipeline.Record, b *buffers) (body []byte, text int, err error) {
	b.body, text = b.body[:0], q.text
	for _, h := range q.holes {
		b.body = append(b.body, h.lead...)
		if b.text, err = h.content.Append(b.text[:0], r); err != nil {
			return nil, 0, err
		}
		text += len(b.text)
		b.body, _ = jsontext.AppendQuote(b.body, b.text) // the error only says that bad UTF-8 was replaced
	}
	b.body = append(b.body, q.tail...)
	return bytes.Clone(b.body), text, nil
}

// compile compiles the prompt's templates for records of that shape.
func compile(c Config, shape pipeline.Shape) ([]message, pipeline.Problems) {
	var problems pipeline.Problems
	var messages []message
	add := func(key, role, content string) {
		t, err := lang.CompileTemplate(content, shape)
		if err != nil {
			p := pipeline.Problem{Key: key, Err: err}
			if syntax := new(lang.SyntaxError); errors.As(err, &syntax) {
				p.Offset = syntax.Offset
			}
			problems = append(problems, p)
		}
		messages = append(messages, message{role: role, content: t})
	}
	if c.System != "" {
		add("system", openai.ChatMessageRoleSystem, c.System)
	}
	if c.Prompt != "" {
		add("prompt", openai.ChatMessageRoleUser, c.Prompt)
	}
	for i, m := range c.Messages {
		add(fmt.Sprintf("messages[%d].content", i), strings.ToLower(m.Role), m.Content)
	}
	return messages, problems
}
