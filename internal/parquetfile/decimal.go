package parquetfile

import (
	"strconv"
	"strings"
)

// decimal is a number as it is written: digits, without zeros in front or behind, of
// which the last one stands for ten to the power of exponent.
type decimal struct {
	negative bool
	digits   string // empty for zero
	exponent int
}

// maxExponent bounds what is taken for a number at all.
const maxExponent = 1 << 20

// parseDecimal reads a JSON number.
func parseDecimal(text string) (d decimal, ok bool) {
	text, d.negative = strings.CutPrefix(text, "-")
	text, power, scientific := cutExponent(text)
	if scientific {
		var err error
		if d.exponent, err = strconv.Atoi(power); err != nil || d.exponent > maxExponent || d.exponent < -maxExponent {
			return d, false
		}
	}
	whole, fraction, _ := strings.Cut(text, ".")
	d.exponent -= len(fraction)
	d.digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(d.digits, "0")
	d.exponent += len(d.digits) - len(trimmed)
	d.digits = trimmed
	if d.digits == "" {
		d.exponent = 0
	}
	for _, c := range []byte(d.digits) {
		if c < '0' || c > '9' {
			return d, false
		}
	}
	return d, whole != "" || fraction != ""
}

func cutExponent(text string) (number, power string, ok bool) {
	i := strings.IndexAny(text, "eE")
	if i < 0 {
		return text, "", false
	}
	return text[:i], strings.TrimPrefix(text[i+1:], "+"), true
}

// units returns how many units of ten to the power of -scale the number is, in at most
// that many digits; false if it is no whole number of them, or too long.
func (d decimal) units(scale, digits int) (string, bool) {
	zeros := d.exponent + scale
	switch {
	case d.digits == "":
		return "0", true
	case zeros < 0, len(d.digits)+zeros > digits:
		return "", false
	}
	out := d.digits + strings.Repeat("0", zeros)
	if d.negative {
		out = "-" + out
	}
	return out, true
}
