package lang_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

func record(t testing.TB, raw string) *pipeline.Record {
	t.Helper()
	r, err := pipeline.ParseRecord([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shape(closed bool, fields ...pipeline.ShapeField) pipeline.Shape {
	return pipeline.Shape{Closed: closed, Fields: fields}
}

func expression(t testing.TB, src string) *lang.Expression {
	t.Helper()
	e, err := lang.CompileExpression(src, pipeline.Shape{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const sampleRow = `{"score": 4, "channel": "email", "ratio": 1.10, "ok": true, "none": null,
 "Best Answer": "yes", "len": "field", "big": 1e400, "huge": 18446744073709551616, "int": 9007199254740993,
 "minus": -0.0, "max": 9223372036854775807, "min": -9223372036854775808, "long": 0.12345678901234567890,
 "tags": ["a", "bé", {"n": 1.50}], "meta": {"z": 1.0, "a": {"price": 2.50, "null": null}, "big": 1e999}, "name": "Zoë",
 "text": "x \"y\" \u00e9"}`

func TestExpressionValue(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		// what is only passed on keeps its bytes
		`ratio`:                          `1.10`,
		`big`:                            `1e400`,
		`minus`:                          `-0.0`,
		`long`:                           `0.12345678901234567890`,
		`tags`:                           `["a", "bé", {"n": 1.50}]`,
		`text`:                           `"x \"y\" \u00e9"`,
		`meta.a`:                         `{"price": 2.50, "null": null}`,
		`meta.a.price`:                   `2.50`,
		`meta["a"]["price"]`:             `2.50`,
		`tags[2].n`:                      `1.50`,
		`tags[2]?.n`:                     `1.50`,
		`meta.big`:                       `1e999`,
		`ok ? ratio : score`:             `1.10`,
		`!ok ? score : (none ?? ratio)`:  `1.10`,
		`none ?? meta.a`:                 `{"price": 2.50, "null": null}`,
		`{"kept": ratio, b: [long]}`:     `{"b":[0.12345678901234567890],"kept":1.10}`,
		`let x = score; x > 3 ? big : x`: `1e400`,
		`if ok { minus } else { score }`: `-0.0`,
		// missing and null
		`none`:                      `null`,
		`missing`:                   `null`,
		`meta.missing`:              `null`,
		`meta.a.null`:               `null`,
		`none?.deep.er`:             `null`,
		`missing?.deep`:             `null`,
		`has("none")`:               `true`,
		`has("missing")`:            `false`,
		`missing == nil`:            `true`,
		`(missing ?? 3) > 2`:        `true`,
		`missing in ["", "a"]`:      `false`,
		`none in [nil]`:             `true`,
		`score in [1, 4.0]`:         `true`,
		`score in ["4"]`:            `false`,
		`channel not in ["email"]`:  `false`,
		`"bé" in tags`:              `true`,
		`meta.a?.null?.x ?? "none"`: `"none"`,
		// names
		`field("Best Answer")`: `"yes"`,
		`len`:                  `"field"`,
		`len(len)`:             `5`,
		`max(score, 7) + max`:  ``, // overflow
		`any(tags, # == "a")`:  `true`,
		`tags | len()`:         `3`,
		// computing
		`score + 1`:                          `5`,
		`score / 8`:                          `0.5`,
		`int + 2`:                            `9007199254740995`,
		`max - 1`:                            `9223372036854775806`,
		`min + 1`:                            `-9223372036854775807`,
		`min * 1`:                            `-9223372036854775808`,
		`score * -3`:                         `-12`,
		`ratio * 2`:                          `2.2`,
		`score % 3`:                          `1`,
		`1 < score < 5`:                      `true`,
		`huge == huge`:                       `true`,
		`huge == max`:                        `false`,
		`huge == 1`:                          `false`,
		`string(huge)`:                       `"18446744073709551616"`,
		`"n" + string(ratio)`:                `"n1.1"`,
		`string(none)`:                       `""`,
		`string(meta.a)`:                     `"{\"null\":null,\"price\":2.5}"`,
		`toJSON([score, "é<"])`:              `"[4,\"é<\"]"`,
		`fromJSON("[12345678901234567]")[0]`: `12345678901234567`,
		`fromJSON("1e400")`:                  `1e400`,
		`name[2]`:                            `"ë"`,
		`name[:2] + name[2:]`:                `"Zoë"`,
		`name[-1:]`:                          `"ë"`,
		`tags[:1]`:                           `["a"]`,
		`tags[-1].n`:                         `1.5`,
		`len(name)`:                          `3`,
		`upper(name)`:                        `"ZOË"`,
		`duration("90s")`:                    `"1m30s"`,
		`date("2024-02-03").Year()`:          `2024`,
		`groupBy([1, 2, 3], # % 2)`:          `{"0":[2],"1":[1,3]}`,
		`map(1..3, # * score)`:               `[4,8,12]`,
		`sum(map([1, 2], #))`:                `3`,
		`channel matches "^e.*l$"`:           `true`,
		`channel contains "mai" and not (score > 5)`: `true`,
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			got, err := expression(t, src).Value(record(t, sampleRow))
			if (err != nil) != (want == "") || err == nil && got.JSON() != want {
				t.Errorf("got %s, %v; want %s", got.JSON(), err, want)
			}
		})
	}
}

func TestExpressionErrors(t *testing.T) {
	t.Parallel()
	for src, want := range map[string][]string{
		`missing > 3`:              {`nil > number`, `the row has no field "missing"`},
		`none + 1`:                 {`field "none" is null`},
		`!missing`:                 {`nil is no bool`, `"missing"`},
		`big > 3`:                  {`field "big" holds 1e400, a number too large to compute with`},
		`huge + 1`:                 {`field "huge" holds 18446744073709551616`},
		`meta.big * 2`:             {`field "meta" holds 1e999`},
		`max + 1`:                  {`does not fit 64 bits`},
		`min - 1`:                  {`does not fit 64 bits`},
		`max * 2`:                  {`does not fit 64 bits`},
		`min * -1`:                 {`does not fit 64 bits`},
		`score / 0`:                {`infinite`},
		`none.deep`:                {`none is null or missing, so it has no deep`, `?.`},
		`meta.a.null.x`:            {`meta.a.null is null or missing`},
		`channel.deep`:             {`channel is a text, so it has no deep`},
		`tags[7]`:                  {`tags has no element 7: it has 3`},
		`meta[0]`:                  {`meta is an object, so it has no element 0`},
		`fromJSON("[")`:            {`fromJSON: invalid JSON`},
		`fromJSON(channel + none)`: {`none`},
		`map(1..2000000, #)`:       {`memory budget`},
		`channel > 3`:              {`string > number`},
		`repeat("x", 100000000)`:   {`memory budget`},
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			got, err := expression(t, src).Value(record(t, sampleRow))
			if err == nil {
				t.Fatalf("got %s, want an error", got.JSON())
			}
			for _, part := range want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want it to say %q", err, part)
				}
			}
			if class, code := pipeline.Classify(err); class != pipeline.ClassRecord || code != "expression" {
				t.Errorf("got class %v, code %q; want the record's, \"expression\"", class, code)
			}
		})
	}
}

func TestExpressionBool(t *testing.T) {
	t.Parallel()
	r := record(t, sampleRow)
	for src, want := range map[string]bool{`ok`: true, `!ok`: false, `score > 3 && channel == "email"`: true, `none == nil`: true, `field("ok")`: true} {
		if got, err := expression(t, src).Bool(r); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", src, got, err, want)
		}
	}
	for src, want := range map[string]string{`score`: "a number", `none`: "nil", `"true"`: "a text", `tags`: "a list", `meta`: "an object"} {
		_, err := expression(t, src).Bool(r)
		if err == nil || !strings.Contains(err.Error(), "the result is "+want+", neither true nor false") {
			t.Errorf("%s: got %v, want it to say that it is %s", src, err, want)
		}
	}
}

func TestExpressionAny(t *testing.T) {
	t.Parallel()
	r := record(t, sampleRow)
	for src, want := range map[string]any{`score`: 4, `ratio`: 1.1, `channel`: "email", `none`: nil, `missing`: nil, `big`: pipeline.RawJSON("1e400"), `ok`: true} {
		if got, err := expression(t, src).Any(r); err != nil || got != want {
			t.Errorf("%s: got %#v, %v; want %#v", src, got, err, want)
		}
	}
	got, err := expression(t, `{"a": tags, "b": 1}`).Any(r)
	object, _ := got.(map[string]any)
	if list, ok := object["a"].([]any); err != nil || !ok || list[0] != "a" || object["b"] != 1 {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestExpressionFields(t *testing.T) {
	t.Parallel()
	for src, want := range map[string][]string{
		`score > 3 && channel == "email"`:       {"score", "channel"},
		`field("Best Answer") + a.b.c`:          {"Best Answer", "a"},
		`has("x")`:                              {"x"},
		`1 + 1`:                                 nil,
		`filter(items, .text == name && # > 1)`: {"items", "name"},
		`let t = total; t + t`:                  {"total"},
		`a ? b : c`:                             {"a", "b", "c"},
		`x + x`:                                 {"x"},
	} {
		if got := expression(t, src).Fields(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", src, got, want)
		}
	}
}

func TestExpressionSyntaxErrors(t *testing.T) {
	t.Parallel()
	csv := shape(true, pipeline.ShapeField{Name: "score", Type: pipeline.StringType}, pipeline.ShapeField{Name: "channel", Type: pipeline.StringType},
		pipeline.ShapeField{Name: "Best Answer", Type: pipeline.StringType}, pipeline.ShapeField{Name: "n", Type: pipeline.NumberType},
		pipeline.ShapeField{Name: "ok", Type: pipeline.BoolType}, pipeline.ShapeField{Name: "any"})
	for src, c := range map[string]struct {
		offset int
		want   string
	}{
		``:                            {0, "empty"},
		` `:                           {0, "empty"},
		`n >`:                         {3, "ends too early"},
		`"ééé" == chanel`:             {12, `there is no field "chanel"; did you mean channel?`},
		`n > 3 && scores == "1"`:      {9, `did you mean score?`},
		`xyz == 1`:                    {0, `there is no field "xyz"; the rows have score, channel`},
		`score > 3`:                   {6, "give the source `types: {score: number}`, or write float(score)"},
		`n > 1 && 3 <= score`:         {11, "types: {score: number}"},
		`score == 3`:                  {6, "types: {score: number}"},
		`score in [1, 2]`:             {6, "types: {score: number}"},
		`score * 2`:                   {6, "types: {score: number}"},
		`-score`:                      {0, "types: {score: number}"},
		`field("Best Answer") > 2`:    {21, `types: {"Best Answer": number}`},
		`Best Answer == "x"`:          {5, `written field("Best Answer")`},
		`field("best_answer") == "x"`: {0, `did you mean field("Best Answer")?`},
		`Best == "x"`:                 {0, `did you mean field("Best Answer")?`},
		`n = 3`:                       {2, "write =="},
		`in == 3`:                     {0, `field("in")`},
		`field(channel)`:              {0, "in quotes"},
		`field("n", "x")`:             {0, "in quotes"},
		`lenn(channel)`:               {0, `there is no function "lenn"; did you mean "len"?`},
		`channel == 'open`:            {16, "literal not terminated"},
		`channel matches "["`:         {8, "missing closing"},
		`n contains "x"`:              {2, "mismatched types number and string"},
		`$env["n"]`:                   {0, "no $env"},
		`ok > 1`:                      {3, "mismatched types bool and number"},
		`any & 1`:                     {4, "unexpected"},
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			_, err := lang.CompileExpression(src, csv)
			var at *lang.SyntaxError
			if !errors.As(err, &at) {
				t.Fatalf("got %v, want a SyntaxError", err)
			}
			if at.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q at %d; want %q at %d", err, at.Offset, c.want, c.offset)
			}
		})
	}
}

func TestExpressionIsBounded(t *testing.T) {
	t.Parallel()
	for _, src := range []string{strings.Repeat("(", 1<<20), strings.Repeat("!", 60_000) + "ok", strings.Repeat("[", 60_000), "1" + strings.Repeat("+1", 30_000)} {
		if _, err := lang.CompileExpression(src, pipeline.Shape{}); err == nil {
			t.Errorf("%.9s… compiles", src)
		}
	}
}

func TestExpressionTypesThatFit(t *testing.T) {
	t.Parallel()
	typed := shape(true, pipeline.ShapeField{Name: "s", Type: pipeline.StringType}, pipeline.ShapeField{Name: "n", Type: pipeline.NumberType},
		pipeline.ShapeField{Name: "b", Type: pipeline.BoolType})
	r := record(t, `{"s": "12", "n": 2.5, "b": false}`)
	for src, want := range map[string]string{
		`float(s) > n`: `true`, `int(s) + n`: `14.5`, `n > 2`: `true`, `b || n == 2.5`: `true`, `s + "!"`: `"12!"`, `s == "12"`: `true`,
		`n ?? 1`: `2.5`, `b == nil`: `false`, `s contains "1"`: `true`, `round(n)`: `3`, `s > "1"`: `true`,
	} {
		e, err := lang.CompileExpression(src, typed)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := e.Value(r); err != nil || got.JSON() != want {
			t.Errorf("%s: got %s, %v; want %s", src, got.JSON(), err, want)
		}
		_, _ = e.Value(record(t, `{}`)) // a typed field may still be missing: no panic
	}
}

func TestExpressionType(t *testing.T) {
	t.Parallel()
	typed := shape(true, pipeline.ShapeField{Name: "s", Type: pipeline.StringType}, pipeline.ShapeField{Name: "n", Type: pipeline.NumberType}, pipeline.ShapeField{Name: "x"})
	for src, want := range map[string]pipeline.FieldType{
		`s`: pipeline.StringType, `n`: pipeline.NumberType, `float(s)`: pipeline.NumberType, `n > 1`: pipeline.BoolType, `x`: pipeline.AnyType, `n > 1 ? "a" : nil`: pipeline.AnyType,
		`has("s")`: pipeline.BoolType, `[s]`: pipeline.AnyType,
	} {
		e, err := lang.CompileExpression(src, typed)
		if err != nil || e.Type() != want {
			t.Errorf("%s: got %v, %v; want %v", src, e.Type(), err, want)
		}
	}
}

func TestExpressionConcurrently(t *testing.T) {
	t.Parallel()
	e := expression(t, `n * 2 + len(filter(items, # > n))`)
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			r := pipeline.NewRecord(pipeline.Field{Name: "n", Value: pipeline.RawJSON(string(rune('0' + g)))},
				pipeline.Field{Name: "items", Value: pipeline.RawJSON("[1,2,3,4,5,6,7,8]")})
			for range 100 {
				if got, err := e.Any(r); err != nil || got != g+8 {
					t.Errorf("n=%d: got %v, %v; want %d", g, got, err, g+8)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestExpressionKeepsTheRecord(t *testing.T) {
	t.Parallel()
	r := record(t, sampleRow)
	if _, err := expression(t, `[tags, meta.a, sort([3, 1]), score + 1]`).Value(r); err != nil {
		t.Fatal(err)
	}
	if raw, untouched := r.Raw(); !untouched || string(r.AppendJSON(nil)) != raw {
		t.Error("evaluating changed the record")
	}
}

func BenchmarkFilter(b *testing.B) {
	for name, src := range map[string]string{"compare": `score > 3 && channel == "email"`, "field": `ok`, "in": `channel in ["chat", "email"]`} {
		b.Run(name, func(b *testing.B) {
			e, r := expression(b, src), record(b, sampleRow)
			r.Fields()
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := e.Bool(r); err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

func FuzzCompileExpression(f *testing.F) {
	for _, src := range []string{
		`score > 3 && channel == "email"`, `field("Best Answer")`, `has("x") ? x : nil`, `let a = b; a + c`, `filter(items, .n > 1)`,
		`a?.b[0].c ?? "é"`, `x in [1, "2", nil]`, `name[1:2]`, `{"a": b, c: [d]}`, `if a { b } else { c }`, `1 < f(x) < 5`, `$env`, `::len(a)`, `a | map(#)`,
	} {
		f.Add(src)
	}
	typed := shape(true, pipeline.ShapeField{Name: "score", Type: pipeline.NumberType}, pipeline.ShapeField{Name: "channel", Type: pipeline.StringType}, pipeline.ShapeField{Name: "x"})
	f.Fuzz(func(t *testing.T, src string) {
		for _, s := range []pipeline.Shape{{}, typed} {
			e, err := lang.CompileExpression(src, s)
			if err != nil {
				var at *lang.SyntaxError
				if !errors.As(err, &at) || at.Offset < 0 || at.Offset > len(src) {
					t.Fatalf("%q: error %#v with no place in the source", src, err)
				}
				continue
			}
			if strings.Contains(src, "repeat") || strings.Contains(src, "..") {
				continue // slow, bounded by the memory budget
			}
			if v, err := e.Value(record(t, `{"score": 4, "channel": "email", "x": [1, {"y": 1e400}]}`)); err == nil {
				if _, err := pipeline.ParseValue(v.AppendJSON(nil)); err != nil {
					t.Fatalf("%q: result %q: %v", src, v.JSON(), err)
				}
			}
		}
	})
}
