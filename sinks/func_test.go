package sinks_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/reugn/go-streams/extension"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
)

type row struct {
	A int `json:"a"`
}

func TestFuncErrors(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		f       func(context.Context, []row) error
		refused []int
		err     error
	}{
		"taken":  {func(context.Context, []row) error { return nil }, []int{1}, nil},
		"failed": {func(context.Context, []row) error { return down }, nil, down},
		"one refused": {func(context.Context, []row) error {
			return &pipeline.BatchError{Refused: map[int]error{1: down, 9: down}}
		}, []int{1, 2}, nil},
	} {
		err := sinks.Func(c.f).Write(t.Context(), batch(t, `{"a":1}`, `{"a":"x"}`, `{"a":3}`))
		var named *pipeline.BatchError
		if c.err != nil {
			if !errors.Is(err, c.err) || errors.As(err, &named) {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		var refused []int
		if errors.As(err, &named) {
			for i := range named.Refused {
				refused = append(refused, i)
			}
		}
		if slices.Sort(refused); !slices.Equal(refused, c.refused) {
			t.Errorf("%s: refused %v, want %v", name, refused, c.refused)
		}
	}
}

func TestChannelWaitsNoLongerThanTheRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sinks.Channel(make(chan row)).Write(ctx, batch(t, `{"a":1}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWhatWasReceivedIsDelivered stops runs while they hand over a batch: what was received
// before, and until the end, is what the Summary counts, and what was not is unfinished, not a
// dead letter.
func TestWhatWasReceivedIsDelivered(t *testing.T) {
	t.Parallel()
	one := pipeline.Pipeline{Source: sources.Slice(make([]row, 5000)), StopWhen: pipeline.StopWhen{Off: true}}
	for name, c := range map[string]struct {
		pipeline func(values chan row) pipeline.Pipeline
		count    func(engine.Counts) int64
	}{
		"a channel": {func(values chan row) (p pipeline.Pipeline) {
			p = one
			p.Sink = sinks.Channel(values)
			return p
		}, delivered},
		"a go-streams sink": {func(values chan row) (p pipeline.Pipeline) {
			p = one
			through := make(chan any)
			p.Sink = engine.ForeignSink[row](extension.NewChanSink(through))
			go func() {
				defer close(values)
				for v := range through {
					values <- v.(row)
				}
			}()
			return p
		}, delivered},
		"dead letters": {func(values chan row) (p pipeline.Pipeline) {
			p = one
			p.Steps = []pipeline.Step{{Stage: pipeline.StageFunc(func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) {
				return nil, errors.New("bad")
			})}}
			p.Sink, p.DeadLetter = sinks.Discard{}, sinks.Channel(values)
			return p
		}, func(c engine.Counts) int64 { return c.DeadLettered }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			values := make(chan row, 7)
			e, err := engine.Start(ctx, c.pipeline(values), engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			received := int64(0)
			for range values {
				if received++; received == 150 {
					cancel()
				}
			}
			s, err := e.Wait()
			if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "dead letter") || received == 5000 || c.count(s.Counts) != received || s.Counts.Unfinished != s.Counts.Read-received {
				t.Errorf("%d received, %+v, %v", received, s.Counts, err)
			}
		})
	}
}

func delivered(c engine.Counts) int64 { return c.Delivered }

// TestARecordIsGivenAsACopy changes what was received: the engine still has its own.
func TestARecordIsGivenAsACopy(t *testing.T) {
	t.Parallel()
	records := batch(t, `{"a":1}`)
	records[0].SetTicket("the engine's")
	values := make(chan *pipeline.Record, 1)
	if err := sinks.Channel(values).Write(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	got := <-values
	got.Set("a", pipeline.Text("changed"))
	if string(records[0].AppendJSON(nil)) != `{"a":1}` || got.Ticket() != nil {
		t.Errorf("the record is %s, the ticket %v", records[0].AppendJSON(nil), got.Ticket())
	}
}

// TestATypeThatNoRecordCanBe ends the run at once, and not one row after the other.
func TestATypeThatNoRecordCanBe(t *testing.T) {
	t.Parallel()
	var named *pipeline.BatchError
	for name, sink := range map[string]pipeline.Sink{
		"func":    sinks.Func(func(context.Context, []int) error { return nil }),
		"channel": sinks.Channel(make(chan []row, 1)),
	} {
		if err := sink.Write(t.Context(), batch(t, `{"a":1}`)); err == nil || errors.As(err, &named) {
			t.Errorf("%s: got %v, want an error of the sink", name, err)
		}
	}
}
