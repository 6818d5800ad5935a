package http

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// history is what is remembered of the pages that were read.
type history struct {
	seed maphash.Seed
	// mark is a page that was read, renewed after 1, 2, 4, 8 … pages: whatever goes round in
	// circles comes by it again.
	mark      uint64
	left, gap int
	rows      uint64 // of the last page, where it has any
	full      bool   // a page had as many rows as a page has
	empty     int    // pages without rows, in a row
}

func newHistory() *history { return &history{seed: maphash.MakeSeed(), left: 1, gap: 1} }

// returns reports whether a page was asked for before.
func (h *history) returns(token string) bool {
	is := maphash.String(h.seed, token)
	if is == h.mark {
		return true
	}
	if h.left--; h.left == 0 {
		h.gap *= 2
		h.mark, h.left = is, h.gap
	}
	return false
}

// repeated reports whether a page has the rows of the one before.
func (h *history) repeated(p *page) bool {
	was := h.rows
	if h.rows = 0; p.size > 0 {
		h.rows = maphash.Bytes(h.seed, p.rows)
	}
	return was != 0 && was == h.rows
}

// readAll reads until nothing more is wanted. The error is the source's.
func (s *Source) readAll(ctx context.Context, yield func(*pipeline.Record, error) bool) error {
	at, seen := s.first(), newHistory()
	if s.seek == nil {
		s.done.Store(0)
	} else {
		at, _ = s.parse(s.seek.Path) // Seek has read it
	}
	p := s.probed
	s.probed = nil
	for ctx.Err() == nil {
		var err error
		if p == nil || p.at != at {
			if p, err = s.fetch(ctx, at); err != nil {
				return err
			}
		}
		next, more, err := s.following(p, seen) // before its rows: they may be those of a page before
		if err != nil {
			return err
		}
		wanted, err := s.yieldRows(ctx, p, yield)
		if err != nil || !wanted || !more {
			return err
		}
		at, p = next, nil // nil before the next comes: one page is held
	}
	return nil
}

// yieldRows yields the rows of a page, and reports whether more are wanted.
func (s *Source) yieldRows(ctx context.Context, p *page, yield func(*pipeline.Record, error) bool) (more bool, err error) {
	begin := int64(1)
	if s.seek != nil {
		if begin = s.seek.Line; int64(p.size) < begin {
			return false, s.changed(p, fmt.Errorf("it has %d rows, and had %d", p.size, begin))
		}
	}
	seek := s.seek
	line, base := int64(0), int64(-1)
	more = true
	eachElement(p.rows, func(raw jsontext.Value, at int64) bool {
		if line++; base < 0 {
			base = at
		}
		origin := pipeline.Origin{Path: s.text(p.at), Line: line, Offset: at - base}
		if line < begin {
			return true
		}
		if seek != nil && line == begin && origin.Offset != seek.Offset {
			err = s.changed(p, fmt.Errorf("%d bytes stand in front of row %d, and were %d", origin.Offset, line, seek.Offset))
			return false
		}
		s.done.Add(1)
		r, bad := record(raw, origin)
		more = ctx.Err() == nil && yield(r, bad)
		return more
	})
	if err == nil && more {
		s.seek = nil
	}
	return more, err
}

// changed is the error of a page that is not what it was.
func (s *Source) changed(p *page, err error) error {
	return pipeline.Fatal("source_changed", fmt.Errorf(
		"%s is not the page that the unfinished run has read: %w; rows were added to it, taken away or changed; --fresh starts over", s.where(p.at), err))
}

// record makes a row of an element. The bytes are copied: those of the page go with it.
func record(raw jsontext.Value, at pipeline.Origin) (*pipeline.Record, error) {
	r, err := pipeline.ParseRecord(bytes.Clone(raw))
	if err != nil {
		r, err = pipeline.Unreadable(raw), pipeline.Permanent("unreadable", err)
	}
	r.Origin = at
	return r, err
}

// following returns the page behind one that was read, and whether there is one. seen is
// nil for a page that is only tried.
func (s *Source) following(p *page, seen *history) (next place, more bool, err error) {
	next, err = s.after(p, seen)
	if err != nil {
		return next, false, s.failed(p.at, err)
	}
	most := s.config.Paging.MaxPages
	if more = next.token != "" && (most == 0 || next.number <= most); !more || seen == nil {
		return next, more, nil
	}
	if next.token == p.at.token || next.token == p.from.String() || seen.returns(next.token) {
		return next, false, s.failed(p.at, pipeline.Fatal("loop", fmt.Errorf(
			"the next page (%s) is one that was read before; check `paging`: the server may not know the parameter", s.text(next))))
	}
	return next, true, nil
}

// after finds the next page; its token is "" if there is none.
func (s *Source) after(p *page, seen *history) (next place, err error) {
	next.number = p.at.number + 1
	more, known, err := s.tells(p)
	if err != nil || known && !more || s.kind() == onePage {
		return next, err
	}
	switch s.kind() {
	case byCursor:
		next.token, err = s.value(p, seen)
	case byLink:
		next.token, err = s.linked(p, seen)
	default:
		next.token, err = s.counted(p, seen, more)
	}
	if err == nil && more && next.token == "" {
		err = pipeline.Fatal("next", fmt.Errorf("`%s` says that there are more pages, and nothing says where", s.config.Paging.More))
	}
	return next, err
}

// tells returns what the answer says of whether there is more, if it is to be asked.
func (s *Source) tells(p *page) (more, known bool, err error) {
	if p.body == nil {
		return false, true, nil
	}
	if len(s.more) == 0 {
		return false, false, nil
	}
	v, ok := s.more.find(p.body)
	if !ok || v.Kind() != 't' && v.Kind() != 'f' {
		return false, false, pipeline.Fatal("more", fmt.Errorf("there is no `%s` in the answer that is true or false; it has %s", s.config.Paging.More, names(p.body)))
	}
	return v.Kind() == 't', true, nil
}

// mostEmpty is how many pages without a row may follow each other where a server says that
// there is more.
const mostEmpty = 100

// counted counts on, unless the page is the last one, where the server does not tell. It may
// give fewer rows than it is asked for: a short page is the last one only if the server is
// known to fill them.
func (s *Source) counted(p *page, seen *history, more bool) (string, error) {
	now, err := strconv.ParseInt(p.at.token, 10, 64)
	if err != nil {
		return "", fmt.Errorf("%q is no number of a page", p.at.token)
	}
	step := int64(1)
	if s.kind() == byOffset {
		step = int64(p.size)
	}
	next := strconv.FormatInt(now+step, 10)
	switch size := s.config.Paging.Size; {
	case p.size == 0 && !more:
		return "", nil
	case seen == nil:
		return next, nil
	case seen.repeated(p):
		return "", pipeline.Fatal("loop", fmt.Errorf("it has the rows of the page before; does the server know the parameter %q?", s.param()))
	case seen.tooEmpty(p):
		return "", pipeline.Fatal("loop", fmt.Errorf("%d pages in a row have no rows, and `%s` says each time that there are more", mostEmpty, s.config.Paging.More))
	case size > 0 && p.size < size && seen.full && !more:
		return "", nil
	case p.size == size:
		seen.full = true
	}
	return next, nil
}

// tooEmpty counts pages without rows.
func (h *history) tooEmpty(p *page) bool {
	if h.empty++; p.size > 0 {
		h.empty = 0
	}
	return h.empty >= mostEmpty
}

// value returns what stands at `next`; "" for nothing.
func (s *Source) value(p *page, seen *history) (string, error) {
	v, ok := s.next.find(p.body)
	switch {
	case !ok:
		return "", s.missing(p, seen)
	case v.Kind() == 'n', v.Kind() == 'f':
		return "", nil
	case v.Kind() == '"':
		text, err := jsontext.AppendUnquote(nil, v)
		return string(text), err
	case v.Kind() == '0' && s.kind() == byCursor:
		return string(v), nil
	default:
		return "", pipeline.Fatal("next", fmt.Errorf("`%s` in the answer is %s", s.config.Paging.Next, describe(v)))
	}
}

// missing is about a page without `next`, which is how many servers tell the last one. On the
// first page it may be a mistake.
func (s *Source) missing(p *page, seen *history) error {
	if p.at.number > 1 || p.size == 0 {
		return nil
	}
	next := s.config.Paging.Next
	if name := tellsMore(p.body, "", 2); name != "" && len(s.more) == 0 {
		return pipeline.Fatal("next", fmt.Errorf("there is no `%s` in the answer, but `%s`, as if there were more pages", next, name))
	}
	if seen != nil {
		s.log.Warn("the first page does not say what follows, and is taken for the only one",
			slog.String("next", next), slog.String("the answer has", names(p.body)))
	}
	return nil
}

// linked returns the address of the next page; "" for none.
func (s *Source) linked(p *page, seen *history) (string, error) {
	link := p.link
	var err error
	switch {
	case len(s.next) > 0:
		link, err = s.value(p, seen)
	case link == "" && s.config.Paging.kind() == byAuto && p.at.number == 1:
		err = looksPaged(p.body)
	}
	if err != nil || strings.TrimSpace(link) == "" {
		return "", err
	}
	u, err := s.lead(p.from, link)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// looksPaged refuses an answer that has something by which more pages are usually told.
func looksPaged(body []byte) error {
	if name := tellsMore(body, "", 2); name != "" {
		return pipeline.Fatal("paging", fmt.Errorf(
			"the answer has `%s`, as if there were more pages; say with `paging` how to ask for them, or that there is one, `paging: {kind: none}`", name))
	}
	return nil
}

// tellsMore returns the path of a field that has one of the usual names and says that
// there is more; "" if there is none.
func tellsMore(v jsontext.Value, prefix string, depth int) (found string) {
	if v = bytes.TrimSpace(v); v.Kind() != '{' {
		return ""
	}
	eachField(v, func(name string, value jsontext.Value) bool {
		switch {
		case value.Kind() == 'n', value.Kind() == 'f', string(value) == `""`:
		case usual(name):
			found = pathTo(prefix, name)
		case depth > 1:
			found = tellsMore(value, prefix+name+".", depth-1)
		}
		return found == ""
	})
	return found
}

// usual reports whether a field of that name usually leads to a next page.
func usual(name string) bool {
	name = strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, strings.ToLower(name))
	switch name {
	case "next", "nextpage", "nextpagetoken", "nexttoken", "nextcursor", "nextlink", "nexturl", "nextpageurl", "nextoffset", "nextstart",
		"odatanextlink", "endcursor", "continuationtoken", "hasmore", "hasnext", "hasnextpage", "morepages":
		return true
	default:
		return false
	}
}
