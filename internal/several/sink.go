package several

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// Branch is one of several sinks, and which records go to it.
type Branch struct {
	// Name is for messages and the summary. Defaults to the number of the branch.
	Name string
	Sink pipeline.Sink
	// When says whether a record goes to the sink; [lang.Expression] is one. Nil is every
	// record for [All], and those that no other branch takes for [First].
	When pipeline.Condition
}

// All is a sink that gives each record to every branch that it is for.
func All(branches ...Branch) (pipeline.Sink, error) { return newRoute(branches, false) }

// First is a sink that gives each record to the first branch that it is for, and else to
// the one without a When.
func First(branches ...Branch) (pipeline.Sink, error) { return newRoute(branches, true) }

func newRoute(branches []Branch, first bool) (*route, error) {
	s := &route{first: first, otherwise: -1}
	defaults := 0
	for i, b := range branches {
		if b.Sink == nil {
			return nil, fmt.Errorf("branch %d has no sink", i)
		}
		if b.Name == "" {
			b.Name = fmt.Sprintf("sinks[%d]", i)
		}
		b.Name = s.unlike(b.Name)
		if b.When == nil {
			defaults++
			s.otherwise = i
		}
		s.branches = append(s.branches, &branch{Branch: b})
	}
	switch {
	case defaults == 0:
		return nil, errors.New("one sink must be without `when`, for the records that no other is for")
	case first && defaults > 1:
		return nil, fmt.Errorf("%d sinks are without `when`; with route: first one is, for the records that no other is for", defaults)
	}
	return s, nil
}

// unlike returns a name that no branch has yet: a second "http" is "http (2)".
func (s *route) unlike(name string) string {
	taken := func(n string) bool {
		return slices.ContainsFunc(s.branches, func(b *branch) bool { return b.Name == n })
	}
	n := name
	for i := 2; taken(n); i++ {
		n = fmt.Sprintf("%s (%d)", name, i)
	}
	return n
}

// route is several sinks as one.
type route struct {
	branches  []*branch
	first     bool
	otherwise int                             // the branch of First without a When
	only      func(*pipeline.Record) []string // see Restrict; nil restricts nothing
	try       *try
}

// branch is one of the sinks.
type branch struct {
	Branch
	started bool
	taken   int64              // since the last commit
	at      branchMark         // of the last commit
	batch   []*pipeline.Record // of the batch that is being written; scratch
	places  []int              // of those in it
}

// branchMark is where a branch stands.
type branchMark struct {
	Position  pipeline.Position `json:"position,omitempty"`
	Delivered int64             `json:"delivered,omitempty"`
}

// try is a batch whose Write has failed at a branch, and may come again: those in front
// of that have taken it.
type try struct {
	batch   []*pipeline.Record
	next    int
	refused map[int]error
	by      map[int][]string // the branches that have refused a record
}

// reasons are why records were refused, and by whom.
func (t *try) reasons() map[int]error {
	for i, by := range t.by {
		t.refused[i] = &pipeline.Refusal{Sinks: by, Err: t.refused[i]}
	}
	return t.refused
}

var (
	_ pipeline.Router    = (*route)(nil)
	_ pipeline.Starter   = (*route)(nil)
	_ pipeline.Preparer  = (*route)(nil)
	_ pipeline.Rewinder  = (*route)(nil)
	_ pipeline.Publisher = (*route)(nil)
	_ pipeline.Deliverer = (*route)(nil)
	_ pipeline.Prober    = (*route)(nil)
	_ pipeline.Spooler   = (*route)(nil)
	_ pipeline.Finisher  = (*route)(nil)
	_ pipeline.Timely    = (*route)(nil)
	_ pipeline.Portioned = (*route)(nil)
	_ pipeline.Guarantor = (*route)(nil)
)

// Write gives the records to the branches. When one fails, and the batch comes again, the
// branches in front of it do not get it twice.
func (s *route) Write(ctx context.Context, batch []*pipeline.Record) error {
	t := s.try
	if s.try = nil; t == nil || !slices.Equal(t.batch, batch) {
		t = &try{batch: batch, refused: map[int]error{}, by: map[int][]string{}}
		s.divide(t)
	}
	for ; t.next < len(s.branches); t.next++ {
		if err := s.branches[t.next].write(ctx, t); err != nil {
			t.batch = slices.Clone(batch)
			s.try = t
			return err
		}
	}
	if len(t.refused) > 0 {
		return &pipeline.BatchError{Refused: t.reasons()}
	}
	return nil
}

// divide finds out where the records go.
func (s *route) divide(t *try) {
	for _, b := range s.branches {
		b.batch, b.places = b.batch[:0], b.places[:0]
	}
	for i, r := range t.batch {
		to, err := s.branchesOf(r)
		if err != nil {
			t.refused[i] = err
			continue
		}
		for _, b := range to {
			b.batch, b.places = append(b.batch, r), append(b.places, i)
		}
	}
}

// Restrict is of no use to First, where one branch alone could refuse a record: it goes
// where it would go now.
func (s *route) Restrict(only func(*pipeline.Record) []string) {
	if !s.first {
		s.only = only
	}
}

// branchesOf returns where a record goes.
func (s *route) branchesOf(r *pipeline.Record) ([]*branch, error) {
	if s.only != nil {
		if names := s.only(r); names != nil {
			return s.called(names), nil
		}
	}
	return s.meant(r)
}

func (s *route) called(names []string) (to []*branch) {
	for _, b := range s.branches {
		if slices.Contains(names, b.Name) {
			to = append(to, b)
		}
	}
	return to
}

// meant returns the branches that a record is for.
func (s *route) meant(r *pipeline.Record) ([]*branch, error) {
	var to []*branch
	for _, b := range s.branches {
		if b.When == nil {
			if !s.first {
				to = append(to, b)
			}
			continue
		}
		yes, err := b.When.Bool(r)
		if err != nil {
			return nil, fmt.Errorf("%s: when: %w", b.Name, err)
		}
		if yes {
			if to = append(to, b); s.first {
				return to, nil
			}
		}
	}
	if s.first {
		to = append(to, s.branches[s.otherwise])
	}
	return to, nil
}

// write gives its part of the batch to a branch. What another has refused meanwhile it
// gets all the same: the order of the branches is to mean nothing.
func (b *branch) write(ctx context.Context, t *try) error {
	if len(b.batch) == 0 {
		return nil
	}
	err := b.Sink.Write(ctx, b.batch)
	var refused *pipeline.BatchError
	if err != nil && !errors.As(err, &refused) {
		return b.named(err)
	}
	b.taken += int64(len(b.batch))
	if refused == nil {
		return nil
	}
	for i, err := range refused.Refused {
		if i < 0 || i >= len(b.places) {
			continue
		}
		b.taken--
		at := b.places[i]
		if err = b.named(err); t.refused[at] != nil {
			err = fmt.Errorf("%w; %w", t.refused[at], err)
		}
		t.refused[at] = err
		t.by[at] = append(t.by[at], b.Name)
	}
	return nil
}

func (b *branch) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", b.Name, err)
}

// Commit commits all branches that have taken something since.
func (s *route) Commit(ctx context.Context) (pipeline.Position, error) {
	for _, b := range s.branches {
		if due := b.due(); b.taken == 0 && (due.IsZero() || time.Now().Before(due)) {
			continue
		}
		at, err := b.Sink.Commit(ctx)
		if err != nil {
			return "", b.named(err)
		}
		b.at.Position, b.at.Delivered, b.taken = at, b.at.Delivered+b.taken, 0
	}
	return s.position()
}

func (s *route) position() (pipeline.Position, error) {
	marks := make([]branchMark, len(s.branches))
	for i, b := range s.branches {
		marks[i] = b.at
	}
	text, err := json.Marshal(marks)
	return pipeline.Position(text), err
}

// Spool gives each branch that wants one a folder of its own.
func (s *route) Spool(dir string) {
	for i, b := range s.branches {
		if p, ok := b.Sink.(pipeline.Spooler); ok {
			p.Spool(filepath.Join(dir, strconv.Itoa(i)))
		}
	}
}

// Finish has the branches end their outputs.
func (s *route) Finish(ctx context.Context) (pipeline.Position, error) {
	for _, b := range s.branches {
		f, ok := b.Sink.(pipeline.Finisher)
		if !ok {
			continue
		}
		at, err := f.Finish(ctx)
		if err != nil {
			return "", b.named(err)
		}
		b.at.Position = at
	}
	return s.position()
}

// marks are the positions of the branches.
func (s *route) marks(p pipeline.Position) ([]branchMark, error) {
	marks := make([]branchMark, len(s.branches))
	if p == "" {
		return marks, nil
	}
	if err := json.Unmarshal([]byte(p), &marks); err != nil || len(marks) != len(s.branches) {
		return nil, fmt.Errorf("%q is no position of %d sinks", p, len(s.branches))
	}
	return marks, nil
}

// each calls f for every branch, to the end, and returns all errors.
func (s *route) each(f func(b *branch) error) error {
	var errs []error
	for _, b := range s.branches {
		errs = append(errs, b.named(f(b)))
	}
	return errors.Join(errs...)
}

// eachAt is each, with where the branch stood when the sinks stood at p.
func (s *route) eachAt(p pipeline.Position, f func(b *branch, at pipeline.Position) error) error {
	marks, err := s.marks(p)
	if err != nil {
		return err
	}
	i := -1
	return s.each(func(b *branch) error {
		i++
		return f(b, marks[i].Position)
	})
}

// Prepare asks all branches that refuse what is there.
func (s *route) Prepare(ctx context.Context, fresh bool) error {
	return s.each(func(b *branch) error {
		if p, ok := b.Sink.(pipeline.Preparer); ok {
			return p.Prepare(ctx, fresh)
		}
		return nil
	})
}

// Start starts the branches, unless one of them refuses.
func (s *route) Start(ctx context.Context, fresh bool) error {
	if !fresh {
		if err := s.Prepare(ctx, false); err != nil {
			return err
		}
	}
	for _, b := range s.branches {
		if err := b.start(ctx, fresh); err != nil {
			return err
		}
	}
	return nil
}

func (b *branch) start(ctx context.Context, fresh bool) error {
	if p, ok := b.Sink.(pipeline.Starter); ok {
		if err := p.Start(ctx, fresh); err != nil {
			return b.named(err)
		}
	}
	b.started = true
	return nil
}

// Rewind cuts back the branches that can be, unless one of them refuses; the others go on.
func (s *route) Rewind(ctx context.Context, to pipeline.Position) error {
	marks, err := s.marks(to)
	if err == nil {
		err = s.Check(ctx, to)
	}
	if err != nil {
		return err
	}
	for i, b := range s.branches {
		b.at = marks[i]
		r, ok := b.Sink.(pipeline.Rewinder)
		if !ok {
			err = b.start(ctx, false)
		} else if err = b.named(r.Rewind(ctx, marks[i].Position)); err == nil {
			b.started = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Check asks all branches that can be cut back.
func (s *route) Check(ctx context.Context, to pipeline.Position) error {
	return s.eachAt(to, func(b *branch, at pipeline.Position) error {
		if r, ok := b.Sink.(pipeline.Rewinder); ok {
			return r.Check(ctx, at)
		}
		return nil
	})
}

// Due is the first time at which a branch has something to end.
func (s *route) Due() (first time.Time) {
	for _, b := range s.branches {
		if due := b.due(); first.IsZero() || !due.IsZero() && due.Before(first) {
			first = due
		}
	}
	return first
}

// due is when the branch has something to end; zero for no such time.
func (b *branch) due() time.Time {
	if t, ok := b.Sink.(pipeline.Timely); ok && b.started {
		return t.Due()
	}
	return time.Time{}
}

// Portion is the smallest of the sinks'.
func (s *route) Portion() (least int) {
	for _, b := range s.branches {
		if p, ok := b.Sink.(pipeline.Portioned); ok && p.Portion() > 0 && (least == 0 || p.Portion() < least) {
			least = p.Portion()
		}
	}
	return least
}

// Publish has the branches show what a checkpoint covers.
func (s *route) Publish(ctx context.Context, to pipeline.Position) error {
	return s.eachAt(to, func(b *branch, at pipeline.Position) error {
		if p, ok := b.Sink.(pipeline.Publisher); ok {
			return p.Publish(ctx, at)
		}
		return nil
	})
}

// Delivery is the weakest promise of all.
func (s *route) Delivery() pipeline.Delivery {
	promises := []pipeline.Delivery{pipeline.NotKept, pipeline.AtLeastOnce, pipeline.ExactlyOnceByKey, pipeline.ExactlyOnce}
	weakest := len(promises) - 1
	for _, b := range s.branches {
		weakest = min(weakest, max(0, slices.Index(promises, pipeline.DeliveryOf(b.Sink))))
	}
	return promises[weakest]
}

// Guarantee says what those leave of the promises of a run that leave something.
func (s *route) Guarantee() string {
	var all []string
	for _, b := range s.branches {
		all = guarantee(all, b.Name, b.Sink)
	}
	return severalOf(all)
}

// Uses says how many records each branch has committed.
func (s *route) Uses() []pipeline.SinkUse {
	uses := make([]pipeline.SinkUse, len(s.branches))
	for i, b := range s.branches {
		uses[i] = pipeline.SinkUse{Name: b.Name, Delivered: b.at.Delivered, Delivery: pipeline.DeliveryOf(b.Sink)}
	}
	return uses
}

// Probe asks all branches.
func (s *route) Probe(ctx context.Context) error {
	return s.each(func(b *branch) error {
		if p, ok := b.Sink.(pipeline.Prober); ok {
			return p.Probe(ctx)
		}
		return nil
	})
}

// Close closes what was started, and what needs no start.
func (s *route) Close(ctx context.Context) error {
	return s.each(func(b *branch) error {
		if _, starts := b.Sink.(pipeline.Starter); starts && !b.started {
			return nil
		}
		return b.Sink.Close(ctx)
	})
}
