package pipelinetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
)

// placed is a row with its place and its error, as it was read.
type placed struct {
	origin pipeline.Origin
	text   string
}

// placedRows reads a source to its end.
func (c SourceCase) placedRows(ctx context.Context, source pipeline.Source, b *breaches) (all []placed) {
	for r, err := range source.Records(ctx) {
		if r == nil {
			b.addf("the source failed: %v", err)
			return all
		}
		text := fmt.Sprintf("%+v: %s", r.Origin, r.AppendJSON(nil))
		if err != nil {
			text += ": " + err.Error()
		}
		all = append(all, placed{r.Origin, text})
	}
	return all
}

func texts(rows []placed) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r.text
	}
	return out
}

// identifies checks that the same input is known again: before it was read, and after.
func (c SourceCase) identifies(t *testing.T) (b breaches) {
	source := c.New(t)
	defer b.close(source)
	first, ok := source.(pipeline.Identifier)
	if !ok {
		return nil
	}
	identity := func(s pipeline.Identifier) string {
		id, err := s.Identify(t.Context())
		if err != nil {
			b.addf("identify: %v", err)
		}
		return id
	}
	was := identity(first)
	c.placedRows(t.Context(), source, &b)
	again := c.New(t)
	defer b.close(again)
	if is := identity(again.(pipeline.Identifier)); is != was {
		b.addf("the same input is %q, and was %q", is, was)
	}
	if change, err := again.(pipeline.Identifier).Compare(t.Context(), was); err != nil || change != pipeline.Same {
		b.addf("the same input has changed: %v, %v", change, err)
	}
	c.placedRows(t.Context(), again, &b)
	return b
}

// seeks begins with each row: what comes is the rest, with the same places, bytes and
// errors, and all of it counts as read.
func (c SourceCase) seeks(t *testing.T) (b breaches) {
	source := c.New(t)
	if _, ok := source.(pipeline.Seeker); !ok {
		b.close(source)
		return b
	}
	all := c.placedRows(t.Context(), source, &b)
	b.close(source)
	for i, row := range all {
		source := c.New(t)
		if err := source.(pipeline.Seeker).Seek(t.Context(), row.origin); err != nil {
			b.addf("seek %+v: %v", row.origin, err)
		}
		what := fmt.Sprintf("rows from row %d of %d on", i, len(all))
		b.equal(what, texts(c.placedRows(t.Context(), source, &b)), texts(all[i:]))
		if meter, ok := source.(pipeline.Meter); ok {
			if done, total := meter.Progress(); total > 0 && done != total {
				b.addf("%s: all is read, and Progress says %d of %d", what, done, total)
			}
		}
		b.close(source)
	}
	return b
}
