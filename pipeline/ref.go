package pipeline

import (
	"cmp"
	"strconv"
	"strings"
)

// Ref is the engine's identity of a record: which row of which source it is, or
// which child of that row. It is unique within a run and the same in every run
// over the same input. Settling and journalling use it alone; the user's own
// identity is [Record.ID].
type Ref struct {
	// Source is the index of the source in the pipeline, from 0.
	Source int
	// Seq is the number of the row within its source, from 0. Rows that could
	// not be read count too.
	Seq uint64
	// Path names a child: "/2" is the third child of the row, "/2/0" the first
	// child of that one. Empty for the row itself.
	Path string
}

// Child returns the Ref of the i-th child of r, from 0.
func (r Ref) Child(i int) Ref {
	r.Path += "/" + strconv.Itoa(i)
	return r
}

// String renders the Ref as "source:row/child", e.g. "0:17/2".
func (r Ref) String() string {
	return strconv.Itoa(r.Source) + ":" + strconv.FormatUint(r.Seq, 10) + r.Path
}

// Compare returns -1, 0 or 1: what comes first in the order of the source is less, a
// row comes before its children, and these by their numbers ("/2" before "/10"). Of
// two sources the one that stands first in the pipeline is less, whenever its rows are
// read.
func (r Ref) Compare(other Ref) int {
	if c := cmp.Or(cmp.Compare(r.Source, other.Source), cmp.Compare(r.Seq, other.Seq)); c != 0 {
		return c
	}
	return comparePaths(r.Path, other.Path)
}

// comparePaths compares number by number. They have no zeros in front, so that the
// longer number is the larger one.
func comparePaths(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = firstStep(a)
		y, b = firstStep(b)
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b)) // one at least is empty
}

// firstStep takes the first number of a path apart from what follows.
func firstStep(path string) (step, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// Origin says where a record's bytes stood, for messages and dead letters.
type Origin struct {
	// Path is the file or object; empty where the source has none.
	Path string
	// Line is the line of the record's first byte, from 1; 0 where there are none.
	Line int64
	// Offset is the byte offset of the record in the decoded (decompressed)
	// stream; -1 where there is none.
	Offset int64
	// Source is which of several sources it was (sources.Concat), from 0; a source that
	// is alone leaves it.
	Source int `json:",omitempty"`
}

// String renders the Origin as "path:line", or "path" where there are no lines.
func (o Origin) String() string {
	switch {
	case o.Path == "" && o.Line == 0:
		return ""
	case o.Line == 0:
		return o.Path
	default:
		return o.Path + ":" + strconv.FormatInt(o.Line, 10)
	}
}

// Position says how far a sink's durable output reaches, in the sink's own terms
// (a file: its length in bytes). Empty for sinks that cannot say.
type Position string
