package s3_test

import (
	"net/http"
	"testing"

	"github.com/rowmill/rowmill/internal/bucket/buckettest"
	"github.com/rowmill/rowmill/sources/s3"
)

// TestWordless: the answer to HEAD has no body, so that nobody knows why.
func TestWordless(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		want   string
	}{
		"denied":  {http.StatusForbidden, "403 Forbidden; the server does not say why: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and whether they may read it, or ask as another with `profile`"},
		"nowhere": {http.StatusNotFound, "404 NotFound; there is no such object (any more), or no such bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			server.Set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if r.Method == http.MethodHead {
					w.WriteHeader(c.status)
				}
				return r.Method == http.MethodHead
			})
			compare(t, read(t.Context(), source(t, server, keys("a.txt"))), []string{"error: read s3://rows/a.txt: " + c.want})
		})
	}
}

// TestHalfAKey: the SDK would look elsewhere for a whole one, and ask as somebody else.
func TestHalfAKey(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"AWS_ACCESS_KEY_ID":     "error: s3: AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not: set both, or neither",
		"AWS_SECRET_ACCESS_KEY": "error: s3: AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not: set both, or neither",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := buckettest.New(t)
			c := s3.Default()
			c.Bucket, c.Endpoint, c.Key = buckettest.Name, server.URL, []string{"a.txt"}
			env := buckettest.Env()
			env.Getenv = func(asked string) string {
				if asked == name {
					return "x"
				}
				return ""
			}
			s, err := s3.New(c, env)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			compare(t, read(t.Context(), s), []string{want})
		})
	}
}
