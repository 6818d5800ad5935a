package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// logHandler writes log records for people: "15:04:05 warning: what happened
// stage=label". A value of several lines, such as a stack, follows below.
type logHandler struct {
	level slog.Level
	attrs string // of With, written already
	group string // prefix of the names
	mu    *sync.Mutex
	out   io.Writer
}

func newLogger(out io.Writer, level slog.Level) *slog.Logger {
	return slog.New(&logHandler{level: level, mu: &sync.Mutex{}, out: out})
}

// Enabled reports whether the level is one that is shown.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle writes one record.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Time.Format("15:04:05 "))
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	case r.Level < slog.LevelInfo:
		b.WriteString("debug: ")
	}
	b.WriteString(printable(r.Message) + h.attrs)
	var below strings.Builder
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, &below, h.group, a)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String()+below.String())
	return err
}

// WithAttrs returns a handler that adds the attributes to every record.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b, below strings.Builder
	for _, a := range attrs {
		writeAttr(&b, &below, h.group, a)
	}
	with := *h
	with.attrs += b.String()
	return &with
}

// WithGroup returns a handler that puts the name in front of those that follow.
func (h *logHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.group += name + "."
	return &with
}

func writeAttr(line, below *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			writeAttr(line, below, group, inner)
		}
	default:
		s := v.String()
		if v.Kind() == slog.KindAny {
			s = fmt.Sprint(v.Any()) // a Secret hides itself
		}
		if strings.Count(s, "\n") > 1 {
			for one := range strings.Lines(s) {
				below.WriteString("    " + printable(strings.ReplaceAll(one, "\t", "    ")) + "\n")
			}
			return
		}
		line.WriteString(" " + group + a.Key + "=" + quoted(s))
	}
}

// quoted returns s as it is where that is one plain word, else in quotes.
func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " =\"") || printable(s) != s {
		return strconv.Quote(s)
	}
	return s
}
