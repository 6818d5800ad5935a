package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// threes merges three records into one, in their order.
type threes struct {
	twos
	wait time.Duration
}

func (threes) Sequential() {}

func (s threes) Batch() (int, time.Duration) { return 3, s.wait }

// neverCommits is a sink that takes records, says so, and can make none durable.
type neverCommits struct {
	*paperSink
	wrote chan<- struct{}
}

func (s neverCommits) Write(ctx context.Context, batch []*pipeline.Record) error {
	defer func() { s.wrote <- struct{}{} }()
	return s.paperSink.Write(ctx, batch)
}

var errNoRoom = errors.New("no room")

func (s neverCommits) Commit(context.Context) (pipeline.Position, error) { return "", errNoRoom }

// What was asked about a group is not asked again, though the clock had a hand in who is
// in it.
func TestGroupsFormAsTheyDid(t *testing.T) {
	t.Parallel()
	w := &world{rows: 6}
	dir := t.TempDir()
	wrote := make(chan struct{}, 100)
	var asked []string
	run := func(sink pipeline.Sink, last func(int)) error {
		ask := pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			asked = append(asked, string(r.AppendJSON(nil)))
			return []*pipeline.Record{r}, nil
		})
		_, err := engine.Run(t.Context(), pipeline.Pipeline{
			Name: "groups", Source: &rowsOf{w: w, last: last}, Sink: sink, Flush: pipeline.Flush{Records: 1, Every: time.Hour},
			Steps: []pipeline.Step{
				{Stage: threes{wait: time.Millisecond}, StepOptions: pipeline.StepOptions{Name: "group"}},
				{Stage: ask, Costs: true, StepOptions: pipeline.StepOptions{Name: "ask", Parallelism: 1}},
			},
		}, engine.Options{State: dir})
		return err
	}
	err := run(neverCommits{&paperSink{paper: &w.paper}, wrote}, func(i int) {
		if i == 2 {
			<-wrote // the first two are a group by now
		}
	})
	if !errors.Is(err, errNoRoom) {
		t.Fatalf("got %v, want a run that cannot commit", err)
	}
	before := slices.Clone(asked)
	if err := run(&paperSink{paper: &w.paper}, nil); err != nil {
		t.Fatal(err)
	}
	if len(before) < 2 || strings.Contains(before[0], `{"i":2}`) {
		t.Fatalf("asked about %q, want a group that is not full first", before)
	}
	if !slices.Equal(asked, before) || !slices.Equal(w.paper.lines, before) {
		t.Errorf("asked about %q and then %q, written %q", before, asked[len(before):], w.paper.lines)
	}
}

// A stop tears no group, also where the source has come to its end before.
func TestAStopTearsNoGroup(t *testing.T) {
	t.Parallel()
	w := &world{rows: 8}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan struct{})
		ask := step("ask", func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if string(r.AppendJSON(nil)) == `{"i":4}` {
				<-stopped
				return nil, pipeline.ErrStopped
			}
			return []*pipeline.Record{r}, nil
		})
		ask.Parallelism = 1
		run := func() *engine.Execution {
			e, err := engine.Start(t.Context(), pipeline.Pipeline{
				Name: "groups", Source: &rowsOf{w: w}, Sink: &paperSink{paper: &w.paper},
				Steps: []pipeline.Step{ask, {Stage: threes{}, StepOptions: pipeline.StepOptions{Name: "group"}}},
			}, engine.Options{State: dir})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := run()
		synctest.Wait()
		e.Stop()
		close(stopped)
		if s, err := e.Wait(); err != nil || s.Counts.Read != 8 || s.Counts.Unfinished != 5 {
			t.Errorf("error %v, counts %+v, want all rows read, and those behind the first group left", err, s.Counts)
		}
		ask.Stage = pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			return []*pipeline.Record{r}, nil
		})
		if _, err := run().Wait(); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		`{"i":0,"both":[{"i":0},{"i":1},{"i":2}]}`, `{"i":3,"both":[{"i":3},{"i":4},{"i":5}]}`, `{"i":6,"both":[{"i":6},{"i":7}]}`,
	}
	if !slices.Equal(w.paper.lines, want) {
		t.Errorf("written %q, want %q", w.paper.lines, want)
	}
}
