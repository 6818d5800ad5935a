package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rowmill/rowmill/internal/simulator"
	"github.com/rowmill/rowmill/pipeline"
)

func (a *app) simulateCommand() *cobra.Command {
	o := simulator.Defaults()
	address := "127.0.0.1:8080"
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated provider, to try pipelines out without a key",
		Long: `Listen as an OpenAI-compatible provider that makes its answers up: the same prompt
always gets the same answer. It has the limits, headers and misfortunes of the real
ones, as far as asked for. It is for trying things out, and for your own tests.

Its address is printed on standard output, once it listens. Ctrl-C or SIGTERM ends
it (exit code 0) and prints what has happened; GET /simulator/ledger says so at any
time.

Faults: transient (each of those that another attempt may mend, at that rate), or
` + wrapped(faultNames()),
		Example: `  rowmill simulate --latency 300ms --latency-spread 0.5
  rowmill simulate --requests-per-minute 600 --fault error500=2% --fault reset=1%
  rowmill simulate --address 127.0.0.1:0 --dialect azure --fault transient=3%`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.simulate(cmd.Context(), address, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&address, "address", address, "listen at this `host:port`; port 0 is any that is free")
	addSimulatorFlags(flags, &o)
	must(cmd.RegisterFlagCompletionFunc("dialect", cobra.FixedCompletions(
		[]string{simulator.DialectOpenAI, simulator.DialectAzure, simulator.DialectAnthropic, simulator.DialectPlain}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// addSimulatorFlags adds a flag for every one of the Options.
func addSimulatorFlags(flags *pflag.FlagSet, o *simulator.Options) {
	flags.Int64Var(&o.Seed, "seed", o.Seed, "the seed of all that is drawn: answers, latencies, faults")
	flags.Var(text{&o.Latency, "duration"}, "latency", "mean time until an answer")
	flags.Float64Var(&o.LatencySpread, "latency-spread", o.LatencySpread, "how much the latency varies: 0 is constant, 0.5 usual, 1 has a long tail")
	flags.IntVar(&o.RequestsPerMinute, "requests-per-minute", o.RequestsPerMinute, "above so many a minute, requests are refused (429); 0 is no limit")
	flags.IntVar(&o.TokensPerMinute, "tokens-per-minute", o.TokensPerMinute, "above so many tokens a minute, requests are refused; 0 is no limit")
	flags.Var(text{&o.LimitWindow, "duration"}, "limit-window", "the time over which the limits are enforced")
	flags.StringVar(&o.Dialect, "dialect", o.Dialect, "whose headers and errors are sent: `openai|azure|anthropic|plain`")
	flags.StringSliceVar(&o.Models, "model", o.Models, "a `name` of a model that exists; may be repeated; others are then answered with 404")
	flags.Var(text{&o.APIKey, "key"}, "api-key", "the key that is asked for; none accepts all")
	flags.IntVar(&o.MaxContext, "max-context", o.MaxContext, "the most tokens a prompt may have; 0 is no limit")
	flags.IntVar(&o.QuotaAfter, "quota-after", o.QuotaAfter, "after so many requests the quota is spent; 0 is never")
	flags.Var(text{&o.RetryAfter, "duration"}, "retry-after", "what a refusal by the fault rate_limit asks the client to wait")
	flags.IntVar(&o.Remember, "remember", o.Remember, "how many different prompts are remembered, to count what is paid again")
	flags.Var(faultFlag{&o.Faults}, "fault", "the share of requests that meet a fault, like rate_limit=5%; may be repeated")
}

// faultFlag sets the shares of faults by their names.
type faultFlag struct{ faults *simulator.Faults }

var _ pflag.Value = faultFlag{}

// Set takes "error500=2%".
func (f faultFlag) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("must be of the form name=share, like rate_limit=5%%")
	}
	var share pipeline.Share
	if err := share.UnmarshalText([]byte(value)); err != nil {
		return err
	}
	if name == "transient" {
		*f.faults = simulator.Transient(share)
		return nil
	}
	faults := reflect.ValueOf(f.faults).Elem()
	for i := range faults.NumField() {
		if faultName(faults.Type().Field(i)) == name {
			faults.Field(i).Set(reflect.ValueOf(share))
			return nil
		}
	}
	return fmt.Errorf("there is no fault %q; there are transient, %s", name, strings.Join(faultNames(), ", "))
}

// String is empty: no fault is the default.
func (f faultFlag) String() string { return "" }

// Type returns what stands for the value in the help.
func (f faultFlag) Type() string { return "name=share" }

func faultName(f reflect.StructField) string { return f.Tag.Get("yaml") }

func faultNames() []string {
	t := reflect.TypeFor[simulator.Faults]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = faultName(t.Field(i))
	}
	return names
}

// wrapped lists words in lines that fit the help.
func wrapped(words []string) string {
	var b strings.Builder
	used := 0
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		switch {
		case used > 0 && used+1+len(w) > 84:
			b.WriteString("\n")
			used = 0
		case used > 0:
			b.WriteString(" ")
			used++
		}
		b.WriteString(w)
		used += len(w)
	}
	return b.String()
}

func (a *app) simulate(ctx context.Context, address string, o simulator.Options) error {
	if err := o.Validate(); err != nil {
		return &exitError{exitUsage, err}
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("--address %q: want host:port, like 127.0.0.1:8080", address)
	}
	signals, release := a.catch()
	defer release()
	server := simulator.New(o)
	url, err := server.Start(address)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	if err := a.print(url + "\n"); err != nil {
		return errors.Join(err, server.Close())
	}
	say(a.stderr, `A simulated provider listens. In a pipeline:

  stages:
    - llm: {base_url: "%s", model: any, prompt: "{{.text}}"}

Press Ctrl-C to end it.
`, url)
	waitFor(ctx, signals)
	err = server.Close()
	a.printLedger(server.Ledger())
	if err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

func waitFor(ctx context.Context, signals <-chan os.Signal) {
	select {
	case <-ctx.Done():
	case <-signals:
	}
}

// printLedger says what has happened.
func (a *app) printLedger(l simulator.Ledger) {
	w := tabwriter.NewWriter(a.stderr, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(name string, n int64) { say(w, "%s\t%s\t\n", name, humanize.Comma(n)) }
	say(a.stderr, "\n")
	line("requests", l.Requests)
	line("answered", l.Answered)
	line("refused by limits", l.Refused)
	line("wrong themselves", l.Rejected)
	line("given up by the client", l.Abandoned)
	for _, name := range slices.Sorted(maps.Keys(l.Faults)) {
		line("fault "+name, l.Faults[name])
	}
	line("most at once", l.PeakInFlight)
	line("connections", l.Connections)
	line("different prompts", l.Prompts)
	line("paid answers", l.Paid)
	line("paid again", l.PaidAgain)
	line("tokens in", l.PromptTokens)
	line("tokens out", l.CompletionTokens)
	_ = w.Flush() // nobody reads it
}
