package llm

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// completion is what is read of an answer.
type completion struct {
	Choices []choice       `json:"choices"`
	Usage   usage          `json:"usage"`
	Error   jsontext.Value `json:"error"`
}

type choice struct {
	FinishReason text `json:"finish_reason"`
	Message      struct {
		Content text `json:"content"`
		Refusal text `json:"refusal"`
	} `json:"message"`
	// Error is OpenRouter's, where a model fails behind it.
	Error jsontext.Value `json:"error"`
}

// text is a string, null, or a list of parts whose texts are joined (Mistral).
type text string

// UnmarshalJSONFrom reads any of its forms.
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	raw, err := d.ReadValue()
	if err != nil {
		return err
	}
	switch raw.Kind() {
	case '"':
		s, _ := jsontext.AppendUnquote(nil, raw) // the error only says that bad UTF-8 was replaced
		*t = text(s)
	case '[':
		var parts []struct {
			Type string `json:"type"`
			Text text   `json:"text"`
		}
		if err := json.Unmarshal(raw, &parts, lenient()); err != nil {
			return err
		}
		for _, p := range parts {
			if p.Type == "text" {
				*t += p.Text
			}
		}
	}
	return nil
}

// usage is what an attempt cost. Whatever is not understood of it is 0: an answer
// is not thrown away for its bill.
type usage struct {
	Input   count   `json:"prompt_tokens"`
	Output  count   `json:"completion_tokens"`
	Details details `json:"prompt_tokens_details"`
	Spent   details `json:"completion_tokens_details"`
}

type details struct {
	Cached    count `json:"cached_tokens"`
	Reasoning count `json:"reasoning_tokens"`
}

type count int64

// UnmarshalJSONFrom reads the usage if it is an object.
func (u *usage) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	type plain usage
	return objectOnly(d, (*plain)(u))
}

// UnmarshalJSONFrom reads the details if they are an object.
func (t *details) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	type plain details
	return objectOnly(d, (*plain)(t))
}

func objectOnly(d *jsontext.Decoder, v any) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, v)
}

// UnmarshalJSONFrom reads a whole number, also one written with a fraction.
func (c *count) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	raw, err := d.ReadValue()
	if err != nil || raw.Kind() != '0' {
		return err
	}
	if f, err := strconv.ParseFloat(string(raw), 64); err == nil && f > 0 && f < 1e15 {
		*c = count(f)
	}
	return nil
}

// judge returns the answer of an exchange, or why it is none.
func (to *endpoint) judge(x *exchange) (string, error) {
	if x.status < 200 || x.status > 299 {
		return "", to.refuse(parseFailure(x.status, x.answer), x.reply)
	}
	var c completion
	if err := json.Unmarshal(x.answer, &c, to.lenient); err != nil {
		return "", to.unreadable(x, err)
	}
	x.usage = c.Usage
	to.usage.add(c.Usage)
	if isThere(c.Error) {
		return "", to.refuse(parseFailure(x.status, x.answer), x.reply)
	}
	if len(c.Choices) == 0 {
		return "", pipeline.Transient("no_choices", fmt.Errorf("%s answered %d without an answer: there are no choices in it", to.host, x.status))
	}
	first := &c.Choices[0]
	if isThere(first.Error) {
		wrapped := append(append([]byte(`{"error":`), first.Error...), '}')
		return "", to.refuse(parseFailure(x.status, wrapped), x.reply)
	}
	x.finish = string(first.FinishReason)
	return to.judgeChoice(first)
}

// isThere tells an error from "error": null and the like.
func isThere(v jsontext.Value) bool {
	switch string(v) {
	case "", "null", "false", `""`, "{}":
		return false
	default:
		return true
	}
}

// judgeChoice decides whether a choice is an answer: a finish reason that is
// accepted, and something in it.
func (to *endpoint) judgeChoice(c *choice) (string, error) {
	content, finish := string(c.Message.Content), string(c.FinishReason)
	switch {
	case c.Message.Refusal != "":
		return "", unfinished("refusal", string(c.Message.Refusal), "the model refuses: %s", words([]byte(c.Message.Refusal)))
	case slices.Contains(to.config.AcceptFinish, finish) && content != "":
		return content, nil
	case slices.Contains(to.config.AcceptFinish, finish):
		return "", unfinished("empty_answer", "", "the answer is empty (finish_reason %q)", finish)
	}
	switch finish {
	case "length":
		return "", unfinished("finish_length", content, "the answer was cut off (finish_reason length): raise %s, or put length into accept_finish", to.lengthKey())
	case "content_filter":
		return "", unfinished("content_filter", content, "the provider's content filter withheld the answer (finish_reason content_filter)")
	case "error", "abort", "insufficient_system_resource": // OpenRouter, vLLM, DeepSeek: it broke down half-way
		return "", pipeline.Transient("finish_"+finish, fmt.Errorf("%s broke off the answer (finish_reason %s)", to.host, finish))
	default:
		return "", unfinished("finish_"+codeName(finish), content, "finish_reason is %q; accept_finish takes %s", finish, strings.Join(to.config.AcceptFinish, ", "))
	}
}

// unfinished is the error of a row whose answer is none, with what came of it.
func unfinished(code, answer, format string, args ...any) error {
	return &pipeline.Error{Class: pipeline.ClassRecord, Code: code, Answer: answer, Err: fmt.Errorf(format, args...)}
}

// lengthKey is the key that bounds the answer.
func (to *endpoint) lengthKey() string {
	if to.config.MaxCompletionTokens > 0 {
		return "max_completion_tokens"
	}
	return "max_tokens"
}

// unreadable makes the error of a 200 whose body is not an answer: cut short, an
// HTML page, or nothing.
func (to *endpoint) unreadable(x *exchange, err error) error {
	code, what := "not_json", "something that is no answer"
	switch {
	case len(strings.TrimSpace(string(x.answer[:min(len(x.answer), 64)]))) == 0:
		code, what = "empty_body", "with nothing"
	case errors.Is(err, io.ErrUnexpectedEOF):
		code, what = "cut_short", "with JSON that ends in the middle"
	}
	shown := words(pageTitle(x.answer[:min(len(x.answer), mostErrorBody)]))
	text := fmt.Sprintf("%s answered %d %s %s: %s", to.host, x.status, http.StatusText(x.status), what, shown)
	return pipeline.Transient(code, errors.New(to.hide(strings.TrimSuffix(text, ": "))))
}
