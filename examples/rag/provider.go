package main

import (
	"encoding/json"
	"hash/fnv"
	"net/http"
	"strings"
	"sync/atomic"
	"unicode"
)

// provider is made up: it answers as OpenAI's endpoint for embeddings does, with a
// vector that counts the words of a text. Every fifth request it refuses.
type provider struct{ requests atomic.Int64 }

func newProvider() http.Handler {
	p := new(provider)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/embeddings", p.embed)
	return mux
}

func (p *provider) embed(w http.ResponseWriter, r *http.Request) {
	if p.requests.Add(1)%5 == 0 {
		http.Error(w, `{"error": {"message": "too many requests"}}`, http.StatusTooManyRequests)
		return
	}
	var question struct {
		Input string `json:"input"`
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"data": []any{map[string]any{"embedding": vectorOf(question.Input)}}}) // a client that went away
}

// vectorOf counts the longer words, each at a place of its own or nearly so.
func vectorOf(text string) []float64 {
	vector := make([]float64, 256)
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && r != '-' }) {
		if len(word) > 4 {
			h := fnv.New32a()
			_, _ = h.Write([]byte(word)) // it takes everything
			vector[h.Sum32()%uint32(len(vector))]++
		}
	}
	return vector
}
