package bucket

// Pending is how many blocks are being fetched that nobody waits for.
func (b *Blocks) Pending() int { return b.pending() }

// Held is how many bytes are kept.
func (b *Blocks) Held() (n int64) {
	for _, k := range b.kept {
		n += int64(cap(k.data))
	}
	return n
}
