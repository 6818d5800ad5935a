package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// Embed is a stage that adds the vector of the field "text" to a row, as the field
// "vector".
type Embed struct {
	url, model, key string
	client          http.Client
}

var _ pipeline.Stage = (*Embed)(nil)

// NewEmbed makes an Embed that asks a provider at a URL that ends in /v1.
func NewEmbed(url, model, key string) *Embed {
	return &Embed{url: url + "/embeddings", model: model, key: key}
}

// mostAnswer bounds an answer, in bytes.
const mostAnswer = 16 << 20

// Process asks once. What an error does, another attempt, a pause for everybody or a dead
// letter, its class says.
func (s *Embed) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	text, ok := r.Lookup("text")
	if !ok {
		return nil, errors.New(`there is no field "text"`)
	}
	answer, err := s.post(ctx, map[string]any{"model": s.model, "input": text.Text()})
	if err != nil {
		return nil, err
	}
	var found struct {
		Data []struct {
			Embedding pipeline.Value `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &found); err != nil || len(found.Data) != 1 {
		return nil, pipeline.Transient("bad_answer", fmt.Errorf("the answer holds no vector: %.100s", answer))
	}
	r.Set("vector", found.Data[0].Embedding)
	return []*pipeline.Record{r}, nil
}

func (s *Embed) post(ctx context.Context, question any) ([]byte, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+s.key)
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err // of the network: Classify knows which can be tried again
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response, answer)
	}
	return answer, nil
}

// refusal is what a status says about the row, and about all others.
func refusal(response *http.Response, answer []byte) error {
	code := "http_" + strconv.Itoa(response.StatusCode)
	err := fmt.Errorf("%s: %.200s", response.Status, bytes.TrimSpace(answer))
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests: // costs no attempt
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // 0 where it does not say
		return &pipeline.Error{Class: pipeline.ClassRefused, Code: code, Err: err, RetryAfter: time.Duration(seconds) * time.Second}
	case status >= 500:
		return pipeline.Transient(code, err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return pipeline.Fatal(code, err) // no row can succeed
	default:
		return pipeline.Permanent(code, err)
	}
}
