package pipeline

import (
	"fmt"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Encode returns the record of a Go value: a *Record as it is, else the JSON
// object that v marshals to. Struct tags decide the names of the fields.
func Encode[T any](v T) (*Record, error) {
	if r, ok := any(v).(*Record); ok {
		return r, nil
	}
	raw, err := json.Marshal(v, asWritten())
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	r, err := ParseRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return r, nil
}

// Decode returns the Go value of a record: the record itself for T = *Record,
// else what its JSON object unmarshals to. Fields that T lacks are ignored.
func Decode[T any](r *Record) (T, error) {
	var v T
	if p, ok := any(&v).(**Record); ok {
		*p = r
		return v, nil
	}
	if err := json.Unmarshal(r.AppendJSON(nil), &v, jsontext.AllowDuplicateNames(true)); err != nil {
		return v, fmt.Errorf("decode %T: %w", v, err)
	}
	return v, nil
}
