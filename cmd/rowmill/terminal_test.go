package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out, width: func() int { return 80 }}
	write := func(text string) {
		if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	write("before\n")
	s.show("1 row")
	s.show("1 row") // nothing has changed
	write("a log line\n")
	s.show("2 rows")
	s.end()
	s.show("3 rows") // too late
	write("after\n")
	want := "before\n" + "\r\x1b[K1 row" + "\r\x1b[Ka log line\n1 row" + "\r\x1b[K2 rows" + "\r\x1b[K" + "after\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

func TestScreenWithoutTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newScreen(&out, func(string) string { return "xterm" })
	if s.width != nil {
		t.Error("a buffer is taken for a terminal")
	}
	if got := s.data(&out); got != &out {
		t.Error("the data of a pipe is wrapped")
	}
	s.end()
	if out.Len() != 0 {
		t.Errorf("wrote %q", out.String())
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelInfo).With("stage", "a b").WithGroup("g")
	log.Debug("hidden")
	log.Info("fine", "n", 1, "secret", pipeline.Secret("s3cret"), slog.Group("in", "x", true))
	log.Warn("odd", "error", errors.New(`say "no"`), "escape", "\x1b[2J")
	log.Error("panic", "stack", "goroutine 1:\n\tmain.go:1\n\tmain.go:2\n")
	got := out.String()
	lines := strings.Split(got, "\n")
	for i := range lines {
		if len(lines[i]) > 9 && lines[i][2] == ':' {
			lines[i] = lines[i][9:]
		}
	}
	want := []string{
		`fine stage="a b" g.n=1 g.secret=[redacted] g.in.x=true`,
		`warning: odd stage="a b" g.error="say \"no\"" g.escape="\x1b[2J"`,
		`error: panic stage="a b"`,
		"    goroutine 1:", "        main.go:1", "        main.go:2", "",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
}

// fakeRun is a run that ends when it is told to.
type fakeRun struct {
	calls []string
	done  chan struct{}
}

func (f *fakeRun) Stop()                 { f.calls = append(f.calls, "stop") }
func (f *fakeRun) Abort()                { f.calls = append(f.calls, "abort") }
func (f *fakeRun) Done() <-chan struct{} { return f.done }
func (f *fakeRun) Snapshot() engine.Snapshot {
	return engine.Snapshot{Stages: []engine.StageSnapshot{{InFlight: 5, OnWire: 3}}}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &fakeRun{done: make(chan struct{})}
		signals := make(chan os.Signal, mostSignals)
		var talk bytes.Buffer
		shown, code := 0, 0
		exit := func(c int) { code = c; close(e.done) }
		go func() {
			time.Sleep(1500 * time.Millisecond)
			for range mostSignals {
				time.Sleep(time.Second)
				signals <- syscall.SIGTERM
			}
		}()
		first := follow(e, signals, &talk, func(engine.Snapshot) { shown++ }, time.Second, exit)
		if first != syscall.SIGTERM || code != 143 {
			t.Errorf("first signal %v, exit code %d; want SIGTERM, 143", first, code)
		}
		if d := cmp.Diff([]string{"stop", "abort"}, e.calls); d != "" {
			t.Error(d)
		}
		if shown != 4 {
			t.Errorf("the progress was shown %d times, want 4", shown)
		}
		want := "rowmill: stopping: finishing 3 requests in flight; a second signal aborts\n" +
			"rowmill: aborting: what is in flight is left unfinished\n"
		if d := cmp.Diff(want, talk.String()); d != "" {
			t.Error(d)
		}
	})
}

func TestFollowWithoutSignal(t *testing.T) {
	t.Parallel()
	e := &fakeRun{done: make(chan struct{})}
	close(e.done)
	if s := follow(e, nil, nil, nil, time.Hour, nil); s != nil {
		t.Errorf("got signal %v", s)
	}
}

// TestSimulatorFlags holds the flags of simulate to the options there are.
func TestSimulatorFlags(t *testing.T) {
	t.Parallel()
	const share = "1%"
	for _, name := range faultNames() {
		var o simulator.Options
		if err := (faultFlag{&o.Faults}).Set(name + "=" + share); err != nil {
			t.Errorf("--fault %s: %v", name, err)
		}
		if o.Faults == (simulator.Faults{}) {
			t.Errorf("--fault %s sets nothing", name)
		}
	}
	var o simulator.Options
	if err := (faultFlag{&o.Faults}).Set("transient=2%"); err != nil || o.Faults != simulator.Transient(0.02) {
		t.Errorf("--fault transient=2%%: %v, %+v", err, o.Faults)
	}
	for _, wrong := range []string{"", "reset", "reset=", "reset=x", "nonsense=1%"} {
		if err := (faultFlag{&o.Faults}).Set(wrong); err == nil {
			t.Errorf("--fault %q: got no error", wrong)
		}
	}
}
