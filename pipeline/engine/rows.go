package engine

import (
	"errors"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/rowmill/rowmill/internal/known"
	"github.com/rowmill/rowmill/pipeline"
)

// rows are the rows that were read and have not ended, in the order of the source: all
// others below next have. It is under the tracker's lock.
type rows struct {
	first, last *row // nil if there are none
	next        uint64
	latest      place // of the last row that was read; at first of that to begin with

	hashed bool   // the source cannot begin in the middle: prefix is kept
	prefix uint32 // a hash of all rows that were read

	base uint64 // the number of the source's first row

	noted    bool // done is kept
	deadKept bool // dead letters go to a sink
	done     []known.ID
	enough   func() // called when there are many in done

	old            *known.Set // of a run for new rows: the others; nil of any other run
	known, changed uint64     // rows that were passed by; others that have the key of one

	// From the run that this one goes on with.
	begun     place
	skipBelow uint64                       // rows below have ended, but for these
	reopened  map[uint64]map[string]ending // rows not read again so far: their children that have ended; perhaps none
}

// place is where a row stands in its source.
type place struct {
	seq    uint64
	origin pipeline.Origin
	before uint32 // a hash of the rows in front of it, if rows are hashed
}

// row is one that has not ended.
type row struct {
	place
	prev, next *row

	id      known.ID
	counted bool // as a row of the run; before that it was only read

	made, merged int64
	ended        [endings]int64
	children     map[string]ending // those that have ended, by path
	earlier      map[string]ending // those that had, in the run that this one goes on with
}

// begin makes r a row that has not ended.
func (s *rows) begin(r *pipeline.Record, id known.ID) *leaf {
	s.pass(r)
	if s.old != nil {
		s.old.Add(id)
	}
	both := &struct {
		leaf leaf
		row  row
	}{leaf{open: 1}, row{place: s.latest, prev: s.last, id: id}}
	both.leaf.row = &both.row
	if earlier, again := s.reopened[r.Ref.Seq]; again {
		both.row.earlier, both.row.children = earlier, maps.Clone(earlier)
		delete(s.reopened, r.Ref.Seq)
	}
	if s.last == nil {
		s.first = &both.row
	} else {
		s.last.next = &both.row
	}
	s.last = &both.row
	return &both.leaf
}

// pass notes that r was read.
func (s *rows) pass(r *pipeline.Record) {
	s.next = max(s.next, r.Ref.Seq+1)
	s.latest = place{r.Ref.Seq, r.Origin, s.prefix}
	if s.hashed {
		s.prefix = crc32.Update(s.prefix, castagnoli(), r.AppendJSON(nil))
	}
}

var (
	errOtherRows = errors.New("the rows that it yields first are not those that the unfinished run has read; --fresh starts over")
	errFewerRows = errors.New("it has fewer rows than the unfinished run has read; --fresh starts over")
)

// skip reports whether a row has ended in an earlier run, or is known. The error is that
// the source yields others than it did then.
func (s *rows) skip(r *pipeline.Record, id known.ID) (bool, error) {
	if s.hashed && r.Ref.Seq == s.begun.seq && s.prefix != s.begun.before {
		return false, errOtherRows
	}
	if r.Ref.Seq >= s.skipBelow {
		return s.skipKnown(r, id), nil
	}
	if _, open := s.reopened[r.Ref.Seq]; open {
		return false, nil
	}
	s.pass(r)
	return true, nil
}

// skipKnown reports whether a row is known to a run for new rows.
func (s *rows) skipKnown(r *pipeline.Record, id known.ID) bool {
	switch {
	case s.old == nil:
		return false
	case s.old.Has(id):
		s.pass(r)
		s.known++
		return true
	case s.old.HasKey(id):
		s.changed++
	}
	return false
}

// mostDone is how many rows may end before a checkpoint notes which.
const mostDone = 1 << 16

// judge notes what an ending means for whether the row is done.
func (s *rows) judge(l *leaf, how ending) {
	switch how {
	case delivered:
		l.kept = true
	case deadLettered:
		l.kept = l.kept || s.deadKept
		l.lost = l.lost || !s.deadKept
	case droppedOnError:
		l.lost = true
	}
}

// end takes out a row all of whose leaves have ended.
func (s *rows) end(r *row, done bool) {
	if s.noted && done {
		if s.done = append(s.done, r.id); len(s.done) == mostDone {
			s.enough()
		}
	}
	if r.prev == nil {
		s.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		s.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next = nil, nil
}

// mark notes that a child of the row has ended, while others have not.
func (r *row) mark(path string, how ending) {
	if r.children == nil {
		r.children = map[string]ending{}
	}
	r.children[path] = how
}

func (r *row) count(how ending) {
	if how == mergedInto {
		r.merged++
	} else {
		r.ended[how]++
	}
}

// stretches are the rows that have not ended: the first and the last of each stretch.
func (s *rows) stretches() [][2]uint64 {
	var all [][2]uint64
	add := func(seq uint64) {
		if n := len(all); n > 0 && all[n-1][1]+1 == seq {
			all[n-1][1]++
		} else {
			all = append(all, [2]uint64{seq, seq})
		}
	}
	for r := s.first; r != nil; r = r.next {
		add(r.seq)
	}
	for _, seq := range slices.Sorted(maps.Keys(s.reopened)) { // they are read behind those
		add(seq)
	}
	return all
}

// partly are the children of open rows that have ended.
func (s *rows) partly() map[uint64]map[string]ending {
	all := map[uint64]map[string]ending{}
	for r := s.first; r != nil; r = r.next {
		if len(r.children) > 0 {
			all[r.seq] = maps.Clone(r.children)
		}
	}
	for seq, children := range s.reopened {
		if len(children) > 0 {
			all[seq] = children
		}
	}
	return all
}

// castagnoli is the table that processors have instructions for; it is made once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
