package known_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/known"
)

func read(t *testing.T, file []byte) *known.Set {
	t.Helper()
	s, err := known.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func row(i int) known.ID {
	return known.IDOf(fmt.Sprint("key ", i), fmt.Appendf(nil, `{"i":%d}`, i))
}

// What is written, in as many parts as there are checkpoints, is what is read.
func TestWhatIsWrittenIsKnown(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		model := map[[2]int]bool{}
		one := rapid.Custom(func(t *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, 8).Draw(t, "key"), rapid.IntRange(0, 3).Draw(t, "content")}
		})
		id := func(r [2]int) known.ID { return known.IDOf(fmt.Sprint(r[0]), fmt.Append(nil, r[1])) }
		keys := map[int]bool{}
		var file []byte
		for _, part := range rapid.SliceOfN(rapid.SliceOfN(one, 0, 9), 0, 4).Draw(t, "written") {
			var ids []known.ID
			for _, r := range part {
				ids, model[r], keys[r[0]] = append(ids, id(r)), true, true
			}
			file = known.AppendFrames(file, ids)
		}
		s, err := known.Read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rapid.SliceOfN(one, 0, 9).Draw(t, "added") {
			s.Add(id(r))
			model[r] = true
		}
		for key := range 9 {
			for content := range 4 {
				r := [2]int{key, content}
				if got := s.Has(id(r)); got != model[r] {
					t.Errorf("%v: known %v, want %v", r, got, model[r])
				}
			}
			if got := s.HasKey(id([2]int{key, 0})); got != keys[key] {
				t.Errorf("key %d: known %v, want %v", key, got, keys[key])
			}
		}
	})
}

// Any byte that was changed or is missing is noticed, but for a file that ends earlier
// between two frames: how long it is to be the checkpoint says.
func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	first := known.AppendFrames(nil, []known.ID{row(1), row(2)})
	file := known.AppendFrames(first, []known.ID{row(3)})
	for i := range file {
		changed := bytes.Clone(file)
		changed[i] ^= 0x10
		want := "it is damaged at byte 0"
		if i >= len(first) {
			want = fmt.Sprintf("it is damaged at byte %d", len(first))
		}
		if _, err := known.Read(bytes.NewReader(changed), int64(len(file))); err == nil || err.Error() != want {
			t.Errorf("byte %d changed: got %v, want %q", i, err, want)
		}
		if i == 0 || i == len(first) {
			continue
		}
		if _, err := known.Read(bytes.NewReader(file[:i]), int64(i)); err == nil || err.Error() != want {
			t.Errorf("cut at byte %d: got %v, want %q", i, err, want)
		}
	}
}

func TestManyAtOnceAreSeveralFrames(t *testing.T) {
	t.Parallel()
	ids := make([]known.ID, 70_000)
	for i := range ids {
		ids[i] = row(i)
	}
	s := read(t, known.AppendFrames(nil, ids))
	for _, i := range []int{0, 65_535, 65_536, 69_999} {
		if !s.Has(row(i)) {
			t.Errorf("row %d is not known", i)
		}
	}
	if s.Has(row(70_000)) {
		t.Error("a row is known that was not written")
	}
}

func TestAnIDIsOfTheWholeKeyAndContent(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	a := known.IDOf("k", []byte(long+"a"))
	if b := known.IDOf("k", []byte(long+"b")); a.Key != b.Key || a.Content == b.Content {
		t.Errorf("got %v and %v", a, b)
	}
	if b := known.IDOf("l", []byte(long+"a")); a.Key == b.Key || a.Content != b.Content {
		t.Errorf("got %v and %v", a, b)
	}
}

// A million rows take 16 MB, and not much more while they are read.
func TestAMillionRowsAreSmall(t *testing.T) { // not parallel: it looks at the heap
	ids := make([]known.ID, 0, 1<<16)
	var file []byte
	for i := range 1_000_000 {
		if ids = append(ids, row(i)); len(ids) == cap(ids) {
			file, ids = known.AppendFrames(file, ids), ids[:0]
		}
	}
	file = known.AppendFrames(file, ids)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := read(t, file)
	if grown := int64(heap()) - int64(before); grown > 20<<20 {
		t.Errorf("the set takes %d MiB, want 16", grown>>20)
	}
	if !s.Has(row(999_999)) || s.Has(row(1_000_000)) {
		t.Error("the set is not what was written")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{})
	f.Add(known.AppendFrames(nil, []known.ID{row(1), row(2)}))
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := known.Read(bytes.NewReader(file), int64(len(file)))
		if err == nil && len(file) > 0 && len(file) < 8 || err == nil && s == nil {
			t.Errorf("got %v, %v", s, err)
		}
	})
}

func BenchmarkIDOf(b *testing.B) {
	content := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	for b.Loop() {
		known.IDOf("ticket-4711", content)
	}
}

func BenchmarkHas(b *testing.B) {
	ids := make([]known.ID, 1_000_000)
	for i := range ids {
		ids[i] = row(i)
	}
	file := known.AppendFrames(nil, ids)
	s, err := known.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !s.Has(ids[i*7919%len(ids)]) {
			b.Fatal("not known")
		}
	}
}
