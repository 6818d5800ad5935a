package sources_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources"
)

// message is one of somebody's broker: what is in it, and how it is acknowledged.
type message struct {
	Body  ticket  `json:"body"`
	Score float64 `json:"score"`
	Acked *int    `json:"-"`
	tag   int
}

func sent(n int, acked []int) message { return message{Body: ticket{ID: n}, Acked: &acked[n], tag: n} }

func TestOnSettleHasTheMessageAsItWasSent(t *testing.T) {
	t.Parallel()
	acked := make([]int, 100)
	messages := make(chan message)
	go func() {
		defer close(messages)
		for n := range acked {
			m := sent(n, acked)
			if n == 50 {
				m.Score = math.NaN() // there is no such number in JSON
			}
			messages <- m
		}
	}()
	settle := sources.OnSettle(func(m message, s pipeline.Settlement) {
		if !s.Done() || m.tag != m.Body.ID || (s.Err != nil) != (m.tag == 50) {
			t.Errorf("message %d of ticket %d is told %+v", m.tag, m.Body.ID, s)
		}
		*m.Acked++
	})
	sink := &pipelinetest.Memory{}
	s, err := engine.Run(t.Context(), pipeline.Pipeline{Source: sources.Channel(messages, settle), Sink: sink}, engine.Options{})
	if err != nil || s.Counts.Delivered != 99 || s.Counts.DeadLettered != 1 {
		t.Errorf("error %v, counts %+v", err, s.Counts)
	}
	for n, times := range acked {
		if times != 1 {
			t.Errorf("message %d is acknowledged %d times", n, times)
		}
	}
	if got, want := sink.Rows()[7], `{"body":{"id":7},"score":0}`; got != want {
		t.Errorf("row 7 is %s, want %s", got, want)
	}
}

func TestOnSettleOfSeqAndSlice(t *testing.T) {
	t.Parallel()
	told := 0
	settle := sources.OnSettle(func(_ ticket, s pipeline.Settlement) {
		if s.Ending == pipeline.Delivered {
			told++
		}
	})
	for _, source := range []pipeline.Source{
		sources.Slice(tickets(), settle),
		sources.Seq(func(yield func(ticket, error) bool) {
			for _, v := range tickets() {
				if !yield(v, nil) {
					return
				}
			}
		}, settle),
	} {
		if _, err := engine.Run(t.Context(), pipeline.Pipeline{Source: source, Sink: &pipelinetest.Memory{}}, engine.Options{}); err != nil {
			t.Error(err)
		}
	}
	if told != 6 {
		t.Errorf("%d are told that they are delivered, want 6", told)
	}
}

// TestWhoeverSendsWaitsForTheRun: nothing is received that there is no room for, and
// nothing at all once the run is stopped.
func TestWhoeverSendsWaitsForTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := pipeline.StageFunc(func(ctx context.Context, _ *pipeline.Record) ([]*pipeline.Record, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		messages, sending := make(chan message), atomic.Int64{}
		quit, ended := make(chan struct{}), make(chan struct{})
		acked := make([]int, 100_000)
		go func() {
			defer close(ended)
			for n := range acked {
				select {
				case messages <- sent(n, acked):
					sending.Add(1)
				case <-quit:
					return
				}
			}
		}()
		unfinished := 0
		settle := sources.OnSettle(func(_ message, s pipeline.Settlement) {
			if s.Done() {
				t.Errorf("told %+v", s)
			}
			unfinished++
		})
		e, err := engine.Start(t.Context(), pipeline.Pipeline{
			Source: sources.Channel(messages, settle), Sink: &pipelinetest.Memory{},
			Steps: []pipeline.Step{{Stage: stuck, StepOptions: pipeline.StepOptions{Parallelism: 2, ReorderWindow: 4}}},
		}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		received := sending.Load()
		if received == 0 || received > 2000 {
			t.Errorf("%d messages are received while nothing goes on", received)
		}
		e.Abort()
		_, _ = e.Wait()
		if later := sending.Load(); later != received || int64(unfinished) != received {
			t.Errorf("%d are received and %d told, %d were when the run was stopped", later, unfinished, received)
		}
		close(quit)
		<-ended
	})
}
