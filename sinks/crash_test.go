package sinks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/pipeline"
)

// crashing is a run that is killed, loses its power, and meets faults, over and over.
// What a checkpoint would hold outlives it: a position, and the rows in front of it.
type crashing struct {
	disk *fsystest.Disk
	path string
	at   pipeline.Position
	done int
}

const crashRows = 40

// session is one process: it goes on where the last checkpoint is. It returns nil once
// all rows are there and the file is closed.
func (c *crashing) session(t *testing.T, rt *rapid.T, files fsys.FS) error {
	f := fileOn(t, files, FileConfig{Path: c.path})
	if err := f.Check(context.Background(), c.at); err != nil && !harmed(err) {
		rt.Fatalf("check of %q: %v", c.at, err)
	}
	if err := f.Rewind(context.Background(), c.at); err != nil {
		return err
	}
	for i := c.done; i < crashRows; {
		n := rapid.IntRange(1, 12).Draw(rt, "rows")
		for ; n > 0 && i < crashRows; n-- {
			if err := f.Write(context.Background(), []*pipeline.Record{row(t, i)}); err != nil {
				return err
			}
			i++
		}
		if i < crashRows && rapid.IntRange(0, 3).Draw(rt, "commits") == 0 {
			continue
		}
		at, err := f.Commit(context.Background())
		if err != nil {
			return errors.Join(err, f.Close(context.Background()))
		}
		if rapid.IntRange(0, 3).Draw(rt, "the checkpoint is written") > 0 || i == crashRows {
			c.at, c.done = at, i
		}
	}
	return f.Close(context.Background())
}

// harmed says that an error is one of those that the test made.
func harmed(err error) bool {
	return errors.Is(err, fsystest.ErrKilled) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC)
}

// TestEveryRowOnceAfterCrashes is promise 4 of a file: whatever happens to the process
// and to what is not synced, all rows are there in the end, each once.
func TestEveryRowOnceAfterCrashes(t *testing.T) {
	t.Parallel()
	for _, name := range crashFiles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				c := &crashing{disk: fsystest.New(), path: "out/new/" + name}
				choose := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "choose") }
				for range rapid.IntRange(1, 5).Draw(rt, "crashes") {
					files := c.disk.Boot()
					if rapid.Bool().Draw(rt, "a fault") {
						c.disk.Inject(faultAt(rapid.IntRange(0, 25).Draw(rt, "at"), choose))
					} else {
						c.disk.KillAt(rapid.IntRange(0, 25).Draw(rt, "kill at"), choose)
					}
					if err := c.session(t, rt, files); err != nil && !harmed(err) {
						rt.Fatal(err)
					}
					if rapid.Bool().Draw(rt, "power cut") {
						c.disk.PowerCut(choose)
					}
				}
				files := c.disk.Boot()
				if err := c.session(t, rt, files); err != nil {
					rt.Fatal(err)
				}
				c.disk.PowerCut(func(int) int { return 0 })
				c.check(t, rt, c.disk.Boot())
			})
		})
	}
}

// faultAt has the n-th call that changes something fail.
func faultAt(n int, choose func(n int) int) func(fsystest.Call) fsystest.Fault {
	return func(call fsystest.Call) fsystest.Fault {
		if n--; n != 0 || call.Op == fsystest.OpRead {
			return fsystest.Fault{}
		}
		return fsystest.Fault{Err: []error{syscall.EIO, syscall.ENOSPC}[choose(2)], Bytes: choose(call.Size + 1)}
	}
}

// check reads the file.
func (c *crashing) check(t *testing.T, rt *rapid.T, files fsys.FS) {
	file, err := files.OpenFile(c.path, os.O_RDONLY, 0)
	if err != nil {
		rt.Fatal(err)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		rt.Fatal(err)
	}
	text, err := io.ReadAll(codec.Decompress(bytes.NewReader(data), c.path, codec.AutoCompression))
	if err != nil {
		rt.Fatal(err)
	}
	var want []byte
	encoder, err := codec.NewEncoder(codec.WriteOptions{Path: c.path})
	for i := range crashRows {
		if err == nil {
			want, err = encoder.Append(want, row(t, i))
		}
	}
	if err != nil || string(text) != string(want) {
		rt.Fatalf("there are %d rows (%d bytes), want %d (%d bytes); %v",
			strings.Count(string(text), "\n"), len(text), strings.Count(string(want), "\n"), len(want), err)
	}
}
