package lang

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// exactNumber is a number that neither int64 nor float64 holds, as it was
// written. A struct, so that nothing in expr takes it for a text.
type exactNumber struct{ spelling string }

// decode returns a value for computing, as [pipeline.Value.Any] does, except
// that numbers which no Go type holds are exactNumbers.
func decode(v pipeline.Value) any {
	switch v.Kind() {
	case '0':
		return decodeNumber(v.JSON())
	case '[', '{':
		return decodeNext(jsontext.NewDecoder(strings.NewReader(v.JSON()),
			jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)))
	default:
		x, _ := v.Any() // only numbers fail
		return x
	}
}

// decodeNext reads one value of valid JSON, in time linear in its length.
func decodeNext(d *jsontext.Decoder) any {
	tok, err := d.ReadToken()
	if err != nil {
		return nil // never: rows are validated as they are read
	}
	switch tok.Kind() {
	case 't', 'f':
		return tok.Bool()
	case '"':
		return tok.String()
	case '0':
		return decodeNumber(tok.String())
	case '[':
		list := []any{}
		for k := d.PeekKind(); k != ']' && k != 0; k = d.PeekKind() {
			list = append(list, decodeNext(d))
		}
		_, _ = d.ReadToken()
		return list
	case '{':
		object := map[string]any{}
		for k := d.PeekKind(); k == '"'; k = d.PeekKind() {
			name, _ := decodeNext(d).(string)
			object[name] = decodeNext(d)
		}
		_, _ = d.ReadToken()
		return object
	default:
		return nil
	}
}

func decodeNumber(s string) any {
	if i, err := strconv.Atoi(s); err == nil && s != "-0" {
		return i
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || isBigInteger(s) {
		return exactNumber{s}
	}
	return f
}

// isBigInteger reports whether s, which is no int64, is written as an integer.
func isBigInteger(s string) bool { return s != "-0" && !strings.ContainsAny(s, ".eE") }

// unwrap returns a result in Go terms: what was passed on unread is decoded.
func unwrap(x any) any {
	switch x := x.(type) {
	case pipeline.Value:
		return unwrap(decode(x))
	case exactNumber:
		return pipeline.RawJSON(x.spelling)
	case []any:
		for i := range x {
			x[i] = unwrap(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = unwrap(x[k])
		}
	}
	return x
}

var errNotJSON = errors.New("the result is infinite or not a number, which a row cannot hold")

// appendJSON appends a result of an expression. The members of an object are
// sorted by name.
func appendJSON(dst []byte, x any) ([]byte, error) {
	switch x := x.(type) {
	case nil:
		return append(dst, "null"...), nil
	case pipeline.Value:
		return x.AppendJSON(dst), nil
	case exactNumber:
		return append(dst, x.spelling...), nil
	case string:
		return pipeline.Text(x).AppendJSON(dst), nil
	case bool:
		return strconv.AppendBool(dst, x), nil
	case int:
		return strconv.AppendInt(dst, int64(x), 10), nil
	case float64:
		return appendFloat(dst, x)
	case []any:
		return appendList(dst, x)
	case map[string]any:
		return appendObject(dst, x)
	case map[any][]any: // groupBy
		object := make(map[string]any, len(x))
		for k, list := range x {
			object[text(k)] = list
		}
		return appendObject(dst, object)
	case time.Duration:
		return pipeline.Text(x.String()).AppendJSON(dst), nil
	}
	raw, err := json.Marshal(x, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return dst, fmt.Errorf("the result, a %T, is nothing that a row can hold", x)
	}
	return append(dst, raw...), nil
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return dst, errNotJSON
	}
	raw, err := json.Marshal(f)
	return append(dst, raw...), err
}

func appendList(dst []byte, list []any) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, x := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, x); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, object map[string]any) (_ []byte, err error) {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(pipeline.Text(name).AppendJSON(dst), ':')
		if dst, err = appendJSON(dst, object[name]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// valueOf returns a result of an expression as a field's value.
func valueOf(x any) (pipeline.Value, error) {
	switch x := x.(type) {
	case pipeline.Value:
		return x, nil
	case string:
		return pipeline.Text(x), nil
	}
	raw, err := appendJSON(nil, x)
	if err != nil {
		return pipeline.Value{}, err
	}
	return pipeline.RawJSON(string(raw)), nil
}

// text writes a result as templates do.
func text(x any) string {
	if s, ok := x.(string); ok {
		return s
	}
	v, err := valueOf(x)
	if err != nil {
		return fmt.Sprint(x)
	}
	return v.Text()
}
