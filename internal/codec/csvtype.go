package codec

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// ColumnType is the type of a CSV column.
type ColumnType string

// The types. In a column of a type other than a string an empty cell is null.
const (
	// String is what a column is unless told otherwise; an empty cell is "".
	String ColumnType = "string"
	// Number is decimal: "12", "-0.5", "1e6". One that is written as in JSON keeps its spelling.
	Number ColumnType = "number"
	// Bool is true or false, yes or no, 1 or 0, in any case of letters.
	Bool ColumnType = "bool"
	// AnyJSON is any JSON value.
	AnyJSON ColumnType = "json"
)

// ParseColumnType returns the type of that name.
func ParseColumnType(name string) (ColumnType, error) {
	switch t := ColumnType(name); t {
	case String, Number, Bool, AnyJSON:
		return t, nil
	default:
		return "", fmt.Errorf("%q is no type of a column; use string, number, bool or json", name)
	}
}

// FieldType is what the rest of the pipeline knows of such a field.
func (t ColumnType) FieldType() pipeline.FieldType {
	switch t {
	case Number:
		return pipeline.NumberType
	case Bool:
		return pipeline.BoolType
	case AnyJSON:
		return pipeline.AnyType
	default:
		return pipeline.StringType
	}
}

// value returns what a cell says.
func (t ColumnType) value(cell string) (pipeline.Value, error) {
	if t == String || t == "" {
		return pipeline.Text(cell), nil
	}
	trimmed := strings.TrimSpace(cell)
	if trimmed == "" {
		return pipeline.Null(), nil
	}
	switch t {
	case Number:
		if n, ok := jsonNumber(trimmed); ok {
			return pipeline.RawJSON(n), nil
		}
		return pipeline.Value{}, fmt.Errorf("%s is no number", quoteShort(cell))
	case Bool:
		switch strings.ToLower(trimmed) {
		case "true", "yes", "1":
			return pipeline.RawJSON("true"), nil
		case "false", "no", "0":
			return pipeline.RawJSON("false"), nil
		}
		return pipeline.Value{}, fmt.Errorf("%s is neither true nor false", quoteShort(cell))
	default:
		v, err := pipeline.ParseValue([]byte(trimmed))
		if err != nil {
			return v, fmt.Errorf("%s: %w", quoteShort(cell), err)
		}
		return v, nil
	}
}

func quoteShort(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// jsonNumber returns a decimal number as JSON has it: as it is where that is JSON,
// else without what JSON does not allow: "+1", "007", ".5", "5.".
func jsonNumber(s string) (string, bool) {
	if isJSONNumber(s) {
		return s, true
	}
	sign := ""
	switch s[0] {
	case '-':
		sign, s = "-", s[1:]
	case '+':
		s = s[1:]
	}
	end := strings.IndexAny(s, "eE")
	if end < 0 {
		end = len(s)
	}
	whole, fraction, point := strings.Cut(s[:end], ".")
	if digits := whole + fraction; digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if point && fraction != "" {
		fraction = "." + fraction
	}
	s = sign + whole + fraction + s[end:]
	return s, isJSONNumber(s)
}

func isJSONNumber(s string) bool {
	if c := s[len(s)-1]; c < '0' || '9' < c { // no white space, no literal
		return false
	}
	return (s[0] == '-' || '0' <= s[0] && s[0] <= '9') && jsontext.Value(s).IsValid()
}
