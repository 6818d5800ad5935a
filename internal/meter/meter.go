// Package meter counts how much of a source is read.
package meter

import "sync"

// Meter counts bytes, of a source that consists of parts. It may be asked while somebody
// reads, and never says less than it has said.
type Meter struct {
	mu          sync.Mutex
	done, total int64
	part        Part
	size        int64 // of the part
}

// Part counts itself what is read of it; it may be asked while somebody reads.
type Part interface{ BytesRead() int64 }

// Start begins anew, with what is passed over counted as done. A total of 0 is not known.
func (m *Meter) Start(done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.total, m.part, m.size = done, total, nil, 0
}

// Add counts what was read of no part.
func (m *Meter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
}

// Enter has a part of so many bytes count, until Leave.
func (m *Meter) Enter(p Part, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.part, m.size = p, size
}

// Leave ends a part. If it was read to its end all of it counts, also what was left out.
func (m *Meter) Leave(whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if whole {
		m.done += m.size
	} else {
		m.done += m.inPart()
	}
	m.part, m.size = nil, 0
}

func (m *Meter) inPart() int64 {
	if m.part == nil {
		return 0
	}
	return min(m.part.BytesRead(), m.size)
}

// Progress returns how much is read, and how much there is; 0 if that is not known.
func (m *Meter) Progress() (done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done + m.inPart(), m.total
}
