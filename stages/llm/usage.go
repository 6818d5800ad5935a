package llm

import "sync/atomic"

// tally sums what all attempts cost, those that failed included.
type tally struct {
	input, cached, output, reasoning atomic.Int64
	kept, shared                     atomic.Int64 // answers without a request
}

func (t *tally) add(u usage) {
	if u == (usage{}) {
		return
	}
	t.input.Add(int64(u.Input))
	t.cached.Add(int64(u.Details.Cached))
	t.output.Add(int64(u.Output))
	t.reasoning.Add(int64(u.Spent.Reasoning))
}

// Usage returns the tokens of all attempts so far, those that failed included, as
// the provider counted them: input_tokens, of which cached_input_tokens came from
// its cache, and output_tokens, of which reasoning_tokens were thought and not
// said. cached_answers came from the cache and shared_answers from the same request
// of another row: both cost nothing. What is 0 is left out.
func (s *Stage) Usage() map[string]int64 {
	sums := map[string]int64{}
	for name, n := range map[string]*atomic.Int64{
		"input_tokens": &s.usage.input, "cached_input_tokens": &s.usage.cached,
		"output_tokens": &s.usage.output, "reasoning_tokens": &s.usage.reasoning,
		"cached_answers": &s.usage.kept, "shared_answers": &s.usage.shared,
	} {
		if v := n.Load(); v > 0 {
			sums[name] = v
		}
	}
	return sums
}
