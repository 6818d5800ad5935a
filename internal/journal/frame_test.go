package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/pipeline"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Entry{
			Key: Key{Stage: rapid.String().Draw(t, "stage"), Ref: pipeline.Ref{
				Source: rapid.IntRange(0, math.MaxInt).Draw(t, "source"), Seq: rapid.Uint64().Draw(t, "seq"), Path: rapid.String().Draw(t, "path"),
			}},
			Guard:   rapid.Uint64().Draw(t, "guard"),
			Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
		frame := appendFrame([]byte("before"), want)[len("before"):]
		got, size, err := readFrame(append(frame, "behind"...))
		if err != nil || size != len(frame) || !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("got %v, %d, %v, want %v, %d", got, size, err, want, len(frame))
		}
		if got.Payload = want.Payload; !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if _, _, err := readFrame(frame[:rapid.IntRange(0, len(frame)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a part of a frame is read")
		}
		at := rapid.IntRange(0, len(frame)*8-1).Draw(t, "bit")
		frame[at/8] ^= 1 << (at % 8)
		if got, _, err := readFrame(frame); err == nil {
			t.Fatalf("a changed bit is not noticed: %v", got)
		}
	})
}

// A body that is whole, by its checksum, and makes no sense is no frame.
func TestABodyThatMakesNoSense(t *testing.T) {
	t.Parallel()
	guard := make([]byte, 8)
	for name, fields := range map[string]string{
		"a stage longer than all":         "\xff\x01\x00\x00\x00\x00",
		"a path longer than all":          "\x01a\x00\x00\x09/1",
		"a number that does not end":      "\x01a\xff\xff\xff\xff\xff",
		"a number that is too large":      "\x01a\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00",
		"a payload where a path is to be": "\x01a\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01payload",
	} {
		body := append(guard[:8:8], fields...)
		frame := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
		frame = binary.LittleEndian.AppendUint32(frame, crc32.Checksum(body, table()))
		if e, _, err := readFrame(append(frame, body...)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, e)
		}
	}
}

// FuzzReadFrame reads any bytes, and those with the checksum that they should have:
// what can be read is what was written.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(appendFrame(nil, Entry{}))
	f.Add(appendFrame(nil, Entry{Key: Key{Stage: "label", Ref: pipeline.Ref{Source: 1, Seq: 1 << 40, Path: "/2/0"}}, Guard: 7, Payload: []byte("answer")}))
	f.Add([]byte("\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00")) // a stage longer than all
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, b)
		if len(b) < headSize {
			return
		}
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b, uint32(len(b)-headSize))
		binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[headSize:], table()))
		check(t, b)
	})
}

func check(t *testing.T, b []byte) {
	t.Helper()
	e, size, err := readFrame(b)
	if err != nil {
		return
	}
	if size <= headSize || size > len(b) {
		t.Fatalf("a frame of %d bytes in %d", size, len(b))
	}
	again, _, err := readFrame(appendFrame(nil, e))
	if err != nil || !reflect.DeepEqual(again, e) {
		t.Fatalf("got %v, %v, want %v", again, err, e)
	}
}
