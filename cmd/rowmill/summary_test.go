package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/policy"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages"
)

func TestSummaryText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		summary       engine.Summary
		verdict, sink string
		want          string
	}{
		"all is well": {
			engine.Summary{Name: "facts", Elapsed: 2400 * time.Millisecond, Counts: engine.Counts{Read: 100, Delivered: 100}},
			"finished", "file out/facts.jsonl",
			`
facts finished after 2.4s, 42 rows/s

  read                   100
  delivered              100   to file out/facts.jsonl

  100 read = 100 delivered
`,
		},
		"went on": {
			engine.Summary{
				Name: "facts", Elapsed: 2 * time.Second, Counts: engine.Counts{Read: 100, Delivered: 100}, Resumed: true, DoneBefore: 60, Replayed: 1,
				Stages: []engine.StageSummary{
					{Name: "llm", Calls: 39, Attempts: 40, Retries: 1, Usage: map[string]int64{"input_tokens": 2000, "output_tokens": 10}},
					{Name: "judge", Usage: map[string]int64{"input_tokens": 3000}},
					{Name: "other", Attempts: 7},
				},
			},
			"finished", "file out/facts.jsonl",
			`
facts finished after 2.0s, 20 rows/s

  went on with an earlier run, which had done 60 rows; 1 answer taken from its journal

  read                   100
  delivered              100   to file out/facts.jsonl

  llm     40 requests, 1 retry; with the earlier run 2,000 input tokens, 10 output tokens
  judge   with the earlier run 3,000 input tokens
  other   7 requests

  100 read = 100 delivered
`,
		},
		"losses before it went on": {
			engine.Summary{
				Name: "facts", Elapsed: 2 * time.Second, Counts: engine.Counts{Read: 100, Delivered: 95, DeadLettered: 4, DroppedOnError: 1}, Resumed: true, DoneBefore: 60,
				DeadLetters: "dead.jsonl", Reasons: []engine.Reason{{Stage: "llm", Code: "http_400", Message: "too long", Count: 2}},
			},
			"finished", "file out/facts.jsonl",
			`
facts finished after 2.0s, 20 rows/s

  went on with an earlier run, which had done 60 rows

  read                   100
  delivered               95   to file out/facts.jsonl
  dropped on error         1
  dead letters             4   in dead.jsonl

  2 failed in llm (http_400), such as: too long
  3 failed in the earlier run

  100 read = 95 delivered + 1 dropped on error + 4 dead-lettered
`,
		},
		"losses": {
			engine.Summary{
				Name: "triage", Elapsed: 187 * time.Second,
				Counts: engine.Counts{Read: 1817, Delivered: 1800, Dropped: 5, DroppedOnError: 3, DeadLettered: 9},
				Stages: []engine.StageSummary{
					{Name: "filter", Calls: 1817},
					{Name: "label", Calls: 1812, Attempts: 1900, Retries: 1, Refusals: 80, Usage: map[string]int64{"input_tokens": 123456, "output_tokens": 789, "cached_input_tokens": 0}},
					{Name: "check-it", Calls: 1, Attempts: 2, Hedges: 1, HedgesWon: 1, Endpoints: []policy.EndpointState{{Name: "eu", Attempts: 1, Out: "401: bad key"}, {Name: "us", Attempts: 1, Limits: []policy.FoundLimit{{Kind: policy.Requests, PerMinute: 600, By: "headers"}, {Kind: policy.Tokens, PerMinute: 9000, By: "configuration"}}}}},
				},
				Reasons: []engine.Reason{
					{Stage: "label", Code: "length", Message: "cut off\nby max_tokens", Count: 5},
					{Stage: "label", Code: "refusal", Message: strings.Repeat("no ", 100), Count: 2},
					{Stage: "source", Code: "json", Message: "x", Count: 1},
					{Stage: "label", Code: "panic", Message: "x", Count: 1},
				},
				DeadLetters: "out/triage.dead.jsonl", RepeatedKeys: 4,
			},
			"finished", "file out/triage.jsonl",
			`
triage finished after 3m07s, 9.7 rows/s

  read                 1,817
  delivered            1,800   to file out/triage.jsonl
  filtered                 5
  dropped on error         3
  dead letters             9   in out/triage.dead.jsonl
  repeated keys            4   rows whose key an earlier row had

  5 failed in label (length), such as: cut off by max_tokens
  2 failed in label (refusal), such as: ` + strings.Repeat("no ", 27) + "no…" + strings.Repeat("no ", 40) + `
  1 failed in source (json): x
  1 failed for other reasons

  label      1,900 requests, 1 retry, 80 refused, 123,456 input tokens, 789 output tokens
  check-it   2 requests, 1 hedged (1 answered first)
             asked: 1 eu, 1 us
             eu was asked no more: 401: bad key
             found: us 600 requests a minute (headers)

  1,817 read = 1,800 delivered + 5 filtered + 3 dropped on error + 9 dead-lettered
`,
		},
		"split, merged, stopped": {
			engine.Summary{Name: "x", Elapsed: time.Second, Counts: engine.Counts{Read: 10, Made: 20, Merged: 5, Delivered: 15, Unfinished: 10}},
			"stopped", "",
			`
x stopped after 1.0s, 6.0 rows/s

  read                    10
  made by splits          20
  merged                   5
  delivered               15
  unfinished              10

  10 read + 20 made by splits − 5 merged = 15 delivered + 10 unfinished
`,
		},
		"no rows": {
			engine.Summary{Name: "x", Elapsed: 3 * time.Millisecond},
			"finished", "",
			`
x finished after 3ms, no rows

  read                     0
  delivered                0

  0 read = 0 delivered
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := "\n" + summaryText(c.summary, c.verdict, c.sink)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOutcomeCode(t *testing.T) {
	t.Parallel()
	losses := engine.Summary{Counts: engine.Counts{Read: 2, Delivered: 1, DeadLettered: 1}}
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		outcome outcome
		want    int
	}{
		"all delivered":           {outcome{summary: engine.Summary{Counts: engine.Counts{Read: 2, Delivered: 1, Dropped: 1}}}, 0},
		"dead letters":            {outcome{summary: losses}, 3},
		"dropped on error":        {outcome{summary: engine.Summary{Counts: engine.Counts{Read: 1, DroppedOnError: 1}}}, 3},
		"failed":                  {outcome{err: boom}, 1},
		"failed, with losses":     {outcome{summary: losses, err: boom}, 1},
		"unfinished, unexplained": {outcome{summary: engine.Summary{Counts: engine.Counts{Read: 1, Unfinished: 1}}}, 1},
		"configuration":           {outcome{err: &refusal{boom}}, 2},
		"preflight":               {outcome{err: &engine.PreflightError{Err: boom}}, 2},
		"SIGINT":                  {outcome{signal: os.Interrupt}, 130},
		"SIGTERM":                 {outcome{signal: syscall.SIGTERM}, 143},
		"SIGINT and a failure":    {outcome{summary: losses, err: boom, signal: os.Interrupt}, 130},
		"SIGINT in preflight":     {outcome{err: &engine.PreflightError{Err: boom}, signal: os.Interrupt}, 130},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.outcome.code(); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	o := outcome{
		summary: engine.Summary{Name: "x", Elapsed: 1500 * time.Millisecond, Counts: engine.Counts{Read: 3, Delivered: 2, DeadLettered: 1}, DeadLetters: "x.dead.jsonl"},
		err:     errors.New("bad \xff bytes\nand lines"), sink: "file out.jsonl",
	}
	line, err := o.report().line()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Errorf("want one line, got %q", line)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want := map[string]any{
		"name": "x", "outcome": "failed", "exit_code": 1.0, "error": "bad \uFFFD bytes\nand lines",
		"elapsed_seconds": 1.5, "rows_per_second": 2.0,
		"counts": map[string]any{
			"read": 3.0, "made": 0.0, "merged": 0.0, "delivered": 2.0, "dropped": 0.0,
			"dropped_on_error": 0.0, "dead_lettered": 1.0, "unfinished": 0.0,
		},
		"stages": []any{}, "reasons": []any{}, "output": "file out.jsonl", "dead_letters": "x.dead.jsonl",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTimeText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		time engine.StageTime
		want string
	}{
		{"short", engine.StageTime{InFlight: 1, Backoff: 1}, ""},
		{"the server alone", engine.StageTime{InFlight: 100, Server: 95, Window: 5}, ""},
		{"the largest first", engine.StageTime{InFlight: 760, Server: 200, Limiter: 460, Backoff: 96, Sink: 1}, "12m40s in flight: 61% rate limit, 26% server, 13% backoff"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := timeText(tc.time); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestFoundText(t *testing.T) {
	t.Parallel()
	s := engine.StageSummary{Concurrency: 12, Limits: []policy.FoundLimit{
		{Kind: policy.Requests, PerMinute: 6000, By: "headers"}, {Kind: policy.Tokens, PerMinute: 5, By: "configuration"},
	}}
	if got, want := foundText(s), "found: 6,000 requests a minute (headers); 12 at once"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := foundText(engine.StageSummary{}); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}

// TestWherePromisesEnd: the summary, and validate, say it of components of go-streams.
func TestWherePromisesEnd(t *testing.T) {
	t.Parallel()
	loose := pipeline.Step{Stage: engine.Loose[*pipeline.Record, *pipeline.Record](engine.Chain()), StepOptions: pipeline.StepOptions{Name: "throttle"}}
	p := pipeline.Pipeline{Source: sources.Slice([]struct{ N int }{{1}, {2}}), Steps: []pipeline.Step{loose}, Sink: sinks.Discard{}}
	s, err := engine.Run(t.Context(), p, engine.Options{State: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	text := summaryText(s, "finished", "")
	for _, want := range []string{
		"absorbed                 2   by go-streams operators", "4 read = 2 delivered + 2 absorbed",
		"stage throttle is a go-streams operator: what goes in is absorbed", "no state is kept: stage throttle is",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the summary lacks %q:\n%s", want, text)
		}
	}
	for _, want := range []string{"throttle", "a go-streams operator: what goes in is absorbed", "no state is kept: stage throttle is"} {
		if text := outline(p); !strings.Contains(text, want) {
			t.Errorf("the outline lacks %q:\n%s", want, text)
		}
	}
}

// TestRowsThatArePutTogether: the summary says how many rows come of others, and validate
// where they wait for each other.
func TestRowsThatArePutTogether(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]engine.Counts{
		"read                    12   2 of them put together of others": {Read: 12, Collected: 2, Delivered: 2, Absorbed: 10},
		"absorbed                10   into those":                       {Read: 12, Collected: 2, Delivered: 2, Absorbed: 10},
		"absorbed                10   to be put together":               {Read: 10, Absorbed: 10},
	} {
		if text := summaryText(engine.Summary{Counts: c}, "finished", ""); !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	reduce, err := stages.NewReduce(stages.ReduceConfig{Aggregates: stages.Aggregates{Count: "n", AtMost: 1}}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.Pipeline{Source: sources.Slice([]struct{ N int }{{1}}), Steps: []pipeline.Step{{Stage: reduce, StepOptions: pipeline.StepOptions{Name: "counted"}}}, Sink: sinks.Discard{}}
	if text := outline(p); !strings.Contains(text, "counted") || !strings.Contains(text, "puts all rows together before the next stage begins") {
		t.Errorf("validate says\n%s", text)
	}
}
