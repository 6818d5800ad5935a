package pipeline

import (
	"slices"
	"testing"
)

func TestElements(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		json string
		want []string
		ok   bool
	}{
		"empty":            {"[ ]", []string{}, true},
		"one":              {"[1e400]", []string{"1e400"}, true},
		"spaced":           {"[ 1 , \"a,]\" ,{\"b\": [1, 2]} , [ ] ]", []string{"1", `"a,]"`, `{"b": [1, 2]}`, "[ ]"}, true},
		"escaped":          {`["\"]",-0.0,null]`, []string{`"\"]"`, "-0.0", "null"}, true},
		"an object":        {`{"a":1}`, nil, false},
		"null":             {"null", nil, false},
		"a string with it": {`"[1]"`, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, ok := RawJSON(c.json).Elements()
			var got []string
			if list != nil {
				got = []string{}
			}
			for _, v := range list {
				got = append(got, v.JSON())
			}
			if ok != c.ok || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v; want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
	if _, ok := Text("[1]").Elements(); ok {
		t.Error("a text is taken for a list")
	}
}

func TestMember(t *testing.T) {
	t.Parallel()
	v := RawJSON(`{ "a" : 1.10, "b\u0020c": {"d": [1, 2]}, "a": 2.20 }`)
	for name, want := range map[string]string{"a": "2.20", "b c": `{"d": [1, 2]}`} {
		if got, ok := v.Member(name); !ok || got.JSON() != want {
			t.Errorf("member %q is %q, %v; want %q", name, got.JSON(), ok, want)
		}
	}
	if _, ok := v.Member("d"); ok {
		t.Error("there is no member d")
	}
	if _, ok := RawJSON(`[{"a":1}]`).Member("a"); ok {
		t.Error("a list has no members")
	}
	if members, ok := v.Members(); !ok || len(members) != 3 || members[1].Name != "b c" {
		t.Errorf("got %v, %v; want three members in order", members, ok)
	}
}

func TestAppendText(t *testing.T) {
	t.Parallel()
	for _, v := range []Value{Text(`a "b"`), RawJSON(`"a \"b\" \u00e9"`), RawJSON("1e400"), Null(), {}, RawJSON(`[1, {"a": 2}]`), RawJSON("true")} {
		if got, want := string(v.AppendText([]byte("x"))), "x"+v.Text(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
