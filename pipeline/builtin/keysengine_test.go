package builtin_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

var errScript = errors.New("as the script says")

// failing fails so often for each record, then works.
func failing(times int) script {
	return func(c *call) error {
		if c.attempt <= times {
			return pipeline.Transient("script", errScript)
		}
		return nil
	}
}

// down fails for the first calls of all.
func down(total int) script {
	return func(c *call) error {
		if c.total <= total {
			return pipeline.Transient("script", errScript)
		}
		return nil
	}
}

// slow takes ten seconds for the first row, and one for each of the others.
func slow(c *call) error {
	if c.n == 1 {
		time.Sleep(9 * time.Second)
	}
	time.Sleep(time.Second)
	return nil
}

// tardy takes a minute for the first answer to a row, and a second for the others.
func tardy(c *call) error {
	takes := time.Second
	if c.attempt == 1 {
		takes = time.Minute
	}
	select {
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-time.After(takes):
		return nil
	}
}

func works(*call) error { return nil }

// always is more failures than there are attempts.
const always = 1 << 30

func engineKeyCases() []keyCase {
	// staged is a pipeline of one stage, with keys of the engine, over rows that count.
	staged := func(rows int, keys string) string {
		return fmt.Sprintf(`
name: keys
source: {range: {to: %d}}
stages: [{scripted: {}%s}]
sink: {file: {path: DIR/out.jsonl}}
stop_when: off
`, rows, keys)
	}
	// tardily is a pipeline of a stage that asks; its further keys are to follow.
	tardily := func(rows int) string {
		return fmt.Sprintf(`
source: {range: {to: %d}}
sink: {file: {path: DIR/out.jsonl}}
stages:
  - asking: {}
    parallelism: 1
    ordered: true
`, rows)
	}
	const recorded = `
source: {range: {to: 6}}
stages: [{scripted: {}, parallelism: 1}]
sink: {recorder: {}, flush: {records: 100, every: 1m}}
dead_letter: {file: {path: DIR/dead.jsonl}}
`
	// odd is a pipeline in which every second row fails.
	const odd = `
source: {range: {to: 40}}
stages: [{scripted: {}, parallelism: 1}]
sink: {file: {path: DIR/out.jsonl}}
`
	fails := func(c *call) error {
		time.Sleep(time.Second) // until the row before has arrived at the sink
		if c.n%2 == 1 {
			return errScript
		}
		return nil
	}
	const keyed = `
source: {values: {rows: [{id: a, other: b}]}}
stages: [{filter: {where: id > 1}}]
sink: {file: {path: DIR/out.jsonl}}
`
	patient := []aspect{counts, asked, clocks}
	parted := staged(1, "")
	return []keyCase{
		{key: "pipeline: name", yaml: counting, values: []string{"one", "two"}, see: []aspect{named}},
		{key: "pipeline: source", yaml: counting, values: []string{"{range: {to: 1}}", "{values: {rows: [a]}}"}},
		{key: "pipeline: sources", yaml: several, values: []string{"[{range: {to: 1}}]", "[{range: {to: 2}}, {range: {from: 7, to: 8}}]"}},
		{key: "pipeline: merge", yaml: several, values: []string{"concat", "interleave"}},
		{key: "pipeline: sinks", yaml: several, values: []string{"[{file: {path: DIR/a.jsonl}}]", "[{file: {path: DIR/a.jsonl}}, {file: {path: DIR/b.jsonl}, when: i > 1}]"}},
		{key: "pipeline: route", yaml: several, values: []string{"all", "first"}},
		{key: "sink: when", at: "sinks[1].when", yaml: several, values: []string{"i > 1", "i > 2"}},
		{key: "pipeline: stages", yaml: counting, values: []string{"[]", "[{filter: {where: i > 1}}]"}},
		{key: "pipeline: sink", yaml: counting, values: []string{"{file: {path: DIR/a.jsonl}}", "{text: {path: DIR/a.md, template: '{{.i}}'}}"}},
		{key: "pipeline: dead_letter", yaml: odd, values: []string{"", "{file: {path: DIR/other.jsonl}}"}, see: []aspect{dead}, script: fails},
		{key: "pipeline: stop_when", yaml: staged(300, ", retry: {attempts: 1}, breaker: off"), values: []string{"off", "{}"}, see: []aspect{code}, script: failing(1)},
		{key: "pipeline: stop_when.dead_letters", yaml: odd + "stop_when: {after: 10}", values: []string{"60%", "40%"}, see: []aspect{code}, script: fails},
		{key: "pipeline: stop_when.after", yaml: odd + "stop_when: {dead_letters: 40%}", values: []string{"1000", "10"}, see: []aspect{code}, script: fails},
		{
			key: "pipeline: drain_timeout", yaml: staged(1, ", timeout: off"), values: []string{"5s", "1m"}, see: []aspect{clocks},
			script: func(c *call) error { return hang(c.ctx) }, stop: time.Second,
		},

		{key: "pipeline: state", yaml: counting, values: []string{"off", "DIR/one"}, see: []aspect{kept}},

		{key: "source: key", yaml: keyed, values: []string{"id", "other"}, see: []aspect{dead}},
		{key: "sink: flush.records", yaml: recorded, values: []string{"1", "3"}, script: works, see: []aspect{asked}},
		{
			key: "sink: flush.every", yaml: recorded, values: []string{"1s", "1m"}, see: []aspect{asked},
			script: func(*call) error { time.Sleep(2 * time.Second); return nil },
		},

		{key: "stage: name", yaml: staged(1, ", retry: {attempts: 1}"), values: []string{"one", "two"}, script: failing(1)},
		{key: "stage: parallelism", yaml: staged(8, ""), values: []string{"1", "2", "8"}, script: func(*call) error { time.Sleep(time.Second); return nil }, see: []aspect{clocks}},
		{key: "stage: ordered", yaml: staged(4, ", parallelism: 2"), values: []string{"true", "false"}, script: slow},
		{key: "stage: reorder_window", yaml: staged(8, ", parallelism: 2"), values: []string{"100", "2"}, script: slow, see: []aspect{clocks}},
		{key: "stage: retry.attempts", yaml: staged(1, ", retry: {backoff: 1ms}"), values: []string{"1", "2", "3"}, script: failing(2)},
		{
			key: "stage: retry.backoff", yaml: staged(1, ", retry: {attempts: 9, max_backoff: 10h}"), values: []string{"1ms", "1h"}, script: failing(8),
			see: []aspect{output, counts, takes(time.Minute)}, // the pauses are random
		},
		{
			key: "stage: retry.max_backoff", yaml: staged(1, ", retry: {attempts: 40, backoff: 10ms}, breaker: off"), values: []string{"10ms", "10h"}, script: failing(39),
			see: []aspect{output, counts, takes(time.Minute)},
		},
		{
			key: "stage: retry.run_budget", yaml: staged(110, ", parallelism: 1, retry: {attempts: 4, backoff: 1ms}, breaker: off"), values: []string{"0.01%", "1000%"}, script: failing(3),
			see: []aspect{output, counts},
		},
		{key: "stage: breaker", yaml: staged(30, ", parallelism: 1, retry: {attempts: 1}"), values: []string{"off", "{}"}, script: failing(always), see: []aspect{code, counts, clocks}},
		{key: "stage: breaker.failure_rate", yaml: staged(30, ", parallelism: 1, retry: {attempts: 1}"), values: []string{"80%", "100%"}, script: down(18), see: patient},
		{key: "stage: breaker.open_for", yaml: staged(30, ", parallelism: 1, retry: {attempts: 1}"), values: []string{"15s", "1m"}, script: down(18), see: patient},
		{key: "stage: breaker.max_pause", yaml: staged(30, ", parallelism: 1, retry: {attempts: 1}"), values: []string{"1m", "1h"}, script: failing(always), see: []aspect{code, counts, clocks}},
		{
			key: "stage: timeout", yaml: staged(1, ", retry: {attempts: 1}"), values: []string{"1s", "1m", "off"},
			script: func(c *call) error {
				select {
				case <-c.ctx.Done():
					return c.ctx.Err()
				case <-time.After(time.Hour):
					return nil
				}
			},
		},
		{key: "stage: timeout.total", yaml: staged(1, ", retry: {attempts: 1}"), values: []string{"1s", "1m"}, script: func(c *call) error { return hang(c.ctx) }, see: []aspect{clocks}},
		{key: "stage: timeout.connect", yaml: parted, values: []string{"1s", "20s"}, script: func(c *call) error { time.Sleep(c.deadlines.Connect); return nil }, see: []aspect{clocks}},
		{key: "stage: timeout.first_byte", yaml: parted, values: []string{"1s", "20s"}, script: func(c *call) error { time.Sleep(c.deadlines.FirstByte); return nil }, see: []aspect{clocks}},
		{key: "stage: timeout.idle", yaml: parted, values: []string{"1s", "20s"}, script: func(c *call) error { time.Sleep(c.deadlines.Idle); return nil }, see: []aspect{clocks}},
		{key: "stage: hedge", yaml: tardily(1), values: []string{"off", "{after: 1s, at_most: 100%}"}, script: tardy, see: []aspect{clocks}},
		{key: "stage: hedge.after", yaml: tardily(1) + "    hedge: {at_most: 100%}\n", values: []string{"1s", "5s"}, script: tardy, see: []aspect{clocks}},
		{key: "stage: hedge.at_most", yaml: tardily(40) + "    hedge: {after: 1s}\n", values: []string{"5%", "100%"}, script: tardy, see: []aspect{takes(10 * time.Minute)}},
		{key: "stage: on_error", yaml: staged(1, ", retry: {attempts: 1}"), values: []string{"dead_letter", "stop", "drop"}, script: failing(1)},
		{key: "stage: when", yaml: staged(4, ""), values: []string{"i > 2", "i > 3"}, script: works, see: []aspect{asked}},
	}
}

// several is a pipeline with two sources and two sinks.
const several = `
name: keys
sources: [{range: {to: 2}}, {range: {from: 5, to: 8}}]
sinks: [{file: {path: DIR/out.jsonl}}, {file: {path: DIR/some.jsonl}, when: i > 5}]
`
