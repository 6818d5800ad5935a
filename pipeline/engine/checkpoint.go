package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rowmill/rowmill/internal/journal"
	"github.com/rowmill/rowmill/pipeline"
)

// checkpointVersion is that of the checkpoint's form. A run of another is not gone on
// with.
const checkpointVersion = 1

// checkpoint is how far a run got: all that another needs to go on, together.
type checkpoint struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	// Shape is what shapes rows and answers, see [pipeline.Pipeline].
	Shape  map[string]string `json:"shape,omitempty"`
	Source sourceMark        `json:"source"`
	Sink   sinkMark          `json:"sink"`
	// DeadLetter is the sink for dead letters.
	DeadLetter sinkMark `json:"dead_letter"`
	// Refused are the records that have not ended and that one of several sinks has refused.
	Refused []refusedMark `json:"refused,omitempty"`
	// States are how long the files of the stages that remember are, by stage.
	States  map[string]int64 `json:"states,omitempty"`
	Journal journal.Mark     `json:"journal"`
	// Done is the file of the rows that are done; nil if none is kept.
	Done *doneMark `json:"done,omitempty"`
	// New says that the run passes by rows that are done, see [Options.New].
	New    bool   `json:"new,omitempty"`
	Counts Counts `json:"counts"` // of the rows that have ended
	// Usage is what the stages report, by stage and name.
	Usage    map[string]map[string]int64 `json:"usage,omitempty"`
	Elapsed  time.Duration               `json:"elapsed"`
	Finished bool                        `json:"finished"`
}

// sourceMark is how far a source got. All rows below Next have ended, but for those
// in Open.
type sourceMark struct {
	Identity string `json:"identity,omitempty"`
	Next     uint64 `json:"next"`
	// Open are the rows that have not ended: the first and the last of each stretch.
	Open [][2]uint64 `json:"open,omitempty"`
	// Base is the number of the source's first row: a run for new rows goes on with the
	// numbers of the one before, so that no two rows have the same.
	Base uint64 `json:"base,omitempty"`
	// Known are the rows from Base on that were passed by, Changed others that have the key
	// of one.
	Known   uint64 `json:"known,omitempty"`
	Changed uint64 `json:"changed,omitempty"`
	// Children are the children of open rows that have ended, and how.
	Children map[uint64]map[string]ending `json:"children,omitempty"`
	// From is the row to begin with: no row below is open. At is where it stood, Prefix
	// a hash of all rows in front of it.
	From   uint64          `json:"from"`
	At     pipeline.Origin `json:"at"`
	Prefix uint32          `json:"prefix,omitempty"`
}

// sinkMark is where a sink stands.
type sinkMark struct {
	Started  bool              `json:"started"`
	Position pipeline.Position `json:"position,omitempty"`
}

// mark returns how far the source got, the counts of the rows that have ended, and who is
// to be told so once that is durable; those rows that are done go to a file.
func (t *tracker) mark(done *doneFile) (sourceMark, Counts, []notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, counts := t.rows, t.sum()
	counts.Unfinished = 0
	done.take(s)
	from := s.latest
	if s.first != nil {
		from = s.first.place
	}
	for r := s.first; r != nil; r = r.next {
		counts.without(r)
	}
	covered := t.uncovered
	t.uncovered = nil
	return sourceMark{
		Next: s.next, Open: s.stretches(), Children: s.partly(), Base: s.base, Known: s.known, Changed: s.changed,
		From: from.seq, At: from.origin, Prefix: from.before,
	}, counts, covered
}

// without takes out what a row that has not ended has added.
func (c *Counts) without(r *row) {
	if r.counted {
		c.Read--
	}
	c.Made -= r.made
	c.Merged -= r.merged
	c.Delivered -= r.ended[delivered]
	c.Dropped -= r.ended[dropped]
	c.DroppedOnError -= r.ended[droppedOnError]
	c.DeadLettered -= r.ended[deadLettered]
}

// resume has the tracker go on where the mark left it.
func (t *tracker) resume(m sourceMark, c Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read.Store(c.Read)
	t.arrived.Store(c.Delivered)
	t.made, t.merged = c.Made, c.Merged
	t.ended = [endings]int64{delivered: c.Delivered, dropped: c.Dropped, droppedOnError: c.DroppedOnError, deadLettered: c.DeadLettered}
	s := t.rows
	s.next, s.skipBelow = m.Next, m.Next
	s.base, s.known, s.changed = m.Base, m.Known, m.Changed
	s.latest = place{m.From, m.At, m.Prefix}
	s.begun = s.latest
	s.reopened = map[uint64]map[string]ending{}
	for _, stretch := range m.Open {
		for seq := stretch[0]; seq <= stretch[1]; seq++ {
			s.reopened[seq] = m.Children[seq]
		}
	}
}

func (c checkpoint) encode() ([]byte, error) { return json.Marshal(c) }

func decodeCheckpoint(data []byte) (checkpoint, error) {
	var c checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("the checkpoint cannot be read: %w", err)
	}
	if c.Version != checkpointVersion {
		return c, fmt.Errorf("the checkpoint is of version %d, this program knows %d; finish that run with the program that began it", c.Version, checkpointVersion)
	}
	return c, nil
}

// differences names the keys whose values shape the rows and differ.
func differences(was, now map[string]string) []string {
	keys := map[string]bool{}
	for k, v := range was {
		if now[k] != v {
			keys[k] = true
		}
	}
	for k := range now {
		if _, known := was[k]; !known {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// mostDifferences bounds how many of them a message names.
const mostDifferences = 5

func listDifferences(keys []string) string {
	more := ""
	if n := len(keys) - mostDifferences; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
		keys = keys[:mostDifferences]
	}
	return strings.Join(keys, ", ") + more
}

// open is how many rows were read and have not ended.
func (m sourceMark) open() (n uint64) {
	for _, stretch := range m.Open {
		n += stretch[1] - stretch[0] + 1
	}
	return n
}

// settled returns whether what a Ref names has ended, so that it will not be asked for
// again.
func (m sourceMark) settled() func(pipeline.Ref) bool {
	return func(ref pipeline.Ref) bool {
		if ref.Seq >= m.Next {
			return false
		}
		_, open := slices.BinarySearchFunc(m.Open, ref.Seq, func(stretch [2]uint64, seq uint64) int {
			switch {
			case stretch[1] < seq:
				return -1
			case stretch[0] > seq:
				return 1
			default:
				return 0
			}
		})
		if !open {
			return true
		}
		_, ended := m.Children[ref.Seq][ref.Path]
		return ended
	}
}
