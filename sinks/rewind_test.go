package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/pipeline"
)

// faulty is the file system with faults: each is asked before the call.
type faulty struct {
	fsys.OS
	write    func(p []byte) (int, error) // how much of p is written, and what is said then
	sync     func() error
	truncate func() error
}

func (f *faulty) OpenFile(path string, flag int, perm fs.FileMode) (fsys.File, error) {
	file, err := f.OS.OpenFile(path, flag, perm)
	return faultyFile{file, f}, err
}

type faultyFile struct {
	fsys.File
	faults *faulty
}

func (f faultyFile) Write(p []byte) (int, error) {
	if f.faults.write == nil {
		return f.File.Write(p)
	}
	n, fault := f.faults.write(p)
	n, err := f.File.Write(p[:n])
	return n, errors.Join(err, fault)
}

func (f faultyFile) Sync() error {
	if f.faults.sync != nil {
		return f.faults.sync()
	}
	return f.File.Sync()
}

func (f faultyFile) Truncate(size int64) error {
	if f.faults.truncate != nil {
		return f.faults.truncate()
	}
	return f.File.Truncate(size)
}

// fileOn makes a sink on a file system.
func fileOn(t *testing.T, files fsys.FS, c FileConfig) *File {
	t.Helper()
	f, err := NewFile(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	f.out.FS = files
	return f
}

// row is about as long as one of a data set; i tells it from others.
func row(t *testing.T, i int) *pipeline.Record {
	t.Helper()
	r, err := pipeline.ParseRecord(fmt.Appendf(nil, `{"i":%d,"text":"%s"}`, i, strings.Repeat(string(rune('a'+i%26)), 50+i%70)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put writes rows, with a commit behind each tenth, and returns the positions by the
// number of rows in front of them, until something fails.
func put(t *testing.T, f *File, from, to int) (positions map[int]pipeline.Position, err error) {
	t.Helper()
	positions = map[int]pipeline.Position{}
	for i := from; i < to; i++ {
		if err := f.Write(context.Background(), []*pipeline.Record{row(t, i)}); err != nil {
			return positions, err
		}
		if (i+1)%10 != 0 {
			continue
		}
		p, err := f.Commit(context.Background())
		if err != nil {
			return positions, err
		}
		positions[i+1] = p
	}
	return positions, nil
}

func unpacked(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(codec.Decompress(bytes.NewReader(data), path, codec.AutoCompression))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(text)
}

var outputs = []string{"a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.csv.gz", "a.csv.zst"}

// TestCutBackAndGoOn cuts a long output back to one position after the other, each
// farther in front, and goes on to the end. It is what an undisturbed run writes.
func TestCutBackAndGoOn(t *testing.T) {
	t.Parallel()
	const rows = 500
	for _, name := range outputs {
		path, undisturbed := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), name)
		f, g := fileOn(t, nil, FileConfig{Path: path}), fileOn(t, nil, FileConfig{Path: undisturbed})
		if err := errors.Join(f.Start(t.Context(), false), g.Start(t.Context(), false)); err != nil {
			t.Fatal(err)
		}
		positions, err := put(t, f, 0, rows)
		_, other := put(t, g, 0, rows)
		if err := errors.Join(err, other, f.Close(t.Context()), g.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		want := unpacked(t, undisturbed)
		for _, at := range []int{500, 490, 250, 10} {
			f := fileOn(t, nil, FileConfig{Path: path})
			if err := f.Rewind(t.Context(), positions[at]); err != nil {
				t.Fatal(err)
			}
			if _, err := put(t, f, at, rows); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := unpacked(t, path); got != want {
				t.Errorf("%s, cut back to row %d: %d bytes, want %d", name, at, len(got), len(want))
			}
		}
	}
}

// TestFaultsLoseNothing has every write and sync fail once, in turn. What was
// committed is there, and a run that goes on completes it.
func TestFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]string{"short write": "output", "half a write": "disk_full", "no room": "disk_full", "sync": "output"} {
		for _, name := range outputs {
			t.Run(fault+"/"+name, func(t *testing.T) {
				t.Parallel()
				for _, after := range []int{0, 1, 2, 7} {
					failOnce(t, fault, want, name, after)
				}
			})
		}
	}
}

func failOnce(t *testing.T, fault, want, name string, after int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	files := &faulty{}
	now := func() bool { after--; return after == -1 }
	files.write = func(p []byte) (int, error) {
		switch {
		case fault == "sync" || !now():
			return len(p), nil
		case fault == "short write":
			return len(p) / 2, nil
		case fault == "half a write":
			return len(p) / 2, syscall.ENOSPC
		default:
			return 0, syscall.ENOSPC
		}
	}
	files.sync = func() error {
		if fault == "sync" && now() {
			return syscall.EIO
		}
		return nil
	}
	f := fileOn(t, files, FileConfig{Path: path})
	if err := f.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	positions, err := put(t, f, 0, 300)
	if class, code := pipeline.Classify(err); class != pipeline.ClassFatal || code != want || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v (%s, %s), want a fatal one with the code %s", err, class, code, want)
	}
	if _, err := f.Commit(t.Context()); err == nil {
		t.Error("a commit after one that failed is no error")
	}
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	done := 10 * len(positions)
	g := fileOn(t, nil, FileConfig{Path: path})
	if err := g.Rewind(t.Context(), positions[done]); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, g, done, 300); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(unpacked(t, path), "\n"), "\n")
	if strings.Contains(name, "csv") {
		got = got[1:]
	}
	if len(got) != 300 || !strings.Contains(got[299], "299") || !strings.Contains(got[150], "150") {
		t.Errorf("there are %d rows, want 300", len(got))
	}
}

// committed makes a file with ten rows, and returns where it stands.
func committed(t *testing.T, c FileConfig) pipeline.Position {
	t.Helper()
	f := fileOn(t, nil, c)
	if err := f.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	positions, err := put(t, f, 0, 20)
	if err := errors.Join(err, f.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return positions[10]
}

func TestRewindIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, name := range outputs {
		config := FileConfig{Path: filepath.Join(t.TempDir(), name)}
		at := committed(t, config)
		broken := func() error { return syscall.EIO }
		for _, files := range []*faulty{{truncate: broken}, {sync: broken}} {
			f := fileOn(t, files, config)
			if err := f.Rewind(t.Context(), at); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), config.Path) {
				t.Errorf("%s: got %v", name, err)
			}
			if _, err := f.Commit(t.Context()); err == nil {
				t.Errorf("%s: it commits, and was never opened", name)
			}
			if err := f.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		f := fileOn(t, nil, config)
		if err := f.Rewind(t.Context(), at); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := put(t, f, 10, 20); err != nil {
			t.Error(err)
		}
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := strings.Count(unpacked(t, config.Path), "\n"); got != 20 && got != 21 {
			t.Errorf("%s: %d lines", name, got)
		}
	}
}

func TestRewindRefuses(t *testing.T) {
	t.Parallel()
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, c := range map[string]struct {
		change  func(path string) error
		columns []string
		at      pipeline.Position // of the run itself if empty
		want    string
	}{
		"gone":             {change: os.Remove, want: "is gone since the run"},
		"shorter":          {change: write("i,text\n"), want: "has become shorter, 7 bytes where"},
		"other rows":       {change: write(strings.Repeat("x", 5000)), want: "was changed: the bytes in front of byte"},
		"a folder":         {change: func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, want: "is no file any more"},
		"other columns":    {columns: []string{"text", "i"}, want: "its columns are i, text, and text, i are to be written"},
		"no position":      {at: "12", want: `"12" is no position of a file`},
		"below nothing":    {at: `{"size":-1}`, want: "is no position of a file"},
		"no gzip position": {at: `{"size":7,"tail":"x"}`, want: "was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := FileConfig{Path: filepath.Join(t.TempDir(), "a.csv")}
			at := committed(t, config)
			if c.at != "" {
				at = c.at
			}
			if c.change != nil {
				if err := c.change(config.Path); err != nil {
					t.Fatal(err)
				}
			}
			was, _ := os.ReadFile(config.Path)
			config.Columns = c.columns
			f := fileOn(t, nil, config)
			if err := f.Check(t.Context(), at); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check: got %v, want %q", err, c.want)
			}
			err := f.Rewind(t.Context(), at)
			if class, _ := pipeline.Classify(err); class != pipeline.ClassFatal || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (%s), want %q", err, class, c.want)
			}
			if err := f.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if is, _ := os.ReadFile(config.Path); !bytes.Equal(is, was) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestHeadersWithoutRows goes on where nothing was committed, and where there was
// nothing but a header.
func TestHeadersWithoutRows(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.csv", "a.csv.gz", "a.csv.zst"} {
		config := FileConfig{Path: filepath.Join(t.TempDir(), name), Columns: []string{"i", "text"}}
		f := fileOn(t, nil, config)
		if err := f.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		at, err := f.Commit(t.Context())
		if err := errors.Join(err, f.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		for _, to := range []pipeline.Position{at, "", at} {
			f = fileOn(t, nil, config)
			if err := f.Rewind(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			if to != "" {
				if _, err := put(t, f, 0, 10); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, want := unpacked(t, config.Path), 1
			if to != "" {
				want = 11
			}
			if strings.Count(got, "\n") != want || strings.Count(got, "i,text") != 1 {
				t.Errorf("%s, cut back to %q: got %q", name, to, got)
			}
		}
	}
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]pipeline.Delivery{
		filepath.Join(t.TempDir(), "new", "a.jsonl"): pipeline.ExactlyOnce,
		"-":        pipeline.NotKept,
		os.DevNull: pipeline.NotKept,
	} {
		f, err := NewFile(FileConfig{Path: path, Format: codec.JSONL}, pipeline.Env{Stdout: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		text, err := NewText(TextConfig{Path: path, Template: "x"}, pipeline.Env{Stdout: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		if f.Delivery() != want || text.Delivery() != want {
			t.Errorf("%s: got %q and %q, want %q", path, f.Delivery(), text.Delivery(), want)
		}
	}
}

// TestNothingIsKeptOfStandardOutput goes on where nothing can be cut back.
func TestNothingIsKeptOfStandardOutput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for i := range 2 {
		f, err := NewFile(FileConfig{Path: "-", Format: codec.JSONL}, pipeline.Env{Stdout: &out})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Rewind(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		_, err = put(t, f, 0, 10)
		if err := errors.Join(err, f.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); got != 10*(i+1) {
			t.Errorf("%d rows", got)
		}
	}
	f, err := NewFile(FileConfig{Path: "-", Format: codec.JSONL}, pipeline.Env{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Rewind(t.Context(), `{"size":12,"tail":"x"}`); err == nil || !strings.Contains(err.Error(), "standard output is gone") {
		t.Errorf("got %v", err)
	}
}
