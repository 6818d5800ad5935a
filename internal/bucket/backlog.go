package bucket

import (
	"context"
	"sync"
)

// Backlog is how many uploads wait for their turn, for whoever adds to them and is not to add
// without end. The zero Backlog is empty.
type Backlog struct {
	mu   sync.Mutex
	n    int
	less chan struct{} // closed when there are fewer; nil if nobody waits
}

// Set says how many there are now.
func (b *Backlog) Set(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < b.n && b.less != nil {
		close(b.less)
		b.less = nil
	}
	b.n = n
}

// Wait waits until there are fewer than most. The error is that of ctx.
func (b *Backlog) Wait(ctx context.Context, most int) error {
	for {
		b.mu.Lock()
		if b.n < most {
			b.mu.Unlock()
			return ctx.Err()
		}
		if b.less == nil {
			b.less = make(chan struct{})
		}
		less := b.less
		b.mu.Unlock()
		select {
		case <-less:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
