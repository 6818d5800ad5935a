package stages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// What a stage remembers is saved in chunks: the length of what it says, a checksum
// of length and text, the text.

// chunkHead is how many bytes stand in front of a chunk's text.
const chunkHead = 8

// mostChunk bounds the text of a chunk, so that a damaged length takes no memory.
const mostChunk = 16 << 20

// saveChunk writes a chunk in one piece.
func saveChunk(w io.Writer, text []byte) error {
	chunk := make([]byte, chunkHead, chunkHead+len(text))
	binary.LittleEndian.PutUint32(chunk, uint32(len(text)))
	binary.LittleEndian.PutUint32(chunk[4:], chunkSum(chunk[:4], text))
	_, err := w.Write(append(chunk, text...))
	return err
}

func chunkSum(length, text []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once
	return crc32.Update(crc32.Checksum(length, table), table, text)
}

// loadChunks hands on the texts of all chunks. One that is damaged or cut short is an
// error that says where.
func loadChunks(r io.Reader, use func(text []byte) error) error {
	head := make([]byte, chunkHead)
	for at := int64(0); ; {
		switch _, err := io.ReadFull(r, head); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return damaged(at, "it ends too early")
		case err != nil:
			return err
		}
		size := binary.LittleEndian.Uint32(head)
		if size > mostChunk {
			return damaged(at, "a length that cannot be")
		}
		text := make([]byte, size)
		switch _, err := io.ReadFull(r, text); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return damaged(at, "it ends too early")
		case err != nil:
			return err
		case chunkSum(head[:4], text) != binary.LittleEndian.Uint32(head[4:]):
			return damaged(at, "the checksum is wrong")
		}
		if err := use(text); err != nil {
			return damaged(at, err.Error())
		}
		at += chunkHead + int64(size)
	}
}

func damaged(at int64, how string) error {
	return fmt.Errorf("what was saved is damaged at byte %d: %s; --fresh starts over", at, how)
}
