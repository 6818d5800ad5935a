// Rag fills an index for retrieval: a folder of documents is cut into parts, each part is
// embedded, and text and vector are stored. Then it asks the index a question.
//
//	rag -docs 'pipelines/data/handbook/**/*.md' -question 'When does check-in begin?'
//
// The stage that embeds is one of the program's own (embed.go): Process asks once, and all
// else, sixteen requests at once, retries, pauses and a journal, is the engine's. The
// provider here is made up (provider.go), and refuses every fifth request; the stage
// speaks to any that is compatible with OpenAI (-url, -model, OPENAI_API_KEY).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/sinks"
	"github.com/rowmill/rowmill/sources"
	"github.com/rowmill/rowmill/stages"
)

// options are the flags.
type options struct{ docs, url, model, question string }

func main() {
	var o options
	flag.StringVar(&o.docs, "docs", "pipelines/data/handbook/**/*.md", "the documents")
	flag.StringVar(&o.url, "url", "", "the provider, up to /v1; empty for the made-up one")
	flag.StringVar(&o.model, "model", "text-embedding-3-small", "the model that embeds")
	flag.StringVar(&o.question, "question", "Who shows a passport or an identity card?", "what to ask the index")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "rag:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.url == "" {
		server := httptest.NewServer(newProvider())
		defer server.Close()
		o.url = server.URL + "/v1"
	}
	embed := NewEmbed(o.url, o.model, os.Getenv("OPENAI_API_KEY"))
	var index Index
	p, err := indexing(o.docs, embed, &index)
	if err != nil {
		return err
	}
	// With an index that outlives the program, Options.State has a run that was killed go on
	// and pay for nothing twice.
	summary, err := engine.Run(ctx, p, engine.Options{})
	if err != nil {
		return err
	}
	if dead := summary.Counts.DeadLettered; dead > 0 {
		return fmt.Errorf("%d parts could not be embedded, first: %s", dead, summary.Reasons[0].Message)
	}
	fmt.Printf("%d documents became %d parts in the index\n", summary.Counts.Read, summary.Counts.Delivered)
	return ask(ctx, &index, embed, o.question)
}

// indexing is the pipeline: read, cut, embed, store.
func indexing(docs string, embed *Embed, index *Index) (p pipeline.Pipeline, err error) {
	source, err := sources.NewFile(sources.FileConfig{Path: []string{docs}, Format: "whole", Compression: "auto", Field: "text", MaxRecord: 1 << 20}, pipeline.Env{})
	if err != nil {
		return p, err
	}
	split, err := stages.NewSplit(stages.SplitConfig{
		Field: "text", Index: "number", Chunk: &stages.ChunkConfig{Size: 400, Overlap: 40, Unit: "chars"},
	}, pipeline.Env{})
	if err != nil {
		return p, err
	}
	return pipeline.Pipeline{
		Name:   "index",
		Source: source,
		Steps: []pipeline.Step{
			{Stage: split, StepOptions: pipeline.StepOptions{Name: "split"}},
			// It waits for others, and what it returns is worth keeping.
			{Stage: embed, Workload: pipeline.Waits, Costs: true, StepOptions: pipeline.StepOptions{Name: "embed", Parallelism: 16}},
		},
		Sink: sinks.Func(index.Store),
	}, nil
}

// ask prints the part of a document that is nearest to a question. The question is
// embedded by the same stage, under the same policies.
func ask(ctx context.Context, index *Index, embed *Embed, question string) (err error) {
	embedded, err := engine.Bind[Part, Part](embed, pipeline.StepOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, embedded.Close()) }()
	q, err := embedded.Do(ctx, Part{Text: question})
	if err != nil {
		return err
	}
	best, score := index.Nearest(q.Vector)
	fmt.Printf("%s\n%s, part %d (%.2f): %.150s…\n", question, filepath.Base(best.Path), best.Number, score, strings.Join(strings.Fields(best.Text), " "))
	return nil
}
