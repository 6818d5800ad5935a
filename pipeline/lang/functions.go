package lang

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/vm/runtime"

	"github.com/rowmill/rowmill/pipeline"
)

// functions returns the functions that are ours: some in the place of expr's,
// and the operations that patch puts in.
func functions() map[string]*builtin.Function {
	table := map[string]*builtin.Function{
		"string":   {Func: stringOf, Types: []reflect.Type{reflect.TypeFor[func(any) string]()}},
		"toJSON":   {Func: toJSON, Types: []reflect.Type{reflect.TypeFor[func(any) string]()}},
		"fromJSON": {Func: fromJSON, Types: []reflect.Type{reflect.TypeFor[func(string) any]()}},
		opAdd:      {Func: binary(add)},
		opSubtract: {Func: binary(subtract)},
		opMultiply: {Func: binary(multiply)},
		opSlice:    {Func: cut},
		opIndex:    {Func: binary(index)},
		opIn:       {Func: isIn, Types: []reflect.Type{reflect.TypeFor[func(any, *constantSet) bool]()}},
		opPath:     {Func: walkPath},
	}
	for name, fn := range table {
		fn.Name = name
	}
	return table
}

// stringOf, toJSON and fromJSON replace functions of expr that write Go's syntax
// for lists and objects, indent and lose digits.
func stringOf(args ...any) (any, error) { return text(args[0]), nil }

func toJSON(args ...any) (any, error) {
	raw, err := appendJSON(nil, args[0])
	return string(raw), err
}

func fromJSON(args ...any) (any, error) {
	s, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("fromJSON takes a text, not %s", typeName(args[0]))
	}
	v, err := pipeline.ParseValue([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("fromJSON: %w", err)
	}
	return decode(v), nil
}

func binary(f func(a, b any) (any, error)) func(...any) (any, error) {
	return func(args ...any) (any, error) { return f(args[0], args[1]) }
}

var errOverflow = errors.New("the result does not fit 64 bits")

// maxText bounds a text that an expression or a template makes, in bytes.
const maxText = 64 << 20

var errLong = errors.New("the text gets longer than 64 MiB")

func add(a, b any) (any, error) {
	switch x := a.(type) {
	case int:
		if y, ok := b.(int); ok {
			if sum := x + y; (sum > x) == (y > 0) {
				return sum, nil
			}
			return nil, errOverflow
		}
	case string:
		if y, ok := b.(string); ok && len(x)+len(y) > maxText {
			return nil, errLong
		}
	}
	return runtime.Add(a, b), nil
}

func subtract(a, b any) (any, error) {
	if x, ok := a.(int); ok {
		if y, ok := b.(int); ok {
			if diff := x - y; (diff < x) == (y > 0) {
				return diff, nil
			}
			return nil, errOverflow
		}
	}
	return runtime.Subtract(a, b), nil
}

func multiply(a, b any) (any, error) {
	x, ok := a.(int)
	y, too := b.(int)
	if !ok || !too {
		return runtime.Multiply(a, b), nil
	}
	high, low := bits.Mul64(magnitude(x), magnitude(y))
	negative := (x < 0) != (y < 0)
	if high != 0 || low > math.MaxInt64 && !(negative && low == 1<<63) {
		return nil, errOverflow
	}
	return x * y, nil
}

func magnitude(x int) uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

// cut returns a part of a text, in characters, or of a list.
func cut(args ...any) (any, error) {
	whole, from, to := args[0], args[1], args[2]
	s, isText := whole.(string)
	if isText {
		whole = []rune(s)
	}
	if from == nil {
		from = 0
	}
	if to == nil {
		to = math.MaxInt
	}
	part := runtime.Slice(whole, from, to)
	if isText {
		return string(part.([]rune)), nil
	}
	return part, nil
}

// index returns one character of a text, or what expr finds.
func index(of, at any) (any, error) {
	if s, ok := of.(string); ok {
		r, ok := runtime.Fetch([]rune(s), at).(rune)
		if !ok {
			return nil, fmt.Errorf("a text has no %v", at)
		}
		return string(r), nil
	}
	return runtime.Fetch(of, at), nil
}

func isIn(args ...any) (any, error) {
	set, ok := args[1].(*constantSet)
	return ok && set.has(args[0]), nil
}

// walkPath goes into a value that nobody decodes.
func walkPath(args ...any) (any, error) {
	p := args[1].(*path)
	v, ok := args[0].(pipeline.Value)
	where := p.field
	for _, s := range p.steps {
		if !ok && s.optional {
			return nil, nil
		}
		if !ok {
			return nil, fmt.Errorf("%s is null or missing, so it has no %s; `?.` in place of `.` allows that", where, s)
		}
		var err error
		if v, err = s.into(v, where); err != nil {
			return nil, err
		}
		ok = !v.IsNull()
		where += "." + s.String()
	}
	if !ok {
		return nil, nil
	}
	return v, nil
}

func (s step) into(v pipeline.Value, where string) (pipeline.Value, error) {
	if !s.isIndex {
		if v.Kind() != '{' {
			return v, fmt.Errorf("%s is %s, so it has no %s", where, kindName(v), s)
		}
		member, _ := v.Member(s.name)
		return member, nil
	}
	list, ok := v.Elements()
	switch {
	case !ok && v.Kind() == '"':
		one, err := index(v.Text(), s.index)
		return pipeline.Text(fmt.Sprint(one)), err
	case !ok:
		return v, fmt.Errorf("%s is %s, so it has no element %s", where, kindName(v), s)
	case s.index >= len(list):
		return v, fmt.Errorf("%s has no element %d: it has %d", where, s.index, len(list))
	}
	return list[s.index], nil
}

func (s step) String() string {
	if s.isIndex {
		return fmt.Sprint(s.index)
	}
	return s.name
}

// kindName says what a value is, for messages.
func kindName(v pipeline.Value) string {
	switch v.Kind() {
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a text"
	case '0':
		return "a number"
	case '[':
		return "a list"
	case '{':
		return "an object"
	default:
		return "null"
	}
}
