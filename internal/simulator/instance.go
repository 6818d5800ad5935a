package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// build makes the value of a schema with nothing left open.
func (b *builder) build(s schema, name string, depth int) ([]byte, error) {
	if s.Const != nil {
		return s.Const, nil
	}
	if s.Enum != nil {
		return b.fromEnum(s)
	}
	kind, err := b.kind(s, depth)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "object":
		return b.object(s, depth)
	case "array":
		return b.array(s, name, depth)
	case "integer", "number":
		return b.number(s, kind == "integer")
	case "boolean":
		return strconv.AppendBool(nil, b.dice.below(2) == 0), nil
	case "null":
		return []byte("null"), nil
	case "string":
		return b.text(s, name)
	default:
		return nil, fmt.Errorf("%q is no type", kind)
	}
}

func (b *builder) fromEnum(s schema) ([]byte, error) {
	fits := slices.DeleteFunc(slices.Clone(s.Enum), func(v jsontext.Value) bool {
		return s.Type != nil && !slices.ContainsFunc(s.Type, func(t string) bool { return isType(v, t) })
	})
	if len(fits) == 0 {
		return nil, errors.New("an enum allows nothing")
	}
	return fits[b.dice.below(len(fits))], nil
}

func isType(v jsontext.Value, name string) bool {
	switch v.Kind() {
	case 'n':
		return name == "null"
	case 't', 'f':
		return name == "boolean"
	case '"':
		return name == "string"
	case '0':
		f, err := strconv.ParseFloat(string(v), 64)
		return name == "number" || name == "integer" && err == nil && f == math.Trunc(f)
	case '[':
		return name == "array"
	default:
		return name == "object"
	}
}

// kind picks the type of the value: one time in four null where that is allowed.
func (b *builder) kind(s schema, depth int) (string, error) {
	switch {
	case s.Type != nil && len(s.Type) == 0:
		return "", errors.New("no type fits all that is asked for")
	case len(s.Type) == 1:
		return s.Type[0], nil
	case s.Type == nil:
		return s.impliedKind(), nil
	}
	nullable := slices.Contains(s.Type, "null")
	if nullable && (depth > shallow || b.dice.below(4) == 0) {
		return "null", nil
	}
	others := slices.DeleteFunc(slices.Clone(s.Type), func(t string) bool { return t == "null" })
	return others[b.dice.below(len(others))], nil
}

func (s *schema) impliedKind() string {
	switch {
	case s.Properties != nil || s.Required != nil:
		return "object"
	case s.Items != nil || s.PrefixItems != nil || s.MinItems > 0:
		return "array"
	case s.Minimum != nil || s.Maximum != nil || s.ExclusiveMinimum != nil || s.ExclusiveMaximum != nil || s.MultipleOf > 0:
		return "number"
	default:
		return "string"
	}
}

func (b *builder) object(s schema, depth int) ([]byte, error) {
	out := []byte("{")
	add := func(name string, value []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(appendText(out, name, false), ':'), value...)
	}
	declared := map[string]bool{}
	for _, p := range s.Properties {
		declared[p.name] = true
		required := slices.Contains(s.Required, p.name)
		if !required && depth >= shallow {
			continue
		}
		v, err := b.value(p.value, p.name, depth+1)
		if err == nil {
			add(p.name, v)
		} else if required {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, name := range s.Required {
		if declared[name] {
			continue
		}
		declared[name] = true
		v, err := b.value(orAnything(s.Additional), name, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		add(name, v)
	}
	return append(out, '}'), nil
}

func orAnything(raw jsontext.Value) jsontext.Value {
	if raw == nil {
		return jsontext.Value("true")
	}
	return raw
}

func (b *builder) array(s schema, name string, depth int) ([]byte, error) {
	n := max(s.MinItems, 1+b.dice.below(3))
	if depth >= shallow {
		n = s.MinItems
	}
	if s.MaxItems != nil {
		n = min(n, *s.MaxItems)
	}
	var items [][]byte
	for i := 0; len(items) < n; i++ {
		item := orAnything(s.Items)
		if at := len(items); at < len(s.PrefixItems) {
			item = s.PrefixItems[at]
		}
		v, err := b.value(item, name, depth+1)
		repeated := s.UniqueItems && slices.ContainsFunc(items, func(o []byte) bool { return bytes.Equal(o, v) })
		switch {
		case err == nil && !repeated:
			items = append(items, v)
		case len(items) >= s.MinItems: // there are enough
			n = len(items)
		case err != nil:
			return nil, err
		case i > 100*n:
			return nil, errors.New("there are too few different items")
		}
	}
	if len(items) < s.MinItems {
		return nil, errors.New("maxItems is below minItems")
	}
	return slices.Concat([]byte("["), bytes.Join(items, []byte(",")), []byte("]")), nil
}

// number makes a number within its bounds, from 0 to 100 where there are none.
func (b *builder) number(s schema, integer bool) ([]byte, error) {
	lowest, highest := most(s.Minimum, s.ExclusiveMinimum), least(s.Maximum, s.ExclusiveMaximum)
	low, high := 0.0, 100.0
	switch {
	case lowest != nil && highest != nil:
		low, high = *lowest, *highest
	case lowest != nil:
		low, high = *lowest, *lowest+max(100, math.Abs(*lowest))
	case highest != nil:
		low, high = *highest-max(100, math.Abs(*highest)), *highest
	}
	low, high = max(low, -math.MaxFloat64), min(high, math.MaxFloat64) // what JSON can say
	fits := func(v float64) bool {
		return !math.IsInf(v, 0) && !math.IsNaN(v) &&
			(s.Minimum == nil || v >= *s.Minimum) && (s.Maximum == nil || v <= *s.Maximum) &&
			(s.ExclusiveMinimum == nil || v > *s.ExclusiveMinimum) && (s.ExclusiveMaximum == nil || v < *s.ExclusiveMaximum)
	}
	step := s.MultipleOf
	if integer {
		step = max(1, step)
	}
	if step > 0 && (!integer || step == math.Trunc(step)) {
		return b.multiple(low, high, step, fits)
	}
	v := low + b.dice.share()*(high-low)
	for _, try := range []float64{math.Round(v*100) / 100, v, low/2 + high/2} {
		if fits(try) && !integer {
			return appendNumber(try), nil
		}
	}
	return nil, errors.New("no number fits all that is asked for")
}

// multiple picks a multiple of step that fits, from low to high.
func (b *builder) multiple(low, high, step float64, fits func(float64) bool) ([]byte, error) {
	first, last := math.Ceil(low/step), math.Floor(high/step)
	for _, end := range []*float64{&first, &last} { // an exclusive bound
		if fits(*end * step) {
			continue
		}
		if *end++; !fits(*end * step) {
			*end -= 2
		}
	}
	v := (first + math.Floor(b.dice.share()*(last-first+1))) * step
	if !fits(v) || first > last {
		return nil, errors.New("no number fits all that is asked for")
	}
	return appendNumber(v), nil
}

func appendNumber(v float64) []byte {
	if v == 0 { // not -0
		v = 0
	}
	if math.Abs(v) < 1e15 {
		return strconv.AppendFloat(nil, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(nil, v, 'g', -1, 64)
}

// text makes a string that names its property and differs from prompt to prompt.
func (b *builder) text(s schema, name string) ([]byte, error) {
	own := Key(b.dice.next()).String()[:8]
	switch {
	case s.Pattern != "":
		v, err := matching(s.Pattern)
		return appendText(nil, v, false), err
	case s.Format != "":
		if v := formatted(s.Format, own); v != "" {
			return appendText(nil, v, false), nil
		}
	}
	v := strings.ReplaceAll(name, "_", " ") + " " + own
	if n := utf8.RuneCountInString(v); n < s.MinLength {
		if s.MinLength > maxBody {
			return nil, errors.New("minLength is too large for the simulator")
		}
		v += strings.Repeat(".", s.MinLength-n)
	}
	if s.MaxLength != nil && utf8.RuneCountInString(v) > *s.MaxLength {
		runes := []rune(v)
		v = string(runes[len(runes)-max(0, *s.MaxLength):])
		if *s.MaxLength < s.MinLength {
			return nil, errors.New("maxLength is below minLength")
		}
	}
	return appendText(nil, v, false), nil
}

// formatted returns a text of a format, "" if the simulator does not know it.
func formatted(format, own string) string {
	switch format {
	case "date":
		return "2025-01-31"
	case "time":
		return "12:30:00Z"
	case "date-time":
		return "2025-01-31T12:30:00Z"
	case "duration":
		return "PT30M"
	case "email":
		return own + "@example.com"
	case "hostname":
		return own + ".example.com"
	case "uri":
		return "https://example.com/" + own
	case "ipv4":
		return "192.0.2.1"
	case "ipv6":
		return "2001:db8::1"
	case "uuid":
		return own + "-0000-4000-8000-000000000000"
	}
	return ""
}

// matching returns a short text that matches a pattern.
func matching(pattern string) (string, error) {
	compiled, err := regexp.Compile(pattern)
	if err != nil {
		return "", fmt.Errorf("pattern %q: %w", pattern, err)
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("pattern %q: %w", pattern, err)
	}
	v := shortest(tree)
	if !compiled.MatchString(v) {
		return "", fmt.Errorf("pattern %q is too hard for the simulator", pattern)
	}
	return v, nil
}

func shortest(re *syntax.Regexp) string {
	var b strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		return printable(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpAlternate, syntax.OpCapture, syntax.OpPlus:
		return shortest(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(shortest(re.Sub[0]), re.Min)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			b.WriteString(shortest(sub))
		}
	}
	return b.String()
}

// printable picks a character of a class: a letter or digit where there is one.
func printable(ranges []rune) string {
	for _, want := range "a0A_-. " {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= want && want <= ranges[i+1] {
				return string(want)
			}
		}
	}
	if len(ranges) == 0 { // nothing matches
		return ""
	}
	return string(ranges[0])
}
