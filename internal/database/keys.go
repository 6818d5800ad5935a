package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// How several keys are looked up with one statement: they are a table beside the query,
// which says of each row whose it is, and a list that the database can take into the query.
// It compares by its own rules, so that an index is used and 7 is 7.0 where the column says
// so. No text of a record is ever a part of the statement.

// LookupKey is what would be written into the column; by the rules of SQLite it takes the
// column's affinity when it is compared.
func (d sqlite) LookupKey(v pipeline.Value, c Column) (any, error) { return d.Bind(v, c) }

// ByKeys has the keys as rows of VALUES, whose columns SQLite calls column1 and column2.
func (sqlite) ByKeys(b *Builder, from, ref string, keys []any, _ string) (number string) {
	b.WriteString("FROM (VALUES ")
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + strconv.Itoa(i) + ", ")
		b.Parameter(k)
		b.WriteByte(')')
	}
	b.WriteString(") AS k CROSS JOIN " + from + " AS q WHERE " + ref + " = k.column2 AND " + ref + " IN ")
	b.List(len(keys), func(i int) { b.Parameter(keys[i]) })
	return "k.column1"
}

// KeyType is empty: a column of SQLite prefers a type, and has none.
func (sqlite) KeyType(context.Context, *sql.DB, string, string) (string, error) { return "", nil }

// Fits is true: to SQLite everything can be a key.
func (sqlite) Fits(context.Context, *sql.DB, any, string) (bool, error) { return true, nil }

// LookupKey is the text of the key. What a column of numbers cannot hold is found out here,
// and not by the server, which would refuse all keys for one of them.
func (d postgres) LookupKey(v pipeline.Value, c Column) (any, error) {
	key, err := d.Bind(v, c)
	text, _ := key.(string)
	switch c.Type {
	case "INT2", "INT4", "INT8":
		size, _ := strconv.Atoi(c.Type[3:])
		if _, bad := strconv.ParseInt(strings.TrimSpace(text), 10, size*8); bad != nil && err == nil {
			err = fmt.Errorf("%.200q is no whole number of %d bytes, as column %s holds", text, size, c.Name)
		}
	case "NUMERIC", "FLOAT4", "FLOAT8":
		if _, bad := strconv.ParseFloat(strings.TrimSpace(text), 64); errors.Is(bad, strconv.ErrSyntax) && err == nil {
			err = fmt.Errorf("%.200q is no number, as column %s holds", text, c.Name)
		}
	}
	return key, err
}

// ByKeys has the keys in one array, so that the statement is the same for any number.
func (postgres) ByKeys(b *Builder, from, ref string, keys []any, keyType string) (number string) {
	items := make([]string, len(keys))
	for i, k := range keys {
		if items[i] = "NULL"; k != nil {
			items[i] = quoteItem(fmt.Sprint(k))
		}
	}
	b.WriteString("FROM unnest(")
	b.Parameter("{" + strings.Join(items, ",") + "}")
	b.WriteString("::text[]) WITH ORDINALITY AS k(v, n) CROSS JOIN " + from + " AS q WHERE " + ref + " = k.v::" + keyType)
	b.WriteString(" AND " + ref + " = ANY ($1::text[]::" + keyType + "[])")
	return "k.n - 1"
}

// KeyType is the type without a length, to which a cast would cut a key, and of a domain
// the type that it is made of, for the same reason.
func (postgres) KeyType(ctx context.Context, db *sql.DB, from, ref string) (name string, err error) {
	var id string
	row := db.QueryRowContext(ctx, "SELECT pg_catalog.pg_typeof("+ref+")::oid::text FROM (SELECT 1) AS one LEFT JOIN "+from+" AS q ON false")
	if err := row.Scan(&id); err != nil {
		return "", err
	}
	row = db.QueryRowContext(ctx, `WITH RECURSIVE base(id) AS (
			SELECT $1::text::oid
			UNION ALL SELECT t.typbasetype FROM base JOIN pg_catalog.pg_type t ON t.oid = base.id WHERE t.typtype = 'd'
		) SELECT pg_catalog.format_type(base.id, -1) FROM base JOIN pg_catalog.pg_type t ON t.oid = base.id WHERE t.typtype <> 'd'`, id)
	return name, row.Scan(&name)
}

// Fits casts the key alone.
func (d postgres) Fits(ctx context.Context, db *sql.DB, key any, keyType string) (bool, error) {
	var is bool
	err := Classify(d, db.QueryRowContext(ctx, "SELECT ($1::text::"+keyType+") IS NOT NULL", key).Scan(&is))
	if IsRefusal(err) {
		return false, nil
	}
	return true, err
}
