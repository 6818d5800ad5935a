// Embed-http enriches the requests of an HTTP server with a model. All requests
// share one bound stage, and with it the connections, the parallelism, the
// retries and the rate limits: a hundred requests at once do not become a hundred
// calls at once.
//
// The program sends itself a few requests and ends.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/stages/llm"
)

// Ticket is the body of a request, and what the prompt is made of.
type Ticket struct {
	Subject string `json:"subject"`
	Body    string `json:"body"`
}

// Sorted is the body of an answer: the ticket, and what the model says.
type Sorted struct {
	Ticket
	Team string `json:"team"`
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed-http:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	stage, err := llm.New(llm.Config{
		Provider: "simulator",
		System:   "You sort support tickets. Answer with one of: delivery, billing, product, other",
		Prompt:   "{{.subject}}\n\n{{.body}}",
		Output:   "team",
	}, pipeline.Env{})
	if err != nil {
		return err
	}
	model, err := engine.Bind[Ticket, Sorted](stage, pipeline.StepOptions{Parallelism: 8, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()

	server := httptest.NewServer(handler(model))
	defer server.Close()
	for _, body := range []string{
		`{"subject": "Charged twice", "body": "My card was charged twice for the same chair."}`,
		`{"subject": "Shelf wobbles", "body": "Is a screw missing?"}`,
		`{"subject": `,
	} {
		if err := post(ctx, out, server.URL, body); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%d calls of the model\n", model.Stats().Calls)
	return err
}

// handler answers a ticket with the team that it is for.
func handler(model *engine.Bound[Ticket, Sorted]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var t Ticket
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&t); err != nil {
			http.Error(w, "the body is no ticket: "+err.Error(), http.StatusBadRequest)
			return
		}
		// The request's context ends the call when the client goes away.
		sorted, err := model.Do(r.Context(), t)
		if err != nil {
			http.Error(w, "the model has no answer: "+err.Error(), status(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(sorted) // a client that went away
	})
}

// status tells a client whether to come again.
func status(err error) int {
	switch class, _ := pipeline.Classify(err); class {
	case pipeline.ClassTransient, pipeline.ClassRefused:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}

func post(ctx context.Context, out io.Writer, url, body string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d %s\n", response.StatusCode, bytes.TrimSpace(text))
	return err
}
