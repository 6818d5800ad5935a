package pipelinetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

// saved is what a stage saves in a run.
type saved struct{ bytes.Buffer }

func (s *saved) by(b *breaches, stage pipeline.Stateful) {
	if err := stage.Save(&s.Buffer); err != nil {
		b.addf("save: %v", err)
	}
}

// loaded makes a stage that takes in what was saved.
func (c StageCase) loaded(t *testing.T, b *breaches, s *saved) pipeline.Stateful {
	t.Helper()
	stage := c.New(t).(pipeline.Stateful)
	if err := stage.Load(bytes.NewReader(s.Bytes())); err != nil {
		b.addf("load: %v", err)
	}
	return stage
}

// answers shows a stage rows, and returns what it says to each.
func answers(t *testing.T, stage pipeline.Stage, rows []*pipeline.Record) (all []string) {
	t.Helper()
	for _, r := range rows {
		all = append(all, shown(process(t.Context(), stage, []*pipeline.Record{r.Clone()})))
	}
	return all
}

// goesOn kills a run behind each row and loads what was saved there: behind each row,
// some rows, or only then. The last rows are shown again, some of them left out, and
// then the rest: each gets the answer that it gets from a stage that was never killed.
// After that comes another kill.
func (c StageCase) goesOn(t *testing.T) (b breaches) {
	in := records(t, c.mixed())
	want := answers(t, c.New(t), in)
	for kill := range len(in) + 1 {
		for _, every := range []int{1, 3, len(in) + 1} {
			var s saved
			stage := c.New(t).(pipeline.Stateful)
			for i, r := range in[:kill] {
				answers(t, stage, []*pipeline.Record{r})
				if i%every == 0 {
					s.by(&b, stage)
				}
			}
			s.by(&b, stage)
			when := fmt.Sprintf("after a kill behind row %d of %d, saved every %d", kill, len(in), every)
			from := max(0, kill-3)
			stage = c.loaded(t, &b, &s)
			b.equal("answers "+when, answers(t, stage, in[from:]), want[from:])
			s.by(&b, stage)
			stage = c.loaded(t, &b, &s)
			b.equal("answers after another kill, "+when, everySecond(answers(t, stage, in)), everySecond(want))
			stage = c.loaded(t, &b, &s)
			b.equal("answers with rows left out, "+when, answers(t, stage, everySecond(in)), everySecond(want))
		}
	}
	return b
}

// everySecond is what is left where some rows have ended.
func everySecond[T any](all []T) (out []T) {
	for some := range slices.Chunk(all, 2) {
		out = append(out, some[0])
	}
	return out
}

// savesNews saves twice where nothing came in between, and right after it has loaded.
func (c StageCase) savesNews(t *testing.T) (b breaches) {
	var s saved
	stage := c.New(t).(pipeline.Stateful)
	for _, r := range records(t, c.mixed()) {
		answers(t, stage, []*pipeline.Record{r})
		s.by(&b, stage)
		size := s.Len()
		if s.by(&b, stage); s.Len() != size {
			b.addf("nothing has changed, and it saves %d bytes", s.Len()-size)
		}
	}
	size := s.Len()
	if s.by(&b, c.loaded(t, &b, &s)); s.Len() != size {
		b.addf("it saves %d bytes right after it has loaded", s.Len()-size)
	}
	return b
}

// damaged loads what is not what was saved.
func (c StageCase) damaged(t *testing.T) (b breaches) {
	var s saved
	stage := c.New(t).(pipeline.Stateful)
	for _, r := range records(t, c.mixed()) {
		answers(t, stage, []*pipeline.Record{r})
	}
	s.by(&b, stage)
	load := func(how string, text []byte) {
		if err := c.New(t).(pipeline.Stateful).Load(bytes.NewReader(text)); err == nil {
			b.addf("it loads what was saved with %s", how)
		}
	}
	for i := range s.Len() {
		text := bytes.Clone(s.Bytes())
		text[i] ^= 1
		load(fmt.Sprintf("byte %d of %d changed", i, s.Len()), text)
	}
	if s.Len() > 0 { // one that ends farther in front may be what was saved earlier
		load("its last byte cut off", s.Bytes()[:s.Len()-1])
	}
	return b
}
