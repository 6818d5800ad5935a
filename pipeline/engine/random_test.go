package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams/flow"
	"pgregory.net/rapid"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// part is one stage of a random pipeline. What it does with a record depends on
// the record alone, so that the model knows it too.
type part struct {
	kind        string
	salt        int
	parallelism int
	window      int
	unordered   bool
	some        bool // only for some records: When
	count       int  // of a limit, or the size of a group
	onError     pipeline.OnError
	hang        bool // a record hangs until the run is stopped hard
	deaf        bool // does not heed its context for a while

	now, most atomic.Int64
	tries     sync.Map
}

// plan is a random run.
type plan struct {
	rows, broken int
	pause        time.Duration
	ending       string // of the source
	limit        int64
	preflight    bool
	parts        []*part
	flush        int
	refuse       bool
	failWrite    int // the write that fails; 0 for none
	failCommit   int
	failDead     int
	noDead       bool
	slow         time.Duration // a write
	stop         string
	at           time.Duration
	stopWhen     bool
}

func drawPlan(t *rapid.T) *plan {
	rare := rapid.Map(rapid.IntRange(0, 9), func(n int) bool { return n == 9 })
	millis := func(to int) time.Duration {
		return time.Duration(rapid.IntRange(0, to).Draw(t, "ms")) * time.Millisecond
	}
	p := &plan{
		rows:      rapid.OneOf(rapid.IntRange(0, 5), rapid.IntRange(0, 300), rapid.IntRange(0, 1500)).Draw(t, "rows"),
		broken:    rapid.SampledFrom([]int{0, 0, 1, 2, 7}).Draw(t, "broken"),
		ending:    rapid.SampledFrom([]string{"", "", "", "", "fail", "panic", "nothing", "deaf"}).Draw(t, "ending"),
		preflight: rapid.Bool().Draw(t, "preflight"),
		flush:     rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "flush"),
		refuse:    rapid.Bool().Draw(t, "refuse"),
		noDead:    rare.Draw(t, "no dead letters"),
		stop:      rapid.SampledFrom([]string{"", "", "", "stop", "abort", "cancel", "deadline", "stop and abort", "stop at once"}).Draw(t, "stop"),
		stopWhen:  rare.Draw(t, "stop when"),
	}
	if rapid.Bool().Draw(t, "slow source") {
		p.pause = millis(20)
	}
	if rare.Draw(t, "limit") {
		p.limit = int64(rapid.IntRange(1, 50).Draw(t, "rows at most"))
	}
	if rare.Draw(t, "bad sink") {
		p.failWrite = rapid.IntRange(1, 20).Draw(t, "bad write")
	}
	if rare.Draw(t, "bad commits") {
		p.failCommit = rapid.IntRange(1, 4).Draw(t, "bad commit")
	}
	if rare.Draw(t, "bad dead letters") {
		p.failDead = 1
	}
	if rare.Draw(t, "slow sink") {
		p.slow = millis(2000)
	}
	if p.stop != "" {
		p.at = millis(4000)
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "stages") {
		s := &part{
			kind: rapid.SampledFrom([]string{"pass", "pass", "drop", "split", "wait", "wait", "bad", "again", "group", "batch", "apart", "limit", "foreign", "fresh", "fatal", "burst"}).Draw(t, "kind"),
			salt: i, parallelism: rapid.SampledFrom([]int{0, 1, 2, 64}).Draw(t, "parallelism"),
			window:    rapid.SampledFrom([]int{0, 1, 3, 20}).Draw(t, "window"),
			unordered: rapid.Bool().Draw(t, "unordered"),
			some:      rare.Draw(t, "when"),
			count:     rapid.IntRange(1, 40).Draw(t, "count"),
			onError:   rapid.SampledFrom([]pipeline.OnError{"", "", pipeline.DropRecord, pipeline.StopRun}).Draw(t, "on error"),
			deaf:      rare.Draw(t, "deaf"),
		}
		s.hang = p.stop != "" && rare.Draw(t, "hang")
		p.parts = append(p.parts, s)
	}
	return p
}

// draw is a number below n that depends on the record and the stage alone.
func (s *part) draw(r *pipeline.Record, n int) int { return draw(r.Ref, s.salt, n) }

func draw(ref pipeline.Ref, salt, n int) int {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, ref, salt)
	return int(h.Sum32()>>4) % n
}

var errBad = errors.New("bad")

// make is what becomes of a record, without waiting for anything.
func (s *part) make(r *pipeline.Record) ([]*pipeline.Record, error) {
	switch s.kind {
	case "drop":
		if s.draw(r, 3) == 0 {
			return nil, nil
		}
	case "split":
		var out []*pipeline.Record
		for i := range s.draw(r, 5) {
			switch c := r; (i + s.salt) % 3 {
			case 0:
				out = append(out, c.Child())
			case 1:
				out = append(out, c.Clone())
			default:
				out = append(out, pipeline.NewRecord())
			}
		}
		if s.draw(r, 2) == 0 && len(out) > 0 {
			out[0] = r
		}
		for i, c := range out {
			c.Set("part", pipeline.RawJSON(fmt.Sprint(i)))
		}
		return out, nil
	case "burst":
		out := []*pipeline.Record{r}
		if s.draw(r, 20) == 0 {
			for range 600 {
				out = append(out, r.Child())
			}
		}
		return out, nil
	case "fresh":
		return []*pipeline.Record{pipeline.NewRecord()}, nil
	case "bad":
		r.Set("junk", pipeline.Text("x"))
		switch s.draw(r, 8) {
		case 0:
			return nil, errBad
		case 1:
			return []*pipeline.Record{r, r}, nil
		case 2:
			return []*pipeline.Record{r.Child(), nil}, nil
		case 3:
			panic("a bug")
		}
		r.Delete("junk")
	case "apart":
		switch s.draw(r, 8) {
		case 0:
			return nil, errBad
		case 1:
			return nil, nil
		case 2:
			return []*pipeline.Record{r.Child(), r}, nil
		}
	case "fatal":
		r.Set("junk", pipeline.Text("x"))
		if s.draw(r, 150) == 0 {
			return nil, pipeline.Fatal("quota", errBad)
		}
		r.Delete("junk")
	}
	return []*pipeline.Record{r}, nil
}

// Process is make, and what has to do with time.
func (s *part) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	if _, junk := r.Lookup("junk"); junk {
		return nil, errors.New("sees what an attempt before it did")
	}
	if s.kind == "wait" || s.kind == "again" {
		took := time.After(time.Duration(s.draw(r, 700)) * time.Millisecond)
		if s.deaf {
			<-took
		} else {
			select {
			case <-took:
			case <-ctx.Done():
				r.Set("junk", pipeline.Text("x"))
				return nil, ctx.Err()
			}
		}
	}
	if s.hang && s.draw(r, 50) == 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if n, _ := s.tries.LoadOrStore(r.Ref, new(int)); s.kind == "again" && s.draw(r, 4) == 0 && *n.(*int) < 2 {
		*n.(*int)++
		r.Set("junk", pipeline.Text("x"))
		return nil, pipeline.Transient("busy", errBad)
	}
	return s.make(r)
}

// grouped is a part that works on batches.
type grouped struct{ *part }

func (g grouped) Batch() (int, time.Duration) { return g.count%10 + 1, 0 }

func (g grouped) ProcessBatch(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	out := make([]pipeline.Outcome, len(batch))
	host := false
	for i, r := range batch {
		r.Set("junk", pipeline.Text("x"))
		x := g.draw(r, 10)
		switch {
		case g.kind == "group" && i > 0:
			out[i].Merged = true
			continue
		case g.kind == "group":
		case x == 0:
			out[i].Err = errBad
			continue
		case x == 1:
			continue
		case x < 5: // also where there is nothing to be merged into
			out[i].Merged = host || x == 2
			if out[i].Merged {
				continue
			}
		}
		r.Delete("junk")
		out[i].Records = []*pipeline.Record{r}
		if g.draw(r, 3) == 0 {
			out[i].Records = []*pipeline.Record{r.Child(), r}
		}
		host = true
	}
	return out
}

// apart is a part whose batches only save time; some of their records are tried again.
type apart struct{ *part }

func (apart) Independent() {}

func (a apart) Batch() (int, time.Duration) {
	return a.count%10 + 1, time.Duration(a.salt%2) * 5 * time.Millisecond
}

func (a apart) ProcessBatch(ctx context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	a.most.Store(max(a.most.Load(), a.now.Add(1)))
	defer a.now.Add(-1)
	select {
	case <-time.After(time.Duration(a.draw(batch[0], 50)) * time.Millisecond):
	case <-ctx.Done():
		return slices.Repeat([]pipeline.Outcome{{Err: ctx.Err()}}, len(batch))
	}
	out := make([]pipeline.Outcome, len(batch))
	for i, r := range batch {
		if _, junk := r.Lookup("junk"); junk {
			out[i].Err = errors.New("sees what an attempt before it did")
			continue
		}
		if n, _ := a.tries.LoadOrStore(r.Ref, new(int)); a.draw(r, 9) == 8 && *n.(*int) < 2 {
			*n.(*int)++
			r.Set("junk", pipeline.Text("x"))
			out[i].Err = pipeline.Transient("busy", errBad)
			continue
		}
		out[i].Records, out[i].Err = a.make(r)
	}
	return out
}

// sequential is a limit.
type sequential struct {
	*part
	taken int
}

func (*sequential) Sequential() {}

func (s *sequential) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	if s.taken >= s.count {
		return nil, pipeline.ErrEnough
	}
	if s.taken++; s.taken == s.count {
		return []*pipeline.Record{r}, pipeline.ErrEnough
	}
	return []*pipeline.Record{r}, nil
}

type some struct{ *part }

func (w some) Bool(r *pipeline.Record) (bool, error) { return w.draw(r, 4) != 3, nil }

func (s *part) batches() bool { return s.kind == "group" || s.kind == "batch" }

func (s *part) step() pipeline.Step {
	step := pipeline.Step{Stage: s, StepOptions: pipeline.StepOptions{
		Parallelism: s.parallelism, ReorderWindow: s.window, Unordered: s.unordered, OnError: s.onError,
		Breaker: pipeline.Breaker{Off: true}, Retry: pipeline.Retry{RunBudget: 1000},
	}}
	if s.some && !s.batches() {
		step.When = some{s}
	}
	switch s.kind {
	case "wait", "again":
		step.Workload, step.Timeout = pipeline.Waits, -1
	case "group", "batch":
		step.Stage = grouped{s}
	case "apart":
		step.Stage, step.Workload, step.Timeout = apart{s}, pipeline.Waits, -1
	case "limit":
		step.Stage = &sequential{part: s}
	case "foreign":
		step = pipeline.Step{Stage: engine.Foreign(flow.NewMap(func(r *pipeline.Record) *pipeline.Record { return r }, 1))}
	}
	return step
}

// expected is what comes of a run that nobody stops.
type expected struct {
	out, dead []string
	stops     bool // by an error
	limits    bool
}

func (p *plan) expect() (e expected) {
	var list []*pipeline.Record
	for i := range p.rows {
		r := pipeline.NewRecord()
		r.Ref.Seq = uint64(i)
		if p.limit > 0 && int64(i) >= p.limit {
			break
		}
		if p.broken > 0 && i%p.broken == p.broken-1 {
			e.dead = append(e.dead, r.Ref.String())
			continue
		}
		list = append(list, r)
	}
	for _, s := range p.parts {
		list = e.through(s, list)
	}
	for _, r := range list {
		if p.refuse && draw(r.Ref, 99, 9) == 0 {
			e.dead = append(e.dead, r.Ref.String())
		} else {
			e.out = append(e.out, r.Ref.String())
		}
	}
	return e
}

func (e *expected) through(s *part, list []*pipeline.Record) (out []*pipeline.Record) {
	fail := func(r *pipeline.Record, err error) {
		class, _ := pipeline.Classify(err)
		switch {
		case class == pipeline.ClassFatal, s.onError == pipeline.StopRun:
			e.stops = true
		case s.onError != pipeline.DropRecord:
			e.dead = append(e.dead, r.Ref.String())
		}
	}
	pass := func(r *pipeline.Record, made []*pipeline.Record) {
		if len(made) == 1 && made[0] == r {
			out = append(out, r)
			return
		}
		ref := r.Ref
		for i, c := range made {
			c.Ref = ref.Child(i)
			out = append(out, c)
		}
	}
	switch {
	case s.kind == "foreign":
		return list
	case s.batches():
		for batch := range slices.Chunk(list, grouped{s}.count%10+1) {
			host := false
			for i, o := range (grouped{s}).ProcessBatch(context.Background(), batch) {
				switch {
				case o.Err != nil, o.Merged && !host:
					fail(batch[i], o.Err)
				case !o.Merged:
					host = host || len(o.Records) > 0
					pass(batch[i], o.Records)
				}
			}
		}
		return out
	}
	taken := 0
	for _, r := range list {
		switch {
		case s.some && (some{s}).draw(r, 4) == 3:
			out = append(out, r)
			continue
		case s.kind == "limit":
			e.limits = true
			if taken++; taken <= s.count {
				out = append(out, r)
			}
			if taken >= s.count {
				return out
			}
			continue
		}
		made, err := func() (made []*pipeline.Record, err error) {
			defer func() {
				if recover() != nil {
					err = errBad
				}
			}()
			return s.make(r)
		}()
		if err == nil && (slices.Contains(made, nil) || len(made) == 2 && made[0] == made[1]) {
			err = errBad
		}
		if err != nil {
			fail(r, err)
			continue
		}
		pass(r, made)
	}
	return out
}

// Records is the source of a random run.
func (p *plan) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for r, err := range (numbers{rows: p.rows, broken: p.broken, pause: p.pause}).Records(ctx) {
			if !yield(r, err) {
				return
			}
		}
		switch p.ending {
		case "fail":
			yield(nil, errBad)
		case "panic":
			panic("a bug")
		case "nothing":
			yield(nil, nil)
		case "deaf":
			time.Sleep(3 * time.Second)
		}
	}
}

// output keeps the Refs of what is committed.
type output struct {
	mu                     sync.Mutex
	taken, committed, junk []string
	writes, commits        int
	failWrite, failCommit  int
	slow                   time.Duration
	refuse                 bool
	closed                 int
}

func (s *output) Write(ctx context.Context, batch []*pipeline.Record) error {
	if s.slow > 0 {
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes++; s.writes == s.failWrite {
		return errBad
	}
	refused := map[int]error{}
	for i, r := range batch {
		if s.refuse && draw(r.Ref, 99, 9) == 0 {
			refused[i] = errBad
			continue
		}
		if text := string(r.AppendJSON(nil)); strings.Contains(text, "junk") {
			s.junk = append(s.junk, text)
		}
		s.taken = append(s.taken, r.Ref.String())
	}
	if len(refused) > 0 {
		return fmt.Errorf("some: %w", &pipeline.BatchError{Refused: refused})
	}
	return nil
}

func (s *output) Commit(context.Context) (pipeline.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commits++; s.commits == s.failCommit {
		return "", errBad
	}
	s.committed = append(s.committed, s.taken...)
	s.taken = nil
	return "", nil
}

func (s *output) Close(context.Context) error { s.closed++; return nil }

// run runs the plan and says what is wrong.
func (p *plan) run(t *testing.T, fault func(string, ...any)) {
	sink := &output{failWrite: p.failWrite, failCommit: p.failCommit, slow: p.slow, refuse: p.refuse}
	dead := &output{failWrite: p.failDead}
	pl := pipeline.Pipeline{Source: p, Sink: sink, Flush: pipeline.Flush{Records: p.flush}, DeadLetter: dead, DrainTimeout: 10 * time.Second}
	pl.StopWhen.Off = !p.stopWhen
	if p.noDead {
		pl.DeadLetter = nil
	}
	for _, s := range p.parts {
		pl.Steps = append(pl.Steps, s.step())
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if p.stop == "deadline" {
		c, stop := context.WithTimeout(ctx, p.at)
		defer stop()
		ctx = c
	}
	run, err := engine.Start(ctx, pl, engine.Options{Limit: p.limit, Preflight: p.preflight})
	if err != nil {
		t.Fatal(err)
	}
	switch p.stop {
	case "stop":
		time.AfterFunc(p.at, run.Stop)
	case "abort":
		time.AfterFunc(p.at, run.Abort)
	case "cancel":
		time.AfterFunc(p.at, func() { cancel(gone) })
	case "stop and abort":
		time.AfterFunc(p.at, run.Stop)
		time.AfterFunc(p.at+time.Second, run.Abort)
	case "stop at once":
		run.Stop()
	}
	began := time.Now()
	for ended := false; !ended; {
		run.Snapshot()
		select {
		case <-run.Done():
			ended = true
		case <-time.After(100*time.Millisecond + time.Since(began)/10):
		}
		if time.Since(began) > 1000*time.Hour {
			fault("the run does not end: %+v", run.Snapshot())
			run.Abort()
			<-run.Done()
		}
	}
	s, err := run.Wait()
	if d := time.Since(began); p.stop != "" && d > p.at+time.Minute {
		fault("the stop took %v", d-p.at)
	}
	p.judge(s, err, sink, dead, fault)
	time.Sleep(time.Minute) // whoever does not heed its context
}

func (p *plan) judge(s engine.Summary, err error, sink, dead *output, fault func(string, ...any)) {
	c := s.Counts
	if lost := c.Read + c.Made - c.Merged - c.Delivered - c.Dropped - c.DroppedOnError - c.DeadLettered - c.Unfinished; lost != 0 {
		fault("%d are lost", lost)
	}
	if int(c.Delivered) != len(sink.committed) || len(sink.taken) > 0 && p.failCommit == 0 {
		fault("delivered %d, committed %d, taken %d", c.Delivered, len(sink.committed), len(sink.taken))
	}
	if !p.noDead && int(c.DeadLettered) != len(dead.committed) {
		fault("dead letters %d, committed %d", c.DeadLettered, len(dead.committed))
	}
	all := slices.Concat(sink.committed, dead.committed)
	slices.Sort(all)
	if n := len(all); len(slices.Compact(all)) != n {
		fault("something is written twice")
	}
	if len(sink.junk)+len(dead.junk) > 0 {
		fault("not as it entered: %v %v", sink.junk, dead.junk)
	}
	if sink.closed != 1 || dead.closed != 1 && !p.noDead {
		fault("closed %d and %d times", sink.closed, dead.closed)
	}
	for i, part := range p.parts {
		most := int64(max(part.parallelism, 1))
		if part.parallelism == 0 {
			most = 16
		}
		if got := part.most.Load(); got > most {
			fault("%d at once in stage %d, want at most %d", got, i, most)
		}
	}
	p.compare(s, err, sink, dead, fault)
}

func (p *plan) compare(s engine.Summary, err error, sink, dead *output, fault func(string, ...any)) {
	e := p.expect()
	ordered := !slices.ContainsFunc(p.parts, func(s *part) bool { return s.unordered })
	got, want := slices.Clone(sink.committed), slices.Clone(e.out)
	// A group that was begun when the run was stopped is smaller; the records that
	// it is made of are still the first.
	regrouped := slices.ContainsFunc(p.parts, (*part).batches)
	fails := p.ending != "" && p.ending != "deaf" || e.stops || p.failWrite > 0 || p.failCommit > 0 || p.failDead > 0 || p.stopWhen
	whole := p.stop == "" && (!fails || (p.ending != "" && !e.stops && p.failWrite+p.failCommit+p.failDead == 0 && !p.stopWhen))
	switch {
	case err != nil && !fails && p.stop != "cancel" && p.stop != "deadline":
		fault("error %v", err)
	case err == nil && !s.Stopped && s.Counts.Unfinished > 0:
		fault("%d unfinished in silence", s.Counts.Unfinished)
	case errors.As(err, new(*engine.PreflightError)):
		fault("the preflight: %v", err)
	case s.Stopped && errors.Is(err, context.Canceled):
		fault("a stopped run has failed: %v", err)
	}
	if !ordered {
		slices.Sort(got)
		slices.Sort(want)
	}
	if err == nil && !s.Stopped || whole {
		if !slices.Equal(got, want) {
			fault("delivered %s", difference(got, want))
		}
		if got, want := sorted(dead.committed), sorted(e.dead); !p.noDead && !e.limits && !slices.Equal(got, want) {
			fault("dead letters %s", difference(got, want))
		}
		return
	}
	if regrouped && !ordered {
		return
	}
	if ordered && !isPrefix(got, want) && !regrouped {
		fault("not the beginning: delivered %s", difference(got, want))
	}
	if ordered && !slices.IsSortedFunc(got, compareRefs) {
		fault("out of order")
	}
}

// difference says where two lists begin to differ.
func difference(got, want []string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("%d, want %d; from %d on %v, want %v", len(got), len(want), i,
		got[i:min(len(got), i+5)], want[i:min(len(want), i+5)])
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func isPrefix(a, b []string) bool { return len(a) <= len(b) && slices.Equal(a, b[:len(a)]) }

func compareRefs(a, b string) int {
	as, bs := strings.FieldsFunc(a, isCut), strings.FieldsFunc(b, isCut)
	return slices.CompareFunc(as, bs, func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
}

func isCut(r rune) bool { return r == ':' || r == '/' }

// TestRandomRuns holds random pipelines with random misfortunes to the promises:
// every leaf ends exactly once, in order, and nobody hangs or is left behind.
func TestRandomRuns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		synctest.Test(t, func(t *testing.T) { p.run(t, rt.Errorf) })
	})
}
