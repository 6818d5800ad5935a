package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// mostReasons is how many reasons of dead letters the summary has.
const mostReasons = 3

// longestReason bounds the text of a reason, in columns.
const longestReason = 240

// summaryText is the summary of a run for people. sink is where the delivered
// records are; it may be empty.
func summaryText(s engine.Summary, verdict, sink string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s after %s, %s\n\n", printable(s.Name), verdict, precise(s.Elapsed), speed(s))
	if s.Resumed {
		fmt.Fprintf(&b, "  went on with an earlier run, which had done %s rows", humanize.Comma(s.DoneBefore))
		if s.Replayed > 0 {
			fmt.Fprintf(&b, "; %s taken from its journal", plural(s.Replayed, "answer", "answers"))
		}
		b.WriteString("\n")
	}
	if s.Known > 0 {
		fmt.Fprintf(&b, "  passed by %s of the source: their keys and contents were known\n", plural(s.Known, "row", "rows"))
	}
	if s.Changed > 0 {
		fmt.Fprintf(&b, "  %s a key that was known, with other content: what came of the earlier rows is in the output too\n", plural(s.Changed, "row has", "rows have"))
	}
	if s.Resumed || s.Known > 0 {
		b.WriteString("\n")
	}
	if len(s.Sinks) > 0 {
		sink = "" // each has a line of its own
	}
	for _, line := range endings(s, printable(sink)) {
		fmt.Fprintf(&b, "  %-16s %9s", line.name, humanize.Comma(line.count))
		if line.note != "" {
			b.WriteString("   " + line.note)
		}
		b.WriteString("\n")
	}
	for _, use := range s.Sinks {
		fmt.Fprintf(&b, "  %-16s %9s   to %s, %s\n", "", humanize.Comma(use.Delivered), printable(use.Name), use.Delivery)
	}
	if s.RepeatedKeys > 0 {
		fmt.Fprintf(&b, "  %-16s %9s   rows whose key an earlier row had\n", "repeated keys", humanize.Comma(s.RepeatedKeys))
	}
	b.WriteString(reasonsText(s))
	b.WriteString(stagesText(s.Stages, s.Resumed))
	b.WriteString(guaranteesText(s))
	b.WriteString("\n  " + equation(s.Counts) + "\n")
	return b.String()
}

// guaranteesText says where the promises of the run end, a line each.
func guaranteesText(s engine.Summary) string {
	lines := s.Guarantees
	if s.NoState != "" {
		lines = append(slices.Clone(lines), s.NoState)
	}
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n")
	for _, line := range lines {
		say(&b, "  %s\n", printable(line))
	}
	return b.String()
}

// reasonsText says why records failed, the most frequent reasons first.
func reasonsText(s engine.Summary) string {
	reasons, earlier := s.Reasons, int64(0) // in the run that this one went on with, which took its reasons along
	if s.Resumed {
		earlier = s.Counts.DeadLettered + s.Counts.DroppedOnError
		for _, r := range reasons {
			earlier -= r.Count
		}
	}
	if len(reasons) == 0 && earlier <= 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n")
	for _, r := range reasons[:min(mostReasons, len(reasons))] {
		such := ":"
		if r.Count > 1 {
			such = ", such as:" // the message is that of the first
		}
		text := printable(fmt.Sprintf("failed in %s (%s)%s %s", r.Stage, r.Code, such, r.Message))
		fmt.Fprintf(&b, "  %s %s\n", humanize.Comma(r.Count), abridged(text, longestReason))
	}
	var rest int64
	for _, r := range reasons[min(mostReasons, len(reasons)):] {
		rest += r.Count
	}
	if rest > 0 {
		fmt.Fprintf(&b, "  %s failed for other reasons\n", humanize.Comma(rest))
	}
	if earlier > 0 {
		fmt.Fprintf(&b, "  %s failed in the earlier run\n", humanize.Comma(earlier))
	}
	return b.String()
}

// precise is a time with a digit that shows something: "120ms", "2.4s", "3m07s".
func precise(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return duration(d)
	}
}

// speed is the rows a second, over the whole run.
func speed(s engine.Summary) string {
	if rate := rateText(rowsPerSecond(s)); rate != "" {
		return rate
	}
	return "no rows"
}

func rowsPerSecond(s engine.Summary) float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(max(0, doneRows(engine.Snapshot{Counts: s.Counts})-s.DoneBefore)) / s.Elapsed.Seconds()
}

// ending is how some of the leaves ended.
type ending struct {
	name  string // as a heading
	words string // in the sum
	count int64
	note  string
}

// endings are the lines of the summary; those that are 0 and need no saying are
// left out.
func endings(s engine.Summary, sink string) []ending {
	c := s.Counts
	to := ""
	switch {
	case toStdout(sink):
		to = "to standard output"
	case sink != "":
		to = "to " + sink
	}
	read, absorbed := "", "by go-streams operators"
	switch {
	case c.Collected > 0:
		read = humanize.Comma(c.Collected) + " of them put together of others"
		absorbed = "into those"
	case len(s.Guarantees) == 0: // it ended before one was
		absorbed = "to be put together"
	}
	lines := []ending{
		{name: "read", count: c.Read, note: read},
		{name: "made by splits", count: c.Made},
		{name: "merged", count: c.Merged},
		{name: "delivered", count: c.Delivered, note: to},
		{name: "filtered", count: c.Dropped},
		{name: "dropped on error", count: c.DroppedOnError},
		{name: "dead letters", count: c.DeadLettered, note: in(s.DeadLetters)},
		{name: "absorbed", count: c.Absorbed, note: absorbed},
		{name: "unfinished", count: c.Unfinished},
	}
	return slices.DeleteFunc(lines, func(l ending) bool {
		return l.count == 0 && l.name != "read" && l.name != "delivered"
	})
}

// toStdout reports whether a sink of that name writes to standard output.
func toStdout(sink string) bool { return strings.HasSuffix(sink, " -") }

func in(place string) string {
	if place == "" {
		return ""
	}
	return "in " + printable(place)
}

// stagesText says what the stages that ask somebody did, a line each. In a run that went on
// with another the requests are those of this one, and what was used is that of both.
func stagesText(stages []engine.StageSummary, resumed bool) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, s := range stages {
		if s.Attempts == 0 && len(s.Usage) == 0 {
			continue
		}
		parts := []string{plural(s.Attempts, "request", "requests"), plural(s.Retries, "retry", "retries"), counted(s.Refusals, "refused"), hedged(s)}
		used := make([]string, 0, len(s.Usage))
		for _, name := range slices.Sorted(maps.Keys(s.Usage)) {
			used = append(used, counted(s.Usage[name], strings.ReplaceAll(printable(name), "_", " ")))
		}
		text := listed(append(parts, used...))
		if resumed && listed(used) != "" {
			text = strings.TrimPrefix(listed(parts)+"; with the earlier run ", "; ") + listed(used)
		}
		say(w, "  %s\t%s\n", printable(s.Name), text)
		for _, more := range append(endpointTexts(s.Endpoints), timeText(s.Time), foundText(s)) {
			if more != "" {
				say(w, "  \t%s\n", more)
			}
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	if b.Len() == 0 {
		return ""
	}
	return "\n" + b.String()
}

// listed puts commas between those parts that are not empty.
func listed(parts []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return p == "" }), ", ")
}

// endpointTexts says how many requests went to each of several endpoints, and why one
// got no more.
func endpointTexts(endpoints []policy.EndpointState) []string {
	var lines, shares []string
	for _, e := range endpoints {
		shares = append(shares, fmt.Sprintf("%s %s", humanize.Comma(e.Attempts), printable(e.Name)))
		if e.Out != "" {
			lines = append(lines, abridged(printable(e.Name+" was asked no more: "+e.Out), longestReason))
		}
	}
	if len(shares) == 0 {
		return nil
	}
	return append([]string{"asked: " + strings.Join(shares, ", ")}, lines...)
}

// hedged says how many requests were made beside a late one, "" if none was.
func hedged(s engine.StageSummary) string {
	if s.Hedges == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s answered first)", counted(s.Hedges, "hedged"), humanize.Comma(s.HedgesWon))
}

// equation is the line in which the numbers add up: "817 read = 810 delivered + 5
// filtered + 2 dead-lettered".
func equation(c engine.Counts) string {
	left := []ending{{words: "read", count: c.Read}, {words: "made by splits", count: c.Made}}
	right := []ending{
		{words: "delivered", count: c.Delivered},
		{words: "filtered", count: c.Dropped},
		{words: "dropped on error", count: c.DroppedOnError},
		{words: "dead-lettered", count: c.DeadLettered},
		{words: "absorbed", count: c.Absorbed},
		{words: "unfinished", count: c.Unfinished},
	}
	text := sum(left)
	if c.Merged > 0 {
		text += fmt.Sprintf(" − %s merged", humanize.Comma(c.Merged))
	}
	return text + " = " + sum(right)
}

// sum writes what is not 0, or the first.
func sum(terms []ending) string {
	first := terms[:1]
	terms = slices.DeleteFunc(slices.Clone(terms), func(e ending) bool { return e.count == 0 })
	if len(terms) == 0 {
		terms = first
	}
	texts := make([]string, len(terms))
	for i, t := range terms {
		texts[i] = humanize.Comma(t.count) + " " + t.words
	}
	return strings.Join(texts, " + ")
}
