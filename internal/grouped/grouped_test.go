package grouped_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/internal/aggregate"
	"github.com/rowmill/rowmill/internal/fsys"
	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/internal/grouped"
	"github.com/rowmill/rowmill/pipeline"
)

func plan() *aggregate.Plan {
	return &aggregate.Plan{
		By: []string{"k"}, Count: "n", AtMost: 4,
		Columns: []aggregate.Column{{Name: "s", Kind: aggregate.Sum}, {Name: "first", Kind: aggregate.First}, {Name: "l", Kind: aggregate.List}},
	}
}

// row is the i-th row; k is one of about keys values.
func row(i, keys int) *pipeline.Record {
	k := (i*i + 7*i) % keys
	return pipeline.RawRecord(fmt.Sprintf(`{"k":%d,"s":%d.25,"first":%d,"l":%d}`, k, i, i, i))
}

// small makes a Collection that reaches all its bounds.
func small(files fsys.FS) *grouped.Collection {
	return grouped.New(grouped.Options{Plan: plan(), Memory: 4 << 10, FS: files}).Bounded(4, 6<<10)
}

// read returns what a Collection yields.
func read(t *testing.T, c *grouped.Collection) string {
	t.Helper()
	var b strings.Builder
	for r, err := range c.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		b.Write(r.AppendJSON(nil))
		b.WriteByte('\n')
	}
	return b.String()
}

// want is what comes of so many rows, all in memory.
func want(t *testing.T, rows, keys int) string {
	t.Helper()
	c := grouped.New(grouped.Options{Plan: plan(), Memory: 1 << 30})
	ok(t, c.Start(t.Context(), true), write(t, c, 0, rows, keys))
	_, err := c.Finish(t.Context())
	ok(t, err)
	return read(t, c)
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, c *grouped.Collection, from, to, keys int) error {
	t.Helper()
	var batch []*pipeline.Record
	for i := from; i < to; i++ {
		batch = append(batch, row(i, keys))
	}
	return c.Write(t.Context(), batch)
}

// What does not fit into memory comes out as if it had, and nothing is left on the disk.
func TestMoreThanFitsIntoMemory(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{1, 3, 800} {
		for _, rows := range []int{0, 1, 1000} {
			expected := want(t, rows, keys)
			if keys == 1 && rows == 1000 && expected != `{"k":0,"n":1000,"s":499750,"first":0,"l":[0,1,2,3]}`+"\n" {
				t.Fatal(expected)
			}
			for _, folder := range []string{"", filepath.Join(t.TempDir(), "there")} {
				c := small(nil)
				if folder != "" {
					c.Spool(folder)
				}
				ok(t, c.Start(t.Context(), true), write(t, c, 0, rows, keys))
				_, err := c.Finish(t.Context())
				ok(t, err, c.Close(t.Context()))
				if got := read(t, c); got != expected {
					t.Errorf("%d rows of %d keys in %q: got %s, want %s", rows, keys, folder, got, expected)
				}
				if got := read(t, c); got != expected {
					t.Errorf("%d rows of %d keys in %q: the second time got %s, want %s", rows, keys, folder, got, expected)
				}
				ok(t, c.Discard(t.Context()))
				if _, err := os.Stat(folder); folder != "" && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still there: %v", folder, err)
				}
			}
		}
	}
}

// After kills and power cuts at any call a run that goes on has every row once.
func TestKilledAtAnyCall(t *testing.T) {
	t.Parallel()
	const rows = 600
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		keys := []int{1, 20, 500}[random.IntN(3)]
		expected := want(t, rows, keys)
		disk := fsystest.New()
		at, written, kills := pipeline.Position(""), 0, 0
		for done := false; !done; {
			files := disk.Boot()
			if kills < 8 {
				disk.KillAt(1+random.IntN(120), random.IntN)
			}
			c := small(files)
			c.Spool("spool")
			err, finished := c.Rewind(t.Context(), at), false
			for n := written; err == nil && n < rows; {
				to := min(rows, n+1+random.IntN(60))
				if err = write(t, c, n, to, keys); err != nil {
					break
				}
				n = to
				if random.IntN(3) > 0 {
					continue
				}
				var now pipeline.Position
				if now, err = c.Commit(t.Context()); err == nil { // a checkpoint says so
					at, written = now, n
					if random.IntN(2) == 0 {
						err = c.Publish(t.Context(), at)
					}
				}
			}
			if err == nil {
				var now pipeline.Position
				if now, err = c.Finish(t.Context()); err == nil && random.IntN(3) > 0 {
					at, written, finished = now, rows, true
					err = c.Publish(t.Context(), at)
				}
			}
			if err == nil {
				err = c.Close(t.Context())
			}
			switch {
			case errors.Is(err, fsystest.ErrKilled):
				kills++
				if random.IntN(2) == 0 {
					disk.PowerCut(random.IntN)
				}
			case err != nil:
				t.Fatalf("seed %d: %v", seed, err)
			default:
				done = finished
			}
		}
		files := disk.Boot()
		if left, err := files.ReadDir("spool"); err != nil || len(left) > 4+2 {
			t.Errorf("seed %d: %v are left, want the runs, a log and a list of %s; %v", seed, left, at, err)
		}
		disk.PowerCut(random.IntN)
		again := small(disk.Boot()) // another process
		again.Spool("spool")
		if got := read(t, again); got != expected {
			t.Errorf("seed %d, %d kills: got %s, want %s", seed, kills, got, expected)
		}
	}
}

// Damage is an error that names the file.
func TestDamagedRuns(t *testing.T) {
	t.Parallel()
	fresh := func(t *testing.T) (dir string) {
		t.Helper()
		dir = filepath.Join(t.TempDir(), "spool")
		c := small(nil)
		c.Spool(dir)
		ok(t, c.Start(t.Context(), true), write(t, c, 0, 300, 100))
		at, err := c.Finish(t.Context())
		ok(t, err, c.Publish(t.Context(), at), c.Close(t.Context()))
		return dir
	}
	runs, err := filepath.Glob(filepath.Join(fresh(t), "run-*"))
	if err != nil || len(runs) == 0 {
		t.Fatal(runs, err)
	}
	name := filepath.Base(runs[len(runs)-1])
	for what, damage := range map[string]func(path string) error{
		"gone": os.Remove,
		"cut short": func(path string) error {
			info, err := os.Stat(path)
			ok(t, err)
			return os.Truncate(path, info.Size()-1)
		},
		"a bit": func(path string) error {
			raw, err := os.ReadFile(path)
			ok(t, err)
			raw[len(raw)/2] ^= 4
			return os.WriteFile(path, raw, 0o600)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := fresh(t)
			ok(t, damage(filepath.Join(dir, name)))
			c := small(nil)
			c.Spool(dir)
			var got error
			for _, err := range c.Records(t.Context()) {
				got = err
			}
			if got == nil || !strings.Contains(got.Error(), name) || !strings.Contains(got.Error(), "--fresh") {
				t.Errorf("got %v, want an error about %s and what to do", got, name)
			}
			if class, _ := pipeline.Classify(got); class != pipeline.ClassFatal {
				t.Errorf("got class %v, want fatal", class)
			}
		})
	}
}

// A full disk fails the run, and is no dead letter.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	disk := fsystest.New()
	c := small(disk.Boot())
	c.Spool("spool")
	ok(t, c.Start(t.Context(), true))
	disk.Inject(func(call fsystest.Call) fsystest.Fault {
		if call.Op == fsystest.OpWrite {
			return fsystest.Fault{Err: full}
		}
		return fsystest.Fault{}
	})
	err := write(t, c, 0, 2000, 2000)
	if class, _ := pipeline.Classify(err); !errors.Is(err, full) || class != pipeline.ClassFatal {
		t.Errorf("got %v of class %v, want that the disk is full, fatal", err, class)
	}
}

// What was not finished is not read as if it were.
func TestNotFinished(t *testing.T) {
	t.Parallel()
	c := small(nil)
	c.Spool(t.TempDir())
	ok(t, c.Start(t.Context(), true), write(t, c, 0, 10, 10), c.Close(t.Context()))
	for r, err := range c.Records(t.Context()) {
		if err == nil || r != nil {
			t.Errorf("got %v, %v, want an error alone", r, err)
		}
	}
}
