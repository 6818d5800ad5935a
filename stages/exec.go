package stages

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/internal/coprocess"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed exec.go
var execCode string

// ExecConfig is the configuration of the stage "exec": a program of one's own, in any
// language, that reads a record as a line of JSON and prints a line of JSON for it:
//
//	for line in sys.stdin:
//	    row = json.loads(line)
//	    row["name"] = row["name"].strip().title()
//	    print(json.dumps(row))
//
// There are at most as many processes as parallelism says, started when they are needed.
// One that ends with exit code 0 between two records is replaced without a word, so that
// a program may stop after each record. What was answered is in the journal: no record is
// given to the program again after a kill, but for those that it was at work on.
type ExecConfig struct {
	// Command is the program and its arguments, each an entry; no shell is between. A
	// program without a slash is looked up in PATH, a path is relative to dir. The content
	// of the script (the program, if it is a path, else the first argument that is a file)
	// is a part of the pipeline: a run that was ended is not gone on with by another one.
	//
	// The program gets a record as one line of JSON on its standard input, and answers with
	// one line before it reads the next: an object takes the place of the record; null
	// drops it; a list of objects makes several records of it; {"error": "why"}, without
	// any other field, makes it a dead letter, and with "retry": true beside it has it tried
	// again. Anything else, an empty line too, makes it a dead letter and ends the process.
	// What there is to say besides belongs on standard error, which goes to the log
	// (--log-level debug), its end into the message if the program fails. A crash, or an
	// answer later than timeout, is tried again (retry) in a new process. There are as many
	// processes as parallelism says, each with one record at a time.
	//
	// At the end of a run a process gets the end of its input, 5s later SIGTERM, and after 5s
	// more SIGKILL; one at work on a record when a run is aborted is killed at once. If
	// rowmill is killed itself, with SIGKILL too, so are they, at once: on Unix a small shell
	// beside each of them sees to that. All this goes for what a process has started in its
	// turn (sh -c, uv run, npx), but not for what has left its process group: a daemon, a
	// container. On Windows, or without a /bin/sh, they get the end of their input and no more
	// when rowmill is killed.
	Command []string `yaml:"command" rowmill:"required"`
	// Dir is the working directory of the program. Defaults to that of rowmill.
	Dir string `yaml:"dir"`
	// Env are variables of the program's environment. Their values appear in no log and
	// no message. Defaults to none.
	Env map[string]pipeline.Secret `yaml:"env"`
	// PassEnv names variables that the program gets from the environment of rowmill, if
	// they are set there. It gets PATH, HOME, USER, TMPDIR, TZ, LANG, LC_ALL, LC_CTYPE,
	// VIRTUAL_ENV, PYTHONPATH and, on Windows, SYSTEMROOT without being named, and nothing
	// else: no key of a provider. Defaults to none.
	PassEnv []string `yaml:"pass_env"`
	// Keeps names fields that an answer must hold as they were, such as the row's number:
	// so it is noticed if a program prints a line too few or too many. Where an answer
	// lacks one or has another value, the record is a dead letter. Defaults to none.
	Keeps []string `yaml:"keeps"`
	// MaxAnswer is the longest line that the program may answer. Defaults to 16MiB.
	MaxAnswer pipeline.Size `yaml:"max_answer" rowmill:"tuning,min=1KiB,max=1GiB"`
}

// Validate checks that there is a command.
func (c ExecConfig) Validate() error {
	var problems pipeline.Problems
	if len(c.Command) == 0 || c.Command[0] == "" {
		problems.Addf("command", "needs a program, such as [python3, clean.py]")
	}
	if len(c.Command) == 1 && strings.ContainsAny(strings.TrimSpace(c.Command[0]), " \t") {
		problems.Addf("command", "is one word with spaces in it; write each part as one entry: [%s]", strings.Join(strings.Fields(c.Command[0]), ", "))
	}
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			problems.Addf(below("env", name), "is no name of a variable")
		}
	}
	if c.MaxAnswer < 1<<10 || c.MaxAnswer > 1<<30 {
		problems.Addf("max_answer", "must be from 1KiB to 1GiB, not %v", c.MaxAnswer)
	}
	return problems.Err()
}

// mostScript is the longest file that is taken for a script.
const mostScript = 64 << 20

// Exec is the stage "exec": a program that answers a line for each line.
type Exec struct {
	config ExecConfig
	pool   *coprocess.Pool
}

var (
	_ pipeline.Stage         = (*Exec)(nil)
	_ pipeline.Prober        = (*Exec)(nil)
	_ pipeline.Closer        = (*Exec)(nil)
	_ pipeline.Shaper        = (*Exec)(nil)
	_ pipeline.Fingerprinter = (*Exec)(nil)
)

// NewExec makes an Exec. It starts nothing; Close ends what Process has started. The
// error is [pipeline.Problems].
func NewExec(c ExecConfig, env pipeline.Env) (*Exec, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	pool := coprocess.New(coprocess.Options{
		Command: c.Command, Dir: c.Dir, Env: c.environment(env), MaxLine: int(c.MaxAnswer), Log: env.Log(), Hide: c.hide,
	})
	return &Exec{c, pool}, nil
}

// DefaultExec returns a config with every default in its place.
func DefaultExec() ExecConfig { return ExecConfig{MaxAnswer: 16 << 20} }

// ExecSpec describes the stage "exec".
func ExecSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "exec",
		Summary:  "has a program of your own process the records, as JSON lines",
		Code:     execCode,
		Workload: pipeline.Waits,
		Costs:    true,
		Example:  `exec: {command: [python3, clean.py], keeps: [id]}`,
	}, DefaultExec,
		func(c ExecConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewExec(c, env)) })
}

// environment is what a program finds in its environment. Python holds back what it
// prints unless it is told not to.
func (c ExecConfig) environment(env pipeline.Env) []string {
	vars := []string{"PYTHONUNBUFFERED=1", "PYTHONIOENCODING=utf-8"}
	always := []string{"PATH", "HOME", "USER", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "VIRTUAL_ENV", "PYTHONPATH", "SYSTEMROOT"}
	for _, name := range slices.Concat(always, c.PassEnv) {
		if value := env.Lookup(name); value != "" {
			vars = append(vars, name+"="+value)
		}
	}
	for name, value := range c.Env {
		vars = append(vars, name+"="+value.Reveal())
	}
	return vars
}

// hide takes the values of env out of a text.
func (c ExecConfig) hide(said string) string {
	for _, value := range c.Env {
		if secret := value.Reveal(); secret != "" {
			said = strings.ReplaceAll(said, secret, value.String())
		}
	}
	return said
}

// Probe says whether the program can be found.
func (e *Exec) Probe(context.Context) error { return e.pool.Probe() }

// Fingerprint returns a digest of the script.
func (e *Exec) Fingerprint(context.Context) (map[string]string, error) {
	words := e.config.Command
	if filepath.Base(words[0]) == words[0] {
		words = words[1:]
	}
	for _, word := range words {
		path := word
		if !filepath.IsAbs(path) {
			path = filepath.Join(e.config.Dir, path)
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() > mostScript {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("command: %w", err)
		}
		return map[string]string{"file " + word: fmt.Sprintf("%x", sha256.Sum256(text))}, nil
	}
	return nil, nil
}

// Close ends the processes.
func (e *Exec) Close() error { return e.pool.Close() }

// Shape knows nothing of what a program answers.
func (e *Exec) Shape(pipeline.Shape) pipeline.Shape { return pipeline.Shape{} }

// Process returns what the program makes of r.
func (e *Exec) Process(ctx context.Context, r *pipeline.Record) (made []*pipeline.Record, err error) {
	var refusal error
	err = e.pool.Ask(ctx, oneLine(r), func(answer []byte) (err error) {
		made, refusal, err = e.read(answer, r)
		return err
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

// oneLine is a record without line breaks: those of JSON stand between its values, where
// a space says the same.
func oneLine(r *pipeline.Record) []byte {
	text := r.AppendJSON(nil)
	for i, c := range text {
		if c == '\n' || c == '\r' {
			text[i] = ' '
		}
	}
	return text
}

// read reads an answer: the records, or why there are none. The error is that it is no
// answer.
func (e *Exec) read(answer []byte, r *pipeline.Record) (made []*pipeline.Record, refusal, err error) {
	answer = bytes.TrimSpace(answer)
	switch {
	case len(answer) == 0:
		return nil, nil, errors.New("the command printed an empty line; to drop a record, print null")
	case string(answer) == "null":
		return nil, nil, nil
	case answer[0] == '{':
		return e.readObject(answer, r)
	case answer[0] == '[':
		made, err = e.readList(answer, r)
		return made, nil, err
	default:
		return nil, nil, notAnswer(answer, errors.New("it is neither an object nor a list nor null"))
	}
}

// notAnswer is a line that is no answer.
func notAnswer(line []byte, why error) error {
	return fmt.Errorf("the command printed %s, which is no answer: %w; it must print one JSON object for each line, and what else there is to say to standard error",
		coprocess.Excerpt(line), why)
}

// readObject reads what takes the place of r, or why that is refused.
func (e *Exec) readObject(answer []byte, r *pipeline.Record) (made []*pipeline.Record, refusal, err error) {
	m, err := pipeline.ParseRecord(answer)
	if err != nil {
		return nil, nil, notAnswer(answer, err)
	}
	if refusal = refused(m); refusal != nil {
		return nil, refusal, nil
	}
	if err := e.kept(m, r); err != nil {
		return nil, nil, err
	}
	m.SetKey(r.Key())
	m.Ref, m.Origin = r.Ref, r.Origin
	m.SetTicket(r.Ticket())
	r.Restore(*m)
	return []*pipeline.Record{r}, nil, nil
}

// refused returns the error that an answer says there is, nil if it is a record.
func refused(m *pipeline.Record) error {
	why, ok := m.Lookup("error")
	if !ok || why.IsNull() {
		return nil
	}
	again, retry := m.Lookup("retry")
	switch n := len(m.Fields()); {
	case n == 1, n == 2 && again.Kind() == 'f':
		return refuse("exec_refused", "the command refused it: %s", why.Text())
	case n == 2 && retry && again.Kind() == 't':
		return pipeline.Transient("exec_refused", fmt.Errorf("the command refused it for now: %s", why.Text()))
	default:
		return nil
	}
}

// readList reads the records that r is made into.
func (e *Exec) readList(answer []byte, r *pipeline.Record) ([]*pipeline.Record, error) {
	list, err := pipeline.ParseValue(answer)
	if err != nil {
		return nil, notAnswer(answer, err)
	}
	var made []*pipeline.Record
	items, _ := list.Elements()
	for i, item := range items {
		m, err := pipeline.ParseRecord([]byte(item.JSON()))
		if err != nil {
			return nil, notAnswer(answer, fmt.Errorf("entry %d of the list: %w", i+1, err))
		}
		if err := e.kept(m, r); err != nil {
			return nil, err
		}
		made = append(made, m)
	}
	return made, nil
}

// kept checks the fields that must be as they were.
func (e *Exec) kept(m, r *pipeline.Record) error {
	for _, name := range e.config.Keeps {
		was, had := r.Lookup(name)
		is, has := m.Lookup(name)
		if had != has || !sameValue(was, is) {
			return fmt.Errorf("the answer to a record whose %[1]s is %[2]s has %[1]s %[3]s: the command has changed it, or answered another record", name, show(was, had), show(is, has))
		}
	}
	return nil
}

// sameValue reports whether two values say the same; 1.50 is 1.5.
func sameValue(a, b pipeline.Value) bool {
	if a.Kind() == b.Kind() && a.Text() == b.Text() {
		return true
	}
	x, errX := a.Any()
	y, errY := b.Any()
	if a.Kind() == '0' && b.Kind() == '0' {
		x, errX = strconv.ParseFloat(a.Text(), 64)
		y, errY = strconv.ParseFloat(b.Text(), 64)
	}
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func show(v pipeline.Value, there bool) string {
	if !there {
		return "missing"
	}
	return coprocess.Excerpt(v.AppendJSON(nil))
}
