package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// A stage's time is worth a line if there was so much of it, and the other end had not
// nearly all.
const (
	worthSaying = 20 * time.Second
	nearlyAll   = 0.9
)

// timeText says why a stage took its time, the largest share first: "12m40s in flight:
// 61% server, 30% rate limit, 9% backoff"; "" if there is nothing to wonder at.
func timeText(t engine.StageTime) string {
	total := time.Duration(t.InFlight * float64(time.Second))
	if total < worthSaying || t.Server+t.Compute > nearlyAll*t.InFlight {
		return ""
	}
	type share struct {
		name string
		part float64
	}
	shares := []share{
		{"server", t.Server},
		{"computing", t.Compute},
		{"rate limit", t.Limiter},
		{"too many at once", t.Slot},
		{"backoff", t.Backoff},
		{"asked to wait", t.RetryAfter},
		{"provider away", t.Breaker},
		{"waiting for an earlier row", t.Window},
		{"waiting for the sink", t.Sink},
	}
	slices.SortStableFunc(shares, func(a, b share) int { return cmp.Compare(b.part, a.part) })
	var parts []string
	for _, s := range shares {
		if percent := math.Round(100 * s.part / t.InFlight); percent >= 1 {
			parts = append(parts, fmt.Sprintf("%.0f%% %s", percent, s.name))
		}
	}
	return precise(total) + " in flight: " + strings.Join(parts, ", ")
}

// foundText says what was found out about the other end, "" for nothing: "found: 6,000
// requests a minute (headers); 12 at once". Of several endpoints each is named.
func foundText(s engine.StageSummary) string {
	parts := limitTexts("", s.Limits)
	for _, e := range s.Endpoints {
		parts = append(parts, limitTexts(printable(e.Name)+" ", e.Limits)...)
	}
	if s.Concurrency > 0 {
		parts = append(parts, fmt.Sprintf("%d at once", s.Concurrency))
	}
	if len(parts) == 0 {
		return ""
	}
	return "found: " + strings.Join(parts, "; ")
}

// limitTexts says which limits were found, not those that the user set.
func limitTexts(whose string, limits []policy.FoundLimit) (parts []string) {
	for _, l := range limits {
		if l.By != "configuration" {
			parts = append(parts, fmt.Sprintf("%s%s %s a minute (%s)", whose, humanize.Comma(int64(math.Round(l.PerMinute))), l.Kind, l.By))
		}
	}
	return parts
}
