package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/rowmill/rowmill/pipeline/engine"
)

// steady is how long a run must have gone on before its end is foretold.
const steady = 2 * time.Second

// shortPause is a pause that is over before one has read of it.
const shortPause = time.Second

// part is a piece of the progress line. Where there is no room for all, those of
// the lowest weight are left out; why nothing moves is rather cut short.
type part struct {
	text   string
	weight int
	end    string // of the text; where that is cut short this stays
}

// telling is the least weight of a part that is rather cut short than left out, and
// leastText the least room for what is left of it.
const (
	telling   = 70
	leastText = 24
)

// progressLine says how a run stands, in at most width columns; 0 is any width.
// rate is in rows a second.
func progressLine(s engine.Snapshot, rate float64, now time.Time, width int) string {
	parts := slices.DeleteFunc(progressParts(s, rate, now), func(p part) bool { return p.text == "" })
	if width <= 0 {
		return joined(parts)
	}
	return truncated(joined(fitting(parts, width)), width)
}

// fitting leaves of the parts the heaviest, and those for which there is room beside it.
func fitting(parts []part, width int) []part {
	byWeight := make([]int, len(parts))
	for i := range parts {
		byWeight[i] = i
	}
	slices.SortFunc(byWeight, func(i, j int) int { return parts[j].weight - parts[i].weight })
	room := width - columns(parts[byWeight[0]].text)
	for _, i := range byWeight[1:] {
		parts[i].text = fitted(parts[i], room-columns(between))
		if parts[i].text != "" {
			room -= columns(between) + columns(parts[i].text)
		}
	}
	return slices.DeleteFunc(parts, func(p part) bool { return p.text == "" })
}

// fitted is the text of a part in so many columns; "" if that is too little.
func fitted(p part, room int) string {
	switch {
	case columns(p.text) <= room:
		return p.text
	case p.weight >= telling && room >= leastText:
		return truncated(strings.TrimSuffix(p.text, p.end), room-columns(p.end)) + p.end
	default:
		return ""
	}
}

// between stands between two parts.
const between = " · "

func joined(parts []part) string {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.text
	}
	return strings.Join(texts, between)
}

// progressParts are the pieces, in the order in which they stand.
func progressParts(s engine.Snapshot, rate float64, now time.Time) []part {
	done := doneRows(s)
	onWire, retries, refusals := asking(s)
	return []part{
		{text: rowsOf(done, s), weight: 100},
		{text: draining(s), weight: 90},
		paused(s, now),
		{text: rateText(rate), weight: 40},
		{text: counted(int64(onWire), "in flight"), weight: 30},
		{text: counted(s.Counts.DeadLettered+s.Counts.DroppedOnError, "failed"), weight: 60},
		{text: plural(retries, "retry", "retries"), weight: 20},
		{text: counted(refusals, "refused"), weight: 10},
		{text: waiting(s), weight: 70},
		{text: remaining(s, done, rate), weight: 50},
	}
}

// asking adds up what is asked: requests on the wire now, and so far those made
// again and those refused.
func asking(s engine.Snapshot) (onWire int, retries, refusals int64) {
	for _, stage := range s.Stages {
		onWire += stage.OnWire
		retries += stage.Retries
		refusals += stage.Refusals
	}
	return onWire, retries, refusals
}

// doneRows is how many of the rows that were read have ended, or only wait to be
// committed. Where records are split or merged, leaves are counted, and so it is a
// share of them.
func doneRows(s engine.Snapshot) int64 {
	c := s.Counts
	ended := max(s.Finished, c.Delivered+c.Dropped+c.DroppedOnError+c.DeadLettered+c.Absorbed)
	leaves := c.Read + c.Made - c.Merged
	if leaves == c.Read || leaves <= 0 {
		return min(ended, c.Read)
	}
	return min(c.Read, int64(float64(c.Read)*float64(ended)/float64(leaves)))
}

// rowsOf is "412/817 rows 50%"; an estimated total has a "≈" and two digits that
// mean something.
func rowsOf(done int64, s engine.Snapshot) string {
	total := s.EstimatedRows
	if total <= 0 || total < done {
		return plural(done, "row", "rows") + zero(done, "0 rows")
	}
	shown := humanize.Comma(total)
	if total != s.Counts.Read {
		shown = "≈" + humanize.Comma(roughly(total))
	}
	return fmt.Sprintf("%s/%s rows %d%%", humanize.Comma(done), shown, done*100/total)
}

// roughly rounds to three digits, so that an estimate does not flicker.
func roughly(n int64) int64 {
	unit := int64(1)
	for n/unit >= 1000 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

func zero(n int64, text string) string {
	if n == 0 {
		return text
	}
	return ""
}

// counted is "3 failed", or nothing for 0.
func counted(n int64, what string) string {
	if n == 0 {
		return ""
	}
	return humanize.Comma(n) + " " + what
}

// plural is "1 retry", "2 retries", or nothing for 0.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return counted(n, many)
}

func rateText(rate float64) string {
	switch {
	case rate <= 0:
		return ""
	case rate < 10:
		return strconv.FormatFloat(rate, 'f', 1, 64) + " rows/s"
	default:
		return humanize.Comma(int64(math.Round(rate))) + " rows/s"
	}
}

func draining(s engine.Snapshot) string {
	if s.Draining {
		return "stopping"
	}
	return ""
}

// paused is why nothing is sent and until when, for the stage that pauses longest.
func paused(s engine.Snapshot, now time.Time) (p part) {
	p.weight = 80
	var longest engine.StageSnapshot
	for _, stage := range s.Stages {
		if stage.Paused != "" && (longest.Paused == "" || stage.PausedUntil.After(longest.PausedUntil)) {
			longest = stage
		}
	}
	switch {
	case longest.Paused == "", !longest.PausedUntil.IsZero() && longest.PausedUntil.Sub(now) < shortPause:
		return p
	case !longest.PausedUntil.IsZero():
		p.end = longest.PausedUntil.Format(" until " + time.TimeOnly)
	}
	p.text = fmt.Sprintf("paused: %s %s%s", printable(longest.Name), printable(longest.Paused), p.end)
	return p
}

func waiting(s engine.Snapshot) string {
	if s.Waiting == "" {
		return ""
	}
	return "waiting for row " + printable(s.Waiting)
}

// remaining is the time until the end at the present speed.
func remaining(s engine.Snapshot, done int64, rate float64) string {
	left := s.EstimatedRows - done
	if left <= 0 || rate <= 0 || s.Elapsed < steady || s.Draining {
		return ""
	}
	seconds := float64(left) / rate
	if seconds > (1000 * time.Hour).Seconds() {
		return ""
	}
	return "ETA " + duration(time.Duration(seconds*float64(time.Second)))
}

// duration is a time to the second, or to the minute above an hour: "42s",
// "3m07s", "2h05m".
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	switch hours, minutes, seconds := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60; {
	case hours > 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%02ds", minutes, seconds)
	default:
		return fmt.Sprintf("%ds", seconds)
	}
}
