package policy

import "time"

// Kind is what a limit counts.
type Kind uint8

// The kinds of limit.
const (
	Requests Kind = iota
	// Tokens are those of prompts and answers together.
	Tokens
	// InputTokens and OutputTokens are for providers that limit them apart.
	InputTokens
	OutputTokens
	kinds
)

// MarshalText returns the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// String returns the name as it stands in a summary: "requests", "input tokens".
func (k Kind) String() string {
	switch k {
	case Requests:
		return "requests"
	case Tokens:
		return "tokens"
	case InputTokens:
		return "input tokens"
	case OutputTokens:
		return "output tokens"
	default:
		return "unknown"
	}
}

// Unknown stands for what the other end did not say of a [Limit].
const Unknown = -1

// Limit is what the answer to a request said of one limit, as of the moment in
// which the request was let in or refused.
type Limit struct {
	Kind Kind
	// PerMinute is what may be had in a minute. A Limit with 0 or less says nothing
	// and is ignored (Azure sends 0 and -1 for what it does not know).
	PerMinute int64
	// Remaining is what is left of it, 0 for nothing; negative ([Unknown]) if not said.
	Remaining int64
	// Reset is how long it takes until all of it may be had again; negative
	// ([Unknown]) if not said.
	Reset time.Duration
	// Rounded is by how much Reset may be too long, for providers that tell it in whole
	// seconds; 0 for not at all.
	Rounded time.Duration
}

// Observation is what an attempt learned of the other end.
type Observation struct {
	// Refused says that the request was not let in (429, 529).
	Refused bool
	// Limits are what the headers of the answer said, in any order.
	Limits []Limit
	// InputTokens and OutputTokens are what the other end counted for the attempt,
	// where it said so; both 0 if not.
	InputTokens, OutputTokens int
}

// Observe tells the policies what an attempt learned: the limits as soon as the
// headers are there, those of a refusal too, and what was counted when the answer
// is read. It may be called several times, from within the attempt only.
func (a *Attempt) Observe(o Observation) {
	if a.gate != nil {
		a.gate.observe(a.waiter, o)
	}
}
