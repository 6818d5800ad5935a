package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// Watch makes errors count that a connector only logs: those of go-streams have nowhere
// else to say them. Give its Logger to the connector, or make it the default one
// (slog.SetDefault) for connectors that take none, and the Watch to the run
// ([Options].Watch): the first line of the level or above fails the run with what it says,
// also one that was logged before the run began. A Watch is for one run.
//
//	watch := engine.NewWatch(slog.Default().Handler(), slog.LevelWarn)
//	source := extension.NewFileSource(path, extension.WithLogger(watch.Logger()))
type Watch struct {
	next  slog.Handler
	level slog.Leveler

	mu   sync.Mutex
	err  error       // the first that was logged
	fail func(error) // of the run; nil before it begins and after its end
}

// NewWatch makes a Watch. What is logged goes on to next, which may be nil for nowhere.
// Everything of the level or above is an error: slog.LevelError, or slog.LevelWarn for
// connectors that only warn of what they throw away, as go-streams' sinks for files and
// writers do.
func NewWatch(next slog.Handler, level slog.Leveler) *Watch {
	if next == nil {
		next = slog.DiscardHandler
	}
	return &Watch{next: next, level: level}
}

// Logger returns a logger that is watched.
func (w *Watch) Logger() *slog.Logger { return slog.New(watchHandler{watch: w, next: w.next}) }

// begin has the run fail with what was logged, and will be.
func (w *Watch) begin(fail func(error)) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail = fail; w.err != nil {
		fail(w.err)
	}
}

// end has no run fail any more.
func (w *Watch) end() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = nil
}

func (w *Watch) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.fail != nil {
		w.fail(err)
	}
}

// watchHandler is a [slog.Handler] whose errors are noted.
type watchHandler struct {
	watch *Watch
	next  slog.Handler
	attrs []string // those of the logger, as "key=value"
	group string   // with a dot at its end
}

// Enabled reports whether a line is noted, or wanted by whoever is next.
func (h watchHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.watch.level.Level() || h.next.Enabled(ctx, level)
}

// Handle notes an error, and passes the line on.
func (h watchHandler) Handle(ctx context.Context, r slog.Record) error {
	var err error
	if h.next.Enabled(ctx, r.Level) {
		err = h.next.Handle(ctx, r)
	}
	if r.Level >= h.watch.level.Level() {
		parts := append([]string{r.Message}, h.attrs...)
		r.Attrs(func(a slog.Attr) bool {
			parts = append(parts, h.format(a))
			return true
		})
		h.watch.note(fmt.Errorf("a connector has logged an error: %s", strings.Join(parts, " ")))
	}
	return err
}

func (h watchHandler) format(a slog.Attr) string {
	return fmt.Sprintf("%s%s=%v", h.group, a.Key, a.Value.Resolve())
}

// WithAttrs returns a handler that adds attributes.
func (h watchHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		h.attrs = append(h.attrs, h.format(a))
	}
	h.next = h.next.WithAttrs(attrs)
	return h
}

// WithGroup returns a handler whose further attributes are in a group.
func (h watchHandler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.group += name + "."
	}
	h.next = h.next.WithGroup(name)
	return h
}
