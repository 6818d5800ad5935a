package stages

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// taken is a set of records that came, for each source, in the order of their Refs: as
// spans, of which rows that follow each other make one.
type taken map[int][]span

// span is from one Ref to another, with all that stand between them.
type span struct{ from, to pipeline.Ref }

// mostSpans bounds the spans of a source, at about 6 MiB. The first ones are one from
// then on: they are so far behind what is in flight that nothing in between is shown
// any more.
const mostSpans = 1 << 16

// find returns the index of the first span that does not end before ref, and whether
// ref is in it.
func (t taken) find(ref pipeline.Ref) (i int, in bool) {
	all := t[ref.Source]
	i, _ = slices.BinarySearchFunc(all, ref, func(s span, ref pipeline.Ref) int { return s.to.Compare(ref) })
	return i, i < len(all) && all[i].from.Compare(ref) <= 0
}

func (t taken) has(ref pipeline.Ref) bool {
	_, in := t.find(ref)
	return in
}

// add adds a record that is not in the set, and reports whether it stands behind all
// others of its source.
func (t taken) add(ref pipeline.Ref) (behind bool) {
	i, _ := t.find(ref)
	behind = i == len(t[ref.Source])
	t.insert(span{ref, ref})
	return behind
}

// insert adds a span. What it meets becomes one with it.
func (t taken) insert(s span) {
	all := t[s.from.Source]
	i, _ := t.find(s.from)
	if i > 0 && follows(all[i-1].to, s.from) {
		i--
		s.from = all[i].from
	}
	end := i
	for ; end < len(all) && (all[end].from.Compare(s.to) <= 0 || follows(s.to, all[end].from)); end++ {
		if all[end].from.Compare(s.from) < 0 {
			s.from = all[end].from
		}
		if all[end].to.Compare(s.to) > 0 {
			s.to = all[end].to
		}
	}
	if all = slices.Replace(all, i, end, s); len(all) > mostSpans {
		half := mostSpans / 2
		all[half].from = all[0].from
		all = slices.Clone(all[half:])
	}
	t[s.from.Source] = all
}

// follows reports whether b is the row behind the row a, or the child behind the child
// a. Which child is the last of its row is not known.
func follows(a, b pipeline.Ref) bool {
	cut := strings.LastIndexByte(a.Path, '/')
	if cut < 0 {
		return b.Path == "" && a.Seq+1 == b.Seq
	}
	n, err := strconv.Atoi(a.Path[cut+1:])
	return err == nil && a.Seq == b.Seq && b.Path == a.Path[:cut]+"/"+strconv.Itoa(n+1)
}

// merge adds all of another set.
func (t taken) merge(other taken) {
	for source, spans := range other {
		for _, s := range spans {
			s.from.Source, s.to.Source = source, source // which a loaded span does not know
			t.insert(s)
		}
	}
}

// savedSpan is how a span is saved.
type savedSpan struct {
	Seq  uint64 `json:"from"`
	Path string `json:"child,omitempty"`
	More uint64 `json:"more,omitempty"` // rows up to the last
	To   string `json:"to,omitempty"`   // the last one's path
}

// MarshalJSON leaves out what is said by the key in the set.
func (s span) MarshalJSON() ([]byte, error) {
	return json.Marshal(savedSpan{s.from.Seq, s.from.Path, s.to.Seq - s.from.Seq, s.to.Path})
}

// UnmarshalJSON does not know the source.
func (s *span) UnmarshalJSON(text []byte) error {
	var saved savedSpan
	if err := json.Unmarshal(text, &saved); err != nil {
		return err
	}
	s.from = pipeline.Ref{Seq: saved.Seq, Path: saved.Path}
	s.to = pipeline.Ref{Seq: saved.Seq + saved.More, Path: saved.To}
	return nil
}
