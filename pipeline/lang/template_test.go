package lang_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"text/template"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

func compileTemplate(t testing.TB, src string) *lang.Template {
	t.Helper()
	x, err := lang.CompileTemplate(src, pipeline.Shape{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const templateRow = `{"text": "Größe \"L\"", "n": 4, "ratio": 1.10, "big": 1e400, "int": 9007199254740993, "ok": true, "no": false, "zero": 0.0,
 "none": null, "empty": "", "Best Answer": "yes", "list": ["a", 2.50, {"text": "in"}, null], "rows": [{"text": "x"}, {"text": "y"}],
 "obj": {"z": 1.0, "a": {"b": [1, 2]}}, "nil": [], "num": 3, "sp": "  pad  "}`

func TestTemplateRender(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		``:                                          ``,
		`plain {text}`:                              `plain {text}`,
		`<{{.text}}>`:                               `<Größe "L">`,
		`{{.ratio}} {{.big}} {{.int}} {{.zero}}`:    `1.10 1e400 9007199254740993 0.0`,
		`{{.ok}}{{.no}}[{{.none}}]`:                 `truefalse[]`,
		`{{.list}} {{.obj}}`:                        `["a", 2.50, {"text": "in"}, null] {"z": 1.0, "a": {"b": [1, 2]}}`,
		`{{field "Best Answer"}}`:                   `yes`,
		`{{field "x" "fallback"}}`:                  `fallback`,
		`{{field "x" .n}}{{.n | field "x"}}`:        `44`,
		`{{field "n" .missing}}`:                    `4`, // a fallback that is not needed is not looked at
		`[{{field "none" "fallback"}}]`:             `[]`,
		`{{if has "x"}}a{{else}}b{{end}}`:           `b`,
		`{{if has "none"}}a{{else}}b{{end}}`:        `a`,
		`{{.obj.z}} {{.obj.a.b}} {{(.obj).a.b}}`:    `1.0 [1, 2] [1, 2]`,
		`{{range .rows}}{{.text}},{{end}}`:          `x,y,`,
		`{{range .rows}}{{$.text}}{{break}}{{end}}`: `Größe "L"`,
		`{{range .list}}<{{.}}>{{end}}`:             `<a><2.50><{"text": "in"}><>`,
		`{{range $i, $e := .list}}{{if eq $i 1}}{{continue}}{{end}}{{$i}}={{$e}} {{end}}`: `0=a 2={"text": "in"} 3= `,
		`{{range $k, $v := .obj}}{{$k}}:{{$v}};{{end}}`:                                   `z:1.0;a:{"b": [1, 2]};`,
		`{{range $k, $v := .}}{{$k}} {{end}}`:                                             `text n ratio big int ok no zero none empty Best Answer list rows obj nil num sp `,
		`{{range .nil}}x{{else}}none{{end}}`:                                              `none`,
		`{{range $i, $e := .nil}}x{{else}}{{$e}}{{end}}`:                                  `[]`,
		`{{range .none}}x{{else}}none{{end}}`:                                             `none`,
		`{{range .num}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}`:                        `01201`,
		`{{if .ok}}1{{end}}{{if .no}}2{{end}}{{if .zero}}3{{end}}{{if .empty}}4{{end}}{{if .none}}5{{end}}{{if .nil}}6{{end}}{{if .n}}7{{end}}{{if .big}}8{{end}}{{if .obj}}9{{end}}{{if .}}0{{end}}`: `17890`,
		`{{if .no}}a{{else if .ok}}b{{else}}c{{end}}`:                                                                              `b`,
		`{{with .obj.a}}{{.b}}{{$.n}}{{else}}x{{end}}`:                                                                             `[1, 2]4`,
		`{{with .none}}x{{else with .text}}{{len .}}{{end}}`:                                                                       `9`,
		`{{with $x := .obj}}{{$x.z}}{{end}}{{with .}}{{.n}}{{end}}`:                                                                `1.04`,
		`{{if $x := .no}}{{else}}{{$x}}{{end}}`:                                                                                    `false`,
		`{{$x := .n}}{{$x}}{{$x = .text}}{{len $x}}`:                                                                               `49`,
		`{{$x := 1}}{{range .rows}}{{$x = .text}}{{end}}{{$x}}`:                                                                    `y`,
		`{{and .ok .text}} {{or .no .n}} {{or .empty .zero}} {{and (has "x") .x}} {{or .ok .x}}`:                                   `Größe "L" 4 0.0 false true`,
		`{{not .ok}} {{not .zero}} {{.empty | not}}`:                                                                               `false true true`,
		`{{eq .n 4}} {{eq .n 4.0}} {{eq .n 1 2 4}} {{eq .text "x"}} {{ne .n 4}} {{eq .none nil}} {{eq .text nil}} {{eq .ok true}}`: `true true true false false true false true`,
		`{{lt .n 5}} {{le .n 4}} {{gt .ratio 1}} {{ge "b" "a"}} {{gt .int 9007199254740992}}`:                                      `true true true true true`,
		`{{len .text}} {{len .list}} {{len .obj}} {{.rows | len}}`:                                                                 `9 4 2 2`,
		`{{index .list 1}} {{index .obj "a" "b" 1}} {{(index .rows 0).text}}`:                                                      `2.50 2 x`,
		`{{slice .text 2 5}} {{slice .list 1 2}} {{slice .text 6}}`:                                                                `öße [2.50] "L"`,
		`{{json .text}} {{json .list}} {{json .none}}`:                                                                             `"Größe \"L\"" ["a", 2.50, {"text": "in"}, null] null`,
		`[{{trim .sp}}] {{upper "a"}} {{lower .text}} {{truncate 3 .text}} {{.text | truncate 99}}`:                                `[pad] A größe "l" Grö Größe "L"`,
		`{{join ", " .list}} {{.rows | join "+"}}`:                                                                                 `a, 2.50, {"text": "in"},  {"text": "x"}+{"text": "y"}`,
		`{{default "d" .empty}}{{default "d" .none}}{{.n | default "d"}}`:                                                          `dd4`,
		`{{replace "ö" "oe" .text}}`:                                                                                               `Groeße "L"`,
		`{{html "<a&"}} {{urlquery "a b"}}`:                                                                                        `&lt;a&amp; a+b`,
		`{{print .n .n .text 1}} {{println "a" 1}}`:                                                                                "4 4Größe \"L\"1 a 1\n",
		`{{printf "%d %5.2f %.1f %s %q %s %v %t %03d" .n .n .ratio .ratio .text .list .none .ok .num}}`:                            `4  4.00 1.1 1.10 "Größe \"L\"" ["a", 2.50, {"text": "in"}, null]  true 003`,
		`{{printf "%s %s" .big "100%!"}}`:                                                                                          `1e400 100%!`,
		`{{"quoted" | upper | lower}} {{1.5}} {{0x10}} {{'a'}} {{1_000}} {{true}}`:                                                 `quoted 1.5 16 97 1000 true`,
		"a {{- /* comment */ -}} b":                                                                                                `ab`,
		`{{define "row"}}<{{.text}}{{$.text}}>{{end}}{{range .rows}}{{template "row" .}}{{end}}{{template "row" $}}`:               `<xx><yy><Größe "L"Größe "L">`,
		`{{block "b" .obj}}{{.z}}{{end}}`:                                                                                          `1.0`,
		`{{define "e"}}e{{.}}{{end}}{{template "e"}}`:                                                                              `e`,
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			got, err := compileTemplate(t, src).Render(record(t, templateRow))
			if err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
	if got, err := compileTemplate(t, "{{.}} {{json $}}").Render(record(t, `{"a": 1.0}`)); err != nil || got != `{"a": 1.0} {"a": 1.0}` {
		t.Errorf("the record as a whole is %q, %v", got, err)
	}
}

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		`{{.missing}}`:                 `the row has no field "missing"`,
		`{{if .missing}}{{end}}`:       `the row has no field "missing"`,
		`{{field "missing"}}`:          `the row has no field "missing"`,
		`{{range .rows}}{{.n}}{{end}}`: `the object has no "n"`,
		`{{.obj.x}}`:                   `.obj.x: the object has no "x"`,
		`{{.text.x}}`:                  `.text.x: a text has no "x"`,
		`{{.none.x}}`:                  `.none.x: null has no "x"`,
		`{{(index .list 0).x}}`:        `a text has no "x"`,
		`{{range .text}}{{end}}`:       `nothing to go over in a text`,
		`{{range .ratio}}{{end}}`:      `nothing to go over in a number`,
		`{{eq .n "4"}}`:                `eq: a number cannot be compared with a text`,
		`{{lt .none 1}}`:               `lt: null cannot be compared with a number`,
		`{{eq .list .list}}`:           `a list cannot be compared`,
		`{{lt .big 1}}`:                `too large to compare`,
		`{{len .n}}`:                   `len: a number has no length`,
		`{{index .list 9}}`:            `index: the list has no element 9: it has 4`,
		`{{index .list "a"}}`:          `index: a list has no "a"`,
		`{{index .obj "x"}}`:           `index: the object has no "x"`,
		`{{index .obj 1}}`:             `index: an object has no 1`,
		`{{slice .text 2 99}}`:         `slice: there is no place 99: the length is 9`,
		`{{slice .text 3 2}}`:          `ends before it begins`,
		`{{slice .n 1}}`:               `a number cannot be sliced`,
		`{{join "," .text}}`:           `join: the last argument is a list, not a text`,
		`{{truncate .text 1}}`:         `truncate: the first argument is a number`,
		`{{printf "%d" .text}}`:        `printf: the format "%d" does not fit`,
		`{{printf "%d" .ratio}}`:       `does not fit`,
		`{{printf "%d %d" .n}}`:        `does not fit`,
		`{{printf "%d" .n .n}}`:        `does not fit`,
		`{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}{{.n}}`: `templates nest more than 100 deep`,
		`{{range 1100}}{{range 1000}}{{end}}{{end}}{{.n}}`:                `more than 1 million times`,
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			got, err := compileTemplate(t, src).Append([]byte("before"), record(t, templateRow))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %.100q, %v; want an error that says %q", got, err, want)
			}
			if string(got) != "before" {
				t.Errorf("after the error it is %.100q, want what it was", got)
			}
			if class, code := pipeline.Classify(err); class != pipeline.ClassRecord || code != "template" {
				t.Errorf("got class %v, code %q; want the record's, \"template\"", class, code)
			}
		})
	}
}

func TestTemplateIsBounded(t *testing.T) {
	t.Parallel()
	r := pipeline.NewRecord(pipeline.Field{Name: "huge", Value: pipeline.Text(strings.Repeat("x", 33<<20))})
	for _, src := range []string{
		`{{.huge}}{{.huge}}`, `{{printf "%s%s" .huge .huge | slice 1}}`, `{{print .huge .huge | slice 1}}`, `{{replace "x" "0123456789" .huge | slice 1}}`,
	} {
		if got, err := compileTemplate(t, src).Render(r); err == nil || !strings.Contains(err.Error(), "longer than 64 MiB") {
			t.Errorf("%s: got %d bytes, %v; want an error that says that it is too long", src, len(got), err)
		}
	}
	if got, err := compileTemplate(t, `{{.huge}}`).Render(r); err != nil || len(got) != 33<<20 {
		t.Errorf("got %d bytes, %v; want 33 MiB", len(got), err)
	}
}

func TestTemplateSyntaxErrors(t *testing.T) {
	t.Parallel()
	csv := shape(true, pipeline.ShapeField{Name: "text", Type: pipeline.StringType}, pipeline.ShapeField{Name: "Best Answer"}, pipeline.ShapeField{Name: "best-answer"}, pipeline.ShapeField{Name: "items"})
	for src, c := range map[string]struct {
		offset int
		want   string
	}{
		`é {{.Best Answer}}`:                              {5, `written {{field "Best Answer"}}`},
		"é\n{{.text}} {{.best-answer}}":                   {13, `written {{field "best-answer"}}`},
		`{{.text}}{{ .Best? -}}`:                          {9, `written {{field "Best?"}}`},
		`{{.txt}}`:                                        {2, `there is no field "txt"; did you mean {{.text}}?`},
		`{{.Best}}`:                                       {2, `did you mean {{field "Best Answer"}}?`},
		`a {{field "best answer"}}`:                       {10, `did you mean {{field "Best Answer"}}?`},
		`{{range .items}}{{$.txt}}{{end}}`:                {19, `did you mean {{.text}}?`},
		`{{with .}}{{.txt}}{{end}}`:                       {12, `did you mean {{.text}}?`},
		`{{$x := .}}{{$x.txt}}`:                           {15, `did you mean {{.text}}?`},
		`{{define "d"}}{{.txt}}{{end}}{{template "d" .}}`: {16, `did you mean {{.text}}?`},
		`{{(.).txt}}`:                                     {5, `did you mean {{.text}}?`},
		`{{text}}`:                                        {2, `there is no function "text"; the field is written {{.text}}`},
		`{{lenn .text}}`:                                  {2, `did you mean "len"?`},
		`{{call .text}}`:                                  {2, `there is no function "call"`},
		`{{.text .text}}`:                                 {2, `takes no arguments`},
		`{{.text | .text}}`:                               {10, `takes no arguments`},
		`{{field .text}}`:                                 {2, `in quotes: {{field "Best Answer"}}`},
		`{{has}}`:                                         {2, `has takes 1 argument, not 0`},
		`{{truncate .text}}`:                              {2, `truncate takes 2 arguments, not 1`},
		`{{.text | eq}}`:                                  {10, `eq takes at least 2 arguments, not 1`},
		`{{template "x" .}}`:                              {11, `there is no template "x"`},
		`{{template "" .}}`:                               {11, `there is no template ""`},
		`{{nil}}`:                                         {2, `nil`},
		`{{1i}}`:                                          {2, `1i is no number`},
		`{{.text`:                                         {0, `unclosed action`},
		`ok {{if .text}}{{.text}}`:                        {3, `unexpected EOF`},
		"{{if .text}}\n{{end}}{{end}}":                    {13, `unexpected {{end}}`},
		`{{$x}}`:                                          {0, `undefined variable "$x"`},
		`{{break}}`:                                       {0, `outside`},
		`{{index "a" 5}}`:                                 {0, `index: a text has no 5`},
		`{{.text}} {{"open}}`:                             {10, `unterminated`},
	} {
		t.Run(src, func(t *testing.T) {
			t.Parallel()
			_, err := lang.CompileTemplate(src, csv)
			var at *lang.SyntaxError
			if !errors.As(err, &at) {
				t.Fatalf("got %v, want a SyntaxError", err)
			}
			if at.Offset != c.offset || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q at %d; want %q at %d", err, at.Offset, c.want, c.offset)
			}
		})
	}
	for _, src := range []string{`{{range .items}}{{.txt}}{{end}}`, `{{with .items}}{{.txt}}{{end}}`, `{{has "txt"}}`, `{{field "txt" ""}}`, `{{define "d"}}{{.txt}}{{end}}{{template "d" .items}}`} {
		if _, err := lang.CompileTemplate(src, csv); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
}

func TestTemplateFields(t *testing.T) {
	t.Parallel()
	for src, c := range map[string]struct {
		fields   []string
		whole    bool
		constant string
	}{
		`a{{"b"}}{{len "abc"}}`:                         {constant: "ab3"},
		`{{.a}} {{.b.c}} {{.a}}`:                        {fields: []string{"a", "b"}},
		`{{range .items}}{{.text}}{{$.x}}{{end}}{{.y}}`: {fields: []string{"items", "x", "y"}},
		`{{range .items}}{{field "f"}}{{end}}`:          {fields: []string{"items", "f"}},
		`{{with .o}}{{.p}}{{else}}{{.q}}{{end}}`:        {fields: []string{"o", "q"}},
		`{{if has "h"}}{{.i}}{{end}}`:                   {fields: []string{"h", "i"}},
		`{{len (printf "%s" .a)}}{{(.b).c}}`:            {fields: []string{"a", "b"}},
		`{{.}}`:                                         {whole: true},
		`{{json $}}`:                                    {whole: true},
		`{{. | json}}`:                                  {whole: true},
		`{{range $k, $v := .}}{{$v.x}}{{end}}`:          {whole: true},
		`{{$x := .}}{{$x.a}}{{with $x}}{{.b}}{{end}}`:   {fields: []string{"a", "b"}},
		`{{define "d"}}{{.a}}{{$.b}}{{end}}{{template "d" .}}{{template "d" .c}}`: {fields: []string{"a", "b", "c"}},
		`{{define "d"}}{{$.b}}{{end}}{{template "d" .c}}`:                         {fields: []string{"c"}},
	} {
		x := compileTemplate(t, src)
		constant, ok := x.Constant()
		if !slices.Equal(x.Fields(), c.fields) || x.Whole() != c.whole || ok != (c.constant != "") || constant != c.constant {
			t.Errorf("%s: got %q, whole %v, constant %q", src, x.Fields(), x.Whole(), constant)
		}
	}
}

// TestTemplateAsTextTemplate holds the execution to text/template's on what both
// know: strings, lists and objects of strings.
func TestTemplateAsTextTemplate(t *testing.T) {
	t.Parallel()
	data := map[string]any{"a": "x", "e": "", "l": []any{"p", "q"}, "n": []any{}, "o": map[string]any{"k": "v", "m": "w"}, "t": true, "f": false}
	raw, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, string(raw))
	rapid.Check(t, func(t *rapid.T) {
		src := body(t, 3, false)
		theirs, err := template.New("").Option("missingkey=error").Parse(src)
		if err != nil {
			t.Skip(err)
		}
		var want strings.Builder
		wantErr := theirs.Execute(&want, data)
		got := ""
		ours, err := lang.CompileTemplate(src, pipeline.Shape{}) // a template that reads nothing fails here already
		if err == nil {
			got, err = ours.Render(r)
		}
		if (err != nil) != (wantErr != nil) || err == nil && got != want.String() {
			t.Fatalf("%s: got %q, %v; text/template has %q, %v", src, got, err, want.String(), wantErr)
		}
	})
}

// body draws a piece of a template.
func body(t *rapid.T, depth int, loop bool) string {
	var out strings.Builder
	for range rapid.IntRange(0, 3).Draw(t, "nodes") {
		value := rapid.SampledFrom([]string{".", "$", ".a", ".e", ".l", ".n", ".o", ".o.k", "$.a", "$.l", ".x", `"lit"`, ".t", ".f", "$.o.m"})
		scalar := rapid.SampledFrom([]string{
			".a", "$.a", "$.e", "$.o.k", `"lit"`, "(len $.l)", "$v", "$.x", `(index $.l 1)`, `(and $.a $.e)`, `(or $.e $.a)`,
			`(eq $.a "x")`, `(not $.t)`, `(slice $.a 0 1)`, `(print $.a $.o.m)`, `(printf "%s-%q" $.a $.o.k)`, `(ne $.a $.e)`, `(lt $.a "y")`,
		})
		kinds := 6
		if depth == 0 {
			kinds = 2
		}
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			out.WriteString(rapid.SampledFrom([]string{"text ", " {{- \"trim\" -}} ", "\n"}).Draw(t, "text"))
		case 1, 2:
			s := scalar.Draw(t, "scalar")
			if s == "$v" {
				s = `$v := "set"}}{{$v`
			}
			out.WriteString("{{" + s + "}}")
		case 3:
			out.WriteString("{{if " + value.Draw(t, "if") + "}}" + body(t, depth-1, loop) + "{{else}}" + body(t, depth-1, loop) + "{{end}}")
		case 4:
			out.WriteString("{{with " + value.Draw(t, "with") + "}}" + body(t, depth-1, loop) + "{{else}}" + body(t, depth-1, loop) + "{{end}}")
		case 5:
			list := rapid.SampledFrom([]string{".l", "$.l", "$.n", "$.o", "$i, $e := $.l", "$e := $.o", "2"}).Draw(t, "range")
			stop := rapid.SampledFrom([]string{"", "{{break}}", "{{continue}}", "{{if eq $.a \"x\"}}{{break}}{{end}}"}).Draw(t, "stop")
			out.WriteString("{{range " + list + "}}" + body(t, depth-1, true) + stop + "after{{else}}" + body(t, depth-1, loop) + "{{end}}")
		case 6:
			out.WriteString(`{{with $v := ` + scalar.Filter(func(s string) bool { return s != "$v" }).Draw(t, "var") + `}}{{$v}}{{$v = "new"}}{{$v}}{{end}}`)
		}
	}
	return out.String()
}

func BenchmarkTemplate(b *testing.B) {
	for name, src := range map[string]string{
		"fields": `Classify this ticket of {{.n}}: {{.text}}`,
		"range":  `{{range .rows}}{{.text}}, {{end}}{{if .ok}}{{.n}}{{end}}`,
	} {
		b.Run(name, func(b *testing.B) {
			x, r := compileTemplate(b, src), record(b, templateRow)
			r.Fields()
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = x.Append(dst[:0], r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzCompileTemplate(f *testing.F) {
	for _, src := range []string{
		`{{.text}}`, `{{field "Best Answer"}}`, `{{field "x" "y" | upper}}`, `{{range $i, $e := .list}}{{$i}}{{$e}}{{else}}{{end}}`, `{{.Best Answer}}`, "\n{{.a-b}}",
		`{{with .obj}}{{.a.b}}{{end}}`, `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`, `{{printf "%5.2f" .n}}`, `{{if and (has "x") (gt .n 3)}}{{end}}`,
		`{{- /* c */ -}}`, `{{$x := .}}{{$x = 1}}{{$x}}`, `{{slice .text 1 2}}`, `{{break}}`, `{{`, `{{1.5e400}}`,
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		for _, s := range []pipeline.Shape{{}, shape(true, pipeline.ShapeField{Name: "text"}, pipeline.ShapeField{Name: "list"})} {
			x, err := lang.CompileTemplate(src, s)
			if err != nil {
				var at *lang.SyntaxError
				if !errors.As(err, &at) || at.Offset < 0 || at.Offset > len(src) {
					t.Fatalf("%q: error %#v with no place in the source", src, err)
				}
				continue
			}
			if strings.Contains(src, "range") && strings.Count(src, "range") > 1 {
				continue // slow, bounded by the number of turns
			}
			if _, err := x.Render(record(t, templateRow)); err == nil && len(x.Fields()) == 0 && !x.Whole() {
				if _, ok := x.Constant(); !ok {
					t.Fatalf("%q reads nothing but is not constant", src)
				}
			}
		}
	})
}
