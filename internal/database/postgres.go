package database

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// postgres is the dialect of PostgreSQL. What is read comes as JSON from the server, and
// what is written goes there as text: the server knows its own types best.
type postgres struct{}

func (postgres) Name() string           { return PostgreSQL }
func (postgres) Parameter(n int) string { return "$" + strconv.Itoa(n) }
func (postgres) MaxParameters() int     { return 65535 }

// Read is the server's own JSON: numbers as they are, times as ISO 8601, NaN and infinity
// as texts, lists as lists. What is binary is base64.
func (postgres) Read(ref string, c Column) string {
	if c.Type == "BYTEA" {
		return `translate(encode(` + ref + `, 'base64'), E'\n', '')`
	}
	return "to_json(" + ref + ")::text"
}

func (postgres) Value(read any, c Column) (pipeline.Value, error) {
	var s string
	switch v := read.(type) {
	case nil:
		return pipeline.Null(), nil
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		return pipeline.Value{}, fmt.Errorf("column %s holds a %T", c.Name, read)
	}
	if c.Type == "BYTEA" {
		return pipeline.Text(s), nil
	}
	if strings.ContainsAny(s, "\n\r") { // the type json keeps its line breaks
		raw := jsontext.Value(s)
		if err := raw.Compact(jsontext.PreserveRawStrings(true), jsontext.AllowDuplicateNames(true)); err != nil {
			return pipeline.Value{}, fmt.Errorf("column %s: %w", c.Name, err)
		}
		s = string(raw)
	}
	return pipeline.ParseValue([]byte(s))
}

func (postgres) Bind(v pipeline.Value, c Column) (any, error) {
	switch {
	case v.IsNull():
		return nil, nil
	case c.Type == "JSON" || c.Type == "JSONB":
		return v.JSON(), nil
	case c.Type == "BYTEA" && v.Kind() == '"':
		b, err := fromBase64(v.Text(), c)
		return `\x` + hex.EncodeToString(b), err
	case v.Kind() == '[' && strings.HasPrefix(c.Type, "_"):
		return arrayText(v, c)
	case v.Kind() == '0':
		return wholeNumber(v.JSON(), c), nil
	default:
		return v.Text(), nil
	}
}

// wholeNumber writes 3.0 and 3e2 as the whole numbers that they are, for columns that take
// nothing else.
func wholeNumber(s string, c Column) string {
	if c.Type != "INT2" && c.Type != "INT4" && c.Type != "INT8" || !strings.ContainsAny(s, ".eE") {
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != float64(int64(f)) || f > 1<<53 || f < -(1<<53) {
		return s // the server says what is wrong with it
	}
	return strconv.FormatInt(int64(f), 10)
}

// arrayText is a list as PostgreSQL writes arrays:
// https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO.
func arrayText(v pipeline.Value, c Column) (string, error) {
	var items []pipeline.Value
	d := jsontext.NewDecoder(strings.NewReader(v.JSON()), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return "", err
	}
	for d.PeekKind() != ']' {
		raw, err := d.ReadValue()
		if err != nil {
			return "", err
		}
		items = append(items, pipeline.RawJSON(string(raw)))
	}
	texts := make([]string, len(items))
	for i, item := range items {
		var err error
		if texts[i], err = arrayItem(item, c); err != nil {
			return "", err
		}
	}
	return "{" + strings.Join(texts, ",") + "}", nil
}

func arrayItem(v pipeline.Value, c Column) (string, error) {
	ofJSON := c.Type == "_JSON" || c.Type == "_JSONB"
	switch {
	case v.IsNull():
		return "NULL", nil
	case v.Kind() == '[' && !ofJSON:
		return arrayText(v, c)
	case ofJSON:
		return quoteItem(v.JSON()), nil
	default:
		return quoteItem(v.Text()), nil
	}
}

func quoteItem(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (postgres) BindKey(v pipeline.Value, _ Column) any { return v.Text() }

func (postgres) KeyProblem(c Column) string {
	switch {
	case c.Type == "BYTEA":
		return "it is binary"
	case c.Type == "JSON", c.Type == "JSONB", strings.HasPrefix(c.Type, "_"):
		return "it holds more than one value"
	default:
		return ""
	}
}

// Same compares json, which cannot be compared, as jsonb.
func (postgres) Same(ref, parameter string, c Column) string {
	if c.Type == "JSON" {
		ref, parameter = ref+"::jsonb", parameter+"::jsonb"
	}
	return ref + " IS NOT DISTINCT FROM " + parameter
}

// FieldType is known of types that have no value which JSON has none for.
func (postgres) FieldType(c Column) pipeline.FieldType {
	switch c.Type {
	case "INT2", "INT4", "INT8":
		return pipeline.NumberType
	case "BOOL":
		return pipeline.BoolType
	default:
		return pipeline.AnyType
	}
}

// Classify goes by SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html.
func (postgres) Classify(err error) error {
	var own interface {
		error
		SQLState() string
	}
	if !errors.As(err, &own) || len(own.SQLState()) != 5 {
		return nil
	}
	state := own.SQLState()
	switch state {
	case "23505":
		return pipeline.Permanent(Taken, err)
	case "57014": // cancelled, perhaps by a limit of time of the server's
		return pipeline.Transient("cancelled", err)
	case "42P01":
		return pipeline.Fatal(NoTable, err)
	case "53100":
		return pipeline.Fatal("disk_full", err)
	case "57P01", "57P02", "57P03", "57P05", "55P03", "40001", "40P01", "25P03":
		return pipeline.Transient("sqlstate_"+state, err)
	}
	switch state[:2] {
	case "08", "53":
		return pipeline.Transient("sqlstate_"+state, err)
	case "21", "22", "23", "44", "54", "P0":
		return pipeline.Permanent("sqlstate_"+state, err)
	default:
		return pipeline.Fatal("sqlstate_"+state, err)
	}
}
