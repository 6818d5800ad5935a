package coprocess_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/coprocess"
	"github.com/rowmill/rowmill/pipeline"
)

// TestMain is the program too that is asked, if the environment says so.
func TestMain(m *testing.M) {
	switch os.Getenv("COPROCESS") {
	case "":
	case "parent":
		parent()
		os.Exit(0)
	default:
		program()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// program does what the lines say, and answers them.
func program() {
	if banner := os.Getenv("BANNER"); banner != "" {
		fmt.Println(banner)
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<10)
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			return
		}
		word, rest, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		switch word {
		case "crash":
			fmt.Fprintln(os.Stderr, "about to crash\n"+os.Getenv("SECRET"))
			os.Exit(3)
		case "leave":
			return
		case "bye":
			fmt.Println("bye")
			return
		case "cut":
			fmt.Print("half a li")
			return
		case "hang":
			fmt.Fprintln(os.Stderr, "hanging")
			block()
		case "deaf": // to the end of its input and to SIGTERM
			signal.Ignore(syscall.SIGTERM)
			fmt.Println("deaf")
			block()
		case "two":
			fmt.Print("one\ntwo\n")
		case "later":
			fmt.Print("one\n")
			_ = os.Stdout.Sync()
			fmt.Print("two\n")
		case "long":
			n, _ := strconv.Atoi(rest)
			fmt.Println(strings.Repeat("x", n))
		case "pid":
			fmt.Println(os.Getpid())
		case "child": // a process of its own that holds everything open
			c := exec.Command("sleep", "1000")
			c.Stdout, c.Stderr = os.Stdout, os.Stderr
			fmt.Println(c.Start(), c.Process.Pid)
		case "env":
			fmt.Println(os.Getenv(rest), len(os.Environ()))
		case "dir":
			dir, _ := os.Getwd()
			fmt.Println(dir)
		case "close":
			_ = os.Stdout.Close()
			block()
		case "noise":
			for i := range 1000 {
				fmt.Fprintln(os.Stderr, i, strings.Repeat("n", 5000))
			}
			fmt.Println("quiet")
		default:
			fmt.Println(strings.ToUpper(strings.TrimSuffix(text, "\n")))
		}
	}
}

// parent asks a process of a pool, prints its answers and what it says on standard error,
// and does not end.
func parent() {
	p := coprocess.New(coprocess.Options{
		Command: []string{os.Args[0]}, Env: []string{"COPROCESS=1", "PATH=" + os.Getenv("PATH")}, MaxLine: 1 << 10,
		Log: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	for _, question := range []string{"child", "pid", os.Getenv("LAST")} {
		err := p.Ask(context.Background(), []byte(question), func(answer []byte) error {
			fmt.Println(string(answer))
			return nil
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	block()
}

// block never returns.
func block() {
	r, w, _ := os.Pipe()
	_, _ = r.Read(make([]byte, 1))
	_ = w.Close()
}

// pool returns a pool of this very program.
func pool(t *testing.T, change func(*coprocess.Options)) *coprocess.Pool {
	t.Helper()
	o := coprocess.Options{
		Command: []string{self(t)}, Env: []string{"COPROCESS=1", "GORACE=atexit_sleep_ms=0"}, MaxLine: 1 << 20, Grace: 50 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	p := coprocess.New(o)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func ask(t *testing.T, p *coprocess.Pool, question string) (answer string, err error) {
	t.Helper()
	return askWithin(t.Context(), p, question)
}

func askWithin(ctx context.Context, p *coprocess.Pool, question string) (answer string, err error) {
	err = p.Ask(ctx, []byte(question), func(text []byte) error {
		if bytes.HasPrefix(text, []byte("NOT")) {
			return errors.New("no answer")
		}
		answer = string(text)
		return nil
	})
	return answer, err
}

// answers asks what must be answered.
func answers(t *testing.T, p *coprocess.Pool, question, want string) string {
	t.Helper()
	got, err := ask(t, p, question)
	if err != nil {
		t.Fatalf("%.40s: %v", question, err)
	}
	if want != "" && got != want {
		t.Fatalf("%.40s: got %.40q, want %.40q", question, got, want)
	}
	return got
}

// gone waits until there is no such process.
func gone(t *testing.T, pid int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; runtime.Gosched() {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) || zombieOfOthers(pid) {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

// zombieOfOthers reports whether a process has ended that somebody else has to wait for:
// one whose parent was killed is init's.
func zombieOfOthers(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return fields[0] == "Z" && fields[1] != strconv.Itoa(os.Getpid())
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	first := answers(t, p, "pid", "")
	for _, question := range []string{"hello", "", "ünïcödé \u2028 x", strings.Repeat("many ", 100_000)} {
		answers(t, p, question, strings.ToUpper(question))
	}
	answers(t, p, "pid", first) // one process is enough for one at a time
}

func TestAtMostOneProcessForEachThatIsAsked(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	pids := map[string]bool{}
	for range 4 {
		all.Go(func() {
			for i := range 50 {
				want := fmt.Sprintf("ROW %d", i)
				if got, err := askWithin(t.Context(), p, "row "+strconv.Itoa(i)); got != want || err != nil {
					t.Errorf("got %q and %v, want %q", got, err, want)
				}
			}
			pid, _ := askWithin(t.Context(), p, "pid")
			mu.Lock()
			defer mu.Unlock()
			pids[pid] = true
		})
	}
	all.Wait()
	if len(pids) > 4 {
		t.Errorf("%d processes for 4 at a time", len(pids))
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		question string
		class    pipeline.Class
		code     string
		says     []string
	}{
		"a crash":             {"crash", pipeline.ClassTransient, "exec_crash", []string{"exit status 3", "about to crash", "[secret]"}},
		"an end within":       {"cut", pipeline.ClassTransient, "exec_crash", []string{"within a line"}},
		"a closed output":     {"close", pipeline.ClassTransient, "exec_crash", []string{"closed its output"}},
		"two lines":           {"two", pipeline.ClassRecord, "exec_answer", []string{"more than one line", `"one"`}},
		"what is no answer":   {"not json", pipeline.ClassRecord, "exec_answer", []string{"no answer"}},
		"too long an answer":  {"long 2000000", pipeline.ClassRecord, "exec_too_long", []string{"1MiB", "xxx"}},
		"a time that is over": {"hang", pipeline.ClassTransient, "timeout", []string{"python3 -u", "hanging"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pool(t, func(o *coprocess.Options) {
				o.Env = append(o.Env, "SECRET=sk-secret")
				o.Hide = func(s string) string { return strings.ReplaceAll(s, "sk-secret", "[secret]") }
			})
			pid := answers(t, p, "pid", "")
			ctx := t.Context()
			if c.code == "timeout" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 500*time.Millisecond)
				defer cancel()
			}
			_, err := askWithin(ctx, p, c.question)
			if class, code := pipeline.Classify(err); class != c.class || code != c.code {
				t.Errorf("got %v, %v (%v), want %v, %v", class, code, err, c.class, c.code)
			}
			for _, part := range c.says {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, which does not say %q", err, part)
				}
			}
			answers(t, p, "again", "AGAIN")
			if answers(t, p, "pid", "") == pid {
				t.Error("the process is asked on that has failed")
			}
			n, _ := strconv.Atoi(pid)
			gone(t, n)
		})
	}
}

// TestAnAnswerThatBeginsBeforeTheQuestionEnds is longer than both pipes together.
func TestAnAnswerThatBeginsBeforeTheQuestionEnds(t *testing.T) {
	t.Parallel()
	p := pool(t, func(o *coprocess.Options) { o.Command = []string{"cat"} })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	text := strings.Repeat("x", 1<<20)
	if got, err := askWithin(ctx, p, text); got != text || err != nil {
		t.Errorf("got %d bytes and %v, want %d", len(got), err, len(text))
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(300*time.Millisecond, cancel).Stop()
	for range 2 { // while it is asked, and before
		if _, err := askWithin(ctx, p, "hang"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was cancelled", err)
		}
	}
}

func TestAProcessThatStopsAfterEachAnswerIsReplaced(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	for range 20 {
		answers(t, p, "bye", "bye")
	}
	answers(t, p, "x", "X")
}

func TestAnswersAfterLeaving(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	answers(t, p, "x", "X")
	if _, err := ask(t, p, "leave"); err == nil || !strings.Contains(err.Error(), "without an answer: exit status 0") {
		t.Errorf("a process that left twice at the same question: %v", err)
	}
}

func TestALineThatNobodyAskedForEndsTheRun(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	answers(t, p, "x", "X")
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		_, err = ask(t, p, "later")
	}
	switch class, code := pipeline.Classify(err); {
	case class == pipeline.ClassFatal && code == "exec_out_of_step": // seen before the next question
	case class == pipeline.ClassRecord && code == "exec_answer": // seen with the answer
	default:
		t.Errorf("got %v, %v (%v), want that it is seen", class, code, err)
	}
}

func TestACommandThatNeverAnswersEndsTheRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command  []string
		banner   string
		question string
		says     string
	}{
		"it crashes":       {nil, "", "crash", "about to crash"},
		"it says too much": {nil, "NOT an answer", "x", "no answer"},
		"it ends at once":  {[]string{"true"}, "", "x", "exit status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pool(t, func(o *coprocess.Options) {
				o.Env = append(o.Env, "BANNER="+c.banner)
				if c.command != nil {
					o.Command = c.command
				}
			})
			for i := range 5 {
				_, err := ask(t, p, c.question)
				class, code := pipeline.Classify(err)
				if fatal := class == pipeline.ClassFatal && code == "exec_no_answers"; fatal != (i == 4) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("time %d: %v, %v: %v", i+1, class, code, err)
				}
			}
		})
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ program, dir, says string }{
		"a program":              {"sh", "", ""},
		"a path":                 {self(t), dir, ""},
		"no such program":        {"no-such-program", "", "[python3, clean.py]"},
		"no such path":           {"./nowhere", dir, "[python3, clean.py]"},
		"not executable":         {"./script", dir, "chmod +x"},
		"no such folder":         {"sh", filepath.Join(dir, "nowhere"), "nowhere"},
		"a file for a folder":    {"sh", script, "no folder"},
		"a path in no such path": {filepath.Join(dir, "x", "y"), "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pool(t, func(o *coprocess.Options) { o.Command, o.Dir = []string{c.program}, c.dir })
			switch err := p.Probe(); {
			case c.says == "" && err != nil:
				t.Errorf("got %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want an error that says %q", err, c.says)
			}
			if c.says == "" {
				return
			}
			if _, err := ask(t, p, "x"); classOf(err) != pipeline.ClassFatal {
				t.Errorf("asked all the same: %v, want that the run ends", err)
			}
		})
	}
}

func classOf(err error) pipeline.Class { class, _ := pipeline.Classify(err); return class }

func TestEnvironmentAndFolder(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := pool(t, func(o *coprocess.Options) { o.Dir, o.Env = dir, append(o.Env, "A=b c") })
	answers(t, p, "dir", dir)
	answers(t, p, "env A", "b c 3") // and COPROCESS and GORACE
}

func TestStandardErrorIsLoggedAndBounded(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := pool(t, func(o *coprocess.Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	answers(t, p, "noise", "quiet")
	_, err := ask(t, p, "crash")
	if err == nil || len(err.Error()) > 5000 || !strings.Contains(err.Error(), "| 999 nnn") || !strings.Contains(err.Error(), "about to crash") {
		t.Errorf("the message is %d bytes: %.300v", len(fmt.Sprint(err)), err)
	}
	if n := strings.Count(log.String(), "standard error"); n != 1001 || log.Len() > 1001*700 {
		t.Errorf("%d lines in the log, %d bytes; want 1001 of at most 700", n, log.Len())
	}
}

// TestClose: whatever a process does, it is not there any more, nor what it has started.
func TestClose(t *testing.T) {
	t.Parallel()
	for _, question := range []string{"hello", "deaf", "child"} {
		t.Run(question, func(t *testing.T) {
			t.Parallel()
			p := coprocess.New(coprocess.Options{Command: []string{self(t)}, Env: []string{"COPROCESS=1", "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH")}, MaxLine: 1 << 10, Grace: 50 * time.Millisecond})
			pids := []string{answers(t, p, "pid", "")}
			answer := answers(t, p, question, "")
			if question == "child" {
				none, pid, _ := strings.Cut(answer, " ")
				if none != "<nil>" {
					t.Fatalf("the program cannot start a process: %s", answer)
				}
				pids = append(pids, pid)
			}
			if err := p.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			for _, pid := range pids {
				n, err := strconv.Atoi(pid)
				if err != nil {
					t.Fatal(err)
				}
				gone(t, n)
			}
			if _, err := ask(t, p, "x"); !errors.Is(err, pipeline.ErrStopped) {
				t.Errorf("asked after that: %v, want %v", err, pipeline.ErrStopped)
			}
		})
	}
}

// TestKilled: a process that heeds neither the end of its input nor SIGTERM is gone when
// this one was killed with SIGKILL, and so is what it has started.
func TestKilled(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]string{"idle": "deaf", "at work": "hang"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self(t))
			cmd.Env = []string{"COPROCESS=parent", "LAST=" + last, "PATH=" + os.Getenv("PATH")}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
			var said []string
			for in := bufio.NewScanner(out); len(said) < 3 && in.Scan(); {
				said = append(said, in.Text())
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
			if len(said) < 3 || !strings.Contains(said[2], last) {
				t.Fatalf("it said %q", said)
			}
			for _, text := range said[:2] {
				pid, err := strconv.Atoi(strings.TrimPrefix(text, "<nil> "))
				if err != nil {
					t.Fatalf("it said %q", said)
				}
				gone(t, pid)
			}
		})
	}
}

// TestNothingIsLeftOfProcessesThatWereReplaced is not run along with others, which have
// open files and processes too.
func TestNothingIsLeftOfProcessesThatWereReplaced(t *testing.T) {
	p := pool(t, func(o *coprocess.Options) { o.Command, o.Env = []string{"head", "-n", "1"}, nil })
	held := func() (files, children, threads int) {
		list := func(pattern string) []string {
			paths, err := filepath.Glob(pattern)
			switch missing := err != nil || len(paths) == 0; {
			case missing && os.Getenv("CI") == "":
				t.Skipf("there is no %s", pattern)
			case missing:
				t.Fatalf("there is no %s", pattern) // it would not be noticed
			}
			return paths
		}
		for _, path := range list("/proc/self/task/*/children") {
			text, _ := os.ReadFile(path) // the thread may have gone
			children += len(strings.Fields(string(text)))
		}
		return len(list("/proc/self/fd/*")), children, len(list("/proc/self/task/*"))
	}
	replace := func(times int) {
		for range times {
			answers(t, p, "x", "x")
		}
	}
	replace(20)
	files, children, threads := held()
	replace(100)
	filesAfter, childrenAfter, threadsAfter := held()
	// One of them is idle, and may have ended or not.
	if filesAfter > files+10 || childrenAfter > children+10 || threadsAfter > threads+10 {
		t.Errorf("after 100 more processes %d open files, %d children, %d threads; before %d, %d, %d",
			filesAfter, childrenAfter, threadsAfter, files, children, threads)
	}
}

func TestCloseWaitsForNobodyThatIsAsked(t *testing.T) {
	t.Parallel()
	p := pool(t, nil)
	answered := make(chan error, 1)
	asked := make(chan struct{})
	go func() {
		answered <- p.Ask(t.Context(), []byte("x"), func([]byte) error { close(asked); return p.Close() })
	}()
	<-asked
	if err := <-answered; err != nil {
		t.Errorf("got %v", err)
	}
}

// BenchmarkAsk is a line to a process and back.
func BenchmarkAsk(b *testing.B) {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := coprocess.New(coprocess.Options{Command: []string{path}, Env: []string{"COPROCESS=1", "GORACE=atexit_sleep_ms=0"}, MaxLine: 1 << 10})
	question := slices.Grow([]byte(`{"id":1,"text":"`+strings.Repeat("x", 100)+`"}`), 1)
	for b.Loop() {
		if err := p.Ask(b.Context(), question, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}
