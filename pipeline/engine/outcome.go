package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/rowmill/rowmill/pipeline"
)

// What the journal holds of a record's way through a costing stage: what kind of
// outcome it was, how many attempts it took, and then the records, each with its key
// and as JSON; or the error.
const (
	outcomeSelf     = 1 // the record itself, changed or not
	outcomeRecords  = 2 // records made of it; perhaps none
	outcomeFailed   = 3
	outcomeMostSize = 1 << 30
)

// appendOutcome appends what a stage made of r.
func appendOutcome(dst []byte, r *pipeline.Record, made []*pipeline.Record, attempts int, failure error) []byte {
	switch {
	case failure != nil:
		dst = binary.AppendUvarint(append(dst, outcomeFailed), uint64(attempts))
		return appendFailure(dst, failure)
	case len(made) == 1 && made[0] == r:
		dst = append(dst, outcomeSelf)
	default:
		dst = append(dst, outcomeRecords)
	}
	dst = binary.AppendUvarint(dst, uint64(attempts))
	dst = binary.AppendUvarint(dst, uint64(len(made)))
	for _, m := range made {
		dst = appendString(dst, m.Key())
		at := len(dst)
		dst = m.AppendJSON(append(dst, make([]byte, wideSize)...))
		putWide(dst[at:], len(dst)-at-wideSize)
	}
	return dst
}

// wideSize is how many bytes putWide takes.
const wideSize = 5

// putWide puts a number as a uvarint that has this size whatever the number is: for the length
// of what is not there yet.
func putWide(dst []byte, n int) {
	for i := range wideSize - 1 {
		dst[i] = byte(n) | 0x80
		n >>= 7
	}
	dst[wideSize-1] = byte(n)
}

func appendFailure(dst []byte, failure error) []byte {
	class, code := pipeline.Classify(failure)
	answer := ""
	var known *pipeline.Error
	if errors.As(failure, &known) {
		answer = known.Answer
	}
	dst = append(dst, byte(class))
	for _, s := range []string{code, failure.Error(), answer} {
		dst = appendString(dst, s)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// readOutcome makes of r what the payload says the stage made of it. The error in
// outcome is that of the stage.
func readOutcome(payload []byte, r *pipeline.Record) (made []*pipeline.Record, attempts int, failure, err error) {
	d := decoder{rest: payload}
	kind := d.byte()
	attempts = int(d.uvarint())
	switch kind {
	case outcomeFailed:
		failure = d.failure()
	case outcomeSelf, outcomeRecords:
		made = d.records(r, kind == outcomeSelf)
	default:
		d.err = errOutcome
	}
	if d.err == nil && len(d.rest) > 0 {
		d.err = errOutcome
	}
	return made, attempts, failure, d.err
}

var errOutcome = errors.New("the journal holds an outcome that cannot be read; it was written by another version")

// decoder reads a payload; the first error stays.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) byte() byte {
	if d.err != nil || len(d.rest) == 0 {
		d.err = errOutcome
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.err != nil || n <= 0 || v > outcomeMostSize {
		d.err = errOutcome
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) string() string {
	n := int(d.uvarint())
	if d.err != nil || n > len(d.rest) {
		d.err = errOutcome
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) failure() error {
	class := pipeline.Class(d.byte())
	return &pipeline.Error{Class: class, Code: d.string(), Err: errors.New(d.string()), Answer: d.string()}
}

// records reads what the stage made: of r itself, or of others.
func (d *decoder) records(r *pipeline.Record, self bool) []*pipeline.Record {
	n := d.uvarint()
	if self && n != 1 || n > uint64(len(d.rest)) {
		d.err = errOutcome
		return nil
	}
	made := make([]*pipeline.Record, 0, n)
	for range n {
		key, body := d.string(), d.string()
		m, err := pipeline.ParseRecord([]byte(body))
		if d.err != nil || err != nil {
			d.err = errors.Join(d.err, err)
			return nil
		}
		m.SetKey(key)
		if self {
			m.Ref, m.Origin = r.Ref, r.Origin
			m.SetTicket(r.Ticket())
			r.Restore(*m)
			m = r
		}
		made = append(made, m)
	}
	return made
}

// guard tells a record that enters a stage from any other that may have its Ref in
// another run over changed rows.
func guard(scratch []byte, r *pipeline.Record) (uint64, []byte) {
	scratch = r.AppendJSON(scratch[:0])
	return uint64(crc32.Checksum(scratch, castagnoli()))<<32 | uint64(uint32(len(scratch))), scratch
}

// answers are the outcomes of one costing stage, in the journal.
type answers struct {
	stage   string
	keeper  *keeper
	buffers sync.Pool // of *[]byte
}

// mostBuffer bounds what is kept of a buffer that had to hold something large.
const mostBuffer = 1 << 20

// replay returns what the stage made of r in an earlier run; ok is false if it did
// not, or of another r.
func (a *answers) replay(r *pipeline.Record) (made []*pipeline.Record, attempts int, failure error, ok bool) {
	if !a.keeper.resumed {
		return nil, 0, nil, false
	}
	g, _ := guard(nil, r)
	payload, ok, err := a.keeper.lookup(a.stage, r.Ref, g)
	if err == nil && ok {
		made, attempts, failure, err = readOutcome(payload, r)
	}
	if err != nil {
		return nil, 0, pipeline.Fatal("journal", fmt.Errorf("journal: %w", err)), true
	}
	if ok {
		a.keeper.replayed.Add(1)
	}
	return made, attempts, failure, ok
}

// keep makes durable what the stage made of r, which came in as saved says.
func (a *answers) keep(saved *pipeline.Record, r *pipeline.Record, made []*pipeline.Record, attempts int, failure error) error {
	buffer, _ := a.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	g, scratch := guard(*buffer, saved)
	payload := appendOutcome(scratch[:0], r, made, attempts, failure)
	err := a.keeper.append(a.stage, saved.Ref, g, payload)
	if *buffer = payload; cap(payload) <= mostBuffer {
		a.buffers.Put(buffer)
	}
	if err != nil {
		return pipeline.Fatal("journal", fmt.Errorf("journal: %w", err))
	}
	return nil
}
