package simulator

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"time"
	"unsafe"
)

// Message is one message of a chat. Content that came as a list of parts is
// their texts, one a line; a part that is no text is its JSON.
type Message struct{ Role, Content string }

// Key identifies a prompt: a model and the messages sent to it. It is the same
// in every process, and says nothing about the prompt's content.
type Key uint64

// String returns 16 hexadecimal digits.
func (k Key) String() string {
	const zeros = "0000000000000000"
	s := strconv.FormatUint(uint64(k), 16)
	return zeros[len(s):] + s
}

// MarshalText makes the Key the name of a JSON field.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *Key) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	*k = Key(v)
	return err
}

// KeyOf returns the Key of a prompt.
func KeyOf(model string, messages ...Message) Key {
	h := absorb(0, model)
	for _, m := range messages {
		h = absorb(absorb(h, m.Role), m.Content)
	}
	return Key(scramble(h))
}

// absorb takes the length and then the bytes of s into the hash h, eight at a
// time: a prompt of 20 KB costs 2 µs, with hash/fnv it would be 20.
func absorb(h uint64, s string) uint64 {
	h = stir(h, uint64(len(s)))
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	for ; len(b) >= 8; b = b[8:] {
		h = stir(h, binary.LittleEndian.Uint64(b))
	}
	var rest [8]byte
	copy(rest[:], b)
	return stir(h, binary.LittleEndian.Uint64(rest[:]))
}

func stir(h, word uint64) uint64 {
	h = (bits.RotateLeft64(h, 23) ^ word) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// scramble is the last step of splitmix64: every bit of x reaches every bit.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// dice is a sequence of numbers that depends on what it was made of alone.
type dice struct{ state uint64 }

// The purposes, so that one thing drawn for a request says nothing about another.
const (
	forAnswer uint64 = iota + 1
	forFate
	forLatency
	forID
)

func newDice(seed int64, key Key, purpose, number uint64) dice {
	h := scramble(uint64(seed))
	for _, word := range [...]uint64{uint64(key), purpose, number} {
		h = scramble(h ^ word)
	}
	return dice{state: h}
}

func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return scramble(d.state)
}

// below returns a number from 0 to n-1; n is at least 1.
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) }

// share returns a number from 0 to 1, without 1.
func (d *dice) share() float64 { return float64(d.next()>>11) / (1 << 53) }

// latency draws from a log-normal distribution with that mean.
func (d *dice) latency(mean time.Duration, sigma float64) time.Duration {
	if sigma == 0 || mean == 0 {
		return mean
	}
	// Box and Muller: a normal number of two even ones.
	normal := math.Sqrt(-2*math.Log(1-d.share())) * math.Cos(2*math.Pi*d.share())
	return time.Duration(float64(mean) * math.Exp(sigma*normal-sigma*sigma/2))
}

// draw returns the name of the fault that a request meets, "" for none.
func draw(fates []fate, d dice) string {
	at := d.share()
	for _, f := range fates {
		if at -= float64(f.share); at < 0 {
			return f.name
		}
	}
	return ""
}
