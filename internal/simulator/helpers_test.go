package simulator

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	json "github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// started returns a Server that listens, its base URL, and a client that leaves
// nothing behind.
func started(t testing.TB, o Options) (*Server, string, *http.Client) {
	t.Helper()
	if err := o.Validate(); err != nil {
		t.Fatalf("options: %v", err)
	}
	s := New(o)
	base, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, base, &http.Client{Transport: transport}
}

// ask returns the body of a chat request with one user message; further fields
// come as JSON: `,"n":2`.
func ask(prompt string, further ...string) string {
	quoted, err := json.Marshal(prompt)
	if err != nil {
		panic(err)
	}
	return `{"model":"m","messages":[{"role":"user","content":` + string(quoted) + `}]` + strings.Join(further, "") + `}`
}

// serve answers one request without a network.
func serve(s *Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func post(s *Server, body string) *httptest.ResponseRecorder {
	return serve(s, http.MethodPost, "/v1/chat/completions", body)
}

// completion is what a client reads.
type completion struct {
	ID                string `json:"id"`
	Object            string `json:"object"`
	Created           int64  `json:"created"`
	Model             string `json:"model"`
	SystemFingerprint string `json:"system_fingerprint"`
	Choices           []struct {
		Index        int    `json:"index"`
		FinishReason string `json:"finish_reason"`
		Message      struct {
			Role    string  `json:"role"`
			Content *string `json:"content"`
			Refusal *string `json:"refusal"`
		} `json:"message"`
	} `json:"choices"`
	Usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	} `json:"usage"`
	Error *struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Param   any    `json:"param"`
		Code    any    `json:"code"`
	} `json:"error"`
}

func decode(t testing.TB, body io.Reader) completion {
	t.Helper()
	var c completion
	if err := json.UnmarshalRead(body, &c); err != nil {
		t.Fatalf("the answer is no JSON: %v", err)
	}
	return c
}

// content returns the text of the first choice.
func content(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("got status %d: %s", w.Code, w.Body)
	}
	c := decode(t, w.Body)
	if len(c.Choices) == 0 || c.Choices[0].Message.Content == nil {
		t.Fatal("got no content")
	}
	return *c.Choices[0].Message.Content
}

// balanced fails unless the ledger adds up.
func balanced(t testing.TB, s *Server) Ledger {
	t.Helper()
	l := s.Ledger()
	sum := l.Answered + l.Refused + l.Rejected + l.Abandoned + l.InFlight
	for _, n := range l.Faults {
		sum += n
	}
	if sum != l.Requests {
		t.Errorf("the ledger does not add up: got %d, want %d: %+v", sum, l.Requests, l)
	}
	return l
}

// contentOf returns the text of a good answer, an error for everything else.
func contentOf(raw []byte) (string, error) {
	var c completion
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", err
	}
	if len(c.Choices) == 0 || c.Choices[0].Message.Content == nil || c.Choices[0].FinishReason != "stop" {
		return "", errors.New("no answer")
	}
	return *c.Choices[0].Message.Content, nil
}
