package sql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/rowmill/rowmill/internal/database"
	"github.com/rowmill/rowmill/pipeline"
)

// table is what is known of that which is looked up in; it is not changed once it is made.
type table struct {
	db      *sql.DB
	dialect database.Dialect
	of      string            // for messages
	from    string            // as SQL has it
	key     database.Column   // that holds the key
	keyType string            // for Dialect.ByKeys
	columns []database.Column // those that are added
	names   []string          // of each
}

// Probe connects, and looks whether there are the columns that are needed and the key can
// be compared; no row is asked for.
func (l *Lookup) Probe(ctx context.Context) error {
	_, err := l.table(ctx)
	return err
}

// table returns what is known, which is found out once.
func (l *Lookup) table(ctx context.Context) (*table, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known != nil {
		return l.known, nil
	}
	t, err := l.describe(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	}
	l.known = t
	return t, nil
}

// describe finds out the columns and the type of the key, and whether keys can be looked up.
func (l *Lookup) describe(ctx context.Context) (*table, error) {
	t := &table{dialect: l.connection.Dialect(), of: l.config.of(), from: l.config.from()}
	all, err := l.connection.Describe(ctx, "SELECT * FROM "+t.from+" AS q WHERE 1 = 0")
	if err != nil {
		return nil, t.explain(err)
	}
	if err := t.choose(all, l.config); err != nil {
		return nil, err
	}
	if t.db, err = l.connection.DB(); err != nil {
		return nil, err
	}
	t.keyType, err = t.dialect.KeyType(ctx, t.db, t.from, t.ref(t.key))
	if err == nil {
		err = t.plan(ctx)
	}
	if err = database.Classify(t.dialect, err); err != nil {
		return nil, fmt.Errorf("%s cannot be looked up by the column %q: %w", t.of, t.key.Name, err)
	}
	return t, nil
}

// explain says what to do about an error of the first question.
func (t *table) explain(err error) error {
	if _, code := pipeline.Classify(err); code == database.NoTable {
		return fmt.Errorf("%s is not there: %w; check its name, which counts upper and lower case, and that dsn is the right database", t.of, err)
	}
	return fmt.Errorf("%s: %w", t.of, err)
}

// choose takes the key and those that are added of all the columns.
func (t *table) choose(all []database.Column, c Config) error {
	for i, one := range all {
		if other := slices.IndexFunc(all[:i], func(o database.Column) bool { return o.Name == one.Name }); other >= 0 {
			return pipeline.Fatal("columns", fmt.Errorf("query: two columns are called %q; give one another name with AS", one.Name))
		}
	}
	for _, name := range append([]string{c.Key}, c.Take...) {
		column, ok := database.Find(all, name)
		if !ok {
			return pipeline.Fatal("columns", fmt.Errorf("%s has no column %q; it has %s", t.of, name, database.Names(all)))
		}
		t.columns = append(t.columns, column)
	}
	t.key, t.columns = t.columns[0], t.columns[1:]
	if len(c.Take) == 0 {
		t.columns = slices.DeleteFunc(slices.Clone(all), func(o database.Column) bool { return o.Name == c.Key })
	}
	for _, column := range t.columns {
		t.names = append(t.names, column.Name)
	}
	return nil
}

func (t *table) ref(c database.Column) string { return "q." + database.Quote(c.Name) }

// plan has the database plan a question without answering it: the type of the key may have
// no `=`, or the table be closed to this user.
func (t *table) plan(ctx context.Context) error {
	b := t.question([]any{nil})
	rows, err := t.db.QueryContext(ctx, "EXPLAIN "+b.String(), b.Args...)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

// question asks for the rows that have the keys: of each the number of its key, and the
// columns.
func (t *table) question(keys []any) *database.Builder {
	from := &database.Builder{Dialect: t.dialect}
	number := t.dialect.ByKeys(from, t.from, t.ref(t.key), keys, t.keyType)
	b := &database.Builder{Dialect: t.dialect, Args: from.Args}
	b.WriteString("SELECT " + number)
	for _, c := range t.columns {
		b.WriteString(", " + t.dialect.Read(t.ref(c), c))
	}
	b.WriteString(" " + from.String())
	return b
}

// wanted is a key that is looked up, and what there is for it.
type wanted struct {
	key    any // as [database.Dialect.LookupKey] makes it
	rows   int // how many there are: one of them, or something is wrong
	values []pipeline.Value
	err    error // its own
	why    error // why no row can have it; nil if there is no reason
}

// find looks keys up. If the database refuses a question, the key that is to blame is found
// by halving. The error is that of all of them.
func (t *table) find(ctx context.Context, keys []*wanted) error {
	if len(keys) == 0 {
		return ctx.Err()
	}
	err := t.ask(ctx, keys)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !database.IsRefusal(err):
		return fmt.Errorf("%s: %w", t.of, err)
	case len(keys) > 1:
		half := len(keys) / 2
		if err := t.find(ctx, keys[:half]); err != nil {
			return err
		}
		return t.find(ctx, keys[half:])
	}
	return t.refused(ctx, keys[0], err)
}

// refused notes why the database refuses a key: it is none of its type, and so no row has
// it, or its row is to blame.
func (t *table) refused(ctx context.Context, w *wanted, err error) error {
	fits, failure := t.dialect.Fits(ctx, t.db, w.key, t.keyType)
	switch {
	case failure != nil:
		return fmt.Errorf("%s: %w", t.of, failure)
	case !fits:
		*w = wanted{key: w.key, why: err}
	default:
		*w = wanted{key: w.key, err: fmt.Errorf("%s: %w", t.of, err)}
	}
	return nil
}

// ask asks one question.
func (t *table) ask(ctx context.Context, keys []*wanted) error {
	values := make([]any, len(keys))
	for i, w := range keys {
		*w = wanted{key: w.key} // it may have been asked about
		values[i] = w.key
	}
	b := t.question(values)
	rows, err := t.db.QueryContext(ctx, b.String(), b.Args...)
	if err != nil {
		return database.Classify(t.dialect, err)
	}
	defer func() { _ = rows.Close() }()
	var number int
	held := make([]any, len(t.columns))
	into := []any{&number}
	for i := range held {
		into = append(into, &held[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return database.Classify(t.dialect, err)
		}
		if w := keys[number]; w.rows == 0 {
			w.values, w.err = t.row(held)
		}
		keys[number].rows++
	}
	return database.Classify(t.dialect, rows.Err())
}

// row makes values of what was read.
func (t *table) row(read []any) ([]pipeline.Value, error) {
	values := make([]pipeline.Value, len(read))
	for i, c := range t.columns {
		v, err := t.dialect.Value(read[i], c)
		if err != nil {
			return nil, pipeline.Permanent("unreadable", fmt.Errorf("%s: %w", t.of, err))
		}
		values[i] = v
	}
	return values, nil
}

// Process adds the columns of the row that has r's key.
func (l *Lookup) Process(ctx context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	o := l.ProcessBatch(ctx, []*pipeline.Record{r})[0]
	return o.Records, o.Err
}

// ProcessBatch looks the keys of all records up with one question.
func (l *Lookup) ProcessBatch(ctx context.Context, batch []*pipeline.Record) []pipeline.Outcome {
	t, err := l.table(ctx)
	if err != nil {
		return all(batch, err)
	}
	keys, asked := l.keys(t, batch)
	if err := t.find(ctx, asked); err != nil {
		return all(batch, err)
	}
	outcomes := make([]pipeline.Outcome, len(batch))
	for i, r := range batch {
		outcomes[i].Records, outcomes[i].Err = l.join(r, t, keys[i])
	}
	return outcomes
}

// recordKey is the key of one record.
type recordKey struct {
	value pipeline.Value
	found *wanted // shared by all records of the same key; nil for a null
	err   error   // the record's own
}

// keys returns the key of each record, and those to ask about, each once.
func (l *Lookup) keys(t *table, batch []*pipeline.Record) (keys []recordKey, asked []*wanted) {
	keys = make([]recordKey, len(batch))
	known := map[string]*wanted{}
	for i, r := range batch {
		k := &keys[i]
		if k.value, k.err = l.on.Value(r); k.err != nil || k.value.IsNull() {
			continue
		}
		text := k.value.JSON()
		if k.found = known[text]; k.found != nil {
			continue
		}
		k.found = &wanted{}
		known[text] = k.found
		if k.found.key, k.found.why = t.dialect.LookupKey(k.value, t.key); k.found.why == nil {
			asked = append(asked, k.found)
		}
	}
	return keys, asked
}

// all is the same error for all.
func all(batch []*pipeline.Record, err error) []pipeline.Outcome {
	return slices.Repeat([]pipeline.Outcome{{Err: err}}, len(batch))
}

// join makes of a record what was found for its key.
func (l *Lookup) join(r *pipeline.Record, t *table, key recordKey) ([]*pipeline.Record, error) {
	w := key.found
	switch {
	case key.err != nil:
		return nil, fmt.Errorf("on: %w", key.err)
	case w == nil:
		return l.config.join().None(r, t.names, fmt.Errorf("%s is null or missing; missing: null or missing: drop are for that", l.on))
	case w.err != nil:
		return nil, w.err
	case w.rows > 1:
		return nil, pipeline.Permanent("lookup_duplicate", fmt.Errorf("%s has %d rows with the %s %.200q; make it unique, in a query with GROUP BY or DISTINCT ON",
			t.of, w.rows, t.key.Name, key.value.Text()))
	case w.rows == 1:
		return l.config.join().Add(r, t.names, w.values)
	}
	why := fmt.Errorf("no row of %s has the %s %.200q", t.of, t.key.Name, key.value.Text())
	if w.why != nil {
		why = fmt.Errorf("%w: %w", why, w.why)
	}
	return l.config.join().None(r, t.names, why)
}
