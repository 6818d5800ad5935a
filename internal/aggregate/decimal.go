package aggregate

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// decimal is a JSON number, exactly: mantissa / 10^scale. Sums of them do not hang on the
// order in which they are added, and 0.1 + 0.2 is 0.3.
type decimal struct {
	small int64    // the mantissa, if big is nil
	big   *big.Int // nil as long as an int64 does
	scale int      // digits behind the point
}

// mostDigits bounds the digits in front of the point and behind it: a float64 needs no
// more, and 1e999999999 is not to fill the memory.
const mostDigits = 400

var errRange = errors.New("is too large or too small a number to compute with")

// parseDecimal reads a JSON number. The scale is the smallest that does, so that equal
// numbers are the same decimal.
func parseDecimal(s string) (decimal, error) { return parseBounded(s, mostDigits) }

func parseBounded(s string, most int) (decimal, error) {
	digits, power := s, 0
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(s[at+1:])
		if err != nil {
			return decimal{}, errRange
		}
		digits, power = s[:at], exponent
	}
	if at := strings.IndexByte(digits, '.'); at >= 0 {
		power -= len(digits) - at - 1
		digits = digits[:at] + digits[at+1:]
	}
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" || trimmed == "-" {
		return decimal{}, nil
	}
	power += len(digits) - len(trimmed)
	if len(trimmed)+max(0, power) > most || -power > most {
		return decimal{}, errRange
	}
	trimmed += strings.Repeat("0", max(0, power))
	d := decimal{scale: max(0, -power)}
	if m, err := strconv.ParseInt(trimmed, 10, 64); err == nil {
		d.small = m
		return d, nil
	}
	m, ok := new(big.Int).SetString(trimmed, 10)
	if !ok {
		return decimal{}, errRange
	}
	d.big = m
	return d, nil
}

// add adds other to d.
func (d *decimal) add(other decimal) {
	if d.big == nil && other.big == nil && d.scale == other.scale {
		if sum := d.small + other.small; (sum > d.small) == (other.small > 0) {
			d.small = sum
			return
		}
	}
	scale := max(d.scale, other.scale)
	d.big = new(big.Int).Add(d.mantissa(scale), other.mantissa(scale))
	d.scale = scale
	if d.big.IsInt64() {
		d.small, d.big = d.big.Int64(), nil
	}
}

// mantissa returns the mantissa at a scale that is no smaller than d's. It may be d's own.
func (d decimal) mantissa(scale int) *big.Int {
	m := d.big
	if m == nil {
		m = big.NewInt(d.small)
	}
	if scale == d.scale {
		return m
	}
	return new(big.Int).Mul(m, pow10(scale-d.scale))
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// compare returns -1, 0 or 1.
func (d decimal) compare(other decimal) int {
	scale := max(d.scale, other.scale)
	return d.mantissa(scale).Cmp(other.mantissa(scale))
}

// String returns d as a JSON number, without an exponent and without zeros at its end.
func (d decimal) String() string {
	s := d.mantissa(d.scale).String()
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if d.scale == 0 {
		return sign + s
	}
	if missing := d.scale + 1 - len(s); missing > 0 {
		s = strings.Repeat("0", missing) + s
	}
	at := len(s) - d.scale
	fraction := strings.TrimRight(s[at:], "0")
	if fraction == "" {
		if s[:at] == "0" {
			return "0"
		}
		return sign + s[:at]
	}
	return sign + s[:at] + "." + fraction
}

// float returns the nearest float64.
func (d decimal) float() float64 {
	f, _ := new(big.Rat).SetFrac(d.mantissa(d.scale), pow10(d.scale)).Float64()
	return f
}

// over returns d / n as a JSON number: the nearest float64.
func (d decimal) over(n int64) string {
	r := new(big.Rat).SetFrac(d.mantissa(d.scale), new(big.Int).Mul(pow10(d.scale), big.NewInt(n)))
	f, _ := r.Float64()
	if math.IsInf(f, 0) {
		return r.FloatString(0)
	}
	v, _ := pipeline.ValueOf(f) // a number
	return v.JSON()
}
