package state_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// This is a model of how a run outlives its process: rows, stages that cost, sinks, the
// journal and the checkpoint, as the engine has them, but each step by itself, in an
// order of chance, with a kill between any two. Whoever changes the protocol changes it
// here first.

// rule is a part of the protocol. A model without it must go wrong.
type rule int

const (
	wholeProtocol      rule = iota
	childrenNoted           // the checkpoint names the children of open rows that have ended
	commitWithMarks         // a sink's position and what it committed move together
	stateAfterNote          // what stages remember is saved after the rest was noted
	sameAnswerAgain         // a stage that remembers answers a record again as it did
	forgetAfterRename       // the journal forgets only what a durable checkpoint covers
	journalBeforeUse        // an outcome is in the journal before it is passed on
	failuresJournalled      // and so is one that is a dead letter
	outputCutBack           // what is behind the position goes
	groupsEndTogether       // the members of a group end when all that became of it has
	keptForOpenRows         // the journal keeps what an open row will ask for again
	guardChecked            // an outcome of another record is not used
	groupsFull              // only the end of the input makes a group that is not full
	rules
)

func (r rule) String() string {
	return [...]string{
		"the whole protocol", "without ended children", "without one moment for position and marks", "with state that is older",
		"without the same answer again", "with forgetting before the rename", "with use before the journal", "without journalled failures",
		"without cutting back", "with groups that end in parts", "with forgetting of open rows", "without the guard",
		"with groups by the clock",
	}[r]
}

// shape is a pipeline: source, split, ask, dedupe, group, ask, ungroup, limit, sink;
// what is not there is left out.
type shape struct {
	rows                          int
	split, dedupe, group, ungroup bool
	limit                         int // records that go on; 0 for no limit
	ordered                       bool
	power                         bool // the power is cut, too: the journal may lose its last entries
}

func anyShape(rng *rand.Rand) shape {
	yes := func() bool { return rng.IntN(2) == 1 }
	s := shape{rows: 4 + rng.IntN(10), split: yes(), dedupe: yes(), group: yes(), ordered: yes(), power: rng.IntN(4) == 0}
	s.ungroup = s.group && yes()
	if !s.power && rng.IntN(3) == 0 {
		s.limit = 1 + rng.IntN(8)
	}
	return s
}

// part is a row, or a child of one by the split: what must be in the output once.
type part struct {
	row  int
	path string
}

func (p part) key() int { return (p.row*7 + len(p.path)*3) % 5 }

func (p part) before(q part) bool { return p.row < q.row || p.row == q.row && p.path < q.path }

// parts are what the split makes of a row.
func (s shape) parts(row int) []part {
	if !s.split || row%4 < 2 {
		return []part{{row, ""}}
	}
	var all []part
	for i := range row % 4 {
		all = append(all, part{row, fmt.Sprint("/", i)})
	}
	return all
}

// record is on its way. Its content is the parts it holds and what was answered.
type record struct {
	row     int
	path    string
	leaf    *leaf
	parts   []part
	answers string
	failed  string // the stage it failed in
}

// leaf, member and row are as in the engine.
type leaf struct {
	open   int
	row    *row
	merged []member
}

type member struct {
	leaf *leaf
	path string
}

type row struct {
	seq            int
	ended, earlier map[string]bool
}

// entry names an outcome in the journal.
type entry struct {
	stage string
	row   int
	path  string
}

type outcome struct {
	guard  string
	answer string
	failed bool
	synced bool
	parts  []part
}

// saved is a checkpoint.
type saved struct {
	next       int
	open       map[int]map[string]bool
	sink, dead int
	first      map[int]part
	taken      int
	last       part
}

// disk is what outlives a process, and what the witness saw.
type disk struct {
	shape
	without    rule
	rng        *rand.Rand
	sink, dead []*record
	journal    map[entry]outcome
	checkpoint saved

	calls   map[call]int
	flying  map[call]int // how often it was on the wire when the process was killed
	answers int
	misused bool // an answer was used for another question
}

// call is what a part is paid for.
type call struct {
	stage string
	part  part
}

// live is a run with up to six kills.
func live(seed uint64, without rule) (wrong string) {
	rng := rand.New(rand.NewPCG(seed, 0))
	d := &disk{shape: anyShape(rng), without: without, rng: rng, journal: map[entry]outcome{}, calls: map[call]int{}, flying: map[call]int{}}
	defer func() {
		if broken := recover(); broken != nil {
			wrong = fmt.Sprint(d.shape, ": ", broken) // the output is shorter than it was
		}
	}()
	for range rng.IntN(7) {
		p := d.begin()
		if p.run(rng.IntN(300)) {
			break
		}
		p.kill()
	}
	if p := d.begin(); !p.run(100000) {
		return fmt.Sprint(d.shape, ": it does not end")
	} else if len(p.open) > 0 || len(p.reopened) > 0 && !p.enough { // a limit leaves the rest unread
		return fmt.Sprint(d.shape, ": rows are open at the end")
	}
	return d.wrong()
}

// wrong says what is wrong with the output, if anything is.
func (d *disk) wrong() string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	count, lost := map[part]int{}, map[part]bool{}
	passed := map[int]part{} // by key, behind dedupe
	var last part
	for _, r := range slices.Concat(d.sink, d.dead) {
		for _, one := range r.parts {
			count[one]++
			if lost[one] = r.failed == "a"; lost[one] || !d.dedupe {
				continue
			}
			if other, twice := passed[one.key()]; twice && other != one {
				bad("%v and %v have one key", one, other)
			}
			passed[one.key()] = one
		}
	}
	for i, r := range d.sink {
		if i > 0 && (d.ordered || d.limit > 0) && !last.before(r.parts[0]) {
			bad("%v is behind %v", r.parts[0], last)
		}
		last = r.parts[len(r.parts)-1]
	}
	full := d.limit > 0 && len(d.sink) == d.limit
	if d.limit > 0 && len(d.sink) > d.limit {
		bad("%d records, the limit is %d", len(d.sink), d.limit)
	}
	for seq := range d.rows {
		for _, one := range d.parts(seq) {
			first, double := passed[one.key()]
			double = d.dedupe && double && first.before(one)
			dropped := double || full && last.before(one) || d.power && d.dedupe // its like may have failed the second time
			if n := count[one]; n > 1 || n == 0 && !dropped {
				bad("%v is there %d times", one, n)
			}
		}
	}
	for call, n := range d.calls {
		// What stands behind a full limit is of no use, and is let go of piece by piece, so
		// that other groups may form of the rest.
		useless := full && last.before(call.part)
		if most := 1 + d.flying[call]; n > most && !d.power && !useless {
			bad("%v was paid %d times, %d at most", call, n, most)
		}
	}
	if d.misused {
		bad("an answer is used that was given to another question")
	}
	if len(problems) == 0 {
		return ""
	}
	return fmt.Sprintf("%+v: %s", d.shape, strings.Join(problems, "; "))
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	const runs = 6000 // several times as many until a rule that is missing has to be noticed
	for without := range rules {
		t.Run(without.String(), func(t *testing.T) {
			t.Parallel()
			seeds := uint64(runs)
			if without != wholeProtocol {
				seeds *= 5
			}
			for seed := range seeds {
				wrong := live(seed, without)
				if wrong == "" {
					continue
				}
				if without == wholeProtocol {
					t.Errorf("run %d: %s", seed, wrong)
				} else {
					t.Logf("run %d: %s", seed, wrong)
				}
				return
			}
			if without != wholeProtocol {
				t.Error("the model does not notice that a rule is missing")
			}
		})
	}
}
