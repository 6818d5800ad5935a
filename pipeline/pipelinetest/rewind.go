package pipelinetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

// rewindLaws are those of a [pipeline.Rewinder]. A kill is an instance that is left
// alone: what it has written is there, and nobody closes it.
func (c SinkCase) rewindLaws() []law {
	return []law{
		{"goes on after a kill", c.goesOn},
		{"goes on after its end", c.reopens},
		{"is cut back again", c.cutTwice},
		{"refuses to cut what has changed", c.refusesToCut},
	}
}

// promises checks that a sink says before it is started what it delivers, and that
// it can be held to it.
func (c SinkCase) promises(t *testing.T) (b breaches) {
	sink := c.New(t)
	defer b.end(t.Context(), sink)
	d, ok := sink.(pipeline.Deliverer)
	if !ok {
		return nil
	}
	promise := d.Delivery()
	if !slices.Contains([]pipeline.Delivery{
		pipeline.NotKept, pipeline.AtLeastOnce, pipeline.ExactlyOnce, pipeline.ExactlyOnceByKey,
	}, promise) {
		b.addf("%q is nothing that can be promised", promise)
	}
	_, rewinds := sink.(pipeline.Rewinder)
	_, publishes := sink.(pipeline.Publisher)
	if promise == pipeline.ExactlyOnce && !rewinds && !publishes {
		b.addf("it promises %q, but can neither be cut back nor publish", promise)
	}
	return b
}

// rewinds reports whether there is anything to check: a sink may do without.
func (c SinkCase) rewinds(t *testing.T, b *breaches) bool {
	t.Helper()
	sink := c.New(t)
	defer b.end(t.Context(), sink)
	_, ok := sink.(pipeline.Rewinder)
	return ok
}

// rewind makes a sink that goes on at a position; nil if it refuses.
func (c SinkCase) rewind(t *testing.T, b *breaches, to pipeline.Position) pipeline.Sink {
	t.Helper()
	sink := c.Again(t)
	if err := sink.(pipeline.Rewinder).Check(t.Context(), to); err != nil {
		b.addf("Check refuses what it left at %q: %v", to, err)
	}
	if err := sink.(pipeline.Rewinder).Rewind(t.Context(), to); err != nil {
		b.addf("rewind to %q: %v", to, err)
		return nil
	}
	return sink
}

// begun starts a sink and commits the first rows, some to a commit.
func (c SinkCase) begun(t *testing.T, b *breaches, first int) (pipeline.Sink, pipeline.Position) {
	t.Helper()
	sink := b.start(t, c.New, false)
	if sink == nil {
		return nil, ""
	}
	var at pipeline.Position
	for i, r := range records(t, c.Rows[:first]) {
		b.write(t.Context(), sink, []*pipeline.Record{r})
		if i%2 == 0 || i == first-1 {
			at = b.commit(t.Context(), sink)
		}
	}
	return sink, at
}

// finish writes the rest of the rows and ends the run.
func (c SinkCase) finish(t *testing.T, b *breaches, sink pipeline.Sink, first int) {
	t.Helper()
	b.write(t.Context(), sink, records(t, c.Rows[first:]))
	b.commit(t.Context(), sink)
	b.end(t.Context(), sink)
}

// goesOn kills a run behind each row, with more behind the checkpoint: rows that were
// written and rows that were committed. What is there in the end is what there would be
// without the kill.
func (c SinkCase) goesOn(t *testing.T) (b breaches) {
	if !c.rewinds(t, &b) {
		return b
	}
	for first := range len(c.Rows) + 1 {
		for _, committed := range []bool{false, true} {
			sink, at := c.begun(t, &b, first)
			if sink == nil {
				return b
			}
			b.write(t.Context(), sink, records(t, c.Rows[first:]))
			if committed {
				b.commit(t.Context(), sink)
			}
			if sink = c.rewind(t, &b, at); sink == nil {
				return b
			}
			c.finish(t, &b, sink, first)
			c.check(t, &b, fmt.Sprintf("after a kill behind row %d of %d, more committed: %v", first, len(c.Rows), committed))
		}
	}
	return b
}

// reopens goes on with a run that has ended, because there is more to read.
func (c SinkCase) reopens(t *testing.T) (b breaches) {
	if !c.rewinds(t, &b) {
		return b
	}
	for first := range len(c.Rows) + 1 {
		sink, at := c.begun(t, &b, first)
		if sink == nil {
			return b
		}
		b.end(t.Context(), sink)
		if sink = c.rewind(t, &b, at); sink == nil {
			return b
		}
		c.finish(t, &b, sink, first)
		c.check(t, &b, fmt.Sprintf("after a run that ended behind row %d of %d went on", first, len(c.Rows)))
	}
	return b
}

// cutTwice kills the run that goes on as well: while it is cut back, and after it has
// written.
func (c SinkCase) cutTwice(t *testing.T) (b breaches) {
	if !c.rewinds(t, &b) {
		return b
	}
	for first := range len(c.Rows) {
		sink, at := c.begun(t, &b, first)
		if sink == nil {
			return b
		}
		b.write(t.Context(), sink, records(t, c.Rows[first:]))
		b.commit(t.Context(), sink)
		for range 2 {
			if sink = c.rewind(t, &b, at); sink == nil {
				return b
			}
		}
		if again := b.commit(t.Context(), sink); first > 0 && again != at {
			b.addf("cut back to %q, it says that it stands at %q", at, again)
		}
		b.write(t.Context(), sink, records(t, c.Rows[first:first+1]))
		b.commit(t.Context(), sink)
		if sink = c.rewind(t, &b, at); sink == nil {
			return b
		}
		c.finish(t, &b, sink, first)
		c.check(t, &b, fmt.Sprintf("after several kills behind row %d of %d", first, len(c.Rows)))
	}
	return b
}

// refusesToCut has another run write in the same place, less or something else. Nobody
// may go on there, and what is there stays.
func (c SinkCase) refusesToCut(t *testing.T) (b breaches) {
	if !c.rewinds(t, &b) {
		return b
	}
	backwards := slices.Clone(c.Rows) // all but the first, which may decide on the columns
	slices.Reverse(backwards[1:])
	for name, rows := range map[string][]string{"less": c.Rows[:1], "other rows": backwards} {
		sink, at := c.begun(t, &b, len(c.Rows))
		if sink == nil {
			return b
		}
		b.end(t.Context(), sink)
		other := c
		other.Rows = rows
		other.fill(t, &b, c.Again, true)
		was := c.Read(t)
		sink = c.Again(t)
		if err := sink.(pipeline.Rewinder).Check(t.Context(), at); err == nil {
			b.addf("there is %s than it left there, and Check of %q says nothing", name, at)
		}
		err := sink.(pipeline.Rewinder).Rewind(t.Context(), at)
		if class, _ := pipeline.Classify(err); err == nil || class != pipeline.ClassFatal {
			b.addf("there is %s than it left there, and cut back to %q it says: %v; want an error of class %v", name, at, err, pipeline.ClassFatal)
		}
		b.end(t.Context(), sink)
		b.equal("there after it refused to go on", c.Read(t), was)
	}
	return b
}
