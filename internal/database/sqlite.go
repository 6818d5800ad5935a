package database

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// sqlite is the dialect of SQLite, whose columns have types only in so far as they
// prefer some: https://sqlite.org/datatype3.html.
type sqlite struct{}

func (sqlite) Name() string         { return SQLite }
func (sqlite) Parameter(int) string { return "?" }
func (sqlite) MaxParameters() int   { return 32766 }

// Read hides the column's type from the driver, which would make times of texts.
func (sqlite) Read(ref string, _ Column) string { return "+" + ref }

func (sqlite) Value(read any, c Column) (pipeline.Value, error) {
	switch v := read.(type) {
	case nil:
		return pipeline.Null(), nil
	case int64:
		if isBool(c) && (v == 0 || v == 1) {
			return pipeline.ValueOf(v == 1)
		}
		return pipeline.ValueOf(v)
	case float64:
		return floatValue(v), nil
	case string:
		if !utf8.ValidString(v) {
			return pipeline.Value{}, fmt.Errorf("column %s holds a text that is not UTF-8; read it as binary: CAST(%s AS BLOB)", c.Name, c.Name)
		}
		return pipeline.Text(v), nil
	case []byte:
		return pipeline.Text(base64.StdEncoding.EncodeToString(v)), nil
	case bool:
		return pipeline.ValueOf(v)
	case time.Time:
		return pipeline.Text(v.Format(time.RFC3339Nano)), nil
	default:
		return pipeline.Value{}, fmt.Errorf("column %s holds a %T", c.Name, read)
	}
}

// floatValue is a number, with a fraction so that it stays one; what JSON has no number
// for is a text.
func floatValue(v float64) pipeline.Value {
	switch {
	case math.IsInf(v, 1):
		return pipeline.Text("Infinity")
	case math.IsInf(v, -1):
		return pipeline.Text("-Infinity")
	}
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return pipeline.RawJSON(s)
}

func isBool(c Column) bool { return c.Type == "BOOLEAN" || c.Type == "BOOL" }

// prefersText and prefersReal are, nearly, the rules by which SQLite gives a column its affinity.
func prefersText(c Column) bool {
	return !strings.Contains(c.Type, "INT") && (strings.Contains(c.Type, "CHAR") || strings.Contains(c.Type, "CLOB") || strings.Contains(c.Type, "TEXT"))
}

func prefersReal(c Column) bool {
	return strings.Contains(c.Type, "REAL") || strings.Contains(c.Type, "FLOA") || strings.Contains(c.Type, "DOUBLE")
}

func (sqlite) Bind(v pipeline.Value, c Column) (any, error) {
	switch v.Kind() {
	case 'n':
		return nil, nil
	case '"':
		return sqliteText(v.Text(), c)
	case '[', '{':
		return v.JSON(), nil
	}
	if prefersText(c) {
		return v.JSON(), nil // as it was written
	}
	switch v.Kind() {
	case 't', 'f':
		return map[bool]int64{true: 1}[v.Kind() == 't'], nil
	default:
		return sqliteNumber(v.JSON(), c)
	}
}

func sqliteText(s string, c Column) (any, error) {
	if strings.Contains(c.Type, "BLOB") {
		return fromBase64(s, c)
	}
	if f, ok := infinity(s, c); ok {
		return f, nil
	}
	return s, nil
}

// infinity is what floatValue made a text of.
func infinity(s string, c Column) (float64, bool) {
	switch {
	case prefersReal(c) && s == "Infinity":
		return math.Inf(1), true
	case prefersReal(c) && s == "-Infinity":
		return math.Inf(-1), true
	default:
		return 0, false
	}
}

func fromBase64(s string, c Column) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("column %s is binary, and takes base64: %w", c.Name, err)
	}
	return b, nil
}

// sqliteNumber is a whole number where it is one. Of fractions a float holds as much as
// it does anywhere.
func sqliteNumber(s string, c Column) (any, error) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	whole := !strings.ContainsAny(s, ".eE")
	if err != nil || whole {
		return nil, fmt.Errorf("column %s cannot hold %s without loss: SQLite has whole numbers of 64 bits and floats; a column of type TEXT can", c.Name, s)
	}
	return f, nil
}

func (sqlite) BindKey(v pipeline.Value, c Column) any {
	switch v.Kind() {
	case '0':
		if i, err := strconv.ParseInt(v.JSON(), 10, 64); err == nil {
			return i
		}
		f, _ := strconv.ParseFloat(v.JSON(), 64) // it was written by floatValue
		return f
	case 't':
		return int64(1)
	case 'f':
		return int64(0)
	default:
		if f, ok := infinity(v.Text(), c); ok {
			return f
		}
		return v.Text()
	}
}

func (sqlite) KeyProblem(c Column) string {
	if strings.Contains(c.Type, "BLOB") {
		return "it is binary"
	}
	return ""
}

func (sqlite) Same(ref, parameter string, _ Column) string { return ref + " IS " + parameter }

func (sqlite) FieldType(Column) pipeline.FieldType { return pipeline.AnyType }

// The codes of SQLite: https://sqlite.org/rescode.html.
const (
	sqliteError      = 1
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteInterrupt  = 9
	sqliteFull       = 13
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20

	sqlitePrimaryKey = sqliteConstraint | 6<<8
	sqliteUnique     = sqliteConstraint | 8<<8
	sqliteRowID      = sqliteConstraint | 10<<8
)

func (sqlite) Classify(err error) error {
	var own interface {
		error
		Code() int
	}
	if !errors.As(err, &own) {
		return nil
	}
	switch own.Code() {
	case sqlitePrimaryKey, sqliteUnique, sqliteRowID:
		return pipeline.Permanent(Taken, err)
	}
	switch own.Code() & 0xff {
	case sqliteBusy, sqliteLocked:
		return pipeline.Transient("busy", fmt.Errorf("somebody else holds the database: %w", err))
	case sqliteConstraint:
		return pipeline.Permanent("constraint", err)
	case sqliteTooBig, sqliteMismatch:
		return pipeline.Permanent("does_not_fit", err)
	case sqliteFull:
		return pipeline.Fatal("disk_full", err)
	case sqliteError:
		return sqliteStatement(err)
	default:
		return pipeline.Fatal("database", err)
	}
}

// sqliteStatement tells a statement that no row can succeed with from one that fails for
// what is in the row, such as a text in which a function looks for JSON: both have the
// same code.
func sqliteStatement(err error) error {
	if strings.Contains(err.Error(), "no such table") {
		return pipeline.Fatal(NoTable, err)
	}
	for _, whole := range []string{"no such", "syntax error", "has no column", "ON CONFLICT clause", "readonly"} {
		if strings.Contains(err.Error(), whole) {
			return pipeline.Fatal("statement", err)
		}
	}
	return pipeline.Permanent("refused", err)
}
