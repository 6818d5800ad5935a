package load

import (
	"encoding"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
)

// decodeText fills in a type that makes itself of a text.
func (l *loader) decodeText(v reflect.Value, n *node, path string, f flags) {
	t := v.Type()
	if n.kind != yaml.ScalarNode {
		l.at(n.place, path, "must be %s, not %s", wanted(t, f), n.what())
		return
	}
	if n.tag == "!!int" && leadingZero.MatchString(n.text) {
		l.at(n.place, path, "must be %s, not %s; with a leading zero it would be octal", wanted(t, f), n.what())
		return
	}
	fresh := reflect.New(t)
	fresh.Elem().Set(v)
	if err := fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.text)); err != nil {
		l.at(n.place, path, "%v", err)
		return
	}
	if l.bounded(fresh.Elem(), n, path, f) {
		v.Set(fresh.Elem())
	}
}

// decodeScalar fills in a string, bool or number.
func (l *loader) decodeScalar(v reflect.Value, n *node, path string, f flags) {
	fresh := reflect.New(v.Type()).Elem()
	advice, ok := "", n.kind == yaml.ScalarNode
	if ok {
		switch fresh.Kind() {
		case reflect.String:
			advice, ok = setString(fresh, n, f)
		case reflect.Bool:
			advice, ok = setBool(fresh, n)
		case reflect.Float32, reflect.Float64:
			advice, ok = setFloat(fresh, n)
		default:
			advice, ok = setInteger(fresh, n)
		}
	}
	if !ok {
		l.at(n.place, path, "must be %s, not %s%s", wanted(v.Type(), f), n.what(), advice)
		return
	}
	if l.bounded(fresh, n, path, f) {
		v.Set(fresh)
	}
}

// setString takes texts. A number or boolean is refused, because YAML may read it
// as something else than was written: 007, 1e3. An expression is taken as it
// stands, whatever it looks like.
func setString(v reflect.Value, n *node, f flags) (advice string, ok bool) {
	if n.tag != "!!str" && !(f.expr && n.tag != "!!null") {
		if len(f.oneOf) > 0 {
			return "", false
		}
		return "; quote it: " + strconv.Quote(n.text), false
	}
	v.SetString(n.text)
	return "", true
}

func setBool(v reflect.Value, n *node) (advice string, ok bool) {
	text := strings.ToLower(n.text)
	switch {
	case n.tag != "!!bool" && !n.whole:
		if n.plain() && slices.Contains([]string{"yes", "no", "on", "off", "y", "n"}, text) {
			return "; YAML 1.2 has no yes, no, on and off", false
		}
		return quoted(n, text == "true" || text == "false"), false
	case text != "true" && text != "false":
		return "", false
	}
	v.SetBool(text == "true")
	return "", true
}

// quoted is the advice where a text would be right without its quotes.
func quoted(n *node, right bool) string {
	if right && !n.plain() && n.written == "" {
		return "; remove the quotes"
	}
	return ""
}

var (
	integer     = regexp.MustCompile(`^[-+]?(0|[1-9][0-9_]*)$`)
	leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)
	decimal     = regexp.MustCompile(`^[-+]?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

func setInteger(v reflect.Value, n *node) (advice string, ok bool) {
	switch {
	case n.tag == "!!float" && integer.MatchString(n.text):
		return " (out of range)", false
	case n.tag != "!!int" && !n.whole:
		return quoted(n, integer.MatchString(n.text)), false
	case leadingZero.MatchString(n.text):
		return "; with a leading zero it would be octal", false
	case !integer.MatchString(n.text):
		return "; write it with decimal digits only", false
	}
	digits := strings.ReplaceAll(n.text, "_", "")
	if v.CanUint() {
		u, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), 10, v.Type().Bits())
		v.SetUint(u)
		return " (out of range)", err == nil
	}
	i, err := strconv.ParseInt(digits, 10, v.Type().Bits())
	v.SetInt(i)
	return " (out of range)", err == nil
}

func setFloat(v reflect.Value, n *node) (advice string, ok bool) {
	switch {
	case n.tag != "!!int" && n.tag != "!!float" && !n.whole:
		return quoted(n, decimal.MatchString(n.text)), false
	case leadingZero.MatchString(n.text):
		return "; with a leading zero it would be octal", false
	case !decimal.MatchString(n.text):
		return "; write it with decimal digits", false
	}
	x, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), v.Type().Bits())
	v.SetFloat(x)
	return " (out of range)", err == nil && !math.IsInf(x, 0)
}

// bounded reports whether v is within the bounds and choices of its tag, after
// noting if not.
func (l *loader) bounded(v reflect.Value, n *node, path string, f flags) bool {
	switch {
	case v.Kind() == reflect.String && len(f.oneOf) > 0 && !slices.Contains(f.oneOf, v.String()):
		l.atNear(nearest(n.text, f.oneOf), n.place, path, "must be one of %s, not %s", strings.Join(f.oneOf, ", "), n.what())
	case v.Kind() == reflect.String && f.required && v.String() == "":
		l.at(n.place, path, "must not be empty")
	case f.min != "" && less(v, bound(v.Type(), f.min)):
		l.at(n.place, path, "must be at least %s, not %s", f.min, n.bare())
	case f.max != "" && less(bound(v.Type(), f.max), v):
		l.at(n.place, path, "must be at most %s, not %s", f.max, n.bare())
	default:
		return true
	}
	return false
}

// bound is a bound of a tag as a value of type t.
func bound(t reflect.Type, text string) reflect.Value {
	v := reflect.New(t)
	switch u, ok := v.Interface().(encoding.TextUnmarshaler); {
	case ok && u.UnmarshalText([]byte(text)) == nil:
	case v.Elem().CanInt():
		i, _ := strconv.ParseInt(text, 10, 64)
		v.Elem().SetInt(i)
	case v.Elem().CanUint():
		u, _ := strconv.ParseUint(text, 10, 64)
		v.Elem().SetUint(u)
	case v.Elem().CanFloat():
		x, _ := strconv.ParseFloat(text, 64)
		v.Elem().SetFloat(x)
	}
	return v.Elem()
}

func less(a, b reflect.Value) bool {
	switch {
	case a.CanInt():
		return a.Int() < b.Int()
	case a.CanUint():
		return a.Uint() < b.Uint()
	case a.CanFloat():
		return a.Float() < b.Float()
	default:
		return false
	}
}

// value returns the JSON of any YAML: keys in the order, numbers in the spelling
// in which they were written.
func (l *loader) value(n *node, path string) (pipeline.Value, bool) {
	count := len(l.mistakes)
	raw := l.appendValue(nil, n, path)
	if n.bad || len(l.mistakes) > count {
		return pipeline.Value{}, false
	}
	if n.kind == yaml.ScalarNode && n.tag == "!!str" && raw[0] == '"' {
		return pipeline.Text(n.text), true
	}
	return pipeline.RawJSON(string(raw)), true
}

func (l *loader) appendValue(dst []byte, n *node, path string) []byte {
	switch {
	case n.bad:
		return append(dst, "null"...)
	case n.kind == yaml.SequenceNode:
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = l.appendValue(dst, item, path+"["+strconv.Itoa(i)+"]")
		}
		return append(dst, ']')
	case n.kind == yaml.MappingNode:
		dst = append(dst, '{')
		for i, e := range n.entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, _ = jsontext.AppendQuote(dst, e.key.text)
			dst = append(dst, ':')
			dst = l.appendValue(dst, e.value, join(path, e.key.text))
		}
		return append(dst, '}')
	default:
		return l.appendScalar(dst, n, path)
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

func (l *loader) appendScalar(dst []byte, n *node, path string) []byte {
	switch {
	case n.plain() && n.written == "" && jsonNumber.MatchString(n.text) && n.tag != "!!bool" && n.style&yaml.TaggedStyle == 0:
		return append(dst, n.text...)
	case n.tag == "!!null":
		return append(dst, "null"...)
	case n.tag == "!!bool" && slices.Contains([]string{"true", "false"}, strings.ToLower(n.text)):
		return append(dst, strings.ToLower(n.text)...)
	case n.tag == "!!str":
		dst, _ = jsontext.AppendQuote(dst, n.text) // it is valid UTF-8: that was checked
		return dst
	case jsonNumber.MatchString(n.text):
		return append(dst, n.text...)
	default:
		l.at(n.place, path, "%s is not a number as JSON has them; quote it if it is a text: %q", n.text, n.text)
		return append(dst, "null"...)
	}
}
