package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Hedge is for answers that take far longer than usual: the request is made a second
// time, beside the first. The first answer counts; the other request is given up, and
// may cost all the same. The zero Hedge never does so.
type Hedge struct {
	// After is how late an answer has to be.
	After Lateness
	// AtMost bounds the second requests, as a share of the first ones. Defaults to 5%.
	AtMost Share
}

// Lateness says how late something has to be: later than a percentile of those
// before, written "p95", or than a time, written "2s". The zero value is never.
type Lateness struct {
	// Percentile is above 0 and below 100; 0 if After counts.
	Percentile float64
	After      time.Duration
}

// UnmarshalText parses a Lateness.
func (l *Lateness) UnmarshalText(text []byte) error {
	if number, ok := strings.CutPrefix(string(text), "p"); ok {
		p, err := strconv.ParseFloat(number, 64)
		if err != nil || !(p > 0 && p < 100) {
			return fmt.Errorf("%q is not a percentile; write it like p95", text)
		}
		*l = Lateness{Percentile: p}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is neither a percentile, like p95, nor a duration, like 2s", text)
	}
	*l = Lateness{After: d}
	return nil
}

// String returns the Lateness as it is written; "" for never.
func (l Lateness) String() string {
	switch {
	case l.Percentile > 0:
		return "p" + strconv.FormatFloat(l.Percentile, 'g', -1, 64)
	case l.After > 0:
		return Duration(l.After).String()
	default:
		return ""
	}
}

// MarshalText returns the Lateness as it is written.
func (l Lateness) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
