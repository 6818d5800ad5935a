package sinks

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/pipeline"
)

// fullDisk takes so many bytes and no more.
type fullDisk struct{ room int }

func (d *fullDisk) write(p []byte) (int, error) {
	n := min(d.room, len(p))
	d.room -= n
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestNoHalfRowIsLeft fills the disk in the middle of a row.
func TestNoHalfRowIsLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]codec.Compression{"a.jsonl": codec.None, "a.jsonl.gz": codec.Gzip, "a.jsonl.zst": codec.Zstd} {
		path := filepath.Join(t.TempDir(), name)
		disk := &fullDisk{1000}
		f := fileOn(t, &faulty{write: disk.write}, FileConfig{Path: path})
		if err := f.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		row, err := pipeline.ParseRecord([]byte(`{"a":"` + strings.Repeat("x", 90) + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		committed := 0
		for err == nil {
			if err = f.Write(t.Context(), []*pipeline.Record{row}); err == nil {
				_, err = f.Commit(t.Context())
			}
			if err == nil {
				committed++
			}
		}
		if _, code := pipeline.Classify(err); code != "disk_full" || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", name, err)
		}
		disk.room = 1 << 20 // there is room again: nothing must be written behind the gap
		if err := f.Write(t.Context(), []*pipeline.Record{row}); err == nil {
			if _, err := f.Commit(t.Context()); err == nil {
				t.Errorf("%s: a row was written after a lost one", name)
			}
		}
		if err := f.Close(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(codec.Decompress(bytes.NewReader(data), path, c))
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
		if want := strings.Repeat(string(row.AppendJSON(nil))+"\n", committed); string(got) != want || committed == 0 {
			t.Errorf("%s: there are %d bytes, want the %d of %d committed rows", name, len(got), len(want), committed)
		}
	}
}
