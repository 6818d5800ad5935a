package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// clearLine returns to the first column and erases to the end of the line.
const clearLine = "\r\x1b[K"

// screen is stderr with, perhaps, a live line at its end. What is written to it
// goes above that line. It is safe for concurrent use.
type screen struct {
	out io.Writer
	// width is how many columns there are; nil where there is no terminal.
	width func() int

	mu   sync.Mutex
	line string // what is shown now
	off  bool   // no line any more
}

// newScreen finds out whether out is a terminal that can show a live line.
func newScreen(out io.Writer, getenv func(string) string) *screen {
	s := &screen{out: out}
	if f, ok := terminal(out); ok && getenv("TERM") != "dumb" {
		s.width = func() int {
			w, _, err := term.GetSize(int(f.Fd()))
			if err != nil || w <= 0 {
				return 80
			}
			return w
		}
	}
	return s
}

func terminal(w any) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// Write writes above the live line. p is whole lines.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.out.Write(p)
	}
	if _, err := io.WriteString(s.out, clearLine); err != nil {
		return 0, err
	}
	n, err := s.out.Write(p)
	if err == nil {
		_, err = io.WriteString(s.out, s.line)
	}
	return n, err
}

// show puts a text in place of the live line; "" clears it.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off || line == s.line {
		return
	}
	s.line = line
	_, _ = io.WriteString(s.out, clearLine+line) // a terminal that is gone shows nothing
}

// end clears the live line for good.
func (s *screen) end() {
	s.show("")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = true
}

// columns is how many columns a live line may take: the last one stays empty,
// because some terminals wrap when it is written.
func (s *screen) columns() int { return max(1, s.width()-1) }

// data returns a writer to the same terminal for the rows themselves: with the
// first of them the live line ends, as the two cannot share a screen.
func (s *screen) data(out io.Writer) io.Writer {
	if _, ok := terminal(out); !ok || s.width == nil {
		return out
	}
	return &dataWriter{screen: s, out: out}
}

type dataWriter struct {
	screen *screen
	once   sync.Once
	out    io.Writer
}

// Write ends the live line and writes.
func (w *dataWriter) Write(p []byte) (int, error) {
	w.once.Do(w.screen.end)
	return w.out.Write(p)
}
