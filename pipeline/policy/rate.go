package policy

import (
	"errors"
	"strconv"
	"sync"
)

// Rate is how much may be asked for in a minute: a number, [Auto] or [Off].
type Rate int64

// The Rates that are no numbers.
const (
	// Auto paces by what the other end says of its limits, and by its refusals;
	// there is no pacing until something is known.
	Auto Rate = 0
	// Off paces nothing.
	Off Rate = -1
)

// UnmarshalText parses "auto", "off" or a whole number above 0.
func (r *Rate) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "auto":
		*r = Auto
	case "off":
		*r = Off
	default:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n <= 0 {
			return errors.New(strconv.Quote(s) + " is not a rate; write auto, off, or how much a minute, like 6000")
		}
		*r = Rate(n)
	}
	return nil
}

// String returns the Rate as it is written.
func (r Rate) String() string {
	switch {
	case r == Auto:
		return "auto"
	case r < 0:
		return "off"
	default:
		return strconv.FormatInt(int64(r), 10)
	}
}

// Forms says how a Rate is written, for the reference and for messages.
func (Rate) Forms() string { return "number, auto, or off" }

// MarshalText returns the Rate as it is written.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// RateLimit is what is wanted of the pacing of one endpoint. The zero value paces
// by what the other end says.
type RateLimit struct {
	RequestsPerMinute, TokensPerMinute Rate
}

// Limited is a stage whose other end limits how much may be asked of it.
type Limited interface {
	// RateLimit returns the name of what limits, the same for all that share its
	// limits (address, model, and whose key it is, but not the key itself), and what
	// is wanted of the pacing.
	RateLimit() (name string, limit RateLimit)
}

// Limits are the limiters of a program, one a name, so that all the stages (and
// runs, if the program wants) that ask the same endpoint and model share what it
// allows. The zero Limits are ready to use, by several goroutines.
type Limits struct {
	mu       sync.Mutex
	limiters map[string]*Limiter
}

// For returns the limiter of that name, always the same. Where several ask for it
// with different limits, the tighter one counts.
func (l *Limits) For(name string, limit RateLimit) *Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if had := l.limiters[name]; had != nil {
		had.tighten(limit)
		return had
	}
	if l.limiters == nil {
		l.limiters = map[string]*Limiter{}
	}
	made := NewLimiter(limit)
	l.limiters[name] = made
	return made
}

// tighter returns the tighter one of two Rates: a number is tighter than auto, and
// auto than off.
func tighter(a, b Rate) Rate {
	if a > 0 && b > 0 {
		return min(a, b)
	}
	return max(a, b)
}
