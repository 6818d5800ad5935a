package coprocess

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What is kept of standard error, for messages.
const (
	tailLines = 8
	tailWidth = 500 // bytes of a line
)

// tail takes what a process says on standard error: each line to the log, and the last
// ones for the message, should it fail.
type tail struct {
	log   *slog.Logger
	hide  func(string) string
	ended chan struct{} // closed at the end

	mu   sync.Mutex
	last []string
}

// read reads to the end.
func (t *tail) read(from io.Reader) {
	defer close(t.ended)
	in := bufio.NewReaderSize(from, 4<<10)
	for {
		text, err := firstBytes(in)
		if said := strings.TrimSpace(t.hide(string(bytes.ToValidUTF8(text, []byte("\uFFFD"))))); said != "" {
			t.log.Debug("standard error", slog.String("line", said))
			t.add(said)
		}
		if err != nil {
			return
		}
	}
}

func (t *tail) add(said string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == tailLines {
		t.last = t.last[1:]
	}
	t.last = append(t.last, said)
}

// firstBytes reads a line and returns its beginning.
func firstBytes(in *bufio.Reader) (text []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part[:min(len(part), tailWidth-len(text))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// wait waits a moment for what is still on its way; somebody whom the process has
// started may hold its standard error open.
func (t *tail) wait() {
	timer := time.NewTimer(patience / 10)
	defer timer.Stop()
	select {
	case <-t.ended:
	case <-timer.C:
	}
}

// words are the last lines, for the end of a message; "" if there are none.
func (t *tail) words() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == 0 {
		return ""
	}
	return "; it last said: " + strings.Join(t.last, " | ")
}
