package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// How often the progress is shown.
const (
	liveEvery  = 200 * time.Millisecond
	plainEvery = 10 * time.Second
)

// sourceFlags are the flags of all commands that load a pipeline.
type sourceFlags struct {
	set     []string
	envFile string
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "override a key: `path=value`, like stages[0].llm.model=gpt-4.1; may be repeated")
	cmd.Flags().StringVar(&f.envFile, "env-file", "", "read variables from this `file`, not from the .env beside the pipeline or above it")
}

// runFlags are the flags of run.
type runFlags struct {
	sourceFlags
	limit                       int64
	fresh, noPreflight, noState bool
	onlyNew                     bool
	state                       string
	syncEvery                   time.Duration
	retry                       *retry // the command is retry; else nil
	progress, summary, logLevel choice
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a pipeline",
		Long: `Run the pipeline in a YAML file.

A run that was stopped, failed or killed goes on where it was when it is run again:
what was paid for is not paid again, and no row is written twice. What it needs for that
is in .rowmill/<name>. A run that is finished has nothing to do; --fresh starts over.
Rows that were added behind the others are done without that. Where the source has a key,
--new takes all rows that are new or have changed, wherever they stand.

Ctrl-C stops reading, finishes what is in flight and writes it; a second one aborts.
Standard output carries rows only (a sink with path: "-"), everything else goes to
standard error. Variables (${NAME}) come from the environment, and below it from a
.env file beside the pipeline's, or in the nearest folder above.

` + exitHelp,
		Example: `  rowmill run pipelines/quickstart.yaml
  rowmill run triage.yaml --limit 3
  rowmill run triage.yaml --set stages.label.parallelism=4 --fresh
  rowmill run triage.yaml --new
  rowmill run triage.yaml --summary json 2>log; tail -n 1 log | jq .counts`,
		Args:              oneFile,
		ValidArgsFunction: pipelineFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runFile(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	f.add(cmd, "keep the state of the run in this `folder`, not in .rowmill/<name>")
	flags.Int64Var(&f.limit, "limit", 0, "read this `number` of rows only; 0 is all of them")
	flags.BoolVar(&f.fresh, "fresh", false, "start over: overwrite the output of an earlier run, and forget how far it got")
	flags.BoolVar(&f.onlyNew, "new", false, "take the rows only whose key and content are not done yet, whatever else has become of the source")
	flags.BoolVar(&f.noState, "no-state", false, "keep no state: a run that ends early cannot go on")
	cmd.MarkFlagsMutuallyExclusive("state", "no-state")
	cmd.MarkFlagsMutuallyExclusive("sync-every", "no-state")
	cmd.MarkFlagsMutuallyExclusive("new", "no-state")
	cmd.MarkFlagsMutuallyExclusive("new", "fresh")
	return cmd
}

// add adds the flags that run and retry share; state says what is to be said of --state.
func (f *runFlags) add(cmd *cobra.Command, state string) {
	flags := cmd.Flags()
	f.sourceFlags.add(cmd)
	flags.StringVar(&f.state, "state", "", state)
	flags.DurationVar(&f.syncEvery, "sync-every", 50*time.Millisecond,
		"how much of the last answers a power cut may take (a kill takes none); 0 makes each durable before it is used, which is slower")
	flags.BoolVar(&f.noPreflight, "no-preflight", false, "do not check outputs, keys, models and prompts before the first row")
	addChoice(cmd, &f.progress, "progress", "how to show progress: a live line on a terminal, a line now and then elsewhere", "auto", "plain", "none")
	addChoice(cmd, &f.summary, "summary", "the summary's form; json is one object, the last line of standard error", "text", "json")
	addChoice(cmd, &f.logLevel, "log-level", "what to log at least", "info", "debug", "warn", "error")
}

// check refuses values that mean nothing.
func (f *runFlags) check() error {
	if f.limit < 0 {
		return fmt.Errorf("--limit %d: must be 0 or more", f.limit)
	}
	if f.syncEvery < 0 {
		return fmt.Errorf("--sync-every %v: must be 0s or more", f.syncEvery)
	}
	return nil
}

// options are what the flags say of a run.
func (f *runFlags) options(p pipeline.Pipeline, logger *slog.Logger) engine.Options {
	o := engine.Options{
		Logger: logger, Limit: f.limit, Fresh: f.fresh, New: f.onlyNew, Preflight: !f.noPreflight, State: stateFolder(p, *f), SyncEvery: f.syncEvery,
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = -1 // its 0 is the default
	}
	return o
}

func oneFile(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return fmt.Errorf("%s needs the FILE of a pipeline", cmd.Name())
	case 1:
		return nil
	default:
		return fmt.Errorf("%s takes one FILE", cmd.Name())
	}
}

func (a *app) runFile(ctx context.Context, path string, f runFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	talk := newScreen(a.stderr, a.getenv)
	o := a.execute(ctx, path, f, talk, newLogger(talk, level(f.logLevel)))
	talk.end()
	if err := a.conclude(o, f, talk); err != nil {
		return err
	}
	if code := o.code(); code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// execute loads and runs a pipeline.
func (a *app) execute(ctx context.Context, path string, f runFlags, talk *screen, logger *slog.Logger) outcome {
	options, err := a.loadOptions(path, f.sourceFlags, logger, talk)
	if err != nil {
		return outcome{err: &refusal{err}}
	}
	options.Env.Stdout = talk.data(a.stdout)
	p, err := load.File(path, options)
	if err == nil && f.retry != nil {
		p, err = f.retry.load(path, options, p)
	}
	if err != nil {
		return outcome{err: &refusal{err}}
	}
	signals, release := a.catch()
	defer release()
	if !f.noPreflight {
		logger.Debug("checking outputs, keys, models and prompts before the first row")
	}
	e, err := a.start(ctx, p, f, f.options(p, logger))
	if err != nil {
		return outcome{err: &refusal{err}}
	}
	show, every := progress(f.progress.value, talk)
	o := outcome{sink: p.SinkName}
	o.signal = follow(e, signals, talk, show, every, a.exit)
	o.summary, o.err = e.Wait()
	o.began = !errors.As(o.err, new(*engine.PreflightError))
	return o
}

// stateFolder is where the run keeps its state: as the flags say, else the file, else
// .rowmill/<name>. What goes to standard output cannot be gone on with: unless somebody
// asks for it nothing is kept.
func stateFolder(p pipeline.Pipeline, f runFlags) string {
	switch {
	case f.noState:
		return "off"
	case f.state != "":
		return f.state
	case p.State != "":
		return p.State
	case engine.DeliveryOf(p.Sink) == pipeline.NotKept:
		return "off"
	default:
		return filepath.Join(".rowmill", p.Name)
	}
}

func level(c choice) slog.Level {
	var l slog.Level
	must(l.UnmarshalText([]byte(c.value)))
	return l
}

// loadOptions is what loading a file needs; warnings go to talk.
func (a *app) loadOptions(path string, f sourceFlags, logger *slog.Logger, talk io.Writer) (load.Options, error) {
	registry, err := builtin.Registry()
	if err != nil {
		return load.Options{}, err
	}
	env, err := readEnvironment(a.lookupEnv, path, f.envFile)
	if err != nil {
		return load.Options{}, err
	}
	if env.file != "" {
		logger.Debug("variables are read from a file", "file", env.file)
	}
	return load.Options{
		Registry: registry,
		Env:      pipeline.Env{Logger: logger, Getenv: env.Getenv, Stdin: a.stdin, Stdout: a.stdout},
		Set:      f.set,
		Warn:     func(m load.Mistake) { say(talk, "rowmill: warning: %s\n", printable(m.Error())) },
	}, nil
}

func (a *app) getenv(name string) string {
	value, _ := a.lookupEnv(name)
	return value
}

// progress returns how to show the progress, and how often.
func progress(mode string, talk *screen) (show func(engine.Snapshot), every time.Duration) {
	var speed pace
	line := func(s engine.Snapshot, width int) string {
		return progressLine(s, speed.at(s.Elapsed, doneRows(s)), time.Now(), width)
	}
	switch {
	case mode == "none":
		return func(engine.Snapshot) {}, time.Hour
	case mode == "auto" && talk.width != nil:
		return func(s engine.Snapshot) { talk.show(line(s, talk.columns())) }, liveEvery
	default:
		return func(s engine.Snapshot) { say(talk, "rowmill: %s\n", line(s, 0)) }, plainEvery
	}
}

// conclude says how the run ended: summary, reason, and what to do next.
func (a *app) conclude(o outcome, f runFlags, talk io.Writer) error {
	if o.summary.NothingToDo && o.err == nil {
		say(talk, "rowmill: nothing to do: %s\n", o.nothingToDo())
	} else if o.began && f.summary.value == "text" {
		say(talk, "\n%s\n", summaryText(o.summary, o.verdict(), o.sink))
	}
	if o.err != nil && !o.interrupted() {
		complain(talk, o.err)
	}
	if advice := o.advice(); advice != "" {
		say(talk, "rowmill: %s\n", advice)
	}
	if f.summary.value != "json" {
		return nil
	}
	line, err := o.report().line()
	if err != nil {
		return &exitError{code: exitFailed, err: err}
	}
	say(talk, "%s", line)
	return nil
}
