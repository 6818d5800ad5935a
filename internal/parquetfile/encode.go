package parquetfile

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/rowmill/rowmill/pipeline"
)

// encoder turns records into the values of the columns.
type encoder struct {
	root    *target
	columns [][]parquet.Value // of the record that is encoded, by column
	size    int               // bytes of the record, about
}

// target is a Type with the place of its values.
type target struct {
	*Type
	name    string // its path, for messages
	fields  []*target
	index   map[string]int // of the fields, by name
	key     int            // of a Map: the column of the names
	item    *target
	itemRep int
	column  int   // of a leaf
	leaves  []int // the columns of all that is below
}

func newEncoder(root *Type) *encoder {
	e := new(encoder)
	e.root = e.target("", root, 0)
	return e
}

func (e *encoder) leaf(t *target) int {
	e.columns = append(e.columns, nil)
	column := len(e.columns) - 1
	t.leaves = append(t.leaves, column)
	return column
}

// target lays out the columns of a type, in the order in which they are written.
func (e *encoder) target(name string, typ *Type, rep int) *target {
	t := &target{Type: typ.written(), name: name, itemRep: rep + 1}
	switch t.Kind {
	case Object:
		t.index = map[string]int{}
		for i, f := range t.Fields {
			child := e.target(join(name, f.Name), f.Type, rep)
			t.fields, t.leaves = append(t.fields, child), append(t.leaves, child.leaves...)
			t.index[f.Name] = i
		}
	case Map:
		t.key = e.leaf(t)
		t.item = e.target(name+".*", t.Item, rep+1)
		t.leaves = append(t.leaves, t.item.leaves...)
	case List:
		t.item = e.target(name+"[]", t.Item, rep+1)
		t.leaves = append(t.leaves, t.item.leaves...)
	default:
		t.column = e.leaf(t)
	}
	return t
}

// written is the type that a column has in the file: what was never seen can be anything.
func (t *Type) written() *Type {
	if t.Kind == Unknown || t.Kind == Object && len(t.Fields) == 0 {
		return &Type{Kind: JSON}
	}
	return t
}

// encode lays out a record; the error says which field does not fit, and why.
func (e *encoder) encode(r *pipeline.Record) error {
	for i := range e.columns {
		e.columns[i] = e.columns[i][:0]
	}
	e.size = 0
	return e.object(e.root, r.Fields(), 0, 0)
}

func (e *encoder) add(column int, v parquet.Value, rep, def int) {
	e.columns[column] = append(e.columns[column], v.Level(rep, def, column))
}

// none notes that there is nothing at t.
func (e *encoder) none(t *target, rep, def int) {
	for _, c := range t.leaves {
		e.add(c, parquet.NullValue(), rep, def)
	}
}

func (e *encoder) value(t *target, v pipeline.Value, rep, def int) error {
	if v.IsNull() && !(t.Kind == JSON && t.Required) {
		if t.Required {
			return fmt.Errorf("%s is null, and must not be", t.name)
		}
		e.none(t, rep, def)
		return nil
	}
	if !t.Required {
		def++
	}
	switch t.Kind {
	case Object:
		members, ok := v.Members()
		if !ok {
			return t.refuse(v, "an object")
		}
		return e.object(t, members, rep, def)
	case List:
		return e.list(t, v, rep, def)
	case Map:
		return e.pairs(t, v, rep, def)
	}
	value, err := t.leafValue(v)
	if err != nil {
		return err
	}
	e.size += 8
	if value.Kind() == parquet.ByteArray {
		e.size += len(value.ByteArray())
	}
	e.add(t.column, value, rep, def)
	return nil
}

func (e *encoder) object(t *target, members []pipeline.Field, rep, def int) error {
	var few [32]int
	at := append(few[:0], make([]int, len(t.fields))...) // which member is a field's, from 1: the last counts
	for i, m := range members {
		k, known := t.index[m.Name]
		if !known {
			return fmt.Errorf("%s is no column of the schema", join(t.name, m.Name))
		}
		at[k] = i + 1
	}
	for k, field := range t.fields {
		v := pipeline.Null()
		if at[k] > 0 {
			v = members[at[k]-1].Value
		}
		if err := e.value(field, v, rep, def); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) list(t *target, v pipeline.Value, rep, def int) error {
	items, ok := v.Elements()
	if !ok {
		return t.refuse(v, "a list")
	}
	if len(items) == 0 {
		e.none(t, rep, def)
	}
	for _, item := range items {
		if err := e.value(t.item, item, rep, def+1); err != nil {
			return err
		}
		rep = t.itemRep
	}
	return nil
}

func (e *encoder) pairs(t *target, v pipeline.Value, rep, def int) error {
	members, ok := v.Members()
	if !ok {
		return t.refuse(v, "an object")
	}
	if len(members) == 0 {
		e.none(t, rep, def)
	}
	for _, m := range members {
		e.add(t.key, parquet.ByteArrayValue([]byte(m.Name)), rep, def+1)
		e.size += len(m.Name) + 8
		if err := e.value(t.item, m.Value, rep, def+1); err != nil {
			return err
		}
		rep = t.itemRep
	}
	return nil
}

// mostShown bounds what a message shows of a value.
const mostShown = 60

func (t *target) refuse(v pipeline.Value, want string) error {
	text := v.JSON()
	if len(text) > mostShown {
		text = strings.ToValidUTF8(text[:mostShown], "") + "…"
	}
	if want == "" {
		want = t.Type.String()
	}
	return fmt.Errorf("%s is %s, and the column takes %s", t.name, text, want)
}

// leafValue returns the value of a column, which is exactly what v is.
func (t *target) leafValue(v pipeline.Value) (parquet.Value, error) {
	kind := v.Kind()
	switch t.Kind {
	case JSON:
		return parquet.ByteArrayValue([]byte(v.JSON())), nil
	case Bool:
		if kind == 't' || kind == 'f' {
			return parquet.BooleanValue(kind == 't'), nil
		}
	case Int, Uint:
		if kind == '0' {
			return t.integer(v)
		}
	case Float, Double:
		return t.float(v)
	case Decimal:
		if kind == '0' || kind == '"' {
			return t.decimal(v)
		}
	case String:
		if text := v.Text(); kind == '"' {
			if !utf8.ValidString(text) {
				return parquet.Value{}, fmt.Errorf("%s is a text that is not UTF-8", t.name)
			}
			return parquet.ByteArrayValue([]byte(text)), nil
		}
	default:
		if kind == '"' {
			value, err := t.fromText(v.Text())
			if err != nil {
				return parquet.Value{}, t.refuse(v, t.Type.String()+": "+err.Error())
			}
			return value, nil
		}
	}
	return parquet.Value{}, t.refuse(v, "")
}

func (t *target) integer(v pipeline.Value) (parquet.Value, error) {
	text := v.Text()
	if d, ok := parseDecimal(text); ok && strings.ContainsAny(text, ".eE") { // 1.0 and 1e3 are whole too
		if units, ok := d.units(0, 20); ok {
			text = units
		}
	}
	if text == "-0" {
		text = "0"
	}
	var bits uint64
	if t.Kind == Uint {
		u, err := strconv.ParseUint(text, 10, t.Bits)
		if err != nil {
			return parquet.Value{}, t.refuse(v, "")
		}
		bits = u
	} else {
		i, err := strconv.ParseInt(text, 10, t.Bits)
		if err != nil {
			return parquet.Value{}, t.refuse(v, "")
		}
		bits = uint64(i)
	}
	if t.Bits <= 32 {
		return parquet.Int32Value(int32(bits)), nil
	}
	return parquet.Int64Value(int64(bits)), nil
}

func (t *target) float(v pipeline.Value) (parquet.Value, error) {
	bits := 64
	if t.Kind == Float {
		bits = 32
	}
	var f float64
	ok := false
	switch text := v.Text(); {
	case v.Kind() == '0':
		f, ok = fitsFloat(text, bits)
	case v.Kind() != '"':
	case text == "NaN":
		f, ok = math.NaN(), true
	case text == "Infinity":
		f, ok = math.Inf(1), true
	case text == "-Infinity":
		f, ok = math.Inf(-1), true
	}
	if !ok {
		return parquet.Value{}, t.refuse(v, t.Type.String()+", without loss")
	}
	if bits == 32 {
		return parquet.FloatValue(float32(f)), nil
	}
	return parquet.DoubleValue(f), nil
}

func (t *target) decimal(v pipeline.Value) (parquet.Value, error) {
	d, ok := parseDecimal(v.Text())
	units, fits := d.units(t.Scale, t.Precision)
	if !ok || !fits {
		return parquet.Value{}, t.refuse(v, "")
	}
	n, _ := new(big.Int).SetString(units, 10) // digits and a sign
	switch size := decimalBytes(t.Precision); size {
	case 4:
		return parquet.Int32Value(int32(n.Int64())), nil
	case 8:
		return parquet.Int64Value(n.Int64()), nil
	default:
		if n.Sign() < 0 {
			n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(size)*8))
		}
		return parquet.FixedLenByteArrayValue(n.FillBytes(make([]byte, size))), nil
	}
}

// decimalBytes is how many bytes a decimal of that many digits takes.
func decimalBytes(precision int) int {
	switch {
	case precision <= 9:
		return 4
	case precision <= 18:
		return 8
	default:
		return 16
	}
}

var (
	errBase64 = errors.New("it is no base64")
	errUUID   = errors.New("it is no UUID")
	errTime   = errors.New("it is written in another way")
	errFine   = errors.New("it is finer than the column")
	errRange  = errors.New("it is out of range")
)

// fromText reads what is a text in JSON and something else in Parquet.
func (t *target) fromText(text string) (parquet.Value, error) {
	switch t.Kind {
	case Binary:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return parquet.Value{}, errBase64
		}
		return parquet.ByteArrayValue(b), nil
	case UUID:
		if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
			return parquet.Value{}, errUUID
		}
		b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
		if err != nil || len(b) != 16 {
			return parquet.Value{}, errUUID
		}
		return parquet.FixedLenByteArrayValue(b), nil
	case Date:
		day, err := parseDate(text)
		if err == nil && day != int64(int32(day)) {
			err = errRange
		}
		return parquet.Int32Value(int32(day)), err
	case Time:
		return t.timeOfDay(text)
	default:
		return t.timestamp(text)
	}
}
