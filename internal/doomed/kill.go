package doomed

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// MostKills is how often [KillRepeatedly] kills.
const MostKills = 4

// KillRepeatedly runs the pipeline of a folder, which has so many rows, to its end, and kills
// the process up to [MostKills] times before that. In turns it is killed when some more rows
// have ended by a checkpoint and others behind that, and a random while after it has begun: so
// each process but the first goes on in the middle. Where none does, because it was not killed
// in time, the test fails.
//
// Unless it is nil, before is called in front of each process with what that goes on from.
func KillRepeatedly(t *testing.T, dir string, rows int, before func(Checkpoint)) (kills int) {
	t.Helper()
	resumed := 0
	for more := true; more; {
		from := ReadCheckpoint(t, dir)
		if from.Counts.Read > 0 && !from.Finished {
			resumed++
		}
		if before != nil {
			before(from)
		}
		due := afterAWhile(dir)
		switch {
		case kills == MostKills:
			due = func() bool { return false }
		case kills%2 == 0:
			due = behindCheckpoint(t, dir, from.Counts.Read+1+rand.IntN(rows/4))
		}
		if more = runUntil(t, dir, due); more {
			kills++
		}
	}
	if resumed == 0 || kills > MostKills {
		t.Fatalf("%d kills, and %d times it went on in the middle: it was too quick, or killed by somebody else", kills, resumed)
	}
	t.Logf("%d kills, and %d times it went on in the middle", kills, resumed)
	return kills
}

// behindCheckpoint says when there is a checkpoint by which so many rows have ended, and the
// next is nearly due.
func behindCheckpoint(t *testing.T, dir string, rows int) func() bool {
	old := checkpointEvery/2 + rand.N(checkpointEvery/3)
	return func() bool {
		c := ReadCheckpoint(t, dir)
		return c.Counts.Read >= rows && time.Since(c.taken) >= old
	}
}

// afterAWhile says when a process has been at work on the state for a random while.
func afterAWhile(dir string) func() bool {
	before, while := newest(dir), rand.N(2*checkpointEvery)
	var begun time.Time
	return func() bool {
		if begun.IsZero() && newest(dir).After(before) {
			begun = time.Now()
		}
		return !begun.IsZero() && time.Since(begun) >= while
	}
}

// newest is when something in the state of a run was changed last; zero if there is none.
func newest(dir string) (at time.Time) {
	_ = filepath.WalkDir(filepath.Join(dir, "state"), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone meanwhile
		}
		if info, err := entry.Info(); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
		return nil
	})
	return at
}

// runUntil runs the pipeline in a process, which is killed once due says so. That is asked
// every few milliseconds.
func runUntil(t *testing.T, dir string, due func() bool) (killed bool) {
	t.Helper()
	p := start(t, dir)
	ended := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			if due() {
				p.kill()
				return
			}
		}
	})
	defer asking.Wait()
	defer close(ended)
	return p.wait(t)
}

// Checkpoint is how far a run got; the zero value, that it has none.
type Checkpoint struct {
	Text     []byte `json:"-"` // as it stands in the file
	Finished bool
	Counts   struct{ Read int } // the rows that have ended
	Source   struct {
		Next int // all rows below it have ended, but for those in Open
		Open [][2]int
		At   struct{ Path string } // where the source goes on
	}

	taken time.Time
}

// ReadCheckpoint reads the last checkpoint of a pipeline in a folder.
func ReadCheckpoint(t *testing.T, dir string) (c Checkpoint) {
	t.Helper()
	path := filepath.Join(dir, "state", "checkpoint")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c
	}
	if err == nil {
		c.Text, err = os.ReadFile(path)
	}
	if err == nil { // a checksum is behind it
		err = json.NewDecoder(bytes.NewReader(c.Text)).Decode(&c)
	}
	if err != nil {
		t.Error(err)
		return c
	}
	c.taken = info.ModTime()
	return c
}

// Ended is the row below which all have ended.
func (c Checkpoint) Ended() int {
	if len(c.Source.Open) > 0 {
		return c.Source.Open[0][0]
	}
	return c.Source.Next
}
