package embedded_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"example.com/embedded"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/stages/llm"
)

// tickets yields so many tickets, every tenth without a text.
func tickets(n int) func(yield func(embedded.Ticket, error) bool) {
	return func(yield func(embedded.Ticket, error) bool) {
		for i := range n {
			t := embedded.Ticket{ID: i, Body: fmt.Sprintf("My parcel number %d has not come.", i)}
			if i%10 == 9 {
				t.Body = " "
			}
			if !yield(t, nil) {
				return
			}
		}
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	faults := llm.SimulatorFaults{RateLimit: 0.05, Error500: 0.05}
	model := llm.Config{Provider: llm.ProviderSimulator, Simulator: &llm.SimulatorOptions{Faults: faults, RetryAfter: 1}}
	var sorted []embedded.Ticket
	summary, err := embedded.Sort(t.Context(), model, tickets(200), func(_ context.Context, batch []embedded.Ticket) error {
		sorted = append(sorted, batch...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := summary.Counts; c.Read != 200 || c.Delivered != 180 || c.Dropped != 20 || len(sorted) != 180 {
		t.Errorf("got %+v and %d tickets, want 200 read, 180 delivered, 20 dropped", c, len(sorted))
	}
	if !slices.IsSortedFunc(sorted, func(a, b embedded.Ticket) int { return a.ID - b.ID }) {
		t.Error("the tickets are out of order")
	}
	for _, one := range sorted {
		if !slices.Contains([]string{"delivery", "billing", "product"}, one.Team) {
			t.Errorf("ticket %d: team %q", one.ID, one.Team)
		}
	}
}

func TestSortStopsAtAWrongKey(t *testing.T) {
	t.Parallel()
	model := llm.Config{Provider: llm.ProviderSimulator, Simulator: &llm.SimulatorOptions{APIKey: pipeline.Secret("sk-right")}, APIKey: "sk-wrong"}
	_, err := embedded.Sort(t.Context(), model, tickets(20), func(context.Context, []embedded.Ticket) error {
		t.Error("something was delivered")
		return nil
	})
	if err == nil {
		t.Error("no error")
	}
	t.Log(err)
}
