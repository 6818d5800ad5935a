package pipeline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written "16MiB", "64KB" or as a plain number.
type Size int64

// UnmarshalText parses a Size.
func (s *Size) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "BKMGTibkmgt ")
	unit, known := sizeUnit(strings.ToLower(strings.TrimSpace(string(text[len(number):]))))
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !known || v < 0 || v > 0 && v*unit < 1 || v*unit > 1<<62 || v != v {
		return fmt.Errorf("%q is not a size; write it like 16MiB or 64KB", text)
	}
	*s = Size(v * unit)
	return nil
}

func sizeUnit(name string) (float64, bool) {
	switch name {
	case "", "b":
		return 1, true
	case "kb":
		return 1e3, true
	case "mb":
		return 1e6, true
	case "gb":
		return 1e9, true
	case "kib":
		return 1 << 10, true
	case "mib":
		return 1 << 20, true
	case "gib":
		return 1 << 30, true
	default:
		return 0, false
	}
}

// String returns the Size in the largest unit that fits it exactly: "16MiB".
func (s Size) String() string {
	for _, u := range []struct {
		name string
		size Size
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Duration is a time.Duration written like "500ms", "30s", "1h30m".
type Duration time.Duration

// UnmarshalText parses a Duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration; write it with a unit, like 500ms, 30s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

// String returns the Duration as it is written: "1m30s", "5m", "500ms".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Share is a part of a whole, from 0 up, written "5%" or "0.05"; 1 is all of it.
type Share float64

// UnmarshalText parses a Share.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || v < 0 || v != v || v > 1e9 {
		return fmt.Errorf("%q is not a share; write it like 5%% or 0.05", text)
	}
	if percent {
		v /= 100
	}
	*s = Share(v)
	return nil
}

// String returns the Share in percent: "5%".
func (s Share) String() string {
	return strconv.FormatFloat(float64(s)*100, 'g', 10, 64) + "%"
}

// Secret is a string that appears in no log, error or report.
type Secret string

// Reveal returns the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

const redacted = "[redacted]"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format hides the secret from every verb, %d and %x too.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		_, _ = fmt.Fprint(f, s.GoString())
		return
	}
	_, _ = fmt.Fprint(f, s.String())
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	if strings.ContainsAny(string(text), "\r\n") {
		return errors.New("a secret cannot hold a line break")
	}
	*s = Secret(text)
	return nil
}

// Pair is one entry of an ordered mapping from names to texts.
type Pair struct{ Key, Value string }

// Pairs is a mapping in the order in which it was written.
type Pairs []Pair
