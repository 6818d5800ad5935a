package main

import (
	"strings"
	"testing"
	"time"

	"github.com/rowmill/rowmill/pipeline/engine"
)

func TestProgressLine(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 15, 4, 5, 0, time.UTC)
	busy := engine.Snapshot{
		Elapsed: time.Minute, EstimatedRows: 3_117,
		Counts: engine.Counts{Read: 500, Delivered: 400, Dropped: 10, DeadLettered: 2},
		Stages: []engine.StageSnapshot{
			{Name: "filter", InFlight: 64, Calls: 500},
			{Name: "label", InFlight: 20, OnWire: 16, Calls: 490, Attempts: 500, Retries: 3, Refusals: 1},
		},
	}
	with := func(change func(*engine.Snapshot)) engine.Snapshot {
		s := busy
		s.Stages = append([]engine.StageSnapshot(nil), busy.Stages...)
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		snapshot engine.Snapshot
		rate     float64
		width    int
		want     string
	}{
		"nothing yet":        {want: "0 rows"},
		"one row, no total":  {snapshot: engine.Snapshot{Counts: engine.Counts{Read: 2, Delivered: 1}}, rate: 0.52, want: "1 row · 0.5 rows/s"},
		"everything at once": {snapshot: busy, rate: 38.2, want: "412/≈3,120 rows 13% · 38 rows/s · 16 in flight · 2 failed · 3 retries · 1 refused · ETA 1m11s"},
		"exact when all is read": {
			snapshot: with(func(s *engine.Snapshot) { s.EstimatedRows = 500 }), rate: 38.2,
			want: "412/500 rows 82% · 38 rows/s · 16 in flight · 2 failed · 3 retries · 1 refused · ETA 2s",
		},
		"too early for an ETA": {
			snapshot: engine.Snapshot{Elapsed: time.Second, EstimatedRows: 10, Counts: engine.Counts{Read: 10, Delivered: 1}}, rate: 1,
			want: "1/10 rows 10% · 1.0 rows/s",
		},
		"80 columns":      {snapshot: busy, rate: 38.2, width: 79, want: "412/≈3,120 rows 13% · 38 rows/s · 16 in flight · 2 failed · ETA 1m11s"},
		"40 columns":      {snapshot: busy, rate: 38.2, width: 39, want: "412/≈3,120 rows 13% · 2 failed"},
		"nearly no space": {snapshot: busy, rate: 38.2, width: 10, want: "412/≈3,12…"},
		"more than was thought": {
			snapshot: engine.Snapshot{EstimatedRows: 5, Counts: engine.Counts{Read: 8, Delivered: 7}}, rate: 12345.6,
			want: "7 rows · 12,346 rows/s",
		},
		"split": {
			snapshot: engine.Snapshot{EstimatedRows: 100, Counts: engine.Counts{Read: 100, Made: 300, Delivered: 200}}, rate: 5,
			want: "50/100 rows 50% · 5.0 rows/s",
		},
		"merged": {
			snapshot: engine.Snapshot{EstimatedRows: 100, Counts: engine.Counts{Read: 100, Merged: 90, Delivered: 5}}, rate: 5,
			want: "50/100 rows 50% · 5.0 rows/s",
		},
		"stopping": {
			snapshot: with(func(s *engine.Snapshot) { s.Draining = true }), rate: 38.2, width: 79,
			want: "412/≈3,120 rows 13% · stopping · 38 rows/s · 16 in flight · 2 failed",
		},
		"paused": {
			snapshot: with(func(s *engine.Snapshot) {
				s.Stages[1].OnWire, s.Stages[1].Paused, s.Stages[1].PausedUntil = 0, "keeps failing (http_500)", now.Add(15*time.Second)
			}),
			width: 90, want: "412/≈3,120 rows 13% · paused: label keeps failing (http_500) until 15:04:20 · 2 failed",
		},
		"a pause too short to mention": {
			snapshot: with(func(s *engine.Snapshot) {
				s.Stages[1].Paused, s.Stages[1].PausedUntil = "asked to wait (rate_limit)", now.Add(300*time.Millisecond)
			}),
			width: 42, want: "412/≈3,120 rows 13% · 2 failed · 3 retries",
		},
		"a probe is on its way": {
			snapshot: with(func(s *engine.Snapshot) { s.Stages[1].Paused = "keeps failing (http_500)" }),
			width:    70, want: "412/≈3,120 rows 13% · paused: label keeps failing (http_500)",
		},
		"a pause that does not fit is cut short": {
			snapshot: with(func(s *engine.Snapshot) {
				s.Stages[1].Paused, s.Stages[1].PausedUntil = "keeps failing (connection_refused)", now.Add(15*time.Second)
			}),
			width: 79, want: "412/≈3,120 rows 13% · paused: label keeps failing (connection_r… until 15:04:20",
		},
		"a name that does not fit is cut short": {
			snapshot: with(func(s *engine.Snapshot) { s.Waiting = "data/of/the/year/2026/and/of/some/years/before.csv:17 in label" }), rate: 1, width: 79,
			want: "412/≈3,120 rows 13% · waiting for row data/of/the/year/2026/and/of/some/years/…",
		},
		"waiting": {
			snapshot: with(func(s *engine.Snapshot) { s.Waiting = "data/a.csv:17 in label" }), rate: 1, width: 79,
			want: "412/≈3,120 rows 13% · 2 failed · waiting for row data/a.csv:17 in label",
		},
		"what a row may hold": {
			snapshot: engine.Snapshot{Counts: engine.Counts{Read: 1, Delivered: 1}, Waiting: "a\x1b[2J\nb in llm"},
			want:     "1 row · waiting for row a\uFFFD[2J b in llm",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := progressLine(c.snapshot, c.rate, now, c.width)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if c.width > 0 && columns(got) > c.width {
				t.Errorf("%q takes %d columns, more than %d", got, columns(got), c.width)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"", 5, ""},
		{"abcde", 5, "abcde"},
		{"abcdef", 5, "abcd…"},
		{"日本語", 6, "日本語"},
		{"日本語です", 6, "日本…"},
		{"a", 0, "…"},
	} {
		if got := truncated(c.in, c.width); got != c.want {
			t.Errorf("truncated(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func TestAbridged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"", 5, ""},
		{"abcdefgh", 8, "abcdefgh"},
		{"abcdefghi", 8, "abc…fghi"},
		{"日本語です", 8, "日…です"},
		{"abc", 0, "…"},
	} {
		if got := abridged(c.in, c.width); got != c.want {
			t.Errorf("abridged(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "59s": 59 * time.Second, "1m00s": 59*time.Second + 500*time.Millisecond,
		"3m07s": 187 * time.Second, "2h05m": 125*time.Minute + 20*time.Second,
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestRoughly(t *testing.T) {
	t.Parallel()
	for in, want := range map[int64]int64{0: 0, 7: 7, 999: 999, 1004: 1000, 1005: 1010, 3117: 3120, 999_999: 1_000_000, 1_234_567: 1_230_000} {
		if got := roughly(in); got != want {
			t.Errorf("roughly(%d) = %d, want %d", in, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	if got := p.at(0, 0); got != 0 {
		t.Errorf("at the beginning: %v rows/s, want 0", got)
	}
	if got := p.at(2*time.Second, 10); got != 5 {
		t.Errorf("after 2s: %v rows/s, want 5", got)
	}
	for s := 3; s <= 60; s++ { // it gets ten times as fast
		p.at(time.Duration(s)*time.Second, int64(10+50*(s-2)))
	}
	if got := p.at(61*time.Second, 10+50*59); got != 50 {
		t.Errorf("after a minute: %v rows/s, want 50: only the last 10s count", got)
	}
	if len(p.marks) > 15 {
		t.Errorf("%d marks are kept, want about 10", len(p.marks))
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	got := printable("a\tb\r\nc\x1b[31m\u202edé日\n")
	if want := "a b  c\uFFFD[31m\uFFFDdé日"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.ContainsAny(printable("\x00\x07\x9b"), "\x00\x07\u009b") {
		t.Error("control characters got through")
	}
}
