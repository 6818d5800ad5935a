package stages

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/pipeline"
)

// refs draws Refs as a stage is shown them: most in order, some late.
func refs() *rapid.Generator[pipeline.Ref] {
	return rapid.Custom(func(t *rapid.T) pipeline.Ref {
		return pipeline.Ref{
			Source: rapid.IntRange(0, 1).Draw(t, "source"), Seq: rapid.Uint64Range(0, 12).Draw(t, "seq"),
			Path: rapid.SampledFrom([]string{"", "", "", "/0", "/1", "/2", "/9", "/10", "/10/0", "/10/1", "/11"}).Draw(t, "path"),
		}
	})
}

// TestTakenIsASet compares with a map, through saving in parts too. Children of rows
// that are there themselves cannot come, nor can rows of which there are children.
func TestTakenIsASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set, part, loaded, want := taken{}, taken{}, taken{}, map[pipeline.Ref]bool{}
		whole := rapid.SliceOfN(rapid.Bool(), 26, 26).Draw(t, "whole") // by source and seq
		mayCome := func(r pipeline.Ref) bool {                         // a row is one record, or its children are
			return whole[13*r.Source+int(r.Seq)] == (r.Path == "") && r.Path != "/10"
		}
		for range rapid.IntRange(0, 60).Draw(t, "records") {
			r := refs().Draw(t, "ref")
			if !mayCome(r) || want[r] {
				continue
			}
			behind := true
			for w := range want {
				behind = behind && (w.Source != r.Source || w.Compare(r) < 0)
			}
			if set.has(r) {
				t.Fatalf("%v is not in %v", r, want)
			}
			if got := set.add(r); got != behind {
				t.Fatalf("%v behind all of %v: got %v", r, want, got)
			}
			part.add(r)
			want[r] = true
			if rapid.Bool().Draw(t, "save") {
				text, err := json.Marshal(part)
				var saved taken
				if err != nil || json.Unmarshal(text, &saved) != nil {
					t.Fatalf("%v: %v", part, err)
				}
				loaded.merge(saved)
				part = taken{}
				if !reflect.DeepEqual(loaded, set) {
					t.Fatalf("loaded %v, want %v", loaded, set)
				}
			}
			for range 5 {
				if r := refs().Draw(t, "asked"); mayCome(r) && set.has(r) != want[r] {
					t.Fatalf("%v: got %v, want %v", r, set.has(r), want[r])
				}
			}
		}
	})
}

func TestTakenIsBounded(t *testing.T) {
	t.Parallel()
	set := taken{}
	const last = 4 * mostSpans
	for i := uint64(0); i <= last; i += 2 {
		set.add(pipeline.Ref{Seq: i})
	}
	if n := len(set[0]); n > mostSpans {
		t.Errorf("there are %d spans, more than %d", n, mostSpans)
	}
	for _, c := range []struct {
		seq  uint64
		want bool
	}{{0, true}, {last, true}, {last + 1, false}, {last - 1, false}, {last - mostSpans/2 + 1, false}, {last - mostSpans/2, true}} {
		if got := set.has(pipeline.Ref{Seq: c.seq}); got != c.want {
			t.Errorf("row %d: got %v, want %v", c.seq, got, c.want)
		}
	}
	rows := taken{}
	for i := range uint64(1000) {
		rows.add(pipeline.Ref{Seq: 2 * i, Path: "/0"})
		rows.add(pipeline.Ref{Seq: 2 * i, Path: "/1"})
	}
	if len(rows[0]) != 1000 {
		t.Errorf("children of 1,000 rows are %d spans", len(rows[0]))
	}
}
