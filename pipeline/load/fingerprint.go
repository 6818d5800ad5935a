package load

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/rowmill/rowmill/pipeline"
)

// fingerprint notes what shapes the rows and the answers in a configuration: the
// digest of every key that is no tuning, by its path. Defaults count like what was
// written, and secrets not at all.
func (l *loader) fingerprint(v reflect.Value, path string) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer && !v.IsNil():
		l.fingerprint(v.Elem(), path)
	case t.Kind() == reflect.Struct && len(fieldsOf(t)) > 0:
		l.shapes(path, "")
		for _, f := range fieldsOf(t) {
			value := v.FieldByIndex(f.index)
			if !f.tuning && !is[captured](value.Type()) && !is[pipeline.Secret](value.Type()) && !value.IsZero() {
				l.fingerprint(value, join(path, f.name))
			}
		}
	default:
		sum := sha256.Sum256(appendCanonical(nil, v))
		l.shapes(path, hex.EncodeToString(sum[:8]))
	}
}

func (l *loader) shapes(path, digest string) {
	if l.shape == nil {
		l.shape = map[string]string{}
	}
	l.shape[path] = digest
}

// appendCanonical appends a value so that two that are the same look the same.
func appendCanonical(dst []byte, v reflect.Value) []byte {
	if text, ok := v.Interface().(encoding.TextMarshaler); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		if b, err := text.MarshalText(); err == nil {
			return strconv.AppendQuote(dst, string(b))
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(dst, "null"...)
		}
		return appendCanonical(dst, v.Elem())
	case reflect.Slice, reflect.Array:
		dst = append(dst, '[')
		for i := range v.Len() {
			dst = append(appendCanonical(dst, v.Index(i)), ',')
		}
		return append(dst, ']')
	case reflect.Map:
		return appendCanonicalMap(dst, v)
	case reflect.Struct:
		return appendCanonicalStruct(dst, v)
	default:
		return fmt.Appendf(dst, "%q", fmt.Sprint(v.Interface()))
	}
}

func appendCanonicalMap(dst []byte, v reflect.Value) []byte {
	entries := map[string]reflect.Value{}
	for it := v.MapRange(); it.Next(); {
		entries[fmt.Sprint(it.Key().Interface())] = it.Value()
	}
	dst = append(dst, '{')
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		dst = append(strconv.AppendQuote(dst, key), ':')
		dst = append(appendCanonical(dst, entries[key]), ',')
	}
	return append(dst, '}')
}

// appendCanonicalStruct leaves out tuning, as in a list of structs; a type without
// keys of its own is what it prints as.
func appendCanonicalStruct(dst []byte, v reflect.Value) []byte {
	fields := fieldsOf(v.Type())
	if len(fields) == 0 {
		return fmt.Appendf(dst, "%q", fmt.Sprint(v.Interface()))
	}
	dst = append(dst, '{')
	for _, f := range fields {
		if value := v.FieldByIndex(f.index); !f.tuning && !is[pipeline.Secret](value.Type()) && !value.IsZero() {
			dst = append(strconv.AppendQuote(dst, f.name), ':')
			dst = append(appendCanonical(dst, value), ',')
		}
	}
	return append(dst, '}')
}
