package parquetfile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The types of the compact Thrift protocol.
const (
	thriftTrue = iota + 1
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
)

// Bounds on what is read as Thrift: a decoder allocates what a list claims to hold.
const (
	thriftDepth     = 24
	thriftFewItems  = 1024 // lists that are not looked at any closer
	thriftItemBytes = 3    // the least that the items of a list of structs have, on average
)

var (
	// errThriftShort says that the bytes end before the value does.
	errThriftShort = errors.New("it ends too early")
	errThrift      = errors.New("it is damaged")
)

// scanner walks a value of the compact Thrift protocol without keeping anything, so that
// it can be decoded afterwards by a decoder that believes what it reads.
type scanner struct {
	b    []byte
	at   int
	path []int16 // the numbers of the fields on the way down
	// see is told each integer, by the path to its field; nil for nobody.
	see func(path []int16, v int64)
}

// scanStruct walks one struct and returns how many bytes it has.
func scanStruct(b []byte, see func(path []int16, v int64)) (int, error) {
	s := scanner{b: b, see: see}
	if err := s.structure(); err != nil {
		return 0, err
	}
	return s.at, nil
}

func (s *scanner) byte() (byte, error) {
	if s.at >= len(s.b) {
		return 0, errThriftShort
	}
	s.at++
	return s.b[s.at-1], nil
}

func (s *scanner) varint() (uint64, error) {
	v, n := binary.Uvarint(s.b[s.at:])
	switch {
	case n == 0:
		return 0, errThriftShort
	case n < 0:
		return 0, errThrift
	}
	s.at += n
	return v, nil
}

func (s *scanner) integer() error {
	v, err := s.varint()
	if err == nil && s.see != nil {
		s.see(s.path, int64(v>>1)^-int64(v&1))
	}
	return err
}

func (s *scanner) skip(n uint64) error {
	if n > uint64(len(s.b)-s.at) {
		return errThriftShort
	}
	s.at += int(n)
	return nil
}

func (s *scanner) structure() error {
	if len(s.path) >= thriftDepth {
		return fmt.Errorf("%w: it is nested too deeply", errThrift)
	}
	s.path = append(s.path, 0)
	defer func() { s.path = s.path[:len(s.path)-1] }()
	for {
		head, err := s.byte()
		if err != nil || head == 0 {
			return err
		}
		if err := s.field(head); err != nil {
			return err
		}
	}
}

// field walks one field of a struct, behind the first byte of its header.
func (s *scanner) field(head byte) error {
	id := &s.path[len(s.path)-1]
	if delta := int16(head >> 4); delta > 0 {
		*id += delta
	} else {
		v, err := s.varint()
		if err != nil {
			return err
		}
		*id = int16(int64(v>>1) ^ -int64(v&1))
	}
	if kind := head & 15; kind != thriftTrue && kind != thriftFalse { // they have no bytes of their own
		return s.value(kind)
	}
	return nil
}

func (s *scanner) value(kind byte) error {
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return s.skip(1)
	case thriftI16, thriftI32, thriftI64:
		return s.integer()
	case thriftDouble:
		return s.skip(8)
	case thriftBinary:
		n, err := s.varint()
		if err != nil {
			return err
		}
		return s.skip(n)
	case thriftList, thriftSet:
		return s.list()
	case thriftStruct:
		return s.structure()
	default: // Parquet has no maps
		return fmt.Errorf("%w: a field of type %d", errThrift, kind)
	}
}

func (s *scanner) list() error {
	head, err := s.byte()
	if err != nil {
		return err
	}
	size := uint64(head >> 4)
	if size == 15 {
		if size, err = s.varint(); err != nil {
			return err
		}
	}
	if size > uint64(len(s.b)-s.at) {
		return errThriftShort
	}
	began := s.at
	for range size {
		if err := s.value(head & 15); err != nil {
			return err
		}
	}
	if size > thriftFewItems && head&15 == thriftStruct && uint64(s.at-began) < size*thriftItemBytes {
		return fmt.Errorf("%w: a list of %d items in %d bytes", errThrift, size, s.at-began)
	}
	return nil
}
