package lang

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"text/template/parse"
	"unicode/utf8"

	"github.com/rowmill/rowmill/pipeline"
)

// templateFunction is a function of templates.
type templateFunction struct {
	min, max int // how many arguments, a piped one included; max -1 is any number
	// names says that the first argument names a field of the record.
	names bool
	call  func(args []pipeline.Value) (pipeline.Value, error)
}

func (f templateFunction) counts() string {
	switch {
	case f.max < 0:
		return fmt.Sprintf("at least %d arguments", f.min)
	case f.min == f.max && f.min == 1:
		return "1 argument"
	case f.min == f.max:
		return fmt.Sprintf("%d arguments", f.min)
	default:
		return fmt.Sprintf("%d to %d arguments", f.min, f.max)
	}
}

// templateFunctions returns the functions by name. Those without a call need more
// than their arguments; see [execution.call].
func templateFunctions() map[string]templateFunction {
	return map[string]templateFunction{
		"field": {min: 1, max: 2, names: true},
		"has":   {min: 1, max: 1, names: true},
		"and":   {min: 1, max: -1},
		"or":    {min: 1, max: -1},
		"not":   {min: 1, max: 1},

		"eq": {min: 2, max: -1, call: equalAny},
		"ne": {min: 2, max: 2, call: compared(func(order int) bool { return order != 0 })},
		"lt": {min: 2, max: 2, call: ordered(func(order int) bool { return order < 0 })},
		"le": {min: 2, max: 2, call: ordered(func(order int) bool { return order <= 0 })},
		"gt": {min: 2, max: 2, call: ordered(func(order int) bool { return order > 0 })},
		"ge": {min: 2, max: 2, call: ordered(func(order int) bool { return order >= 0 })},

		"len":   {min: 1, max: 1, call: length},
		"index": {min: 2, max: -1, call: indexInto},
		"slice": {min: 2, max: 3, call: slicePart},

		"json":     {min: 1, max: 1, call: func(args []pipeline.Value) (pipeline.Value, error) { return pipeline.Text(args[0].JSON()), nil }},
		"trim":     {min: 1, max: 1, call: onText(strings.TrimSpace)},
		"lower":    {min: 1, max: 1, call: onText(strings.ToLower)},
		"upper":    {min: 1, max: 1, call: onText(strings.ToUpper)},
		"html":     {min: 1, max: 1, call: onText(html.EscapeString)},
		"urlquery": {min: 1, max: 1, call: onText(url.QueryEscape)},
		"truncate": {min: 2, max: 2, call: truncate},
		"replace":  {min: 3, max: 3, call: replaceAll},
		"join":     {min: 2, max: 2, call: join},
		"default":  {min: 2, max: 2, call: orDefault},
		"print":    {min: 0, max: -1, call: printAll},
		"println":  {min: 0, max: -1, call: printLine},
		"printf":   {min: 1, max: -1, call: printFormat},
	}
}

// call evaluates a function. last is the piped argument, if there is one.
func (x *execution) call(id *parse.IdentifierNode, nodes []parse.Node, last *operand, dot operand) (operand, error) {
	switch id.Ident {
	case "field", "has":
		return x.named(id.Ident, nodes, last, dot)
	case "and", "or":
		return x.logic(id.Ident == "or", nodes, last, dot)
	}
	args := make([]pipeline.Value, 0, len(nodes)+1)
	for _, node := range nodes {
		v, err := x.operand(node, dot)
		if err != nil {
			return v, err
		}
		if id.Ident == "not" {
			return operand{value: boolean(!truth(v))}, nil
		}
		args = append(args, v.plain())
	}
	if last != nil {
		if id.Ident == "not" {
			return operand{value: boolean(!truth(*last))}, nil
		}
		args = append(args, last.plain())
	}
	v, err := x.t.functions[id.Ident].call(args)
	if err != nil {
		return operand{}, fmt.Errorf("%s: %w", id.Ident, err)
	}
	return operand{value: v}, nil
}

// plain returns the value, of the record its JSON.
func (o operand) plain() pipeline.Value {
	if o.record != nil {
		return pipeline.RawJSON(string(o.record.AppendJSON(nil)))
	}
	return o.value
}

// named evaluates {{field "x"}}, {{field "x" "fallback"}} and {{has "x"}}.
func (x *execution) named(function string, nodes []parse.Node, last *operand, dot operand) (operand, error) {
	name := nodes[0].(*parse.StringNode).Text // checked when it was compiled
	v, ok := x.record.Lookup(name)
	switch {
	case function == "has":
		return operand{value: boolean(ok)}, nil
	case ok:
		return operand{value: v}, nil
	case last != nil:
		return *last, nil
	case len(nodes) == 2:
		return x.operand(nodes[1], dot)
	default:
		return operand{}, errMissing(name)
	}
}

// logic evaluates and, or: the first argument that decides, or the last one.
func (x *execution) logic(or bool, nodes []parse.Node, last *operand, dot operand) (v operand, err error) {
	for _, node := range nodes {
		if v, err = x.operand(node, dot); err != nil || truth(v) == or {
			return v, err
		}
	}
	if last != nil {
		v = *last
	}
	return v, nil
}

func onText(f func(string) string) func([]pipeline.Value) (pipeline.Value, error) {
	return func(args []pipeline.Value) (pipeline.Value, error) { return pipeline.Text(f(args[0].Text())), nil }
}

// compare returns 0 for equal values, else which is greater.
func compare(a, b pipeline.Value) (order int, err error) {
	switch {
	case a.Kind() == '0' && b.Kind() == '0':
		return compareNumbers(decodeNumber(a.JSON()), decodeNumber(b.JSON()))
	case a.Kind() == '"' && b.Kind() == '"':
		return strings.Compare(a.Text(), b.Text()), nil
	default:
		return 0, fmt.Errorf("%s cannot be compared with %s", kindName(a), kindName(b))
	}
}

func compareNumbers(a, b any) (int, error) {
	switch {
	case a == b:
		return 0, nil
	case isExact(a) || isExact(b):
		return 0, errors.New("a number is too large to compare")
	}
	x, ok := a.(int)
	y, too := b.(int)
	if ok && too {
		return order(x < y), nil
	}
	f, g := toFloat(a), toFloat(b)
	if f == g {
		return 0, nil
	}
	return order(f < g), nil
}

func isExact(x any) bool { _, ok := x.(exactNumber); return ok }

func toFloat(x any) float64 {
	if i, ok := x.(int); ok {
		return float64(i)
	}
	f, _ := x.(float64)
	return f
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// same compares for equality, which null and booleans have too.
func same(a, b pipeline.Value) (bool, error) {
	if a.IsNull() || b.IsNull() {
		return a.IsNull() && b.IsNull(), nil
	}
	if k := a.Kind(); (k == 't' || k == 'f') && (b.Kind() == 't' || b.Kind() == 'f') {
		return k == b.Kind(), nil
	}
	order, err := compare(a, b)
	return order == 0, err
}

// equalAny reports whether the first argument equals one of the others.
func equalAny(args []pipeline.Value) (pipeline.Value, error) {
	for _, other := range args[1:] {
		if equal, err := same(args[0], other); equal || err != nil {
			return boolean(equal), err
		}
	}
	return boolean(false), nil
}

func compared(decide func(order int) bool) func([]pipeline.Value) (pipeline.Value, error) {
	return func(args []pipeline.Value) (pipeline.Value, error) {
		equal, err := same(args[0], args[1])
		if equal {
			return boolean(decide(0)), err
		}
		return boolean(decide(1)), err
	}
}

func ordered(decide func(order int) bool) func([]pipeline.Value) (pipeline.Value, error) {
	return func(args []pipeline.Value) (pipeline.Value, error) {
		order, err := compare(args[0], args[1])
		return boolean(decide(order)), err
	}
}

// length counts the characters of a text, the elements of a list, the members of
// an object.
func length(args []pipeline.Value) (pipeline.Value, error) {
	switch v := args[0]; v.Kind() {
	case '"':
		return integer(utf8.RuneCountInString(v.Text())), nil
	case '[':
		list, _ := v.Elements()
		return integer(len(list)), nil
	case '{':
		fields, _ := v.Members()
		return integer(len(fields)), nil
	default:
		return v, fmt.Errorf("%s has no length", kindName(v))
	}
}

// indexInto goes into lists by number and into objects by name.
func indexInto(args []pipeline.Value) (pipeline.Value, error) {
	v := args[0]
	for _, key := range args[1:] {
		var err error
		if v, err = indexOne(v, key); err != nil {
			return v, err
		}
	}
	return v, nil
}

func indexOne(v, key pipeline.Value) (pipeline.Value, error) {
	if key.Kind() == '"' && v.Kind() == '{' {
		member, ok := v.Member(key.Text())
		if !ok {
			return v, fmt.Errorf("the object has no %q", key.Text())
		}
		return member, nil
	}
	list, ok := v.Elements()
	i, isInt := decodeNumber(key.JSON()).(int)
	switch {
	case !ok || key.Kind() != '0' || !isInt:
		return v, fmt.Errorf("%s has no %s", kindName(v), key.JSON())
	case i < 0 || i >= len(list):
		return v, fmt.Errorf("the list has no element %d: it has %d", i, len(list))
	}
	return list[i], nil
}

// slicePart returns a part of a text, in characters, or of a list.
func slicePart(args []pipeline.Value) (pipeline.Value, error) {
	if args[0].Kind() == '"' {
		part, err := bounds([]rune(args[0].Text()), args[1:])
		return pipeline.Text(string(part)), err
	}
	list, ok := args[0].Elements()
	if !ok {
		return args[0], fmt.Errorf("%s cannot be sliced", kindName(args[0]))
	}
	part, err := bounds(list, args[1:])
	return listOf(part), err
}

func bounds[T any](whole []T, args []pipeline.Value) ([]T, error) {
	ends := [2]int{0, len(whole)}
	for i, arg := range args {
		n, ok := decodeNumber(arg.JSON()).(int)
		if arg.Kind() != '0' || !ok || n < 0 || n > len(whole) {
			return nil, fmt.Errorf("there is no place %s: the length is %d", arg.JSON(), len(whole))
		}
		ends[i] = n
	}
	if ends[0] > ends[1] {
		return nil, fmt.Errorf("the part from %d to %d ends before it begins", ends[0], ends[1])
	}
	return whole[ends[0]:ends[1]], nil
}

func listOf(list []pipeline.Value) pipeline.Value {
	raw := []byte{'['}
	for i, v := range list {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = v.AppendJSON(raw)
	}
	return pipeline.RawJSON(string(append(raw, ']')))
}

// truncate returns the first n characters of a text.
func truncate(args []pipeline.Value) (pipeline.Value, error) {
	n, ok := decodeNumber(args[0].JSON()).(int)
	if args[0].Kind() != '0' || !ok || n < 0 {
		return args[0], fmt.Errorf("the first argument is a number of characters, not %s", args[0].JSON())
	}
	s := args[1].Text()
	for i := range s {
		if n == 0 {
			return pipeline.Text(s[:i]), nil
		}
		n--
	}
	return pipeline.Text(s), nil
}

func replaceAll(args []pipeline.Value) (pipeline.Value, error) {
	from, to, s := args[0].Text(), args[1].Text(), args[2].Text()
	if len(s)+strings.Count(s, from)*len(to) > maxText {
		return args[2], errLong
	}
	return pipeline.Text(strings.ReplaceAll(s, from, to)), nil
}

// join puts the texts of a list together.
func join(args []pipeline.Value) (pipeline.Value, error) {
	list, ok := args[1].Elements()
	if !ok {
		return args[1], fmt.Errorf("the last argument is a list, not %s", kindName(args[1]))
	}
	separator, size := args[0].Text(), 0
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.Text()
		if size += len(texts[i]) + len(separator); size > maxText {
			return args[1], errLong
		}
	}
	return pipeline.Text(strings.Join(texts, separator)), nil
}

// orDefault returns the last argument, or the first where that counts as false.
func orDefault(args []pipeline.Value) (pipeline.Value, error) {
	if truth(operand{value: args[1]}) {
		return args[1], nil
	}
	return args[0], nil
}

// printAll writes its arguments with a space between two of which none is a text.
func printAll(args []pipeline.Value) (pipeline.Value, error) {
	var out []byte
	for i, v := range args {
		if i > 0 && v.Kind() != '"' && args[i-1].Kind() != '"' {
			out = append(out, ' ')
		}
		if out = v.AppendText(out); len(out) > maxText {
			return v, errLong
		}
	}
	return pipeline.Text(string(out)), nil
}

func printLine(args []pipeline.Value) (pipeline.Value, error) {
	spaced := []pipeline.Value{}
	for i, v := range args {
		if i > 0 {
			spaced = append(spaced, pipeline.Text(" "))
		}
		spaced = append(spaced, v)
	}
	return printAll(append(spaced, pipeline.Text("\n")))
}

// printFormat formats as fmt does: a number for %d as an integer, for %f as a
// fraction, for %s as it was written. What does not fit the format is an error.
func printFormat(args []pipeline.Value) (pipeline.Value, error) {
	size, marked := 0, false
	values := make([]any, len(args)-1)
	for i, v := range args[1:] {
		s := v.Text()
		size += len(s)
		marked = marked || strings.Contains(s, "%!")
		switch {
		case v.Kind() == '0':
			values[i] = formatted{decodeNumber(s), s}
		case v.Kind() == 't' || v.Kind() == 'f':
			values[i] = v.Kind() == 't'
		default:
			values[i] = s
		}
	}
	if size > maxText {
		return args[0], errLong
	}
	out := fmt.Sprintf(args[0].Text(), values...)
	switch {
	case len(out) > maxText:
		return args[0], errLong
	case !marked && strings.Contains(out, "%!"):
		return args[0], fmt.Errorf("the format %q does not fit its arguments: %s", args[0].Text(), shorten(out))
	}
	return pipeline.Text(out), nil
}

// formatted is a number as an argument of printf.
type formatted struct {
	number   any
	spelling string
}

// Format implements fmt.Formatter.
func (n formatted) Format(f fmt.State, verb rune) {
	var value any = n.spelling
	switch {
	case slices.Contains([]rune("sqv"), verb):
	case isExact(n.number):
	case slices.Contains([]rune("eEfFgG"), verb):
		value = toFloat(n.number)
	default:
		value = n.number
		if x, ok := n.number.(float64); ok && x == float64(int(x)) {
			value = int(x)
		}
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), value)
}
