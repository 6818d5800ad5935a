package retryafter_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/retryafter"
)

var now = time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC)

func TestOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, ms, after, text string
		want                  time.Duration
	}{
		{"nothing", "", "", "Overloaded", 0},
		{"milliseconds first", "599", "20", "try again in 6m0s", 599 * time.Millisecond},
		{"milliseconds with a fraction", "0.5", "", "", 500 * time.Microsecond},
		{"milliseconds that are none", "soon", "2", "", 2 * time.Second},
		{"negative milliseconds", "-1", "2", "", 2 * time.Second},
		{"zero milliseconds", "0", "2", "", 0},
		{"seconds", "", "7", "try again in 1s", 7 * time.Second},
		{"seconds with a fraction", "", "1.25", "", 1250 * time.Millisecond},
		{"a date", "", "Wed, 21 Oct 2026 07:28:30 GMT", "try again in 1s", 30 * time.Second},
		{"a date that is past", "", "Wed, 21 Oct 2026 07:27:30 GMT", "", 0},
		{"no number", "", "soon", "", 0},
		{"NaN", "NaN", "NaN", "", 0},
		{"infinity", "", "Inf", "", 24 * time.Hour},
		{"a year", "", "31536000", "", 24 * time.Hour},
		{"a huge number", "1e300", "", "", 24 * time.Hour},
		{"text: milliseconds", "", "", "Please try again in 599ms. Visit", 599 * time.Millisecond},
		{"text: a fraction", "", "", "Please try again in 1.5s.", 1500 * time.Millisecond},
		{"text: minutes and seconds", "", "", "Please try again in 6m0s.", 6 * time.Minute},
		{"text: hours", "", "", "Please try again in 1h2m3.5s", time.Hour + 2*time.Minute + 3500*time.Millisecond},
		{"text: days", "", "", "try again in 1d2h", 24 * time.Hour},
		{"text: words", "", "", "Please retry after 6 seconds.", 6 * time.Second},
		{"text: one word", "", "", "try again in 1 minute and 5 seconds", 65 * time.Second},
		{"text: gemini", "", "", "Please retry in 36.2s.", 36200 * time.Millisecond},
		{"text: no unit", "", "", "retry after 6", 0},
		{"text: unknown unit", "", "", "retry after 6 moons", 0},
		{"text: no number", "", "", "Please try again in a while", 0},
		{"text: dots", "", "", "try again in ...s", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			if tt.ms != "" {
				h.Set("Retry-After-Ms", tt.ms)
			}
			if tt.after != "" {
				h.Set("Retry-After", tt.after)
			}
			if got := retryafter.Of(h, tt.text, now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzOf(f *testing.F) {
	for _, seed := range []string{"599", "1.5", "Wed, 21 Oct 2026 07:28:30 GMT", "try again in 6m0s", "retry after 6 seconds", "retry in 1d2h3m4s5ms"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, header, text string) {
		h := http.Header{"Retry-After": {header}, "Retry-After-Ms": {text}}
		for range 2 {
			if d := retryafter.Of(h, text, now); d < 0 || d > 24*time.Hour {
				t.Errorf("%q, %q: %v", header, text, d)
			}
			delete(h, "Retry-After-Ms")
		}
	})
}
