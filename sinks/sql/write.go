package sql

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/internal/database"
	"github.com/rowmill/rowmill/pipeline"
)

// row is a record as it goes into the table.
type row struct {
	place   int   // in the batch
	columns []int // of the table
	values  []any // of each
	key     string
}

// Write puts a batch into the table, in one transaction. If the database refuses a row, it
// is found by halving the batch, each half in a transaction of its own.
func (s *Sink) Write(ctx context.Context, batch []*pipeline.Record) error {
	if err := s.describe(ctx); err != nil {
		return err
	}
	refused := map[int]error{}
	rows := make([]row, 0, len(batch))
	for i, r := range batch {
		row, err := s.row(r)
		if err != nil {
			refused[i] = pipeline.Permanent("does_not_fit", err)
			continue
		}
		row.place = i
		rows = append(rows, row)
	}
	if err := s.put(ctx, rows, refused); err != nil {
		return err
	}
	if len(refused) > 0 {
		return &pipeline.BatchError{Refused: refused}
	}
	return nil
}

// row makes a row of a record.
func (s *Sink) row(r *pipeline.Record) (row, error) {
	var out row
	add := func(name string, v pipeline.Value) error {
		i := slices.IndexFunc(s.columns, func(c database.Column) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("field %q is no column of table %s; leave it out with the stage map: {drop: [%s]}, or name the columns", name, s.config.Table, name)
		}
		value, err := s.dialect.Bind(v, s.columns[i])
		out.columns, out.values = append(out.columns, i), append(out.values, value)
		return err
	}
	if !r.Readable() {
		return out, errors.New("it is no row that could be read")
	}
	if len(s.config.Columns) > 0 {
		for _, p := range s.config.Columns {
			if v, ok := r.Lookup(p.Value); ok {
				if err := add(p.Key, v); err != nil {
					return out, err
				}
			}
		}
	} else {
		for _, f := range r.Fields() {
			if err := add(f.Name, f.Value); err != nil {
				return out, err
			}
		}
	}
	if len(out.columns) == 0 {
		return out, errors.New("it has no field that is a column")
	}
	return out, s.identify(&out)
}

// identify gives a row its key. One without would be added again and again.
func (s *Sink) identify(r *row) error {
	var b strings.Builder
	for _, name := range s.config.Key {
		i := slices.IndexFunc(r.columns, func(i int) bool { return s.columns[i].Name == name })
		if i < 0 || r.values[i] == nil {
			return fmt.Errorf("it has no %q, which is of the key", name)
		}
		fmt.Fprintf(&b, "%T%q", r.values[i], fmt.Sprint(r.values[i]))
	}
	r.key = b.String()
	return nil
}

// put puts rows into the table, in order. What the database refuses is added to refused.
func (s *Sink) put(ctx context.Context, rows []row, refused map[int]error) error {
	if len(rows) == 0 {
		return ctx.Err()
	}
	err := s.transaction(ctx, rows)
	switch {
	case err == nil:
		return nil
	case !database.IsRefusal(err):
		return err
	case len(rows) > 1:
		half := len(rows) / 2
		if err := s.put(ctx, rows[:half], refused); err != nil {
			return err
		}
		return s.put(ctx, rows[half:], refused)
	case database.IsTaken(err) && s.isThere(ctx, rows[0]):
		return nil // it was written before, and not checkpointed
	default:
		refused[rows[0].place] = err
		return nil
	}
}

// transaction puts all rows into the table, or none.
func (s *Sink) transaction(ctx context.Context, rows []row) error {
	db, err := s.connection.DB()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return database.Classify(s.dialect, err)
	}
	for len(rows) > 0 {
		n := s.together(rows)
		b := &database.Builder{Dialect: s.dialect}
		s.insertion(b, rows[:n])
		if _, err := tx.ExecContext(ctx, b.String(), b.Args...); err != nil {
			_ = tx.Rollback() // the error is the statement's
			return s.interrupted(ctx, err)
		}
		rows = rows[n:]
	}
	return s.interrupted(ctx, tx.Commit())
}

// interrupted says of an error that comes of the end of the context just that.
func (s *Sink) interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return database.Classify(s.dialect, err)
}

// mostRows bounds the rows of a statement.
const mostRows = 512

// together is how many of the first rows go into one statement: they have the same
// columns, and no two the same key, of which the later would be refused. It is a power of
// two, so that the driver keeps few prepared statements.
func (s *Sink) together(rows []row) int {
	most := min(len(rows), mostRows, max(1, s.dialect.MaxParameters()/len(rows[0].columns)))
	keys := map[string]bool{}
	n := 0
	for ; n < most && slices.Equal(rows[n].columns, rows[0].columns); n++ {
		if len(s.config.Key) == 0 {
			continue
		}
		if keys[rows[n].key] {
			break
		}
		keys[rows[n].key] = true
	}
	return 1 << (bits.Len(uint(n)) - 1)
}

// insertion writes the statement that puts rows of the same columns into the table.
func (s *Sink) insertion(b *database.Builder, rows []row) {
	names := rows[0].columns
	b.WriteString("INSERT INTO " + s.table + " ")
	b.List(len(names), func(i int) { b.WriteString(database.Quote(s.columns[names[i]].Name)) })
	b.WriteString(" VALUES ")
	for i, r := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.List(len(r.values), func(i int) { b.Parameter(r.values[i]) })
	}
	s.onConflict(b, names)
}

// conflict writes what is the same row.
func (s *Sink) conflict(b *database.Builder) {
	b.WriteString(" ON CONFLICT ")
	b.List(len(s.config.Key), func(i int) { b.WriteString(database.Quote(s.config.Key[i])) })
}

// onConflict writes what becomes of a row that is there already.
func (s *Sink) onConflict(b *database.Builder, names []int) {
	if len(s.config.Key) == 0 || s.config.OnConflict == refuse {
		return
	}
	s.conflict(b)
	var sets []string
	for _, i := range names {
		if name := s.columns[i].Name; !slices.Contains(s.config.Key, name) {
			sets = append(sets, database.Quote(name)+" = excluded."+database.Quote(name))
		}
	}
	if s.config.OnConflict == ignore || len(sets) == 0 {
		b.WriteString(" DO NOTHING")
		return
	}
	b.WriteString(" DO UPDATE SET " + strings.Join(sets, ", "))
}

// isThere reports whether the table has a row just as it would be written. If that cannot
// be told, it is refused as it was.
func (s *Sink) isThere(ctx context.Context, r row) bool {
	b := &database.Builder{Dialect: s.dialect}
	b.WriteString("SELECT count(*) FROM " + s.table + " WHERE ")
	for i, column := range r.columns {
		if i > 0 {
			b.WriteString(" AND ")
		}
		c := s.columns[column]
		b.Args = append(b.Args, r.values[i])
		b.WriteString(s.dialect.Same(database.Quote(c.Name), s.dialect.Parameter(len(b.Args)), c))
	}
	db, err := s.connection.DB()
	if err != nil {
		return false
	}
	var n int
	err = db.QueryRowContext(ctx, b.String(), b.Args...).Scan(&n)
	return err == nil && n > 0
}
