package pipeline

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Value is one field's value: JSON exactly as it was written, or plain text (a
// CSV cell) that becomes a JSON string only when JSON is asked for. The zero
// Value is JSON null. Values are immutable.
type Value struct {
	s    string // JSON, or the text itself if text is set
	text bool
}

// Null returns the JSON null.
func Null() Value { return Value{s: "null"} }

// Text returns a Value that is the string s.
func Text(s string) Value { return Value{s: s, text: true} }

// RawJSON returns a Value that is the JSON text raw, which must be one valid JSON
// value without surrounding white space; it is not checked. See [ParseValue].
func RawJSON(raw string) Value { return Value{s: raw} }

// ParseValue returns the Value of one JSON text, or an error if it is not valid.
// Numbers keep their spelling.
func ParseValue(raw []byte) (Value, error) {
	raw = trimSpace(raw)
	if !jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true)) {
		if err := checkJSON(raw); err != nil {
			return Value{}, err
		}
	}
	return Value{s: string(raw)}, nil
}

// ValueOf returns the JSON of a Go value: nil, bool, numbers, strings, and
// whatever else marshals to JSON. A NaN or infinity is an error.
func ValueOf(v any) (Value, error) {
	switch v := v.(type) {
	case nil:
		return Null(), nil
	case Value:
		return v, nil
	case string:
		return Text(v), nil
	case bool:
		return Value{s: strconv.FormatBool(v)}, nil
	case int:
		return Value{s: strconv.Itoa(v)}, nil
	case int64:
		return Value{s: strconv.FormatInt(v, 10)}, nil
	}
	raw, err := json.Marshal(v, asWritten(), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return Value{}, err
	}
	return Value{s: string(raw)}, nil
}

// asWritten are the options that keep Values inside a Go value as they were read.
func asWritten() json.Options {
	return json.JoinOptions(json.Deterministic(true), jsontext.PreserveRawStrings(true), jsontext.AllowDuplicateNames(true))
}

// Kind returns the kind of the JSON value: 'n' null, 't' or 'f' for booleans,
// '"' string, '0' number, '[' list, '{' object.
func (v Value) Kind() jsontext.Kind {
	if v.text {
		return '"'
	}
	if v.s == "" {
		return 'n'
	}
	switch c := v.s[0]; {
	case c == '-' || '0' <= c && c <= '9':
		return '0'
	default:
		return jsontext.Kind(c)
	}
}

// IsNull reports whether v is JSON null.
func (v Value) IsNull() bool { return v.Kind() == 'n' }

// Text renders the value as people read it: a string without quotes, a number
// as it was written, lists and objects as JSON, null as nothing.
func (v Value) Text() string {
	if v.text {
		return v.s
	}
	switch v.Kind() {
	case 'n':
		return ""
	case '"':
		return unquote(v.s)
	default:
		return v.s
	}
}

// JSON returns the value as JSON; untouched values exactly as they were read.
func (v Value) JSON() string {
	if v.text || v.s == "" {
		return bytesToString(v.AppendJSON(nil))
	}
	return v.s
}

// AppendJSON appends the value as JSON to dst. Text that is not valid UTF-8 gets
// U+FFFD for every bad byte, as JSON can hold nothing else.
func (v Value) AppendJSON(dst []byte) []byte {
	switch {
	case v.text:
		dst, _ = jsontext.AppendQuote(dst, v.s) // the error only says that bad UTF-8 was replaced
		return dst
	case v.s == "":
		return append(dst, "null"...)
	default:
		return append(dst, v.s...)
	}
}

// MarshalJSON returns the value as JSON, so that Go types may hold Values.
func (v Value) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// UnmarshalJSON makes v the value of one JSON text; see [ParseValue].
func (v *Value) UnmarshalJSON(raw []byte) (err error) {
	*v, err = ParseValue(raw)
	return err
}

// errRange is what Any returns for a number that no Go type holds.
var errRange = errors.New("number out of range")

// Any decodes the value for computing: nil, bool, int (numbers written without
// fraction or exponent that fit), float64, string, []any, map[string]any.
func (v Value) Any() (any, error) {
	if v.text {
		return v.s, nil
	}
	switch v.Kind() {
	case 'n':
		return nil, nil
	case 't':
		return true, nil
	case 'f':
		return false, nil
	case '"':
		return v.Text(), nil
	case '0':
		return number(v.s)
	}
	return decodeAny(jsontext.NewDecoder(strings.NewReader(v.s), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)))
}

func number(s string) (any, error) {
	if i, err := strconv.Atoi(s); err == nil && s != "-0" {
		return i, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%w: %s", errRange, s)
	}
	return f, nil
}

func decodeAny(d *jsontext.Decoder) (any, error) {
	tok, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return tok.Bool(), nil
	case '"':
		return tok.String(), nil
	case '0':
		return number(tok.String())
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			v, err := decodeAny(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.ReadToken()
		return list, err
	default: // '{'
		obj := map[string]any{}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			v, err := decodeAny(d)
			if err != nil {
				return nil, err
			}
			obj[key] = v
		}
		_, err = d.ReadToken()
		return obj, err
	}
}

// bytesToString is for bytes that nobody else holds.
func bytesToString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
