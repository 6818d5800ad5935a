package parquetfile

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"github.com/rowmill/rowmill/pipeline"
)

// appendFunc appends a value as JSON. The error says what JSON cannot hold.
type appendFunc func(dst []byte, v *parquet.Value) ([]byte, error)

// maxScale bounds the digits of a decimal: a hostile schema could ask for any number.
const maxScale = 1 << 12

// textOf returns how the values of a leaf are written as JSON, what they are then, and
// whether that is always a string.
func textOf(e *format.SchemaElement, o Options) (_ appendFunc, _ pipeline.FieldType, text bool, err error) {
	logical := logicalType(e)
	switch kind := parquet.Kind(e.Type.V); kind {
	case parquet.Boolean:
		return appendBool, pipeline.BoolType, false, nil
	case parquet.Int32, parquet.Int64:
		return textOfInteger(kind, logical)
	case parquet.Int96:
		return appendInt96, pipeline.StringType, true, nil
	case parquet.Float:
		return func(dst []byte, v *parquet.Value) ([]byte, error) {
			return appendFloat(dst, float64(v.Float()), 32), nil
		}, pipeline.AnyType, false, nil
	case parquet.Double:
		return func(dst []byte, v *parquet.Value) ([]byte, error) { return appendFloat(dst, v.Double(), 64), nil }, pipeline.AnyType, false, nil
	case parquet.ByteArray:
		return textOfBytes(logical, o)
	case parquet.FixedLenByteArray:
		return textOfFixed(int(e.TypeLength.V), e, logical, o)
	default:
		return nil, 0, false, fmt.Errorf("%w: a type with the number %d", errSchema, kind)
	}
}

// logicalType is what a leaf stands for: as it is said now, else as it was said once.
func logicalType(e *format.SchemaElement) any {
	if e.LogicalType.Value != nil {
		return e.LogicalType.Value
	}
	if !e.ConvertedType.Valid {
		return nil
	}
	milli, micro := format.TimeUnit{Value: new(format.MilliSeconds)}, format.TimeUnit{Value: new(format.MicroSeconds)}
	switch e.ConvertedType.V {
	case deprecated.UTF8:
		return new(format.StringType)
	case deprecated.Enum:
		return new(format.EnumType)
	case deprecated.Json:
		return new(format.JsonType)
	case deprecated.Decimal:
		return &format.DecimalType{Scale: e.Scale.V, Precision: e.Precision.V}
	case deprecated.Date:
		return new(format.DateType)
	case deprecated.TimeMillis:
		return &format.TimeType{IsAdjustedToUTC: true, Unit: milli}
	case deprecated.TimeMicros:
		return &format.TimeType{IsAdjustedToUTC: true, Unit: micro}
	case deprecated.TimestampMillis:
		return &format.TimestampType{IsAdjustedToUTC: true, Unit: milli}
	case deprecated.TimestampMicros:
		return &format.TimestampType{IsAdjustedToUTC: true, Unit: micro}
	case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
		return &format.IntType{}
	}
	return nil
}

func textOfInteger(kind parquet.Kind, logical any) (appendFunc, pipeline.FieldType, bool, error) {
	value := func(v *parquet.Value) int64 { return v.Int64() }
	if kind == parquet.Int32 {
		value = func(v *parquet.Value) int64 { return int64(v.Int32()) }
	}
	switch l := logical.(type) {
	case *format.IntType:
		if !l.IsSigned {
			return textOfUnsigned(kind), pipeline.NumberType, false, nil
		}
	case *format.DecimalType:
		if l.Scale < 0 || l.Scale > maxScale {
			return nil, 0, false, errScale
		}
		return func(dst []byte, v *parquet.Value) ([]byte, error) {
			return appendDecimal(dst, strconv.FormatInt(value(v), 10), int(l.Scale)), nil
		}, pipeline.NumberType, false, nil
	case *format.DateType:
		return func(dst []byte, v *parquet.Value) ([]byte, error) {
			dst = append(dst, '"')
			dst = appendDate(dst, time.Unix(value(v)*86400, 0).UTC())
			return append(dst, '"'), nil
		}, pipeline.StringType, true, nil
	case *format.TimeType:
		return textOfTime(value, l), pipeline.StringType, true, nil
	case *format.TimestampType:
		return textOfTimestamp(value, l), pipeline.StringType, true, nil
	}
	return func(dst []byte, v *parquet.Value) ([]byte, error) { return strconv.AppendInt(dst, value(v), 10), nil },
		pipeline.NumberType, false, nil
}

func textOfUnsigned(kind parquet.Kind) appendFunc {
	if kind == parquet.Int32 {
		return func(dst []byte, v *parquet.Value) ([]byte, error) {
			return strconv.AppendUint(dst, uint64(v.Uint32()), 10), nil
		}
	}
	return func(dst []byte, v *parquet.Value) ([]byte, error) {
		return strconv.AppendUint(dst, v.Uint64(), 10), nil
	}
}

func appendBool(dst []byte, v *parquet.Value) ([]byte, error) {
	return strconv.AppendBool(dst, v.Boolean()), nil
}

// appendFloat appends the shortest number that is read as f again, as most programs
// write it: with an exponent only where there would be many zeros.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case f > math.MaxFloat64:
		return append(dst, `"Infinity"`...)
	case f < -math.MaxFloat64:
		return append(dst, `"-Infinity"`...)
	case abs != 0 && (abs < 1e-6 || abs >= 1e21):
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	default:
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
}

var errScale = fmt.Errorf("%w: a decimal with more than %d digits behind the point", errSchema, maxScale)

// appendDecimal appends a whole number of units, of which ten to the power of scale are
// one.
func appendDecimal(dst []byte, digits string, scale int) []byte {
	if digits[0] == '-' {
		dst, digits = append(dst, '-'), digits[1:]
	}
	if scale == 0 {
		return append(dst, digits...)
	}
	for i := len(digits); i <= scale; i++ {
		if i == len(digits) && len(digits) <= scale {
			dst = append(dst, '0', '.')
		}
		if i < scale {
			dst = append(dst, '0')
		}
	}
	if len(digits) > scale {
		dst = append(dst, digits[:len(digits)-scale]...)
		dst, digits = append(dst, '.'), digits[len(digits)-scale:]
	}
	return append(dst, digits...)
}

// textOfBigDecimal is for decimals as bytes: two's complement, the highest first.
func textOfBigDecimal(l *format.DecimalType) (appendFunc, pipeline.FieldType, bool, error) {
	if l.Scale < 0 || l.Scale > maxScale {
		return nil, 0, false, errScale
	}
	return func(dst []byte, v *parquet.Value) ([]byte, error) {
		b := v.ByteArray()
		if len(b) > maxScale {
			return dst, fmt.Errorf("a decimal of %d bytes", len(b))
		}
		n := new(big.Int).SetBytes(b)
		if len(b) > 0 && b[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
		}
		return appendDecimal(dst, n.String(), int(l.Scale)), nil
	}, pipeline.NumberType, false, nil
}

// unitOf returns how many of a unit are in a second, and how many digits that makes.
func unitOf(u format.TimeUnit) (perSecond int64, digits int) {
	switch u.Value.(type) {
	case *format.NanoSeconds:
		return 1e9, 9
	case *format.MicroSeconds:
		return 1e6, 6
	default:
		return 1e3, 3
	}
}

// split divides and rounds down.
func split(v, by int64) (whole, rest int64) {
	whole, rest = v/by, v%by
	if rest < 0 {
		whole, rest = whole-1, rest+by
	}
	return whole, rest
}

func textOfTimestamp(value func(*parquet.Value) int64, l *format.TimestampType) appendFunc {
	per, digits := unitOf(l.Unit)
	return func(dst []byte, v *parquet.Value) ([]byte, error) {
		seconds, rest := split(value(v), per)
		return appendTimestamp(dst, seconds, rest, digits, l.IsAdjustedToUTC), nil
	}
}

func appendTimestamp(dst []byte, seconds, rest int64, digits int, utc bool) []byte {
	t := time.Unix(seconds, 0).UTC()
	dst = append(dst, '"')
	dst = append(appendDate(dst, t), 'T')
	dst = t.AppendFormat(dst, "15:04:05")
	dst = appendFraction(dst, rest, digits)
	if utc {
		dst = append(dst, 'Z')
	}
	return append(dst, '"')
}

func appendDate(dst []byte, t time.Time) []byte {
	year := t.Year()
	if year >= 0 && year <= 9999 {
		return t.AppendFormat(dst, "2006-01-02")
	}
	return t.AppendFormat(fmt.Appendf(dst, "%+07d", year), "-01-02")
}

func appendFraction(dst []byte, rest int64, digits int) []byte {
	dst = append(dst, '.')
	for unit := int64(math.Pow10(digits - 1)); unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+rest/unit%10))
	}
	return dst
}

// textOfTime is for times of the day. 24:00:00 is one too.
func textOfTime(value func(*parquet.Value) int64, l *format.TimeType) appendFunc {
	per, digits := unitOf(l.Unit)
	return func(dst []byte, v *parquet.Value) ([]byte, error) {
		t := value(v)
		seconds, rest := split(t, per)
		if t < 0 || t > 86400*per {
			return dst, fmt.Errorf("a time of day of %d seconds", seconds)
		}
		dst = fmt.Appendf(dst, `"%02d:%02d:%02d`, seconds/3600, seconds/60%60, seconds%60)
		dst = appendFraction(dst, rest, digits)
		if l.IsAdjustedToUTC {
			dst = append(dst, 'Z')
		}
		return append(dst, '"'), nil
	}
}

// julianEpoch is the Julian day of 1970-01-01.
const julianEpoch = 2440588

// appendInt96 is for a day and the nanoseconds in it.
func appendInt96(dst []byte, v *parquet.Value) ([]byte, error) {
	t := v.Int96()
	days, rest := split(int64(uint64(t[1])<<32|uint64(t[0])), 86400*1e9)
	seconds, nanos := split(rest, 1e9)
	return appendTimestamp(dst, (int64(int32(t[2]))-julianEpoch+days)*86400+seconds, nanos, 9, true), nil
}

func textOfBytes(logical any, o Options) (appendFunc, pipeline.FieldType, bool, error) {
	switch l := logical.(type) {
	case *format.StringType, *format.EnumType:
		return appendText, pipeline.StringType, true, nil
	case *format.JsonType:
		return appendJSON, pipeline.AnyType, false, nil
	case *format.DecimalType:
		return textOfBigDecimal(l)
	case nil:
		if o.BinaryText {
			return appendText, pipeline.StringType, true, nil
		}
	}
	return appendBase64, pipeline.StringType, true, nil
}

func textOfFixed(size int, e *format.SchemaElement, logical any, o Options) (appendFunc, pipeline.FieldType, bool, error) {
	switch l := logical.(type) {
	case *format.DecimalType:
		return textOfBigDecimal(l)
	case *format.UUIDType:
		if size == 16 {
			return appendUUID, pipeline.StringType, true, nil
		}
	case *format.Float16Type:
		if size == 2 {
			return appendFloat16, pipeline.AnyType, false, nil
		}
	case nil:
		if e.ConvertedType.Valid && e.ConvertedType.V == deprecated.Interval && size == 12 {
			return appendInterval, pipeline.AnyType, false, nil
		}
		if o.BinaryText {
			return appendText, pipeline.StringType, true, nil
		}
	}
	return appendBase64, pipeline.StringType, true, nil
}

var errUTF8 = errors.New("a text that is not UTF-8")

func appendText(dst []byte, v *parquet.Value) ([]byte, error) {
	dst, err := jsontext.AppendQuote(dst, v.ByteArray()) // with U+FFFD for what is no UTF-8
	if err != nil && !utf8.Valid(v.ByteArray()) {
		return dst, errUTF8
	}
	return dst, err
}

func appendJSON(dst []byte, v *parquet.Value) ([]byte, error) {
	raw := jsontext.Value(v.ByteArray())
	out, err := jsontext.AppendFormat(dst, raw, jsontext.AllowDuplicateNames(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		out, _ := jsontext.AppendQuote(dst, v.ByteArray())
		return out, errors.New("a value of type JSON that is no JSON")
	}
	return out, nil
}

func appendBase64(dst []byte, v *parquet.Value) ([]byte, error) {
	dst = base64.StdEncoding.AppendEncode(append(dst, '"'), v.ByteArray())
	return append(dst, '"'), nil
}

func appendUUID(dst []byte, v *parquet.Value) ([]byte, error) {
	b := v.ByteArray()
	return fmt.Appendf(dst, `"%x-%x-%x-%x-%x"`, b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
}

func appendInterval(dst []byte, v *parquet.Value) ([]byte, error) {
	b := v.ByteArray()
	return fmt.Appendf(dst, `{"months":%d,"days":%d,"milliseconds":%d}`,
		binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])), nil
}

func appendFloat16(dst []byte, v *parquet.Value) ([]byte, error) {
	return appendFloat(dst, halfToFloat(binary.LittleEndian.Uint16(v.ByteArray())), 32), nil
}

// halfToFloat returns the value of a number of 16 bits: a sign, five of exponent and ten
// of mantissa.
func halfToFloat(h uint16) float64 {
	sign, exponent, mantissa := 1.0, int(h>>10&31), float64(h&1023)
	if h&0x8000 != 0 {
		sign = -1
	}
	switch {
	case exponent == 31 && mantissa != 0:
		return math.NaN()
	case exponent == 31:
		return math.Inf(int(sign))
	case exponent == 0:
		return math.Copysign(math.Ldexp(mantissa, -24), sign)
	default:
		return sign * math.Ldexp(1024+mantissa, exponent-25)
	}
}
