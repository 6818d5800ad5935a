package pipelinetest

import (
	"context"
	"errors"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

// forgetful is a sink that keeps nothing.
type forgetful struct{}

func (forgetful) Write(context.Context, []*pipeline.Record) error   { return nil }
func (forgetful) Commit(context.Context) (pipeline.Position, error) { return "", nil }
func (forgetful) Close(context.Context) error                       { return nil }

// boasts is a sink that promises more than it can.
type boasts struct{ forgetful }

func (boasts) Delivery() pipeline.Delivery { return pipeline.ExactlyOnce }

// place is where a sink writes.
type place struct {
	rows []string
	cuts int
}

// goodWriter is a sink without fault, in parts that can be replaced. It refuses
// records without n.
type goodWriter struct {
	place   *place
	held    []string
	started bool

	write   func(ctx context.Context, batch []*pipeline.Record) error
	commit  func() (pipeline.Position, error)
	close   func() error
	start   func(fresh bool) error
	prepare func(fresh bool) error
	probe   func() error
	rewind  func(to pipeline.Position) error
	check   func(to pipeline.Position) error
	promise pipeline.Delivery
}

func (s *goodWriter) Write(ctx context.Context, batch []*pipeline.Record) error {
	return s.write(ctx, batch)
}

func (s *goodWriter) Commit(context.Context) (pipeline.Position, error) { return s.commit() }
func (s *goodWriter) Close(context.Context) error                       { return s.close() }
func (s *goodWriter) Start(_ context.Context, fresh bool) error         { return s.start(fresh) }
func (s *goodWriter) Prepare(_ context.Context, fresh bool) error       { return s.prepare(fresh) }
func (s *goodWriter) Probe(context.Context) error                       { return s.probe() }

func (s *goodWriter) Rewind(_ context.Context, to pipeline.Position) error { return s.rewind(to) }
func (s *goodWriter) Check(_ context.Context, to pipeline.Position) error  { return s.check(to) }
func (s *goodWriter) Delivery() pipeline.Delivery                          { return s.promise }

// position says how many rows there are, and which is the last.
func (p *place) position() pipeline.Position {
	if len(p.rows) == 0 {
		return ""
	}
	hash := crc32.ChecksumIEEE([]byte(p.rows[len(p.rows)-1])) % 1000
	return pipeline.Position(strconv.Itoa(len(p.rows)*1000 + int(hash)))
}

// cut leaves the rows that there were at the position.
func (p *place) cut(to pipeline.Position) error {
	n, _ := strconv.Atoi(string(to))
	was := place{rows: p.rows[:min(n/1000, len(p.rows))]}
	if was.position() != to {
		return pipeline.Fatal("changed", errBroken)
	}
	p.rows = slices.Clip(was.rows)
	return nil
}

func newWriter(p *place) *goodWriter {
	s := &goodWriter{place: p, close: always[error](nil), probe: always[error](nil)}
	s.start = func(fresh bool) error {
		switch {
		case fresh:
			p.rows = nil
		case len(p.rows) > 0:
			return errBroken
		}
		s.started = true
		return nil
	}
	s.prepare = func(fresh bool) error {
		if !fresh && len(p.rows) > 0 {
			return errBroken
		}
		p.rows = nil
		return nil
	}
	s.write = func(ctx context.Context, batch []*pipeline.Record) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		refused := map[int]error{}
		for i, r := range batch {
			if _, ok := r.Lookup("n"); !ok {
				refused[i] = errBroken
				continue
			}
			s.held = append(s.held, string(r.AppendJSON(nil)))
		}
		if len(refused) > 0 {
			return &pipeline.BatchError{Refused: refused}
		}
		return nil
	}
	s.commit = func() (pipeline.Position, error) {
		p.rows = append(p.rows, s.held...)
		s.held = nil
		return p.position(), nil
	}
	s.promise = pipeline.ExactlyOnce
	s.rewind = func(to pipeline.Position) error { s.started = true; return p.cut(to) }
	s.check = func(to pipeline.Position) error { return (&place{rows: p.rows}).cut(to) }
	return s
}

func sinkRows() []string { return []string{`{"n":1}`, `{"n": 2}`, `{"n":3,"x":null}`} }

// goodSink returns the case of a sink, each changed in the same way.
func goodSink(changes ...func(*goodWriter)) SinkCase {
	var here *place
	build := func() pipeline.Sink {
		s := newWriter(here)
		for _, change := range changes {
			change(s)
		}
		return s
	}
	return SinkCase{
		New:     func(*testing.T) pipeline.Sink { here = &place{}; return build() },
		Again:   func(*testing.T) pipeline.Sink { return build() },
		Rows:    sinkRows(),
		Read:    func(*testing.T) []string { return here.rows },
		Refused: []string{`{"m":1}`},
		Stuck: func(*testing.T) pipeline.Sink {
			return as(func(s *goodWriter) {
				s.write = func(ctx context.Context, _ []*pipeline.Record) error { <-ctx.Done(); return ctx.Err() }
			}, newWriter(&place{}))
		},
	}
}

func sinkProofs() []proof {
	brk := func(rule, name string, changes ...func(*goodWriter)) proof {
		return proof{name, func(*testing.T) []law { return goodSink(changes...).laws() }, rule}
	}
	type batch = []*pipeline.Record
	// before changes a good sink's Write.
	before := func(change func(s *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error) func(*goodWriter) {
		return func(s *goodWriter) {
			good := s.write
			s.write = func(ctx context.Context, b batch) error { return change(s, good, ctx, b) }
		}
	}
	untilTheEnd := func(s *goodWriter) {
		s.close = func() error { s.place.rows = s.held; return nil }
		s.commit = func() (pipeline.Position, error) { return "", nil }
	}
	keepsTheSlice := func(s *goodWriter) {
		var kept batch
		s.write = func(_ context.Context, b batch) error { kept = b; return nil }
		s.commit = func() (pipeline.Position, error) {
			for _, r := range kept {
				s.place.rows = append(s.place.rows, string(r.AppendJSON(nil)))
			}
			kept = nil
			return "", nil
		}
	}
	lastOnly := before(func(_ *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error {
		return good(ctx, b[max(0, len(b)-1):])
	})
	losesAll := before(func(*goodWriter, func(context.Context, batch) error, context.Context, batch) error { return nil })
	stuck := goodSink()
	stuck.Stuck = func(*testing.T) pipeline.Sink {
		return as(func(s *goodWriter) { s.write = func(context.Context, batch) error { hang(); return nil } }, newWriter(&place{}))
	}
	keepsAll := func(s *goodWriter) { s.rewind = func(pipeline.Position) error { return nil } }
	cutsOnly := func(where func(pipeline.Position) bool) func(*goodWriter) {
		return func(s *goodWriter) {
			good := s.rewind
			s.rewind = func(to pipeline.Position) error {
				if !where(to) {
					return errBroken
				}
				return good(to)
			}
		}
	}
	boaster := goodSink()
	boaster.New = func(*testing.T) pipeline.Sink { return boasts{} }
	noStarter := goodSink()
	noStarter.Again = func(*testing.T) pipeline.Sink { return forgetful{} }
	return []proof{
		brk("delivers what was committed", "only when it is closed", untilTheEnd),
		brk("delivers what was committed", "keeps the slice", keepsTheSlice),
		brk("does without rows", "fails", before(func(_ *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error {
			if len(b) == 0 {
				return errBroken
			}
			return good(ctx, b)
		})),
		brk("only reads the records", "sets a field", before(func(_ *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error {
			for _, r := range b {
				r.Set("seen", pipeline.Text("yes"))
			}
			return good(ctx, b)
		})),
		brk("says where it stands", "backwards", func(s *goodWriter) {
			good := s.commit
			s.commit = func() (pipeline.Position, error) {
				p, err := good()
				return pipeline.Position(strings.Repeat("9", 9-len(s.place.rows))), errors.Join(err, map[bool]error{p == "": errBroken}[true])
			}
		}),
		brk("says where it stands", "moves by itself", func(s *goodWriter) {
			n := 0
			s.commit = func() (pipeline.Position, error) { n++; return pipeline.Position(strconv.Itoa(n)), nil }
		}),
		brk("returns when the context is done", "loses the batch", before(func(_ *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error {
			if ctx.Err() != nil {
				return nil
			}
			return good(ctx, b)
		})),
		brk("returns when the context is done", "hangs", func(s *goodWriter) {
			s.write = func(context.Context, batch) error { hang(); return nil }
		}),
		brk("is probed without a trace", "writes", func(s *goodWriter) { s.probe = func() error { s.place.rows = []string{"probe"}; return nil } }),
		brk("is probed without a trace", "truncates", func(s *goodWriter) { s.probe = func() error { s.place.rows = nil; return nil } }),
		brk("is closed unused", "a panic", func(s *goodWriter) {
			s.close = func() error {
				if !s.started {
					panic("not started")
				}
				return nil
			}
		}),
		brk("has what it delivered when it is aborted", "keeps the last of a batch", lastOnly),
		brk("runs in a pipeline, in batches of 1", "loses all", losesAll),
		brk("runs in a pipeline, in batches of 1000", "keeps the last of a batch", lastOnly),
		brk("keeps what is there", "starts over", func(s *goodWriter) { s.start = func(bool) error { s.place.rows = nil; return nil } }),
		brk("keeps what is there", "cannot start over", func(s *goodWriter) { s.start = func(bool) error { return nil } }),
		{"does not know how a run begins", func(*testing.T) []law { return noStarter.laws() }, "keeps what is there"},
		brk("is prepared as it starts", "refuses nothing", func(s *goodWriter) { s.prepare = func(bool) error { return nil } }),
		brk("is prepared as it starts", "removes nothing", func(s *goodWriter) {
			good := s.prepare
			s.prepare = func(fresh bool) error {
				if fresh {
					return nil
				}
				return good(false)
			}
		}),
		brk("is prepared as it starts", "refuses all", func(s *goodWriter) { s.prepare = func(bool) error { return errBroken } }),
		brk("names what it refuses", "silently", before(func(_ *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error {
			_ = good(ctx, b)
			return nil
		})),
		brk("names what it refuses", "all of the batch", before(func(s *goodWriter, good func(context.Context, batch) error, ctx context.Context, b batch) error {
			err := good(ctx, b)
			if err != nil {
				s.held = nil
			}
			return err
		})),
		{"hangs", func(*testing.T) []law { return stuck.laws() }, "stops while it waits"},
		brk("promises what it can keep", "anything", func(s *goodWriter) { s.promise = "twice at most" }),
		{"cannot", func(*testing.T) []law { return boaster.laws() }, "promises what it can keep"},
		brk("goes on after a kill", "cuts nothing", keepsAll),
		brk("goes on after a kill", "cuts all", func(s *goodWriter) {
			s.rewind = func(pipeline.Position) error { s.place.rows = nil; return nil }
		}),
		brk("goes on after a kill", "only where something is", cutsOnly(func(to pipeline.Position) bool { return to != "" })),
		brk("goes on after its end", "not behind all rows", cutsOnly(func(to pipeline.Position) bool { return !strings.HasPrefix(string(to), "3") })),
		brk("goes on after its end", "leaves its end there", func(s *goodWriter) {
			s.close = func() error { s.place.rows = append(s.place.rows, "end"); return nil }
			s.rewind = func(pipeline.Position) error { return nil }
		}),
		brk("is cut back again", "once only", func(s *goodWriter) {
			good := s.rewind
			s.rewind = func(to pipeline.Position) error {
				s.place.cuts++
				return errors.Join(good(to), map[bool]error{s.place.cuts%2 == 0: errBroken}[true])
			}
		}),
		brk("is cut back again", "not what it wrote since", func(s *goodWriter) {
			good := s.rewind
			s.rewind = func(to pipeline.Position) error {
				if s.place.cuts++; s.place.cuts%4 == 3 {
					return nil
				}
				return good(to)
			}
		}),
		brk("refuses to cut what has changed", "cuts anything", func(s *goodWriter) {
			s.rewind = func(to pipeline.Position) error {
				n, _ := strconv.Atoi(string(to))
				s.place.rows = s.place.rows[:min(n/1000, len(s.place.rows))]
				return nil
			}
		}),
		brk("refuses to cut what has changed", "cuts first", func(s *goodWriter) {
			s.rewind = func(to pipeline.Position) error {
				err := s.place.cut(to)
				if err != nil {
					s.place.rows = nil
				}
				return err
			}
		}),
		brk("refuses to cut what has changed", "checks nothing", func(s *goodWriter) {
			s.check = func(pipeline.Position) error { return nil }
		}),
		brk("goes on after a kill", "refuses what is as it was", func(s *goodWriter) {
			s.check = func(pipeline.Position) error { return errBroken }
		}),
		brk("refuses to cut what has changed", "to be tried again", func(s *goodWriter) {
			s.rewind = func(to pipeline.Position) error {
				if s.place.cut(to) != nil {
					return pipeline.Transient("changed", errBroken)
				}
				return nil
			}
		}),
	}
}
