package bucket

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

// TestSignedHash: a request is signed with the hash that is known of its body, which nobody
// computes again.
func TestSignedHash(t *testing.T) {
	t.Parallel()
	var signed string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed = r.Header.Get("X-Amz-Content-Sha256")
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"e"`)
	}))
	defer server.Close()
	env := pipeline.Env{Logger: slog.New(slog.DiscardHandler), Getenv: func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}[name]
	}}
	b := Open(Config{Bucket: "b", Endpoint: server.URL}, env)
	defer b.Close()
	other := bytes.Repeat([]byte{7}, 32) // not that of the body, which would show
	_, err := b.Put(t.Context(), Upload{Key: "k", Body: strings.NewReader("abc"), Size: 3, SHA256: other})
	if want := hex.EncodeToString(other); err != nil || signed != want {
		t.Errorf("signed with %q, want %q: %v", signed, want, err)
	}
}
