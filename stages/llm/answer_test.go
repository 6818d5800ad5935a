package llm_test

import (
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// answerOf makes an answer of one choice.
func answerOf(content, finish, more string) string {
	return `{"choices":[{"index":0,"message":{"role":"assistant","content":` + content + more + `},"finish_reason":` + finish + `}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
}

// TestAnswers holds which 200s are a success.
func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"openai", fine, "Paris"},
		{"ollama", `{"id":"chatcmpl-750","object":"chat.completion","created":1795382118,"model":"stories","system_fingerprint":"fp_ollama","choices":[{"index":0,"message":{"role":"assistant","content":" upon a time"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":8,"total_tokens":10}}` + "\n", " upon a time"},
		{"escapes", answerOf(`"say \"hi\"\n\u00e9\ud83d\ude00\u0000 <b> \/"`, `"stop"`, ""), "say \"hi\"\né😀\x00 <b> /"},
		{"bad UTF-8", answerOf("\"caf\xe9\"", `"stop"`, ""), "caf\ufffd"},
		{"half a surrogate pair", answerOf(`"a\ud83d b"`, `"stop"`, ""), "a\ufffd b"},
		{"a list of parts", answerOf(`[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"Pa"},{"type":"text","text":"ris"}]`, `"stop"`, ""), "Paris"},
		{"white space around", "\n\n " + answerOf(`"Paris"`, `"stop"`, "") + "\r\n", "Paris"},
		{"names twice", answerOf(`"Rome","content":"Paris"`, `"stop"`, ""), "Paris"},
		{"nulls", `{"error":null,"choices":[{"error":null,"message":{"content":"Paris","refusal":null},"finish_reason":"stop"}],"usage":null}`, "Paris"},
		{"usage in a strange form", `{"choices":[{"message":{"content":"Paris"},"finish_reason":"stop"}],"usage":[1]}`, "Paris"},
		{"no usage", `{"choices":[{"message":{"content":"Paris"},"finish_reason":"stop"}]}`, "Paris"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(200, tt.body))
			r := france()
			if _, err := ask(t, stage(t, capital(p), pipeline.Env{}), r); err != nil {
				t.Fatal(err)
			}
			if v, _ := r.Lookup("answer"); v.Text() != tt.want {
				t.Errorf("answer %q, want %q", v.Text(), tt.want)
			}
		})
	}
}

// TestNoAnswers holds what a 200 is that is not a success.
func TestNoAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body            string
		class                 pipeline.Class
		code, answer, message string
	}{
		// The row's own, for good.
		{"cut off", answerOf(`"Par"`, `"length"`, ""), pipeline.ClassRecord, "finish_length", "Par", "raise max_tokens, or put length into accept_finish"},
		{"filtered", answerOf(`"Pa"`, `"content_filter"`, ""), pipeline.ClassRecord, "content_filter", "Pa", "content filter"},
		{"refused", answerOf(`null`, `"stop"`, `,"refusal":"I can't help with that."`), pipeline.ClassRecord, "refusal", "I can't help with that.", "the model refuses: I can't help with that."},
		{"tools", answerOf(`null`, `"tool_calls"`, `,"tool_calls":[]`), pipeline.ClassRecord, "finish_tool_calls", "", `finish_reason is "tool_calls"; accept_finish takes stop`},
		{"no finish reason", answerOf(`"Paris"`, `null`, ""), pipeline.ClassRecord, "finish_", "Paris", `finish_reason is ""`},
		{"empty", answerOf(`""`, `"stop"`, ""), pipeline.ClassRecord, "empty_answer", "", "the answer is empty"},
		{"null", answerOf(`null`, `"stop"`, ""), pipeline.ClassRecord, "empty_answer", "", "the answer is empty"},
		// Another attempt may succeed.
		{"openrouter breaks down", answerOf(`"Par"`, `"error"`, ""), pipeline.ClassTransient, "finish_error", "", "broke off the answer"},
		{"vllm gives up", answerOf(`"Par"`, `"abort"`, ""), pipeline.ClassTransient, "finish_abort", "", "broke off"},
		{"no choices", `{"id":"x","choices":[],"usage":{}}`, pipeline.ClassTransient, "no_choices", "", "no choices"},
		{"choices are null", `{"choices":null}`, pipeline.ClassTransient, "no_choices", "", "no choices"},
		{"an empty object", `{}`, pipeline.ClassTransient, "no_choices", "", "no choices"},
		{"a list", `[]`, pipeline.ClassTransient, "not_json", "", "something that is no answer: []"},
		{"null alone", `null`, pipeline.ClassTransient, "no_choices", "", "no choices"},
		{"nothing", ``, pipeline.ClassTransient, "empty_body", "", "answered 200 OK with nothing"},
		{"white space", " \n", pipeline.ClassTransient, "empty_body", "", "with nothing"},
		{"a page", "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>", pipeline.ClassTransient, "not_json", "", "something that is no answer: Just a moment..."},
		{"text", "ok", pipeline.ClassTransient, "not_json", "", "something that is no answer: ok"},
		{"cut short", fine[:len(fine)/2], pipeline.ClassTransient, "cut_short", "", "with JSON that ends in the middle"},
		{"two answers", fine + fine, pipeline.ClassTransient, "not_json", "", "no answer"},
		{"a stream", "data: " + fine, pipeline.ClassTransient, "not_json", "", "no answer: data: "},
		{"content is a number", answerOf(`7`, `"stop"`, ""), pipeline.ClassRecord, "empty_answer", "", ""},
		{"choices are a string", `{"choices":"Paris"}`, pipeline.ClassTransient, "not_json", "", `{"choices":"Paris"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, says(200, tt.body))
			r := france()
			e := failed(t, stage(t, capital(p), pipeline.Env{}), r)
			if e.Class != tt.class || e.Code != tt.code || e.Answer != tt.answer {
				t.Errorf("got %v %q with answer %q, want %v %q with %q", e.Class, e.Code, e.Answer, tt.class, tt.code, tt.answer)
			}
			if !strings.Contains(e.Error(), tt.message) {
				t.Errorf("message\n got %s\nwant %s in it", e, tt.message)
			}
			if _, set := r.Lookup("answer"); set {
				t.Error("the row has an answer")
			}
		})
	}
}

func TestAcceptFinish(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, answerOf(`"Par"`, `"length"`, "")))
	c := capital(p)
	c.AcceptFinish = []string{"stop", "length"}
	if got, err := ask(t, stage(t, c, pipeline.Env{}), france()); err != nil || !strings.Contains(got, `"answer":"Par"`) {
		t.Errorf("length accepted: %s %v", got, err)
	}
	c.AcceptFinish = []string{"length", ""}
	q := serve(t, says(200, answerOf(`"Paris"`, `null`, "")))
	c.BaseURL = q.url
	if _, err := ask(t, stage(t, c, pipeline.Env{}), france()); err != nil {
		t.Errorf("no finish reason accepted: %v", err)
	}
	c.BaseURL = serve(t, says(200, fine)).url
	if e := failed(t, stage(t, c, pipeline.Env{}), france()); e.Code != "finish_stop" {
		t.Errorf("stop not accepted: %q", e.Code)
	}
}

func TestLengthAdviceNamesTheKey(t *testing.T) {
	t.Parallel()
	p := serve(t, says(200, answerOf(`"Par"`, `"length"`, "")))
	c := capital(p)
	c.MaxCompletionTokens = 5
	if e := failed(t, stage(t, c, pipeline.Env{}), france()); !strings.Contains(e.Error(), "raise max_completion_tokens,") {
		t.Errorf("got %v", e)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{fine, `{"error":{"code":1e99,"message":[{}]}}`, `[{"error":"x"}]`, `{"choices":[{"message":null}]}`, `<title>`, `{"usage":{"prompt_tokens":-1e400}}`} {
		f.Add(200, seed)
		f.Add(429, seed)
	}
	s, err := llm.New(llm.Config{BaseURL: "http://localhost:1", Model: "m", Prompt: "x"}, pipeline.Env{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		answer, err := llm.Judge(s, status, body)
		if (answer == "") == (err == nil) {
			t.Errorf("answer %q with error %v", answer, err)
		}
		for name, n := range s.Usage() {
			if n < 0 {
				t.Errorf("%s is %d", name, n)
			}
		}
	})
}
