package llm

import "sync"

const (
	// perMessage is how many tokens the frame of a message takes, about.
	perMessage = 4
	// perByte is how many a byte of text takes, about, before there was any answer.
	perByte = 0.25
	// remembered is over how many answers the mean is taken, about.
	remembered = 16
)

// density is how many tokens a byte of the prompts has been counted for: English has
// 0.25, other languages up to one, and tools or a schema in extra add to it. The
// zero density knows nothing.
type density struct {
	mu            sync.Mutex
	bytes, tokens float64 // means
	n             float64
}

// estimate returns about how many tokens a prompt of so many messages and bytes of text has.
func (d *density) estimate(messages, text int) int {
	d.mu.Lock()
	ratio := perByte
	if d.bytes > 0 && d.tokens > 0 {
		ratio = d.tokens / d.bytes
	}
	d.mu.Unlock()
	return perMessage*messages + int(ratio*float64(text)+0.5)
}

// learn takes in for how many tokens a prompt was counted.
func (d *density) learn(messages, text, counted int) {
	counted -= perMessage * messages
	if counted <= 0 || text <= 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n = min(d.n+1, remembered)
	d.bytes += (float64(text) - d.bytes) / d.n
	d.tokens += (float64(counted) - d.tokens) / d.n
}
