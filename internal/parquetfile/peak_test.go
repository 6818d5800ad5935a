//go:build !race

package parquetfile_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/parquetfile"
)

// TestPeakMemory reads a file of many row groups, of a page each: what is held is a few copies
// of a page, packed and not. The race detector would take half a minute over it, and holds
// memory of its own.
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
