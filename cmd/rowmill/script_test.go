package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rowmill": main})
}

// TestScripts runs what people type. Beside testscript's own commands there are:
//
// and $SILENT is the address of a provider that never answers.
//
//	exits CODE PROGRAM ARG…   run a program, want this exit code
//	answers CODE ARG…         rowmill itself, without a process of its own: quick, for what
//	                          touches no file and gets no signal
//	start NAME PROGRAM ARG…   run it in the background, into NAME.out and NAME.err
//	until FILE REGEXP         wait until the file matches
//	signal NAME INT|TERM      send a signal
//	finish NAME CODE          wait for its end, want this exit code
//	setenv NAME FILE          set a variable to what the file holds
//	prefix FILE               the lines are {"n":1, …}, {"n":2, …} and so on, without a gap
//	summary KEY=NUMBER…       the last line of stderr is JSON, adds up, and has these counts
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[background{}] = map[string]*exec.Cmd{}
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Setenv("SILENT", "http://"+silent.Addr().String()+"/v1")
			env.Defer(func() { _ = silent.Close() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "answers": answers, "start": start, "until": until, "signal": signalTo, "finish": finish,
			"setenv": setenv, "prefix": prefix, "summary": summary,
		},
	})
}

// background is the key of what runs in the background, by name.
type background struct{}

func running(ts *testscript.TestScript) map[string]*exec.Cmd {
	m, _ := ts.Value(background{}).(map[string]*exec.Cmd)
	return m
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	want := wanted(ts, neg, args, 2)
	checkCode(ts, ts.Exec(args[1], args[2:]...), want)
}

func answers(ts *testscript.TestScript, neg bool, args []string) {
	want := wanted(ts, neg, args, 1)
	code := run(context.Background(), host{
		args: args[1:], stdin: strings.NewReader(""), stdout: ts.Stdout(), stderr: ts.Stderr(),
		lookupEnv: func(string) (string, bool) { return "", false },
	})
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// wanted returns the exit code that comes first.
func wanted(ts *testscript.TestScript, neg bool, args []string, atLeast int) int {
	if neg || len(args) < atLeast {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	return code
}

func checkCode(ts *testscript.TestScript, err error, want int) {
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	// The test's own binary answers to this name: see testscript.Main.
	program := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[1])
	cmd := exec.Command(program, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	cmd.Stdout = create(ts, args[0]+".out")
	cmd.Stderr = create(ts, args[0]+".err")
	ts.Check(cmd.Start())
	running(ts)[args[0]] = cmd
	ts.Defer(func() { _ = cmd.Process.Kill() }) // it has ended, as a rule
}

func create(ts *testscript.TestScript, name string) *os.File {
	f, err := os.Create(ts.MkAbs(name))
	ts.Check(err)
	ts.Defer(func() { _ = f.Close() })
	return f
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var content []byte
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		content, _ = os.ReadFile(ts.MkAbs(args[0])) // it may not be there yet
		if re.Match(content) {
			return
		}
	}
	ts.Fatalf("%s does not match %q within two minutes:\n%s", args[0], args[1], content)
}

func signalTo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || running(ts)[args[0]] == nil {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	s := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[1]]
	ts.Check(running(ts)[args[0]].Process.Signal(s))
}

func finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || running(ts)[args[0]] == nil {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	err = running(ts)[args[0]].Wait()
	for name, w := range map[string]interface{ Write([]byte) (int, error) }{".out": ts.Stdout(), ".err": ts.Stderr()} {
		content, readErr := os.ReadFile(ts.MkAbs(args[0] + name))
		ts.Check(readErr)
		_, _ = w.Write(content) // into memory
	}
	checkCode(ts, err, want)
}

// summary reads the last line of stderr, which --summary json makes.
func summary(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	lines := bytes.Split(bytes.TrimSuffix([]byte(ts.ReadFile("stderr")), []byte("\n")), []byte("\n"))
	var got struct {
		ExitCode *int             `json:"exit_code"`
		Counts   map[string]int64 `json:"counts"`
	}
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil || got.ExitCode == nil {
		ts.Fatalf("the last line of stderr is no summary: %v: %s", err, lines[len(lines)-1])
	}
	c := got.Counts
	if c["read"]+c["made"]-c["merged"] != c["delivered"]+c["dropped"]+c["dropped_on_error"]+c["dead_lettered"]+c["unfinished"] {
		ts.Fatalf("the counts do not add up: %v", c)
	}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		want, err := strconv.ParseInt(value, 10, 64)
		ts.Check(err)
		if count, ok := c[key]; key == "exit_code" && int64(*got.ExitCode) != want || key != "exit_code" && (!ok || count != want) {
			ts.Fatalf("%s: want %d, got %v, exit code %d", key, want, c, *got.ExitCode)
		}
	}
}

func setenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func prefix(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("wrong usage; see TestScripts")
	}
	content := ts.ReadFile(args[0])
	if content == "" || !strings.HasSuffix(content, "\n") {
		ts.Fatalf("%s does not end with a whole line: %q", args[0], content)
	}
	for i, line := range strings.Split(strings.TrimSuffix(content, "\n"), "\n") {
		var row struct {
			N      int    `json:"n"`
			Answer string `json:"answer"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.N != i+1 || row.Answer == "" {
			ts.Fatalf("%s:%d: %v: %s", args[0], i+1, err, line)
		}
	}
}
