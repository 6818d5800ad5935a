package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// runDoomed runs a pipeline, or its dead letters again, in this process, which may not
// see the end of it.
func runDoomed(spec string) int {
	path, where, _ := strings.Cut(spec, "|")
	point, nth, _ := strings.Cut(where, ":")
	nth, retry := strings.CutSuffix(nth, "|retry")
	d := &doom{point: point}
	n, _ := strconv.Atoi(nth)
	d.left.Store(int64(n))
	if err := doomedRun(path, d, retry); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func doomedRun(path string, d *doom, retry bool) error {
	registry, err := builtin.Registry()
	if err != nil {
		return err
	}
	o := load.Options{Registry: registry}
	again := engine.Retry{DeadLetters: filepath.Join(filepath.Dir(path), "dead.jsonl"), Again: filepath.Join(filepath.Dir(path), "again.jsonl")}
	if retry {
		o.Set = []string{"dead_letter.file.path=" + again.Again, `stages[0].llm.prompt='mended {{.i}}'`}
	}
	p, err := load.File(path, o)
	if err != nil {
		return err
	}
	p.Sink = doomedSink{p.Sink, d, pointWritten}
	p.DeadLetter = doomedSink{p.DeadLetter, d, pointDead}
	options := engine.Options{State: filepath.Join(filepath.Dir(path), "state")}.On(doomedFS{fsys.OS{}, d}, 5*time.Millisecond)
	if !retry {
		_, err = engine.Run(context.Background(), p, options)
		return err
	}
	e, err := engine.StartRetry(context.Background(), p, options, again)
	if errors.Is(err, engine.ErrNoDeadLetters) { // the one that was killed had done everything
		return nil
	}
	if err != nil {
		return err
	}
	_, err = e.Wait()
	return err
}

// A retry that is killed again and again leaves every row once, in the output or among the
// dead letters.
func TestARetryThatIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	c := doomedCases()[5]
	if c.name != "dead letters" {
		t.Fatal(c.name)
	}
	points := []string{"", pointJournalled, pointWritten, pointCheckpoint, pointRename, pointRenamed, pointForget, pointDead, pointRewound, pointRewinding}
	for round := range someRetries {
		server := &provider{asked: map[string]int{}}
		dir := c.prepare(t, server)
		if c.process(t, dir, "", 0, 0) {
			t.Fatal("killed by somebody else")
		}
		failed := len(lines(t, filepath.Join(dir, "dead.jsonl")))
		before := len(lines(t, filepath.Join(dir, c.output)))
		killed := 0
		for i := range 14 {
			point := points[(round*5+i)%len(points)]
			after := time.Duration(0)
			if point == "" {
				after = time.Duration(20+10*i) * time.Millisecond
			}
			if doomed(t, dir, fmt.Sprintf("%s:%d|retry", point, 1+(i+round)%4), after) {
				killed++
				continue
			}
			break
		}
		doomed(t, dir, ":0|retry", 0)
		rows := map[string]int{}
		for _, line := range lines(t, filepath.Join(dir, c.output)) {
			rows[line]++
			if rows[line] > 1 {
				t.Errorf("round %d, %d kills: twice in the output: %s", round, killed, line)
			}
		}
		left := len(lines(t, filepath.Join(dir, "dead.jsonl")))
		if failed != 32 || before != 128 || left != 0 || len(rows) != doomedRows {
			t.Errorf("round %d, %d kills: %d rows and %d dead letters became %d and %d, want all and none", round, killed, before, failed, len(rows), left)
		}
		if calls, prompts := server.total(); prompts != doomedRows || calls > prompts+killed*32 {
			t.Errorf("round %d, %d kills: %d calls for %d prompts", round, killed, calls, prompts)
		}
	}
}
