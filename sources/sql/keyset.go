package sql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/internal/database"
	"github.com/rowmill/rowmill/pipeline"
)

// key is what the columns of order_by hold in one row.
type key []pipeline.Value

// text writes a key as it stands in a row's Origin: `id=17`, `tenant="acme",id=17`.
func (s *Source) text(k key) string {
	parts := make([]string, len(k))
	for i, v := range k {
		parts[i] = s.config.OrderBy[i] + "=" + v.JSON()
	}
	return strings.Join(parts, ",")
}

// parse reads what text wrote.
func (s *Source) parse(text string) (key, error) {
	var k key
	rest := text
	for i, name := range s.config.OrderBy {
		if i > 0 {
			rest = strings.TrimPrefix(rest, ",")
		}
		after, ok := strings.CutPrefix(rest, name+"=")
		if !ok {
			return nil, fmt.Errorf("%q is no place in a query that is read by %s", text, strings.Join(s.config.OrderBy, ", "))
		}
		d := jsontext.NewDecoder(strings.NewReader(after))
		raw, err := d.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("%q is no place in a query: %w", text, err)
		}
		k, rest = append(k, pipeline.RawJSON(string(raw))), after[d.InputOffset():]
	}
	if rest != "" {
		return nil, fmt.Errorf("%q is no place in a query that is read by %s", text, strings.Join(s.config.OrderBy, ", "))
	}
	return k, nil
}

// keys writes `(q.a, q.b)`.
func (s *Source) keys(b *database.Builder) {
	b.List(len(s.config.OrderBy), func(i int) { b.WriteString("q." + database.Quote(s.config.OrderBy[i])) })
}

// compare writes `(q.a, q.b) >= (…, …)`.
func (s *Source) compare(b *database.Builder, operator string, k key) {
	s.keys(b)
	b.WriteString(" " + operator + " ")
	b.List(len(k), func(i int) {
		c, _ := database.Find(s.columns, s.config.OrderBy[i])
		b.Parameter(s.dialect.BindKey(k[i], c))
	})
}

// order writes `ORDER BY q.a, q.b`.
func (s *Source) order(b *database.Builder, direction string) {
	b.WriteString(" ORDER BY ")
	for i, name := range s.config.OrderBy {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("q." + database.Quote(name) + direction)
	}
}

func (s *Source) builder() *database.Builder { return &database.Builder{Dialect: s.dialect} }

// query asks and hands each row over.
func (s *Source) query(ctx context.Context, b *database.Builder, into []any, row func() error) error {
	db, err := s.connection.DB()
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, b.String(), b.Args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// count returns how many rows are on one side of a key.
func (s *Source) count(ctx context.Context, operator string, k key) (n int64, err error) {
	b := s.builder()
	b.WriteString("SELECT count(*) FROM " + s.subquery())
	if k != nil {
		b.WriteString(" WHERE ")
		s.compare(b, operator, k)
	}
	err = s.query(ctx, b, []any{&n}, func() error { return nil })
	return n, err
}

// bound finds the last row, behind which nothing is read, once. A row without a key would
// never be read: there must be none.
func (s *Source) bound(ctx context.Context) error {
	if len(s.config.OrderBy) == 0 || s.last != nil || s.empty {
		return nil
	}
	if err := s.withoutKey(ctx); err != nil {
		return err
	}
	last, err := s.lastKey(ctx)
	s.last, s.empty = last, err == nil && last == nil
	return err
}

func (s *Source) withoutKey(ctx context.Context) error {
	b := s.builder()
	b.WriteString("SELECT 1 FROM " + s.subquery() + " WHERE ")
	for i, name := range s.config.OrderBy {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteString("q." + database.Quote(name) + " IS NULL")
	}
	b.WriteString(" LIMIT 1")
	var one int
	return s.query(ctx, b, []any{&one}, func() error {
		return pipeline.Fatal("order_by", fmt.Errorf("order_by: there is a row in which %s is null; name columns that are never null", strings.Join(s.config.OrderBy, " or ")))
	})
}

// lastKey returns the key of the last row, nil if there is none.
func (s *Source) lastKey(ctx context.Context) (key, error) {
	b := s.builder()
	b.WriteString("SELECT " + s.reads() + " FROM " + s.subquery())
	s.order(b, " DESC")
	b.WriteString(" LIMIT 1")
	held := s.row()
	var last key
	err := s.query(ctx, b, held.into, func() (err error) {
		_, _, last, err = s.keyed(held.values)
		return err
	})
	return last, err
}

// identity is what a run remembers of the rows.
type identity struct {
	// Rows is how many there were, and Last the key of the last one.
	Rows int64  `json:"rows"`
	Last string `json:"last,omitempty"`
}

// Identify counts the rows and finds the last one. Without order_by it knows nothing, and
// a run that goes on compares all rows that it passes by.
func (s *Source) Identify(ctx context.Context) (string, error) {
	if len(s.config.OrderBy) == 0 {
		return "", nil
	}
	is := identity{}
	if _, err := s.ask(ctx, func(ctx context.Context) error {
		if err := s.describe(ctx); err != nil {
			return err
		}
		if err := s.bound(ctx); err != nil || s.empty {
			return err
		}
		var err error
		is.Rows, err = s.count(ctx, "<=", s.last)
		is.Last = s.text(s.last)
		return err
	}); err != nil {
		return "", err
	}
	s.total.Store(is.Rows)
	text, err := json.Marshal(is)
	return string(text), err
}

// Compare counts the rows up to the one that was the last: as many are taken for the same.
func (s *Source) Compare(ctx context.Context, was string) (pipeline.Change, error) {
	if len(s.config.OrderBy) == 0 {
		return pipeline.Same, nil
	}
	var before identity
	if err := json.Unmarshal([]byte(was), &before); err != nil {
		return pipeline.Same, fmt.Errorf("what is known of it cannot be read: %w", err)
	}
	if before.Last == "" {
		return s.grown(s.empty), nil
	}
	last, err := s.parse(before.Last)
	if err != nil {
		return pipeline.Same, err
	}
	var rows int64
	if _, err := s.ask(ctx, func(ctx context.Context) error {
		rows, err = s.count(ctx, "<=", last)
		return err
	}); err != nil {
		return pipeline.Same, err
	}
	if rows != before.Rows {
		return pipeline.Same, fmt.Errorf("up to %s there are %d rows now, and were %d", before.Last, rows, before.Rows)
	}
	return s.grown(s.empty || s.text(s.last) == before.Last), nil
}

func (s *Source) grown(same bool) pipeline.Change {
	if same {
		return pipeline.Same
	}
	return pipeline.Grown
}

// Seek has the next Records begin with the row of a key, which must be there. Without
// order_by the rows in front of it are read and left out.
func (s *Source) Seek(ctx context.Context, at pipeline.Origin) error {
	if len(s.config.OrderBy) == 0 {
		s.skip = max(0, at.Line-1)
		return nil
	}
	start, err := s.parse(at.Path)
	if err != nil {
		return err
	}
	var behind, there int64
	if _, err := s.ask(ctx, func(ctx context.Context) error {
		if err := s.describe(ctx); err != nil {
			return err
		}
		if there, err = s.count(ctx, "=", start); err != nil || s.total.Load() == 0 {
			return err
		}
		behind, err = s.count(ctx, ">=", start)
		return err
	}); err != nil {
		return err
	}
	if there != 1 {
		return pipeline.Fatal("source_changed", fmt.Errorf("there are %d rows at %s, with which to go on; --fresh starts over", there, at.Path))
	}
	if total := s.total.Load(); total > 0 {
		s.done.Store(max(0, total-behind))
	}
	s.start = start
	return nil
}

// pageBytes bounds what is held of a page.
const pageBytes = 16 << 20

// page is some rows in their order.
type page struct {
	records []*pipeline.Record
	bad     []error // of each
	keys    []key   // of each
	full    bool    // there may be more
}

// pages reads the rows a page at a time. The database is free between two pages.
func (s *Source) pages(ctx context.Context, yield func(*pipeline.Record, error) bool) error {
	from, inclusive := s.start, true
	for ctx.Err() == nil {
		var p page
		if _, err := s.ask(ctx, func(ctx context.Context) (err error) {
			p, err = s.page(ctx, from, inclusive)
			return err
		}); err != nil {
			return err
		}
		for i, r := range p.records {
			s.done.Add(1)
			if ctx.Err() != nil || !yield(r, p.bad[i]) {
				return errEnough
			}
		}
		if !p.full {
			return nil
		}
		from, inclusive = p.keys[len(p.keys)-1], false
	}
	return nil
}

// page reads the rows behind one, or from it on. It asks for that one in any case: a second
// row of its key shows that keys are not unique, and that one of the two would be lost.
func (s *Source) page(ctx context.Context, from key, inclusive bool) (p page, err error) {
	b := s.builder()
	limit := s.config.Page + 1
	b.WriteString("SELECT " + s.reads() + ", ")
	if from == nil {
		b.WriteString("1 = 0")
	} else {
		s.compare(b, "=", from)
	}
	b.WriteString(" FROM " + s.subquery() + " WHERE ")
	s.compare(b, "<=", s.last)
	if from != nil {
		b.WriteString(" AND ")
		s.compare(b, ">=", from)
	}
	s.order(b, "")
	b.WriteString(" LIMIT " + strconv.Itoa(limit))

	var first bool // the row is of the key `from`
	held := s.row(&first)
	read, firsts, size := 0, 0, 0
	err = s.query(ctx, b, held.into, func() error {
		if size >= pageBytes {
			p.full = true
			return errEnough
		}
		read++
		r, bad, k, err := s.keyed(held.values)
		if err != nil {
			return err
		}
		if first {
			firsts++
		}
		if firsts > 1 || len(p.keys) > 0 && s.text(k) == s.text(p.keys[len(p.keys)-1]) {
			return pipeline.Fatal("order_by", fmt.Errorf("order_by: there is more than one row at %s; name columns that are unique together, such as the primary key", s.text(k)))
		}
		if first && !inclusive {
			return nil
		}
		size += r.Size()
		p.records, p.bad, p.keys = append(p.records, r), append(p.bad, bad), append(p.keys, k)
		return nil
	})
	p.full = p.full || read == limit
	if errors.Is(err, errEnough) {
		err = nil
	}
	return p, err
}

// keyed makes a row of what was read, with its key and its place. bad is the row's own
// error.
func (s *Source) keyed(values []any) (r *pipeline.Record, bad error, k key, err error) {
	for _, name := range s.config.OrderBy {
		i := slices.IndexFunc(s.columns, func(c database.Column) bool { return c.Name == name })
		v, err := s.dialect.Value(values[i], s.columns[i])
		if err != nil {
			return nil, nil, nil, fmt.Errorf("order_by: %w", err)
		}
		k = append(k, v)
	}
	r, bad = s.record(values)
	r.Origin = pipeline.Origin{Path: s.text(k), Offset: -1}
	return r, bad, k, nil
}
