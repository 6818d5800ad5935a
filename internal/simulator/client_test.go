package simulator

import (
	"context"
	"errors"
	"strings"
	"testing"

	openai "github.com/sashabaranov/go-openai"
)

// A client library that knows nothing of the simulator gets along with it.
func TestGoOpenAI(t *testing.T) {
	t.Parallel()
	s, base, client := started(t, Options{Seed: 1, APIKey: "sk-test", Models: []string{"gpt-4.1-mini"}, MaxContext: 100})
	config := openai.DefaultConfig("sk-test")
	config.BaseURL, config.HTTPClient = base, client
	api := openai.NewClientWithConfig(config)
	request := openai.ChatCompletionRequest{
		Model:    "gpt-4.1-mini",
		Messages: []openai.ChatCompletionMessage{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Hello \u2028 é 😀"}},
	}
	resp, err := api.CreateChatCompletion(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want := Answer(1, "gpt-4.1-mini", Message{"system", "Be brief."}, Message{"user", "Hello \u2028 é 😀"})
	if got := resp.Choices[0].Message.Content; got != want || resp.Choices[0].FinishReason != openai.FinishReasonStop {
		t.Errorf("got %q, %s, want %q, stop", got, resp.Choices[0].FinishReason, want)
	}
	if u := resp.Usage; u.PromptTokens == 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens || u.CompletionTokensDetails == nil {
		t.Errorf("got usage %+v", u)
	}
	models, err := api.ListModels(t.Context())
	if err != nil || len(models.Models) != 1 || models.Models[0].ID != "gpt-4.1-mini" {
		t.Errorf("got models %+v, %v", models, err)
	}
	request.Messages[1].Content = strings.Repeat("word ", 100)
	if err := failure(t.Context(), api, request); err.HTTPStatusCode != 400 || err.Code != "context_length_exceeded" || *err.Param != "messages" {
		t.Errorf("got %+v for a long prompt", err)
	}
	request.Model = "gpt-4"
	if err := failure(t.Context(), api, request); err.HTTPStatusCode != 404 || err.Code != "model_not_found" {
		t.Errorf("got %+v for another model", err)
	}
	if l := balanced(t, s); l.Answered != 1 || l.Rejected != 2 {
		t.Errorf("got %+v, want one answered and two rejected", l)
	}
}

func TestGoOpenAIForAzure(t *testing.T) {
	t.Parallel()
	_, base, client := started(t, Options{APIKey: "key", Dialect: DialectAzure, RequestsPerMinute: 1})
	config := openai.DefaultAzureConfig("key", strings.TrimSuffix(base, "/v1"))
	config.HTTPClient, config.AzureModelMapperFunc = client, func(string) string { return "my-deployment" }
	api := openai.NewClientWithConfig(config)
	request := openai.ChatCompletionRequest{Model: "gpt-4.1", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "a"}}}
	resp, err := api.CreateChatCompletion(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := resp.Choices[0].Message.Content, Answer(0, "my-deployment", Message{"user", "a"}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := failure(t.Context(), api, request); err.HTTPStatusCode != 429 || err.Code != "429" {
		t.Errorf("got %+v above the limit", err)
	}
}

// failure returns the API's error, an empty one if there was none.
func failure(ctx context.Context, api *openai.Client, request openai.ChatCompletionRequest) *openai.APIError {
	_, err := api.CreateChatCompletion(ctx, request)
	known := new(openai.APIError)
	errors.As(err, &known)
	return known
}
