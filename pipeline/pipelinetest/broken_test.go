package pipelinetest

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// proof is a component that breaks a law.
type proof struct {
	name string
	laws func(t *testing.T) []law
	law  string
}

// TestEveryLawCanBeBroken has for each law a component that breaks it, and for each
// kind one that breaks none. A law that nothing can break would be worth nothing.
func TestEveryLawCanBeBroken(t *testing.T) {
	t.Parallel()
	proven := map[string]bool{}
	for _, p := range slices.Concat(sourceProofs(), stageProofs(), statefulProofs(), sinkProofs()) {
		proven[p.law] = true
		t.Run(p.law+"/"+p.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				laws := p.laws(t)
				i := slices.IndexFunc(laws, func(l law) bool { return l.name == p.law })
				if i < 0 {
					t.Fatalf("there is no such law for it")
				}
				if len(laws[i].broken(t)) == 0 {
					t.Error("nobody noticed")
				}
				time.Sleep(24 * time.Hour) // until what hangs has ended
			})
		})
	}
	for _, laws := range [][]law{goodSource().laws(), goodStage(nil).laws(t), goodStage(batching).laws(t), goodApart(t).laws(t), goodStage(remembering).laws(t), goodSink().laws()} {
		for _, l := range laws {
			if !proven[l.name] {
				t.Errorf("nothing shows that the law %q can be broken", l.name)
			}
		}
	}
}

func TestGoodComponentsBreakNoLaw(t *testing.T) {
	t.Parallel()
	Source(t, goodSource())
	Stage(t, goodStage(nil))
	Stage(t, goodStage(batching))
	Stage(t, goodApart(t))
	Stage(t, goodStage(remembering))
	Sink(t, goodSink())
	Sink(t, SinkCase{New: func(*testing.T) pipeline.Sink { return forgetful{} }, Rows: sinkRows(), KeepsNothing: true})
}

// hang ignores its context.
func hang() { time.Sleep(time.Minute) }

// goodRows is a source without fault, in parts that can be replaced.
type goodRows struct {
	records  func(ctx context.Context) iter.Seq2[*pipeline.Record, error]
	probe    func() error
	close    func() error
	progress func() (done, total int64)
	shape    pipeline.Shape
	identity func() (string, error)
	compare  func(was string) (pipeline.Change, error)
	first    int // the row to begin with
	seek     func(at pipeline.Origin) error
}

func (s *goodRows) Identify(context.Context) (string, error)         { return s.identity() }
func (s *goodRows) Seek(_ context.Context, at pipeline.Origin) error { return s.seek(at) }
func (s *goodRows) Compare(_ context.Context, was string) (pipeline.Change, error) {
	return s.compare(was)
}

func (s *goodRows) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return s.records(ctx)
}
func (s *goodRows) Probe(context.Context) error         { return s.probe() }
func (s *goodRows) Close() error                        { return s.close() }
func (s *goodRows) Progress() (done, total int64)       { return s.progress() }
func (s *goodRows) Shape(pipeline.Shape) pipeline.Shape { return s.shape }
func always[T any](v T) func() T                        { return func() T { return v } }
func as[C any](change func(*C), c *C) *C                { change(c); return c }
func nothing(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(func(*pipeline.Record, error) bool) {}
}

var errBroken = errors.New("broken")

// newRows returns a source of three rows, one of which cannot be read.
func newRows() *goodRows {
	done := make(chan int64, 1) // of size 1: it holds a number
	done <- 0
	read := func(add int64) int64 { n := <-done + add; done <- n; return n }
	s := &goodRows{
		identity: func() (string, error) { return "three rows", nil },
		compare:  func(string) (pipeline.Change, error) { return pipeline.Same, nil },
		probe:    always[error](nil), close: always[error](nil),
		progress: func() (int64, int64) { return read(0), 3 },
		shape:    pipeline.Shape{Closed: true}.With("n", pipeline.NumberType),
	}
	s.seek = func(at pipeline.Origin) error { s.first = int(at.Offset); return nil }
	s.records = func(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
		return func(yield func(*pipeline.Record, error) bool) {
			for i, raw := range []string{`{"n":1}`, `{"n":`, `{"n":2}`} {
				r, err := pipeline.ParseRecord([]byte(raw))
				if err != nil {
					r = pipeline.Unreadable([]byte(raw))
				}
				read(1)
				r.Origin.Offset = int64(i)
				if i >= s.first && (ctx.Err() != nil || !yield(r, err)) {
					return
				}
			}
		}
	}
	return s
}

func goodSource() SourceCase {
	return SourceCase{
		New:  func(*testing.T) pipeline.Source { return newRows() },
		Want: []string{`{"n":1}`, `{"n":2}`}, Unreadable: 1,
		Idle: func(*testing.T) pipeline.Source {
			return as(func(s *goodRows) {
				s.records = func(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
					<-ctx.Done()
					return nothing(ctx)
				}
			}, newRows())
		},
	}
}

// eachRow replaces what is yielded for each row of a good source.
func eachRow(change func(yield func(*pipeline.Record, error) bool, r *pipeline.Record, err error) bool) func(*goodRows) {
	return func(s *goodRows) {
		good := s.records
		s.records = func(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
			return func(yield func(*pipeline.Record, error) bool) {
				for r, err := range good(ctx) {
					if !change(yield, r, err) {
						return
					}
				}
			}
		}
	}
}

func sourceProofs() []proof {
	brk := func(rule, name string, change func(*goodRows)) proof {
		c := goodSource()
		c.New = func(*testing.T) pipeline.Source { return as(change, newRows()) }
		return proof{name, func(*testing.T) []law { return c.laws() }, rule}
	}
	type next = func(*pipeline.Record, error) bool
	var runs int64
	var identities int
	shared := []pipeline.Field{{Name: "n", Value: pipeline.RawJSON("1")}}
	var last *pipeline.Record
	idle := goodSource()
	idle.Idle = func(*testing.T) pipeline.Source {
		return as(func(s *goodRows) {
			s.records = func(ctx context.Context) iter.Seq2[*pipeline.Record, error] { hang(); return nothing(ctx) }
		}, newRows())
	}
	return []proof{
		brk("yields its rows in order", "a row too many", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			return yield(r, err) && (err != nil || yield(r.Clone(), nil))
		})),
		brk("yields its rows in order", "one record for all rows", func(s *goodRows) {
			one := &pipeline.Record{}
			eachRow(func(yield next, r *pipeline.Record, err error) bool { *one = *r; return yield(one, err) })(s)
		}),
		brk("yields its rows in order", "an unreadable row that is none", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			if err != nil {
				r = pipeline.NewRecord()
			}
			return yield(r, err)
		})),
		brk("yields its rows in order", "an unreadable row that stops the run", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			if err != nil {
				err = pipeline.Fatal("row", err)
			}
			return yield(r, err)
		})),
		brk("yields its rows in order", "a Ref of its own", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			r.Ref.Seq = 7
			return yield(r, err)
		})),
		brk("yields its rows in order", "nothing for a row", eachRow(func(yield next, _ *pipeline.Record, _ error) bool { return yield(nil, nil) })),
		brk("yields its rows in order", "a panic", func(s *goodRows) { s.records = nil }),
		brk("yields the same rows again", "other places", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			runs++
			r.Origin.Line = runs
			return yield(r, err)
		})),
		brk("lets go of its rows", "fields that are shared", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			if err == nil {
				shared[0].Value, _ = r.Lookup("n")
				r.SetFields(shared)
				if last != nil {
					v, _ := last.Lookup("n changed")
					r.Set("n", v)
				}
				last = r
			}
			return yield(r, err)
		})),
		brk("stops when the consumer does", "another row", eachRow(func(yield next, r *pipeline.Record, err error) bool {
			yield(r, err)
			return yield(r, err)
		})),
		brk("stops when the context is done", "an error", func(s *goodRows) {
			s.records = func(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
				return func(yield func(*pipeline.Record, error) bool) {
					if r, _ := pipeline.ParseRecord([]byte(`{}`)); ctx.Err() != nil || yield(r, nil) {
						yield(nil, ctx.Err())
					}
				}
			}
		}),
		brk("stops when the context is done", "hangs", func(s *goodRows) {
			s.records = func(ctx context.Context) iter.Seq2[*pipeline.Record, error] { hang(); return nothing(ctx) }
		}),
		brk("has the fields it says", "other fields", func(s *goodRows) { s.shape = pipeline.Shape{Closed: true}.With("m", 0) }),
		brk("has the fields it says", "other types", func(s *goodRows) { s.shape = pipeline.Shape{}.With("n", pipeline.StringType) }),
		brk("knows how far it has read", "never all", func(s *goodRows) { s.progress = func() (int64, int64) { return 1, 3 } }),
		brk("knows how far it has read", "backwards", func(s *goodRows) {
			var mu sync.Mutex
			left := int64(100)
			s.progress = func() (int64, int64) { mu.Lock(); defer mu.Unlock(); left--; return left, 0 }
		}),
		brk("is known again", "a number", func(s *goodRows) {
			s.identity = func() (string, error) { identities++; return strconv.Itoa(identities), nil }
		}),
		brk("is known again", "an error", func(s *goodRows) { s.identity = func() (string, error) { return "three rows", errBroken } }),
		brk("is known again", "as another", func(s *goodRows) {
			s.compare = func(string) (pipeline.Change, error) { return pipeline.Grown, nil }
		}),
		brk("begins with any row", "always with the first", func(s *goodRows) { s.seek = func(pipeline.Origin) error { return nil } }),
		brk("begins with any row", "with the next", func(s *goodRows) {
			s.seek = func(at pipeline.Origin) error { s.first = int(at.Offset) + 1; return nil }
		}),
		brk("begins with any row", "an error", func(s *goodRows) { s.seek = func(pipeline.Origin) error { return errBroken } }),
		brk("begins with any row", "counts from there", func(s *goodRows) {
			eachRow(func(yield next, r *pipeline.Record, err error) bool {
				r.Origin.Line = r.Origin.Offset - int64(s.first)
				return yield(r, err)
			})(s)
		}),
		brk("begins with any row", "does not count what it skips", func(s *goodRows) {
			good := s.progress
			s.progress = func() (int64, int64) { done, total := good(); return done - int64(s.first), total }
		}),
		brk("is closed unread", "an error", func(s *goodRows) { s.close = always(errBroken) }),
		brk("runs in a pipeline", "a probe that fails", func(s *goodRows) { s.probe = always(errBroken) }),
		brk("runs in a pipeline", "a probe that reads", func(s *goodRows) {
			s.probe = func() error { s.records = nothing; return nil }
		}),
		{"hangs", func(*testing.T) []law { return idle.laws() }, "stops while it waits for a row"},
	}
}

// goodDouble is a stage without fault, in parts that can be replaced: each record
// becomes two, and one without n fails.
type goodDouble struct {
	process  func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error)
	rehearse func(r *pipeline.Record) error
	shape    func(in pipeline.Shape) pipeline.Shape
}

func (s *goodDouble) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	return s.process(ctx, r)
}
func (s *goodDouble) Rehearse(r *pipeline.Record) error      { return s.rehearse(r) }
func (s *goodDouble) Shape(in pipeline.Shape) pipeline.Shape { return s.shape(in) }

func newDouble() *goodDouble {
	return &goodDouble{
		rehearse: func(*pipeline.Record) error { return nil },
		shape:    func(in pipeline.Shape) pipeline.Shape { return in.With("i", pipeline.NumberType) },
		process: func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			if _, ok := r.Lookup("n"); !ok {
				return nil, errBroken
			}
			a, b := r.Child(), r.Child()
			a.Set("i", pipeline.RawJSON("0"))
			b.Set("i", pipeline.RawJSON("1"))
			return []*pipeline.Record{a, b}, nil
		},
	}
}

// pairs is a Batcher: it merges records, two by two.
type pairs struct {
	*goodDouble
	batch func(batch []*pipeline.Record) []pipeline.Outcome
}

func (pairs) Batch() (size int, wait time.Duration) { return 2, 0 }
func (s pairs) ProcessBatch(_ context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	return s.batch(batch)
}

func merge(batch []*pipeline.Record) []pipeline.Outcome {
	out := []pipeline.Outcome{{Records: batch[:1:1]}}
	for range batch[1:] {
		out = append(out, pipeline.Outcome{Merged: true})
	}
	return out
}

func batching(s *goodDouble) pipeline.Stage { return pairs{s, merge} }

// apart is a Batcher for which a batch only saves time.
type apart struct{ pairs }

func (apart) Independent() {}

// goodApart is one without fault: it processes each by itself.
func goodApart(t *testing.T) StageCase {
	c := goodStage(nil)
	c.New = func(*testing.T) pipeline.Stage {
		s := newDouble()
		return apart{pairs{s, func(batch []*pipeline.Record) []pipeline.Outcome {
			out := make([]pipeline.Outcome, len(batch))
			for i, r := range batch {
				out[i].Records, out[i].Err = s.process(t.Context(), r)
			}
			return out
		}}}
	}
	return c
}

// inOrder is a stage that gets one record at a time.
type inOrder struct{ *goodDouble }

func (inOrder) Sequential() {}

func goodStage(wrap func(*goodDouble) pipeline.Stage) StageCase {
	if wrap != nil {
		return StageCase{
			New:  func(*testing.T) pipeline.Stage { return wrap(newDouble()) },
			Rows: []string{`{"n":1}`, `{"n":2}`, `{"n":3}`}, Want: []string{`{"n":1}`, `{"n":3}`},
		}
	}
	return StageCase{
		New:  func(*testing.T) pipeline.Stage { return newDouble() },
		Rows: []string{`{"n": 1}`, `{"n":2,"x":[]}`},
		Want: []string{`{"n":1,"i":0}`, `{"n":1,"i":1}`, `{"n":2,"x":[],"i":0}`, `{"n":2,"x":[],"i":1}`}, Failing: []string{`{"m":1}`},
	}
}

func stageProofs() []proof {
	brk := func(rule, name string, change func(*goodDouble)) proof {
		c := goodStage(nil)
		c.New = func(*testing.T) pipeline.Stage { return as(change, newDouble()) }
		return proof{name, c.laws, rule}
	}
	wrapped := func(rule, name string, build func(*goodDouble) pipeline.Stage) proof {
		return proof{name, goodStage(build).laws, rule}
	}
	type process = func(context.Context, *pipeline.Record) ([]*pipeline.Record, error)
	makes := func(p process) func(*goodDouble) { return func(s *goodDouble) { s.process = p } }
	loses := makes(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		return []*pipeline.Record{r}, nil
	})
	slow := func(s *goodDouble) {
		good := s.process
		s.process = func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) { hang(); return good(ctx, r) }
	}
	counting := func(s *goodDouble) {
		var mu sync.Mutex
		n := 0
		s.process = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			v, err := pipeline.ValueOf(n)
			r.Set("n", v)
			return []*pipeline.Record{r}, err
		}
	}
	return []proof{
		brk("at parallelism 1", "loses a child", loses),
		brk("at parallelism 2", "loses a child", loses),
		brk("at parallelism 64", "loses a child", loses),
		brk("at parallelism 1", "no error", makes(func(context.Context, *pipeline.Record) ([]*pipeline.Record, error) { return nil, nil })),
		brk("makes the same of a record again", "counts", counting),
		wrapped("makes the same of a record again", "counts records that are shown again", func(s *goodDouble) pipeline.Stage {
			counting(s)
			return inOrder{s}
		}),
		brk("leaves the record that came in", "writes into its fields", makes(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			r.Fields()[0].Value = pipeline.Text("x")
			return []*pipeline.Record{r}, nil
		})),
		brk("leaves the record that came in", "children that share their fields", makes(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
			a, b, fields := r.Child(), r.Child(), slices.Clone(r.Fields())
			a.SetFields(fields)
			b.SetFields(fields)
			return []*pipeline.Record{a, b}, nil
		})),
		brk("lets go of what it made", "one record for all", func(s *goodDouble) {
			one := pipeline.NewRecord()
			s.process = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				one.SetFields(slices.Clone(r.Fields()))
				return []*pipeline.Record{one}, nil
			}
		}),
		brk("returns when the context is done", "hangs", slow),
		brk("ends when the run is aborted", "hangs", slow),
		brk("makes what its shape says", "other fields", func(s *goodDouble) { s.shape = func(in pipeline.Shape) pipeline.Shape { return in } }),
		brk("rehearses without a trace", "an error", func(s *goodDouble) { s.rehearse = func(*pipeline.Record) error { return errBroken } }),
		brk("rehearses without a trace", "a change", func(s *goodDouble) {
			s.rehearse = func(r *pipeline.Record) error { r.Delete("n"); return nil }
		}),
		brk("leaves nothing behind when it fails", "stops the run", func(s *goodDouble) {
			good := s.process
			s.process = func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				made, err := good(ctx, r)
				if err != nil {
					err = pipeline.Fatal("row", err)
				}
				return made, err
			}
		}),
		brk("leaves nothing behind when it fails", "remembers", func(s *goodDouble) {
			good, failed := s.process, false
			s.process = func(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				if failed {
					return nil, nil
				}
				made, err := good(ctx, r)
				failed = err != nil
				return made, err
			}
		}),
		wrapped("has an outcome for every record of a batch", "too few", func(s *goodDouble) pipeline.Stage {
			return pairs{s, func(batch []*pipeline.Record) []pipeline.Outcome { return merge(batch)[:1] }}
		}),
		wrapped("has an outcome for every record of a batch", "merged into nothing", func(s *goodDouble) pipeline.Stage {
			return pairs{s, func(batch []*pipeline.Record) []pipeline.Outcome {
				return slices.Repeat([]pipeline.Outcome{{Merged: true}}, len(batch))
			}}
		}),
		wrapped("makes of a record what it does without the others", "counts them", func(s *goodDouble) pipeline.Stage {
			return apart{pairs{s, func(batch []*pipeline.Record) []pipeline.Outcome {
				out := make([]pipeline.Outcome, len(batch))
				for i, r := range batch {
					r.Set("of", pipeline.Text(strconv.Itoa(len(batch))))
					out[i].Records = []*pipeline.Record{r}
				}
				return out
			}}}
		}),
		brk("works on several records at once", "keeps the record in a place of its own", func(s *goodDouble) {
			var mu sync.Mutex
			var current *pipeline.Record
			s.process = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
				mu.Lock()
				current = r
				mu.Unlock()
				time.Sleep(time.Millisecond)
				runtime.Gosched()
				mu.Lock()
				defer mu.Unlock()
				return []*pipeline.Record{current.Clone()}, nil
			}
		}),
	}
}
