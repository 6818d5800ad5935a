// Package known remembers which rows were done, by their keys and contents: in a file
// that only grows while a run goes on, and as a set for a run that is to leave them out.
package known

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// ID is what a row is known by: 64 bits of the SHA-256 of its key, and of what it says.
// Two rows are taken for the same if all 128 bits are.
type ID struct{ Key, Content uint64 }

// IDSize is how many bytes an ID takes, in memory and in a file.
const IDSize = 16

// IDOf returns the ID of a row.
func IDOf(key string, content []byte) ID {
	return ID{Key: digest([]byte(key)), Content: digest(content)}
}

func digest(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}

func (id ID) compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Key, other.Key), cmp.Compare(id.Content, other.Content))
}

// A file is a list of frames: how many IDs, a CRC-32C of them, and the IDs themselves.
const (
	headSize  = 8
	mostFrame = 1 << 16 // IDs in a frame, so that a damaged number takes no memory
)

// AppendFrames appends IDs in the form of a file. The files of several calls, one behind
// the other, are a file.
func AppendFrames(dst []byte, ids []ID) []byte {
	for part := range slices.Chunk(ids, mostFrame) {
		at := len(dst)
		dst = append(dst, make([]byte, headSize)...)
		for _, id := range part {
			dst = binary.LittleEndian.AppendUint64(dst, id.Key)
			dst = binary.LittleEndian.AppendUint64(dst, id.Content)
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(part)))
		binary.LittleEndian.PutUint32(dst[at+4:], checksum(dst[at+headSize:]))
	}
	return dst
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Set is a set of IDs: those that were read take 16 bytes each, those that were added
// about 32. The zero Set is empty.
type Set struct {
	sorted []ID
	added  map[ID]struct{}
}

// Read reads all of a file, of which size says how long it is. The error names the byte
// at which it is damaged.
func Read(r io.Reader, size int64) (*Set, error) {
	s := &Set{sorted: make([]ID, 0, size/IDSize)}
	head, body := make([]byte, headSize), []byte(nil)
	for at := int64(0); ; at += headSize + int64(len(body)) {
		switch _, err := io.ReadFull(r, head); {
		case errors.Is(err, io.EOF):
			slices.SortFunc(s.sorted, ID.compare)
			s.sorted = slices.Compact(s.sorted)
			return s, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, damaged(at)
		case err != nil:
			return nil, err
		}
		n := binary.LittleEndian.Uint32(head)
		if n > mostFrame {
			return nil, damaged(at)
		}
		body = slices.Grow(body[:0], int(n)*IDSize)[:int(n)*IDSize]
		switch _, err := io.ReadFull(r, body); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, damaged(at)
		case err != nil:
			return nil, err
		case checksum(body) != binary.LittleEndian.Uint32(head[4:]):
			return nil, damaged(at)
		}
		for rest := body; len(rest) > 0; rest = rest[IDSize:] {
			s.sorted = append(s.sorted, ID{binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])})
		}
	}
}

func damaged(at int64) error { return fmt.Errorf("it is damaged at byte %d", at) }

// Has reports whether a row was read or added.
func (s *Set) Has(id ID) bool {
	if _, ok := s.added[id]; ok {
		return true
	}
	_, ok := slices.BinarySearchFunc(s.sorted, id, ID.compare)
	return ok
}

// HasKey reports whether a row of that key was read, whatever it said.
func (s *Set) HasKey(id ID) bool {
	i, _ := slices.BinarySearchFunc(s.sorted, ID{Key: id.Key}, ID.compare)
	return i < len(s.sorted) && s.sorted[i].Key == id.Key
}

// Add adds a row.
func (s *Set) Add(id ID) {
	if s.added == nil {
		s.added = map[ID]struct{}{}
	}
	s.added[id] = struct{}{}
}
