package state_test

import (
	"fmt"
	"maps"
	"slices"
)

// task is a record in a stage that costs.
type task struct {
	in                 *record
	asked, known, kept bool
	outcome            outcome
}

// node is a stage.
type node struct {
	kind    string
	ordered bool
	in      []*record
	tasks   []*task
}

func (n *node) idle() bool { return len(n.in)+len(n.tasks) == 0 }

// output is a sink: what came to it, what it wrote since its last commit.
type output struct {
	in, taken []*record
	at        int
	late      []*record // committed, not marked: only without commitWithMarks
}

// process is one that may be killed.
type process struct {
	*disk
	nodes      []*node
	open       map[int]*row
	reopened   map[int]map[string]bool
	next, skip int
	enough     bool
	sinks      [2]output // the sink, and that for dead letters
	first      map[int]part
	taken      int
	last       part
	taking     saved // the checkpoint that is being taken
	phase      int
}

func (d *disk) begin() *process {
	c := d.checkpoint
	p := &process{
		disk: d, open: map[int]*row{}, reopened: maps.Clone(c.open), skip: c.next,
		first: maps.Clone(c.first), taken: c.taken, last: c.last,
	}
	if p.first == nil {
		p.first = map[int]part{}
	}
	if d.without != outputCutBack {
		d.sink, d.dead = d.sink[:c.sink], d.dead[:c.dead]
	}
	p.sinks[0].at, p.sinks[1].at = len(d.sink), len(d.dead)
	add := func(kind string, there bool) {
		if there {
			p.nodes = append(p.nodes, &node{kind: kind})
		}
	}
	add("split", d.split)
	add("a", true)
	add("dedupe", d.dedupe)
	add("group", d.group)
	add("b", true)
	add("ungroup", d.ungroup)
	add("limit", d.limit > 0)
	ordered := d.ordered
	for _, n := range slices.Backward(p.nodes) {
		n.ordered = ordered
		ordered = ordered || n.kind == "dedupe" || n.kind == "group" || n.kind == "limit"
	}
	return p
}

// run does steps until everything has ended, or the process is killed after so many.
func (p *process) run(steps int) (ended bool) {
	for range steps {
		if p.finished() {
			p.commit(0)
			p.commit(1)
			p.mark(0)
			p.mark(1)
			for p.phase = 0; ; {
				if p.take(); p.phase == 0 {
					return true
				}
			}
		}
		p.step()
	}
	return false
}

func (p *process) finished() bool {
	return (p.next >= p.rows || p.enough) && !slices.ContainsFunc(p.nodes, func(n *node) bool { return !n.idle() }) &&
		len(p.sinks[0].in)+len(p.sinks[1].in) == 0
}

func (p *process) step() {
	switch n := p.rng.IntN(len(p.nodes)*2 + 8); {
	case n < 2:
		p.read()
	case n < 4:
		p.write(n - 2)
	case n == 4:
		p.commit(p.rng.IntN(2))
	case n == 5:
		p.mark(p.rng.IntN(2))
	case n < 8:
		p.take()
	default:
		p.work((n - 8) % len(p.nodes))
	}
}

func (p *process) read() {
	if p.next >= p.rows || p.enough || len(p.open) > 6 {
		return
	}
	seq := p.next
	p.next++
	earlier, again := p.reopened[seq]
	if seq < p.skip && !again {
		return
	}
	delete(p.reopened, seq)
	r := &row{seq: seq, earlier: earlier, ended: maps.Clone(earlier)}
	p.open[seq] = r
	p.push(0, &record{row: seq, leaf: &leaf{open: 1, row: r}, parts: []part{{seq, ""}}})
}

// push hands a record to a node, or to the sink behind them.
func (p *process) push(to int, r *record) {
	if to < len(p.nodes) {
		p.nodes[to].in = append(p.nodes[to].in, r)
	} else {
		p.sinks[0].in = append(p.sinks[0].in, r)
	}
}

func pop(list *[]*record) *record {
	r := (*list)[0]
	*list = (*list)[1:]
	return r
}

func (p *process) work(i int) {
	n := p.nodes[i]
	switch {
	case n.kind == "a" || n.kind == "b":
		p.ask(i, n)
	case n.kind == "group":
		p.group(i, n)
	case len(n.in) == 0:
	case p.enough && n.kind != "limit":
		p.settle(pop(&n.in)) // nobody wants it any more
	case n.kind == "split":
		r := pop(&n.in)
		p.splitInto(i, r, p.parts(r.row))
	case n.kind == "ungroup":
		r := pop(&n.in)
		p.splitInto(i, r, r.parts)
	default:
		r := pop(&n.in)
		if n.kind == "dedupe" && p.isFirst(r) || n.kind == "limit" && p.within(r) {
			p.push(i+1, r)
		} else {
			p.settle(r)
		}
	}
}

// splitInto passes on a record a part, but for those that have ended.
func (p *process) splitInto(i int, r *record, parts []part) {
	if len(parts) == 1 {
		p.push(i+1, r)
		return
	}
	r.leaf.open += len(parts) - 1
	for k := range parts {
		c := &record{row: r.row, path: fmt.Sprint(r.path, "/", k), leaf: r.leaf, parts: parts[k : k+1], answers: r.answers}
		if r.leaf.row.earlier[c.path] {
			p.settle(c)
		} else {
			p.push(i+1, c)
		}
	}
}

func (p *process) isFirst(r *record) bool {
	self := r.parts[0]
	first, known := p.first[self.key()]
	if !known {
		p.first[self.key()] = self
		return true
	}
	return first == self && p.without != sameAnswerAgain
}

// within is the limit. What it let through is all that is not behind the last of it.
func (p *process) within(r *record) bool {
	self := r.parts[0]
	if p.taken > 0 && !p.last.before(self) && p.without != sameAnswerAgain {
		return true
	}
	if p.taken == p.limit {
		p.enough = true
		return false
	}
	p.taken++
	p.last = self
	p.enough = p.taken == p.limit
	return true
}

const groupSize = 3

func (p *process) group(i int, n *node) {
	over := p.next >= p.rows && !slices.ContainsFunc(p.nodes[:i], func(n *node) bool { return !n.idle() })
	switch {
	case len(n.in) == 0:
	case p.enough:
		p.settle(pop(&n.in))
	case len(n.in) >= groupSize || over || p.without == groupsFull:
		members := n.in[:min(groupSize, len(n.in))]
		n.in = n.in[len(members):]
		g := *members[0]
		g.leaf, g.parts, g.answers = &leaf{open: 1, row: g.leaf.row}, nil, ""
		for _, m := range members {
			g.leaf.merged = append(g.leaf.merged, member{m.leaf, m.path})
			g.parts = append(g.parts, m.parts...)
			g.answers += m.answers
		}
		p.push(i+1, &g)
	}
}

// ask does a step of a stage that costs: a record goes in, an answer comes, is kept, and
// passed on.
func (p *process) ask(i int, n *node) {
	if len(n.in) > 0 && len(n.tasks) < 4 && p.rng.IntN(2) == 0 {
		if p.enough {
			p.settle(pop(&n.in))
		} else {
			n.tasks = append(n.tasks, p.send(n, pop(&n.in)))
		}
		return
	}
	if len(n.tasks) == 0 {
		return
	}
	k := p.rng.IntN(len(n.tasks))
	t := n.tasks[k]
	switch {
	case !t.known:
		p.answers++
		t.known = true
		t.outcome = outcome{guard: t.in.guard(), answer: fmt.Sprint(" ", p.answers), failed: p.rng.IntN(8) == 0, parts: t.in.parts}
		if p.without != journalBeforeUse {
			p.keep(n, t)
		}
	case n.ordered && k > 0:
	default:
		n.tasks = slices.Delete(n.tasks, k, k+1)
		p.keep(n, t)
		if r := t.in; t.outcome.failed {
			r.failed = n.kind
			p.sinks[1].in = append(p.sinks[1].in, r)
		} else {
			p.misused = p.misused || t.outcome.guard != r.guard()
			r.answers += t.outcome.answer
			p.push(i+1, r)
		}
	}
}

func (r *record) guard() string { return fmt.Sprint(r.parts, r.answers) }

func (p *process) send(n *node, r *record) *task {
	known, ok := p.journal[entry{n.kind, r.row, r.path}]
	if ok && (known.guard == r.guard() || p.without == guardChecked) {
		return &task{in: r, known: true, kept: true, outcome: known}
	}
	for _, part := range r.parts {
		p.calls[call{n.kind, part}]++
	}
	return &task{in: r, asked: true}
}

func (p *process) keep(n *node, t *task) {
	if !t.kept && (!t.outcome.failed || p.without != failuresJournalled) {
		p.journal[entry{n.kind, t.in.row, t.in.path}] = t.outcome
	}
	t.kept = true
}

func (p *process) file(i int) *[]*record {
	return []*[]*record{&p.disk.sink, &p.disk.dead}[i]
}

func (p *process) write(i int) {
	s := &p.sinks[i]
	if len(s.in) > 0 {
		r := pop(&s.in)
		*p.file(i), s.taken = append(*p.file(i), r), append(s.taken, r)
	}
}

// commit makes durable what a sink wrote, and marks it.
func (p *process) commit(i int) {
	s := &p.sinks[i]
	s.at = len(*p.file(i))
	s.late = append(s.late, s.taken...)
	s.taken = nil
	if p.without != commitWithMarks {
		p.mark(i)
	}
}

func (p *process) mark(i int) {
	for _, r := range p.sinks[i].late {
		p.settle(r)
	}
	p.sinks[i].late = nil
}

func (p *process) settle(r *record) { p.close(member{r.leaf, r.path}) }

func (p *process) close(m member) {
	l := m.leaf
	l.open--
	if l.open > 0 && p.without != childrenNoted {
		if l.row.ended == nil {
			l.row.ended = map[string]bool{}
		}
		l.row.ended[m.path] = true
	}
	if len(l.merged) > 0 && p.without == groupsEndTogether {
		p.close(l.merged[0])
		if l.merged = l.merged[1:]; l.open > 0 || len(l.merged) == 0 {
			return
		}
	}
	switch {
	case l.open > 0:
	case l.merged == nil:
		delete(p.open, l.row.seq)
	default:
		for _, m := range l.merged {
			p.close(m)
		}
	}
}

// take does the next step of a checkpoint.
func (p *process) take() {
	steps := []func(){p.note, p.save, p.rename, p.forget}
	switch p.without {
	case stateAfterNote:
		steps[0], steps[1] = steps[1], steps[0]
	case forgetAfterRename:
		steps[2], steps[3] = steps[3], steps[2]
	}
	steps[p.phase]()
	p.phase = (p.phase + 1) % len(steps)
}

// note copies how far everything got, at one moment.
func (p *process) note() {
	c := &p.taking
	c.sink, c.dead = p.sinks[0].at, p.sinks[1].at
	c.next, c.open = max(p.next, p.skip), map[int]map[string]bool{}
	for seq, ended := range p.reopened {
		c.open[seq] = ended
	}
	for seq, r := range p.open {
		c.open[seq] = maps.Clone(r.ended)
	}
}

func (p *process) save() {
	p.taking.first, p.taking.taken, p.taking.last = maps.Clone(p.first), p.taken, p.last
}

func (p *process) rename() {
	p.disk.checkpoint = p.taking
	for k, o := range p.journal {
		o.synced = true
		p.journal[k] = o
	}
}

func (p *process) forget() {
	for k := range p.journal {
		ended, open := p.taking.open[k.row]
		if k.row < p.taking.next && (!open || ended[k.path] || p.without == keptForOpenRows && len(ended) > 0) {
			delete(p.journal, k)
		}
	}
}

// kill ends the process. The witness notes what was on the wire.
func (p *process) kill() {
	for _, n := range p.nodes {
		for _, t := range n.tasks {
			for _, part := range t.in.parts {
				if t.asked && !t.known {
					p.flying[call{n.kind, part}]++
				}
			}
		}
	}
	for i, s := range p.sinks {
		file := p.file(i)
		*file = (*file)[:s.at+p.rng.IntN(len(*file)-s.at+1)]
	}
	if !p.power {
		return
	}
	for k, o := range p.journal {
		if !o.synced && p.rng.IntN(2) == 0 {
			delete(p.journal, k)
		}
	}
}
