package stages

import (
	"context"
	_ "embed"
	"strconv"

	"github.com/rowmill/rowmill/pipeline"
)

//go:embed split.go
var splitCode string

// SplitConfig is the configuration of the stage "split". It makes several records
// of one: of a list one for each element, or, with chunk, of a long text one for
// each piece. All other fields are copied to each.
type SplitConfig struct {
	// Field is the field to split. It must hold a list, or with chunk a text, else the
	// record is a dead letter. An empty list becomes no record, an empty text one.
	Field string `yaml:"field" rowmill:"required"`
	// As is the field that holds the element or the piece, in place of the list or the
	// whole text. Defaults to the same field.
	As string `yaml:"as"`
	// Index is the field for the number of the element or piece, from 0. Defaults to
	// none.
	Index string `yaml:"index"`
	// Chunk splits a text into pieces of limited size. Defaults to off: the field holds
	// a list.
	Chunk *ChunkConfig `yaml:"chunk"`
}

// ChunkConfig says how a text is split into pieces. A piece ends where a paragraph
// ends, else where a sentence or a line does, as long as it gets at least half as
// large as it may be; else between two words, and only where a word is longer than a
// piece within it. White space stays at the end of the piece in front of it. The
// pieces, but for their overlaps, make up the text exactly.
type ChunkConfig struct {
	// Size is the largest a piece may be, its overlap included, in units.
	Size int `yaml:"size" rowmill:"required,min=8"`
	// Overlap is how much of the end of the piece before is repeated at the beginning of
	// a piece, at most, in units; it begins with a whole word where it can. At most half
	// of size. Defaults to 0.
	Overlap int `yaml:"overlap" rowmill:"min=0"`
	// Unit is what size and overlap count: chars (Unicode code points) or bytes (of
	// UTF-8). Defaults to chars.
	Unit string `yaml:"unit" rowmill:"oneof=chars|bytes"`
}

// The choices of ChunkConfig.Unit.
const (
	unitChars = "chars"
	unitBytes = "bytes"
)

// Validate checks the names and sizes.
func (c SplitConfig) Validate() error {
	var problems pipeline.Problems
	if c.Field == "" {
		problems.Addf("field", "needs the name of the field to split")
	}
	if c.Index != "" && (c.Index == c.As || c.As == "" && c.Index == c.Field) {
		problems.Addf("index", "%q holds the pieces already", c.Index)
	}
	if k := c.Chunk; k != nil {
		switch {
		case k.Size < 8:
			problems.Addf("chunk.size", "must be at least 8, not %d", k.Size)
		case k.Overlap < 0 || k.Overlap > k.Size/2:
			problems.Addf("chunk.overlap", "must be from 0 to half of size, %d, not %d", k.Size/2, k.Overlap)
		}
		if k.Unit != "" && k.Unit != unitChars && k.Unit != unitBytes {
			problems.Addf("chunk.unit", "must be %s or %s, not %q", unitChars, unitBytes, k.Unit)
		}
	}
	return problems.Err()
}

// Split is the stage "split": it makes several records of one.
type Split struct{ config SplitConfig }

var (
	_ pipeline.Stage  = (*Split)(nil)
	_ pipeline.Shaper = (*Split)(nil)
)

// NewSplit makes a Split. The error is [pipeline.Problems].
func NewSplit(c SplitConfig, env pipeline.Env) (*Split, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.As == "" {
		c.As = c.Field
	}
	var problems pipeline.Problems
	exists("field", c.Field, env.Shape, &problems)
	free := func(key, name string) {
		if _, taken := env.Shape.Lookup(name); taken && name != c.Field {
			problems.Addf(key, "there is a field %q already", name)
		}
	}
	free("as", c.As)
	free("index", c.Index)
	f, _ := env.Shape.Lookup(c.Field)
	switch {
	case f.Type == pipeline.StringType && c.Chunk == nil:
		problems.Addf("field", "%q is a text, as an untyped CSV column is: to split it into pieces, give chunk; "+
			"if it holds JSON, make it a list first, with the stage map and fromJSON", c.Field)
	case f.Type == pipeline.NumberType, f.Type == pipeline.BoolType:
		problems.Addf("field", "%q holds numbers or booleans, nothing to split", c.Field)
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &Split{config: c}, nil
}

// SplitSpec describes the stage "split".
func SplitSpec() pipeline.Spec {
	return pipeline.StageSpec(pipeline.Spec{
		Name:     "split",
		Summary:  "makes several records of a list or of a long text",
		Code:     splitCode,
		Workload: pipeline.Computes,
		Example:  `split: {field: text, index: part, chunk: {size: 1000, overlap: 100}}`,
	}, func() SplitConfig { return SplitConfig{} },
		func(c SplitConfig, env pipeline.Env) (pipeline.Stage, error) { return asStage(NewSplit(c, env)) })
}

// Process returns a child for each element or piece.
func (s *Split) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	parts, err := s.parts(r)
	if err != nil {
		return nil, err
	}
	if err := s.free(r); err != nil {
		return nil, err
	}
	children := make([]*pipeline.Record, len(parts))
	for i, v := range parts {
		child := r.Child()
		if s.config.As != s.config.Field {
			child.Delete(s.config.Field)
		}
		child.Set(s.config.As, v)
		if s.config.Index != "" {
			child.Set(s.config.Index, pipeline.RawJSON(strconv.Itoa(i)))
		}
		children[i] = child
	}
	return children, nil
}

// free refuses a record that has a field which would be lost.
func (s *Split) free(r *pipeline.Record) error {
	for _, name := range []string{s.config.As, s.config.Index} {
		if _, taken := r.Lookup(name); taken && name != s.config.Field && name != "" {
			return refuse("split", "split: the row has a field %q already", name)
		}
	}
	return nil
}

func (s *Split) parts(r *pipeline.Record) ([]pipeline.Value, error) {
	if s.config.Chunk == nil {
		return list(r, s.config.Field, "split")
	}
	v, present := r.Lookup(s.config.Field)
	if v.Kind() != '"' {
		return nil, refuse("split", "split: field %q is %s, not a text", s.config.Field, describe(v, present))
	}
	text := v.Text()
	pieces := s.config.Chunk.pieces(text)
	parts := make([]pipeline.Value, len(pieces))
	for i, p := range pieces {
		parts[i] = pipeline.Text(text[p.overlap:p.end])
	}
	return parts, nil
}

// Shape returns in with the element or piece in place of what is split.
func (s *Split) Shape(in pipeline.Shape) pipeline.Shape {
	t := pipeline.AnyType
	if s.config.Chunk != nil {
		t = pipeline.StringType
	}
	if s.config.As != s.config.Field {
		in = in.Without(s.config.Field)
	}
	in = in.With(s.config.As, t)
	if s.config.Index != "" {
		in = in.With(s.config.Index, pipeline.NumberType)
	}
	return in
}
