package simulator

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	json "github.com/go-json-experiment/json"
)

func TestAnswerDependsOnThePrompt(t *testing.T) {
	t.Parallel()
	user := func(s string) []Message { return []Message{{"user", s}} }
	base := Answer(1, "m", user("a")...)
	if again := Answer(1, "m", user("a")...); again != base {
		t.Errorf("got %q and then %q for the same prompt", base, again)
	}
	for name, other := range map[string]string{
		"prompt": Answer(1, "m", user("b")...),
		"model":  Answer(1, "n", user("a")...),
		"seed":   Answer(2, "m", user("a")...),
		"system": Answer(1, "m", Message{"system", "Be brief."}, Message{"user", "a"}),
	} {
		if other == base {
			t.Errorf("another %s got the same answer: %q", name, other)
		}
	}
	seen := map[string]bool{}
	for i := range 10_000 {
		a := Answer(1, "m", user("row "+strings.Repeat("x", i%7)+string(rune('0'+i)))...)
		if seen[a] {
			t.Fatalf("two prompts have the answer %q", a)
		}
		seen[a] = true
	}
}

// What is sent is what Answer says, however the content was written.
func TestAnswerIsWhatIsSent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		messages string
		means    []Message
	}{
		"text":    {`[{"role":"user","content":"a"}]`, []Message{{"user", "a"}}},
		"escapes": {`[{"role":"user","content":"\u0061\n\"\ud83d\ude00"}]`, []Message{{"user", "a\n\"😀"}}},
		"several": {
			`[{"role":"system","content":"s"},{"content":"a","name":"x","role":"user"},{"role":"assistant","content":null,"tool_calls":[]}]`,
			[]Message{{"system", "s"}, {"user", "a"}, {"assistant", ""}},
		},
		"parts": {
			`[{"role":"user","content":[{"type":"text","text":"a\tb"},{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"c"}]}]`,
			[]Message{{"user", "a\tb\n" + `{"type":"image_url","image_url":{"url":"u"}}` + "\nc"}},
		},
		"labels": {`[{"role":"user","content":"one of: a, b"}]`, []Message{{"user", "one of: a, b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := content(t, post(New(Options{Seed: 5}), `{"messages":`+tc.messages+`,"model":"m","temperature":0,"unknown":{"a":[1]}}`))
			if want := Answer(5, "m", tc.means...); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"short":            {"Tell me a fact about number 7", "Tell me a fact about number 7"},
		"long":             {"Summarise this ticket in ten words: it is broken since last Tuesday", "Summarise this ticket … is broken since last Tuesday"},
		"several lines":    {"a\n\n b\tc", "a b c"},
		"empty":            {"", ""},
		"long words":       {strings.Repeat("é", 20), strings.Repeat("é", 12) + "…"},
		"a huge word":      {strings.Repeat("é", 5000), strings.Repeat("é", 12) + "… … " + strings.Repeat("é", 12) + "…"},
		"huge":             {strings.Repeat("word ", 5000) + "end", "word word word … word word word word end"},
		"exactly as many":  {"1 2 3 4 5 6 7 8", "1 2 3 4 5 6 7 8"},
		"one more than so": {"1 2 3 4 5 6 7 8 9", "1 2 3 … 5 6 7 8 9"},
	} {
		if got := words(tc.text); got != tc.want || !utf8.ValidString(got) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
	if got := lastUser([]Message{{"user", "a"}, {"user", "b"}, {"assistant", "c"}}); got != "b" {
		t.Errorf("got %q for the last user message, want b", got)
	}
	if got := lastUser([]Message{{"system", "s"}}); got != "s" {
		t.Errorf("got %q without a user message, want s", got)
	}
}

func TestOfferedLabels(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"commas":           {"Classify. Answer with one of: bug, feature, question", []string{"bug", "feature", "question"}},
		"commas and or":    {"one of: a, b, or c.", []string{"a", "b", "c"}},
		"or":               {"Say one of: yes or no", []string{"yes", "no"}},
		"bars":             {"Labels: very good | so, so | bad", []string{"very good", "so, so", "bad"}},
		"quotes":           {"ONE OF: \"a\", 'b', `c`", []string{"a", "b", "c"}},
		"text follows":     {"Choose from: a, b. The text is: x, y", []string{"a", "b"}},
		"line follows":     {"one of the following labels: a, b\nText: c, d", []string{"a", "b"}},
		"dashes":           {"Pick one of these:\n- card arrival\n- lost card\n\nText", []string{"card arrival", "lost card"}},
		"stars":            {"categories:\n* a\n* b", []string{"a", "b"}},
		"one word":         {"Answer with one word: positive, negative", []string{"positive", "negative"}},
		"later":            {"Note: a, b\nlabels: c, d", []string{"c", "d"}},
		"nothing":          {"Tell me about: a, b", nil},
		"a single one":     {"one of: a", nil},
		"a question":       {"In one word: is it a, or is it b?", nil},
		"too long":         {"one of: a, " + strings.Repeat("x", 65), nil},
		"an empty one":     {"one of: a,, b", nil},
		"no colon":         {"one of a, b", nil},
		"end of the text":  {"one of:", nil},
		"lines, no dashes": {"one of:\na\nb", nil},
	} {
		if got := offered(tc.text); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestLabelsAreSpread(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	for i := range 3000 {
		got[Answer(1, "m", Message{"system", "Answer with one of: a, b, c"}, Message{"user", strings.Repeat("x", i)})]++
	}
	for _, label := range []string{"a", "b", "c"} {
		if got[label] < 900 {
			t.Errorf("got the labels %v, want about 1000 each", got)
		}
	}
}

func TestWhatShapesTheAnswer(t *testing.T) {
	t.Parallel()
	whole := Answer(0, "m", Message{"user", "a"})
	for name, tc := range map[string]struct {
		further string
		content string
		reason  string
	}{
		"nothing":               {``, whole, "stop"},
		"null":                  {`,"max_tokens":null,"stop":null,"n":null,"response_format":null,"stream":null`, whole, "stop"},
		"max_tokens":            {`,"max_tokens":3`, whole[:12], "length"},
		"max_completion_tokens": {`,"max_completion_tokens":3`, whole[:12], "length"},
		"just enough":           {`,"max_tokens":100`, whole, "stop"},
		"stop":                  {`,"stop":" model"`, whole[:strings.Index(whole, " model")], "stop"},
		"several stops":         {`,"stop":["none of it"," model","a"]`, whole[:strings.Index(whole, "a")], "stop"},
		"text":                  {`,"response_format":{"type":"text"}`, whole, "stop"},
		"an object":             {`,"response_format":{"type":"json_object"}`, `{"answer":"` + whole + `"}`, "stop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := decode(t, post(New(Options{}), ask("a", tc.further)).Body)
			if got := c.Choices[0]; *got.Message.Content != tc.content || got.FinishReason != tc.reason {
				t.Errorf("got %q, %s, want %q, %s", *got.Message.Content, got.FinishReason, tc.content, tc.reason)
			}
			if got, want := c.Usage.Completion, (len(tc.content)+3)/4; got != want || c.Usage.Total != c.Usage.Prompt+want {
				t.Errorf("got usage %+v, want %d tokens of completion", c.Usage, want)
			}
		})
	}
}

func TestSeveralChoices(t *testing.T) {
	t.Parallel()
	c := decode(t, post(New(Options{}), ask("a", `,"n":3`)).Body)
	if len(c.Choices) != 3 {
		t.Fatalf("got %d choices, want 3", len(c.Choices))
	}
	seen := map[string]bool{}
	for i, one := range c.Choices {
		seen[*one.Message.Content] = true
		if one.Index != i {
			t.Errorf("choice %d has the index %d", i, one.Index)
		}
	}
	if len(seen) != 3 || *c.Choices[0].Message.Content != Answer(0, "m", Message{"user", "a"}) {
		t.Errorf("got %v, want three different, the first as ever", seen)
	}
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	t.Parallel()
	for n := range 12 {
		if got := cut("aé😀b", n); !utf8.ValidString(got) || len(got) > n {
			t.Errorf("cut to %d: got %q", n, got)
		}
	}
}

// A request is answered with JSON, whatever it is.
func FuzzRequest(f *testing.F) {
	f.Add(ask("a"))
	f.Add(ask("one of: a, b", `,"n":2,"stop":["x"],"max_tokens":3`))
	f.Add(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"\u00e9"}]}],"response_format":{"type":"json_object"}}`)
	f.Add(ask("a", `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":["object","null"],"properties":{"a":{"$ref":"#"}},"required":["a"]}}}`))
	f.Add(`{"model":`)
	s := New(Options{})
	f.Fuzz(func(t *testing.T, body string) {
		w := post(s, body)
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("got %v for %s", err, w.Body)
		}
		if _, failed := answer["error"]; failed != (w.Code != 200) || w.Code != 200 && w.Code != 400 {
			t.Errorf("got %d with %s", w.Code, w.Body)
		}
	})
}
