package infiles

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// stdinBytes is how much is asked of standard input at once.
const stdinBytes = 64 << 10

// pipe is what a read of standard input cannot be woken from, as it mostly is. Where it is
// woken all the same the read is left behind, and what that brings is lost.
type pipe struct {
	from io.Reader
	came chan piece // size 1: who was left behind can end
	wake chan struct{}
	once sync.Once

	buffer, rest []byte // what was read, and of that what was not taken yet
	err          error
}

// piece is what a read has brought.
type piece struct {
	n   int
	err error
}

// Wakeable returns standard input such that a read of it can be ended: by its SetReadDeadline,
// with any time that has passed.
func Wakeable(from io.Reader) io.Reader {
	switch d := from.(type) {
	case *os.File:
		if d.SetReadDeadline(time.Time{}) == nil {
			return from
		}
	case interface{ SetReadDeadline(t time.Time) error }:
		return from
	}
	return &pipe{from: from, came: make(chan piece, 1), wake: make(chan struct{})}
}

// SetReadDeadline ends the read that waits, and every other one, whatever the time.
func (p *pipe) SetReadDeadline(time.Time) error {
	p.once.Do(func() { close(p.wake) })
	return nil
}

// Read reads until it is woken.
func (p *pipe) Read(into []byte) (int, error) {
	if len(p.rest) == 0 && p.err == nil {
		p.fill()
	}
	if len(p.rest) == 0 {
		return 0, p.err
	}
	n := copy(into, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pipe) fill() {
	if p.buffer == nil {
		p.buffer = make([]byte, stdinBytes)
	}
	go func() {
		var got piece
		defer func() {
			if bug := recover(); bug != nil { // here nobody else can catch it
				got = piece{0, fmt.Errorf("panic: %v", bug)}
			}
			p.came <- got
		}()
		got.n, got.err = p.from.Read(p.buffer)
	}()
	select {
	case got := <-p.came:
		p.rest, p.err = p.buffer[:got.n], got.err
	case <-p.wake:
		p.err = os.ErrDeadlineExceeded
	}
}
