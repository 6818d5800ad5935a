package parquetfile_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/parquetfile"
	"github.com/rowmill/rowmill/pipeline"
)

// grouped writes rows of a number and a text, of which each row group has so many, without
// compression.
func grouped(t *testing.T, to io.Writer, rows, group int, text string) {
	t.Helper()
	root, err := parquetfile.ParseSchema(pipeline.RawJSON(`{"n":"int64","text":"string"}`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := parquetfile.NewWriter(to, parquetfile.Given(root), parquetfile.WriteOptions{Compression: "none", GroupRows: int64(group)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := w.Write(pipeline.RawRecord(fmt.Sprintf(`{"n":%d,"text":"%d %s"}`, i, i, text))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPeakMemory reads a file of many row groups, of a page each: what is held is a few copies
// of a page, packed and not.
func TestPeakMemory(t *testing.T) {
	const rows, group = 96 << 10, 4 << 10 // of a kilobyte: 24 row groups of 4 MiB
	path := filepath.Join(t.TempDir(), "a.parquet")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	grouped(t, file, rows, group, strings.Repeat("x", 1000))
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak := m.HeapInuse, uint64(0)
	f, err := parquetfile.Open(file, info.Size(), parquetfile.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	from, err := f.ReadFrom(0)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for i := range rows {
		if _, err := from.Read(); err != nil {
			t.Fatal(err)
		}
		if i%group == group/2 {
			runtime.GC() // what is held, not what is left behind
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse-min(before, m.HeapInuse))
		}
	}
	if most := uint64(20 << 20); f.Groups() != rows/group || peak > most || info.Size() < 4*int64(most) {
		t.Errorf("of %d row groups and %d MiB %d MiB were held, want %d at most", f.Groups(), info.Size()>>20, peak>>20, most>>20)
	}
	t.Logf("%d MiB read, %d KiB held at most", info.Size()>>20, peak>>10)
}

// TestAPageIsNotWhatItsChecksumSays: one byte of a text is another, which nothing but the
// checksum of its page tells.
func TestAPageIsNotWhatItsChecksumSays(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	grouped(t, &out, 30, 10, "as written")
	data := out.Bytes()
	i := bytes.Index(data, []byte("15 as written"))
	if i < 0 {
		t.Fatal("the text of the row 15 is not in the file")
	}
	data[i+3] = 'A'
	got, _, err := read(t, data, 0, parquetfile.Options{Path: "a.parquet"})
	if want := `a.parquet: row group 2 of 3: column "text": a page is damaged: its checksum is another`; err == nil || !strings.Contains(err.Error(), `row group 2 of 3`) || !strings.HasSuffix(err.Error(), "its checksum is another") {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if len(got) != 10 {
		t.Errorf("%d rows in front of it, want 10", len(got))
	}
}
