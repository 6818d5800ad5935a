package simulator

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// request is what of a chat request shapes its answer.
type request struct {
	model     string
	messages  []Message
	maxTokens int // 0 if not given
	choices   int
	stop      []string
	format    format
	hasStream bool
}

// format is the response_format.
type format struct {
	kind   string
	name   string
	schema jsontext.Value
}

const (
	formatText   = "text"
	formatObject = "json_object"
	formatSchema = "json_schema"
)

// parseRequest reads a request's body. It is as strict as a good server: a name
// that stands twice in an object, or bad UTF-8, is an error.
func parseRequest(d *jsontext.Decoder) (*request, *apiError) {
	q := &request{choices: 1, format: format{kind: formatText}}
	err := object(d, "", func(name string) error { return q.field(d, name) })
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			err = errors.New("there is something behind the object")
		} else if errors.Is(err, io.EOF) {
			err = q.check()
		}
	}
	if err == nil {
		return q, nil
	}
	if known := new(apiError); errors.As(err, &known) {
		return nil, known
	}
	return nil, badJSON(err)
}

func (q *request) check() error {
	switch {
	case q.messages == nil:
		return invalid("missing_required_parameter", "messages", "Missing required parameter: 'messages'.")
	case q.hasStream:
		return invalid("unsupported_value", "stream", "The simulator does not stream: send the request without 'stream'.")
	}
	return nil
}

func (q *request) field(d *jsontext.Decoder, name string) error {
	if d.PeekKind() == 'n' && name != "messages" && name != "model" {
		return d.SkipValue()
	}
	switch name {
	case "model":
		return readText(d, name, &q.model)
	case "messages":
		return q.readMessages(d)
	case "max_tokens", "max_completion_tokens":
		return readInt(d, name, &q.maxTokens, 1<<30)
	case "n":
		return readInt(d, name, &q.choices, 128)
	case "stop":
		return q.readStop(d)
	case "stream":
		return readBool(d, name, &q.hasStream)
	case "temperature", "frequency_penalty", "presence_penalty":
		return readNumber(d, name, -2, 2)
	case "top_p":
		return readNumber(d, name, 0, 1)
	case "response_format":
		return q.readFormat(d)
	default:
		return d.SkipValue()
	}
}

func (q *request) readMessages(d *jsontext.Decoder) error {
	q.messages = make([]Message, 0, 4)
	err := array(d, "messages", func(i int) error {
		var m Message
		place := func() string { return "messages[" + strconv.Itoa(i) + "]" }
		if d.PeekKind() != '{' {
			return wrongType(d, place(), "an object")
		}
		err := object(d, "messages", func(name string) error {
			switch name {
			case "role":
				return readText(d, place()+".role", &m.Role)
			case "content":
				return readContent(d, place, &m.Content)
			default:
				return d.SkipValue()
			}
		})
		if err == nil && !isRole(m.Role) {
			err = invalid("invalid_value", place()+".role", "Invalid value: '"+m.Role+
				"'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.")
		}
		q.messages = append(q.messages, m)
		return err
	})
	if err == nil && len(q.messages) == 0 {
		err = invalid("empty_array", "messages", "Invalid 'messages': empty array. "+
			"Expected an array with minimum length 1, but got an empty array instead.")
	}
	return err
}

func isRole(s string) bool {
	switch s {
	case "system", "developer", "user", "assistant", "tool", "function":
		return true
	}
	return false
}

// readContent reads a message's content: a text, null, or a list of parts.
func readContent(d *jsontext.Decoder, place func() string, to *string) error {
	switch d.PeekKind() {
	case 'n':
		return d.SkipValue()
	case '[':
		return readParts(d, place, to)
	case '"':
		return readText(d, "", to)
	default:
		return wrongType(d, place()+".content", "one of a string or array of objects")
	}
}

func readParts(d *jsontext.Decoder, place func() string, to *string) error {
	var parts []string
	err := array(d, "content", func(i int) error {
		where := place() + ".content[" + strconv.Itoa(i) + "]"
		if d.PeekKind() != '{' {
			return wrongType(d, where, "an object")
		}
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		part := string(raw)
		for _, m := range members(raw) {
			if m.name == "text" && m.value.Kind() == '"' {
				part = unquoted(m.value)
			}
		}
		parts = append(parts, part)
		return nil
	})
	*to = strings.Join(parts, "\n")
	return err
}

func (q *request) readStop(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		q.stop = make([]string, 1)
		return readText(d, "stop", &q.stop[0])
	}
	return array(d, "stop", func(int) error {
		var s string
		err := readText(d, "stop", &s)
		q.stop = append(q.stop, s)
		return err
	})
}

func (q *request) readFormat(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return wrongType(d, "response_format", "an object")
	}
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	for _, m := range members(raw) {
		switch {
		case m.name == "type" && m.value.Kind() == '"':
			q.format.kind = unquoted(m.value)
		case m.name == formatSchema && m.value.Kind() == '{':
			q.format.readSchema(m.value)
		}
	}
	switch q.format.kind {
	case formatText, formatObject:
		return nil
	case formatSchema:
		if q.format.name == "" {
			return invalid("missing_required_parameter", "response_format.json_schema.name",
				"Missing required parameter: 'response_format.json_schema.name'.")
		}
		return nil
	default:
		return invalid("invalid_value", "response_format.type", "Invalid value: '"+q.format.kind+
			"'. Supported values are: 'json_object', 'json_schema', and 'text'.")
	}
}

func (f *format) readSchema(raw jsontext.Value) {
	f.schema = jsontext.Value(`{}`)
	for _, m := range members(raw) {
		switch {
		case m.name == "name" && m.value.Kind() == '"':
			f.name = unquoted(m.value)
		case m.name == "schema":
			f.schema = m.value.Clone()
		}
	}
}

// object reads an object and calls field for each name; field reads the value.
func object(d *jsontext.Decoder, place string, field func(name string) error) error {
	if d.PeekKind() != '{' {
		return wrongType(d, place, "an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := field(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// array reads an array and calls item for each index; item reads the value.
func array(d *jsontext.Decoder, place string, item func(i int) error) error {
	if d.PeekKind() != '[' {
		return wrongType(d, place, "an array")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for i := 0; d.PeekKind() != ']' && d.PeekKind() != jsontext.KindInvalid; i++ {
		if err := item(i); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func readText(d *jsontext.Decoder, place string, to *string) error {
	if d.PeekKind() != '"' {
		return wrongType(d, place, "a string")
	}
	raw, err := d.ReadValue()
	if err == nil {
		*to = unquoted(raw)
	}
	return err
}

func readBool(d *jsontext.Decoder, place string, to *bool) error {
	if k := d.PeekKind(); k != 't' && k != 'f' {
		return wrongType(d, place, "a boolean")
	}
	tok, err := d.ReadToken()
	if err == nil {
		*to = tok.Bool()
	}
	return err
}

// readInt reads an integer from 1 to most.
func readInt(d *jsontext.Decoder, place string, to *int, most int) error {
	if d.PeekKind() != '0' {
		return wrongType(d, place, "an integer")
	}
	tok, err := d.ReadToken()
	if err != nil {
		return err
	}
	text := tok.String()
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || v != float64(int64(v)):
		return invalid("invalid_type", place, "Invalid type for '"+place+"': expected an integer, but got "+text+" instead.")
	case v < 1:
		return invalid("integer_below_min_value", place, "Invalid '"+place+
			"': integer below minimum value. Expected a value >= 1, but got "+text+" instead.")
	case v > float64(most):
		return invalid("integer_above_max_value", place, "Invalid '"+place+
			"': integer above maximum value. Expected a value <= "+strconv.Itoa(most)+", but got "+text+" instead.")
	}
	*to = int(v)
	return nil
}

// readNumber checks a number that has no effect here.
func readNumber(d *jsontext.Decoder, place string, least, most float64) error {
	if d.PeekKind() != '0' {
		return wrongType(d, place, "a decimal")
	}
	tok, err := d.ReadToken()
	if err != nil {
		return err
	}
	if place == "temperature" {
		least = 0
	}
	text := tok.String()
	switch v, err := strconv.ParseFloat(text, 64); {
	case err != nil || v > most:
		return invalid("decimal_above_max_value", place, "Invalid '"+place+"': decimal above maximum value. Expected a value <= "+
			strconv.FormatFloat(most, 'g', -1, 64)+", but got "+text+" instead.")
	case v < least:
		return invalid("decimal_below_min_value", place, "Invalid '"+place+"': decimal below minimum value. Expected a value >= "+
			strconv.FormatFloat(least, 'g', -1, 64)+", but got "+text+" instead.")
	}
	return nil
}

// wrongType is the error for a value of the wrong type; if what comes next is no
// JSON at all, it is that error.
func wrongType(d *jsontext.Decoder, place, want string) error {
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	got := "null"
	switch raw.Kind() {
	case '"':
		got = "a string"
	case '0':
		got = "a number"
	case 't', 'f':
		got = "a boolean"
	case '[':
		got = "an array"
	case '{':
		got = "an object"
	}
	return invalid("invalid_type", place, "Invalid type for '"+place+"': expected "+want+", but got "+got+" instead.")
}

// member is a name of an object and its value.
type member struct {
	name  string
	value jsontext.Value
}

// members returns those of a valid object; the values share its memory.
func members(raw jsontext.Value) []member {
	var all []member
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	_ = object(d, "", func(name string) error {
		v, err := d.ReadValue()
		if err == nil {
			end := d.InputOffset()
			all = append(all, member{name, raw[end-int64(len(v)) : end]})
		}
		return err
	})
	return all
}

// unquoted returns what a valid JSON string says.
func unquoted(raw jsontext.Value) string {
	if bytes.IndexByte(raw, '\\') < 0 { // a third off the cost of a long prompt
		return string(raw[1 : len(raw)-1])
	}
	out, _ := jsontext.AppendUnquote(nil, raw) // valid: it was checked on reading
	return string(out)
}
