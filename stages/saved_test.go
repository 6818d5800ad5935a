package stages_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/stages"
)

func numbered(t *testing.T, seq uint64) *pipeline.Record {
	t.Helper()
	r := pipelinetest.Record(t, fmt.Sprintf(`{"n":%d}`, seq))
	r.Ref.Seq = seq
	return r
}

// took shows a limit a record, and says whether it goes on, and whether it is enough.
func took(t *testing.T, l *stages.Limit, seq uint64) (goes, enough bool) {
	t.Helper()
	out, err := l.Process(t.Context(), numbered(t, seq))
	if err != nil && !errors.Is(err, pipeline.ErrEnough) {
		t.Fatal(err)
	}
	return len(out) > 0, err != nil
}

// TestLimitCountsWhatComesLate kills a run in which a row failed before the limit; when
// it goes on, the row does not fail. No more go on than may, and those behind are not
// cut off.
func TestLimitCountsWhatComesLate(t *testing.T) {
	t.Parallel()
	build := func() *stages.Limit {
		return stage[*stages.Limit](t)(stages.NewLimit(stages.LimitConfig{Count: 4}, pipeline.Env{}))
	}
	l := build()
	for _, seq := range []uint64{0, 2, 3} { // 1 has failed
		if goes, enough := took(t, l, seq); !goes || enough {
			t.Fatalf("row %d: goes on %v, enough %v", seq, goes, enough)
		}
	}
	var saved bytes.Buffer
	if err := l.Save(&saved); err != nil {
		t.Fatal(err)
	}
	l = build()
	if err := l.Load(&saved); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		seq          uint64
		goes, enough bool
	}{{1, true, false}, {2, true, false}, {3, true, true}, {4, false, true}, {1, true, false}, {5, false, true}} {
		if goes, enough := took(t, l, c.seq); goes != c.goes || enough != c.enough {
			t.Errorf("row %d: goes on %v, want %v; enough %v, want %v", c.seq, goes, c.goes, enough, c.enough)
		}
	}
}

// TestDedupeForgetsTheSame has one stage work on, and another load what it saved: they
// forget the same keys.
func TestDedupeForgetsTheSame(t *testing.T) {
	t.Parallel()
	build := func() *stages.Dedupe {
		return stage[*stages.Dedupe](t)(stages.NewDedupe(
			stages.DedupeConfig{By: []string{"n"}, Memory: 1 << 10, WhenFull: "forget"}, pipeline.Env{}))
	}
	show := func(d *stages.Dedupe, i uint64) bool {
		r := numbered(t, i*i%41) // a key
		r.Ref.Seq = i
		out, err := d.Process(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return len(out) > 0
	}
	const rows = 200
	for first := range uint64(60) { // the first time that it saves
		d := build()
		var saved bytes.Buffer
		for i := range uint64(rows) {
			show(d, i)
			if i >= first && i%7 == 0 {
				if err := d.Save(&saved); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := d.Save(&saved); err != nil {
			t.Fatal(err)
		}
		other := build()
		if err := other.Load(&saved); err != nil {
			t.Fatal(err)
		}
		for i := uint64(rows); i < 2*rows; i++ {
			if got, want := show(other, i), show(d, i); got != want {
				t.Fatalf("saved from row %d on; row %d goes on: %v, want %v", first, i, got, want)
			}
		}
	}
}

func TestDamageHasAPlace(t *testing.T) {
	t.Parallel()
	d := stage[*stages.Dedupe](t)(stages.NewDedupe(stages.DedupeConfig{Memory: 1 << 20, WhenFull: "stop"}, pipeline.Env{}))
	var saved bytes.Buffer
	for i := range uint64(2) {
		if _, err := d.Process(t.Context(), numbered(t, i)); err != nil {
			t.Fatal(err)
		}
		if err := d.Save(&saved); err != nil {
			t.Fatal(err)
		}
	}
	text := saved.Bytes()
	text[len(text)-1] ^= 1
	err := d.Load(bytes.NewReader(text))
	if want := fmt.Sprintf("damaged at byte %d: the checksum is wrong; --fresh starts over", len(text)/2); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
