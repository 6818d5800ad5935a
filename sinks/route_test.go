package sinks_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sinks"
)

// has is the condition that a record has a field; one with a field "broken" fails it.
type has string

func (h has) Bool(r *pipeline.Record) (bool, error) {
	if _, ok := r.Lookup("broken"); ok {
		return false, errors.New("cannot tell")
	}
	_, ok := r.Lookup(string(h))
	return ok, nil
}

func sinkTo(t *testing.T, path string) pipeline.Sink {
	t.Helper()
	s, err := sinks.NewFile(sinks.FileConfig{Path: path}, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func linesIn(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func TestAllConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Sink(t, threeFiles(sinks.All, append(routed(), "A", `{"a":1}`, `{"a":2,"b":2}`, `{"a":3}`, "B", `{"b":1}`, `{"a":2,"b":2}`)))
}

func TestFirstConformance(t *testing.T) {
	t.Parallel()
	pipelinetest.Sink(t, threeFiles(sinks.First, []string{`{"c":1}`, "A", `{"a":1}`, `{"a":2,"b":2}`, `{"a":3}`, "B", `{"b":1}`}))
}

func routed() []string {
	return []string{`{"a":1}`, `{"b":1}`, `{"a":2,"b":2}`, `{"c":1}`, `{"a":3}`}
}

// threeFiles is the case of a sink of three files: the rest, A and B.
func threeFiles(of func(...sinks.Branch) (pipeline.Sink, error), want []string) pipelinetest.SinkCase {
	var dir string
	again := func(t *testing.T) pipeline.Sink {
		t.Helper()
		s, err := of(
			sinks.Branch{Sink: sinkTo(t, filepath.Join(dir, "rest.jsonl"))},
			sinks.Branch{Sink: sinkTo(t, filepath.Join(dir, "a.jsonl")), When: has("a")},
			sinks.Branch{Sink: sinkTo(t, filepath.Join(dir, "b.jsonl")), When: has("b")},
		)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return pipelinetest.SinkCase{
		New:   func(t *testing.T) pipeline.Sink { t.Helper(); dir = t.TempDir(); return again(t) },
		Again: again,
		Rows:  routed(),
		Want:  want,
		Read: func(t *testing.T) []string {
			t.Helper()
			var all []string
			for _, f := range []struct{ mark, name string }{{"", "rest"}, {"A", "a"}, {"B", "b"}} {
				lines := linesIn(t, filepath.Join(dir, f.name+".jsonl"))
				if f.mark != "" && len(lines) > 0 {
					all = append(all, f.mark)
				}
				all = append(all, lines...)
			}
			return all
		},
		Refused: []string{`{"broken":1}`},
	}
}

// stubborn is a sink that fails as told, and notes what it takes.
type stubborn struct {
	fail   []error // of the next Writes
	rows   []string
	closed int
}

func (s *stubborn) Write(_ context.Context, batch []*pipeline.Record) error {
	var err error
	if len(s.fail) > 0 {
		err, s.fail = s.fail[0], s.fail[1:]
	}
	var refused *pipeline.BatchError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	for i, r := range batch {
		if refused == nil || refused.Refused[i] == nil {
			s.rows = append(s.rows, string(r.AppendJSON(nil)))
		}
	}
	return err
}

func (s *stubborn) Commit(context.Context) (pipeline.Position, error) {
	return pipeline.Position(fmt.Sprint(len(s.rows))), nil
}
func (s *stubborn) Close(context.Context) error { s.closed++; return nil }

func batchOf(t *testing.T, rows ...string) []*pipeline.Record {
	t.Helper()
	batch := make([]*pipeline.Record, len(rows))
	for i, row := range rows {
		r, err := pipeline.ParseRecord([]byte(row))
		if err != nil {
			t.Fatal(err)
		}
		batch[i] = r
	}
	return batch
}

// A batch that comes again because one sink failed does not come twice to the others.
func TestABatchThatComesAgainComesOnce(t *testing.T) {
	t.Parallel()
	a, b, c := &stubborn{}, &stubborn{fail: []error{pipeline.Transient("busy", errors.New("busy")), pipeline.Transient("busy", errors.New("busy"))}}, &stubborn{}
	a.fail = []error{&pipeline.BatchError{Refused: map[int]error{1: errors.New("not this one")}}}
	s, err := sinks.All(sinks.Branch{Name: "A", Sink: a}, sinks.Branch{Name: "B", Sink: b}, sinks.Branch{Name: "C", Sink: c})
	if err != nil {
		t.Fatal(err)
	}
	batch := batchOf(t, `{"i":1}`, `{"i":2}`)
	for range 2 {
		if err := s.Write(t.Context(), batch); err == nil || err.Error() != "B: busy" {
			t.Fatalf("got %v, want that B is busy", err)
		}
	}
	var refused *pipeline.BatchError
	if err := s.Write(t.Context(), batch); !errors.As(err, &refused) || len(refused.Refused) != 1 || refused.Refused[1].Error() != "A: not this one" {
		t.Errorf("got %v, want what A has refused", err)
	}
	if err := s.Write(t.Context(), batchOf(t, `{"i":3}`)); err != nil {
		t.Error(err)
	}
	for name, one := range map[string]*stubborn{"A": a, "B": b, "C": c} {
		want := `{"i":1} {"i":2} {"i":3}`
		if name == "A" {
			want = `{"i":1} {"i":3}`
		}
		if got := strings.Join(one.rows, " "); got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
	if _, err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var took []int64
	for _, use := range s.(pipeline.Router).Uses() {
		took = append(took, use.Delivered)
	}
	if !slices.Equal(took, []int64{2, 3, 3}) {
		t.Errorf("they took %v, want 2, 3 and 3", took)
	}
}

func TestARecordThatNobodyCanRouteIsRefused(t *testing.T) {
	t.Parallel()
	rest, a := &stubborn{}, &stubborn{}
	s, err := sinks.All(sinks.Branch{Sink: rest}, sinks.Branch{Name: "file a.jsonl", Sink: a, When: has("a")})
	if err != nil {
		t.Fatal(err)
	}
	var refused *pipeline.BatchError
	err = s.Write(t.Context(), batchOf(t, `{"a":1}`, `{"broken":1}`))
	if !errors.As(err, &refused) || refused.Refused[1] == nil || refused.Refused[1].Error() != "file a.jsonl: when: cannot tell" || len(refused.Refused) != 1 {
		t.Errorf("got %v", err)
	}
	if len(rest.rows) != 1 || len(a.rows) != 1 {
		t.Errorf("got %v and %v, want the first row in both", rest.rows, a.rows)
	}
}

func TestWhatSeveralSinksPromise(t *testing.T) {
	t.Parallel()
	file := sinkTo(t, filepath.Join(t.TempDir(), "x.jsonl"))
	channel := sinks.Channel(make(chan *pipeline.Record, 1))
	for name, c := range map[string]struct {
		other pipeline.Sink
		want  pipeline.Delivery
	}{
		"files":           {file, pipeline.ExactlyOnce},
		"one says naught": {&stubborn{}, pipeline.AtLeastOnce},
		"a channel":       {channel, pipeline.NotKept},
	} {
		s, err := sinks.All(sinks.Branch{Sink: file}, sinks.Branch{Sink: c.other})
		if err != nil {
			t.Fatal(err)
		}
		if got := pipeline.DeliveryOf(s); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestWhatSeveralSinksNeed(t *testing.T) {
	t.Parallel()
	some, one := has("a"), &stubborn{}
	cases := map[string]struct {
		make     func(...sinks.Branch) (pipeline.Sink, error)
		branches []sinks.Branch
		want     string
	}{
		"all without a default":   {sinks.All, []sinks.Branch{{Sink: one, When: some}}, "one sink must be without `when`"},
		"first without a default": {sinks.First, []sinks.Branch{{Sink: one, When: some}}, "one sink must be without `when`"},
		"none":                    {sinks.All, nil, "one sink must be without `when`"},
		"first with two defaults": {sinks.First, []sinks.Branch{{Sink: one}, {Sink: one}}, "2 sinks are without `when`"},
		"no sink":                 {sinks.All, []sinks.Branch{{}}, "branch 0 has no sink"},
	}
	for name, c := range cases {
		if _, err := c.make(c.branches...); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// published is a sink that spools, finishes and publishes.
type published struct {
	*stubborn
	dir    string
	showed []pipeline.Position
}

func (s *published) Spool(dir string) { s.dir = filepath.Base(dir) }

func (s *published) Finish(context.Context) (pipeline.Position, error) { return "end", nil }

func (s *published) Publish(_ context.Context, to pipeline.Position) error {
	s.showed = append(s.showed, to)
	return nil
}

// What one of them does behind a checkpoint and at the end, it does among others too.
func TestSeveralSinksFinishAndPublish(t *testing.T) {
	t.Parallel()
	other, last := &stubborn{}, &published{stubborn: &stubborn{}}
	s, err := sinks.All(sinks.Branch{Sink: other}, sinks.Branch{Sink: last})
	if err != nil {
		t.Fatal(err)
	}
	s.(pipeline.Spooler).Spool("spool")
	if err := s.Write(t.Context(), batchOf(t, `{"i":1}`)); err != nil {
		t.Fatal(err)
	}
	committed, err := s.Commit(t.Context())
	if err == nil {
		err = s.(pipeline.Publisher).Publish(t.Context(), committed)
	}
	finished, ended := s.(pipeline.Finisher).Finish(t.Context())
	if err = errors.Join(err, ended); err == nil {
		err = s.(pipeline.Publisher).Publish(t.Context(), finished)
	}
	if err != nil || last.dir != "1" || !slices.Equal(last.showed, []pipeline.Position{"1", "end"}) {
		t.Errorf("got folder %q and %q, %v", last.dir, last.showed, err)
	}
}

// When one of them refuses to start, none has changed what is there; what needs no start
// is closed all the same.
func TestSeveralSinksStartTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, fresh, other := filepath.Join(dir, "old.jsonl"), filepath.Join(dir, "new.jsonl"), &stubborn{}
	if err := os.WriteFile(old, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sinks.All(sinks.Branch{Sink: sinkTo(t, fresh)}, sinks.Branch{Name: "OLD", Sink: sinkTo(t, old)}, sinks.Branch{Sink: other})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(pipeline.Starter).Start(t.Context(), false); err == nil || !strings.HasPrefix(err.Error(), "OLD: ") {
		t.Errorf("got %v, want that OLD refuses", err)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("the other was begun")
	}
	if err := s.Close(t.Context()); err != nil || other.closed != 1 {
		t.Errorf("closed %d times, %v", other.closed, err)
	}
}

// A record that is restricted goes where it is to, whatever it is for; First does not restrict.
func TestRestricted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of   func(...sinks.Branch) (pipeline.Sink, error)
		want []int
	}{"all": {sinks.All, []int{2, 2, 1}}, "first": {sinks.First, []int{1, 1, 1}}} {
		rest, second, a := &stubborn{}, &stubborn{}, &stubborn{}
		s, err := c.of(sinks.Branch{Name: "rest", Sink: rest}, sinks.Branch{Name: "x", Sink: second, When: has("x")}, sinks.Branch{Name: "x", Sink: a, When: has("a")})
		if err != nil {
			t.Fatal(err)
		}
		several := s.(pipeline.Router)
		if names := several.Uses(); names[1].Name != "x" || names[2].Name != "x (2)" {
			t.Errorf("%s: they are called %v, and no two must be called the same", name, names)
		}
		batch := batchOf(t, `{"a":1}`, `{"b":1}`)
		several.Restrict(func(r *pipeline.Record) []string {
			if r == batch[0] {
				return []string{"x"}
			}
			return nil
		})
		if err := s.Write(t.Context(), append(batch, batchOf(t, `{"a":2,"x":1}`)...)); err != nil {
			t.Fatal(err)
		}
		if got := []int{len(rest.rows), len(second.rows), len(a.rows)}; !slices.Equal(got, c.want) {
			t.Errorf("%s: they have %v rows, want %v", name, got, c.want)
		}
	}
}

// vague is a sink that leaves less of the promises.
type vague struct{ stubborn }

func (*vague) Guarantee() string { return "a black box" }

func TestWhatSeveralSinksLeaveOfThePromises(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]pipeline.Sink{"": &stubborn{}, "several: B is a black box": &vague{}} {
		s, err := sinks.All(sinks.Branch{Name: "A", Sink: &stubborn{}}, sinks.Branch{Name: "B", Sink: b})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.(pipeline.Guarantor).Guarantee(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
