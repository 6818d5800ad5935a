// Package retryafter reads how long a server asks to be left alone.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longest bounds what a server can ask for, so that a mistake of its
// own (or an overflow) does not park a row for ever.
const longest = 24 * time.Hour

// Of returns how long the other end asks to be left alone, 0 if it does
// not. In the order of the official clients: retry-after-ms, then retry-after
// (seconds with a fraction, or a date); else what the text says, as in "Please
// try again in 599ms".
func Of(h http.Header, text string, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 {
		return atMost(ms * float64(time.Millisecond))
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil && s >= 0 {
		return atMost(s * float64(time.Second))
	}
	if date, err := http.ParseTime(value); err == nil {
		return atMost(float64(date.Sub(now)))
	}
	return atMost(float64(spokenDelay(text)))
}

func atMost(d float64) time.Duration {
	switch {
	case d > 0 && d < float64(longest):
		return time.Duration(d)
	case d > 0:
		return longest
	default: // past, or not a number
		return 0
	}
}

// spokenDelay finds the wait in the provider's words: "try again in 6m0s"
// (OpenAI), "retry after 6 seconds" (Azure), "retry in 36.2s" (Gemini).
func spokenDelay(text string) time.Duration {
	text = strings.ToLower(text)
	for _, lead := range []string{"try again in ", "retry after ", "retry in ", "try again after "} {
		if _, rest, ok := strings.Cut(text, lead); ok {
			if d := leadingDelay(rest); d > 0 {
				return d
			}
		}
	}
	return 0
}

// leadingDelay adds up the amounts at the start of s: "1h2m3.5s", "6 seconds",
// "1 minute and 5 seconds".
func leadingDelay(s string) time.Duration {
	var sum float64
	for {
		s = strings.TrimPrefix(strings.TrimLeft(s, " ,"), "and ")
		n := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if n <= 0 {
			return atMost(sum)
		}
		amount, err := strconv.ParseFloat(s[:n], 64)
		unit := strings.TrimLeft(s[n:], " ")
		end := strings.IndexFunc(unit, func(r rune) bool { return r < 'a' || r > 'z' })
		if end < 0 {
			end = len(unit)
		}
		length := unitLength(unit[:end])
		if err != nil || length == 0 {
			return atMost(sum)
		}
		sum += amount * float64(length)
		s = unit[end:]
	}
}

func unitLength(unit string) time.Duration {
	switch unit {
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond
	case "s", "sec", "secs", "second", "seconds":
		return time.Second
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return 24 * time.Hour
	default:
		return 0
	}
}
