package sinks

import (
	"context"
	_ "embed"
	"errors"
	"strings"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/rowfile"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/lang"
)

//go:embed text.go
var textCode string

// TextConfig is the configuration of the sink "text".
type TextConfig struct {
	// The file to write, or - for standard output. Its folder is made if need be. A file
	// that has rows is overwritten only by a run with --fresh. A run that was killed goes on
	// in the file with every row exactly once: it is cut back to the last checkpoint. Of
	// what went to standard output, a pipe or a device nothing can be cut back.
	Path string `yaml:"path" rowmill:"required"`
	// The template of a record, like the prompt of the llm stage. A line break is added
	// unless it ends in one. A record for which it cannot be rendered is a dead letter.
	Template string `yaml:"template" rowmill:"required,template"`
	// How the file is compressed: none, gzip, zstd; auto goes by the ending .gz or .zst.
	// Defaults to auto.
	Compression codec.Compression `yaml:"compression" rowmill:"oneof=auto|none|gzip|zstd"`
}

// DefaultText returns a config with every default in its place.
func DefaultText() TextConfig { return TextConfig{Compression: codec.AutoCompression} }

// Text is the sink "text": each record as a template says.
type Text struct {
	out      rowfile.Output
	template *lang.Template
	ended    bool // the template ends in a line break
}

var (
	_ pipeline.Sink      = (*Text)(nil)
	_ pipeline.Starter   = (*Text)(nil)
	_ pipeline.Prober    = (*Text)(nil)
	_ pipeline.Preparer  = (*Text)(nil)
	_ pipeline.Rewinder  = (*Text)(nil)
	_ pipeline.Deliverer = (*Text)(nil)
)

// NewText makes a Text. The error is [pipeline.Problems].
func NewText(c TextConfig, env pipeline.Env) (*Text, error) {
	var problems pipeline.Problems
	t := &Text{
		out:   rowfile.Output{Path: c.Path, Compression: c.Compression, Stdout: env.Stdout},
		ended: strings.HasSuffix(c.Template, "\n"),
	}
	t.out.Check(&problems)
	var err error
	if t.template, err = lang.CompileTemplate(c.Template, env.Shape); err != nil {
		p := pipeline.Problem{Key: "template", Err: err}
		if syntax := new(lang.SyntaxError); errors.As(err, &syntax) {
			p.Offset = syntax.Offset
		}
		problems = append(problems, p)
	}
	return t, problems.Err()
}

// TextSpec describes the sink "text".
func TextSpec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "text",
		Summary: "writes each record as a template says",
		Code:    textCode,
		Example: "text: {path: out/report.md, template: \"- {{.title}}: {{.summary}}\"}",
	}, DefaultText,
		func(c TextConfig, env pipeline.Env) (pipeline.Sink, error) { return asSink(NewText(c, env)) })
}

// Probe says whether the file can be written, and leaves everything as it is.
func (t *Text) Probe(context.Context) error { return t.out.Probe() }

// Prepare refuses rows of an earlier run, or with fresh removes them.
func (t *Text) Prepare(_ context.Context, fresh bool) error { return t.out.Prepare(fresh) }

// Start opens the file.
func (t *Text) Start(_ context.Context, fresh bool) error { return t.out.Start(fresh, nil) }

// Rewind opens the file where a commit left it, and cuts off what is behind. It refuses
// a file that has become shorter, or whose last bytes in front of the position are
// others: of the class fatal, with the code output_changed.
func (t *Text) Rewind(_ context.Context, to pipeline.Position) error {
	return t.out.Rewind(to, nil, nil)
}

// Check says whether the file still is what Rewind needs.
func (t *Text) Check(_ context.Context, to pipeline.Position) error {
	return t.out.Unchanged(to, nil)
}

// Delivery is [pipeline.ExactlyOnce] for a file, and [pipeline.NotKept] for standard
// output, pipes and devices.
func (t *Text) Delivery() pipeline.Delivery { return t.out.Delivery() }

// Write takes a batch.
func (t *Text) Write(ctx context.Context, batch []*pipeline.Record) error {
	return t.out.Add(ctx, batch, t.append)
}

// append appends the record as the template says. What was appended before an
// error is taken back.
func (t *Text) append(dst []byte, r *pipeline.Record) ([]byte, error) {
	out, err := t.template.Append(dst, r)
	if err != nil {
		return dst, err
	}
	if !t.ended {
		out = append(out, '\n')
	}
	return out, nil
}

// Commit makes durable what was written; the position says how long the file is
// then, and how it ends.
func (t *Text) Commit(context.Context) (pipeline.Position, error) { return t.out.Commit() }

// Close ends the file.
func (t *Text) Close(context.Context) error { return t.out.Close() }
