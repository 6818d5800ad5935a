package simulator

import (
	"maps"
	"sync"
)

// Ledger is what has happened so far. Every chat request ends in exactly one
// way, so that
//
//	Requests = Answered + Refused + Rejected + Abandoned + sum of Faults + InFlight
type Ledger struct {
	// Requests is how many chat requests arrived.
	Requests int64 `json:"requests"`
	// Answered is how many got their answer, whole and good.
	Answered int64 `json:"answered"`
	// Refused is how many the limits kept out: 429, nothing charged.
	Refused int64 `json:"refused"`
	// Rejected is how many were wrong themselves: a key, a body, a model, a prompt
	// that is too long.
	Rejected int64 `json:"rejected"`
	// Abandoned is how many the client gave up before their answer was sent.
	Abandoned int64 `json:"abandoned"`
	// Faults is how many met each kind of fault; a spent quota is under "quota".
	Faults map[string]int64 `json:"faults"`
	// InFlight is how many are being answered now.
	InFlight int64 `json:"in_flight"`
	// PeakInFlight is the most that were being answered at once.
	PeakInFlight int64 `json:"peak_in_flight"`
	// Connections is how many were opened to the server that [Server.Start] started.
	Connections int64 `json:"connections"`
	// ModelRequests is how many asked what models there are.
	ModelRequests int64 `json:"model_requests"`
	// Prompts is how many different prompts were seen, those since forgotten
	// included.
	Prompts int64 `json:"prompts"`
	// Paid is how many answers were sent that a provider bills: the good ones, and
	// those cut off, filtered or refused by the model.
	Paid int64 `json:"paid"`
	// PaidAgain is how many of those were for a prompt that had been paid before.
	PaidAgain int64 `json:"paid_again"`
	// Forgotten is how many prompts are not remembered any more; if it is not 0,
	// PaidAgain may be too low. See [Options.Remember].
	Forgotten int64 `json:"forgotten"`
	// PromptTokens and CompletionTokens are those of the paid answers.
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
}

// Prompt is what happened to one prompt.
type Prompt struct {
	// Requests is how many were let in.
	Requests int64 `json:"requests"`
	// Paid is how many answers were sent that a provider bills.
	Paid int64 `json:"paid"`
}

// ending is how a chat request ended.
type ending struct {
	how   how
	fault string // for endedFault
	key   Key
	paid  bool
	// prompt and completion are the tokens of a paid answer.
	prompt, completion int
}

type how uint8

const (
	endedAbandoned how = iota // also by a panic
	endedAnswered
	endedRefused
	endedRejected
	endedFault
)

// books keeps the Ledger.
type books struct {
	mu      sync.Mutex
	ledger  Ledger
	young   map[Key]Prompt // of at most half the prompts to be remembered
	old     map[Key]Prompt // the young ones of before
	half    int
	entered int64 // requests let in
}

func newBooks(remember int) *books {
	return &books{
		ledger: Ledger{Faults: map[string]int64{}}, half: max(1, remember/2),
		young: map[Key]Prompt{}, old: map[Key]Prompt{},
	}
}

func (b *books) connected() { b.note(func(l *Ledger) { l.Connections++ }) }

func (b *books) note(change func(*Ledger)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.ledger)
}

func (b *books) arrive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger.Requests++
	b.ledger.InFlight++
	b.ledger.PeakInFlight = max(b.ledger.PeakInFlight, b.ledger.InFlight)
}

// enter counts a request that was let in; it is the nth for its prompt, and the
// totalth of all.
func (b *books) enter(key Key) (nth uint64, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entered++
	p := b.recall(key)
	p.Requests++
	b.young[key] = p
	return uint64(p.Requests), b.entered
}

func (b *books) end(e ending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger.InFlight--
	switch e.how {
	case endedAnswered:
		b.ledger.Answered++
	case endedRefused:
		b.ledger.Refused++
	case endedRejected:
		b.ledger.Rejected++
	case endedFault:
		b.ledger.Faults[e.fault]++
	default:
		b.ledger.Abandoned++
	}
	if e.paid {
		b.pay(e)
	}
}

func (b *books) pay(e ending) {
	p := b.recall(e.key)
	if p.Paid > 0 {
		b.ledger.PaidAgain++
	}
	p.Paid++
	b.young[e.key] = p
	b.ledger.Paid++
	b.ledger.PromptTokens += int64(e.prompt)
	b.ledger.CompletionTokens += int64(e.completion)
}

// recall returns what is known of a prompt and makes room for it among the young.
func (b *books) recall(key Key) Prompt {
	p, known := b.young[key]
	if known {
		return p
	}
	if p, known = b.old[key]; known {
		delete(b.old, key)
	} else {
		b.ledger.Prompts++
	}
	if len(b.young) >= b.half {
		b.ledger.Forgotten += int64(len(b.old))
		b.old, b.young = b.young, map[Key]Prompt{}
	}
	return p
}

func (b *books) copy() Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.ledger
	l.Faults = maps.Clone(l.Faults)
	return l
}

func (b *books) prompts() map[Key]Prompt {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(b.old)
	maps.Copy(all, b.young)
	return all
}
