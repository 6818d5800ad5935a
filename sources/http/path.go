package http

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// path leads to a value inside a JSON text: the names of fields, and places in lists.
type path []string

// parsePath reads `data.items`, or a JSON Pointer (RFC 6901) like `/data/items` for names
// with a dot. "" is the text as a whole.
func parsePath(text string) (path, error) {
	pointer := strings.HasPrefix(text, "/")
	switch {
	case text == "":
		return nil, nil
	case pointer:
		p := path(strings.Split(text[1:], "/"))
		for i, step := range p {
			p[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		}
		return p, nil
	}
	p := path(strings.Split(text, "."))
	for _, step := range p {
		if step == "" {
			return nil, fmt.Errorf("%q is no path; write the names with a dot between them, like data.items, or a JSON Pointer, like /data/items", text)
		}
	}
	return p, nil
}

// scan returns a decoder of a JSON text that takes what a row may be refused for: it only
// finds where things are.
func scan(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// validate checks that a text is one JSON value and nothing behind it.
func validate(text []byte) error {
	d := scan(text)
	var syntax *jsontext.SyntacticError
	switch err := d.SkipValue(); {
	case err == nil:
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, &syntax):
		return fmt.Errorf("%w at byte %d", syntax.Err, syntax.ByteOffset+1)
	default:
		return err
	}
	at := int(d.InputOffset())
	if rest := bytes.TrimLeft(text[at:], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("something follows the value at byte %d", len(text)-len(rest)+1)
	}
	return nil
}

// find returns the value at a path of a valid text, as a part of it.
func (p path) find(text jsontext.Value) (jsontext.Value, bool) {
	text = bytes.Trim(text, " \t\r\n")
	for _, step := range p {
		var ok bool
		if text, ok = child(text, step); !ok {
			return nil, false
		}
	}
	return text, true
}

// child returns a field of an object, or an element of a list: by its number from 0, or
// from -1 for the last backwards.
func child(text jsontext.Value, step string) (found jsontext.Value, ok bool) {
	if text.Kind() == '{' {
		eachField(text, func(name string, value jsontext.Value) bool {
			found, ok = value, name == step
			return !ok
		})
		return found, ok
	}
	i, err := strconv.Atoi(step)
	if text.Kind() != '[' || err != nil {
		return nil, false
	}
	if i < 0 {
		i += count(text)
	}
	n := 0
	eachElement(text, func(value jsontext.Value, _ int64) bool {
		found, ok = value, n == i
		n++
		return !ok
	})
	return found, ok
}

// eachField hands the fields of a valid object to f until it returns false.
func eachField(object jsontext.Value, f func(name string, value jsontext.Value) bool) {
	d := scan(object)
	_, _ = d.ReadToken() // it is valid: nothing here fails
	for d.PeekKind() == '"' {
		name, _ := d.ReadToken()
		text := name.String()
		if value, _ := d.ReadValue(); !f(text, within(object, d, value)) {
			return
		}
	}
}

// eachElement hands the elements of a valid list to f, with where they begin in it, until
// it returns false.
func eachElement(list jsontext.Value, f func(value jsontext.Value, at int64) bool) {
	d := scan(list)
	_, _ = d.ReadToken()
	for kind := d.PeekKind(); kind != ']' && kind != 0; kind = d.PeekKind() {
		value, _ := d.ReadValue()
		value = within(list, d, value)
		if !f(value, d.InputOffset()-int64(len(value))) {
			return
		}
	}
}

// within returns a value that a decoder has just read as a part of the text, which the
// decoder does not write over.
func within(text jsontext.Value, d *jsontext.Decoder, value jsontext.Value) jsontext.Value {
	end := int(d.InputOffset())
	return text[end-len(value) : end : end]
}

// count is how many elements a valid list has.
func count(list jsontext.Value) (n int) {
	eachElement(list, func(jsontext.Value, int64) bool { n++; return true })
	return n
}

// describe says in words what a value is.
func describe(v jsontext.Value) string {
	switch v.Kind() {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case '0':
		return "a number"
	case 'n':
		return "null"
	default:
		return "true or false"
	}
}

// mostListed and deepest bound what a message says of an answer.
const (
	mostListed = 6
	deepest    = 3
)

// lists returns the paths of the lists in an object, with how long each is.
func lists(text jsontext.Value, prefix string, depth int) (all []string) {
	eachField(text, func(name string, value jsontext.Value) bool {
		at := prefix + name
		switch value.Kind() {
		case '[':
			all = append(all, fmt.Sprintf("%s (a list of %d)", pathTo(prefix, name), count(value)))
		case '{':
			if depth > 1 && !strings.ContainsAny(name, "./") {
				all = append(all, lists(value, at+".", depth-1)...)
			}
		}
		return len(all) < mostListed
	})
	return all[:min(len(all), mostListed)]
}

// pathTo writes the path of a field as it is to be given.
func pathTo(prefix, name string) string {
	if prefix == "" && strings.ContainsAny(name, "./") {
		return "/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
	}
	return prefix + name
}

// names returns the names of the fields of an object, for a message.
func names(text jsontext.Value) string {
	var all []string
	more := ""
	eachField(text, func(name string, _ jsontext.Value) bool {
		if len(all) == 2*mostListed {
			more = ", …"
			return false
		}
		all = append(all, name)
		return true
	})
	return strings.Join(all, ", ") + more
}
