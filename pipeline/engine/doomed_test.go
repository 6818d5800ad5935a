package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	nth, onlyNew := strings.CutSuffix(nth, "|new")
	d := &doom{point: point}
	n, _ := strconv.Atoi(nth)
	d.left.Store(int64(n))
	if err := doomedRun(path, d, retry, onlyNew); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func doomedRun(path string, d *doom, retry, onlyNew bool) error {
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
	p.Sink = doomedSink{p.Sink, d, pointWritten}.published()
	p.DeadLetter = doomedSink{p.DeadLetter, d, pointDead}
	options := engine.Options{State: filepath.Join(filepath.Dir(path), "state"), New: onlyNew}.On(doomedFS{fsys.OS{}, d}, 5*time.Millisecond)
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

// A run for new rows that is killed again and again pays for those alone, and each is in
// the output once.
func TestNewRowsOfARunThatIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	cases := doomedCases()
	points := []string{pointDone, pointJournalled, "", pointWritten, pointCheckpoint, pointRename, pointDone, pointRenamed, pointRewound, pointRewinding, pointForget}
	for _, c := range []doomedCase{cases[0], cases[2]} { // plain in order, and split and compressed in none
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for round := range (someRetries + 1) / 2 {
				c.newRows(t, round, points)
			}
		})
	}
}

func (c doomedCase) newRows(t *testing.T, round int, points []string) {
	t.Helper()
	server := &provider{asked: map[string]int{}}
	dir := c.prepare(t, server)
	yaml := filepath.Join(dir, "p.yaml")
	edit(t, yaml, func(s string) string { return strings.Replace(s, "'}}\nstages", "'}, key: i}\nstages", 1) })
	if doomed(t, dir, ":0", 0) {
		t.Fatal("killed by somebody else")
	}
	before := lines(t, filepath.Join(dir, c.output))
	paid, _ := server.total()
	shuffled := c
	shuffled.shuffle = true
	shuffled.write(t, dir)
	killed := 0
	for i := range 14 {
		point, after := points[(round*5+i)%len(points)], time.Duration(0)
		if point == "" {
			after = time.Duration(20+10*i) * time.Millisecond
		}
		if !doomed(t, dir, fmt.Sprintf("%s:%d%s", point, 1+(i+round)%4, []string{"|new", "|new", ""}[min(i, 2)]), after) {
			break
		}
		killed++
	}
	doomed(t, dir, ":0|new", 0)
	rows, seen := lines(t, filepath.Join(dir, c.output)), map[string]bool{}
	for _, line := range rows {
		if seen[line] {
			t.Errorf("round %d, %d kills: twice in the output: %s", round, killed, line)
		}
		seen[line] = true
	}
	if want := len(before) + len(before)/doomedRows*shuffledNew; len(rows) != want || !slices.Equal(rows[:len(before)], before) {
		t.Errorf("round %d, %d kills: %d rows became %d, want %d", round, killed, len(before), len(rows), want)
	}
	calls, _ := server.total()
	if most := len(before)/doomedRows*shuffledNew + killed*32; calls-paid > most {
		t.Errorf("round %d, %d kills: %d calls for new rows, want %d at most", round, killed, calls-paid, most)
	}
}

func edit(t *testing.T, path string, how func(string) string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(how(string(data))), 0o600); err != nil {
		t.Fatal(err)
	}
}
