package meter_test

import (
	"sync/atomic"
	"testing"

	"github.com/rowmill/rowmill/internal/meter"
)

type part struct{ atomic.Int64 }

func (p *part) BytesRead() int64 { return p.Load() }

func TestMeter(t *testing.T) {
	t.Parallel()
	var m meter.Meter
	says := func(when string, want int64) {
		t.Helper()
		if done, total := m.Progress(); done != want || total != 100 {
			t.Errorf("%s: %d of %d, want %d of 100", when, done, total, want)
		}
	}
	var p part
	m.Start(10, 100)
	says("at the start", 10)
	m.Add(5)
	says("behind a stream", 15)
	m.Enter(&p, 20)
	says("in an unread part", 15)
	p.Store(7)
	says("in a part", 22)
	p.Store(21)
	says("in a part of which some was read twice", 35)
	p.Store(8)
	m.Leave(true)
	says("behind a part of which some was left out", 35)
	m.Enter(&p, 20)
	m.Leave(false)
	says("behind a part that was not read to its end", 43)
	m.Leave(true)
	says("where no part was entered", 43)
	m.Start(0, 100)
	says("anew", 0)
}

// TestMeterNeverFalls asks always, while part after part is read.
func TestMeterNeverFalls(t *testing.T) {
	t.Parallel()
	var m meter.Meter
	m.Start(0, 400_000)
	end := make(chan struct{})
	go func() {
		defer close(end)
		for range 100_000 {
			var p part
			m.Enter(&p, 4)
			p.Store(3)
			m.Leave(true)
		}
	}()
	for last, ended := int64(0), false; !ended; {
		select {
		case <-end:
			ended = true
		default:
		}
		done, _ := m.Progress()
		if done < last || done > 400_000 || ended && done != 400_000 {
			t.Fatalf("%d, after %d", done, last)
		}
		last = done
	}
}
