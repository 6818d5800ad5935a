package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// Words is a source of one's own: it yields a row for each word of a text.
type Words struct{ Text string }

// Records yields the words in their order.
func (w Words) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		for word := range strings.FieldsSeq(w.Text) {
			r := pipeline.NewRecord(pipeline.Field{Name: "word", Value: pipeline.Text(word)})
			if ctx.Err() != nil || !yield(r, nil) {
				return
			}
		}
	}
}

// Shout is a stage of one's own: it makes words loud, leaves out those that are loud
// already, and fails at what is no word.
type Shout struct{}

// Process changes a row.
func (Shout) Process(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
	word, _ := r.Lookup("word")
	loud := strings.ToUpper(word.Text())
	switch {
	case loud == word.Text():
		return nil, nil // dropped
	case strings.Contains(loud, "?"):
		return nil, pipeline.Permanent("no_word", errors.New("what is this")) // a dead letter
	}
	r.Set("word", pipeline.Text(loud+"!"))
	return []*pipeline.Record{r}, nil
}

// Page is a sink of one's own: it gathers what it is given, and prints it at a commit.
type Page struct{ lines []string }

// Write takes a batch.
func (p *Page) Write(_ context.Context, batch []*pipeline.Record) error {
	for _, r := range batch {
		p.lines = append(p.lines, string(r.AppendJSON(nil)))
	}
	return nil
}

// Commit prints what was taken: only then is it delivered.
func (p *Page) Commit(context.Context) (pipeline.Position, error) {
	for _, line := range p.lines {
		fmt.Println(line)
	}
	p.lines = nil
	return "", nil
}

// Close has nothing to release.
func (*Page) Close(context.Context) error { return nil }

var (
	_ pipeline.Source = Words{}
	_ pipeline.Stage  = Shout{}
	_ pipeline.Sink   = (*Page)(nil)
)

// A source, a stage and a sink of one's own: each is one small blocking interface. The
// engine does the rest.
func Example() {
	s, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: Words{"hello WORLD what? again"},
		Steps:  []pipeline.Step{{Stage: Shout{}, StepOptions: pipeline.StepOptions{Name: "shout"}}},
		Sink:   &Page{},
	}, engine.Options{})
	fmt.Println(err)
	fmt.Println(s.Counts.Read, "read,", s.Counts.Delivered, "delivered,", s.Counts.Dropped, "dropped,", s.Counts.DeadLettered, "failed:", s.Reasons[0].Message)
	// Output:
	// {"word":"HELLO!"}
	// {"word":"AGAIN!"}
	// <nil>
	// 4 read, 2 delivered, 1 dropped, 1 failed: what is this
}

func ExampleStageFunc() {
	length := pipeline.StageFunc(func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		word, _ := r.Lookup("word")
		n, err := pipeline.ValueOf(len(word.Text()))
		r.Set("length", n)
		return []*pipeline.Record{r}, err
	})
	_, err := engine.Run(context.Background(), pipeline.Pipeline{
		Source: Words{"one three"}, Steps: []pipeline.Step{{Stage: length}}, Sink: &Page{},
	}, engine.Options{})
	fmt.Println(err)
	// Output:
	// {"word":"one","length":3}
	// {"word":"three","length":5}
	// <nil>
}

// A source acknowledges its messages when their rows have ended.
func ExampleRecord_OnSettle() {
	r := pipeline.NewRecord(pipeline.Field{Name: "n", Value: pipeline.RawJSON("1")})
	r.OnSettle(func(s pipeline.Settlement) { fmt.Println("message 1:", s.Ending) })
	_, err := engine.Run(context.Background(), pipeline.Pipeline{Source: single{r}, Sink: &Page{}}, engine.Options{})
	fmt.Println(err)
	// Output:
	// {"n":1}
	// message 1: delivered
	// <nil>
}

// single is a source of one row.
type single struct{ record *pipeline.Record }

func (s single) Records(context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) { yield(s.record, nil) }
}

func ExampleEncode() {
	type Place struct {
		City string `json:"city"`
		Year *int   `json:"year,omitempty"`
	}
	r, err := pipeline.Encode(Place{City: "Lisbon"})
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Set("year", pipeline.RawJSON("1755"))
	p, err := pipeline.Decode[Place](r)
	fmt.Println(p.City, *p.Year, err)
	// Output: Lisbon 1755 <nil>
}
