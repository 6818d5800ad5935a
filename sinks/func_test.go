package sinks_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sinks"
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
