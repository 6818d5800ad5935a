package parquetfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Kind is a type that a column is written as.
type Kind string

// The kinds of column. Those of numbers and times have their width or unit beside them.
const (
	// Unknown is of a column that held nothing but null so far, or objects and lists
	// without anything in them. It is written as JSON.
	Unknown Kind = ""
	Bool    Kind = "bool"
	Int     Kind = "int"
	Uint    Kind = "uint"
	Float   Kind = "float"
	Double  Kind = "double"
	Decimal Kind = "decimal"
	String  Kind = "string"
	// JSON takes any value, and is it again when it is read.
	JSON      Kind = "json"
	Binary    Kind = "binary"
	UUID      Kind = "uuid"
	Date      Kind = "date"
	Time      Kind = "time"
	Timestamp Kind = "timestamp"
	Local     Kind = "local_timestamp"
	Object    Kind = "object"
	List      Kind = "list"
	Map       Kind = "map"
)

// Type is the type of a column, or of what is in it.
type Type struct {
	Kind Kind
	// Bits is the width of Int and Uint.
	Bits int
	// Precision and Scale are of Decimal: how many digits, and how many of them behind the
	// point.
	Precision, Scale int
	// Unit is the smallest step of Time, Timestamp and Local: ms, us or ns.
	Unit string
	// Required columns are never null.
	Required bool
	// Fields are those of an Object.
	Fields []Field
	// Item is what a List has, or a Map under its names.
	Item *Type

	// wide is of an Int that is inferred: there was one that a Double cannot hold.
	wide bool
}

// Field is a named Type.
type Field struct {
	Name string
	Type *Type
}

func (t *Type) field(name string) *Type {
	for _, f := range t.Fields {
		if f.Name == name {
			return f.Type
		}
	}
	return nil
}

// ParseSchema reads the columns of a file as they are written in YAML: an object of types
// by name. A type is a text, such as "int64", "decimal(10, 2)" or "string not null"; an
// object for an object; a list of one type for a list; and an object with the one name
// "*" for a map. The error is [pipeline.Problems], by path.
func ParseSchema(v pipeline.Value) (*Type, error) {
	var problems pipeline.Problems
	t := parseType("", v, &problems)
	if t != nil && t.Kind != Object && len(problems) == 0 {
		problems.Addf("", "the columns are a mapping of types by name, like {id: int64, tags: [string]}")
	}
	return t, problems.Err()
}

func parseType(at string, v pipeline.Value, problems *pipeline.Problems) *Type {
	switch v.Kind() {
	case '"':
		t, err := parseName(v.Text())
		if err != nil {
			*problems = append(*problems, pipeline.Problem{Key: at, Err: err})
		}
		return t
	case '[':
		items, _ := v.Elements()
		if len(items) != 1 {
			problems.Addf(at, "a list has one type, which is that of all its items: [string]")
			return nil
		}
		return &Type{Kind: List, Item: parseType(at+"[0]", items[0], problems)}
	case '{':
		return parseFields(at, v, problems)
	default:
		problems.Addf(at, "a type is a text like int64, a list of one, or a mapping")
		return nil
	}
}

func parseFields(at string, v pipeline.Value, problems *pipeline.Problems) *Type {
	members, _ := v.Members()
	if len(members) == 0 {
		problems.Addf(at, "it has no fields; a value of any form is json")
		return nil
	}
	if len(members) == 1 && members[0].Name == "*" {
		return &Type{Kind: Map, Item: parseType(join(at, "*"), members[0].Value, problems)}
	}
	t := &Type{Kind: Object}
	for _, m := range members {
		if t.field(m.Name) != nil {
			problems.Addf(join(at, m.Name), "it is there twice")
		}
		t.Fields = append(t.Fields, Field{m.Name, parseType(join(at, m.Name), m.Value, problems)})
	}
	return t
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// typeNames are all there are, for messages.
const typeNames = "bool, int8 to int64, uint8 to uint64, float, double, decimal(precision, scale), string, json, binary, uuid, date, " +
	"time, timestamp and local_timestamp (of ms, us or ns: timestamp(ms))"

// notNull stands behind the type of a column that is never null.
const notNull = " not null"

// parseName reads a type that is one word, perhaps with something in brackets behind.
func parseName(text string) (*Type, error) {
	name, required := strings.CutSuffix(strings.TrimSpace(text), notNull)
	name, rest, _ := strings.Cut(name, "(")
	args := strings.Split(strings.TrimSuffix(strings.TrimSpace(rest), ")"), ",")
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	t := &Type{Kind: Kind(strings.TrimSpace(name)), Required: required}
	var ok bool
	switch t.Kind {
	case Bool, Float, Double, String, JSON, Binary, UUID, Date:
		ok = rest == ""
	case Decimal:
		ok = len(args) == 2 && t.setDecimal(args)
	case Time, Timestamp, Local:
		t.Unit = args[0]
		if rest == "" {
			t.Unit = "us"
		}
		ok = len(args) == 1 && slices.Contains([]string{"ms", "us", "ns"}, t.Unit)
	default:
		ok = rest == "" && t.setInteger(string(t.Kind))
	}
	if !ok {
		return nil, fmt.Errorf("%q is no type; there are %s", text, typeNames)
	}
	return t, nil
}

// maxPrecision is what readers support: 16 bytes.
const maxPrecision = 38

func (t *Type) setDecimal(args []string) bool {
	var err, err2 error
	t.Precision, err = strconv.Atoi(args[0])
	t.Scale, err2 = strconv.Atoi(args[1])
	return err == nil && err2 == nil && t.Precision >= 1 && t.Precision <= maxPrecision && t.Scale >= 0 && t.Scale <= t.Precision
}

func (t *Type) setInteger(name string) bool {
	rest, unsigned := strings.CutPrefix(name, string(Uint))
	t.Kind = Uint
	if !unsigned {
		t.Kind = Int
		var ok bool
		if rest, ok = strings.CutPrefix(name, string(Int)); !ok {
			return false
		}
	}
	t.Bits, _ = strconv.Atoi(rest)
	return rest == strconv.Itoa(t.Bits) && slices.Contains([]int{8, 16, 32, 64}, t.Bits)
}

// AppendJSON appends the type as [ParseSchema] reads it.
func (t *Type) AppendJSON(dst []byte) []byte {
	switch t = t.written(); t.Kind {
	case Object:
		dst = append(dst, '{')
		for i, f := range t.Fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(pipeline.Text(f.Name).AppendJSON(dst), ':')
			dst = f.Type.AppendJSON(dst)
		}
		return append(dst, '}')
	case List:
		return append(t.Item.AppendJSON(append(dst, '[')), ']')
	case Map:
		return append(t.Item.AppendJSON(append(dst, `{"*":`...)), '}')
	}
	return pipeline.Text(t.String()).AppendJSON(dst)
}

// String returns the name of a type that has one.
func (t *Type) String() string {
	name := string(t.Kind)
	switch t.Kind {
	case Unknown:
		name = string(JSON)
	case Int, Uint:
		name += strconv.Itoa(t.Bits)
	case Decimal:
		name = fmt.Sprintf("decimal(%d, %d)", t.Precision, t.Scale)
	case Time, Timestamp, Local:
		name += "(" + t.Unit + ")"
	}
	if t.Required {
		name += notNull
	}
	return name
}

// Schema says which columns a file has. It is either given, or found out from the first
// rows: until it is sealed, every row fits.
type Schema struct {
	root   *Type
	hints  pipeline.Shape
	sealed bool
	check  *encoder // of the sealed schema
}

// Given returns a schema of columns that are known. The root is an Object.
func Given(root *Type) *Schema { return &Schema{root: root, sealed: true} }

// Inferred returns a schema that is found out. The fields of the shape become columns
// whether they come or not, behind those of the rows unless it knows all there are; begin
// is what is known of them already, nil for nothing.
func Inferred(shape pipeline.Shape, begin *Type) *Schema {
	s := &Schema{root: begin, hints: shape}
	if begin == nil {
		s.root = &Type{Kind: Object}
	}
	if shape.Closed {
		s.expect()
	}
	return s
}

// expect makes columns of the fields that are to come.
func (s *Schema) expect() {
	for _, f := range s.hints.Fields {
		if s.root.field(f.Name) == nil {
			s.root.Fields = append(s.root.Fields, Field{f.Name, &Type{}})
		}
	}
}

// Root are the columns as far as they are known.
func (s *Schema) Root() *Type { return s.root }

// Columns is how many there are.
func (s *Schema) Columns() int { return len(s.root.Fields) }

// Fit says why a row cannot be written. While the schema is not sealed it is made to fit.
func (s *Schema) Fit(r *pipeline.Record) error {
	if !r.Readable() {
		return errors.New("the row could not be read")
	}
	if !s.sealed {
		for _, f := range r.Fields() {
			s.root.widenField(f.Name, f.Value)
		}
		return nil
	}
	if s.check == nil {
		s.check = newEncoder(s.root)
	}
	return s.check.encode(r)
}

// Seal ends finding out: from now on a row fits or does not.
func (s *Schema) Seal() {
	if s.sealed {
		return
	}
	s.sealed = true
	s.expect()
	for _, f := range s.root.Fields {
		if hint, ok := s.hints.Lookup(f.Name); ok && f.Type.Kind == Unknown {
			switch hint.Type {
			case pipeline.StringType:
				f.Type.Kind = String
			case pipeline.BoolType:
				f.Type.Kind = Bool
			}
		}
	}
}
