package s3

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
)

// names are the keys of a sink's objects.
type names struct {
	prefix    string // "" or with a slash at its end
	extension string // ".jsonl.gz"
}

func namesOf(c Config) names {
	n := names{prefix: c.Prefix, extension: "." + string(c.format())}
	if n.prefix != "" && !strings.HasSuffix(n.prefix, "/") {
		n.prefix += "/"
	}
	if c.format() == codec.Lines {
		n.extension = ".txt"
	}
	if c.parquet() {
		return n // compressed by page
	}
	switch c.compression() {
	case codec.Gzip:
		n.extension += ".gz"
	case codec.Zstd:
		n.extension += ".zst"
	}
	return n
}

// part is the key of a part. It is the same in every run, so that one that is written
// again takes its own place.
func (n names) part(number int) string {
	return fmt.Sprintf("%spart-%05d%s", n.prefix, number, n.extension)
}

func (n names) manifest() string { return n.prefix + "_manifest.json" }

// partName is what parts are called, of whatever format.
var partName = regexp.MustCompile(`^part-[0-9]{5,}\.(jsonl|csv|tsv|txt|parquet)(\.gz|\.zst)?$`)

// isPart reports whether a key is that of a part, of this run or another.
func (n names) isPart(key string) bool {
	name, ok := strings.CutPrefix(key, n.prefix)
	return ok && partName.MatchString(name)
}

func (n names) contentType() string {
	switch {
	case strings.HasSuffix(n.extension, ".gz"):
		return "application/gzip"
	case strings.HasSuffix(n.extension, ".zst"):
		return "application/zstd"
	case strings.HasSuffix(n.extension, ".csv"):
		return "text/csv"
	case strings.HasSuffix(n.extension, ".parquet"):
		return "application/vnd.apache.parquet"
	case strings.HasSuffix(n.extension, ".jsonl"):
		return "application/x-ndjson"
	default:
		return "text/plain; charset=utf-8"
	}
}

// openPart is the part that is being written.
type openPart struct {
	number  int
	out     *rowfile.Output
	encoder codec.Encoder
	rows    int64
	begun   time.Time
}

// newPart is the one place in which it is decided how a part is built: as a file of rows,
// that can be cut back to a commit. Parquet is made of them in the end.
func (s *Sink) newPart(number int) (*openPart, error) {
	o := s.write
	if s.columns != nil {
		o.Columns = s.columns // those of the first record hold for every part
	}
	encoder, err := codec.NewEncoder(o)
	if err != nil {
		return nil, pipeline.Fatal("output", err)
	}
	out := &rowfile.Output{Path: s.spool.path(s.names.part(number)), Compression: s.config.compression()}
	if s.table != nil {
		out = &rowfile.Output{Path: s.spool.rowsOf(s.names.part(number)), Compression: codec.Zstd}
		encoder = fitting{encoder, s.table}
	}
	return &openPart{number: number, out: out, encoder: encoder, begun: time.Now()}, nil
}

// begin begins the next part.
func (s *Sink) begin() error {
	if s.spool.log == nil {
		return pipeline.Fatal("output", fmt.Errorf("s3: %s was not opened with Start", s.bucket.URL(s.names.prefix)))
	}
	p, err := s.newPart(len(s.spool.parts) + 1)
	if err != nil {
		return err
	}
	if err := p.out.Start(true, p.encoder.Begin(nil)); err != nil {
		return err
	}
	s.open, s.ended = p, false
	return nil
}

// noteColumns keeps the columns that the first record made.
func (s *Sink) noteColumns() {
	if s.columns == nil {
		if header, ok := s.open.encoder.(interface{ Columns() []string }); ok {
			s.columns = header.Columns()
		}
	}
}

// seal ends the part. It goes up when a checkpoint covers it.
func (s *Sink) seal() error {
	p := s.open
	s.open = nil
	if err := p.out.End(); err != nil {
		return err
	}
	if s.table != nil {
		if err := s.build(p); err != nil {
			return err
		}
	}
	size, sum, err := sumOf(s.spool.path(s.names.part(p.number)))
	if err != nil {
		return spoolError(err)
	}
	sealed := Part{Number: p.number, Key: s.names.part(p.number), Rows: p.rows, Bytes: size, SHA256: hex.EncodeToString(sum)}
	if err := s.spool.add(sealed); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, sealed)
	s.listed = false
	return nil
}

// mark is the position of the sink.
type mark struct {
	// Parts are sealed; Chain is a hash of what is known of them.
	Parts int    `json:"parts"`
	Chain string `json:"chain,omitempty"`
	// Rows are in the part that is open, which is a file at the position File.
	Rows int64             `json:"rows,omitempty"`
	File pipeline.Position `json:"file,omitempty"`
	// Columns are those of csv and tsv.
	Columns []string `json:"columns,omitempty"`
	// Schema are those of parquet, where they were found out.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Ended says that no row is missing.
	Ended bool `json:"ended,omitempty"`
}

// position commits the files of the spool and says where they stand.
func (s *Sink) position() (pipeline.Position, error) {
	m := mark{Parts: len(s.spool.parts), Chain: s.spool.chain, Columns: s.columns, Ended: s.ended}
	if s.table != nil {
		m.Schema = s.table.sealed
	}
	if s.open != nil {
		at, err := s.open.out.Commit()
		if err != nil {
			return "", err
		}
		if m.Rows = s.open.rows; m.Rows > 0 {
			m.File = at
		}
	}
	if err := s.spool.sync(); err != nil {
		return "", err
	}
	text, err := json.Marshal(m)
	return pipeline.Position(text), err
}

func parseMark(p pipeline.Position) (m mark, err error) {
	if p == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(p), &m); err != nil || m.Parts < 0 {
		return m, pipeline.Fatal("output", fmt.Errorf("%q is no position of a sink s3", p))
	}
	return m, nil
}
