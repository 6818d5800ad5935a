package stages

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed dedupe.go
var dedupeCode string

// The choices of DedupeConfig.WhenFull.
const (
	dedupeStop   = "stop"
	dedupeForget = "forget"
)

// DedupeConfig is the configuration of the stage "dedupe": of the records with the
// same key, the first in the order of the source goes on, the others are dropped and
// counted as that.
type DedupeConfig struct {
	// By are the expressions that make the key, one or several; records are the same if
	// all are. Texts are compared exactly, numbers as they are spelled (1 is not 1.0),
	// objects without regard to the order of their fields. A record whose only
	// expression is null, or whose field is missing, is a dead letter, as it is not
	// known whether it is the same as any other. Defaults to all fields of the record.
	By []string `yaml:"by" rowmill:"expr"`
	// Memory bounds what is remembered. A key takes about 56 bytes, however long it is:
	// 64MiB hold about 1.2 million different keys. Defaults to 64MiB.
	Memory pipeline.Size `yaml:"memory" rowmill:"min=1KiB"`
	// WhenFull is what happens when there are more different keys than that. `stop` ends
	// the run, so that what is delivered holds no record twice. `forget` goes on and
	// forgets the keys that were not seen for longest: then a record is sure to be
	// dropped only if it is the same as one at most half of that many different keys
	// before. Defaults to stop.
	WhenFull string `yaml:"when_full" rowmill:"oneof=stop|forget"`
}

// keyBytes is what one key takes in a map, measured: 16 bytes of hash and 8 of the
// record, and up to 31 for free slots.
const keyBytes = 56

// Validate checks the choices.
func (c DedupeConfig) Validate() error {
	var problems pipeline.Problems
	if c.Memory < 1<<10 {
		problems.Addf("memory", "must be at least 1KiB, not %v", c.Memory)
	}
	if c.WhenFull != dedupeStop && c.WhenFull != dedupeForget {
		problems.Addf("when_full", "must be %s or %s, not %q", dedupeStop, dedupeForget, c.WhenFull)
	}
	return problems.Err()
}

// Dedupe is the stage "dedupe": it lets the first of the same records through.
type Dedupe struct {
	by        []*lang.Expression
	memory    pipeline.Size
	limit     int // keys in each of recent and older
	forgets   bool
	recent    map[dedupeKey]uint64 // the hash of the Ref that came with the key first
	older     map[dedupeKey]uint64
	canonical []byte

	saves   bool   // Save or Load was called: who never does must not pay for unsaved
	unsaved []byte // the keys that came into recent since the last time, in order
}

// dedupeKey is the first half of a SHA-256: two different keys among a billion have
// the same with a probability of 10^-21.
type dedupeKey [16]byte

var (
	_ pipeline.Stateful = (*Dedupe)(nil)
	_ pipeline.Shaper   = (*Dedupe)(nil)
)

// NewDedupe makes a Dedupe. The error is [pipeline.Problems].
func NewDedupe(c DedupeConfig, env pipeline.Env) (*Dedupe, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &Dedupe{memory: c.Memory, limit: int(c.Memory / keyBytes), forgets: c.WhenFull == dedupeForget, recent: map[dedupeKey]uint64{}}
	if d.forgets {
		d.limit /= 2
	}
	var problems pipeline.Problems
	for i, src := range c.By {
		d.by = append(d.by, compile(fmt.Sprintf("by[%d]", i), src, env.Shape, &problems))
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// DefaultDedupe returns a config with every default in its place.
func DefaultDedupe() DedupeConfig { return DedupeConfig{Memory: 64 << 20, WhenFull: dedupeStop} }

// DedupeSpec describes the stage "dedupe".
func DedupeSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "dedupe",
		Summary:  "drops records that came before",
		Code:     dedupeCode,
		Workload: pipeline.Computes,
		Example:  `dedupe: {by: lower(email)}`,
	}, DefaultDedupe,
		func(c DedupeConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewDedupe(c, env)) })
}

// Process returns r if no record before it had the same key. A record that is shown
// again gets the same answer.
func (d *Dedupe) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	key, err := d.key(r)
	if err != nil {
		return nil, err
	}
	self := hashRef(r.Ref)
	first, known := d.find(key)
	if !known {
		if err := d.remember(key, self); err != nil {
			return nil, err
		}
		first = self
	}
	if first != self {
		return nil, nil
	}
	return []*pipeline.Record{r}, nil
}

// find looks a key up; one that is about to be forgotten is remembered again.
func (d *Dedupe) find(key dedupeKey) (first uint64, known bool) {
	if first, known = d.recent[key]; known {
		return first, true
	}
	if first, known = d.older[key]; known {
		d.put(key, first)
	}
	return first, known
}

// put remembers a key among the recent ones.
func (d *Dedupe) put(key dedupeKey, first uint64) {
	d.makeRoom()
	d.recent[key] = first
	if d.saves {
		d.unsaved = appendKey(d.unsaved, key, first)
	}
}

// makeRoom forgets the older half of the keys once the recent half is full.
func (d *Dedupe) makeRoom() {
	if d.forgets && len(d.recent) >= d.limit {
		d.older, d.recent = d.recent, map[dedupeKey]uint64{}
	}
}

func (d *Dedupe) remember(key dedupeKey, first uint64) error {
	if !d.forgets && len(d.recent) >= d.limit {
		return pipeline.Fatal("dedupe_full", fmt.Errorf(
			"dedupe: there are more than %d different keys, and memory is %v: raise memory, or set when_full: forget", d.limit, d.memory))
	}
	d.put(key, first)
	return nil
}

// key hashes what makes a record the same as another.
func (d *Dedupe) key(r *pipeline.Record) (key dedupeKey, err error) {
	d.canonical = d.canonical[:0]
	if len(d.by) == 0 {
		err = d.add(pipeline.RawJSON(string(r.AppendJSON(nil))))
	}
	for i, e := range d.by {
		v, evalErr := e.Value(r)
		switch {
		case evalErr != nil:
			return key, at("by", evalErr)
		case v.IsNull() && len(d.by) == 1:
			return key, refuse("dedupe", "by: the key %s is null or missing; "+
				"leave such rows out with a filter, or give them a key: %[1]s ?? \"none\"", d.by[i])
		}
		if err = d.add(v); err != nil {
			return key, err
		}
	}
	sum := sha256.Sum256(d.canonical)
	return dedupeKey(sum[:16]), err
}

// add appends a value in a form that is the same for the same values.
func (d *Dedupe) add(v pipeline.Value) error {
	switch v.Kind() {
	case '"':
		d.canonical = pipeline.Text(v.Text()).AppendJSON(d.canonical)
	case '[', '{':
		raw := jsontext.Value(v.JSON())
		err := raw.Format(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.CanonicalizeRawInts(false),
			jsontext.CanonicalizeRawFloats(false), jsontext.ReorderRawObjects(true), jsontext.PreserveRawStrings(false),
			jsontext.SpaceAfterColon(false), jsontext.SpaceAfterComma(false), jsontext.Multiline(false))
		if err != nil {
			return refuse("dedupe", "dedupe: %w", err)
		}
		d.canonical = append(d.canonical, raw...)
	default:
		d.canonical = v.AppendJSON(d.canonical)
	}
	d.canonical = append(d.canonical, '\n')
	return nil
}

// What a chunk of the saved state says: its first byte, and then keys.
const (
	savedRecent = 'r' // keys that came into recent, in order
	savedOlder  = 'o' // keys of older
)

// savedKey is how many bytes a saved key takes: the key and the hash of the Ref.
const savedKey = 16 + 8

// keysInChunk keeps a chunk at about 1.5 MiB.
const keysInChunk = 1 << 16

func appendKey(dst []byte, key dedupeKey, first uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, key[:]...), first)
}

// Save writes the keys that are new, 24 bytes each; the first time all there are.
func (d *Dedupe) Save(w io.Writer) error {
	if !d.saves {
		d.unsaved = appendKeys(nil, d.recent)
		if err := saveKeys(w, savedOlder, appendKeys(nil, d.older)); err != nil {
			return err
		}
	}
	d.saves = true
	if err := saveKeys(w, savedRecent, d.unsaved); err != nil {
		return err
	}
	if d.unsaved = d.unsaved[:0]; cap(d.unsaved) > keysInChunk*savedKey {
		d.unsaved = nil
	}
	return nil
}

func appendKeys(dst []byte, keys map[dedupeKey]uint64) []byte {
	for key, first := range keys {
		dst = appendKey(dst, key, first)
	}
	return dst
}

func saveKeys(w io.Writer, what byte, keys []byte) error {
	for part := range slices.Chunk(keys, keysInChunk*savedKey) {
		if err := saveChunk(w, append([]byte{what}, part...)); err != nil {
			return err
		}
	}
	return nil
}

// Load takes in what was saved: what is remembered, and what is to be forgotten next,
// is then what it was.
func (d *Dedupe) Load(r io.Reader) error {
	d.saves = true
	return loadChunks(r, d.load)
}

func (d *Dedupe) load(text []byte) error {
	if len(text)%savedKey != 1 || text[0] != savedRecent && text[0] != savedOlder {
		return errors.New("these are no keys")
	}
	for saved := range slices.Chunk(text[1:], savedKey) {
		key, first := dedupeKey(saved[:16]), binary.LittleEndian.Uint64(saved[16:])
		if text[0] == savedRecent {
			d.makeRoom()
			d.recent[key] = first
			continue
		}
		if d.older == nil {
			d.older = map[dedupeKey]uint64{}
		}
		d.older[key] = first
	}
	return nil
}

// hashRef tells records apart that have the same key (FNV-1a).
func hashRef(ref pipeline.Ref) uint64 {
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:8], uint64(ref.Source))
	binary.LittleEndian.PutUint64(head[8:], ref.Seq)
	h := uint64(14695981039346656037)
	for _, b := range head {
		h = (h ^ uint64(b)) * 1099511628211
	}
	for i := range len(ref.Path) {
		h = (h ^ uint64(ref.Path[i])) * 1099511628211
	}
	return h
}

// Sequential marks a stage that depends on the order.
func (d *Dedupe) Sequential() {}

// Shape returns in: the records stay as they are.
func (d *Dedupe) Shape(in pipeline.Shape) pipeline.Shape { return in }
