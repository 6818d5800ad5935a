package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Field is one named value of a record.
type Field struct {
	Name  string
	Value Value
	// rawName is the name as it was written, quotes included, where it came from JSON.
	rawName string
}

// Record is one row on its way through a pipeline: the bytes as they came, an
// index of the top-level fields made on first use, and the edits on top. What
// no stage touches leaves byte for byte as it came.
//
// A record has one owner at a time: who passes it on lets go of it. It is not
// safe for concurrent use. Sinks only read.
type Record struct {
	// Ref is the engine's identity of the record; components do not set it.
	Ref Ref
	// Origin is where the record's bytes stood.
	Origin Origin

	id      string
	raw     string // the object as it came; empty if built from fields
	fields  []Field
	indexed bool // fields is made
	looked  bool // one field was looked for without them
	edited  bool // fields is newer than raw
	shared  bool // fields is shared with a clone: copy before writing
	broken  bool // raw is not a readable row
	ticket  any
	// onSettle is told what became of the row; see [Record.OnSettle].
	onSettle func(Settlement)
}

// NewRecord returns a record with these fields, in this order. It takes the slice
// over. A name given twice is the caller's error: the last one is found.
func NewRecord(fields ...Field) *Record {
	return &Record{fields: fields, indexed: true, edited: true}
}

// ParseRecord returns the record of one JSON object, which it validates whole.
// It takes raw over: the caller must not change it afterwards. White space
// around the object is not kept.
func ParseRecord(raw []byte) (*Record, error) {
	raw = trimSpace(raw)
	if err := validateObject(raw); err != nil {
		return nil, err
	}
	return &Record{raw: bytesToString(raw)}, nil
}

// RawRecord returns the record of the text of a JSON object without surrounding white
// space, which is not checked: for sources that have made it themselves. See [ParseRecord].
func RawRecord(object string) *Record { return &Record{raw: object} }

// Unreadable returns a record that holds the bytes of a row that could not be
// read. It has no fields; a source yields it with the error, for the dead letter.
func Unreadable(raw []byte) *Record {
	return &Record{raw: string(raw), indexed: true, broken: true}
}

// Readable reports whether r was read; see [Unreadable].
func (r *Record) Readable() bool { return !r.broken }

// Raw returns the bytes of the record as they came, and whether they still are
// what the record says.
func (r *Record) Raw() (raw string, untouched bool) { return r.raw, !r.edited && !r.broken }

// ID is the user's identity of the record: the value of the source's `key`, else
// "path:line" or the Ref. It may repeat; nothing breaks.
func (r *Record) ID() string {
	if r.id != "" {
		return r.id
	}
	if place := r.Origin.String(); place != "" {
		return place + r.Ref.Path
	}
	return r.Ref.String()
}

// Key returns the value of the source's `key`, or "" where there is none.
func (r *Record) Key() string { return r.id }

// SetKey sets the user's identity of the record.
func (r *Record) SetKey(id string) { r.id = id }

// Size is the number of bytes the record holds, for bounds on memory; an estimate.
func (r *Record) Size() int {
	n := len(r.raw) + 128
	if r.edited {
		for i := range r.fields {
			n += len(r.fields[i].Name) + len(r.fields[i].Value.s) + 48
		}
	}
	return n
}

// Lookup returns the value of a top-level field and whether it is there. Where a
// name is repeated it is the last one.
func (r *Record) Lookup(name string) (Value, bool) {
	if !r.indexed && !r.looked {
		r.looked = true // many rows are asked for one field only, once
		return findIn(r.raw, name)
	}
	if i := r.find(name); i >= 0 {
		return r.fields[i].Value, true
	}
	return Value{}, false
}

// Fields returns the top-level fields in order. The slice must not be changed, and
// holds only until the record is.
func (r *Record) Fields() []Field {
	r.index()
	return r.fields
}

// Set gives a field a value: in its place if it is there, else at the end.
func (r *Record) Set(name string, v Value) {
	i := r.find(name)
	r.own()
	if i < 0 {
		r.fields = append(r.fields, Field{Name: name, Value: v})
		return
	}
	r.fields[i].Value = v
	r.deleteBefore(i, name)
}

// Delete removes a field and reports whether it was there.
func (r *Record) Delete(name string) bool {
	if r.find(name) < 0 {
		return false
	}
	r.own()
	r.fields = slices.DeleteFunc(r.fields, func(f Field) bool { return f.Name == name })
	return true
}

// Rename gives a field another name in its place and reports whether it was
// there. Another field that had the new name is removed.
func (r *Record) Rename(from, to string) bool {
	if from == to {
		return r.find(from) >= 0
	}
	if r.find(from) < 0 {
		return false
	}
	r.Delete(to)
	r.own()
	i := r.find(from)
	v := r.fields[i].Value
	r.fields[i] = Field{Name: to, Value: v}
	r.deleteBefore(i, from)
	return true
}

// Child returns a copy of the record to be one of the records that a stage makes
// of it. The engine names it by its place among them.
func (r *Record) Child() *Record {
	c := r.Clone()
	c.ticket = nil
	return c
}

// Clone returns a copy that can be changed without changing r. It is cheap: the
// bytes are shared, the fields are copied on the first change.
func (r *Record) Clone() *Record {
	if r.indexed {
		r.shared = true
	}
	c := *r
	c.onSettle = nil // there is one of each row
	return &c
}

// Snapshot returns the record as it is now, for Restore. Neither copies a field.
func (r *Record) Snapshot() Record {
	if r.indexed {
		r.shared = true
	}
	return *r
}

// Restore makes the record what it was at the Snapshot.
func (r *Record) Restore(saved Record) { *r = saved }

// SetFields replaces all fields. The record takes the slice over.
func (r *Record) SetFields(fields []Field) {
	r.fields, r.indexed, r.edited, r.shared, r.broken = fields, true, true, false, false
}

// AppendJSON appends the record as one JSON object: as it came, if no stage
// touched it; else field by field, each untouched one byte for byte.
func (r *Record) AppendJSON(dst []byte) []byte {
	if !r.edited {
		switch {
		case r.broken:
			return Text(r.raw).AppendJSON(dst)
		case r.raw != "":
			return append(dst, r.raw...)
		}
	}
	dst = append(dst, '{')
	for i := range r.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := &r.fields[i]
		dst = f.appendName(dst)
		dst = append(dst, ':')
		dst = f.Value.AppendJSON(dst)
	}
	return append(dst, '}')
}

// appendName appends the name as it was written, unless somebody has changed it
// since in a copy of the field.
func (f *Field) appendName(dst []byte) []byte {
	if f.rawName != "" && unquote(f.rawName) == f.Name {
		return append(dst, f.rawName...)
	}
	dst, _ = jsontext.AppendQuote(dst, f.Name) // the error only says that bad UTF-8 was replaced
	return dst
}

// Ticket returns what the engine attached to the record. It is the engine's own;
// components leave it alone.
func (r *Record) Ticket() any { return r.ticket }

// SetTicket attaches the engine's own book-keeping to the record.
func (r *Record) SetTicket(t any) { r.ticket = t }

// find returns the index of the last field of that name, or -1.
func (r *Record) find(name string) int {
	r.index()
	for i := len(r.fields) - 1; i >= 0; i-- {
		if r.fields[i].Name == name {
			return i
		}
	}
	return -1
}

// deleteBefore removes what else has the name in front of the field at i.
func (r *Record) deleteBefore(i int, name string) {
	for j := i - 1; j >= 0; j-- {
		if r.fields[j].Name == name {
			r.fields = slices.Delete(r.fields, j, j+1)
		}
	}
}

// own makes the fields this record's own and newer than raw.
func (r *Record) own() {
	r.index()
	if r.shared {
		r.fields = slices.Clone(r.fields)
		r.shared = false
	}
	r.edited = true
}

func (r *Record) index() {
	if r.indexed {
		return
	}
	r.indexed = true
	r.fields = indexObject(r.raw)
}

var errNotObject = errors.New("a row must be a JSON object")

// validateObject checks that raw is one valid JSON object and nothing else.
// Repeated names are allowed: they cost as much to find as all the rest.
func validateObject(raw []byte) error {
	if len(raw) > 0 && raw[0] == '{' && jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil
	}
	if err := checkJSON(raw); err != nil {
		return err
	}
	return errNotObject
}

// checkJSON says what is wrong with a JSON text and where, or nil.
func checkJSON(raw []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if err := d.SkipValue(); err != nil {
		return jsonError(err, len(raw))
	}
	if n := skipSpace(string(raw), int(d.InputOffset())); n != len(raw) {
		return fmt.Errorf("invalid JSON: unexpected %q after the value at byte %d", raw[n], n+1)
	}
	return nil
}

// trimSpace removes what JSON takes for white space around a value, and only that.
func trimSpace(raw []byte) []byte {
	if n := len(raw); n > 0 && raw[0] > ' ' && raw[n-1] > ' ' {
		return raw // as nearly every row comes
	}
	return bytes.Trim(raw, " \t\r\n")
}

// jsonError says in one line what is wrong with a JSON text and where.
func jsonError(err error, size int) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("invalid JSON: it ends too early, after %d bytes", size)
	case errors.As(err, &syntax):
		return fmt.Errorf("invalid JSON: %w at byte %d", syntax.Err, syntax.ByteOffset+1)
	default:
		return fmt.Errorf("invalid JSON: %w", err)
	}
}
