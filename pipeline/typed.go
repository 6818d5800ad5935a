package pipeline

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Encode returns the record of a Go value: a *Record as it is, else the JSON
// object that v marshals to. Struct tags decide the names of the fields, as in
// encoding/json; a time.Time is a string (RFC 3339), a time.Duration a number of
// nanoseconds, a nil slice, map or pointer null. What [Decode] makes of the record is
// equal to v, but for what tags leave out.
func Encode[T any](v T) (*Record, error) {
	if r, ok := any(v).(*Record); ok {
		return r, nil
	}
	raw, err := json.Marshal(v, asWritten(), asInGo())
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	r, err := ParseRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return r, nil
}

// EncodeRow is [Encode] for a source: a *Record is copied, as the run changes its own, and
// of a value that cannot be encoded there is an [Unreadable] record beside the error.
func EncodeRow[T any](v T) (*Record, error) {
	r, err := Encode(v)
	if own, ok := any(v).(*Record); ok && own != nil {
		r = own.Child()
	}
	if err == nil && r == nil {
		err = errors.New("a nil record")
	}
	if err != nil {
		r = Unreadable(fmt.Appendf(nil, "%+v", v))
	}
	if r.Origin == (Origin{}) {
		r.Origin.Offset = -1 // it stood nowhere
	}
	return r, err
}

// Decode returns the Go value of a record: the record itself for T = *Record,
// else what its JSON object unmarshals to. Fields that T lacks are ignored.
func Decode[T any](r *Record) (T, error) {
	var v T
	if p, ok := any(&v).(**Record); ok {
		*p = r
		return v, nil
	}
	if err := json.Unmarshal(r.AppendJSON(nil), &v, jsontext.AllowDuplicateNames(true), asInGo()); err != nil {
		return v, fmt.Errorf("decode %T: %w", v, err)
	}
	return v, nil
}

// CheckType says, before there is a value, whether values of type T can be rows at
// all. It refuses what never is a JSON object, a number or a list for instance; of a
// type that marshals itself, or an interface, only a value can tell.
func CheckType[T any]() error {
	t := reflect.TypeFor[T]()
	bare := t
	for bare.Kind() == reflect.Pointer {
		bare = bare.Elem()
	}
	var example T
	switch any(example).(type) {
	case *Record, json.MarshalerTo, json.Marshaler:
		return nil
	case encoding.TextMarshaler, encoding.TextAppender:
		return fmt.Errorf("type %v cannot be a row: it is written as a text, and a row is a JSON object", t)
	}
	switch bare.Kind() {
	case reflect.Struct, reflect.Map, reflect.Interface:
		return nil
	default:
		return fmt.Errorf("type %v cannot be a row: a row is a JSON object, so make it a struct or a map", t)
	}
}

// asInGo are the options by which a Go value comes back as it was.
func asInGo() json.Options {
	return json.JoinOptions(jsonv1.FormatDurationAsNano(true), json.FormatNilSliceAsNull(true), json.FormatNilMapAsNull(true))
}
