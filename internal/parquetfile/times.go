package parquetfile

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
)

// parseDate returns the days since 1970-01-01. A year has four digits, or a sign and at
// least six.
func parseDate(text string) (int64, error) {
	if len(text) == len(time.DateOnly) {
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return 0, errTime
		}
		days, _ := split(day.Unix(), 86400)
		return days, nil
	}
	at := len(text) - len("-01-02")
	if at < len("+012345") || text[0] != '+' && text[0] != '-' {
		return 0, errTime
	}
	year, err := strconv.ParseInt(text[:at], 10, 64)
	if err != nil || year > 1e9 || year < -1e9 {
		return 0, errRange
	}
	// A year of the same kind, leap or not, says whether there is such a day.
	day, err := time.Parse(time.DateOnly, fmt.Sprintf("%04d%s", 2000+year%400, text[at:]))
	if err != nil {
		return 0, errTime
	}
	days, _ := split(time.Date(int(year), day.Month(), day.Day(), 0, 0, 0, 0, time.UTC).Unix(), 86400)
	return days, nil
}

// fraction reads the digits behind the seconds as units, of which per make a second.
func fraction(digits string, per int64) (int64, error) {
	var units int64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, errTime
		}
		if per /= 10; per == 0 && c != '0' {
			return 0, errFine
		}
		units += int64(c-'0') * per
	}
	return units, nil
}

func perSecond(unit string) int64 {
	return map[string]int64{"ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
}

// clock reads the time of a day.
func clock(text string, per int64) (int64, error) {
	seconds, digits, fractional := strings.Cut(text, ".")
	at, err := time.Parse(time.TimeOnly, seconds)
	whole := int64(at.Hour()*3600 + at.Minute()*60 + at.Second())
	if seconds == "24:00:00" && strings.Trim(digits, "0") == "" {
		whole, err = 86400, nil
	}
	if err != nil || len(seconds) != 8 || fractional && digits == "" {
		return 0, errTime
	}
	units, err := fraction(digits, per)
	return whole*per + units, err
}

func (t *target) timeOfDay(text string) (parquet.Value, error) {
	units, err := clock(text, perSecond(t.Unit))
	if t.Unit == "ms" {
		return parquet.Int32Value(int32(units)), err
	}
	return parquet.Int64Value(units), err
}

// timestamp reads a day and a time: with a zone for an instant, without for a local one.
func (t *target) timestamp(text string) (parquet.Value, error) {
	day, rest, ok := strings.Cut(text, "T")
	if !ok {
		day, rest, ok = strings.Cut(text, " ")
	}
	if !ok {
		return parquet.Value{}, errTime
	}
	var offset int64
	if t.Kind == Timestamp {
		var err error
		if rest, offset, err = cutZone(rest); err != nil {
			return parquet.Value{}, err
		}
	}
	days, err := parseDate(day)
	if err != nil {
		return parquet.Value{}, err
	}
	per := perSecond(t.Unit)
	units, err := clock(rest, per)
	if err != nil {
		return parquet.Value{}, err
	}
	all := new(big.Int).Mul(big.NewInt(days*86400-offset), big.NewInt(per))
	if all.Add(all, big.NewInt(units)); !all.IsInt64() {
		return parquet.Value{}, errRange
	}
	return parquet.Int64Value(all.Int64()), nil
}

var errZone = errors.New("it has no time zone, such as Z or +01:00")

// cutZone takes the zone off a time: how many seconds it is ahead of UTC.
func cutZone(text string) (rest string, ahead int64, err error) {
	if rest, ok := strings.CutSuffix(text, "Z"); ok {
		return rest, 0, nil
	}
	i := strings.LastIndexAny(text, "+-")
	if i < 0 {
		return "", 0, errZone
	}
	at, err := time.Parse("15:04", text[i+1:])
	if err != nil {
		return "", 0, errZone
	}
	ahead = int64(at.Hour()*3600 + at.Minute()*60)
	if text[i] == '-' {
		ahead = -ahead
	}
	return text[:i], ahead, nil
}
