package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/internal/fsys/fsystest"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// unlucky is a run whose state is on a disk that fails.
type unlucky struct {
	*world
	disk        *fsystest.Disk
	kinds       []string
	parallelism int
	key         string // by which rows are known; "" for none
	synced      bool   // no sync has failed
	choose      func(n int) int
}

func (u *unlucky) pipeline() pipeline.Pipeline {
	p := pipeline.Pipeline{
		Name: "t", Key: u.key, Source: seekable{&rowsOf{w: u.world}}, Sink: &paperSink{paper: &u.paper}, DeadLetter: &paperSink{paper: &u.dead},
		StopWhen: pipeline.StopWhen{Off: true}, Flush: pipeline.Flush{Records: 4, Every: time.Millisecond},
	}
	no := func(i int64) error {
		if i%7 == 3 {
			return errors.New("no")
		}
		return nil
	}
	for k, kind := range u.kinds {
		step := pipeline.Step{StepOptions: pipeline.StepOptions{Name: fmt.Sprint(kind, k), Parallelism: u.parallelism}}
		switch kind {
		case "split":
			step.Stage = splitter()
		case "pair":
			step.Stage = twos{}
		default:
			step.Stage, step.Costs, step.Workload = u.asker(step.Name, no, func() {}), true, pipeline.Waits
			step.Retry.Attempts = 1
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

// trouble has a later call of the run fail, or be its last one.
func (u *unlucky) trouble() {
	left := u.choose(60)
	failing := func(op fsystest.Op, f fsystest.Fault) {
		u.disk.Inject(func(c fsystest.Call) fsystest.Fault {
			if c.Op != op {
				return fsystest.Fault{}
			}
			if left--; left >= 0 {
				return fsystest.Fault{}
			}
			u.synced = u.synced && op != fsystest.OpSync
			f.Bytes = c.Size / 2
			return f
		})
	}
	switch u.choose(4) {
	case 0:
		half := u.choose(3)
		u.disk.KillAt(left, func(n int) int { return half * (n - 1) / 2 })
	case 1:
		failing(fsystest.OpWrite, fsystest.Fault{Err: syscall.ENOSPC})
	case 2:
		left /= 4
		failing(fsystest.OpSync, fsystest.Fault{Err: syscall.EIO})
	case 3:
		left /= 8
		failing(fsystest.OpRename, fsystest.Fault{Err: syscall.EIO})
	}
}

// cut cuts the power: what no sync made durable may be gone.
func (u *unlucky) cut() {
	u.disk.PowerCut(u.choose)
	for _, p := range []*paper{&u.paper, &u.dead} {
		durable := min(p.committed, len(p.lines)) // it may have been cut back since
		p.lines = p.lines[:durable+u.choose(len(p.lines)-durable+1)]
	}
}

// Whatever becomes of the folder that a run keeps its state in, the next one goes on, and
// in the end every row is in the output once.
func TestStateOnADiskThatFails(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := &unlucky{world: &world{rows: rapid.IntRange(0, 40).Draw(t, "rows")}, disk: fsystest.New()}
		u.kinds = rapid.SliceOfN(rapid.SampledFrom([]string{"ask", "split", "pair"}), 1, 4).Draw(t, "stages")
		u.key = rapid.SampledFrom([]string{"", "i"}).Draw(t, "key")
		u.parallelism = rapid.SampledFrom([]int{1, 4}).Draw(t, "parallelism")
		want := &unlucky{world: &world{rows: u.rows}, kinds: u.kinds, key: u.key, parallelism: 1}
		if _, err := engine.Run(t.Context(), want.pipeline(), engine.Options{}); err != nil {
			t.Fatal(err)
		}
		// How often the disk asks hangs on the scheduler, so rapid must not be asked.
		u.choose = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "chance"), 0)).IntN
		runs, power := rapid.IntRange(0, 5).Draw(t, "runs that fail"), false
		for run := 0; ; run++ {
			options := engine.Options{State: "state/t", New: u.key != "" && u.choose(2) == 0}.On(u.disk.Boot(), time.Millisecond)
			if u.synced = true; run < runs {
				u.trouble()
			}
			s, err := engine.Run(t.Context(), u.pipeline(), options)
			if run == runs {
				if err != nil {
					t.Fatalf("run %d: %v\n%v", run, err, u.disk)
				}
				u.check(t, want, s, runs, power)
				u.nothingNew(t)
				return
			}
			// What a failed sync has lost is still to be read, until the power is cut.
			if !u.synced || rapid.Bool().Draw(t, "power cut") {
				u.cut()
				power = true
			}
		}
	})
}

func (u *unlucky) check(t *rapid.T, want *unlucky, s engine.Summary, runs int, power bool) {
	if !slices.Equal(u.paper.lines, want.paper.lines) {
		t.Fatalf("got\n%q\nwant\n%q\n%+v", u.paper.lines, want.paper.lines, s)
	}
	slices.Sort(u.dead.lines)
	slices.Sort(want.dead.lines)
	if !slices.Equal(u.dead.lines, want.dead.lines) {
		t.Fatalf("got dead letters\n%q\nwant\n%q\n%+v", u.dead.lines, want.dead.lines, s)
	}
	if twice, most := u.calls()-want.calls(), int64(runs*len(u.kinds)*u.parallelism); !power && twice > most {
		t.Fatalf("%d calls were paid for again, want %d at most", twice, most)
	}
}

// nothingNew has a run look for rows that are new: there are none, whatever has happened.
func (u *unlucky) nothingNew(t *rapid.T) {
	if u.key == "" {
		return
	}
	calls, lines := u.calls(), len(u.paper.lines)
	s, err := engine.Run(t.Context(), u.pipeline(), engine.Options{State: "state/t", New: true}.On(u.disk.Boot(), time.Millisecond))
	if err != nil || s.Known != int64(u.rows) || u.calls() != calls || len(u.paper.lines) != lines {
		t.Fatalf("%d of %d rows were known, %d calls and %d lines more, %v\n%v", s.Known, u.rows, u.calls()-calls, len(u.paper.lines)-lines, err, u.disk)
	}
}
